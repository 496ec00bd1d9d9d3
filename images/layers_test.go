package images

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// layer makes a layer of entries. Regular files without a size have one byte.
func layer(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = 1
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
func dir(name string) tar.Header  { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
func link(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
}

// TestLayers applies layers, good and hostile ones.
func TestLayers(t *testing.T) {
	outside := t.TempDir()
	type entries = []tar.Header
	for name, test := range map[string]struct {
		layers []entries
		limits Limits
		fails  string
		want   string // the paths that there are
	}{
		"plain":               {layers: []entries{{dir("./"), dir("a/"), file("a/b"), file("c/d")}}, want: "a a/b c c/d"},
		"replaced":            {layers: []entries{{file("a"), dir("b"), file("b/c")}, {dir("a"), file("b")}}, want: "a b"},
		"whiteout":            {layers: []entries{{file("a/b"), file("a/c")}, {file("a/.wh.b")}}, want: "a a/c"},
		"whiteout of folder":  {layers: []entries{{file("a/b/c"), file("d")}, {file(".wh.a")}}, want: "d"},
		"opaque":              {layers: []entries{{file("a/b"), file("a/c/d")}, {file("a/c/e"), file("a/.wh..wh..opq"), file("a/f")}}, want: "a a/c a/c/d a/c/e a/f"},
		"whiteout of dots":    {layers: []entries{{file("a"), file(".wh...")}}, fails: "no name"},
		"through a link":      {layers: []entries{{dir("usr/lib"), link("lib", "usr/lib"), file("lib/x")}}, want: "lib usr usr/lib usr/lib/x"},
		"through an absolute": {layers: []entries{{dir("usr/lib"), link("a/lib", "/usr/lib"), file("a/lib/x")}}, want: "a a/lib usr usr/lib usr/lib/x"},
		"over a link":         {layers: []entries{{link("a", outside+"/file"), file("a")}}, want: "a"},
		"dots":                {layers: []entries{{file("../a")}}, fails: "leads out"},
		"dots inside":         {layers: []entries{{file("a/../../b")}}, fails: "leads out"},
		"link out":            {layers: []entries{{link("l", "../../../../../../.."+outside), file("l/a")}}, fails: "escapes"},
		"whiteout out":        {layers: []entries{{link("l", "../../../../../../.."+outside), file("l/.wh.kept")}}, fails: "escapes"},
		"opaque out":          {layers: []entries{{link("l", "../../../../../../.."+outside), file("l/.wh..wh..opq")}}, fails: "escapes"},
		"hard link":           {layers: []entries{{file("a"), hard("b", "a"), hard("b", "a"), hard("a", "a")}}, want: "a b"},
		"hard link out":       {layers: []entries{{hard("b", "../../etc/passwd")}}, fails: "leads out"},
		"hard link by link":   {layers: []entries{{link("l", "../../../../../../.."+outside), hard("b", "l/kept")}}, fails: "escapes"},
		"hard link to none":   {layers: []entries{{hard("b", "a")}}, fails: "no such file"},
		"hard link to folder": {layers: []entries{{dir("a"), hard("b", "a")}}, fails: "a folder"},
		"devices":             {layers: []entries{{{Name: "null", Typeflag: tar.TypeChar}, {Name: "sda", Typeflag: tar.TypeBlock}, {Name: "p", Typeflag: tar.TypeFifo}, file("a")}}, want: "a"},
		"setuid":              {layers: []entries{{{Name: "a", Typeflag: tar.TypeReg, Mode: 0o6755}}}, want: "a"},
		"unknown":             {layers: []entries{{{Name: "a", Typeflag: 'V'}}}, fails: "unknown kind"},
		"bytes":               {layers: []entries{{{Name: "a", Typeflag: tar.TypeReg, Size: 1 << 20}}}, limits: Limits{Bytes: 1 << 19, Entries: 9}, fails: "larger than the limit"},
		"bytes of two":        {layers: []entries{{{Name: "a", Typeflag: tar.TypeReg, Size: 300 << 10}}, {{Name: "a", Typeflag: tar.TypeReg, Size: 300 << 10}}}, limits: Limits{Bytes: 1 << 19, Entries: 9}, fails: "larger than the limit"},
		"entries":             {layers: []entries{{dir("a"), dir("b"), dir("c")}}, limits: Limits{Bytes: 1 << 20, Entries: 2}, fails: "too many entries"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(outside, "kept"), []byte("kept"), 0o644); err != nil {
				t.Fatal(err)
			}
			to := t.TempDir()
			root, err := os.OpenRoot(to)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			limits := test.limits
			if limits == (Limits{}) {
				limits = Limits{Bytes: 1 << 20, Entries: 100}
			}
			u := NewUnpacker(root, limits)
			for _, entries := range test.layers {
				if err = u.Layer(bytes.NewReader(layer(t, entries...))); err != nil {
					break
				}
			}
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Fatalf("%v, want %q", err, test.fails)
			}
			if left, _ := os.ReadDir(outside); len(left) != 1 || left[0].Name() != "kept" {
				t.Fatalf("outside: %v", left)
			}
			if err != nil {
				return
			}
			var have []string
			filepath.Walk(to, func(path string, info os.FileInfo, err error) error {
				if name, _ := filepath.Rel(to, path); name != "." {
					have = append(have, name)
				}
				if info.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeDevice|os.ModeNamedPipe) != 0 {
					t.Errorf("%s has the mode %v", path, info.Mode())
				}
				return err
			})
			if got := strings.Join(have, " "); got != test.want {
				t.Errorf("there are %q, want %q", got, test.want)
			}
		})
	}
}

// FuzzLayer checks that no layer writes outside its folder or beyond its limits.
func FuzzLayer(f *testing.F) {
	f.Add(layer(f, dir("a"), file("a/b"), link("l", "/a"), hard("c", "a/b"), file("a/.wh.b")))
	f.Add(layer(f, link("l", ".."), file("l/x"), file("l/.wh..wh..opq")))
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		to := filepath.Join(parent, "root")
		if err := os.Mkdir(to, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(to)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		NewUnpacker(root, Limits{Bytes: 1 << 20, Entries: 50}).Layer(bytes.NewReader(data))
		if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
			t.Fatalf("outside: %v, %v", left, err)
		}
	})
}
