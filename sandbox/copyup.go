package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// copyUp copies a directory of the container into the tmpfs that is about to
// hide it (option tmpcopyup). Both come as descriptors, and os.Root keeps to
// what is below them, whatever links the image has.
//
// In a tmpfs of a user namespace nobody can make files whose user has no place
// there: the copy is made as the one that the tmpfs belongs to, in a thread
// that ends with it.
func copyUp(from, to *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(to.Fd()), &st); err != nil {
		return err
	}
	if os.Geteuid() != 0 || st.Uid == 0 && st.Gid == 0 {
		return copyTree(from, to)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := actAs(int(st.Uid), int(st.Gid))
		if err == nil {
			err = copyTree(from, to)
		}
		done <- err
	}()
	return <-done
}

// actAs gives the thread other ids for its file operations (setfsuid(2)), but
// leaves it the capabilities that such a change takes from the effective set.
func actAs(uid, gid int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if err := errors.Join(unix.Setfsgid(gid), unix.Setfsuid(uid)); err != nil {
		return err
	}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

func copyTree(from, to *os.File) error {
	source, err := os.OpenRoot("/proc/self/fd/" + strconv.Itoa(int(from.Fd())))
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenRoot("/proc/self/fd/" + strconv.Itoa(int(to.Fd())))
	if err != nil {
		return err
	}
	defer target.Close()
	return fs.WalkDir(source.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return copyEntry(source, target, name)
	})
}

// copyEntry copies one file, directory or link with its owner and mode. What
// else there may be, devices and sockets, means nothing in a copy.
func copyEntry(source, target *os.Root, name string) error {
	info, err := source.Lstat(name)
	if err != nil {
		return err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		if name != "." {
			err = target.Mkdir(name, 0o700)
		}
	case fs.ModeSymlink:
		var link string
		if link, err = source.Readlink(name); err == nil {
			err = target.Symlink(link, name)
		}
	case 0:
		err = copyContent(source, target, name)
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", path.Base(name), err)
	}
	st := info.Sys().(*syscall.Stat_t)
	// Without privilege there are only files of one's own to be made.
	if err := target.Lchown(name, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// The tmpfs itself has its mode already, which may not be the image's.
	if info.Mode().Type() == fs.ModeSymlink || name == "." {
		return nil
	}
	return target.Chmod(name, info.Mode())
}

func copyContent(source, target *os.Root, name string) error {
	in, err := source.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := target.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
