package wine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeRoot makes a root with files; an ELF file is given as its class, "64" or "32", anything else is the content.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		switch content {
		case "64":
			content = "\x7fELF\x02 and so on"
		case "32":
			content = "\x7fELF\x01 and so on"
		}
		full := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(content), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

var debian12 = map[string]string{
	"/etc/os-release":                                            "ID=debian\n",
	"/usr/lib/wine/wine64":                                       "64",
	"/usr/lib/wine/wineserver":                                   "#!/bin/sh\n",
	"/usr/lib/wine/wineserver64":                                 "64",
	"/usr/lib/x86_64-linux-gnu/wine/x86_64-unix/ntdll.so":        "64",
	"/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/ntdll.dll":    "MZ",
	"/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/kernel32.dll": "MZ",
	"/usr/lib/x86_64-linux-gnu/wine/i386-windows/zlib1.dll":      "MZ",
	"/usr/lib/x86_64-linux-gnu/libc.so.6":                        "64",
	"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2":             "64",
	"/usr/share/wine/wine.inf":                                   ";; Title\n;; Version: Wine 8.0\n",
}

// with gives a copy of files with some more.
func with(files map[string]string, more ...string) map[string]string {
	all := make(map[string]string)
	for k, v := range files {
		all[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func TestHostDebian(t *testing.T) {
	r, err := hostAt(fakeRoot(t, debian12))
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "host" || r.Version != "8.0" || r.Loader64 != "/usr/lib/wine/wine64" || r.Server != "/usr/lib/wine/wineserver64" ||
		r.Preloader64 != "/usr/lib/wine/wine64-preloader" || r.Loader32 != "" || r.Windows32Dir != "" {
		t.Errorf("%+v", r)
	}
	if got := r.Interpreters["/lib64/ld-linux-x86-64.so.2"]; got != "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" {
		t.Errorf("interpreter %q", got)
	}
	if err := r.Supports(AMD64); err != nil {
		t.Error(err)
	}
	if err := r.Supports(I386); err == nil || !strings.Contains(err.Error(), "apt-get install wine32") {
		t.Errorf("386: %v", err)
	}
	if err := r.Supports("arm64"); err == nil {
		t.Error("arm64: no error")
	}
	if got, want := len(r.visible()), 4; got != want { // libraries, data, loader, server
		t.Errorf("%d visible paths: %v", got, r.visible())
	}
}

func TestHostDebianWith32Bits(t *testing.T) {
	r, err := hostAt(fakeRoot(t, with(debian12,
		"/usr/lib/wine/wine", "32",
		"/usr/lib/i386-linux-gnu/wine/i386-windows/ntdll.dll", "MZ",
		"/usr/lib/i386-linux-gnu/libc.so.6", "32",
		"/usr/lib/i386-linux-gnu/ld-linux.so.2", "32",
	)))
	if err != nil {
		t.Fatal(err)
	}
	loader, preloader, err := r.Loader(I386)
	if err != nil || loader != "/usr/lib/wine/wine" || preloader != "/usr/lib/wine/wine-preloader" {
		t.Errorf("%s %s %v", loader, preloader, err)
	}
	if r.Interpreters["/lib/ld-linux.so.2"] != "/usr/lib/i386-linux-gnu/ld-linux.so.2" {
		t.Errorf("interpreters %v", r.Interpreters)
	}
}

func TestHostElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		files  map[string]string
		loader string
		i386   bool
	}{
		"fedora": {map[string]string{
			"/usr/bin/wine64": "64", "/usr/bin/wineserver64": "64", "/usr/lib64/wine/x86_64-unix/ntdll.so": "64",
			"/usr/lib64/wine/x86_64-windows/ntdll.dll": "MZ", "/usr/lib64/wine/x86_64-windows/kernel32.dll": "MZ",
			"/usr/lib64/libc.so.6": "64", "/usr/share/wine/wine.inf": ";; Version: Wine 9.15\n",
		}, "/usr/bin/wine64", false},
		"arch": {map[string]string{
			"/usr/bin/wine": "64", "/usr/bin/wineserver": "64", "/usr/lib/wine/x86_64-unix/ntdll.so": "64",
			"/usr/lib/wine/x86_64-windows/ntdll.dll": "MZ", "/usr/lib/wine/x86_64-windows/kernel32.dll": "MZ",
			"/usr/lib/wine/i386-windows/ntdll.dll": "MZ", "/usr/lib/libc.so.6": "64", "/usr/share/wine/wine.inf": ";; Version: Wine 10.4\n",
		}, "/usr/bin/wine", true},
		"winehq": {map[string]string{
			"/opt/wine-staging/bin/wine": "64", "/opt/wine-staging/bin/wineserver": "64",
			"/opt/wine-staging/lib/wine/x86_64-unix/ntdll.so": "64", "/opt/wine-staging/lib/wine/x86_64-windows/ntdll.dll": "MZ",
			"/opt/wine-staging/lib/wine/x86_64-windows/kernel32.dll": "MZ", "/opt/wine-staging/share/wine/wine.inf": ";; Version: Wine 10.0\n",
			"/usr/lib/x86_64-linux-gnu/libc.so.6": "64",
		}, "/opt/wine-staging/bin/wine", false},
	} {
		r, err := hostAt(fakeRoot(t, test.files))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Loader64 != test.loader || (r.Supports(I386) == nil) != test.i386 || len(r.Libraries) != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestNoWine(t *testing.T) {
	for release, want := range map[string]string{
		"ID=debian\n": "apt-get install wine64", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n": "apt-get install wine64", "ID=fedora\n": "dnf install",
		"ID=arch\n": "pacman -S wine", "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n": "zypper install wine", "ID=alpine\n": "musl", "ID=else\n": "winehq",
	} {
		_, err := hostAt(fakeRoot(t, map[string]string{"/etc/os-release": release, "/usr/lib/wine/wine64": "#!/bin/sh\n"}))
		if !errors.Is(err, ErrNoWine) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", release, err)
		}
	}
}

func TestDigestChanges(t *testing.T) {
	root := fakeRoot(t, debian12)
	first, err := hostAt(root)
	if err != nil {
		t.Fatal(err)
	}
	again, err := hostAt(root)
	if err != nil || again.Digest != first.Digest {
		t.Errorf("a second look: %s, %v; want %s", again.Digest, err, first.Digest)
	}
	file := filepath.Join(root, first.WindowsDir, "kernel32.dll")
	if err := os.Chtimes(file, time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	updated, err := hostAt(root)
	if err != nil || updated.Digest == first.Digest {
		t.Errorf("after an update: %s, %v", updated.Digest, err)
	}
}

func BenchmarkHost(b *testing.B) {
	if _, err := Host(); err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		if _, err := Host(); err != nil {
			b.Fatal(err)
		}
	}
}
