package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winbox/preload/pe/petest"
)

// TestRefuse gives winbox what it cannot run. Not parallel: it looks at what is left behind.
func TestRefuse(t *testing.T) {
	b := newBox(t)
	archiver := readFile(t, sevenZip(t))
	// 16-bit Windows: an MZ header whose field at 0x3c leads to an NE header.
	segmented := make([]byte, 1024)
	copy(segmented, "MZ")
	segmented[0x3c] = 0x80
	copy(segmented[0x80:], "NE")
	for name, content := range map[string][]byte{
		"text.exe":       []byte("This is not a program.\n"),
		"text":           []byte("This is not a program.\r\n"),
		"empty.exe":      {},
		"script.exe":     []byte("#!/bin/sh\necho no\n"),
		"random.exe":     {1, 2, 3, 4, 0xff, 0xfe, 0, 0, 7},
		"mz.exe":         []byte("MZ"),
		"half.exe":       []byte(archiver[:len(archiver)/2]),
		"headers.exe":    []byte(archiver[:0x200]),
		"signature.exe":  []byte(archiver[:0x100]),
		"elf":            []byte(readFile(t, "/proc/self/exe")),
		"segmented.exe":  segmented,
		"dos.exe":        append([]byte("MZ"), make([]byte, 200)...),
		"arm64.exe":      petest.Image{Machine: 0xaa64}.Bytes(),
		"arm.exe":        petest.Image{Machine: 0x1c4}.Bytes(),
		"dotnet.exe":     petest.Image{CLRFlags: 1, Imports: []petest.Import{{DLL: "mscoree.dll", Functions: []string{"_CorExeMain"}}}}.Bytes(),
		"library.dll":    petest.Image{Characteristics: 0x2000}.Bytes(),
		"driver.sys":     petest.Image{Subsystem: 1}.Bytes(),
		"firmware.efi":   petest.Image{Subsystem: 10}.Bytes(),
		"taken.exe":      petest.Image{Base: 0x7ffe0000}.Bytes(),
		"null.exe":       petest.Image{BaseZero: true}.Bytes(),
		"folder/program": {},
	} {
		writeFile(t, b.dir, name, content)
	}
	if err := os.Symlink("nowhere", filepath.Join(b.dir, "dangling.exe")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop.exe", filepath.Join(b.dir, "loop.exe")); err != nil {
		t.Fatal(err)
	}

	before := takeSnapshot(t, "")
	for _, test := range []struct {
		program string
		code    int
		says    string
	}{
		{"text.exe", 126, "text file"},
		{"text", 126, "text file"},
		{"./text", 126, "text file"},
		{"empty.exe", 126, "empty"},
		{"script.exe", 126, "script"},
		{"random.exe", 126, "not a Windows program"},
		{"mz.exe", 126, ""},
		{"half.exe", 126, "truncated"},
		{"headers.exe", 126, "truncated"},
		{"signature.exe", 126, "truncated"},
		{"elf", 126, "Linux (ELF) program"},
		{"segmented.exe", 126, "16-bit Windows (NE)"},
		{"dos.exe", 126, "MS-DOS"},
		{"arm64.exe", 126, "ARM64"},
		{"arm.exe", 126, "ARM"},
		{"dotnet.exe", 126, ".NET-only program"},
		{"library.dll", 126, "library"},
		{"driver.sys", 126, "driver"},
		{"firmware.efi", 126, "not for Windows"},
		{"taken.exe", 126, "0x7ffe0000"},
		{"null.exe", 126, ""},
		{"./folder", 126, "directory"},
		{b.dir, 126, "directory"},
		{"/dev/null", 126, ""},
		{"loop.exe", 126, ""},
		{"text.exe/program.exe", 127, ""},
		{"dangling.exe", 127, ""},
		{"missing.exe", 127, "missing.exe"},
		{"./missing.exe", 127, "missing.exe"},
		{"/missing/program.exe", 127, "program.exe"},
		{`C:\missing.exe`, 127, "missing.exe"},
		{"folder", 126, "directory"},
		{"", 126, "no program"},
	} {
		t.Run("program "+filepath.Base(test.program), func(t *testing.T) {
			c := b.run(test.program, "argument")
			if line := c.wantLine(126, 127); c.code() != test.code || !strings.Contains(line, test.says) || test.program != "" && !strings.Contains(line, filepath.Base(test.program)) {
				t.Errorf("exit code %d, %q; want %d and something about %q", c.code(), line, test.code, test.says)
			}
			if c.out.Len() > 0 {
				t.Errorf("standard output %q", c.out.String())
			}
		})
	}
	for _, left := range before.diff(takeSnapshot(t, "")) {
		t.Error(left)
	}
}
