package petest

import (
	"encoding/binary"
	"sort"
	"unicode/utf16"
)

// Fixed places of every image that Bytes builds.
const (
	// HeaderOffset is the file offset of the PE signature.
	HeaderOffset = 0x80
	// TextRVA and DataRVA are where the two sections start.
	TextRVA, DataRVA = 0x1000, 0x2000
	// TextOffset and DataOffset are the same in the file.
	TextOffset, DataOffset = 0x400, 0x600
)

// Image describes a PE image. The zero value is a 64-bit console program with
// base 0x140000000, no relocations, a stack of 1 MiB and no imports.
type Image struct {
	// Machine is the COFF machine; 0 is x86-64. 0x14c and 0x1c4 make a PE32.
	Machine uint16
	// Base is the preferred address; 0 is 0x140000000, or 0x400000 for PE32.
	Base uint64
	// BaseZero writes a base of 0, which Base cannot say.
	BaseZero bool
	// Subsystem is the subsystem; 0 is 3, console.
	Subsystem uint16
	// Characteristics are or-ed to 0x0002 (executable); RELOCS_STRIPPED is set
	// unless there are Relocations.
	Characteristics uint16
	// DLLCharacteristics are written as they are.
	DLLCharacteristics uint16
	// SectionAlignment is in bytes; 0 is 4096.
	SectionAlignment uint32
	// SizeOfImage overrides the computed size.
	SizeOfImage uint32
	// StackReserve, StackCommit, HeapReserve and HeapCommit are in bytes; a
	// reserve of 0 is 1 MiB, a commit of 0 is 4096.
	StackReserve, StackCommit, HeapReserve, HeapCommit uint64
	// CheckSum is written as it is.
	CheckSum uint32
	// Imports and DelayImports are the libraries wanted.
	Imports, DelayImports []Import
	// Relocations are RVAs of addresses to fix, ascending.
	Relocations []uint32
	// TLSCallbacks is the number of callbacks of a TLS directory; 0 for none.
	TLSCallbacks int
	// Version makes a version resource.
	Version *Version
	// GuardFlags makes a load configuration with these flags.
	GuardFlags uint32
	// CLRFlags makes a .NET header with these flags.
	CLRFlags uint32
	// Debug makes a debug directory of one entry that leads to the text "debug".
	Debug bool
	// Bound gives the imports, also the delayed ones, time stamps.
	Bound bool
	// Overlay is appended behind the sections.
	Overlay []byte
	// Signed appends an (empty) certificate.
	Signed bool
}

// Import is one library and the functions wanted of it; "" is ordinal 7.
type Import struct {
	DLL       string
	Functions []string
}

// Version is the content of a version resource.
type Version struct {
	// File is the binary file version.
	File [4]uint16
	// Strings are the texts.
	Strings map[string]string
}

var le = binary.LittleEndian

// section is a growing .rdata section.
type section struct {
	b    []byte
	wide bool
	base uint64
	dirs [16][2]uint32
}

func (s *section) rva() uint32 { return DataRVA + uint32(len(s.b)) }

func (s *section) u16(v ...uint16) {
	for _, v := range v {
		s.b = le.AppendUint16(s.b, v)
	}
}

func (s *section) u32(v ...uint32) {
	for _, v := range v {
		s.b = le.AppendUint32(s.b, v)
	}
}

func (s *section) pointer(v uint64) {
	if s.wide {
		s.b = le.AppendUint64(s.b, v)
	} else {
		s.u32(uint32(v))
	}
}

func (s *section) align() {
	for len(s.b)%8 != 0 {
		s.b = append(s.b, 0)
	}
}

func (s *section) str(v string) uint32 {
	rva := s.rva()
	s.b = append(append(s.b, v...), 0)
	s.align()
	return rva
}

// thunks writes a lookup table and the names it leads to.
func (s *section) thunks(functions []string) uint32 {
	var entries []uint64
	for _, f := range functions {
		if f == "" {
			ordinal := uint64(1)<<31 | 7
			if s.wide {
				ordinal = 1<<63 | 7
			}
			entries = append(entries, ordinal)
			continue
		}
		entries = append(entries, uint64(s.rva()))
		s.u16(0)
		s.str(f)
	}
	s.align()
	rva := s.rva()
	for _, e := range append(entries, 0) {
		s.pointer(e)
	}
	s.align()
	return rva
}

func (s *section) imports(list []Import, delay bool, stamp uint32) {
	var descriptors []uint32
	for _, imp := range list {
		name, table := s.str(imp.DLL), s.thunks(imp.Functions)
		if delay {
			descriptors = append(descriptors, 1, name, 0, table, table, 0, 0, stamp)
		} else {
			descriptors = append(descriptors, table, stamp, stamp, name, table)
		}
	}
	fields, dir := 5, 1
	if delay {
		fields, dir = 8, 13
	}
	start := s.rva()
	s.u32(append(descriptors, make([]uint32, fields)...)...)
	s.dirs[dir] = [2]uint32{start, s.rva() - start}
	s.align()
}

func (s *section) relocations(rvas []uint32) {
	kind := uint16(3)
	if s.wide {
		kind = 10
	}
	start := s.rva()
	for len(rvas) > 0 {
		page := rvas[0] &^ 0xfff
		n := 0
		for n < len(rvas) && rvas[n]&^0xfff == page {
			n++
		}
		entries := make([]uint16, 0, n+1)
		for _, r := range rvas[:n] {
			entries = append(entries, kind<<12|uint16(r&0xfff))
		}
		if n%2 != 0 {
			entries = append(entries, 0)
		}
		s.u32(page, uint32(8+2*len(entries)))
		s.u16(entries...)
		rvas = rvas[n:]
	}
	s.dirs[5] = [2]uint32{start, s.rva() - start}
	s.align()
}

func (s *section) tls(callbacks int) {
	list := s.rva()
	for range callbacks {
		s.pointer(s.base + TextRVA)
	}
	s.pointer(0)
	start := s.rva()
	for _, v := range []uint64{s.base + DataRVA, s.base + DataRVA + 16, s.base + DataRVA, s.base + uint64(list)} {
		s.pointer(v)
	}
	s.u32(32, 0)
	s.dirs[9] = [2]uint32{start, s.rva() - start}
	s.align()
}

func (s *section) loadConfig(guard uint32) {
	size, cookie, flags := 92, 60, 88
	if s.wide {
		size, cookie, flags = 148, 88, 144
	}
	b := make([]byte, size)
	le.PutUint32(b, uint32(size))
	le.PutUint32(b[cookie:], uint32(s.base)+TextRVA)
	if !s.wide {
		le.PutUint32(b[68:], 3)
	}
	le.PutUint32(b[flags:], guard)
	s.dirs[10] = [2]uint32{s.rva(), uint32(size)}
	s.b = append(s.b, b...)
	s.align()
}

func (s *section) clr(flags uint32) {
	s.dirs[14] = [2]uint32{s.rva(), 72}
	s.u32(72)
	s.u16(2, 5)
	s.u32(0, 0, flags)
	s.u32(make([]uint32, 13)...)
	s.align()
}

func (s *section) debug() {
	text := s.str("debug")
	s.dirs[6] = [2]uint32{s.rva(), 28}
	s.u32(0, 0, 0, 2, 5, text, text-DataRVA+DataOffset)
	s.align()
}

// block builds one node of a version resource.
func block(key string, text bool, value []byte, valueLen int, children ...[]byte) []byte {
	kind := uint16(0)
	if text {
		kind = 1
	}
	b := le.AppendUint16(nil, 0)
	b = le.AppendUint16(b, uint16(valueLen))
	b = le.AppendUint16(b, kind)
	b = append(b, utf16le(key)...)
	pad := func() {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	pad()
	b = append(b, value...)
	for _, c := range children {
		pad()
		b = append(b, c...)
	}
	le.PutUint16(b, uint16(len(b)))
	return b
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = le.AppendUint16(b, u)
	}
	return b
}

func (s *section) version(v *Version) {
	fixed := make([]byte, 52)
	le.PutUint32(fixed, 0xfeef04bd)
	for _, off := range []int{8, 16} {
		le.PutUint32(fixed[off:], uint32(v.File[0])<<16|uint32(v.File[1]))
		le.PutUint32(fixed[off+4:], uint32(v.File[2])<<16|uint32(v.File[3]))
	}
	keys := make([]string, 0, len(v.Strings))
	for k := range v.Strings {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var texts [][]byte
	for _, k := range keys {
		value := utf16le(v.Strings[k])
		texts = append(texts, block(k, true, value, len(value)/2))
	}
	table := block("040904B0", true, nil, 0, texts...)
	root := block("VS_VERSION_INFO", false, fixed, len(fixed), block("StringFileInfo", true, nil, 0, table))

	start := s.rva()
	// Three directories of one entry each: type 16, name 1, language 0x409.
	for i, id := range []uint32{16, 1, 0x409} {
		next := uint32(24 * (i + 1))
		if i < 2 {
			next |= 0x80000000
		}
		s.u32(0, 0, 0)
		s.u16(0, 1)
		s.u32(id, next)
	}
	s.u32(start+24*3+16, uint32(len(root)), 0, 0)
	s.b = append(s.b, root...)
	s.dirs[2] = [2]uint32{start, s.rva() - start}
	s.align()
}

// Bytes builds the file.
func (im Image) Bytes() []byte {
	if im.Machine == 0 {
		im.Machine = 0x8664
	}
	wide := im.Machine != 0x14c && im.Machine != 0x1c4
	if im.Base == 0 && !im.BaseZero {
		im.Base = 0x140000000
		if !wide {
			im.Base = 0x400000
		}
	}
	orDefault := func(v *uint64, d uint64) {
		if *v == 0 {
			*v = d
		}
	}
	orDefault(&im.StackReserve, 1<<20)
	orDefault(&im.HeapReserve, 1<<20)
	orDefault(&im.StackCommit, 4096)
	orDefault(&im.HeapCommit, 4096)
	if im.Subsystem == 0 {
		im.Subsystem = 3
	}
	if im.SectionAlignment == 0 {
		im.SectionAlignment = 4096
	}

	s := &section{wide: wide, base: im.Base}
	s.u32(0, 0, 0, 0) // so that no table starts at the section's first byte
	stamp := uint32(0)
	if im.Bound {
		stamp = 0xffffffff // new style: the stamps are in a directory of their own
		s.dirs[11] = [2]uint32{s.rva(), 8}
		s.u32(0x5f000000, 0)
	}
	if len(im.Imports) > 0 {
		s.imports(im.Imports, false, stamp)
	}
	if len(im.DelayImports) > 0 {
		s.imports(im.DelayImports, true, stamp)
	}
	if len(im.Relocations) > 0 {
		s.relocations(im.Relocations)
	} else {
		im.Characteristics |= 0x0001
	}
	if im.TLSCallbacks > 0 {
		s.tls(im.TLSCallbacks)
	}
	if im.GuardFlags != 0 {
		s.loadConfig(im.GuardFlags)
	}
	if im.CLRFlags != 0 {
		s.clr(im.CLRFlags)
	}
	if im.Version != nil {
		s.version(im.Version)
	}
	if im.Debug {
		s.debug()
	}
	virtual := uint32(len(s.b))
	for len(s.b)%0x200 != 0 {
		s.b = append(s.b, 0)
	}
	if im.Signed {
		for len(im.Overlay)%8 != 0 {
			im.Overlay = append(im.Overlay[:len(im.Overlay):len(im.Overlay)], 0)
		}
		s.dirs[4] = [2]uint32{uint32(DataOffset + len(s.b) + len(im.Overlay)), 16}
	}
	if im.SizeOfImage == 0 {
		im.SizeOfImage = (DataRVA + virtual + 0xfff) &^ 0xfff
	}

	file := make([]byte, HeaderOffset)
	copy(file, "MZ")
	le.PutUint16(file[0x18:], 0x40)
	le.PutUint32(file[0x3c:], HeaderOffset)
	h := &section{b: file, wide: wide}
	h.b = append(h.b, "PE\x00\x00"...)
	optional := uint16(96 + 16*8)
	if wide {
		optional += 16
	}
	h.u16(im.Machine, 2)
	h.u32(0x5f000000, 0, 0)
	h.u16(optional, im.Characteristics|0x0002)
	if wide {
		h.u16(0x20b, 0)
		h.u32(0x200, uint32(len(s.b)), 0, TextRVA, TextRVA)
	} else {
		h.u16(0x10b, 0)
		h.u32(0x200, uint32(len(s.b)), 0, TextRVA, TextRVA, DataRVA)
	}
	h.pointer(im.Base)
	h.u32(im.SectionAlignment, 0x200)
	h.u16(6, 0, 0, 0, 6, 0)
	h.u32(0, im.SizeOfImage, 0x400, im.CheckSum)
	h.u16(im.Subsystem, im.DLLCharacteristics)
	for _, v := range []uint64{im.StackReserve, im.StackCommit, im.HeapReserve, im.HeapCommit} {
		h.pointer(v)
	}
	h.u32(0, 16)
	for _, d := range s.dirs {
		h.u32(d[0], d[1])
	}
	h.b = append(h.b, ".text\x00\x00\x00"...)
	h.u32(0x10, TextRVA, 0x200, TextOffset, 0, 0, 0, 0x60000020)
	h.b = append(h.b, ".rdata\x00\x00"...)
	h.u32(virtual, DataRVA, uint32(len(s.b)), DataOffset, 0, 0, 0, 0x40000040)
	file = append(h.b, make([]byte, TextOffset-len(h.b))...)
	file = append(file, make([]byte, DataOffset-TextOffset)...)
	file = append(append(file, s.b...), im.Overlay...)
	if im.Signed {
		cert := le.AppendUint32(nil, 16)
		cert = le.AppendUint16(cert, 0x0200)
		cert = le.AppendUint16(cert, 2)
		file = append(append(file, cert...), make([]byte, 8)...)
	}
	return file
}
