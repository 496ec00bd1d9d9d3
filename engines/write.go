package engines

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Apply writes the new text, or removes the file. A new one belongs to the caller and has mode 0644, an old one keeps
// owner and mode. Whenever it is killed, the file is the old or the new one; a temporary one beside it, which no engine
// reads, goes with the next call.
func (c *Change) Apply() error {
	if c.Nothing() {
		return nil
	}
	dir := filepath.Dir(c.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	// Of several at a time, each sees what the one before it has written.
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	now, err := read(c.Path)
	if err != nil {
		return err
	}
	if (now == nil) != (c.Old == nil) || string(now) != string(c.Old) {
		return fmt.Errorf("%s was changed by somebody else meanwhile: try again", c.Path)
	}
	if c.New == nil {
		if err := os.Remove(c.Path); err != nil {
			return err
		}
		return folder.Sync()
	}
	temp := filepath.Join(dir, "."+filepath.Base(c.Path)+".winbox")
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := write(temp, c.New, c.Path); err != nil {
		os.Remove(temp)
		return err
	}
	if err := os.Rename(temp, c.Path); err != nil {
		os.Remove(temp)
		return err
	}
	return folder.Sync()
}

// write makes a file, with the owner and mode of another one if that is there.
func write(name string, text []byte, like string) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(text); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if old, err := os.Stat(like); err == nil {
		mode = old.Mode().Perm()
		owner, own := old.Sys().(*syscall.Stat_t), os.Geteuid()
		if int(owner.Uid) != own || int(owner.Gid) != os.Getegid() {
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return fmt.Errorf("%s belongs to somebody else: %w", like, err)
			}
		}
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}
