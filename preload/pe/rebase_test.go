package pe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/pe/petest"
)

// library is a DLL with everything that a rebaser has to look after, but for a
// signature and .NET.
func library(machine uint16) petest.Image {
	im := full(machine)
	im.CLRFlags, im.Signed = 0, false
	im.Characteristics |= uint16(pe.DLL)
	im.Debug, im.Bound = true, true
	im.Overlay = []byte("behind the sections")
	return im
}

// load is a loader as Wine's is, and small: it gives the image as it is in memory at base.
func load(t *testing.T, b []byte, base uint64) []byte {
	t.Helper()
	img := mustOpen(t, b)
	memory := make([]byte, (uint64(img.SizeOfImage)+0xfff)&^0xfff)
	if len(img.Sections) > 0 {
		copy(memory[:min(img.SizeOfHeaders, img.Sections[0].VirtualAddress)], b)
	}
	for _, s := range img.Sections {
		from := uint64(s.FileOffset) &^ 0x1ff
		size := (uint64(s.SizeOfRawData) + 0x1ff) &^ 0x1ff
		virtual := uint64(s.VirtualSize)
		if virtual == 0 {
			virtual = uint64(s.SizeOfRawData)
		}
		size = min(size, (virtual+0xfff)&^0xfff)
		if s.FileOffset != 0 && size != 0 && from < uint64(len(b)) {
			copy(memory[s.VirtualAddress:uint64(s.VirtualAddress)+size], b[from:min(from+size, uint64(len(b)))])
		}
	}
	if delta := base - img.ImageBase; delta != 0 && img.Directories[pe.DirBaseReloc].Size >= 8 {
		table := memory[img.Directories[pe.DirBaseReloc].RVA:]
		table = table[:min(len(table), int(img.Directories[pe.DirBaseReloc].Size))] // a zero may end it before
		for len(table) >= 8 && le.Uint32(table[4:]) != 0 {
			page, block := le.Uint32(table), table[8:le.Uint32(table[4:])]
			for ; len(block) > 0; block = block[2:] {
				entry := le.Uint16(block)
				if entry>>12 == 0 { // padding, also of pages that are not there
					continue
				}
				at := memory[page+uint32(entry&0xfff):]
				switch pe.RelocationType(entry >> 12) {
				case pe.RelocHigh:
					le.PutUint16(at, le.Uint16(at)+uint16(delta>>16))
				case pe.RelocHighLow:
					le.PutUint32(at, le.Uint32(at)+uint32(delta))
				case pe.RelocDir64:
					le.PutUint64(at, le.Uint64(at)+delta)
				}
			}
			table = table[le.Uint32(table[4:]):]
		}
	}
	return memory
}

var le = binary.LittleEndian

// adapt makes in memory the changes of Rebase's that are not about addresses: file offsets of debug data are taken from
// got, and time stamps of imports go.
func adapt(memory, got []byte, img *pe.Image) {
	if d := img.Directories[pe.DirDebug]; d.RVA != 0 {
		for at := d.RVA; at+28 <= d.RVA+d.Size; at += 28 {
			copy(memory[at+24:at+28], got[at+24:])
		}
	}
	for _, table := range []struct{ dir, size, name, stamp, from, to int }{
		{pe.DirImport, 20, 12, 4, 4, 12}, {pe.DirDelayImport, 32, 4, 28, 28, 32},
	} {
		rva := int(img.Directories[table.dir].RVA)
		for ; rva != 0 && le.Uint32(memory[rva+table.name:]) != 0; rva += table.size {
			if le.Uint32(memory[rva+table.stamp:]) != 0 {
				clear(memory[rva+table.from : rva+table.to])
			}
		}
	}
}

// checkRebased holds what Rebase made of the file before to its promises.
func checkRebased(t *testing.T, before, after []byte, base uint64) {
	t.Helper()
	old, img := mustOpen(t, before), mustOpen(t, after)
	if img.ImageBase != base || !img.Rebased() || img.Signed() || img.SizeOfImage != old.SizeOfImage || img.EntryPoint != old.EntryPoint {
		t.Errorf("base %#x, rebased %v, signed %v", img.ImageBase, img.Rebased(), img.Signed())
	}
	for i, s := range img.Sections {
		if s.FileOffset%4096 != 0 || s.SizeOfRawData%4096 != 0 || int(s.FileOffset)+int(s.SizeOfRawData) > len(after) || s.VirtualAddress != old.Sections[i].VirtualAddress {
			t.Errorf("section %+v of a file of %d bytes", s, len(after))
		}
	}
	if again, err := img.Rebase(base); err != nil || !bytes.Equal(again, after) {
		t.Errorf("again: error %v, same bytes: %v", err, bytes.Equal(again, after))
	}
	want, got := load(t, before, base), load(t, after, base)
	adapt(want, got, img)
	if len(img.Sections) > 0 {
		for i := int(img.Sections[0].VirtualAddress); i < len(want); i++ {
			if want[i] != got[i] {
				t.Fatalf("in memory, the byte at %#x is %#x, not %#x", i, got[i], want[i])
			}
		}
	}
}

func TestRebase(t *testing.T) {
	for name, im := range map[string]petest.Image{
		"64 bits": library(0x8664), "32 bits": library(0x14c),
		"no checksum":     {Relocations: []uint32{0x1000}, Characteristics: uint16(pe.LargeAddressAware)},
		"no relocations":  {DLLCharacteristics: uint16(pe.DynamicBase), Overlay: []byte("overlay")},
		"large alignment": {Relocations: []uint32{0x1000}, Characteristics: uint16(pe.LargeAddressAware), SectionAlignment: 4096},
	} {
		t.Run(name, func(t *testing.T) {
			before := im.Bytes()
			old := mustOpen(t, before)
			bases := []uint64{0x10000, 0x57770000, old.ImageBase}
			if im.Relocations == nil {
				bases = bases[2:]
			}
			for _, base := range bases {
				after, err := old.Rebase(base)
				if err != nil {
					t.Fatal(err)
				}
				checkRebased(t, before, after, base)
				img, dynamic := mustOpen(t, after), pe.DLLCharacteristics(0)
				if img.IsDLL() {
					dynamic = pe.DynamicBase
				}
				if moved := base != old.ImageBase; img.TimeDateStamp != old.TimeDateStamp+map[bool]uint32{true: 1}[moved] {
					t.Errorf("time stamp %#x at %#x, was %#x", img.TimeDateStamp, base, old.TimeDateStamp)
				}
				if (img.CheckSum == 0) != (old.CheckSum == 0) {
					t.Errorf("checksum %#x, was %#x", img.CheckSum, old.CheckSum)
				}
				if img.DLLCharacteristics != old.DLLCharacteristics&^dynamic || img.Directories[pe.DirBoundImport].RVA != 0 {
					t.Errorf("DLL characteristics %#x, bound imports at %#x", img.DLLCharacteristics, img.Directories[pe.DirBoundImport].RVA)
				}
				for dir, stamp := range map[int]uint32{pe.DirImport: 4, pe.DirDelayImport: 28} {
					s := img.Sections[1]
					if d := img.Directories[dir]; d.RVA != 0 && le.Uint32(after[s.FileOffset+d.RVA-s.VirtualAddress+stamp:]) != 0 {
						t.Errorf("directory %d is still bound", dir)
					}
				}
				if !bytes.HasSuffix(after, im.Overlay) {
					t.Error("what was behind the sections is gone")
				}
				if d := img.Directories[pe.DirDebug]; d.RVA != 0 {
					s := img.Sections[1]
					entry := after[s.FileOffset+d.RVA-s.VirtualAddress:]
					if text := after[le.Uint32(entry[24:]):]; !bytes.HasPrefix(text, []byte("debug\x00")) {
						t.Errorf("the debug directory leads to %q", text[:6])
					}
				}
				for name, parse := range everyParser {
					// petest makes no relocations for the addresses in the TLS directory.
					if _, err := parse(img); err != nil && name != "TLS" {
						t.Error(err)
					}
				}
			}
		})
	}
}

func TestHasOverlay(t *testing.T) {
	for name, tt := range map[string]struct {
		im   petest.Image
		want bool
	}{
		"nothing": {petest.Image{}, false}, "signature": {petest.Image{Signed: true}, false},
		"data": {petest.Image{Overlay: []byte("123456789")}, true}, "data and a signature": {petest.Image{Overlay: []byte("123456789"), Signed: true}, true},
	} {
		if got := mustOpen(t, tt.im.Bytes()).HasOverlay(); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestRebaseSymbols has a symbol table behind the sections, as files of GNU ld do.
func TestRebaseSymbols(t *testing.T) {
	before := library(0x8664).Bytes()
	at := bytes.Index(before, []byte("behind"))
	before = patch(before, coff+8, uint32(at))
	after, err := mustOpen(t, before).Rebase(0x3c0000000)
	if err != nil {
		t.Fatal(err)
	}
	if got := le.Uint32(after[coff+8:]); !bytes.HasPrefix(after[got:], []byte("behind")) {
		t.Errorf("the symbol table was at %#x and is at %#x", at, got)
	}
}

// TestRebaseSigned drops a signature, and nothing else of what is at the end.
func TestRebaseSigned(t *testing.T) {
	im := library(0x8664)
	im.Signed = true
	before := im.Bytes()
	img := mustOpen(t, before)
	if err := img.Rebasable(false); err == nil || err.Error() != "signed" {
		t.Errorf("a signed file: %v", err)
	}
	if err := img.Rebasable(true); err != nil {
		t.Error(err)
	}
	after, err := img.Rebase(0x3c0000000)
	if err != nil {
		t.Fatal(err)
	}
	checkRebased(t, before, after, 0x3c0000000)
	if !bytes.HasSuffix(after, []byte("behind the sections\x00\x00\x00\x00\x00")) {
		t.Errorf("the end is %q", after[len(after)-32:])
	}
}

// TestCheckSum compares with what ImageHlp computes for a small file: the sum
// of the words with carries, and the length.
func TestCheckSum(t *testing.T) {
	for _, odd := range []bool{false, true} {
		im := library(0x14c)
		im.Overlay = bytes.Repeat([]byte{0xff}, 1000)
		if odd {
			im.Overlay = append(im.Overlay, 0x77)
		}
		after, err := mustOpen(t, im.Bytes()).Rebase(0x20000000)
		if err != nil {
			t.Fatal(err)
		}
		got := mustOpen(t, after).CheckSum
		sum, length := uint32(0), uint32(len(after))
		after = append(patch(after, optional+64, uint32(0)), 0)
		for i := range length / 2 {
			sum += uint32(le.Uint16(after[2*i:]))
			sum = sum&0xffff + sum>>16
		}
		if odd {
			sum += uint32(after[length-1])
			sum = sum&0xffff + sum>>16
		}
		if got != sum+length {
			t.Errorf("odd: %v: checksum %#x, want %#x", odd, got, sum+length)
		}
	}
}

func TestRebaseErrors(t *testing.T) {
	im := library(0x8664)
	good := im.Bytes()
	img := mustOpen(t, good)
	at := func(dir int) int { return int(img.Directories[dir].RVA) - petest.DataRVA + petest.DataOffset }
	with := func(change func(*petest.Image)) []byte {
		im := library(0x8664)
		change(&im)
		return im.Bytes()
	}
	longTable := patch(patch(good, coff+2, uint16(10)), sections+20, uint32(0x200)) // eight empty sections more
	for i := range 8 {
		longTable = patch(longTable, sections+40*(2+i)+12, uint32(0x3000))
	}
	const base = 0x3c0000000
	for _, tt := range []struct {
		name string
		file []byte
		base uint64
		want string
	}{
		{"ARM64", with(func(im *petest.Image) { im.Machine = 0xaa64 }), base, "built for ARM64"},
		{".NET", with(func(im *petest.Image) { im.CLRFlags = 1 }), base, "a .NET assembly"},
		{"driver", with(func(im *petest.Image) { im.Subsystem = 1 }), base, "a driver"},
		{"no relocations", with(func(im *petest.Image) { im.Relocations = nil }), base, "no relocations"},
		{"integrity", with(func(im *petest.Image) { im.DLLCharacteristics = uint16(pe.ForceIntegrity) }), base, "it asks to be loaded only with a good signature"},
		{"2 GiB", with(func(im *petest.Image) { im.Characteristics = uint16(pe.DLL) }), base, "it must be below 2 GiB"},
		{"flat", patch(patch(good, optional+32, uint32(512)), optional+36, uint32(512)), base, "its sections are not aligned to pages in memory"},
		{"huge image", patch(good, optional+56, uint32(0xfffff000)), base, "malformed: the size of the image is 0xfffff000"},
		{"old base not aligned", patch(good, optional+24, uint64(0x140001000)), base, "malformed: the image base 0x140001000 is not a multiple of 64 KiB"},
		{"new base not aligned", good, base + 0x1000, "0x3c0001000 is no base for an image of 12288 bytes"},
		{"base 0", good, 0, "0x0 is no base for an image of 12288 bytes"},
		{"base at the top", good, 1<<47 - 0x10000 + 0x10000, "0x800000000000 is no base for an image of 12288 bytes"},
		{"32-bit base at the top", patch(library(0x14c).Bytes(), optional+56, uint32(0x20000)), 0xffff0000, "0xffff0000 is no base for an image of 131072 bytes"},
		{"32-bit base above", library(0x14c).Bytes(), base, "0x3c0000000 is no base for an image of 12288 bytes"},
		{"sections share bytes", patch(good, sections+40+20, uint32(petest.TextOffset)), base, "malformed: section .rdata: shares bytes of the file with another section"},
		{"section in the headers", longTable, base, "malformed: section .text: shares bytes of the file with the headers"},
		{"section at an odd offset", patch(good, sections+20, uint32(petest.TextOffset-8)), base, "malformed: section .text: its offset in the file, 0x3f8, is not a multiple of 512"},
		{"section at an odd place", patch(good, sections+12, uint32(0x1010)), base, "malformed: section .text: its place in memory, 0x1010, is not a multiple of the section alignment"},
		{"headers not mapped", patch(good, optional+60, uint32(0x100)), base, "malformed: headers: they end at 0x1d8 in the file, outside the first 0x100 bytes, which are mapped"},
		{"headers in the section", patch(good, optional+60, uint32(0x1800)), base, "malformed: headers: 6144 bytes, which reach into the first section at 0x1000"},
		{"certificate in a section", patch(patch(good, dirs+8*4, uint32(petest.DataOffset)), dirs+8*4+4, uint32(16)), base, "malformed: certificate table: shares bytes of the file with a section or the headers"},
		{"fixup in the headers", patch(good, at(5), uint32(0)), base, "malformed: relocation table: a fixup at 0x0 is for memory that is not in the file"},
		{"fixup behind the file's part", patch(patch(good, sections+16, uint32(0)), sections+20, uint32(0)), base, "malformed: relocation table: a fixup at 0x1000 is for memory that is not in the file"},
		{"fixup over the end of the section", patch(good, at(5)+8, uint16(0xaffe)), base, "malformed: relocation table: a fixup at 0x1ffe is for memory that is not in the file"},
		{"fixup in the table", patch(good, at(5)+8+2*4+8, uint16(0xa000)|uint16(img.Directories[5].RVA&0xfff)), base, "malformed: relocation table: a fixup at 0x2148 changes the table itself"},
		{"fixup outside", patch(good, at(5), uint32(0x00100000)), base, "malformed: relocation table: a fixup at 0x100000 lies outside the image"},
		{"fixup of 32 bits", patch(good, at(5)+8, uint16(0x3000)), base, "a relocation of type 3, which no image for x86-64 needs"},
		{"fixup of two parts", patch(good, at(5)+8, uint16(0x4000)), base, "a relocation of type 4, which no image for x86-64 needs"},
		{"block loops", patch(good, at(5)+4, uint32(0)), base, "malformed: relocation table: the block at 0x2148 has a size of 0 bytes, with 28 left in the table"},
		{"imports outside", patch(good, dirs+8, uint32(0x00ff0000)), base, "malformed: import table: has no end in the file"},
		{"bound without names", patch(good, at(1), uint32(0)), base, "imports that are bound and nothing to look them up by"},
		{"debug directory outside", patch(good, dirs+8*6, uint32(0x00ff0000)), base, "malformed: debug directory: lies outside the file"},
		{"huge debug directory", patch(good, dirs+8*6+4, uint32(0xffffffff)), base, "malformed: debug directory: 153,391,689 entries"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := bytes.Clone(tt.file)
			b, err := mustOpen(t, tt.file).Rebase(tt.base)
			var format *pe.FormatError
			var reason *pe.RebaseError
			if b != nil || err == nil || err.Error() != tt.want || !errors.As(err, &format) && !errors.As(err, &reason) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if !bytes.Equal(before, tt.file) {
				t.Error("the file was written to")
			}
		})
	}
}

// memoryOf is what f allocates in all, in bytes.
func memoryOf(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// memoryLimit is what reading, planning and rebasing a file of less than 1 MiB may take.
const memoryLimit = 64 << 20

// use does with a file all that winbox ever does.
func use(b []byte) {
	img, err := open(b)
	if err != nil {
		return
	}
	for _, parse := range everyParser {
		parse(img)
	}
	preload.Plan(img, preload.Options{})
	preload.Plan(img, preload.Options{NewWoW64: true})
	for _, base := range []uint64{0x20000000, 0x3c0000000} {
		img.Rebase(base)
	}
}

// TestHostileMemory has files of almost 1 MiB that promise more.
func TestHostileMemory(t *testing.T) {
	const size = 1<<20 - 4096
	room := bytes.Repeat([]byte("a\x00"), (size-0x1000)/2)
	big := library(0x8664)
	big.Debug, big.Bound, big.Overlay = false, false, nil
	grown := func(change func(b []byte) []byte) []byte {
		b := big.Bytes()
		b = append(b, room...)
		raw := uint32(len(b) - petest.DataOffset)
		b = patch(b, sections+40+8, raw)
		b = patch(b, sections+40+16, raw)
		b = patch(b, optional+56, uint32(0x200000))
		return change(b)
	}
	dir := func(b []byte, i int, rva, size uint32) []byte {
		return patch(patch(b, dirs+8*i, rva), dirs+8*i+4, size)
	}
	data := func(words ...uint32) func(b []byte) []byte { // repeated over the whole of the new room
		return func(b []byte) []byte {
			for at := 0x2000; at+4*len(words) <= len(b); {
				for _, w := range words {
					le.PutUint32(b[at:], w)
					at += 4
				}
			}
			return b
		}
	}
	const rva = petest.DataRVA + 0x2000 - petest.DataOffset
	manySections := func(b []byte) []byte {
		// The section table takes the place of the code, and all sections are the same bytes of the file.
		b = patch(patch(b, coff+2, uint16(96)), optional+60, uint32(0x1000))
		b = patch(b, optional+56, uint32(0x7fff0000))
		for i := range 96 {
			h := b[sections+40*i:]
			clear(h[:40])
			for off, v := range map[int]uint32{8: 0x100000, 12: uint32(0x1000 + i*0x100000), 16: size - 0x3000, 20: 0x2000, 36: 0x60000020} {
				le.PutUint32(h[off:], v)
			}
		}
		return b
	}
	for name, b := range map[string][]byte{
		"import descriptors for one long table": dir(grown(data(rva, 0, 0, rva, rva)), 1, rva, 0x1000),
		"delay import descriptors":              dir(grown(data(1, rva, 0, rva, rva, 0, 0, 1)), 13, rva, 0x1000),
		"thunks":                                dir(grown(data(rva)), 1, rva, 0x1000),
		"relocation blocks of one page":         dir(grown(data(0x1000, 12, 0xa000a000)), 5, rva, 0xe0000),
		"relocation blocks that are empty":      dir(grown(data(0x1000, 8)), 5, rva, 0xe0000),
		"relocation block of the whole file":    dir(patch(grown(data(0xa000a000)), 0x2000, [2]uint32{0x1000, 0xe0000}), 5, rva, 0xe0000),
		"relocations for 2 GiB":                 dir(patch(patch(grown(data(0x1000, 0x7fff0000)), sections+40+8, uint32(0x7fff0000)), optional+56, uint32(0x80000000)), 5, rva, 0x7ff00000),
		"sections of the same bytes":            grown(manySections),
		"debug directory":                       dir(grown(data(1)), 6, rva, 0xe0000),
		"resources":                             dir(grown(data(16, 0x80000000)), 2, rva, 0xe0000),
		"TLS callbacks":                         dir(grown(data(0x40002000, 1)), 9, rva, 0xe0000),
	} {
		t.Run(name, func(t *testing.T) {
			if len(b) >= 1<<20 {
				t.Fatalf("%d bytes", len(b))
			}
			if _, err := open(b); err != nil {
				t.Fatal(err) // a file that does not open tests nothing
			}
			if got := memoryOf(func() { use(b) }); got > memoryLimit {
				t.Errorf("%d bytes were allocated, at most %d may be", got, uint64(memoryLimit))
			}
		})
	}
}

// FuzzRebase rebases arbitrary bytes. What comes out must be the same in memory as what a loader makes of what went in,
// and no input may cost more memory than memoryLimit.
func FuzzRebase(f *testing.F) {
	for name, b := range seeds() {
		if strings.Contains(name, "64") || strings.Contains(name, "i386") {
			f.Add(b, uint32(0x2000))
		}
	}
	for _, machine := range []uint16{0x8664, 0x14c} {
		f.Add(library(machine).Bytes(), uint32(0x1000))
	}
	f.Fuzz(func(t *testing.T, b []byte, base uint32) {
		img, err := open(b)
		if err != nil {
			return
		}
		if got := memoryOf(func() { use(b) }); got > memoryLimit && len(b) < 1<<20 {
			t.Errorf("%d bytes were allocated, at most %d may be", got, uint64(memoryLimit))
		}
		before := slices.Clone(b)
		target := uint64(base) * pe.Granularity
		after, err := img.Rebase(target)
		if !bytes.Equal(before, b) {
			t.Fatal("the file was written to")
		}
		if err != nil {
			if after != nil || err.Error() == "" {
				t.Fatal("a result together with an error, or an error without a message")
			}
			return
		}
		if img.SizeOfImage <= 64<<20 {
			checkRebased(t, before, after, target)
		}
	})
}

// changing is a file whose contents somebody overwrites as soon as its headers are read.
type changing struct{ before, after *bytes.Reader }

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	r := c.before
	c.before = c.after
	return r.ReadAt(p, off)
}

// TestRebaseChanging must not panic, whatever becomes of the result.
func TestRebaseChanging(t *testing.T) {
	good := library(0x8664).Bytes()
	for name, after := range map[string][]byte{
		"ones": bytes.Repeat([]byte{0xff}, len(good)), "zeros": make([]byte, len(good)), "shorter": good[:0x300],
		"other headers": patch(patch(good, 0x3c, uint32(0xfffffff0)), coff+16, uint16(0xffff)),
	} {
		t.Run(name, func(t *testing.T) {
			img, err := pe.Open(&changing{bytes.NewReader(good), bytes.NewReader(after)}, int64(len(good)))
			if err != nil {
				t.Fatal(err)
			}
			img.Rebase(0x3c0000000)
		})
	}
}

// TestRebaseHalves has fixups for the upper and the lower half of an address.
func TestRebaseHalves(t *testing.T) {
	good := library(0x14c).Bytes()
	at := int(mustOpen(t, good).Directories[pe.DirBaseReloc].RVA) - petest.DataRVA + petest.DataOffset
	before := patch(patch(good, at+8, uint16(0x1002)), at+10, uint16(0x2006))
	before = patch(before, petest.TextOffset, [2]uint32{0x00401234, 0x00405678})
	after, err := mustOpen(t, before).Rebase(0x20000000)
	if err != nil {
		t.Fatal(err)
	}
	checkRebased(t, before, after, 0x20000000)
	text := after[mustOpen(t, after).Sections[0].FileOffset:]
	if upper, lower := le.Uint32(text), le.Uint32(text[4:]); upper != 0x20001234 || lower != 0x00405678 {
		t.Errorf("upper half changed: %#x; lower half changed: %#x", upper, lower)
	}
}
