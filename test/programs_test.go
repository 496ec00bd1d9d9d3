package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// compiler is mingw-w64's, as Debian names it.
const compiler = "x86_64-w64-mingw32-gcc"

// built holds the programs of pe/*.c that are compiled, by name.
var built = struct {
	sync.Mutex
	files map[string]string
}{files: make(map[string]string)}

// build gives a program compiled from pe/SOURCE.c with further flags, under a name of its own.
func build(t *testing.T, name, source string, flags ...string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if file, ok := built.files[name]; ok {
		return file
	}
	if _, err := exec.LookPath(compiler); err != nil {
		t.Skipf("needs %s (Debian package gcc-mingw-w64-x86-64)", compiler)
	}
	dir := filepath.Join(os.TempDir(), "programs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name+".exe")
	args := append([]string{"-O1", "-Wall", "-Werror", "-s", "-o", file, filepath.Join("pe", source+".c"), "-lws2_32"}, flags...)
	if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", source, err, out)
	}
	built.files[name] = file
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
