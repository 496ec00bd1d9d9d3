package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits are what layers may have at most. Extract takes from them what it has unpacked.
type Limits struct {
	// Bytes is the size of the layers when they are no longer compressed, with the holes of sparse files.
	Bytes int64
	// Entries is the number of files, folders and links in them.
	Entries int
}

// DefaultLimits are far more than a distribution with Wine, or a large application, has.
var DefaultLimits = Limits{Bytes: 64 << 30, Entries: 500_000}

// What a layer may be refused for.
var (
	ErrTooLarge = errors.New("unpacked, it is larger than the limit")
	ErrTooMany  = errors.New("it has more files than the limit")
)

// Options say how a layer is unpacked.
type Options struct {
	// Limits are what is left for this and the layers after it.
	Limits *Limits
	// Whiteouts are understood: what the layer says is gone of those below becomes what overlayfs takes for that, a
	// device 0:0 or the attribute user.overlay.opaque (mount option userxattr). Without it, such names are as all others.
	Whiteouts bool
	// NoLinks refuses links.
	NoLinks bool
	// RelativeLinks makes absolute symbolic links relative, so that they mean the same wherever the folder is.
	RelativeLinks bool
	// Owners keeps owners, which root only can.
	Owners bool
}

// A Summary says what a layer had.
type Summary struct {
	Entries int
	Bytes   int64 // of files
	// Whiteouts is how many of them there were, opaque folders included.
	Whiteouts int
	// Skipped is how many devices and pipes were left out, Stripped how many entries lost setuid, setgid or an attribute.
	Skipped, Stripped int
}

// What a layer says about layers below it (OCI image specification, "Layer Filesystem Changeset").
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// opaqueAttribute is what overlayfs reads with the mount option userxattr (overlayfs.rst), which every user can set.
const opaqueAttribute = "user.overlay.opaque"

// maxName is the longest path that Linux takes (limits.h, PATH_MAX).
const maxName = 4096

// Extract unpacks a layer, a tar stream that is no longer compressed, into a folder that nobody else writes to. It reads
// to the end of the stream.
//
// # Errors
//
// An entry leads out of the folder or is of an unknown kind; [ErrTooLarge], [ErrTooMany]. What has been unpacked stays.
func Extract(to string, stream io.Reader, opt Options) (Summary, error) {
	root, err := unix.Open(to, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Summary{}, &fs.PathError{Op: "open", Path: to, Err: err}
	}
	x := &extractor{Options: opt, root: root, cached: -1, buffer: make([]byte, 128<<10)}
	defer x.close()
	limited := &limitedReader{stream, &x.Limits.Bytes}
	for t := tar.NewReader(limited); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			if x.Limits.Entries--; x.Limits.Entries < 0 {
				return x.sum, ErrTooMany
			}
			x.sum.Entries++
			err = x.entry(h, t)
		}
		switch {
		case errors.Is(err, ErrTooLarge):
			return x.sum, ErrTooLarge
		case err != nil && h != nil:
			return x.sum, fmt.Errorf("entry %.200q: %w", h.Name, err)
		case err != nil:
			return x.sum, fmt.Errorf("read: %w", err)
		}
	}
	if err := x.leave(""); err != nil {
		return x.sum, err
	}
	// What is behind the end of the archive counts for its digest.
	_, err = io.CopyBuffer(io.Discard, limited, x.buffer)
	return x.sum, err
}

// An extractor unpacks one layer.
type extractor struct {
	Options
	root int
	// cached is a descriptor of the folder dir, -1 for none: entries of one folder follow each other.
	cached int
	dir    string
	// open are the folders whose entries are being unpacked, one in the other: their times are set when that is done.
	open   []folder
	buffer []byte
	sum    Summary
}

// A folder waits for its time.
type folder struct {
	name string
	time time.Time
}

func (x *extractor) close() {
	x.forget()
	unix.Close(x.root)
}

// forget closes the descriptor of the folder that was used last.
func (x *extractor) forget() {
	if x.cached >= 0 {
		unix.Close(x.cached)
	}
	x.cached = -1
}

// entry unpacks one entry.
func (x *extractor) entry(h *tar.Header, data io.Reader) error {
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := x.leave(name); err != nil {
		return err
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the top of a layer is a folder")
		}
		x.open = append(x.open, folder{name, h.ModTime})
		return x.adjust(x.root, ".", h)
	}
	dir, base := path.Split(name)
	if dir = path.Clean(dir); x.Whiteouts && strings.HasPrefix(base, whiteout) {
		return x.whiteout(dir, base)
	}
	switch h.Typeflag {
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		x.sum.Skipped++
		return nil
	case tar.TypeDir, tar.TypeReg, tar.TypeGNUSparse:
	case tar.TypeSymlink, tar.TypeLink:
		if x.NoLinks {
			return errors.New("a link")
		}
	default:
		return fmt.Errorf("of the unknown kind %q", h.Typeflag)
	}
	parent, err := x.parent(dir)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := x.folder(parent, base); err != nil {
			return err
		}
		x.open = append(x.open, folder{name, h.ModTime})
	case tar.TypeSymlink:
		to := h.Linkname
		if x.RelativeLinks {
			to = relative(dir, to)
		}
		if err := x.replacing(parent, base, func() error { return unix.Symlinkat(to, parent, base) }); err != nil {
			return err
		}
	case tar.TypeLink:
		return x.link(h.Linkname, name, parent, base)
	default:
		return x.file(parent, base, h, data)
	}
	return x.adjust(parent, base, h)
}

// parent opens a folder of the layer, and makes those that are missing.
func (x *extractor) parent(dir string) (int, error) {
	if x.cached >= 0 && x.dir == dir {
		return x.cached, nil
	}
	x.forget()
	fd, err := x.find(dir)
	if errors.Is(err, unix.ENOENT) {
		fd, err = x.makeAll(dir)
	}
	if err != nil {
		return -1, fmt.Errorf("folder %.200q: %w", dir, err)
	}
	x.cached, x.dir = fd, dir
	return fd, nil
}

// find opens a folder; links are followed within the layer.
func (x *extractor) find(dir string) (int, error) {
	for {
		fd, err := unix.Openat2(x.root, dir, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != unix.EAGAIN && err != unix.EINTR { // openat2(2): something was renamed meanwhile
			return fd, err
		}
	}
}

// makeAll makes a folder and those that it lies in.
func (x *extractor) makeAll(dir string) (fd int, err error) {
	if fd, err = x.find("."); err != nil {
		return -1, err
	}
	for i := 0; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		next, err := x.find(dir[:i])
		if errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(fd, path.Base(dir[:i]), 0o755); err == nil {
				next, err = x.find(dir[:i])
			} else if err == unix.EEXIST {
				err = errors.New("a link that leads nowhere in the layer")
			}
		}
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// leave sets the times of the folders that the entry of a name is not in.
func (x *extractor) leave(name string) error {
	for len(x.open) > 0 {
		last := x.open[len(x.open)-1]
		if name != "" && last.name != name && (last.name == "." || strings.HasPrefix(name, last.name+"/")) {
			return nil
		}
		x.open = x.open[:len(x.open)-1]
		dir, base := path.Split(last.name)
		parent, err := x.find(path.Clean(dir))
		if err == nil {
			err = setTime(parent, base, last.time)
			unix.Close(parent)
		}
		// It may have been replaced since, by a file, or by a link that leads nowhere.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return fmt.Errorf("entry %.200q: set its time: %w", last.name, err)
		}
	}
	return nil
}

// setTime sets the times of what has a name in a folder.
func setTime(parent int, base string, t time.Time) error {
	if base == "" {
		base = "."
	}
	var at unix.Timespec // for what file systems and UnixNano cannot hold
	if t.Unix() > 0 && t.Year() < 2260 {
		at = unix.NsecToTimespec(t.UnixNano())
	}
	return unix.UtimesNanoAt(parent, base, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// replacing makes something in the place of what there is.
func (x *extractor) replacing(parent int, base string, make func() error) error {
	err := make()
	if err != unix.EEXIST {
		return err
	}
	if err := x.remove(parent, base); err != nil {
		return err
	}
	return make()
}

// remove removes whatever has a name in a folder.
func (x *extractor) remove(parent int, base string) error {
	if err := unix.Unlinkat(parent, base, 0); err != unix.EISDIR {
		return err
	}
	if parent != x.cached {
		x.forget() // it may be in there
	}
	return os.RemoveAll(fdPath(parent) + "/" + base)
}

// fdPath is a path to the folder of a descriptor, for what takes paths only.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// folder makes a folder, unless there is one.
func (x *extractor) folder(parent int, base string) error {
	err := unix.Mkdirat(parent, base, 0o755)
	if err != unix.EEXIST {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	err = x.replacing(parent, base, func() error { return unix.Mkdirat(parent, base, 0o755) })
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR { // a whiteout, and then the folder anew
		err = x.hide(parent, base)
	}
	return err
}

// file makes a file.
func (x *extractor) file(parent int, base string, h *tar.Header, data io.Reader) error {
	fd := -1
	err := x.replacing(parent, base, func() (err error) {
		fd, err = unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	err = x.fill(fd, h, data)
	if err == nil {
		err = x.adjustFile(fd, h)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return setTime(parent, base, h.ModTime)
}

// fill writes a file's content. The holes of a sparse file are no bytes of the stream: they become holes, and count.
func (x *extractor) fill(fd int, h *tar.Header, data io.Reader) error {
	sparse := h.Typeflag == tar.TypeGNUSparse
	for key := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(key, "GNU.sparse.")
	}
	if sparse {
		if x.Limits.Bytes -= h.Size; x.Limits.Bytes < 0 {
			return ErrTooLarge
		}
	}
	var at int64
	for at < h.Size {
		n, err := io.ReadFull(data, x.buffer[:min(int64(len(x.buffer)), h.Size-at)])
		if err != nil && n == 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if block := x.buffer[:n]; sparse && isZero(block) {
			if _, err := unix.Seek(fd, int64(n), io.SeekCurrent); err != nil {
				return err
			}
		} else if err := writeAll(fd, block); err != nil {
			return err
		}
		at += int64(n)
	}
	x.sum.Bytes += h.Size
	if sparse {
		return unix.Ftruncate(fd, h.Size)
	}
	return nil
}

func isZero(block []byte) bool {
	for _, b := range block {
		if b != 0 {
			return false
		}
	}
	return true
}

func writeAll(fd int, block []byte) error {
	for len(block) > 0 {
		n, err := unix.Write(fd, block)
		if err != nil && err != unix.EINTR {
			return err
		}
		block = block[max(n, 0):]
	}
	return nil
}

// adjust gives what has been made its owner, mode, attributes, and, unless it is a folder, its time.
func (x *extractor) adjust(parent int, base string, h *tar.Header) error {
	if h.Typeflag == tar.TypeSymlink {
		if x.Owners && (h.Uid != 0 || h.Gid != 0) {
			if err := unix.Fchownat(parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
		return setTime(parent, base, h.ModTime)
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return x.adjustFile(fd, h)
}

// adjustFile does so for a file or folder that is open. Whoever unpacks must be able to read and remove it again.
func (x *extractor) adjustFile(fd int, h *tar.Header) error {
	if x.Owners && (h.Uid != 0 || h.Gid != 0) {
		if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	stripped := h.Mode&0o6000 != 0
	mode := uint32(h.Mode) & 0o1777
	if h.Typeflag == tar.TypeDir {
		mode |= 0o700
	} else {
		mode |= 0o600
	}
	if err := unix.Fchmod(fd, mode); err != nil { // whatever the umask
		return err
	}
	for key, value := range h.PAXRecords {
		attribute, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		if !strings.HasPrefix(attribute, "user.") || strings.HasPrefix(attribute, "user.overlay.") {
			stripped = true
			continue
		}
		switch err := unix.Fsetxattr(fd, attribute, []byte(value), 0); err {
		case nil:
		case unix.ENOTSUP, unix.ENOSPC, unix.E2BIG: // the file system has none, or not so large ones
			stripped = true
		default:
			return fmt.Errorf("attribute %.80q: %w", attribute, err)
		}
	}
	if stripped {
		x.sum.Stripped++
	}
	return nil
}

// link makes a hard link to a file that is there.
func (x *extractor) link(target, name string, parent int, base string) error {
	to, err := inside(target)
	if err != nil {
		return err
	}
	if to == name {
		return nil
	}
	dir, file := path.Split(to)
	from, err := x.find(path.Clean(dir))
	if err != nil {
		return fmt.Errorf("hard link to %.200q: %w", target, err)
	}
	defer unix.Close(from)
	var st unix.Stat_t
	if err := unix.Fstatat(from, file, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("hard link to %.200q: %w", target, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return errors.New("a hard link to a folder")
	}
	make := func() error { return unix.Linkat(from, file, parent, base, 0) }
	err = make()
	if err != unix.EEXIST {
		return err
	}
	var old unix.Stat_t
	if err := unix.Fstatat(parent, base, &old, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if old.Ino == st.Ino && old.Dev == st.Dev { // a link to itself, by another way
		return nil
	}
	return x.replacing(parent, base, make)
}

// whiteout notes what a layer says is gone.
func (x *extractor) whiteout(dir, base string) error {
	parent, err := x.parent(dir)
	if err != nil {
		return err
	}
	x.sum.Whiteouts++
	if base == opaque {
		fd, err := unix.Openat(parent, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Fsetxattr(fd, opaqueAttribute, []byte("y"), 0); err != nil {
			return fmt.Errorf("mark the folder as opaque: %w", err)
		}
		return nil
	}
	gone := strings.TrimPrefix(base, whiteout)
	if gone == "" || gone == "." || gone == ".." {
		return errors.New("a whiteout of no name")
	}
	if strings.HasPrefix(gone, whiteout) { // .wh..wh.plnk and others of aufs
		return nil
	}
	err = unix.Mknodat(parent, gone, unix.S_IFCHR, 0)
	if err == unix.EEXIST { // the layer has it again: only that of the layers below is gone
		return x.hide(parent, gone)
	}
	return err
}

// hide hides what the layers below have by a name that this one has, too.
func (x *extractor) hide(parent int, name string) error {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR || err == unix.ELOOP || err == unix.ENXIO {
		return nil // anything else than a folder does so anyway
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fsetxattr(fd, opaqueAttribute, []byte("y"), 0)
}

// inside makes a name of a layer one within its root.
func inside(name string) (string, error) {
	if strings.ContainsRune(name, 0) || len(name) >= maxName {
		return "", errors.New("not a name of a file")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New("leads out of the image")
		}
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		name = "."
	}
	return name, nil
}

// relative makes the target of a symbolic link in a folder relative.
func relative(dir, target string) string {
	if !strings.HasPrefix(target, "/") {
		return target
	}
	up := ""
	if dir != "." {
		up = strings.Repeat("../", strings.Count(dir, "/")+1)
	}
	return path.Join(up, path.Clean(target)[1:], ".")
}

// Limit reads until more has been read than is left: then it fails with [ErrTooLarge].
func Limit(from io.Reader, left *int64) io.Reader { return &limitedReader{from, left} }

// A limitedReader fails when more is read than is left.
type limitedReader struct {
	from io.Reader
	left *int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	if *l.left -= int64(n); *l.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}
