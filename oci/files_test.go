package oci

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// tree makes files, which hold their names, below a new folder; a value makes a symbolic link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, link := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if link != "" {
			err = os.Symlink(link, file)
		} else {
			err = os.WriteFile(file, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFiles(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "", "dir/file": "", "dir/link": "/app/a.exe", "dir/up": "../../../app/a.exe"})
	root := tree(t, map[string]string{
		"app/a.exe": "", "app/B.exe": "", "bin": "usr/bin", "usr/bin/tool": "/app/a.exe", "out": outside + "/secret", "up": "../../../../../../" + outside + "/secret",
		"loop": "loop", "app/dots": "../usr/../app/./a.exe", "vol": "data/volume", "data/volume/hidden": "", "hide/x": "", "app/below": "a.exe/x",
		"proc-link": "/proc/self/exe",
	})
	if err := unix.Mkfifo(filepath.Join(root, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	bind := func(destination, source string) specs.Mount {
		return specs.Mount{Destination: destination, Source: filepath.Join(outside, source), Options: []string{"rbind", "ro"}}
	}
	b := &Bundle{Dir: outside, Spec: &specs.Spec{Root: &specs.Root{Path: root}, Mounts: []specs.Mount{
		bind("/vol", "dir"), // by way of a link of the image
		{Destination: "/hide", Type: "tmpfs", Source: "tmpfs"},
		bind("/hide/deep/file", "secret"), // on a mount point that will be made
		{Destination: "/relative", Type: "bind", Source: "dir"},
		bind("/twice/x", "secret"), bind("/twice", "dir"), // the second hides the first
		{Destination: "/app", Options: []string{"remount", "bind", "ro"}},
		bind("/gone", "missing"),
	}}}
	f, err := b.Files()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, test := range []struct {
		name, content, resolved string
		err                     error
	}{
		{"/app/a.exe", "app/a.exe", "/app/a.exe", nil},
		{"app//./a.exe", "app/a.exe", "/app/a.exe", nil},
		{"/../../app/a.exe", "app/a.exe", "/app/a.exe", nil},
		{"/bin/tool", "app/a.exe", "/app/a.exe", nil},
		{"/app/dots", "app/a.exe", "/app/a.exe", nil},
		{"/out", "", "", fs.ErrNotExist},
		{"/up", "", "", fs.ErrNotExist},
		{"/proc-link", "", "", fs.ErrNotExist},
		{"/loop", "", "", unix.ELOOP},
		{"/app", "", "", unix.EISDIR},
		{"/", "", "", unix.EISDIR},
		{"/pipe", "", "", fs.ErrInvalid},
		{"/app/below", "", "", unix.ENOTDIR},
		{"/app/a.exe/..", "", "", unix.EISDIR}, // as lexically; the kernel says ENOTDIR
		{"/none/a.exe", "", "", fs.ErrNotExist},
		{"/data/volume/file", "dir/file", "/data/volume/file", nil},
		{"/vol/file", "dir/file", "/data/volume/file", nil},
		{"/vol/hidden", "", "", fs.ErrNotExist},
		{"/vol/link", "app/a.exe", "/app/a.exe", nil},
		{"/vol/up", "app/a.exe", "/app/a.exe", nil},
		{"/hide/x", "", "", fs.ErrNotExist},
		{"/hide", "", "", unix.EISDIR},
		{"/hide/deep/file", "secret", "/hide/deep/file", nil},
		{"/relative/file", "dir/file", "/relative/file", nil},
		{"/twice/file", "dir/file", "/twice/file", nil},
		{"/twice/x", "", "", fs.ErrNotExist},
		{"/gone", "", "", unix.EISDIR},
	} {
		file, resolved, err := f.Open(test.name)
		if test.err != nil {
			if !errors.Is(err, test.err) {
				t.Errorf("%s: error %v, want %v", test.name, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		content, err := io.ReadAll(file)
		file.Close()
		if err != nil || string(content) != test.content || resolved != test.resolved {
			t.Errorf("%s: %q at %s (%v), want %q at %s", test.name, content, resolved, err, test.content, test.resolved)
		}
	}
	for _, test := range []struct {
		dir   string
		names []string
		want  string
	}{
		{"/", []string{"APP", "b.EXE"}, "/app/B.exe"},
		{"/", []string{"app", "None", "x"}, "/app/None/x"},
		{"/", []string{"HIDE", "Deep", "FILE"}, "/hide/deep/file"},
		{"/", []string{"VOL", "FILE"}, "/vol/file"},
	} {
		if got := f.MatchCase(test.dir, test.names); got != test.want {
			t.Errorf("%q below %s is %s, want %s", test.names, test.dir, got, test.want)
		}
	}
	for name, want := range map[string]bool{"/app": true, "/hide": true, "/bin": true, "/app/a.exe": false, "/out": false} {
		if f.IsDir(name) != want {
			t.Errorf("%s a directory: %v", name, !want)
		}
	}
}

// TestFilesCloses checks that no descriptor stays open, however a walk ends.
func TestFilesCloses(t *testing.T) {
	root := tree(t, map[string]string{"a/b/c/d": "", "a/l": "b/../b/c", "loop": "a/../loop", "abs": "/a/b"})
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := open()
	f, err := OpenFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	f.Mount("/m/n", root)
	for _, name := range []string{"/a/b/c/d", "/a/l/d", "/loop", "/abs/c/../../x/y", "/m/n/a/b", "/m/n/abs/c/d", "/m", "/a/b/c/d/e"} {
		if file, _, err := f.Open(name); err == nil {
			file.Close()
		}
		f.IsDir(name)
		f.MatchCase("/", []string{"A", "L", "D", "none"})
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if after := open(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
