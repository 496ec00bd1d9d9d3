package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"winbox/sandbox/program"
)

// A container that shares the mount namespace of its host gets its mounts there,
// all below one mount of its root file system on itself. Nothing but winbox
// unmounts that: the end of its processes does not.

// rootBelow is the id of the mount that the container's root file system will
// be mounted on, among the host's mounts; 0 when it will not. It is recorded
// before anything is mounted, so that a creation that was cut off can be undone.
func (opt *Options) rootBelow() (int, error) {
	ns, err := program.ParseNamespaces(opt.Bundle.Spec)
	if err != nil || !program.MountsOnHost(opt.Bundle.Spec, ns) {
		return 0, err
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, opt.rootfs(), 0, unix.STATX_MNT_ID, &st); err != nil {
		return 0, fmt.Errorf("root.path: %s: %w", opt.rootfs(), err)
	}
	return int(st.Mnt_id), nil
}

// unmountRoot unmounts what a container without a mount namespace has mounted,
// and what has been mounted on it since.
func (c *Container) unmountRoot() error {
	if c.rec.RootBelow == 0 {
		return nil
	}
	rootfs, err := filepath.EvalSymlinks(c.rec.Rootfs)
	if errors.Is(err, os.ErrNotExist) {
		return nil // and nothing can be mounted there
	} else if err != nil {
		return err
	}
	for {
		own, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
			return m.Parent != c.rec.RootBelow || m.Mountpoint != rootfs, false
		})
		if err != nil || len(own) == 0 {
			return err
		}
		if err := unix.Unmount(rootfs, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", rootfs, err)
		}
	}
}
