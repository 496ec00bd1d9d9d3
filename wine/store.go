package wine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Store keeps the runtimes that were built, in the folder `runtimes` of a data root. A runtime is a tree that never
// changes, in a folder named after its digest; names are symbolic links to such folders. What a killed build leaves
// begins with a dot, counts for nothing, and is removed by the next.
type Store struct {
	dataRoot string
}

// OpenStore gives the store of a data root, which need not exist.
func OpenStore(dataRoot string) *Store { return &Store{dataRoot} }

func (s *Store) dir() string { return filepath.Join(s.dataRoot, "runtimes") }

// A Record describes a runtime of the store.
type Record struct {
	// Name is what it is called; empty in the file, since names are links.
	Name string `json:"name,omitempty"`
	// Digest is the tree's, as treeDigest makes it: "sha256:" and 64 digits.
	Digest string `json:"digest"`
	// Wine is the version of Wine.
	Wine string `json:"wine"`
	// Machines are those of the programs that it runs, and WoW64 is how it runs the 32-bit ones.
	Machines []string `json:"machines"`
	WoW64    WoW64    `json:"wow64"`
	// Size is that of all files, in bytes; Untrimmed that of the root file system that they were taken from.
	Size      int64 `json:"size"`
	Untrimmed int64 `json:"untrimmed"`
	// Unplaced are Wine's own libraries that Wine loads at other bases than their files name: see placeLibraries.
	Unplaced []string `json:"unplaced,omitempty"`
	// KeepsReserved says that its 32-bit ntdll.so was changed to hand nothing back to the kernel: see keepReserved.
	KeepsReserved bool `json:"keepsReserved,omitempty"`
	// SmallestStack is what a stack has at least, in bytes, if Wine was changed for that: see allowSmallStacks.
	SmallestStack uint64 `json:"smallestStack,omitempty"`
	// Source says where that came from.
	Source string `json:"source"`
	// NoUpdates says why it was made without the security updates of the distribution; empty when it has them.
	NoUpdates string    `json:"noUpdates,omitempty"`
	Created   time.Time `json:"created"`
}

// ErrNoRuntime says that a name or digest is not that of a runtime.
var ErrNoRuntime = errors.New("no such runtime")

// names are what runtimes can be called: one word that no path and no digest can be taken for.
var names = pattern(`^[a-zA-Z0-9][a-zA-Z0-9_.+-]{0,63}$`)

// treePrefix begins the names of the folders of trees.
const treePrefix = "sha256-"

// CheckName refuses what no runtime can be called.
func CheckName(name string) error {
	if !names().MatchString(name) || strings.HasPrefix(name, treePrefix) || name == hostName || strings.HasPrefix(name, "opt-wine-") {
		return fmt.Errorf("runtime name %q: want letters, digits and any of _.+-, at most 64 of them, and not the name of an installation of the host's", name)
	}
	return nil
}

// List lists the runtimes by name.
func (s *Store) List() ([]Record, error) {
	entries, err := os.ReadDir(s.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list runtimes: %w", err)
	}
	var list []Record
	for _, entry := range entries {
		if entry.Type() != fs.ModeSymlink {
			continue
		}
		r, err := s.read(entry.Name())
		if err != nil {
			return nil, err
		}
		r.Name = entry.Name()
		list = append(list, *r)
	}
	return list, nil
}

// read reads the record of a folder or link of the store.
func (s *Store) read(name string) (*Record, error) {
	file := filepath.Join(s.dir(), name, "runtime.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("runtime %s: %w", name, err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("runtime %s: %s: %w", name, file, err)
	}
	return &r, nil
}

// find gives the record of a runtime by its name, or by its digest or the beginning of that.
func (s *Store) find(name string) (*Record, error) {
	if names().MatchString(name) && !strings.HasPrefix(name, treePrefix) {
		r, err := s.read(name)
		if err == nil {
			r.Name = name
			return r, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	hexes := strings.TrimPrefix(name, "sha256:")
	if len(hexes) < 8 || strings.Trim(hexes, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("%w: %s", ErrNoRuntime, name)
	}
	found, err := filepath.Glob(filepath.Join(s.dir(), treePrefix+hexes+"*"))
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("%w: %s", ErrNoRuntime, name)
	case len(found) > 1:
		return nil, fmt.Errorf("runtime %s: %d digests begin with that", name, len(found))
	}
	return s.read(filepath.Base(found[0]))
}

// tree is the folder of a runtime.
func (s *Store) tree(r *Record) string {
	return filepath.Join(s.dir(), treePrefix+strings.TrimPrefix(r.Digest, "sha256:"))
}

// Open gives the runtime of a name or digest.
//
// # Errors
//
// [ErrNoRuntime].
func (s *Store) Open(name string) (*Runtime, error) {
	record, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return s.open(record)
}

func (s *Store) open(record *Record) (*Runtime, error) {
	root := filepath.Join(s.tree(record), "root")
	r := inFiles(hostFiles(root))
	if r == nil {
		return nil, fmt.Errorf("runtime %s: no Wine in %s: build it anew with `winbox runtime build`", record.Digest, root)
	}
	r.root = root
	r.adopt(record)
	return r, nil
}

// adopt takes over what a record says of a runtime that was found in its files.
func (r *Runtime) adopt(record *Record) {
	if r.Name = record.Name; r.Name == "" {
		r.Name = record.Digest
	}
	r.built, r.keepsReserved, r.smallestStack = true, record.KeepsReserved, record.SmallestStack
	r.Digest = templateDigest([]byte(record.Digest))
}

// Verify reads a whole runtime and compares it with its digest.
func (s *Store) Verify(name string) error {
	record, err := s.find(name)
	if err != nil {
		return err
	}
	digest, _, err := treeDigest(filepath.Join(s.tree(record), "root"))
	if err != nil {
		return fmt.Errorf("runtime %s: %w", name, err)
	}
	if digest != record.Digest {
		return fmt.Errorf("runtime %s has been changed: its digest is %s, not %s: build it anew", name, digest, record.Digest)
	}
	return nil
}

// Remove removes a name, and with the last name of a runtime its tree and template. A name that two runtimes begin with
// is none.
//
// # Errors
//
// [ErrNoRuntime]; containers use the runtime.
func (s *Store) Remove(name string) error {
	record, err := s.find(name)
	if err != nil {
		return err
	}
	users, err := s.users(record)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return fmt.Errorf("runtime %s is in use: delete first: %s", name, strings.Join(users, ", "))
	}
	if record.Name != "" {
		if err := os.Remove(filepath.Join(s.dir(), record.Name)); err != nil {
			return fmt.Errorf("remove runtime: %w", err)
		}
	}
	named, err := s.List()
	if err != nil {
		return err
	}
	for _, other := range named {
		if other.Digest == record.Digest && record.Name != "" {
			return nil
		}
	}
	return s.removeTree(record)
}

// removeTree removes what a runtime has on disk. It loses its name first: half a tree is never found.
func (s *Store) removeTree(record *Record) error {
	templates, err := filepath.Glob(filepath.Join(s.dataRoot, "templates", "*-"+templateDigest([]byte(record.Digest))))
	if err != nil {
		return err
	}
	for _, dir := range append(templates, s.tree(record)) {
		gone := filepath.Join(filepath.Dir(dir), ".new-gone-"+filepath.Base(dir))
		if err := errors.Join(os.Rename(dir, gone), removeTree(gone)); err != nil {
			return fmt.Errorf("remove runtime: %w", err)
		}
	}
	return nil
}

// users are the containers of a runtime.
func (s *Store) users(record *Record) ([]string, error) {
	links, err := filepath.Glob(filepath.Join(s.dataRoot, "containers", "*", runtimeLink))
	if err != nil {
		return nil, err
	}
	var users []string
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == filepath.Join(s.tree(record), "root") {
			users = append(users, filepath.Base(filepath.Dir(link)))
		}
	}
	return users, nil
}

// runtimeLink is where the folder of a container tells which runtime it uses.
const runtimeLink = "runtime"

// templateLink is where it tells which template.
const templateLink = "template"

// treeDigest makes one digest of all that is in a tree: the names, kinds and modes, and the contents of files. Times do
// not count, so that the same packages make the same digest. size is that of all files.
func treeDigest(dir string) (digest string, size int64, err error) {
	h := sha256.New()
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %v", rel, info.Mode())
		switch {
		case entry.IsDir():
		case info.Mode().IsRegular():
			size += info.Size()
			sum, err := fileDigest(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(h, " %d %x", info.Size(), sum)
		default:
			return fmt.Errorf("%s: neither a folder nor a regular file", name)
		}
		_, err = h.Write([]byte("\n"))
		return err
	})
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), size, err
}

func fileDigest(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

// Select gives the runtime of a name: "host" for the host's Wine, else one of the store. Without a name it is the first
// that runs programs for the machine, the host's before others.
//
// # Errors
//
// Those of [Host] and [Store.Open]; a [*No32BitError] when no runtime runs 32-bit programs.
func (s *Store) Select(name, machine string) (*Runtime, error) {
	if name == hostName {
		return Host()
	}
	if name != "" {
		return s.Open(name)
	}
	host, err := Host()
	if err == nil {
		if err = host.Supports(machine); err == nil {
			return host, nil
		}
	}
	built, listErr := s.List()
	if listErr != nil {
		return nil, listErr
	}
	for i := range built {
		if slices.Contains(built[i].Machines, machine) {
			return s.open(&built[i])
		}
	}
	return nil, err
}

// Record describes the runtime as the list of a store does. The host's Wine has neither a digest nor a size.
func (r *Runtime) Record() Record {
	record := Record{Name: r.Name, Wine: r.Version, Machines: []string{AMD64}, WoW64: r.WoW64()}
	if record.WoW64 != WoW64None {
		record.Machines = append(record.Machines, I386)
	}
	return record
}
