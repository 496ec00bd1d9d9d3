package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
)

// Limits are what an image may have at most, of all its layers.
type Limits struct {
	// Bytes is the size of the layers when they are no longer compressed.
	Bytes int64
	// Entries is the number of files, folders and links in them.
	Entries int
}

// DefaultLimits are far more than a distribution with Wine has.
var DefaultLimits = Limits{Bytes: 16 << 30, Entries: 1 << 20}

// errTooLarge is what a reader says beyond the limit.
var errTooLarge = errors.New("too large")

// An Unpacker applies layers, in their order, to a folder.
type Unpacker struct {
	root *os.Root
	left Limits
	// plain refuses what has no place in an image layout: whiteouts mean nothing, and there are no links.
	plain bool
}

// NewUnpacker unpacks into a folder, which should be empty. Others must not write to it meanwhile.
func NewUnpacker(root *os.Root, limits Limits) *Unpacker { return &Unpacker{root: root, left: limits} }

// What a layer says about layers below it (OCI image specification, "Layer Filesystem Changeset").
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// Layer applies a layer, a tar stream that is no longer compressed. It reads to the end of the stream.
//
// # Errors
//
// An entry leads out of the folder or is of an unknown kind; the limits are reached. What has been unpacked stays.
func (u *Unpacker) Layer(stream io.Reader) error {
	limited := &limitedReader{stream, &u.left.Bytes}
	t := tar.NewReader(limited)
	made := make(map[string]bool) // by this layer: an opaque folder keeps it
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			if u.left.Entries--; u.left.Entries < 0 {
				return fmt.Errorf("the layers have too many entries")
			}
			err = u.entry(h, t, made)
		}
		if errors.Is(err, errTooLarge) {
			return fmt.Errorf("the layers are larger than the limit when unpacked")
		}
		if err != nil && h != nil {
			return fmt.Errorf("layer entry %q: %w", h.Name, err)
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
	}
	_, err := io.Copy(io.Discard, limited)
	if errors.Is(err, errTooLarge) {
		return fmt.Errorf("the layers are larger than the limit when unpacked")
	}
	return err
}

func (u *Unpacker) entry(h *tar.Header, data io.Reader, made map[string]bool) error {
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader || name == "." {
		return nil
	}
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if !u.plain && strings.HasPrefix(base, whiteout) {
		return u.whiteout(dir, base, made)
	}
	switch h.Typeflag {
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo: // not kept
		return nil
	case tar.TypeDir, tar.TypeReg:
	case tar.TypeSymlink, tar.TypeLink:
		if u.plain {
			return errors.New("a link")
		}
	default:
		return fmt.Errorf("of the unknown kind %q", h.Typeflag)
	}
	if err := u.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for at := name; at != "."; at = path.Dir(at) {
		made[at] = true
	}
	old, err := u.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case old.IsDir() && h.Typeflag == tar.TypeDir:
		return nil
	case h.Typeflag != tar.TypeLink || !old.Mode().IsRegular(): // else after it is known what it is a link to
		if err := u.root.RemoveAll(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.root.Mkdir(name, 0o755)
	case tar.TypeSymlink:
		return u.root.Symlink(relative(dir, h.Linkname), name)
	case tar.TypeLink:
		return u.link(h.Linkname, name)
	}
	mode := h.FileInfo().Mode().Perm() | 0o600
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	// The holes of a sparse file are no bytes of the stream.
	left := max(u.left.Bytes, 0)
	n, err := io.Copy(f, io.LimitReader(data, min(left, math.MaxInt64-1)+1))
	if err == nil && n > left {
		err = errTooLarge
	}
	if h.Size > n && err == nil {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, f.Chmod(mode), f.Close()) // whatever the umask
}

// whiteout removes what a layer says is gone.
func (u *Unpacker) whiteout(dir, base string, made map[string]bool) error {
	if base != opaque {
		gone := strings.TrimPrefix(base, whiteout)
		if gone == "" || gone == "." || gone == ".." {
			return errors.New("a whiteout of no name")
		}
		return u.root.RemoveAll(path.Join(dir, gone))
	}
	entries, err := fs.ReadDir(u.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		if made[name] {
			continue
		}
		if err := u.root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// link makes a hard link to a file that is there.
func (u *Unpacker) link(to, name string) error {
	to, err := inside(to)
	if err != nil {
		return err
	}
	info, err := u.root.Lstat(to)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("a hard link to a folder")
	}
	if to == name {
		return nil
	}
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	return u.root.Link(to, name)
}

// inside makes a name of a layer one within its root.
func inside(name string) (string, error) {
	if strings.ContainsRune(name, 0) || len(name) > 4096 {
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

// relative makes the target of a symbolic link in a folder relative, so that it means the same wherever the root is.
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

// A limitedReader fails when more is read than is left.
type limitedReader struct {
	from io.Reader
	left *int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	if *l.left -= int64(n); *l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
