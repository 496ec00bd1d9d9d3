package prelink

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winbox/preload/pe"
	"winbox/preload/pe/petest"
)

// TestChanged has somebody else at work on a file at every point: it must stay what they have made it, or become what it
// would have been, and nothing of ours may be left.
func TestChanged(t *testing.T) {
	library := petest.Image{Base: 0x180000000, Characteristics: uint16(pe.DLL | pe.LargeAddressAware), Relocations: []uint32{0x1000}}.Bytes()
	changes := map[string]func(path string) error{
		"written to": func(path string) error { return os.WriteFile(path, []byte("MZ, says somebody else"), 0o600) },
		"touched":    func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", []byte("new"), 0o600), os.Rename(path+".new", path))
		},
		"a symbolic link": func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)) },
		"a folder":        func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"gone":            os.Remove,
	}
	for name, change := range changes {
		for i, point := range []string{"before the first look", "before it is rewritten", "before it is replaced"} {
			t.Run(name+" "+point, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "a.dll")
				if err := os.WriteFile(path, library, 0o600); err != nil {
					t.Fatal(err)
				}
				root, err := os.OpenRoot(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer root.Close()
				f := &folder{root: root}
				if err := f.list(); err != nil || len(f.items) != 1 {
					t.Fatal(f.items, err)
				}
				it := f.items[0]
				meanwhile := func(here int) {
					if here != i {
						return
					}
					if err := change(path); err != nil {
						t.Fatal(err)
					}
				}
				meanwhile(0)
				f.look(it)
				f.assign()
				meanwhile(1)
				if i == 2 {
					file, img, err := f.open(it)
					if err != nil {
						t.Fatal(err)
					}
					defer file.Close()
					data, err := img.Rebase(it.NewBase)
					if err != nil {
						t.Fatal(err)
					}
					meanwhile(2)
					if err := f.replace(it, file, data); err == nil {
						t.Error("no error")
					}
				} else if f.rewrite(it); it.Action != Failed {
					t.Errorf("%s: %s", it.Action, it.Reason)
				}
				entries, err := os.ReadDir(dir)
				for _, e := range entries {
					if strings.HasPrefix(e.Name(), temporary) {
						t.Errorf("%s is left", e.Name())
					}
				}
				if b, _ := os.ReadFile(path); err != nil || strings.Contains(string(b), "PE\x00\x00") && name != "touched" {
					t.Error("the file is ours now")
				}
			})
		}
	}
}
