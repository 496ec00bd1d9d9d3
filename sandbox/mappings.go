package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/program"
)

// writeMappings gives the user namespace of a process its ids
// (user_namespaces(7)). Without privilege, one's own id can be mapped alone;
// anything more is done by newuidmap(1) and newgidmap(1), which know the ids
// that /etc/subuid and /etc/subgid grant.
func writeMappings(pid int, uids, gids []specs.LinuxIDMapping) error {
	proc := "/proc/" + strconv.Itoa(pid)
	if os.Geteuid() != 0 && !onlyCaller(uids, gids) {
		if err := runMapper("newuidmap", pid, uids); err != nil {
			return err
		}
		return runMapper("newgidmap", pid, gids)
	}
	if os.Geteuid() != 0 {
		// Without it, the mapping of groups is refused (user_namespaces(7)).
		if err := os.WriteFile(proc+"/setgroups", []byte("deny"), 0); err != nil {
			return fmt.Errorf("write id mappings: %w", err)
		}
	}
	if err := os.WriteFile(proc+"/uid_map", []byte(mappingLines(uids)), 0); err != nil {
		return fmt.Errorf("linux.uidMappings: %w", err)
	}
	if err := os.WriteFile(proc+"/gid_map", []byte(mappingLines(gids)), 0); err != nil {
		return fmt.Errorf("linux.gidMappings: %w", err)
	}
	return nil
}

// onlyCaller tells whether nobody but the caller is mapped.
func onlyCaller(uids, gids []specs.LinuxIDMapping) bool {
	return onlyOwn(uids, os.Geteuid()) && onlyOwn(gids, os.Getegid())
}

func onlyOwn(maps []specs.LinuxIDMapping, id int) bool {
	return len(maps) == 1 && maps[0].Size == 1 && int(maps[0].HostID) == id
}

func mappingLines(maps []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range maps {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

func runMapper(tool string, pid int, maps []specs.LinuxIDMapping) error {
	args := append([]string{strconv.Itoa(pid)}, strings.Fields(mappingLines(maps))...)
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s (are ids granted in /etc/subuid and /etc/subgid? Debian package uidmap)", tool, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// mappedMounts makes what the program takes for its id-mapped mounts, in their
// order: bind mounts as they are to be attached, and user namespaces for others.
func mappedMounts(bundle *oci.Bundle) (files []*os.File, err error) {
	spec := bundle.Spec
	for i := range spec.Mounts {
		mapping, ok := program.FindIDMapping(&spec.Mounts[i], spec)
		if !ok {
			continue
		}
		f, err := mappedMount(bundle, &spec.Mounts[i], mapping)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("mounts[%d].uidMappings: %w", i, err)
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// mappedMount clones the source of a bind mount and maps the owners of its
// files (mount_setattr(2), "ID-mapped mounts").
func mappedMount(bundle *oci.Bundle, m *specs.Mount, mapping program.IDMapping) (*os.File, error) {
	var users *os.File
	var err error
	if mapping.Join != "" {
		users, err = os.Open(mapping.Join)
	} else {
		users, err = openUserNamespace(mapping.UIDs, mapping.GIDs)
	}
	recursive := slices.Contains(m.Options, "rbind")
	if err != nil || !recursive && m.Type != "bind" && !slices.Contains(m.Options, "bind") {
		return users, err
	}
	defer users.Close()
	source := m.Source
	if !filepath.IsAbs(source) {
		source = filepath.Join(bundle.Dir, source)
	}
	return cloneMapped(source, users, recursive, mapping.Recursive)
}

// cloneMapped clones a mount, with those below it if it is to be recursive, and maps the owners of files on it.
func cloneMapped(source string, users *os.File, recursive, mapBelow bool) (*os.File, error) {
	below := func(all bool) uint { return map[bool]uint{true: unix.AT_RECURSIVE}[all] }
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|below(recursive))
	if err != nil {
		return nil, fmt.Errorf("clone %s: %w", source, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|below(mapBelow), &attr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("map the owners of files on %s: %w (it needs root, and a file system that can)", source, err)
	}
	return os.NewFile(uintptr(fd), source), nil
}

// MapOwners gives a clone of each directory's mount, on which the files of user and group 0 belong to another user, by
// the caller's ids, and those of others to nobody.
//
// # Errors
//
// It needs root's rights over the file system of each, and one that can ([mount_setattr(2)]: ext4, xfs and btrfs since
// Linux 5.15).
//
// [mount_setattr(2)]: https://man7.org/linux/man-pages/man2/mount_setattr.2.html
func MapOwners(dirs []string, uid, gid int) (mounts []*os.File, err error) {
	only := func(id int) []specs.LinuxIDMapping { return []specs.LinuxIDMapping{{HostID: uint32(id), Size: 1}} }
	users, err := openUserNamespace(only(uid), only(gid))
	if err != nil {
		return nil, err
	}
	defer users.Close()
	for _, dir := range dirs {
		f, err := cloneMapped(dir, users, false, false)
		if err != nil {
			closeAll(mounts)
			return nil, err
		}
		mounts = append(mounts, f)
	}
	return mounts, nil
}

// openUserNamespace makes a user namespace with mappings, for an id-mapped mount.
func openUserNamespace(uids, gids []specs.LinuxIDMapping) (*os.File, error) {
	quiet, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer quiet.Close()
	idle, err := program.CompileIdle(3 + fdControl)
	if err != nil {
		return nil, err
	}
	encoded, err := idle.Encode()
	if err != nil {
		return nil, err
	}
	init, err := startInit(initOptions{stdio: [3]*os.File{quiet, quiet, quiet}, cloneFlags: unix.CLONE_NEWUSER}, encoded)
	if err != nil {
		return nil, err
	}
	defer init.kill()
	defer init.close()
	if err := writeMappings(init.pid, uids, gids); err != nil {
		return nil, err
	}
	return os.Open("/proc/" + strconv.Itoa(init.pid) + "/ns/user")
}
