package wine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/prelink"
)

// placeLibraries gives each of Wine's own libraries in a new tree a base at which it collides with no other that the same
// process may load, and takes the flag from it with which Wine 9 and later move it away from there (DYNAMIC_BASE). Nothing
// of it is relocated when it is loaded then: what is not written to is one memory for all processes.
//
// Wine's linkers give nearly all libraries the same base. 64-bit ones that are linked below 4 GiB, because code of both
// machines must reach them, stay there: beside the 32-bit ones, which the processes of the new WoW64 have as well.
//
// It gives the names of those that stay as they are, which Wine moves.
func placeLibraries(tree string, w *Runtime) (unplaced []string, err error) {
	files := make(map[pe.Machine][]string) // by the machine whose ranges they go to
	images := make(map[pe.Machine][]prelink.Image)
	for _, dir := range []string{w.WindowsDir, w.Windows32Dir} {
		if dir == "" {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(tree, dir))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			file := filepath.Join(tree, dir, entry.Name())
			image, closer, err := pe.OpenFile(file)
			if system := (*os.PathError)(nil); errors.As(err, &system) {
				return nil, err
			}
			if err != nil { // 16-bit programs, type libraries
				continue
			}
			movable := image.Rebasable(false) == nil && image.Movable() == nil
			closer.Close()
			if !image.IsDLL() {
				continue
			}
			zone := image.Machine
			if image.ImageBase < 1<<32 {
				zone = pe.MachineI386
			}
			files[zone] = append(files[zone], file)
			images[zone] = append(images[zone], prelink.Image{
				Base: image.ImageBase, Size: uint64(image.SizeOfImage), Settled: image.Rebased(),
				Movable: movable,
			})
		}
	}
	for zone, images := range images {
		for i, place := range prelink.Assign(preload.EngineRanges(zone), images) {
			file := files[zone][i]
			switch {
			case !images[i].Movable || place.Base == 0:
				unplaced = append(unplaced, filepath.Base(file))
			case place.Base == images[i].Base && images[i].Settled:
			default:
				err := rebaseFile(file, place.Base)
				if refused := (*pe.RebaseError)(nil); errors.As(err, &refused) {
					unplaced = append(unplaced, filepath.Base(file))
				} else if err != nil {
					return nil, fmt.Errorf("place %s: %w", file, err)
				}
			}
		}
	}
	slices.Sort(unplaced)
	return unplaced, nil
}

// rebaseFile gives a library that nobody uses yet another base.
func rebaseFile(file string, base uint64) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	image, err := pe.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	if data, err = image.Rebase(base); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
