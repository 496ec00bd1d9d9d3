package wine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"winbox/oci"
)

// What an image for Windows has on drive C: and in its registry, and its container gets above what the template has.

// imageRegistry are the registry files of a folder of a root file system, by their names: those of a prefix, with the keys
// that are to be added.
func imageRegistry(files *oci.Files, dir string) (map[string]*registry, error) {
	if dir == "" {
		return nil, nil
	}
	found := make(map[string]*registry)
	for name := range registryEdits {
		f, _, err := files.Open(path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(f, maxRegistry+1))
		f.Close()
		if err == nil && len(data) > maxRegistry {
			err = fmt.Errorf("larger than %d bytes", maxRegistry)
		}
		if err == nil {
			found[name], err = parseRegistry(data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(dir, name), err)
		}
	}
	return found, nil
}

// merge adds the keys and values of another registry; with keep, values that are there stay.
func (r *registry) merge(other *registry, keep bool) {
	const current, first = `system\\currentcontrolset`, `system\\controlset001`
	keys := make(map[string]*section, len(r.sections))
	for _, s := range r.sections {
		keys[strings.ToLower(s.key)] = s
	}
	link := keys[current]
	for _, add := range other.sections {
		key := add.key
		if below := strings.ToLower(key); link != nil && link.isLink() && strings.HasPrefix(below, current+`\\`) {
			key = `System\\ControlSet001` + key[len(current):]
		}
		s := keys[strings.ToLower(key)]
		if s == nil {
			s = &section{key: key, head: "[" + key + "] 0"}
			r.sections = append(r.sections, s)
			keys[strings.ToLower(key)] = s
		}
		for _, v := range add.values {
			switch i := slices.IndexFunc(s.values, func(have value) bool { return strings.EqualFold(have.name, v.name) }); {
			case i < 0:
				s.values = append(s.values, v)
			case !keep:
				s.values[i] = v
			}
		}
	}
}

// writeImageRegistry merges the image's registry into that of the prefix top, or of the template where top has none.
func (b *Bundle) writeImageRegistry(t *Template, top *os.Root, owner Owner) error {
	for name, add := range b.registry {
		data, err := top.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			data, err = os.ReadFile(filepath.Join(t.Prefix(), name))
		}
		if err != nil {
			return err
		}
		r, err := parseRegistry(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.merge(add, b.kept != nil)
		if b.kept != nil {
			err = b.kept.replace(name, r.Bytes(), owner, time.Time{})
		} else {
			err = replaceFile(top, name, r.Bytes(), owner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mostLinks is how many links drive C: gets at most.
const mostLinks = 10_000

// onDriveC lists what of the root, relative to it, is to be linked to from drive C:, whose folders it has at prefix: what
// that lacks. top are the names at the top of the root, without what is mounted for Wine. Files that both have are those of
// the prefix.
func onDriveC(files *oci.Files, top []string, prefix string) (links []string) {
	var look func(dir string, names []string, depth int)
	look = func(dir string, names []string, depth int) {
		have := make(map[string]string)
		for _, name := range files.Names(path.Join(prefix, dir)) {
			have[strings.ToLower(name)] = name
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			at := path.Join(dir, name)
			if dir == "" && (strings.HasPrefix(name, ".") || slices.Contains(kernelFolders, "/"+name)) || checkName(name) != nil || len(links) == mostLinks {
				continue
			}
			switch there, ok := have[strings.ToLower(name)]; {
			case !ok:
				links = append(links, at)
			case there == name && depth < 64 && files.IsDir(path.Join("/", at)) && files.IsDir(path.Join(prefix, at)):
				look(at, files.Names(path.Join("/", at)), depth+1)
			}
		}
	}
	look("", top, 0)
	return links
}
