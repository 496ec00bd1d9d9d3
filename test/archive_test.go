package test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestArchive packs, tests and unpacks a folder with a real archiver.
func TestArchive(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	seven := sevenZip(t)
	want := makeTree(t, filepath.Join(b.dir, "in"), 1000)
	steps := []struct {
		name string
		args []string
		says string
	}{
		{"pack", []string{"a", "-mx1", "out.7z", "in"}, "1000 files"},
		{"test", []string{"t", "out.7z"}, "Everything is Ok"},
		{"unpack", []string{"x", "out.7z", `-oback`}, "Files: 1000"},
	}
	for _, step := range steps {
		c := b.run(append([]string{seven}, step.args...)...)
		if c.code() != 0 || c.err.Len() > 0 || !strings.Contains(c.text(), step.says) {
			t.Fatalf("%s: exit code %d, output:\n%s%s", step.name, c.code(), c.text(), c.err.String())
		}
	}
	got := readTree(t, filepath.Join(b.dir, "back", "in"))
	for name, data := range want {
		if unpacked, ok := got[name]; !ok {
			t.Errorf("%s was not unpacked", name)
		} else if !bytes.Equal(unpacked, data) {
			t.Errorf("%s: unpacked to %d bytes that differ from the %d packed", name, len(unpacked), len(data))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s was unpacked, but not packed", name)
		}
	}
}

// TestArchiverExitCodes checks that the archiver's own exit codes come through.
func TestArchiverExitCodes(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	seven := sevenZip(t)
	for _, test := range []struct {
		name string
		args []string
		code int
	}{
		{"success", []string{"i"}, 0},
		{"missing archive", []string{"t", "missing.7z"}, 2},
		{"bad command line", []string{"a", "-bad-switch"}, 7},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := b.run(append([]string{seven}, test.args...)...)
			// What it says on standard error is the archiver's business, but winbox has nothing to add to it.
			if c.code() != test.code || strings.Contains(c.err.String(), "winbox:") {
				t.Errorf("exit code %d, want %d\n%s%s", c.code(), test.code, c.text(), c.err.String())
			}
		})
	}
}

// makeTree makes files of all sorts of sizes and names, and gives their contents by path.
func makeTree(t *testing.T, dir string, count int) map[string][]byte {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	folders := []string{"", "sub", "sub/deep er/still", "ordner mit umlauten äöü", "папка", "フォルダ"}
	names := []string{"plain %d.txt", "with blanks  and (signs) %d.dat", "grüße-%d", "файл %d.bin", "ファイル%d", "%d.tar.gz", ".hidden%d", "UPPER%d.TXT"}
	files := make(map[string][]byte, count)
	for i := range count {
		// Mostly small, with some empty ones and some of 100 KB; half of them easy to pack.
		data := make([]byte, random.IntN([]int{1, 100, 3000, 3000, 20000, 100000}[i%6]))
		if i%2 == 0 {
			for j := range data {
				data[j] = byte(random.Uint32())
			}
		}
		name := filepath.Join(folders[i%len(folders)], fmt.Sprintf(names[i/3%len(names)], i))
		files[name] = data
		writeFile(t, dir, name, data)
	}
	return files
}

// readTree reads all files below a folder, by path.
func readTree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		files[rel], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
