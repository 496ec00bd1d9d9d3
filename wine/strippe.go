package wine

import (
	"encoding/binary"
	"strings"
)

// stripPE cuts the debugging sections and the symbol table off the end of a PE file, as `strip` does, and gives what is
// left, changed in place. Nothing else moves: sections stay on pages of the file, from which Wine maps them, and the
// signature that tells Wine's own files stays where it is. A file that is laid out in any other way than mingw-w64's
// linker does it comes back as it was.
//
// The places are those of Microsoft's "PE Format".
func stripPE(data []byte) []byte {
	le := binary.LittleEndian
	const (
		fileHeader    = 4 + 20 // with the signature
		sectionHeader = 40
		largest       = 1 << 30 // of an image
	)
	if len(data) < 0x40 || string(data[:2]) != "MZ" {
		return data
	}
	at := uint64(le.Uint32(data[0x3c:]))
	if at+fileHeader+96 > uint64(len(data)) || string(data[at:at+4]) != "PE\x00\x00" {
		return data
	}
	header := data[at:]
	count, optionalSize := int(le.Uint16(header[6:])), uint64(le.Uint16(header[20:]))
	symbols := uint64(le.Uint32(header[12:]))
	names := symbols + 18*uint64(le.Uint32(header[16:])) // the string table
	table := at + fileHeader + optionalSize
	if table+uint64(count)*sectionHeader > uint64(len(data)) || optionalSize < 96 {
		return data
	}
	optional := header[fileHeader : fileHeader+optionalSize]
	directories := uint64(96)
	if le.Uint16(optional) == 0x20b {
		directories = 112
	}
	if certificates := directories + 4*8; certificates+8 <= optionalSize && le.Uint32(optional[certificates:]) != 0 {
		return data // what is signed must stay whole
	}
	alignment := uint64(le.Uint32(optional[32:]))
	if alignment == 0 || alignment&(alignment-1) != 0 {
		return data
	}

	section := func(i int) []byte { return data[table+uint64(i)*sectionHeader:][:sectionHeader] }
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
