package images

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"winbox/images/layer"
	"winbox/images/store"
)

// collisions counts the names that differ in case only from others of their folder: a Windows program finds one of them.
type collisions int

// maxWarnings is how many are told one by one.
const maxWarnings = 10

// folder warns of those of a folder.
func (c *collisions) folder(dir string, names []string, warn func(string)) {
	slices.Sort(names)
	seen := make(map[string]string, len(names))
	for _, name := range names {
		lower := strings.ToLower(name)
		if other, ok := seen[lower]; ok {
			if *c++; *c <= maxWarnings {
				warn(fmt.Sprintf("%q and %q differ in case only: a Windows program finds one of them", path.Join(dir, other), path.Join(dir, name)))
			}
		}
		seen[lower] = name
	}
}

// tell warns of how many more there are.
func (c *collisions) tell(warn func(string)) {
	if *c > maxWarnings {
		warn(fmt.Sprintf("%d more names differ in case only", *c-maxWarnings))
	}
}

// linuxFolders are those of a Linux system at the top of an image: what is in them is not for Windows programs.
var linuxFolders = []string{"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr", "var"}

// warnOfCollisions looks for such names in the unpacked layers of an image, one over the other. Who calls it has a hold.
func warnOfCollisions(s *store.Store, diffIDs []store.Digest, warn func(string)) error {
	var roots []*os.Root
	defer func() {
		for _, r := range roots {
			r.Close()
		}
	}()
	for _, id := range slices.Backward(diffIDs) { // the uppermost first
		r, err := os.OpenRoot(s.Tree(id))
		if err != nil {
			return err
		}
		roots = append(roots, r)
	}
	var found collisions
	err := found.walk(roots, ".", warn)
	found.tell(warn)
	return err
}

// walk looks at a folder of layers, the uppermost first, and at those in it.
func (c *collisions) walk(layers []*os.Root, dir string, warn func(string)) error {
	kinds := make(map[string]fs.FileMode)
	in := make(map[string][]*os.Root) // of folders, where they are
	hides := make(map[string]bool)    // what is no folder hides folders below
	for _, l := range layers {
		f, err := l.Open(dir)
		if err != nil {
			return err
		}
		entries, err := f.ReadDir(-1)
		opaque := false
		if err == nil {
			opaque = layer.IsOpaque(int(f.Fd()))
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		for _, entry := range entries {
			name, kind := entry.Name(), entry.Type()
			if _, known := kinds[name]; !known {
				kinds[name] = kind
			}
			if hides[name] = hides[name] || !kind.IsDir(); !hides[name] {
				in[name] = append(in[name], l)
			}
		}
		if opaque {
			break
		}
	}
	var names []string
	for name, kind := range kinds {
		if kind&fs.ModeDevice == 0 && (dir != "." || !slices.Contains(linuxFolders, name)) { // devices are whiteouts
			names = append(names, name)
		}
	}
	c.folder(dir, names, warn)
	for _, name := range names {
		if len(in[name]) > 0 {
			if err := c.walk(in[name], path.Join(dir, name), warn); err != nil {
				return err
			}
		}
	}
	return nil
}

// A nameSet finds such names while layers are converted. It keeps sums of paths, of which there may be many.
type nameSet struct {
	seed  maphash.Seed
	names map[uint64]uint64 // by the sum of the path in lower case, that of the path
	found []string          // the first ones
	count collisions
}

// add adds the path of an entry; one with the mark of a whiteout removes the path.
func (s *nameSet) add(name string) {
	if s.names == nil {
		s.seed, s.names = maphash.MakeSeed(), make(map[uint64]uint64)
	}
	dir, base := path.Split(name)
	base, whiteout := strings.CutPrefix(base, ".wh.")
	lower, sum := maphash.String(s.seed, strings.ToLower(dir+base)), maphash.String(s.seed, dir+base)
	if whiteout {
		delete(s.names, lower)
		return
	}
	if old, ok := s.names[lower]; ok && old != sum {
		if s.count++; s.count <= maxWarnings {
			s.found = append(s.found, name)
		}
	}
	s.names[lower] = sum
}

// tell warns of them.
func (s *nameSet) tell(warn func(string)) {
	for _, name := range s.found {
		warn(fmt.Sprintf("%q and another name differ in case only: a Windows program finds one of them", name))
	}
	s.count.tell(warn)
}
