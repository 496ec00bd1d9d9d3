package pe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"winbox/preload/pe"
	"winbox/preload/pe/petest"
)

func open(b []byte) (*pe.Image, error) { return pe.Open(bytes.NewReader(b), int64(len(b))) }

func mustOpen(t *testing.T, b []byte) *pe.Image {
	t.Helper()
	img, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// full is an image with every directory.
func full(machine uint16) petest.Image {
	return petest.Image{
		Machine:            machine,
		Characteristics:    0x0020,
		DLLCharacteristics: 0x0140,
		StackReserve:       8 << 20,
		StackCommit:        64 << 10,
		HeapReserve:        2 << 20,
		HeapCommit:         8 << 10,
		CheckSum:           0x12345,
		Imports: []petest.Import{
			{DLL: "KERNEL32.dll", Functions: []string{"ExitProcess", "", "GetLastError"}},
			{DLL: "USER32.dll", Functions: []string{"MessageBoxW"}},
		},
		DelayImports: []petest.Import{{DLL: "SHELL32.dll", Functions: []string{"ShellExecuteW"}}},
		Relocations:  []uint32{0x1000, 0x1008, 0x1ff8, 0x2000},
		TLSCallbacks: 2,
		Version: &petest.Version{
			File:    [4]uint16{1, 2, 3, 4},
			Strings: map[string]string{"FileVersion": "1.2.3.4", "ProductName": "Prüfstück", "FileDescription": "a test"},
		},
		GuardFlags: 0x500,
		CLRFlags:   pe.CLRILOnly,
		Signed:     true,
	}
}

func TestOpenEverything(t *testing.T) {
	for _, machine := range []uint16{0x8664, 0x14c} {
		img := mustOpen(t, full(machine).Bytes())
		wide := machine == 0x8664
		t.Run(img.Machine.String(), func(t *testing.T) {
			check := func(what string, got, want any) {
				t.Helper()
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %v, want %v", what, got, want)
				}
			}
			base := uint64(0x400000)
			if wide {
				base = 0x140000000
			}
			check("PE32+", img.PE32Plus, wide)
			check("base", img.ImageBase, base)
			check("entry", img.EntryPoint, uint32(petest.TextRVA))
			check("subsystem", img.Subsystem.String(), "console")
			check("subsystem version", img.SubsystemVersion, [2]uint16{6, 0})
			check("stack", [2]uint64{img.StackReserve, img.StackCommit}, [2]uint64{8 << 20, 64 << 10})
			check("heap", [2]uint64{img.HeapReserve, img.HeapCommit}, [2]uint64{2 << 20, 8 << 10})
			check("checksum", img.CheckSum, uint32(0x12345))
			check("alignment", [2]uint32{img.SectionAlignment, img.FileAlignment}, [2]uint32{4096, 512})
			check("large address aware", img.LargeAddressAware(), true)
			check("relocatable", img.Relocatable(), true)
			check("DLL", img.IsDLL(), false)
			check("signed", img.Signed(), true)
			check("sections", len(img.Sections), 2)
			check("section", img.Sections[1].Name, ".rdata")
			check("section flags", img.Sections[0].Flags&(pe.SectionExecute|pe.SectionRead|pe.SectionWrite), pe.SectionExecute|pe.SectionRead)

			imports, err := img.Imports()
			check("imports error", err, nil)
			check("imports", imports, []pe.Import{
				{DLL: "KERNEL32.dll", Functions: []string{"ExitProcess", "#7", "GetLastError"}},
				{DLL: "USER32.dll", Functions: []string{"MessageBoxW"}},
			})
			delayed, err := img.DelayImports()
			check("delay imports error", err, nil)
			check("delay imports", delayed, []pe.Import{{DLL: "SHELL32.dll", Functions: []string{"ShellExecuteW"}}})
			relocs, err := img.Relocations()
			check("relocations error", err, nil)
			check("relocations", relocs, &pe.RelocationTable{Blocks: 2, Fixups: 4})
			tls, err := img.TLS()
			check("TLS error", err, nil)
			check("TLS", tls, &pe.TLS{DataSize: 16, ZeroFill: 32, Callbacks: 2})
			config, err := img.LoadConfig()
			check("load config error", err, nil)
			want := &pe.LoadConfig{Size: 148, SecurityCookie: true, GuardFlags: 0x500}
			if !wide {
				want.Size, want.SEHandlers = 92, 3
			}
			check("load config", config, want)
			clr, err := img.CLR()
			check("CLR error", err, nil)
			check("CLR", clr, &pe.CLR{Runtime: [2]uint16{2, 5}, Flags: pe.CLRILOnly})
			check("CLR only", clr.Only(), true)
			version, err := img.Version()
			check("version error", err, nil)
			check("version", version, &pe.Version{
				File: [4]uint16{1, 2, 3, 4}, Product: [4]uint16{1, 2, 3, 4},
				Strings: map[string]string{"FileVersion": "1.2.3.4", "ProductName": "Prüfstück", "FileDescription": "a test"},
			})
		})
	}
}

func TestOpenNothing(t *testing.T) {
	img := mustOpen(t, petest.Image{}.Bytes())
	imports, err1 := img.Imports()
	delayed, err2 := img.DelayImports()
	relocs, err3 := img.Relocations()
	tls, err4 := img.TLS()
	version, err5 := img.Version()
	config, err6 := img.LoadConfig()
	clr, err7 := img.CLR()
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		t.Error(err)
	}
	if imports != nil || delayed != nil || relocs != nil || tls != nil || version != nil || config != nil || clr != nil {
		t.Error("directories out of nothing:", imports, delayed, relocs, tls, version, config, clr)
	}
	if img.Relocatable() || img.Signed() {
		t.Error("relocatable or signed out of nothing")
	}
}

// countingReader counts reads, to hold Open to its promise.
type countingReader struct {
	io.ReaderAt
	reads int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	return c.ReaderAt.ReadAt(p, off)
}

func TestOpenReadsOnce(t *testing.T) {
	b := full(0x8664).Bytes()
	r := &countingReader{ReaderAt: bytes.NewReader(b)}
	if _, err := pe.Open(r, int64(len(b))); err != nil || r.reads != 1 {
		t.Errorf("%d reads, error %v", r.reads, err)
	}
}

// patch returns b with the little-endian value at off, of as many bytes as v has.
func patch[T uint16 | uint32 | uint64 | [2]uint32](b []byte, off int, v T) []byte {
	b = bytes.Clone(b)
	switch v := any(v).(type) {
	case uint16:
		binary.LittleEndian.PutUint16(b[off:], v)
	case uint32:
		binary.LittleEndian.PutUint32(b[off:], v)
	case uint64:
		binary.LittleEndian.PutUint64(b[off:], v)
	case [2]uint32:
		binary.LittleEndian.PutUint32(b[off:], v[0])
		binary.LittleEndian.PutUint32(b[off+4:], v[1])
	}
	return b
}

// Offsets into the headers of a 64-bit petest image.
const (
	coff     = petest.HeaderOffset + 4
	optional = coff + 20
	dirs     = optional + 112
	sections = dirs + 16*8
)

func TestOpenErrors(t *testing.T) {
	good := petest.Image{}.Bytes()
	mz := func(sig string) []byte {
		b := make([]byte, 256)
		copy(b, "MZ")
		b[0x3c] = 0x80
		copy(b[0x80:], sig)
		return b
	}
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "not a Windows program: the file is empty"},
		{"text", []byte("hello\r\nworld\n"), "not a Windows program: it is a text file"},
		{"utf-8 text", []byte("Grüße"), "not a Windows program: it is a text file"},
		{"utf-8 text cut in a character", append(bytes.Repeat([]byte("x"), 4095), "ü"...), "not a Windows program: it is a text file"},
		{"utf-16 text", []byte("\xff\xfeh\x00i\x00"), "not a Windows program: it is a text file"},
		{"script", []byte("#!/bin/sh\n"), "not a Windows program: it is a script"},
		{"elf", []byte("\x7fELF\x02\x01\x01"), "not a Windows program: it is a Linux (ELF) program"},
		{"zip", []byte("PK\x03\x04\x14\x00"), "not a Windows program: it is a ZIP archive"},
		{"msi", []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "not a Windows program: it is an OLE document, such as an installer package (.msi)"},
		{"binary", []byte{0, 1, 2, 3}, "not a Windows program: it is data of an unknown kind"},
		{"ne", mz("NE"), "a 16-bit Windows (NE) program, which needs Windows 3.x; winbox runs 32- and 64-bit programs"},
		{"le", mz("LE"), "a 16-bit driver or DOS-extender (LE) program, which needs Windows 9x or DOS; winbox runs 32- and 64-bit programs"},
		{"lx", mz("LX"), "an OS/2 (LX) program, which needs OS/2; winbox runs 32- and 64-bit Windows programs"},
		{"dos", mz("\xb4\x09"), "an MS-DOS program, which needs DOS; winbox runs 32- and 64-bit Windows programs"},
		{"dos without second header", append([]byte("MZ"), bytes.Repeat([]byte{0xff}, 22)...), "truncated: the DOS header ends at byte 64 but the file has 24"},
		{"dos with garbage", patch(mz(""), 0x3c, uint32(0x7fffffff)), "an MS-DOS program, which needs DOS; winbox runs 32- and 64-bit Windows programs"},
		{"truncated stub", good[:100], "truncated: the PE header ends at byte 152 but the file has 100"},
		{"truncated headers", good[:0x100], "truncated: the section table ends at byte 472 but the file has 256"},
		{"truncated section", good[:0x600], "truncated: section .rdata ends at byte 1,552 but the file has 1,536"},
		{"object file", patch(good, coff+16, uint16(0)), "malformed: optional header: missing: an object file, not an image"},
		{"bad magic", patch(good, optional, uint16(0x107)), "malformed: optional header: magic 0x107 is neither PE32 (0x10b) nor PE32+ (0x20b)"},
		{"short optional header", patch(good, coff+16, uint16(20)), "malformed: optional header: 20 bytes, needs 112"},
		{"65,535 sections", patch(good, coff+2, uint16(65535)), "malformed: COFF header: 65,535 sections; the Windows loader takes at most 96"},
		{"zero alignment", patch(good, optional+32, uint32(0)), "malformed: optional header: section alignment 0x0 is not a power of two"},
		{"odd alignment", patch(good, optional+32, uint32(0x1800)), "malformed: optional header: section alignment 0x1800 is not a power of two"},
		{"odd file alignment", patch(good, optional+36, uint32(3)), "malformed: optional header: file alignment 0x3 is not a power of two, at most 64 KiB and the section alignment"},
		{"overlapping sections", patch(good, sections+40+12, uint32(0x1008)), "malformed: section .rdata: starts at 0x1008, inside the section before it"},
		{"section past the image", patch(good, sections+40+8, uint32(0x10000)), "malformed: section .rdata: ends at 0x12000, past the image's 0x3000 bytes"},
		{"section past the file", patch(good, sections+20, uint32(0xfffffff0)), "truncated: section .text ends at byte 4,294,967,296 but the file has 2,048"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := open(tt.file); err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestSniff(t *testing.T) {
	good := petest.Image{}.Bytes()
	for name, tt := range map[string]struct {
		file []byte
		want bool
	}{
		"image": {good, true}, "cut off": {good[:petest.HeaderOffset+3], false}, "empty": {nil, false},
		"text": {[]byte("MZ is how it starts"), false}, "far header": {patch(good, 0x3c, uint32(0xffffffff)), false},
	} {
		if got := pe.Sniff(bytes.NewReader(tt.file)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestHostileDirectories breaks one directory at a time: each must be a
// FormatError from its parser, soon and without a panic.
func TestHostileDirectories(t *testing.T) {
	good := full(0x8664).Bytes()
	img := mustOpen(t, good)
	at := func(dir int) int { // file offset of a directory
		return int(img.Directories[dir].RVA) - petest.DataRVA + petest.DataOffset
	}
	dirRVA := func(dir int) int { return dirs + 8*dir }
	tests := []struct {
		name  string
		file  []byte
		parse func(*pe.Image) (any, error)
		want  string
	}{
		{"imports outside", patch(good, dirRVA(1), uint32(0x00ff0000)), parseImports, "malformed: import table: 20 bytes at 0xff0000 lie outside the image's sections"},
		{"imports at the end of the address space", patch(good, dirRVA(1), uint32(0xfffffff8)), parseImports, "malformed: import table: runs past the end of the address space"},
		{"import lookup outside", patch(good, at(1), uint32(0x7fffffff)), parseImports, "malformed: import table: 8 bytes at 0x7fffffff lie outside the image's sections"},
		{"import name outside", patch(good, at(1)+12, uint32(0x7fffffff)), parseImports, "malformed: import table: 1 bytes at 0x7fffffff lie outside the image's sections"},
		{"delay imports outside", patch(good, dirRVA(13), uint32(0x00ff0000)), parseDelayImports, "malformed: delay import table: 32 bytes at 0xff0000 lie outside the image's sections"},
		{"delay imports by address", patch(good, at(13), uint32(0)), parseDelayImports, "malformed: delay import table: address 0x20d0 lies outside the image"},
		{"relocation block loops", patch(good, at(5)+4, uint32(0)), parseRelocations, "malformed: relocation table: the block at 0x2140 has a size of 0 bytes, with 28 left in the table"},
		{"relocation block too long", patch(good, at(5)+4, uint32(0xfffffff0)), parseRelocations, "malformed: relocation table: the block at 0x2140 has a size of 4294967280 bytes, with 28 left in the table"},
		{"relocation page outside", patch(good, at(5), uint32(0x00100000)), parseRelocations, "malformed: relocation table: a fixup at 0x100000 lies outside the image"},
		{"relocation type unknown", patch(good, at(5)+8, uint16(0xf000)), parseRelocations, "malformed: relocation table: type 15 at 0x2148 is unknown"},
		{"relocations past the table", patch(good, dirRVA(5)+4, uint32(0xffffffff)), parseRelocations, "malformed: relocation table: the block at 0x215c has a size of 1073745920 bytes, with 1188 left in the file"},
		{"TLS data backwards", patch(good, at(9)+8, uint64(1)), parseTLS, "malformed: TLS directory: data from 0x140002000 to 0x1"},
		{"TLS callbacks outside", patch(good, at(9)+24, uint64(1)), parseTLS, "malformed: TLS directory: address 0x1 lies outside the image"},
		{"load config outside", patch(good, dirRVA(10), uint32(0x00ff0000)), parseLoadConfig, "malformed: load configuration: 4 bytes at 0xff0000 lie outside the image's sections"},
		{"CLR too short", patch(good, at(14), uint32(8)), parseCLR, "malformed: .NET header: 8 bytes, needs 72"},
		{"resources loop", patch(good, at(2)+20, uint32(0x80000000)), parseVersion, "malformed: resource directory: the version resource is not three levels deep"},
		{"resources flat", patch(good, at(2)+20, uint32(24)), parseVersion, "malformed: resource directory: the version resource is not three levels deep"},
		{"many resources", patch(good, at(2)+14, uint16(0xffff)), parseVersion, "malformed: resource directory: 65,535 entries in one directory"},
		{"huge version", patch(good, at(2)+24*3+4, uint32(0xffffffff)), parseVersion, "malformed: version resource: 4,294,967,295 bytes, at most 65,536 are read"},
		{"version outside", patch(good, at(2)+24*3, uint32(0x00ff0000)), parseVersion, "malformed: version resource: 308 bytes at 0xff0000 lie outside the file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.parse(mustOpen(t, tt.file))
			var format *pe.FormatError
			if !errors.As(err, &format) || err.Error() != tt.want {
				t.Errorf("got  %v, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func parseImports(i *pe.Image) (any, error)      { return i.Imports() }
func parseDelayImports(i *pe.Image) (any, error) { return i.DelayImports() }
func parseRelocations(i *pe.Image) (any, error)  { return i.Relocations() }
func parseTLS(i *pe.Image) (any, error)          { return i.TLS() }
func parseLoadConfig(i *pe.Image) (any, error)   { return i.LoadConfig() }
func parseCLR(i *pe.Image) (any, error)          { return i.CLR() }
func parseVersion(i *pe.Image) (any, error)      { return i.Version() }

// everyParser is all of them, for fuzzing and for real files.
var everyParser = map[string]func(*pe.Image) (any, error){
	"imports": parseImports, "delay imports": parseDelayImports, "relocations": parseRelocations, "TLS": parseTLS,
	"load config": parseLoadConfig, "CLR": parseCLR, "version": parseVersion,
}

// TestImportTablesShareEntries is a table in which every library uses the same
// long list of functions: the caps must end it.
func TestImportTablesShareEntries(t *testing.T) {
	functions := make([]string, 500)
	for i := range functions {
		functions[i] = strings.Repeat("x", 100)
	}
	list := make([]petest.Import, 1000)
	for i := range list {
		list[i] = petest.Import{DLL: "a.dll"}
	}
	list[0].Functions = functions
	b := petest.Image{Imports: list}.Bytes()
	img := mustOpen(t, b)
	start := int(img.Directories[pe.DirImport].RVA) - petest.DataRVA + petest.DataOffset
	shared := b[start : start+4]
	for i := range list {
		copy(b[start+20*i:], shared)
	}
	got, err := mustOpen(t, b).Imports()
	if err == nil || !strings.Contains(err.Error(), "more than 2,097,152 bytes of names") {
		t.Errorf("%d libraries, error %v", len(got), err)
	}
}

func TestOpenFileErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	fifo := filepath.Join(dir, "pipe.exe")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path, want string
		missing    bool
	}{
		{write("notes.exe", []byte("hello")), "not a Windows program: it is a text file", false},
		{dir, "a directory, not a program", false},
		{fifo, "a device, pipe or socket, not a program", false},
		{filepath.Join(dir, "none.exe"), "no such file", true},
		{write("cut.exe", petest.Image{}.Bytes()[:0x600]), "truncated: section .rdata ends at byte 1,552 but the file has 1,536", false},
	}
	for _, tt := range tests {
		img, closer, err := pe.OpenFile(tt.path)
		var file *pe.FileError
		if img != nil || closer != nil || !errors.As(err, &file) || err.Error() != tt.path+": "+tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
		if errors.Is(err, fs.ErrNotExist) != tt.missing {
			t.Errorf("%v: missing is %v", err, !tt.missing)
		}
	}
	img, closer, err := pe.OpenFile(write("good.exe", petest.Image{}.Bytes()))
	if err != nil || img == nil {
		t.Fatal(err)
	}
	closer.Close()
}
