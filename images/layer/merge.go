package layer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Merge moves a layer that [Extract] has unpacked, with its whiteouts, over the layers below it, which are one folder of
// the same file system. sum is what Extract has found in it. What is left of the layer is a folder without use.
func Merge(from, onto string, sum Summary) error {
	a, err := unix.Open(from, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(a)
	b, err := unix.Open(onto, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(b)
	return (&merger{whole: sum.Whiteouts == 0}).merge(a, b, "", 0)
}

type merger struct {
	// whole tells that folders may be moved as they are: no whiteouts are in them.
	whole bool
}

// merge does so for two folders that are open; name is for errors.
func (m *merger) merge(from, onto int, name string, depth int) error {
	if depth > maxName/2 {
		return errors.New("too many folders in each other")
	}
	if IsOpaque(from) {
		if err := clear(onto); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := unix.Fremovexattr(from, opaqueAttribute); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	dir, err := reopen(from)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1000)
		for _, base := range names {
			if err := m.entry(from, onto, base, path.Join(name, base), depth); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return takeOver(from, onto)
		}
		if err != nil {
			return err
		}
	}
}

func (m *merger) entry(from, onto int, base, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR { // a whiteout: there are no other devices
		return os.RemoveAll(fdPath(onto) + "/" + base)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err := unix.Renameat(from, base, onto, base)
		if err == unix.EISDIR {
			if err = os.RemoveAll(fdPath(onto) + "/" + base); err == nil {
				err = unix.Renameat(from, base, onto, base)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	if m.whole {
		err := unix.Renameat2(from, base, onto, base, unix.RENAME_NOREPLACE)
		if err == nil {
			return nil
		}
		if err != unix.EEXIST && err != unix.EINVAL { // there is one, or the file system cannot tell
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	// A folder is gone through also where nothing is below it: whiteouts may be in it.
	err := unix.Mkdirat(onto, base, 0o700)
	if err == unix.EEXIST {
		var old unix.Stat_t
		if err = unix.Fstatat(onto, base, &old, unix.AT_SYMLINK_NOFOLLOW); err == nil && old.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err = unix.Unlinkat(onto, base, 0); err == nil {
				err = unix.Mkdirat(onto, base, 0o700)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	a, err := unix.Openat(from, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer unix.Close(a)
	b, err := unix.Openat(onto, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer unix.Close(b)
	return m.merge(a, b, name, depth+1)
}

// takeOver gives a folder the owner, mode and time of another.
func takeOver(from, onto int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	var now unix.Stat_t
	if err := unix.Fstat(onto, &now); err != nil {
		return err
	}
	if st.Uid != now.Uid || st.Gid != now.Gid {
		if err := unix.Fchown(onto, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(onto, st.Mode&0o1777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(onto, ".", []unix.Timespec{st.Mtim, st.Mtim}, 0)
}

// IsOpaque tells whether an unpacked folder, which is open, hides what layers below have in it.
func IsOpaque(fd int) bool {
	var value [1]byte
	n, err := unix.Fgetxattr(fd, opaqueAttribute, value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// clear removes all that is in a folder.
func clear(fd int) error {
	dir, err := reopen(fd)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(fdPath(fd)+"/"+name))
	}
	return err
}

// reopen gives another descriptor of a folder, to list it.
func reopen(fd int) (*os.File, error) {
	list, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(list), "folder"), nil
}
