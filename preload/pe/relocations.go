package pe

import "encoding/binary"

// RelocationType says what a base relocation changes (PE Format, "Base
// Relocation Types").
type RelocationType uint8

// The types that images for x86 and x86-64 use.
const (
	RelocAbsolute RelocationType = 0 // padding: changes nothing
	RelocHigh     RelocationType = 1
	RelocLow      RelocationType = 2
	RelocHighLow  RelocationType = 3
	RelocHighAdj  RelocationType = 4
	RelocDir64    RelocationType = 10
)

// size is how many bytes of the image the type changes.
func (t RelocationType) size() uint32 {
	switch t {
	case RelocHigh, RelocLow, RelocHighAdj:
		return 2
	case RelocDir64, 5, 7: // 5 and 7: a pair of ARM instructions
		return 8
	}
	return 4
}

// RelocationTable sums up the base relocations of an image.
type RelocationTable struct {
	// Blocks is the number of blocks, each for one 4 KiB page.
	Blocks int
	// Fixups is the number of places that change, without padding.
	Fixups int
}

// Relocations walks and checks the base relocations; nil when the image has
// none (PE Format, "The .reloc Section"). The work is bounded by the size of the
// file, in which the table must be.
//
// # Errors
//
// A *FormatError for a block that is too short, odd, runs out of the directory
// or the file, or for a fixup outside the image or of an unknown type.
func (img *Image) Relocations() (*RelocationTable, error) {
	if img.Directories[DirBaseReloc].RVA == 0 || img.Directories[DirBaseReloc].Size == 0 {
		return nil, nil
	}
	var t RelocationTable
	err := img.walkRelocations(func() { t.Blocks++ }, func(uint32, RelocationType) error { t.Fixups++; return nil })
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// walkRelocations calls block for each block and fixup for each place in it. A
// place is checked to lie inside the image before fixup sees it; an error of
// fixup's ends the walk.
func (img *Image) walkRelocations(block func(), fixup func(rva uint32, t RelocationType) error) error {
	const where, headerLen = "relocation table", 8
	dir := img.Directories[DirBaseReloc]
	rva, end := uint64(dir.RVA), uint64(dir.RVA)+uint64(dir.Size)
	// Behind what the file has of the section there are only zeros: gigabytes,
	// if its headers say so.
	_, inFile, _ := img.extent(dir.RVA)
	inFile += rva
	w := img.window(where)
	for rva+headerLen <= end {
		h, err := w.bytes(uint32(rva), headerLen)
		if err != nil {
			return err
		}
		page, size := le32(h, 0), uint64(le32(h, 4))
		if page == 0 && size == 0 { // padding up to the directory's size
			return nil
		}
		if size < headerLen || size%2 != 0 || rva+size > end {
			return malformed(where, "the block at %#x has a size of %d bytes, with %d left in the table", rva, size, end-rva)
		}
		if rva+size > inFile {
			return malformed(where, "the block at %#x has a size of %d bytes, with %d left in the file", rva, size, inFile-min(rva, inFile))
		}
		block()
		for at := rva + headerLen; at < rva+size; at += 2 {
			b, err := w.bytes(uint32(at), 2)
			if err != nil {
				return err
			}
			entry := binary.LittleEndian.Uint16(b)
			t, target := RelocationType(entry>>12), uint64(page)+uint64(entry&0xfff)
			switch {
			case t == RelocAbsolute:
				continue
			case t > RelocDir64:
				return malformed(where, "type %d at %#x is unknown", t, at)
			case target+uint64(t.size()) > uint64(img.SizeOfImage):
				return malformed(where, "a fixup at %#x lies outside the image", target)
			}
			if err := fixup(uint32(target), t); err != nil {
				return err
			}
			if t == RelocHighAdj { // the next entry is this one's operand
				at += 2
			}
		}
		rva += size
	}
	return nil
}
