package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// building is held by who compiles a program of pe/*.c.
var building sync.Mutex

// build gives a 64-bit program compiled from pe/SOURCE.c with further flags, under a name of its own.
func build(t *testing.T, name, source string, flags ...string) string {
	t.Helper()
	return machines[0].build(t, name+".exe", source, flags...)
}

// build gives a program or library for this machine.
func (m machine) build(t *testing.T, name, source string, flags ...string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	dir := filepath.Join(os.TempDir(), "programs", m.arch.Arch())
	file := filepath.Join(dir, name)
	if _, err := os.Stat(file); err == nil {
		return file
	}
	if _, err := exec.LookPath(m.compiler); err != nil {
		t.Skipf("needs %s (Debian packages gcc-mingw-w64-x86-64 and gcc-mingw-w64-i686)", m.compiler)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-O1", "-Wall", "-Werror", "-s", "-o", file, filepath.Join("pe", source+".c"), "-lws2_32"}, flags...)
	if out, err := exec.Command(m.compiler, args...).CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", source, err, out)
	}
	return file
}

// program gives the program compiled from pe/NAME.c, copied into the box's current folder.
func (b *box) program(name string) string {
	b.t.Helper()
	writeFile(b.t, b.dir, name+".exe", []byte(readFile(b.t, build(b.t, name, name))))
	return name + ".exe"
}

// sevenZip gives the path of the archiver.
func sevenZip(t *testing.T) string { return sevenZipFor(t, "x64") }

// sevenZipFor gives that for a machine: x64 or ia32.
func sevenZipFor(t *testing.T, machine string) string {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("../build/7zip-bin/win", machine, "7za.exe"))
	if err == nil {
		_, err = os.Stat(file)
	}
	if err != nil {
		t.Fatalf("%v: run `test/install.sh test`", err)
	}
	return file
}
