package wine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// kept is a persistent prefix of a test, and the template that it is to fit.
type kept struct {
	*testing.T
	dir      string
	template *Template
	run      Runner
	warnings []string
}

func newKept(t *testing.T) *kept {
	t.Helper()
	r, root := fakeRuntime(t)
	template, err := r.Prepare(context.Background(), t.TempDir(), fakeBoot(root), nil)
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{T: t, dir: filepath.Join(t.TempDir(), "prefix"), template: template}
	k.run = func(context.Context, *specs.Spec) (int, error) {
		return 0, errors.New("the prefix is upgraded for no reason")
	}
	return k
}

// fit opens the prefix, makes it fit and closes it.
func (k *kept) fit() error {
	k.Helper()
	p, err := OpenPersistent(k.dir)
	if err != nil {
		k.Fatal(err)
	}
	defer p.Close()
	return p.Fit(context.Background(), k.template, Owner{os.Geteuid(), os.Getegid()}, k.run, nil, func(s string) { k.warnings = append(k.warnings, s) })
}

func (k *kept) mustFit() {
	k.Helper()
	if err := k.fit(); err != nil {
		k.Fatal(err)
	}
}

func (k *kept) path(name string) string { return filepath.Join(k.dir, name) }

func (k *kept) write(name, text string) {
	k.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(k.path(name)), 0o755), os.WriteFile(k.path(name), []byte(text), 0o644)); err != nil {
		k.Fatal(err)
	}
}

func (k *kept) read(name string) string {
	k.Helper()
	data, err := os.ReadFile(k.path(name))
	if err != nil {
		k.Fatal(err)
	}
	return string(data)
}

// wine10 makes the template one of a newer Wine.
func (k *kept) wine10() {
	wine10, template := *k.template.Runtime, *k.template
	wine10.Version, wine10.Digest = "10.0", "other"
	template.Runtime = &wine10
	k.template = &template
}

const (
	emptyRegistry = registrySignature + "\n"
	someRegistry  = emptyRegistry + "\n[Software] 1\n\"a\"=\"b\"\n"
)

func TestPersistentFill(t *testing.T) {
	k := newKept(t)
	if err := os.Mkdir(k.dir, 0o755); err != nil { // an empty folder will do
		t.Fatal(err)
	}
	k.mustFit()
	if got := k.read("drive_c/windows/system32/notes.txt"); got != "mine" {
		t.Errorf("notes.txt: %q", got)
	}
	k.write("drive_c/windows/system32/notes.txt", "changed")
	k.mustFit()
	if got := k.read("drive_c/windows/system32/notes.txt"); got != "changed" {
		t.Errorf("notes.txt at the second time: %q", got)
	}
	// One that was begun and not finished is made anew.
	if err := errors.Join(os.Remove(k.path(madeWith)), os.Remove(k.path("user.reg"))); err != nil {
		t.Fatal(err)
	}
	k.write(unfinished, "")
	k.mustFit()
	if got := k.read("drive_c/windows/system32/notes.txt"); got != "mine" {
		t.Errorf("notes.txt after an interrupted creation: %q", got)
	}
	if _, err := os.Stat(k.path(unfinished)); err == nil {
		t.Error("the mark of an unfinished prefix is left")
	}
	k.dir = folders(t, "file.txt")
	if err := k.fit(); err == nil || !strings.Contains(err.Error(), "not a prefix (it has file.txt)") {
		t.Errorf("a folder with something in it: %v", err)
	}
}

func TestPersistentLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "prefix")
	first, err := OpenPersistent(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPersistent(dir); !errors.Is(err, ErrPrefixInUse) {
		t.Errorf("locked twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if isFolder(dir) {
		t.Error("the new folder is left, with nothing in it")
	}
	if _, err := OpenPersistent(filepath.Join(dir, "sub")); err == nil {
		t.Error("the folder above is missing, and that is no error")
	}
}

func TestPersistentUpgrade(t *testing.T) {
	k := newKept(t)
	k.mustFit()
	k.write("system.reg", someRegistry)
	k.write("drive_c/app/own.txt", "own")
	const old = "/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/"
	for name, to := range map[string]string{"kernel32.dll": old + "kernel32.dll", "gone.dll": old + "gone.dll", "mine.dll": "/app/mine.dll"} {
		name = k.path("drive_c/windows/system32/" + name)
		os.Remove(name)
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(k.path("drive_c/windows/system32/cmd.exe")); err != nil {
		t.Fatal(err)
	}
	k.wine10()
	// What fails leaves the registry as it was.
	k.run = func(_ context.Context, spec *specs.Spec) (int, error) {
		k.write("system.reg", emptyRegistry)
		return 7, nil
	}
	if err := k.fit(); err == nil || !strings.Contains(err.Error(), "exit code 7") {
		t.Errorf("a failing upgrade: %v", err)
	}
	if got := k.read("system.reg"); got != someRegistry {
		t.Errorf("after a failing upgrade, system.reg is %q", got)
	}
	// A killed one, too.
	k.run = func(context.Context, *specs.Spec) (int, error) {
		k.write("system.reg", emptyRegistry)
		panic("killed")
	}
	func() {
		defer func() { _ = recover() }()
		k.fit()
	}()
	var ran *specs.Spec
	k.run = func(_ context.Context, spec *specs.Spec) (int, error) {
		if got := k.read("system.reg"); got != someRegistry {
			t.Errorf("the upgrade finds %q in system.reg", got)
		}
		ran = spec
		return 0, nil
	}
	k.mustFit()
	if ran == nil || strings.Join(ran.Process.Args[1:], " ") != "wineboot.exe --update" {
		t.Errorf("run for the upgrade: %+v", ran)
	}
	for name, want := range map[string]string{"kernel32.dll": prefixDir + "/x86_64-windows/kernel32.dll", "gone.dll": "", "mine.dll": "/app/mine.dll"} {
		if to, _ := os.Readlink(k.path("drive_c/windows/system32/" + name)); to != want {
			t.Errorf("%s leads to %q, want %q", name, to, want)
		}
	}
	if k.read("drive_c/app/own.txt") != "own" || k.read("drive_c/windows/system32/cmd.exe") != "MZ" {
		t.Error("own.txt or cmd.exe is not as it should be")
	}
	found, err := filepath.Glob(k.path(backups + "/before-upgrade-*/system.reg"))
	if err != nil || len(found) != 1 {
		t.Fatalf("backups of the registry: %v, %v", found, err)
	}
	if data, err := os.ReadFile(found[0]); string(data) != someRegistry {
		t.Errorf("the backup is %q, %v", data, err)
	}
	k.run = nil // again, without an upgrade
	k.mustFit()
}

func TestPersistentFits(t *testing.T) {
	k := newKept(t)
	k.mustFit()
	for made, want := range map[string]string{
		"wine 10, 32-bit: none": "was made with a newer runtime",
		"wine 8, 32-bit: i386":  "runs 32-bit programs",
		"wine 3\x00":            "does not know",
		"":                      "is empty",
	} {
		k.write(madeWith, made+"\n")
		if err := k.fit(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("made with %q: %v", made, err)
		}
	}
	// One that does not say is let through, and gets winbox's own.
	k.write("drive_c/windows/system32/wineboot.exe", "stock")
	if err := os.Remove(k.path(madeWith)); err != nil {
		t.Fatal(err)
	}
	k.mustFit()
	if k.read("drive_c/windows/system32/wineboot.exe") == "stock" {
		t.Error("wineboot.exe is not winbox's")
	}
	p, err := OpenPersistent(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Fit(context.Background(), k.template, Owner{os.Geteuid() + 1, 0}, k.run, nil, nil); err == nil || !strings.Contains(err.Error(), "belongs to user") {
		t.Errorf("as another user: %v", err)
	}
}

func TestPersistentRegistry(t *testing.T) {
	for name, damage := range map[string]func(*kept){
		"empty":   func(k *kept) { k.write("system.reg", "") },
		"zeros":   func(k *kept) { k.write("system.reg", someRegistry+strings.Repeat("\x00", 100)) },
		"cut":     func(k *kept) { k.write("system.reg", someRegistry[:len(someRegistry)-3]) },
		"missing": func(k *kept) { os.Remove(k.path("system.reg")) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKept(t)
			k.mustFit()
			k.write("system.reg", someRegistry)
			k.write("reg800000.tmp", "half")
			k.mustFit()
			if _, err := os.Stat(k.path("reg800000.tmp")); err == nil {
				t.Error("the temporary file of a killed server is left")
			}
			damage(k)
			k.mustFit()
			if got := k.read("system.reg"); got != someRegistry || len(k.warnings) != 1 {
				t.Errorf("system.reg is %q, warnings %q", got, k.warnings)
			}
			damage(k)
			if err := os.RemoveAll(k.path(backups)); err != nil {
				t.Fatal(err)
			}
			if err := k.fit(); err == nil || !strings.Contains(err.Error(), "no backup") {
				t.Errorf("without a backup: %v", err)
			}
		})
	}
}

// TestPersistentHostile puts links into a prefix that lead out of it, as a program could.
func TestPersistentHostile(t *testing.T) {
	for _, name := range []string{"dosdevices", backups, "system.reg", madeWith, "drive_c/windows/system32/wineboot.exe", "drive_c/windows", "drive_c/windows/system32", upgrading, backups + "/system.reg.new"} {
		k := newKept(t)
		k.mustFit()
		files := []string{"c.txt", "system.reg", "system32/wineboot.exe", "wineboot.exe", madeWith}
		host := folders(t, files...)
		if err := errors.Join(os.RemoveAll(k.path(name)), os.Symlink(host, k.path(name))); err != nil {
			t.Fatal(err)
		}
		k.wine10()
		k.run = func(context.Context, *specs.Spec) (int, error) { return 0, nil }
		err := k.fit()
		p, openErr := OpenPersistent(k.dir)
		if openErr != nil {
			t.Fatal(openErr)
		}
		t.Logf("%s: %v, %v", name, err, linkDrives(p.root, &drives{}))
		p.Close()
		for _, file := range files {
			if data, err := os.ReadFile(filepath.Join(host, file)); string(data) != "MZ" {
				t.Errorf("%s as a link: %s of the host has been changed: %v", name, file, err)
			}
		}
		if entries, _ := os.ReadDir(host); len(entries) != len(files) {
			t.Errorf("%s as a link: %d files on the host, want %d", name, len(entries), len(files))
		}
	}
}
