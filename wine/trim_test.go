package wine

import (
	"archive/tar"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTrim picks the host's Wine: what it needs is there, and nothing else.
func TestTrim(t *testing.T) {
	host, err := Host()
	if err != nil {
		t.Skipf("needs Wine: %v", err)
	}
	root, err := os.OpenRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	kept := make(map[bool][]string) // whether of all modules
	for _, all := range []bool{false, true} {
		list, err := trim(root, WoW64None, keeping{all: all})
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range list {
			kept[all] = append(kept[all], file.to)
		}
	}
	for _, want := range []string{
		host.Loader64, host.Server, path.Join(host.UnixDir, "ntdll.so"), path.Join(host.WindowsDir, "ntdll.dll"), path.Join(host.DataDir, "wine.inf"),
		path.Join(host.Libraries[0], "libc.so.6"), path.Join(host.Libraries[0], "ld-linux-x86-64.so.2"),
	} {
		if !slices.Contains(kept[false], want) {
			t.Errorf("%s is left out", want)
		}
	}
	const unneeded = "d3dx9_36.dll"
	if name := path.Join(host.WindowsDir, unneeded); slices.Contains(kept[false], name) || !slices.Contains(kept[true], name) {
		t.Errorf("%s: to be kept when all are asked for, and only then", name)
	}
	for _, name := range kept[true] {
		switch {
		case within(name, host.UnixDir), within(name, host.WindowsDir), within(name, host.DataDir), within(name, localeDir), within(name, zoneInfo):
		case name == host.Loader64, name == host.Server, path.Dir(name) == host.Libraries[0] && strings.Contains(name, ".so."):
		default:
			t.Errorf("%s is kept", name)
		}
	}
	if _, err := trim(root, WoW64I386, keeping{}); host.Loader32 == "" && (err == nil || !strings.Contains(err.Error(), "has no 32-bit part")) {
		t.Errorf("a 32-bit part that is not there: %v", err)
	}
}

// TestTrimRefuses checks that a root file system is refused which has no Wine, or one that leads out of it.
func TestTrimRefuses(t *testing.T) {
	dir := fakeRoot(t, with(debian12))
	if err := os.Remove(filepath.Join(dir, "usr/share/wine/wine.inf")); err != nil {
		t.Fatal(err)
	}
	inf := filepath.Join(t.TempDir(), "wine.inf")
	if err := os.WriteFile(inf, []byte(";; Version: Wine 8.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, link := range map[string]string{"outside by an absolute link": inf, "outside by a relative link": "../../../../../../../" + inf} {
		if err := os.Symlink(link, filepath.Join(dir, "usr/share/wine/wine.inf")); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trim(root, WoW64None, keeping{}); err == nil || !strings.Contains(err.Error(), "no 64-bit Wine in it") {
			t.Errorf("%s: %v", name, err)
		}
		root.Close()
		if err := os.Remove(filepath.Join(dir, "usr/share/wine/wine.inf")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUntar unpacks a tar file whose names and links lead out of it.
func TestUntar(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, entries ...tar.Header) string {
		file := filepath.Join(dir, name+".tar")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := tar.NewWriter(f)
		for _, h := range entries {
			if h.Mode = 0o644; h.Typeflag == tar.TypeReg {
				h.Size = 1
			}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				if _, err := w.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, test := range []struct {
		name    string
		fails   bool
		entries []tar.Header
	}{
		{"plain", false, []tar.Header{{Name: "./", Typeflag: tar.TypeDir}, {Name: "./a/b", Typeflag: tar.TypeReg}, {Name: "c", Typeflag: tar.TypeLink, Linkname: "./a/b"}}},
		{"dots", true, []tar.Header{{Name: "../outside/file", Typeflag: tar.TypeReg}}},
		{"link", true, []tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "l/file", Typeflag: tar.TypeReg}}},
		{"twice", false, []tar.Header{{Name: "a", Typeflag: tar.TypeReg}, {Name: "a", Typeflag: tar.TypeReg}}},
		{"device", false, []tar.Header{{Name: "null", Typeflag: tar.TypeChar}}}, // left out
	} {
		to := filepath.Join(dir, test.name)
		if err := untar(write(test.name, test.entries...), to); (err != nil) != test.fails {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside: %v, %v", left, err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "plain/c")); err != nil || string(data) != "x" {
		t.Errorf("a hard link has %q, %v", data, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "device/null")); err == nil {
		t.Error("a device was made")
	}
}

// TestStoreNames checks what a runtime can be called.
func TestStoreNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"wine-10.0-i386": true, "a": true, "": false, "host": false, "opt-wine-stable": false, "../x": false, "a/b": false, ".hidden": false,
		"sha256-00": false, "sha256:00": false, strings.Repeat("a", 65): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	s := OpenStore(t.TempDir())
	for _, name := range []string{"none", "../../etc", "0123456789abcdef", "sha256:*", ""} {
		if _, err := s.Open(name); err == nil || !strings.Contains(err.Error(), ErrNoRuntime.Error()) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("an empty store has %v, %v", list, err)
	}
}

// TestTrimNoLibraries has a root file system that was unpacked without what makes /lib a link.
func TestTrimNoLibraries(t *testing.T) {
	dir := fakeRoot(t, with(debian12))
	if err := os.Remove(filepath.Join(dir, "usr/lib/x86_64-linux-gnu/libc.so.6")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := trim(root, WoW64None, keeping{}); err == nil || !strings.Contains(err.Error(), "no folder with a C library") {
		t.Error(err)
	}
}
