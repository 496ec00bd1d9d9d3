package wine

import (
	"bytes"
	"debug/pe"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"winbox/preload/pe/petest"
)

// debugDLL compiles a library with debugging sections.
func debugDLL(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	source, dll := filepath.Join(dir, "a.c"), filepath.Join(dir, "a.dll")
	if err := os.WriteFile(source, []byte("int twice(int n) { return 2 * n; }\nint table[] = {1, 2, 3};\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(needCompiler(t), "-g", "-shared", "-nostdlib", "-Wl,--file-alignment,4096", "-o", dll, source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	data, err := os.ReadFile(dll)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestStripPE cuts a library and checks that what remains is what was there, at the same place.
func TestStripPE(t *testing.T) {
	whole := debugDLL(t)
	before, err := pe.NewFile(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	cut := stripPE(slices.Clone(whole))
	after, err := pe.NewFile(bytes.NewReader(cut))
	if err != nil {
		t.Fatal(err)
	}
	debug := 0
	for i, s := range before.Sections {
		if strings.HasPrefix(s.Name, ".debug_") {
			debug++
			continue
		}
		want, _ := s.Data()
		got, err := after.Sections[i].Data()
		if err != nil || !bytes.Equal(got, want) || after.Sections[i].Offset != s.Offset || after.Sections[i].VirtualAddress != s.VirtualAddress {
			t.Errorf("section %s is not what it was (%v)", s.Name, err)
		}
	}
	if debug == 0 || len(after.Sections) != len(before.Sections)-debug {
		t.Errorf("%d sections of %d remain, %d are for debuggers", len(after.Sections), len(before.Sections), debug)
	}
	last := after.Sections[len(after.Sections)-1]
	optional := after.OptionalHeader.(*pe.OptionalHeader64)
	if end := (last.VirtualAddress + last.VirtualSize + 0xfff) &^ 0xfff; optional.SizeOfImage != end || int(last.Offset+last.Size) != len(cut) {
		t.Errorf("image of %#x, want %#x; file of %#x, want %#x", optional.SizeOfImage, end, len(cut), last.Offset+last.Size)
	}
	if after.FileHeader.NumberOfSymbols != 0 || after.FileHeader.PointerToSymbolTable != 0 {
		t.Error("there is a symbol table")
	}
	if again := stripPE(slices.Clone(cut)); !bytes.Equal(again, cut) {
		t.Error("there was more to cut")
	}
}

// TestStripPELeavesAlone checks that a file stays as it is when it is not what mingw-w64 makes.
func TestStripPELeavesAlone(t *testing.T) {
	signed := debugDLL(t)
	at := int(signed[0x3c]) | int(signed[0x3d])<<8
	signed[at+24+112+4*8] = 1 // the directory of certificates
	cut := debugDLL(t)
	cut = cut[:len(cut)/2]
	for name, data := range map[string][]byte{
		"nothing": nil, "no PE file": []byte("MZ, but no more"), "without debugging sections": (&petest.Image{}).Bytes(), "signed": signed, "cut off": cut,
	} {
		if got := stripPE(slices.Clone(data)); !bytes.Equal(got, data) {
			t.Errorf("%s: changed", name)
		}
	}
}

// FuzzStripPE checks that no file breaks it, and that it only ever cuts and changes headers.
func FuzzStripPE(f *testing.F) {
	f.Add((&petest.Image{}).Bytes())
	f.Add((&petest.Image{Machine: 0x14c, Relocations: []uint32{0x1000}}).Bytes())
	data := (&petest.Image{Overlay: []byte(".debug_info")}).Bytes()
	copy(data[petest.HeaderOffset+24+240+40:], ".debug_x") // the second section's name
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		got := stripPE(slices.Clone(data))
		if len(got) > len(data) {
			t.Fatalf("%d bytes became %d", len(data), len(got))
		}
		if again := stripPE(slices.Clone(got)); !bytes.Equal(again, got) {
			t.Fatal("a second time it makes another file")
		}
	})
}
