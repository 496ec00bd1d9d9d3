package sandbox

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// absentMountPoints are the files and folders, as paths in the root file system, that are not there and that mounts need:
// the outer ones first. They are listed only where the root file system is a mount of an engine's for this container, such
// as an overlay of an image's layers. A folder of the host may be the root of other containers as well, whose mounts there
// would go with their mount points.
func absentMountPoints(rootfs string, mounts []specs.Mount) []string {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // the set-up will say so
	}
	defer unix.Close(root)
	if !engineMount(root) {
		return nil
	}
	var absent, done []string
	for _, m := range mounts {
		at := path.Clean("/" + m.Destination)
		// What lies on another mount is not of the root.
		if slices.ContainsFunc(done, func(d string) bool { return at == d || strings.HasPrefix(at, d+"/") }) {
			continue
		}
		done = append(done, at)
		var missing []string
		for p := at; p != "/" && !slices.Contains(absent, p); p = path.Dir(p) {
			fd, err := openInRoot(root, p, unix.RESOLVE_IN_ROOT)
			if err == nil {
				unix.Close(fd)
			}
			if !errors.Is(err, unix.ENOENT) {
				break
			}
			missing = append(missing, p)
		}
		slices.Reverse(missing)
		absent = append(absent, missing...)
	}
	return absent
}

// engineMount tells whether a root file system is an overlay that is mounted right there. One of a user's engine may be
// one of FUSE.
func engineMount(root int) bool {
	var st unix.Statx_t
	var fs unix.Statfs_t
	if unix.Statx(root, "", unix.AT_EMPTY_PATH, 0, &st) != nil || unix.Fstatfs(root, &fs) != nil {
		return false
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 && (fs.Type == unix.OVERLAYFS_SUPER_MAGIC || fs.Type == unix.FUSE_SUPER_MAGIC)
}

func openInRoot(root int, p string, how uint64) (int, error) {
	return unix.Openat2(root, strings.TrimPrefix(p, "/"), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: how})
}

// removeMountPoints removes what [absentMountPoints] has listed and the set-up has made, so that the container's layer has
// the program's changes only. What is not empty, or has become a link, is the program's and stays.
func removeMountPoints(rootfs string, made []string) {
	if len(made) == 0 {
		return
	}
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	if !engineMount(root) { // it is unmounted by now
		return
	}
	for _, p := range slices.Backward(made) {
		dir, err := openInRoot(root, path.Join(".", path.Dir(p)), unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstatat(dir, path.Base(p), &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			switch {
			case st.Mode&unix.S_IFMT == unix.S_IFDIR:
				_ = unix.Unlinkat(dir, path.Base(p), unix.AT_REMOVEDIR)
			case st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0:
				_ = unix.Unlinkat(dir, path.Base(p), 0)
			}
		}
		unix.Close(dir)
	}
}
