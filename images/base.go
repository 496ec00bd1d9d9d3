package images

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// base writes the archive of the runtime's layer. Empty files are left out: they are places for mounts.
func (p *packer) base(to *tar.Writer) error {
	from := make(map[string]string) // by the name in the archive
	for _, tree := range p.Base {
		err := filepath.WalkDir(tree.From, func(file string, entry fs.DirEntry, err error) error {
			if err == nil {
				err = p.ctx.Err()
			}
			if err != nil {
				return err
			}
			below, err := filepath.Rel(tree.From, file)
			if err == nil {
				from[path.Join("/", tree.At, below)[1:]] = file
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	delete(from, "") // the root itself
	buffer := make([]byte, 128<<10)
	written := map[string]bool{".": true}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if err := p.parents(to, path.Dir(name), written); err != nil {
			return err
		}
		if err := p.hostFile(to, name, from[name], buffer); err != nil {
			return fmt.Errorf("%s: %w", from[name], err)
		}
		written[name] = true
	}
	return nil
}

// parents writes folders that are in none of the trees.
func (p *packer) parents(to *tar.Writer, dir string, written map[string]bool) error {
	if written[dir] {
		return nil
	}
	if err := p.parents(to, path.Dir(dir), written); err != nil {
		return err
	}
	written[dir] = true
	return to.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: p.Time})
}

// hostFile writes a folder, file or link of the host.
func (p *packer) hostFile(to *tar.Writer, name, file string, buffer []byte) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, ModTime: p.Time}
	switch {
	case info.IsDir():
		h.Name, h.Typeflag, h.Mode = name+"/", tar.TypeDir, 0o755
		if info.Mode()&fs.ModeSticky != 0 {
			h.Mode = 0o1777
		}
		return to.WriteHeader(h)
	case info.Mode()&fs.ModeSymlink != 0:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		if h.Linkname, err = os.Readlink(file); err != nil {
			return err
		}
		return to.WriteHeader(h)
	case !info.Mode().IsRegular():
		return fmt.Errorf("neither a folder nor a file nor a link")
	case info.Size() == 0:
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return content(to, f, info, h, buffer)
}
