package pe

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
)

// Sizes and places of the fixed headers (PE Format, "MS-DOS Stub", "COFF File
// Header", "Optional Header", "Section Table").
const (
	dosHeaderLen    = 64
	lfanewOffset    = 0x3c // offset of the PE signature
	lfarlcOffset    = 0x18 // 0x40 or more: the file has a second header
	coffLen         = 4 + 20
	optMagicPE32    = 0x10b
	optMagicPE32P   = 0x20b
	optFixedPE32    = 96  // optional header up to the data directories
	optFixedPE32P   = 112 // the same of PE32+
	sectionLen      = 40
	peSignature     = "PE\x00\x00"
	pageSize        = 4096
	maxDirectories  = 16
	directoryLen    = 8
	maxFileAlign    = 64 << 10
	sectorMask      = 0x1ff // the loader rounds PointerToRawData down to a sector
	maxAlign        = 1 << 30
	maxHeaderOffset = 1 << 24 // an e_lfanew past this is taken for garbage
)

// MaxSections is the most sections an image may have: "the Windows loader
// limits the number of sections to 96" (PE Format, "COFF File Header"), and
// Wine has the same limit.
const MaxSections = 96

// Image is an opened PE file. The fields are the headers as they stand in the
// file; see the package comment for what has been checked.
type Image struct {
	// Machine is the processor the image is built for; any value is accepted.
	Machine Machine
	// PE32Plus says that the optional header is the 64-bit one.
	PE32Plus bool
	// Characteristics are the flags of the COFF header.
	Characteristics Characteristics
	// DLLCharacteristics are the flags of the optional header.
	DLLCharacteristics DLLCharacteristics
	// Subsystem is the environment the image needs.
	Subsystem Subsystem
	// SubsystemVersion is the lowest major and minor Windows version.
	SubsystemVersion [2]uint16
	// TimeDateStamp is seconds since 1970, or a hash in reproducible builds.
	TimeDateStamp uint32
	// EntryPoint is an offset from ImageBase; 0 when there is none.
	EntryPoint uint32
	// ImageBase is the preferred address of the first byte. It is not checked:
	// Windows wants a multiple of 64 KiB.
	ImageBase uint64
	// SectionAlignment and FileAlignment are in bytes, powers of two.
	SectionAlignment, FileAlignment uint32
	// SizeOfImage is the extent in memory in bytes; it may be 0 or absurd.
	SizeOfImage uint32
	// SizeOfHeaders is the part of the file mapped at ImageBase, in bytes.
	SizeOfHeaders uint32
	// CheckSum is the stored checksum, 0 for none; it is not verified.
	CheckSum uint32
	// StackReserve and StackCommit are what the main thread's stack asks for, in bytes.
	StackReserve, StackCommit uint64
	// HeapReserve and HeapCommit are what the process heap asks for, in bytes.
	HeapReserve, HeapCommit uint64
	// Sections are in the order of the file: ascending, not overlapping.
	Sections []Section
	// Directories are the data directories; those that the file lacks are zero.
	Directories [maxDirectories]Directory

	r    io.ReaderAt
	size int64
	// Where the COFF header's signature is, and how long the optional header
	// behind it, in bytes.
	peOffset, optionalLen int64
}

// Directory is one data directory: where a table is, and how long (PE Format,
// "Optional Header Data Directories").
type Directory struct {
	// RVA is an offset from ImageBase, but a file offset for DirSecurity.
	RVA uint32
	// Size is in bytes.
	Size uint32
}

// Indexes of Image.Directories (PE Format, "Optional Header Data Directories").
const (
	DirImport      = 1
	DirResource    = 2
	DirSecurity    = 4
	DirBaseReloc   = 5
	DirDebug       = 6
	DirTLS         = 9
	DirLoadConfig  = 10
	DirBoundImport = 11
	DirDelayImport = 13
	DirCLR         = 14
)

// Section is one entry of the section table (PE Format, "Section Table").
type Section struct {
	// Name is at most eight bytes, without the trailing zeros; not checked.
	Name string
	// VirtualAddress is the offset from ImageBase.
	VirtualAddress uint32
	// VirtualSize is the size in memory in bytes; 0 means SizeOfRawData.
	VirtualSize uint32
	// FileOffset and SizeOfRawData are the part of the file, in bytes.
	FileOffset, SizeOfRawData uint32
	// Flags are the section's IMAGE_SCN_ bits.
	Flags uint32
}

// Section flags (PE Format, "Section Flags").
const (
	SectionExecute uint32 = 0x20000000
	SectionRead    uint32 = 0x40000000
	SectionWrite   uint32 = 0x80000000
)

// memorySize is the section's extent in memory before rounding, in bytes.
func (s *Section) memorySize() uint32 {
	if s.VirtualSize == 0 {
		return s.SizeOfRawData
	}
	return s.VirtualSize
}

// Open reads and checks the headers of the PE image in the first size bytes of
// r: with one ReadAt when they lie in the first 4 KiB, with at most three
// otherwise.
//
// # Errors
//
// A *NotPEError for a file of another kind, a *TruncatedError for one that ends
// before what its headers promise, a *FormatError for one that breaks the
// format; any other error is r's own.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	head := make([]byte, min(max(size, 0), sniffLen))
	if err := readFull(r, head, 0, size, "the DOS header"); err != nil {
		return nil, err
	}
	if len(head) < 2 || head[0] != 'M' || head[1] != 'Z' {
		return nil, &NotPEError{Kind: classify(head)}
	}
	if len(head) < dosHeaderLen {
		return nil, &TruncatedError{What: "the DOS header", End: dosHeaderLen, Size: size}
	}
	pe := int64(binary.LittleEndian.Uint32(head[lfanewOffset:]))
	if pe+coffLen > size {
		// A plain DOS program has other things in this place.
		if binary.LittleEndian.Uint16(head[lfarlcOffset:]) < 0x40 || pe > maxHeaderOffset {
			return nil, &NotPEError{Kind: KindDOS}
		}
		return nil, &TruncatedError{What: "the PE header", End: pe + coffLen, Size: size}
	}

	// The headers' full extent is known only from the COFF header, so a file
	// whose headers are not all in the first read costs one or two more.
	fetch := func(off, n int64, what string) ([]byte, error) {
		if off+n <= int64(len(head)) {
			return head[off : off+n], nil
		}
		b := make([]byte, n)
		return b, readFull(r, b, off, size, what)
	}
	coff, err := fetch(pe, coffLen, "the PE header")
	if err != nil {
		return nil, err
	}
	if string(coff[:4]) != peSignature {
		return nil, &NotPEError{Kind: classifyMZ(coff)}
	}
	img := &Image{r: r, size: size, peOffset: pe, optionalLen: int64(binary.LittleEndian.Uint16(coff[20:]))}
	img.Machine = Machine(binary.LittleEndian.Uint16(coff[4:]))
	img.TimeDateStamp = binary.LittleEndian.Uint32(coff[8:])
	img.Characteristics = Characteristics(binary.LittleEndian.Uint16(coff[22:]))
	sections := int64(binary.LittleEndian.Uint16(coff[6:]))
	optLen := img.optionalLen
	if sections > MaxSections {
		return nil, malformed("COFF header", "%s sections; the Windows loader takes at most %d", thousands(sections), MaxSections)
	}
	rest, err := fetch(pe+coffLen, optLen+sections*sectionLen, "the section table")
	if err != nil {
		return nil, err
	}
	if err := img.readOptionalHeader(rest[:optLen]); err != nil {
		return nil, err
	}
	if err := img.readSections(rest[optLen:]); err != nil {
		return nil, err
	}
	return img, nil
}

// readFull fills b from r at off. The end of the file is a TruncatedError of
// what, even when r turns out shorter than it was said to be.
func readFull(r io.ReaderAt, b []byte, off, size int64, what string) error {
	if len(b) == 0 {
		return nil
	}
	if off+int64(len(b)) > size {
		return &TruncatedError{What: what, End: off + int64(len(b)), Size: size}
	}
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return &TruncatedError{What: what, End: off + int64(len(b)), Size: off + int64(n)}
	}
	return err
}

// readOptionalHeader takes b apart (PE Format, "Optional Header Standard
// Fields", "Optional Header Windows-Specific Fields").
func (img *Image) readOptionalHeader(b []byte) error {
	le := binary.LittleEndian
	if len(b) < 2 {
		return malformed("optional header", "missing: an object file, not an image")
	}
	fixed := optFixedPE32
	switch magic := le.Uint16(b); magic {
	case optMagicPE32:
	case optMagicPE32P:
		img.PE32Plus = true
		fixed = optFixedPE32P
	default:
		return malformed("optional header", "magic %#x is neither PE32 (0x10b) nor PE32+ (0x20b)", magic)
	}
	if len(b) < fixed {
		return malformed("optional header", "%d bytes, needs %d", len(b), fixed)
	}
	img.EntryPoint = le.Uint32(b[16:])
	if img.PE32Plus {
		img.ImageBase = le.Uint64(b[24:])
		img.StackReserve, img.StackCommit = le.Uint64(b[72:]), le.Uint64(b[80:])
		img.HeapReserve, img.HeapCommit = le.Uint64(b[88:]), le.Uint64(b[96:])
	} else {
		img.ImageBase = uint64(le.Uint32(b[28:]))
		img.StackReserve, img.StackCommit = uint64(le.Uint32(b[72:])), uint64(le.Uint32(b[76:]))
		img.HeapReserve, img.HeapCommit = uint64(le.Uint32(b[80:])), uint64(le.Uint32(b[84:]))
	}
	img.SectionAlignment, img.FileAlignment = le.Uint32(b[32:]), le.Uint32(b[36:])
	img.SubsystemVersion = [2]uint16{le.Uint16(b[48:]), le.Uint16(b[50:])}
	img.SizeOfImage, img.SizeOfHeaders = le.Uint32(b[56:]), le.Uint32(b[60:])
	img.CheckSum = le.Uint32(b[64:])
	img.Subsystem = Subsystem(le.Uint16(b[68:]))
	img.DLLCharacteristics = DLLCharacteristics(le.Uint16(b[70:]))

	if sa := img.SectionAlignment; bits.OnesCount32(sa) != 1 || sa > maxAlign {
		return malformed("optional header", "section alignment %#x is not a power of two", sa)
	}
	if fa := img.FileAlignment; bits.OnesCount32(fa) != 1 || fa > maxFileAlign || fa > img.SectionAlignment {
		return malformed("optional header", "file alignment %#x is not a power of two, at most 64 KiB and the section alignment", fa)
	}
	count := int(min(le.Uint32(b[fixed-4:]), maxDirectories))
	count = min(count, (len(b)-fixed)/directoryLen)
	for i := range count {
		d := b[fixed+i*directoryLen:]
		img.Directories[i] = Directory{RVA: le.Uint32(d), Size: le.Uint32(d[4:])}
	}
	return nil
}

// readSections takes the section table b apart. Sections must ascend without
// overlapping, as the Windows loader wants, and what they use of the file must
// be there (PE Format, "Section Table").
func (img *Image) readSections(b []byte) error {
	le := binary.LittleEndian
	img.Sections = make([]Section, len(b)/sectionLen)
	end := uint64(0)
	for i := range img.Sections {
		h := b[i*sectionLen:]
		s := &img.Sections[i]
		name := h[:8]
		for len(name) > 0 && name[len(name)-1] == 0 {
			name = name[:len(name)-1]
		}
		*s = Section{
			Name:           string(name),
			VirtualSize:    le.Uint32(h[8:]),
			VirtualAddress: le.Uint32(h[12:]),
			SizeOfRawData:  le.Uint32(h[16:]),
			FileOffset:     le.Uint32(h[20:]),
			Flags:          le.Uint32(h[36:]),
		}
		if uint64(s.VirtualAddress) < end {
			return malformed("section "+printable(s.Name), "starts at %#x, inside the section before it", s.VirtualAddress)
		}
		end = uint64(s.VirtualAddress) + uint64(s.memorySize())
		if end > alignUp(uint64(img.SizeOfImage), uint64(img.SectionAlignment)) {
			return malformed("section "+printable(s.Name), "ends at %#x, past the image's %#x bytes", end, img.SizeOfImage)
		}
		// File padding behind the section's contents may be missing: no
		// loader needs it.
		if used := min(s.SizeOfRawData, s.memorySize()); s.FileOffset != 0 && used != 0 {
			if fileEnd := int64(s.FileOffset) + int64(used); fileEnd > img.size {
				return &TruncatedError{What: "section " + printable(s.Name), End: fileEnd, Size: img.size}
			}
		}
	}
	return nil
}

// Relocatable reports whether the image can run away from ImageBase: the flag
// IMAGE_FILE_RELOCS_STRIPPED is clear and a relocation directory is there
// (PE Format, "Characteristics"). The directory is not read.
func (img *Image) Relocatable() bool {
	return img.Characteristics&RelocsStripped == 0 && img.Directories[DirBaseReloc].Size != 0 &&
		img.Directories[DirBaseReloc].RVA != 0
}

// LargeAddressAware reports whether a 32-bit program can take addresses above
// 2 GiB (PE Format, "Characteristics").
func (img *Image) LargeAddressAware() bool { return img.Characteristics&LargeAddressAware != 0 }

// IsDLL reports whether the image is a library, which cannot be run by itself.
func (img *Image) IsDLL() bool { return img.Characteristics&DLL != 0 }

// Signed reports whether the file carries an attribute certificate (PE Format,
// "The Attribute Certificate Table"): the table lies in the file and is not
// empty. The signature is not verified.
func (img *Image) Signed() bool {
	d := img.Directories[DirSecurity]
	return d.RVA != 0 && d.Size > 8 && int64(d.RVA)+int64(d.Size) <= img.size
}

// alignUp rounds n up to a multiple of align, a power of two.
func alignUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }
