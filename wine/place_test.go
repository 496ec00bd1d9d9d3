package wine

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/pe/petest"
)

// TestPlaceLibraries places libraries of both machines: they get bases of their own and lose the flag for which Wine moves
// them; what cannot be placed and what is no library stays as it is.
func TestPlaceLibraries(t *testing.T) {
	tree := t.TempDir()
	w := &Runtime{WindowsDir: "/wide", Windows32Dir: "/narrow"}
	write := func(name string, data []byte) {
		t.Helper()
		file := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const machine386 = 0x14c
	library := petest.Image{Base: 0x180000000, Characteristics: uint16(pe.DLL | pe.LargeAddressAware),
		DLLCharacteristics: uint16(pe.DynamicBase | pe.HighEntropyVA), Relocations: []uint32{petest.TextRVA}}
	low, narrow, fixed := library, library, library
	low.Base = 0x7a400000
	narrow.Machine, narrow.Base = machine386, 0x10000000
	fixed.Relocations = nil // petest says that they were stripped
	program := petest.Image{DLLCharacteristics: uint16(pe.DynamicBase), Relocations: []uint32{petest.TextRVA}}
	for name, im := range map[string]petest.Image{
		"wide/a.dll": library, "wide/b.dll": library, "wide/low.dll": low, "narrow/a.dll": narrow, "narrow/b.dll": narrow,
		"wide/fixed.dll": fixed, "wide/program.exe": program,
	} {
		write(name, im.Bytes())
	}
	forward := fixed.Bytes() // one of Wine's own that only leads on to others: no table, and none that was stripped
	copy(forward[builtinOffset:], builtinSignature)
	forward[petest.HeaderOffset+4+18] &^= 1
	write("wide/forward.dll", forward)
	write("wide/text.dll16", []byte("no PE file"))
	before := make(map[string]string)
	for _, name := range []string{"wide/fixed.dll", "wide/program.exe", "wide/text.dll16"} {
		before[name] = readText(t, filepath.Join(tree, name))
	}

	for range 2 { // the second time, all are where they should be
		unplaced, err := placeLibraries(tree, w)
		if err != nil || !slices.Equal(unplaced, []string{"fixed.dll"}) {
			t.Fatalf("not placed: %q, %v", unplaced, err)
		}
		var taken []preload.Range
		for name, zone := range map[string]pe.Machine{
			"wide/a.dll": pe.MachineAMD64, "wide/b.dll": pe.MachineAMD64, "wide/forward.dll": pe.MachineAMD64, "wide/low.dll": pe.MachineI386,
			"narrow/a.dll": pe.MachineI386, "narrow/b.dll": pe.MachineI386,
		} {
			image, file, err := pe.OpenFile(filepath.Join(tree, name))
			if err != nil {
				t.Fatal(err)
			}
			file.Close()
			place := preload.Range{Start: image.ImageBase, End: image.ImageBase + uint64(image.SizeOfImage)}
			if !preload.EngineRanges(zone)[0].Contains(place) || slices.ContainsFunc(taken, place.Overlaps) {
				t.Errorf("%s is at %s, others at %v", name, place, taken)
			}
			if !image.Rebased() {
				t.Errorf("%s: flags %#x, or its sections are not aligned", name, image.DLLCharacteristics)
			}
			taken = append(taken, place)
		}
		for name, want := range before {
			if readText(t, filepath.Join(tree, name)) != want {
				t.Errorf("%s has been changed", name)
			}
		}
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
