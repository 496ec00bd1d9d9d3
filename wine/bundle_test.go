package wine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
	"winbox/preload/pe/petest"
	"winbox/preload/stub"
)

// aProgram is a PE file.
func aProgram(t *testing.T) []byte {
	t.Helper()
	return petest.Image{}.Bytes()
}

// bundleWith makes a bundle whose root file system has these files, which are Windows programs where their names say so.
func bundleWith(t *testing.T, args []string, files ...string) *oci.Bundle {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		file := filepath.Join(dir, "rootfs", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		data, mode := []byte("#!/bin/sh\n"), os.FileMode(0o755)
		switch {
		case strings.HasSuffix(name, ".exe"):
			data, mode = aProgram(t), 0o644 // nobody says that it is executable
		case strings.HasSuffix(name, ".txt"):
			mode = 0o644
		}
		if err := os.WriteFile(file, data, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := oci.NewSpec()
	spec.Process.Args, spec.Process.Env = args, []string{"PATH=/usr/bin:/bin:/app"}
	return &oci.Bundle{Dir: dir, Spec: spec}
}

// TestRecognize checks what counts as a Windows container.
func TestRecognize(t *testing.T) {
	handler := func(value string) map[string]string { return map[string]string{annotationHandler: value} }
	for _, test := range []struct {
		name        string
		arg         string
		annotations map[string]string
		want        bool
	}{
		{"Windows program", "/app/a.exe", nil, true},
		{"by its magic, not its name", "/app/script", nil, false},
		{"in PATH", "a.exe", nil, true},
		{"Linux program in PATH", "both", nil, false},
		{"what cannot be run does not hide it", "doc.exe", nil, true},
		{"relative", "app/a.exe", nil, true},
		{"drive", `C:\app\a.exe`, nil, true},
		{"drive with a slash", `d:/a.exe`, nil, true},
		{"missing", "/app/none.exe", nil, false},
		{"folder", "/app", nil, false},
		{"auto", "/app/a.exe", handler("auto"), true},
		{"linux", "/app/a.exe", handler("linux"), false},
		{"windows", "cmd", handler("windows"), true},
	} {
		b := bundleWith(t, []string{test.arg}, "app/a.exe", "app/script", "bin/both", "app/doc.exe")
		if err := os.MkdirAll(filepath.Join(b.Dir, "rootfs/bin/doc.exe"), 0o755); err != nil {
			t.Fatal(err)
		}
		b.Spec.Annotations = test.annotations
		w, err := Recognize(b)
		if err != nil || (w != nil) != test.want {
			t.Errorf("%s: %v, %v", test.name, w != nil, err)
		}
		if w != nil {
			w.Close()
		}
	}
	b := bundleWith(t, []string{"/app/a.exe"}, "app/a.exe")
	b.Spec.Root.Path = "missing"
	if w, err := Recognize(b); w != nil || err != nil {
		t.Errorf("without a root: %v, %v", w, err)
	}
}

// TestAnnotations checks that no value is taken for another.
func TestAnnotations(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{annotationHandler, "nt", "none of auto, windows and linux"},
		{annotationBoot, "half", "want minimal, auto or full"},
		{annotationReserve, "10-", "want START-END"},
		{annotationSharedHeap, "", "is not a size"}, {annotationSharedHeap, "-1", "is not a size"}, {annotationSharedHeap, "2g", "at most 512 MiB"},
		{annotationSharedHeap, "0", ""}, {annotationSharedHeap, "32m", ""}, {annotationSharedHeap, "512m", ""},
		{annotationStrict, "yes", "neither true nor false"},
		{annotationStop, "term", "none of"},
		{annotationLinger, "yes", "neither true nor false"},
		{annotationCommit, "64m", ""}, {annotationCommit, "off", ""}, {annotationCommit, "1", "too little"}, {annotationProcessCommit, "much", "neither a size"},
		{"io.winbox.display", "printer", "none of none"},
		{annotationStop, "kill", ""}, {annotationStop, "ctrl-shutdown", ""}, {annotationLinger, "true", ""}, {annotationStrict, "true", ""}, {annotationReserve, "10000000-18000000,20000000-28000000", ""},
		{annotationBoot, "full", ""}, {"io.winbox.unknown", "x", ""}, // unknown keys are to be ignored (config.md, "Annotations")
	} {
		b := bundleWith(t, []string{"/app/a.exe"}, "app/a.exe")
		b.Spec.Annotations = map[string]string{test.name: test.value}
		w, err := Recognize(b)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.name)) {
			t.Errorf("%s=%s: error %v, want %q", test.name, test.value, err, test.want)
		}
		if w != nil {
			w.Close()
		}
	}
}

// container turns a bundle into a container in a fake world.
func container(t *testing.T, b *oci.Bundle) (*Container, *Template, Scratch, error) {
	t.Helper()
	r, root := fakeRuntime(t)
	template, err := r.Prepare(context.Background(), t.TempDir(), fakeBoot(root), nil)
	if err != nil {
		t.Fatal(err)
	}
	// The loader's headers are read: any ELF file will do.
	elf, err := stub.Preloader(AMD64)
	if err == nil {
		err = os.WriteFile(filepath.Join(root, r.Loader64), elf, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	w, err := Recognize(b)
	if err != nil || w == nil {
		t.Fatalf("not recognized: %v", err)
	}
	defer w.Close()
	scratch := Scratch(filepath.Join(t.TempDir(), "scratch"))
	c, err := w.Container(template, scratch)
	return c, template, scratch, err
}

// TestContainerProgram checks by which path Windows will know the program.
func TestContainerProgram(t *testing.T) {
	for _, test := range []struct{ arg, want, err string }{
		{arg: "/app/a.exe", want: `E:\app\a.exe`},
		{arg: "a.exe", want: `E:\app\a.exe`},
		{arg: "app/a.exe", want: `E:\app\a.exe`},
		{arg: `C:\APP\A.exe`, want: `C:\APP\A.exe`},
		{arg: `c:\top.exe`, want: `C:\top.exe`},
		{arg: `e:\APP\a.exe`, want: `E:\APP\a.exe`},
		{arg: `Z:\app\a.exe`, err: "no such file"},
		{arg: `D:\a.exe`, want: `D:\a.exe`},
		{arg: `C:\data\a.exe`, want: `C:\data\a.exe`},
		{arg: `C:\none\a.exe`, err: "no such file"},
		{arg: `F:\a.exe`, err: "no such file"},
		{arg: `C:\app`, err: "is a directory"},
		{arg: "/app/sub:folder/a.exe", err: "cannot have this path"},
		{arg: "/volume/a.exe", want: `E:\volume\a.exe`},
	} {
		b := bundleWith(t, []string{test.arg, "one", "two words"}, "app/a.exe", "top.exe", "app/sub:folder/a.exe")
		volume := t.TempDir()
		if err := os.WriteFile(filepath.Join(volume, "a.exe"), aProgram(t), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{"/volume", `D:\`, `/C:\Data`} {
			b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: at, Source: volume, Options: []string{"rbind"}})
		}
		c, template, _, err := container(t, b)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want %q", test.arg, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.arg, err)
			continue
		}
		r := template.Runtime
		if want := []string{r.Preloader64, r.Loader64, test.want, "one", "two words"}; !slices.Equal(c.Spec.Process.Args, want) {
			t.Errorf("%s: %q, want %q", test.arg, c.Spec.Process.Args, want)
		}
	}
}

// TestContainerSpec checks the configuration, and what is made for it.
func TestContainerSpec(t *testing.T) {
	b := bundleWith(t, []string{`C:\app\a.exe`}, "app/a.exe")
	b.Spec.Process.User = specs.User{UID: 1000, GID: 1001}
	b.Spec.Process.Env = []string{"PATH=/bin", "HOME=/root", "WINEPREFIX=/else", "WINEDEBUG=+all", "MINE=1", "WINEDLLOVERRIDES=a=n"}
	b.Spec.Annotations = map[string]string{annotationBoot: "full"}
	b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "E:/", Source: t.TempDir(), Options: []string{"rbind"}})
	for _, at := range []string{"/volume/inner", "/volume", "/volume-2", "/srv/deep/data", "/etc/hosts"} {
		b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: at, Source: t.TempDir(), Options: []string{"rbind"}})
	}
	before := len(b.Spec.Mounts)
	c, template, scratch, err := container(t, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Spec.Mounts) != before || b.Spec.Process.Args[0] != `C:\app\a.exe` {
		t.Error("the bundle itself has changed")
	}
	p := c.Spec.Process
	for _, want := range []string{
		"PATH=/bin", "WINEPREFIX=" + prefixDir, "HOME=" + prefixDir + "/drive_c/users/1000", "USER=1000", "PWD=" + prefixDir + "/drive_d", "WINEDEBUG=+all", "MINE=1", "LC_ALL=C.UTF-8", "WINELOADERNOEXEC=1",
		"WINEDLLOVERRIDES=a=n;wineboot.exe=b",
	} {
		if !slices.Contains(p.Env, want) {
			t.Errorf("%s is missing: %q", want, p.Env)
		}
	}
	at := func(destination string) int {
		return slices.IndexFunc(c.Spec.Mounts, func(m specs.Mount) bool { return m.Destination == destination })
	}
	for i, order := range [][2]string{
		{runDir, prefixDir}, {runDir, stub.LayoutPath(AMD64)}, {"/proc", runDir}, {prefixDir, drivesDir + "/e"},
		// The image has no Wine: the host's is there, and our preloader in the place of its own.
		{prefixDir, "/usr/lib/x86_64-linux-gnu"}, {template.Runtime.Loader64, template.Runtime.Preloader64},
	} {
		if first, second := at(order[0]), at(order[1]); first < 0 || second < first {
			t.Errorf("%d: %s is mount %d, %s %d", i, order[0], first, order[1], second)
		}
	}
	if at("/run/user/1000") < 0 {
		t.Error("no folder for the server")
	}
	if _, err := os.Lstat(string(scratch)); err == nil {
		t.Error("something is made before Prepare")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files to another user")
	}
	if err := c.Prepare(); err != nil {
		t.Fatal(err)
	}
	upper := filepath.Join(scratch.Prefix(), "upper")
	for name, want := range map[string]string{"dosdevices/d:": "/run/winbox/drive_d", "drive_d/volume": "/volume", "drive_d/srv/deep/data": "/srv/deep/data", "drive_c/users/1000": "winbox", "dosdevices/e:": drivesDir + "/e", "drive_c/app": "/app"} {
		if to, err := os.Readlink(filepath.Join(upper, name)); to != want {
			t.Errorf("%s → %q, %v", name, to, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(upper, "drive_d")); err != nil || len(entries) != 3 {
		t.Errorf("drive D: has %v, %v", entries, err)
	}
	for _, file := range []string{scratch.Layout(AMD64), scratch.Stub(AMD64)} {
		if info, err := os.Stat(file); err != nil || info.Size() == 0 || info.Mode()&0o044 != 0o044 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}

// TestContainerRefuses checks what cannot be run.
func TestContainerRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*testing.T, *oci.Bundle)
		want   string
	}{
		"a C library and no Wine": {func(t *testing.T, b *oci.Bundle) {
			dir := filepath.Join(b.Dir, "rootfs/lib64")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "ld-linux-x86-64.so.2"), []byte("\x7fELF"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "install Wine in the image"},
		"user namespace of others": {func(_ *testing.T, b *oci.Bundle) {
			b.Spec.Linux.Namespaces = append(b.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/1/ns/user"})
		}, "existing user namespace"},
		"user without a place": {func(_ *testing.T, b *oci.Bundle) {
			b.Spec.Linux.Namespaces = append(b.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			b.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 1, HostID: 100000, Size: 10}}
			b.Spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}}
		}, "process.user: 0:0 is not in"},
		"drive C": {func(_ *testing.T, b *oci.Bundle) {
			b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: `C:\`, Source: "/tmp", Options: []string{"bind"}})
		}, "drive C: is the prefix's own"},
		"no Windows name": {func(_ *testing.T, b *oci.Bundle) {
			b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: `D:\a|b`, Source: "/tmp", Options: []string{"bind"}})
		}, "no Windows file name"},
		"no program": {func(t *testing.T, b *oci.Bundle) {
			b.Spec.Annotations = map[string]string{annotationHandler: "windows"}
			b.Spec.Process.Args = []string{"/notes.txt"}
		}, "not a Windows program"},
		"missing, by annotation": {func(t *testing.T, b *oci.Bundle) {
			b.Spec.Annotations = map[string]string{annotationHandler: "windows"}
			b.Spec.Process.Args = []string{"none"}
		}, "executable file not found in $PATH"},
	} {
		b := bundleWith(t, []string{"/app/a.exe"}, "app/a.exe", "notes.txt")
		test.change(t, b)
		_, _, scratch, err := container(t, b)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		if _, err := os.Lstat(string(scratch)); err == nil {
			t.Errorf("%s: something is left", name)
		}
	}
}
