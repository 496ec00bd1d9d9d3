package oci

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may go through, as in the kernel
// (path_resolution(7)).
const maxLinks = 40

// maxNames bounds how many names of a directory are compared without case.
const maxNames = 1 << 16

// Files is the file system of a container as its process will see it, before
// there is one: the root file system, with the sources of bind mounts in their
// places. What other mounts will show is not known; it counts as missing.
//
// A path is followed name by name from a descriptor of the root, so that no
// link of the image leads out of it. Nothing is changed, and only regular files
// are opened.
type Files struct {
	root   int
	mounts []placed // in the order in which they are made
}

// placed is a mount: a descriptor of what is to be seen at a path without
// links, or -1.
type placed struct {
	at string
	fd int
}

// OpenFiles opens a root file system, such as that of a running container
// (/proc/PID/root). The mounts of a container that is still to be made come
// with [Files.Mount].
func OpenFiles(root string) (*Files, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	return &Files{root: fd}, nil
}

// Files opens the file system that the bundle's process will see.
func (b *Bundle) Files() (*Files, error) {
	root := b.Spec.Root.Path
	if !filepath.IsAbs(root) {
		root = filepath.Join(b.Dir, root)
	}
	f, err := OpenFiles(root)
	if err != nil {
		return nil, err
	}
	for i := range b.Spec.Mounts {
		m := &b.Spec.Mounts[i]
		source := m.Source
		switch {
		case slices.Contains(m.Options, "remount"):
			continue
		case !isBind(m):
			source = ""
		case !filepath.IsAbs(source):
			source = filepath.Join(b.Dir, source)
		}
		f.Mount(m.Destination, source)
	}
	return f, nil
}

// isBind tells whether a mount shows a part of the host.
func isBind(m *specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// Mount puts a file or directory of the host in its place; an empty source, and
// one that cannot be opened, hides what is there.
func (f *Files) Mount(destination, source string) {
	p := placed{fd: -1}
	fd, at, err := f.walk(destination)
	if err == nil && fd >= 0 {
		unix.Close(fd)
	}
	p.at = at
	if source != "" {
		if fd, err := unix.Open(source, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
			p.fd = fd
		}
	}
	f.mounts = append(f.mounts, p)
}

// Close closes the descriptors.
func (f *Files) Close() error {
	for _, m := range f.mounts {
		if m.fd >= 0 {
			unix.Close(m.fd)
		}
	}
	return unix.Close(f.root)
}

// Open opens a regular file for reading, and gives its path without links.
//
// # Errors
//
// A *[fs.PathError]; for what is no regular file, one that wraps [fs.ErrInvalid].
func (f *Files) Open(name string) (file *os.File, resolved string, err error) {
	fd, resolved, err := f.walk(name)
	if err == nil {
		file, err = openRegular(fd, resolved)
	}
	if err != nil {
		return nil, resolved, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return file, resolved, nil
}

// openRegular opens a regular file of which there is an O_PATH descriptor, and
// closes that. Anything else is left alone: a device may act on it, and a pipe
// wait.
func openRegular(fd int, name string) (*os.File, error) {
	if fd < 0 {
		return nil, unix.EISDIR
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return nil, unix.EISDIR
	default:
		return nil, fs.ErrInvalid
	}
	again, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(again), name), nil
}

// Symlink makes a symbolic link in a directory.
func (f *Files) Symlink(dir, name, target string) error {
	fd, _, err := f.walk(dir)
	if err == nil && fd < 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Symlinkat(target, fd, name); err != nil {
		return &fs.PathError{Op: "symlink", Path: path.Join(dir, name), Err: err}
	}
	return nil
}

// Exists tells whether a path leads to anything.
func (f *Files) Exists(name string) bool {
	fd, _, err := f.walk(name)
	if err == nil && fd >= 0 {
		unix.Close(fd)
	}
	return err == nil
}

// IsDir tells whether a path leads to a directory.
func (f *Files) IsDir(name string) bool {
	fd, _, err := f.walk(name)
	if err != nil {
		return false
	}
	if fd < 0 {
		return true
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// MatchCase gives names below a directory as they are spelled there, or else as
// they differ in case only; from the first that is missing, as they are.
func (f *Files) MatchCase(dir string, names []string) string {
	found := dir
	for i, name := range names {
		spelled, ok := f.spelling(found, name)
		if !ok {
			return path.Join(append([]string{found}, names[i:]...)...)
		}
		found = path.Join(found, spelled)
	}
	return found
}

// spelling finds a name in a directory, if need be without regard to case.
func (f *Files) spelling(dir, name string) (string, bool) {
	if f.Exists(path.Join(dir, name)) {
		return name, true
	}
	for _, have := range f.Names(dir) {
		if strings.EqualFold(have, name) {
			return have, true
		}
	}
	return "", false
}

// Names lists a directory, as far as it can be listed.
func (f *Files) Names(dir string) []string {
	fd, resolved, err := f.walk(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, m := range f.mounts {
		if below, ok := strings.CutPrefix(m.at, strings.TrimSuffix(resolved, "/")+"/"); ok {
			first, _, _ := strings.Cut(below, "/")
			names = append(names, first)
		}
	}
	if fd >= 0 {
		defer unix.Close(fd)
		if again, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			d := os.NewFile(uintptr(again), dir)
			defer d.Close()
			listed, _ := d.Readdirnames(maxNames) // what cannot be listed is not found
			names = append(names, listed...)
		}
	}
	return names
}

// position is a place on the way along a path; fd is -1 for a directory that
// will be made for a mount, and for one whose content is not known.
type position struct {
	at string
	fd int
}

// walk follows a path and opens what it leads to (O_PATH); -1 stands for a
// directory that there is no descriptor of. resolved is the path without links,
// of what is missing too.
func (f *Files) walk(name string) (fd int, resolved string, err error) {
	way := []position{{"/", f.root}}
	last := func() *position { return &way[len(way)-1] }
	// The root and what mounts hold are not this call's to close.
	owned := func(fd int) bool {
		return fd >= 0 && fd != f.root && !slices.ContainsFunc(f.mounts, func(m placed) bool { return m.fd == fd })
	}
	defer func() {
		for _, p := range way {
			if owned(p.fd) {
				unix.Close(p.fd)
			}
		}
	}()
	back := func(to int) {
		for _, p := range way[to:] {
			if owned(p.fd) {
				unix.Close(p.fd)
			}
		}
		way = way[:to]
	}
	rest, links := strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			back(max(1, len(way)-1))
			continue
		}
		at := path.Join(last().at, part)
		if next, ok := f.mountedAt(at); ok {
			way = append(way, position{at, next})
			continue
		}
		next, err := openAt(last().fd, part)
		if errors.Is(err, unix.ENOENT) && f.mountBelow(at) {
			way = append(way, position{at, -1})
			continue
		}
		if err != nil {
			return -1, path.Join(append([]string{at}, rest...)...), err
		}
		target, isLink, err := readLink(next)
		if err != nil {
			unix.Close(next)
			return -1, at, err
		}
		if !isLink {
			way = append(way, position{at, next})
			continue
		}
		unix.Close(next)
		if links++; links > maxLinks {
			return -1, at, unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			back(1)
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	end := last()
	if end.fd < 0 {
		return -1, end.at, nil
	}
	fd, err = unix.FcntlInt(uintptr(end.fd), unix.F_DUPFD_CLOEXEC, 3)
	return fd, end.at, err
}

// mountedAt is what the last mount at a path shows, unless another has hidden
// the path since.
func (f *Files) mountedAt(at string) (fd int, ok bool) {
	for _, m := range slices.Backward(f.mounts) {
		switch {
		case m.at == at:
			return m.fd, true
		case m.at == "/" || strings.HasPrefix(at, m.at+"/"):
			return 0, false
		}
	}
	return 0, false
}

// mountBelow tells whether a directory will be made because of a mount.
func (f *Files) mountBelow(at string) bool {
	return slices.ContainsFunc(f.mounts, func(m placed) bool { return strings.HasPrefix(m.at, at+"/") })
}

func openAt(dir int, name string) (int, error) {
	if dir < 0 {
		return -1, unix.ENOENT
	}
	return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// readLink reads a link of which there is an O_PATH descriptor.
func readLink(fd int) (target string, isLink bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", false, err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	return string(buf[:max(n, 0)]), true, err
}
