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

// TestPruneResources takes languages out of some of Wine's own files, and checks that what is English and what is no
// resource is what it was.
func TestPruneResources(t *testing.T) {
	host, err := Host()
	if err != nil {
		t.Skipf("needs Wine: %v", err)
	}
	for _, name := range []string{"cmd.exe", "user32.dll", "shell32.dll", "comdlg32.dll", "kernelbase.dll"} {
		whole, err := os.ReadFile(filepath.Join(host.root, host.WindowsDir, name))
		if err != nil {
			t.Fatal(err)
		}
		whole = stripPE(whole)
		cut := pruneResources(slices.Clone(whole), true)
		if len(cut) >= len(whole) {
			t.Errorf("%s: %d bytes of %d", name, len(cut), len(whole))
		}
		before, after := sections(t, whole), sections(t, cut)
		for section, data := range before {
			if section != ".rsrc" && !bytes.Equal(after[section], data) {
				t.Errorf("%s: section %s is not what it was", name, section)
			}
		}
		had, has := resources(t, whole), resources(t, cut)
		for key, data := range had {
			isEnglish := key.language&0x3ff == 9
			if got, ok := has[key]; ok && got != data || isEnglish && !ok {
				t.Errorf("%s: resource %v is not what it was", name, key)
			}
		}
		for key := range has {
			if key.language&0x3ff == 7 { // German
				t.Errorf("%s: resource %v is still there", name, key)
			}
			if _, ok := had[key]; !ok {
				t.Errorf("%s: resource %v is new", name, key)
			}
		}
		if again := pruneResources(slices.Clone(cut), true); !bytes.Equal(again, cut) {
			t.Errorf("%s: there was more to take", name)
		}
	}
}

// sections gives the sections of a PE file by name.
func sections(t *testing.T, file []byte) map[string][]byte {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, s := range f.Sections {
		if all[s.Name], err = s.Data(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

type resourceKey struct{ kind, name, language uint32 }

// resources gives those with numbers, by what they are asked for by.
func resources(t *testing.T, file []byte) map[resourceKey]string {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	section := f.Section(".rsrc")
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := (&resourceReader{section: data, rva: section.VirtualAddress, left: maxResources}).directory(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[resourceKey]string)
	for _, kind := range tree {
		for _, name := range kind.children {
			for _, language := range name.children {
				if kind.name == nil && name.name == nil {
					all[resourceKey{kind.id, name.id, language.id}] = string(language.data)
				}
			}
		}
	}
	return all
}

// FuzzPruneResources checks that no file breaks what takes resources and unwind tables out.
func FuzzPruneResources(f *testing.F) {
	version := &petest.Version{File: [4]uint16{1, 2, 3, 4}, Strings: map[string]string{"ProductName": "x"}}
	f.Add((&petest.Image{Version: version}).Bytes())
	f.Add((&petest.Image{Machine: 0x14c, Version: version, Relocations: []uint32{0x1000}}).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := dropUnwind(pruneResources(slices.Clone(data), false)); len(got) > len(data) {
			t.Fatalf("%d bytes became %d", len(data), len(got))
		}
	})
}

// FuzzResources checks that what is read of a section is the same when it is written and read again.
func FuzzResources(f *testing.F) {
	leaf := func(id uint32) *resource { return &resource{id: id, data: []byte("data"), codePage: 1252} }
	name := &resource{id: 1 << 31, name: []byte{1, 0, 'x', 0}, children: []*resource{leaf(0x407), leaf(0x409)}}
	f.Add(writeResources([]*resource{{id: 3, children: []*resource{name, {id: 1, children: []*resource{leaf(0)}}}}}, 0x1000))
	f.Fuzz(func(t *testing.T, section []byte) {
		read := func(section []byte) ([]*resource, error) {
			return (&resourceReader{section: section, rva: 0x1000, left: 1000}).directory(0, 1)
		}
		tree, err := read(section)
		if err != nil {
			return
		}
		first := writeResources(tree, 0x1000)
		again, err := read(first)
		if err != nil {
			return // a directory below a leaf's level, or names among numbers: not what a linker makes
		}
		if second := writeResources(again, 0x1000); !bytes.Equal(first, second) {
			t.Fatalf("%x became %x", first, second)
		}
	})
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

// TestDropUnwind empties .eh_frame of a library, and checks that all else is what it was.
func TestDropUnwind(t *testing.T) {
	needCompiler(t)
	for _, compiler := range []string{"i686-w64-mingw32-gcc", "x86_64-w64-mingw32-gcc"} {
		t.Run(compiler, func(t *testing.T) { dropsUnwind(t, compiler) })
	}
}

func dropsUnwind(t *testing.T, compiler string) {
	dir := t.TempDir()
	source, dll := filepath.Join(dir, "a.c"), filepath.Join(dir, "a.dll")
	// In x86-64, it is code in assembler that has the section.
	const text = "int table[] = {1, 2, 3};\nint at(int n) { return table[n]; }\n" +
		"__asm__(\".text\\n.cfi_startproc\\nret\\n.cfi_endproc\");\n"
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(compiler, "-fasynchronous-unwind-tables", "-shared", "-nostdlib", "-Wl,--file-alignment,4096", "-o", dll, source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	whole, err := os.ReadFile(dll)
	if err != nil {
		t.Fatal(err)
	}
	whole = stripPE(whole)
	cut := dropUnwind(slices.Clone(whole))
	if len(cut) != len(whole)-4096 {
		t.Fatalf("%d bytes of %d", len(cut), len(whole))
	}
	before, after := sections(t, whole), sections(t, cut)
	for name, data := range before {
		if name == ".eh_fram" {
			data = nil
		}
		if !bytes.Equal(after[name], data) {
			t.Errorf("section %s is not what it was", name)
		}
	}
	a, _ := pe.NewFile(bytes.NewReader(whole))
	b, _ := pe.NewFile(bytes.NewReader(cut))
	for i := range a.Sections {
		if x, y := a.Sections[i], b.Sections[i]; x.VirtualAddress != y.VirtualAddress || x.VirtualSize != y.VirtualSize {
			t.Errorf("section %s is elsewhere in memory", x.Name)
		}
	}
	if again := dropUnwind(slices.Clone(cut)); !bytes.Equal(again, cut) {
		t.Error("there was more to take")
	}
}
