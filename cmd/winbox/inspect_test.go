package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"winbox/preload/pe"
	"winbox/preload/pe/petest"
	"winbox/wine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (rewrite with -update); got\n%s", path, got)
	}
}

// inDirectory writes files into a new directory and makes it the current one,
// so that messages and golden files hold no path of this machine.
func inDirectory(t *testing.T, files map[string][]byte) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, b := range files {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var inspected = map[string]petest.Image{
	"app": {
		Characteristics:    uint16(pe.LargeAddressAware),
		DLLCharacteristics: uint16(pe.DynamicBase | pe.HighEntropyVA | pe.NXCompat | pe.GuardCF),
		StackReserve:       8 << 20,
		Imports: []petest.Import{
			{DLL: "KERNEL32.dll", Functions: []string{"ExitProcess", "GetLastError", ""}},
			{DLL: "a\x1b[2Jb.dll", Functions: []string{"evil"}},
			{DLL: "api-ms-win-core-synch-l1-2-0.dll", Functions: []string{"WaitOnAddress"}},
			{DLL: "api-ms-win-crt-runtime-l1-1-0.dll", Functions: []string{"exit", "abort"}},
		},
		DelayImports: []petest.Import{{DLL: "SHELL32.dll", Functions: []string{"ShellExecuteW"}}},
		Relocations:  []uint32{0x1000, 0x1008, 0x2000},
		TLSCallbacks: 1,
		Version: &petest.Version{File: [4]uint16{24, 9, 0, 0}, Strings: map[string]string{
			"FileVersion": "24.09", "ProductName": "Prüfstück", "FileDescription": "A program for tests"}},
		GuardFlags: pe.GuardCFInstrumented,
		Signed:     true,
	},
	"old":   {Machine: 0x14c, GuardFlags: 1},
	"moved": {Machine: 0x14c, Base: 0x90000000, Relocations: []uint32{0x1000}},
	"arm64": {Machine: 0xaa64},
	"net":   {Machine: 0x14c, CLRFlags: pe.CLRILOnly},
	// As old, where no Wine is for it.
	"unrunnable": {Machine: 0x14c},
}

// engineOf is the Wine that a test's program is planned for: each kind there is.
func engineOf(name string) engine {
	by := engine{runtime: wine.Record{Name: "host", Wine: "8.0"}}
	switch name {
	case "moved":
		by.options.NewWoW64, by.runtime = true, wine.Record{Name: "wine-10-new", Wine: "10.0"}
	case "unrunnable":
		by = engine{none: &wine.No32BitError{Runtime: "host", Version: "8.0", Lacks: "has no 32-bit part"}}
	}
	return by
}

func TestInspectGolden(t *testing.T) {
	start, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for name, im := range inspected {
		t.Run(name, func(t *testing.T) {
			inDirectory(t, map[string][]byte{name + ".exe": im.Bytes()})
			var text, js bytes.Buffer
			errText := inspect(&text, name+".exe", engineOf(name), inspectFlags{})
			errJSON := inspect(&js, name+".exe", engineOf(name), inspectFlags{json: true})
			if (errText == nil) != (errJSON == nil) {
				t.Errorf("text: %v, JSON: %v", errText, errJSON)
			}
			t.Chdir(start)
			for line := range strings.Lines(text.String()) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			if bytes.Contains(text.Bytes(), []byte("\x1b")) {
				t.Error("an escape from the file reached the terminal")
			}
			if !json.Valid(js.Bytes()) {
				t.Error("not JSON")
			}
			golden(t, "inspect-"+name+".txt", text.Bytes())
			golden(t, "inspect-"+name+".json", js.Bytes())
		})
	}
}

func TestInspectErrors(t *testing.T) {
	ne := make([]byte, 256)
	copy(ne, "MZ")
	ne[0x3c] = 0x80
	copy(ne[0x80:], "NE")
	inDirectory(t, map[string][]byte{
		"notes.exe": []byte("hello, world\n"),
		"cut.exe":   petest.Image{}.Bytes()[:0x600],
		"old.exe":   ne,
		"arm.exe":   petest.Image{Machine: 0xaa64}.Bytes(),
		"net.exe":   petest.Image{CLRFlags: pe.CLRILOnly}.Bytes(),
		"lib.dll":   petest.Image{Characteristics: uint16(pe.DLL)}.Bytes(),
	})
	if err := os.Mkdir("d.exe", 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		code    int
		message string
	}{
		"notes.exe": {126, "notes.exe: not a Windows program: it is a text file"},
		"cut.exe":   {126, "cut.exe: truncated: section .rdata ends at byte 1,552 but the file has 1,536"},
		"old.exe":   {126, "old.exe: a 16-bit Windows (NE) program, which needs Windows 3.x; winbox runs 32- and 64-bit programs"},
		"arm.exe":   {126, "arm.exe: built for ARM64; this host runs x86-64 and 32-bit x86 programs"},
		"net.exe":   {126, "net.exe: a .NET-only program: needs Mono, which this runtime does not have"},
		"lib.dll":   {126, "lib.dll: a library (DLL), not a program"},
		"d.exe":     {126, "d.exe: a directory, not a program"},
		"none.exe":  {127, "none.exe: no such file"},
	} {
		var out bytes.Buffer
		var exit *exitError
		if err := inspect(&out, path, engine{}, inspectFlags{}); !errors.As(err, &exit) || exit.code != want.code || exit.Error() != want.message {
			t.Errorf("got  %v\nwant %v", err, want)
		}
	}
}

// TestInspectSVG draws instead of the text, or beside it.
func TestInspectSVG(t *testing.T) {
	inDirectory(t, map[string][]byte{"app.exe": inspected["app"].Bytes()})
	var drawn, text, plain bytes.Buffer
	if err := errors.Join(inspect(&drawn, "app.exe", engineOf("app"), inspectFlags{svg: "-"}),
		inspect(&text, "app.exe", engineOf("app"), inspectFlags{svg: "app.svg"}),
		inspect(&plain, "app.exe", engineOf("app"), inspectFlags{})); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("app.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(file, []byte("<svg ")) || !bytes.Equal(file, drawn.Bytes()) || text.String() != plain.String() {
		t.Errorf("the file has %d bytes, standard output %d", len(file), drawn.Len())
	}
	if err := inspect(&text, "app.exe", engineOf("app"), inspectFlags{svg: "none/app.svg"}); err == nil || !strings.HasPrefix(err.Error(), "--svg: ") {
		t.Errorf("a folder that is missing: %v", err)
	}
}
