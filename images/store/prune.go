package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrBusy says that others use the store.
var ErrBusy = errors.New("others add to the image store, or start containers of it")

// Pruned is something that nobody needs.
type Pruned struct {
	// Kind is "name", "blob", "layer", "draft", or "container" for what one that was killed has left.
	Kind string `json:"kind"`
	// Name is a name, a digest, or what a draft is called.
	Name string `json:"name"`
	// Size is what it has on disk, in bytes.
	Size int64 `json:"size"`

	path string
	// note is what names a draft that lies elsewhere.
	note string
}

// PruneOptions say what goes.
type PruneOptions struct {
	// All removes names as well, unless a container uses the image.
	All bool
	// Dry only says what would be removed.
	Dry bool
	// Try gives up with [ErrBusy] where it would have to wait.
	Try bool
}

// Prune removes what no name and no container needs: blobs, unpacked layers, and what killed commands have left. It waits
// until nobody adds to the store or makes a container of it; what containers use stays.
func (s *Store) Prune(ctx context.Context, opt PruneOptions) ([]Pruned, error) {
	if err := s.make(); err != nil {
		return nil, fmt.Errorf("prune images: %w", s.Explain(err))
	}
	var hold *Hold
	var err error
	if opt.Try {
		if hold, err = s.hold(unix.LOCK_EX | unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrBusy
		}
	} else {
		hold, err = s.holdAlone(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("prune images: %w", err)
	}
	defer hold.Close()
	list, err := s.prune(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("prune images: %w", err)
	}
	return list, nil
}

func (s *Store) prune(ctx context.Context, opt PruneOptions) (list []Pruned, err error) {
	users, err := s.users()
	if err != nil {
		return nil, err
	}
	inUse := make(map[Digest]bool)
	for _, u := range users {
		if !u.gone {
			inUse[u.Image.Digest] = true
			continue
		}
		p := Pruned{Kind: "container", Name: u.Container, path: filepath.Join(s.containers(), u.Container)}
		if p.Size, err = diskUsage(p.path); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	named, err := s.List()
	if err != nil {
		return nil, err
	}
	roots := make(map[Digest]bool)
	for _, d := range named {
		if !opt.All || inUse[d.Digest] {
			roots[d.Digest] = true
			continue
		}
		list = append(list, Pruned{Kind: "name", Name: d.Name()})
	}
	for d := range inUse {
		roots[d] = true
	}
	blobs, layers := make(map[string]bool), make(map[string]bool)
	for d := range roots {
		blobs[d.hex()] = true
		image, err := s.Image(Descriptor{Digest: d})
		if err != nil {
			// Not to know what an image needs is no reason to remove what it needs.
			return nil, fmt.Errorf("image %s: %w; remove it by its digest", d, err)
		}
		blobs[image.Manifest.Config.Digest.hex()] = true
		for i, l := range image.Manifest.Layers {
			blobs[l.Digest.hex()], layers[image.Config.RootFS.DiffIDs[i].hex()] = true, true
		}
	}
	for _, kind := range []struct {
		name, dir string
		needed    map[string]bool
	}{{"blob", "blobs/sha256", blobs}, {"layer", "layers", layers}, {"draft", "ingest", nil}} {
		entries, err := os.ReadDir(filepath.Join(s.Dir(), kind.dir))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if kind.needed[entry.Name()] {
				continue
			}
			p := Pruned{Kind: kind.name, Name: entry.Name(), path: filepath.Join(s.Dir(), kind.dir, entry.Name())}
			if kind.name == "draft" && strings.HasPrefix(entry.Name(), noted) {
				lock, err := p.follow()
				if err != nil {
					return nil, err
				}
				if lock == nil {
					continue
				}
				defer lock.Close()
			}
			if kind.name != "draft" {
				p.Name = digestPrefix + p.Name
			}
			if p.Size, err = diskUsage(p.path); err != nil {
				return nil, err
			}
			list = append(list, p)
		}
	}
	if opt.Dry {
		return list, nil
	}
	// Names first, then manifests and what they need: nothing is named that is not there. A layer loses its name before
	// its files: half of one is never found.
	if opt.All {
		err := s.change(ctx, func(x *index) error {
			var kept []Descriptor
			for _, d := range x.Manifests {
				if roots[d.Digest] {
					kept = append(kept, d)
				}
			}
			x.Manifests = append([]Descriptor{}, kept...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for i := range list {
		p := &list[i]
		if p.Kind == "layer" {
			gone := filepath.Join(s.ingestDir(), oldLayer+filepath.Base(p.path))
			if err := os.Rename(p.path, gone); err != nil {
				return nil, err
			}
			p.path = gone
		}
		if p.path != "" {
			if err := os.RemoveAll(p.path); err != nil {
				return nil, err
			}
		}
		if p.note != "" {
			if err := os.Remove(p.note); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// noted begins the names of links in ingest that name drafts elsewhere.
const noted = "bundle-"

// NoteDraft notes a folder outside of the store that whoever makes it has locked (flock(2)) until it is done, so that
// [Store.Prune] removes it when its maker was killed. forget is for its end. The store must be there.
func (s *Store) NoteDraft(dir string) (forget func() error, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	note := filepath.Join(s.ingestDir(), noted+DigestOf([]byte(dir)).hex())
	if err := os.Symlink(dir, note); err != nil && !errors.Is(err, fs.ErrExist) { // one that was killed may have left it
		return nil, s.Explain(err)
	}
	return func() error { return os.Remove(note) }, nil
}

// follow makes of a note the draft that it names, and locks that; nil is for one that somebody makes. Without a draft, the
// note itself is what is left.
func (p *Pruned) follow() (*os.File, error) {
	dir, err := os.Readlink(p.path)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return os.Open(filepath.Dir(p.path))
	}
	if err != nil {
		return nil, err
	}
	if err := flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, lock.Close()
	}
	p.Name, p.path, p.note = dir, dir, p.path
	return lock, nil
}

// diskUsage is what a file or tree takes on disk, each file once.
func diskUsage(path string) (size int64, err error) {
	linked := make(map[uint64]bool)
	err = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if st.Nlink > 1 && !entry.IsDir() {
			if linked[st.Ino] {
				return nil
			}
			linked[st.Ino] = true
		}
		size += st.Blocks * 512
		return nil
	})
	return size, err
}

// clean removes what others that were killed have left in ingest, but for half downloads.
func (s *Store) clean() error {
	entries, err := os.ReadDir(s.ingestDir())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if slices.ContainsFunc([]string{newBlob, newLayer, oldLayer}, func(p string) bool { return strings.HasPrefix(entry.Name(), p) }) {
			if err := removeLeft(filepath.Join(s.ingestDir(), entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeLeft removes a draft, unless somebody is making it, who has it locked.
func removeLeft(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil || !same(f, path) {
		return nil
	}
	return os.RemoveAll(path)
}
