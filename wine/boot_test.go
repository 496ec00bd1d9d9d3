package wine

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBootIsBuiltFromSource builds the committed Windows programs again. Another version of the compiler makes other
// code, so that only the one of Debian 12 counts.
func TestBootIsBuiltFromSource(t *testing.T) {
	version, err := exec.Command(needCompiler(t), "-dumpversion").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(version), "12") {
		t.Skipf("needs mingw-w64 with gcc 12, here is %s", bytes.TrimSpace(version))
	}
	top := t.TempDir()
	dir, shared := filepath.Join(top, "wine", "boot"), filepath.Join(top, "internal", "freestanding")
	for _, folder := range []string{dir, shared} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyFile("../internal/freestanding/exception.h", filepath.Join(shared, "exception.h")); err != nil {
		t.Fatal(err)
	}
	sources := []string{"boot/Makefile", "boot/ntoskrnl.def"}
	for _, kind := range []string{"c", "h"} {
		files, err := filepath.Glob("boot/*." + kind)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, files...)
	}
	for _, file := range sources {
		if err := copyFile(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("make", "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	for name, committed := range map[string][]byte{"wineboot-amd64.exe": bootAMD64, "explorer-amd64.exe": explorerAMD64, "volumes-amd64.exe": volumesAMD64, "crash-amd64.exe": crashAMD64, "pipes-amd64.exe": pipesAMD64, "stop-amd64.exe": stopAMD64, "stop-386.exe": stopI386, "bcryptprimitives-amd64.dll": bcryptAMD64} {
		built, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(built, committed) {
			t.Errorf("boot/%s is not what its source gives: run `make -C wine/boot` and commit it", name)
		}
	}
}
