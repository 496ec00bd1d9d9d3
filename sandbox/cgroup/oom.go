package cgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DiesInPieces reports whether the OOM killer takes single processes of the group:
// v1 has no memory.oom.group. Then somebody in the container must end the others,
// for which there are [Group.OOMFiles]. A scope is not counted: the program is
// compiled before systemd has made it.
func (g *Group) DiesInPieces() bool {
	return g.mode == V1 && g.scope == nil && g.hierarchy("memory") != nil
}

// OOMFiles opens what tells of the OOM killer on v1: an eventfd that can be read
// when memory has run out, in the group or in one above it, and the file
// memory.oom_control, which counts the group's processes that were killed for it
// (kernel: admin-guide/cgroup-v1/memory, "OOM Control"). The event comes before
// the count. The caller closes both.
//
// The file is on a mount of its own that is read-only: who gets at the
// descriptor, by way of /proc, cannot open it anew to turn the OOM killer off.
func (g *Group) OOMFiles() (event, count *os.File, err error) {
	dir := g.hierarchy("memory").dir()
	failed := func(err error) (*os.File, *os.File, error) {
		return nil, nil, fmt.Errorf("watch %s for OOM kills: %w", dir, err)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(tree)
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return failed(err)
	}
	const name = "memory.oom_control"
	fd, err := unix.Openat(tree, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed(err)
	}
	count = os.NewFile(uintptr(fd), filepath.Join(dir, name))
	fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		event = os.NewFile(uintptr(fd), "OOM event")
		err = writeFile(dir+"/cgroup.event_control", fmt.Sprintf("%d %d", event.Fd(), count.Fd()))
	}
	if err != nil {
		count.Close()
		if event != nil {
			event.Close()
		}
		return failed(err)
	}
	return event, count, nil
}
