package wine

import (
	"encoding/binary"
	"strings"
)

// A peFile is a PE file in memory, of which the headers have been found: enough to take something out of it. The places
// are those of Microsoft's "PE Format".
type peFile struct {
	data             []byte
	header, optional []byte // COFF header with the signature before it, optional header
	directories      []byte // the data directories, 8 bytes each
	table            uint64 // where the section table is
	count            int    // of sections
}

const sectionHeader = 40

// openPE finds the headers; ok is false for what is no PE file, or a signed one, which must stay whole.
func openPE(data []byte) (f *peFile, ok bool) {
	le := binary.LittleEndian
	const fileHeader = 4 + 20 // with the signature
	if len(data) < 0x40 || string(data[:2]) != "MZ" {
		return nil, false
	}
	at := uint64(le.Uint32(data[0x3c:]))
	if at+fileHeader+96 > uint64(len(data)) || string(data[at:at+4]) != "PE\x00\x00" {
		return nil, false
	}
	f = &peFile{data: data, header: data[at : at+fileHeader]}
	f.count = int(le.Uint16(f.header[6:]))
	size := uint64(le.Uint16(f.header[20:]))
	f.table = at + fileHeader + size
	if f.table+uint64(f.count)*sectionHeader > uint64(len(data)) || size < 112 {
		return nil, false
	}
	f.optional = data[at+fileHeader : f.table]
	f.directories = f.optional[96:]
	if le.Uint16(f.optional) == 0x20b {
		f.directories = f.optional[112:]
	}
	if rva, _ := f.directory(4); rva != 0 {
		return nil, false
	}
	return f, true
}

// directory gives the address and the size of a data directory; zero when there is none.
func (f *peFile) directory(n int) (rva, size uint32) {
	if len(f.directories) < 8*n+8 {
		return 0, 0
	}
	return binary.LittleEndian.Uint32(f.directories[8*n:]), binary.LittleEndian.Uint32(f.directories[8*n+4:])
}

// section is an entry of the section table.
func (f *peFile) section(i int) []byte {
	return f.data[f.table+uint64(i)*sectionHeader:][:sectionHeader]
}

// stripPE cuts the debugging sections and the symbol table off the end of a PE file, as `strip` does, and gives what is
// left, changed in place. Nothing else moves: sections stay on pages of the file, from which Wine maps them, and the
// signature that tells Wine's own files stays where it is. A file that is laid out in any other way than mingw-w64's
// linker does it comes back as it was.
func stripPE(data []byte) []byte {
	le := binary.LittleEndian
	const largest = 1 << 30 // of an image
	f, ok := openPE(data)
	if !ok {
		return data
	}
	header, optional, table, count, section := f.header, f.optional, f.table, f.count, f.section
	symbols := uint64(le.Uint32(header[12:]))
	names := symbols + 18*uint64(le.Uint32(header[16:])) // the string table
	alignment := uint64(le.Uint32(optional[32:]))
	if alignment == 0 || alignment&(alignment-1) != 0 {
		return data
	}
	name := func(s []byte) string {
		short := strings.TrimRight(string(s[:8]), "\x00")
		var offset uint64
		if len(short) < 2 || short[0] != '/' || symbols == 0 {
			return short
		}
		for _, digit := range short[1:] {
			if digit < '0' || digit > '9' {
				return short
			}
			offset = offset*10 + uint64(digit-'0')
		}
		if names+offset >= uint64(len(data)) {
			return short
		}
		long, _, _ := strings.Cut(string(data[names+offset:min(names+offset+64, uint64(len(data)))]), "\x00")
		return long
	}
	kept := count
	for kept > 0 && strings.HasPrefix(name(section(kept-1)), ".debug_") {
		kept--
	}
	if kept == 0 || kept == count && symbols == 0 {
		return data
	}
	// The part of the file, and of memory, that remains.
	end, top := table+uint64(count)*sectionHeader, uint64(0)
	for i := range kept {
		s := section(i)
		virtual, size, raw := uint64(le.Uint32(s[8:])), uint64(le.Uint32(s[16:])), uint64(le.Uint32(s[20:]))
		if virtual > largest || size > largest {
			return data
		}
		if size > 0 && raw > 0 {
			end = max(end, raw+size)
		}
		top = max(top, uint64(le.Uint32(s[12:]))+max(virtual, size))
	}
	if top > largest || end > uint64(len(data)) || symbols != 0 && symbols < end {
		return data
	}
	for i := kept; i < count; i++ {
		s := section(i)
		if raw := uint64(le.Uint32(s[20:])); raw < end || uint64(le.Uint32(s[12:])) < top {
			return data
		}
	}

	for i := range kept { // their long names go with the string table
		s := section(i)
		short := name(s)
		clear(s[:8])
		copy(s[:8], short)
	}
	clear(data[table+uint64(kept)*sectionHeader : table+uint64(count)*sectionHeader])
	le.PutUint16(header[6:], uint16(kept))
	le.PutUint32(header[12:], 0)
	le.PutUint32(header[16:], 0)
	le.PutUint32(optional[56:], uint32((top+alignment-1)&^(alignment-1))) // SizeOfImage
	le.PutUint32(optional[64:], 0)                                        // CheckSum: none
	return data[:end]
}

// pruneResources takes the languages but English out of a PE file's resources and, unless all are wanted, the icons that
// fewIcons leaves out, and gives what is left. In memory, every section stays where it is; in the file, those behind the
// resources move up. A file that is laid out in any other way than mingw-w64's linker does it comes back as it was.
func pruneResources(data []byte, all bool) []byte {
	le := binary.LittleEndian
	f, ok := openPE(data)
	if !ok {
		return data
	}
	rva, _ := f.directory(2)
	at := -1
	for i := range f.count {
		if le.Uint32(f.section(i)[12:]) == rva {
			at = i
		}
	}
	if rva == 0 || at < 0 || !f.cuttable(at) {
		return data
	}
	own := f.section(at)
	size, raw := uint64(le.Uint32(own[16:])), uint64(le.Uint32(own[20:]))
	end := raw + size
	reader := &resourceReader{section: data[raw:end], rva: rva, left: maxResources}
	tree, err := reader.directory(0, 1)
	if err != nil {
		return data
	}
	went := false
	for _, kind := range tree {
		went = english(kind.children) || went
	}
	if !all {
		tree, went = fewIcons(tree, went)
	}
	if !went {
		return data
	}
	resources := writeResources(tree, rva)
	if uint64(len(resources)) >= size {
		return data
	}
	out := f.cut(at, resources)
	if out == nil {
		return data
	}
	changed, _ := openPE(out)
	le.PutUint32(changed.directories[8*2+4:], uint32(len(resources)))
	return out
}

// dropUnwind takes the contents out of the section .eh_frame of a PE file of Wine's, and gives what is left. i386 code is
// unwound by the chain of its stack frames, x86-64 code by the tables of Windows (.pdata); the section is read by debuggers
// alone, which go the same ways where there is nothing in it. Addresses stay as they are. A file that is laid out in any other way than mingw-w64's
// linker does it comes back as it was.
func dropUnwind(data []byte) []byte {
	le := binary.LittleEndian
	f, ok := openPE(data)
	if !ok {
		return data
	}
	for i := range f.count {
		s := f.section(i)
		if string(s[:8]) != ".eh_fram" || !f.cuttable(i) {
			continue
		}
		from, to := le.Uint32(s[12:]), uint64(le.Uint32(s[12:]))+uint64(le.Uint32(s[8:]))
		for n := range len(f.directories) / 8 {
			if rva, _ := f.directory(n); rva >= from && uint64(rva) < to {
				return data
			}
		}
		if out := f.cut(i, nil); out != nil {
			return out
		}
	}
	return data
}

// cuttable says whether a section has a part of the file that can become shorter: what is behind it in the file are
// other sections, which can move up, and nothing but the section table says where.
func (f *peFile) cuttable(at int) bool {
	le := binary.LittleEndian
	debug, _ := f.directory(6) // has places in the file
	align := uint64(le.Uint32(f.optional[36:]))
	if debug != 0 || le.Uint32(f.header[12:]) != 0 || align == 0 || align > 1<<16 {
		return false
	}
	own := f.section(at)
	size, raw := uint64(le.Uint32(own[16:])), uint64(le.Uint32(own[20:]))
	end := raw + size
	if raw == 0 || size == 0 || end > uint64(len(f.data)) {
		return false
	}
	last := end
	for i := range f.count { // what comes behind, and that nothing overlaps
		s := f.section(i)
		other, from := uint64(le.Uint32(s[16:])), uint64(le.Uint32(s[20:]))
		switch {
		case i == at || other == 0 || from == 0:
		case i < at && from+other <= raw:
		case i > at && from >= end && from+other <= uint64(len(f.data)):
			last = max(last, from+other)
		default:
			return false
		}
	}
	return last == uint64(len(f.data)) && f.table+uint64(f.count)*sectionHeader <= raw
}

// cut makes a new file, in which a cuttable section has other contents, padded as the file's sections are; nil when they
// take as much room as before. In memory every section stays where it is, and beyond the contents there are zeros.
func (f *peFile) cut(at int, contents []byte) []byte {
	le := binary.LittleEndian
	align := uint64(le.Uint32(f.optional[36:]))
	own := f.section(at)
	size, raw := uint64(le.Uint32(own[16:])), uint64(le.Uint32(own[20:]))
	length := uint64(len(contents))
	padded := (length + align - 1) / align * align
	if padded >= size {
		return nil
	}
	out := make([]byte, 0, uint64(len(f.data))-size+padded)
	out = append(append(out, f.data[:raw]...), contents...)
	out = append(append(out, make([]byte, padded-length)...), f.data[raw+size:]...)

	changed, _ := openPE(out)
	le.PutUint32(changed.section(at)[16:], uint32(padded)) // VirtualSize stays
	if padded == 0 {
		le.PutUint32(changed.section(at)[20:], 0)
	}
	for i := at + 1; i < f.count; i++ {
		if s := changed.section(i); le.Uint32(s[20:]) != 0 {
			le.PutUint32(s[20:], le.Uint32(s[20:])-uint32(size-padded))
		}
	}
	le.PutUint32(changed.optional[64:], 0) // CheckSum: none
	return out
}
