package wine

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
	"time"

	"golang.org/x/sys/unix"
)

// What [Store.Prune] removes.
const (
	PrunedRuntime  = "runtime"
	PrunedTemplate = "template"
	PrunedDraft    = "draft"
)

// Pruned is something that nobody needs.
type Pruned struct {
	// Kind is PrunedRuntime, PrunedTemplate or PrunedDraft.
	Kind string `json:"kind"`
	// Name is what the runtime is called, or its digest when it has no name; else the name of the folder.
	Name string `json:"name"`
	// Size is that of its files, in bytes.
	Size int64 `json:"size"`

	dir   string
	names []string // of a runtime
}

// A Hold keeps all that is in a store from being removed, until it is closed: who has chosen a runtime for a container has
// one until the container's folder says so.
type Hold struct{ dir *os.File }

// Close lets go. It may be called twice, and for nil.
func (h *Hold) Close() {
	if h != nil {
		h.dir.Close()
	}
}

// Hold waits for a removal to end, and keeps the next from beginning.
func (s *Store) Hold() (*Hold, error) { return s.hold(unix.LOCK_SH) }

// holdAlone waits until nobody has a hold, and keeps others from having one.
func (s *Store) holdAlone(ctx context.Context) (*Hold, error) {
	for {
		h, err := s.hold(unix.LOCK_EX | unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return h, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for containers that are being made: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// hold locks the folder of templates, which is always there and which nobody locks for anything else.
func (s *Store) hold(how int) (*Hold, error) {
	dir := filepath.Join(s.dataRoot, "templates")
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	}
	if err != nil {
		return nil, err
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how); err {
		case nil:
			return &Hold{f}, nil
		case unix.EINTR:
		default:
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
	}
}

// Prune removes the runtimes that have no name and no container, with all those that no container uses, whatever their
// names; what killed builds have left; and the templates of runtimes that are gone and of states of the host's Wine that
// are. With dry it only says what it would remove.
//
// It waits for builds, and for containers that are being made; those that are made are left what they use.
func (s *Store) Prune(ctx context.Context, all, dry bool) ([]Pruned, error) {
	list, err := s.prune(ctx, all, dry)
	if err != nil {
		return nil, fmt.Errorf("prune runtimes: %w", err)
	}
	return list, nil
}

func (s *Store) prune(ctx context.Context, all, dry bool) ([]Pruned, error) {
	if err := os.MkdirAll(s.dir(), 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, filepath.Join(s.dir(), ".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	hold, err := s.holdAlone(ctx)
	if err != nil {
		return nil, err
	}
	defer hold.Close()

	used, err := s.used()
	if err != nil {
		return nil, err
	}
	drafts, err := s.drafts()
	if err != nil {
		return nil, err
	}
	runtimes, kept, err := s.unneeded(all, used)
	if err != nil {
		return nil, err
	}
	templates, err := s.templates(kept, used)
	if err != nil {
		return nil, err
	}
	list := slices.Concat(runtimes, templates, drafts)
	for i := range list {
		if list[i].Size, err = treeSize(list[i].dir); err != nil {
			return nil, err
		}
	}
	if dry {
		return list, nil
	}
	// Names go first, then what they stood for is renamed: half a tree is never found. To delete it takes time, in which
	// others need not wait.
	for _, p := range list {
		for _, name := range p.names {
			if err := os.Remove(filepath.Join(s.dir(), name)); err != nil {
				return nil, err
			}
		}
		if p.Kind == PrunedDraft {
			continue
		}
		if err := os.Rename(p.dir, gone(p.dir)); err != nil {
			return nil, err
		}
		if p.Kind == PrunedTemplate { // who would lock the file has a hold first
			if err := os.Remove(filepath.Join(filepath.Dir(p.dir), "."+p.Name+".lock")); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	hold.Close()
	for _, p := range list {
		dir := p.dir
		if p.Kind != PrunedDraft {
			dir = gone(dir)
		}
		if err := removeTree(dir); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// gone is the name that a folder of the store has while it is removed.
func gone(dir string) string {
	return filepath.Join(filepath.Dir(dir), ".new-gone-"+filepath.Base(dir))
}

// inUse are the folders that containers use.
type inUse struct {
	dirs map[string]bool
	// unknown says that there is a container that does not tell its template: an older winbox has made it.
	unknown bool
}

func (s *Store) used() (inUse, error) {
	used := inUse{dirs: make(map[string]bool)}
	containers, err := filepath.Glob(filepath.Join(s.dataRoot, "containers", "*"))
	if err != nil {
		return used, err
	}
	for _, dir := range containers {
		runtime, err := os.Readlink(filepath.Join(dir, runtimeLink))
		if err != nil { // not a container's folder, or one that is being removed
			continue
		}
		used.dirs[runtime] = true
		template, err := os.Readlink(filepath.Join(dir, templateLink))
		if err != nil {
			used.unknown = true
		}
		used.dirs[template] = true
	}
	return used, nil
}

// drafts lists what killed builds have left. While builds are locked out and no template is being made, every draft is one.
func (s *Store) drafts() ([]Pruned, error) {
	var list []Pruned
	for _, dir := range []string{s.dir(), filepath.Join(s.dataRoot, "templates")} {
		found, err := filepath.Glob(filepath.Join(dir, ".new-*"))
		if err != nil {
			return nil, err
		}
		for _, draft := range found {
			list = append(list, Pruned{Kind: PrunedDraft, Name: filepath.Base(draft), dir: draft})
		}
	}
	return list, nil
}

// unneeded lists the runtimes to remove, and gives the digests of the others.
func (s *Store) unneeded(all bool, used inUse) (list []Pruned, kept []string, err error) {
	named, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	trees, err := filepath.Glob(filepath.Join(s.dir(), treePrefix+"*"))
	if err != nil {
		return nil, nil, err
	}
	for _, tree := range trees {
		digest := "sha256:" + strings.TrimPrefix(filepath.Base(tree), treePrefix)
		p := Pruned{Kind: PrunedRuntime, Name: digest, dir: tree}
		for _, record := range named {
			if record.Digest == digest {
				p.names = append(p.names, record.Name)
			}
		}
		if used.dirs[filepath.Join(tree, "root")] || len(p.names) > 0 && !all {
			kept = append(kept, digest)
			continue
		}
		if len(p.names) > 0 {
			p.Name = strings.Join(p.names, " ")
		}
		list = append(list, p)
	}
	return list, kept, nil
}

// templates lists those of runtimes that are not kept, and of states of the host's Wine that it is no longer in.
func (s *Store) templates(kept []string, used inUse) ([]Pruned, error) {
	if used.unknown {
		return nil, nil
	}
	var wanted []string
	for _, digest := range kept {
		wanted = append(wanted, templateDigest([]byte(digest)))
	}
	switch host, err := Host(); {
	case err == nil:
		wanted = append(wanted, host.Digest)
	case !errors.Is(err, ErrNoWine):
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(s.dataRoot, "templates", "wine-*"))
	if err != nil {
		return nil, err
	}
	var list []Pruned
	for _, dir := range found {
		if !used.dirs[dir] && !slices.ContainsFunc(wanted, func(digest string) bool { return strings.HasSuffix(dir, "-"+digest) }) {
			list = append(list, Pruned{Kind: PrunedTemplate, Name: filepath.Base(dir), dir: dir})
		}
	}
	return list, nil
}
