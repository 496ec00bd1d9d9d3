package prelink

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// temporary begins the names of files that are being written.
const temporary = ".winbox-prelink-"

// replace puts a file with these contents in the place of all names of the old
// one, which is open. It is like the old one in all but contents: owner, mode,
// times, extended attributes (Wine keeps Windows' file attributes there). At no
// time is there no file, or half of one: a crash leaves the old or the new.
func (f *folder) replace(it *item, old *os.File, data []byte) (err error) {
	dir := filepath.Dir(it.Path)
	name := newName(dir)
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	defer func() {
		if err != nil {
			f.root.Remove(name)
		}
	}()
	if _, err := file.Write(data); err != nil {
		return err
	}
	st := it.info.Sys().(*syscall.Stat_t)
	// In this order: a change of owner takes set-id bits away, and an access list may change the mode.
	if err := file.Chown(int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := file.Chmod(it.info.Mode()); err != nil {
		return err
	}
	if err := copyAttributes(file, old); err != nil {
		return err
	}
	if err := os.Chtimes(pathOf(file), time.Unix(st.Atim.Unix()), it.info.ModTime()); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := f.put(name, it.Path, it); err != nil {
		return err
	}
	for _, link := range it.Links {
		name := newName(filepath.Dir(link))
		if err := f.root.Link(it.Path, name); err != nil {
			return err
		}
		if err := f.put(name, link, it); err != nil {
			f.root.Remove(name)
			return err
		}
	}
	return nil
}

// newName is a name for a file that is being written.
func newName(dir string) string { return filepath.Join(dir, temporary+rand.Text()) }

// put renames the new file over the old one, if that is still what it was.
func (f *folder) put(name, target string, it *item) error {
	if info, err := f.root.Lstat(target); err != nil || !same(info, it.info) {
		return errors.Join(err, errChanged)
	}
	if err := f.root.Rename(name, target); err != nil {
		return err
	}
	dir, err := f.root.Open(filepath.Dir(target))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// pathOf leads to an open file and no other, for calls that want a path.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// copyAttributes copies the extended attributes that belong to the file. Those
// of security modules and of overlays belong to its place.
func copyAttributes(to, from *os.File) error {
	list := make([]byte, 64<<10) // the most that Linux gives (xattr(7))
	n, err := syscall.Listxattr(pathOf(from), list)
	if errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list its extended attributes: %w", err)
	}
	value := make([]byte, 64<<10)
	for name := range bytes.SplitSeq(bytes.TrimSuffix(list[:n], []byte{0}), []byte{0}) {
		name := string(name)
		if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
			continue
		}
		n, err := syscall.Getxattr(pathOf(from), name, value)
		if err == nil {
			err = syscall.Setxattr(pathOf(to), name, value[:n], 0)
		}
		if err != nil {
			return fmt.Errorf("copy its extended attribute %q: %w", name, err)
		}
	}
	return nil
}
