package pe

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Granularity is what image bases are multiples of, in bytes (PE Format,
// "Optional Header Windows-Specific Fields": ImageBase).
const Granularity = 64 << 10

// maxRebaseFile is the largest file that Rebase takes, in bytes: an image is at
// most 2 GiB (PE Format, "General Concepts").
const maxRebaseFile = 2 << 30

// RebaseError says why a file is better left as it is. Its message completes
// "left alone: ".
type RebaseError struct {
	// Reason is one of a few fixed sentences, or holds a number of the file.
	Reason string
}

func (e *RebaseError) Error() string { return e.Reason }

func refused(format string, args ...any) error {
	return &RebaseError{Reason: fmt.Sprintf(format, args...)}
}

// Rebasable reports why Rebase would refuse the image; nil when nothing in its
// headers says so. dropSignature says that a signature is no reason.
//
// # Errors
//
// A *RebaseError.
func (img *Image) Rebasable(dropSignature bool) error {
	switch {
	case img.Machine != MachineAMD64 && img.Machine != MachineI386:
		return refused("built for %s", img.Machine)
	case img.PE32Plus != (img.Machine == MachineAMD64):
		return refused("its headers are of the other word size than %s has", img.Machine)
	case img.Directories[DirCLR].RVA != 0:
		// Its strong name is a hash of the file, and most of them are not mapped as images.
		return refused("a .NET assembly")
	case img.Subsystem == SubsystemNative && !img.OfWine():
		return refused("a driver")
	case img.Signed() && !dropSignature:
		return refused("signed")
	case img.DLLCharacteristics&ForceIntegrity != 0:
		return refused("it asks to be loaded only with a good signature")
	case img.SectionAlignment < pageSize:
		return refused("its sections are not aligned to pages in memory")
	case img.SizeOfImage == 0 || img.SizeOfImage > maxRebaseFile:
		return refused("malformed: the size of the image is %#x", img.SizeOfImage)
	case img.ImageBase%Granularity != 0:
		return refused("malformed: the image base %#x is not a multiple of 64 KiB", img.ImageBase)
	case img.size > maxRebaseFile:
		return refused("a file of more than 2 GiB")
	}
	return nil
}

// Movable reports why the image has to stay at its base; nil when it can move.
//
// # Errors
//
// A *RebaseError.
func (img *Image) Movable() error {
	switch {
	case !img.Relocatable() && !(img.OfWine() && img.Characteristics&RelocsStripped == 0):
		// Wine's own without a table have nothing to relocate. Of others the flag says little: old linkers forgot it.
		return refused("no relocations")
	case img.PE32Plus && !img.LargeAddressAware():
		return refused("it must be below 2 GiB")
	}
	return nil
}

// HasOverlay reports whether there is something behind the sections, other than
// a signature: programs that unpack themselves look for it by its place in the file.
func (img *Image) HasOverlay() bool {
	end := int64(img.SizeOfHeaders)
	for i := range img.Sections {
		if s := &img.Sections[i]; s.FileOffset != 0 {
			end = max(end, int64(s.FileOffset)+int64(s.SizeOfRawData))
		}
	}
	if img.Signed() {
		end += int64(img.Directories[DirSecurity].Size)
	}
	return img.size > int64(alignUp(uint64(end), 8)) // as a certificate table is aligned
}

// OfWine reports whether the file is one of Wine's own or stands for one: they
// have a text behind the DOS header (Wine, tools/winebuild/spec32.c).
func (img *Image) OfWine() bool {
	var text [20]byte
	n, _ := img.r.ReadAt(text[:], dosHeaderLen) // fails for a file with no room for it
	return bytes.HasPrefix(text[:n], []byte("Wine builtin DLL")) || bytes.HasPrefix(text[:n], []byte("Wine placeholder DLL"))
}

// Rebased reports whether Rebase with img.ImageBase would change nothing that
// matters when the image is loaded: its sections can be mapped from the file,
// and no loader moves it unasked.
func (img *Image) Rebased() bool {
	for i := range img.Sections {
		if s := &img.Sections[i]; s.SizeOfRawData != 0 && (s.FileOffset%pageSize != 0 || s.SizeOfRawData%pageSize != 0) {
			return false
		}
	}
	return !(img.IsDLL() && img.DLLCharacteristics&DynamicBase != 0) && !img.Signed() && img.Directories[DirBoundImport].RVA == 0
}

// Rebase returns the contents of a file that is the same image at another base,
// a multiple of 64 KiB, and that a loader can map without copying any of it:
//
//   - base relocations are applied, and kept, so that it can still move;
//   - sections begin at pages and fill them, in the file too: Wine maps only
//     such sections, and reads others into memory of the process;
//   - DYNAMIC_BASE of a library is cleared: Wine 9 and later move those that have
//     it always;
//   - bound imports are dropped: they hold for libraries that may have moved;
//   - the time stamp grows by one when the base changes, as with Windows' own
//     ReBaseImage: imports that others have bound to this image are void;
//   - the checksum is made anew; a file without one stays so, since those that
//     look at it, Windows' loaders of drivers, take 0 for none;
//   - a certificate table, if there is one, is gone: see Rebasable.
//
// Everything else stays, also what is behind or between the sections; offsets
// into the file are adapted. It needs memory for the new file, which is at most
// 64 KiB a section longer. Rebasing what it returned to the same base gives the
// same bytes.
//
// # Errors
//
// A *RebaseError for an image that cannot be moved there, a *FormatError for one
// whose tables are wrong, or one of reading the file.
func (img *Image) Rebase(base uint64) ([]byte, error) {
	if err := img.Rebasable(true); err != nil {
		return nil, err
	}
	if base != img.ImageBase {
		if err := img.Movable(); err != nil {
			return nil, err
		}
	}
	limit := uint64(1) << 47
	if !img.PE32Plus {
		limit = 1 << 32
	}
	if base%Granularity != 0 || base < Granularity || base >= limit || limit-base < uint64(img.SizeOfImage) {
		return nil, refused("%#x is no base for an image of %d bytes", base, img.SizeOfImage)
	}
	r := &rebaser{img: img, delta: base - img.ImageBase, sections: slices.Clone(img.Sections)}
	// Tables may overlap in hostile files: each step sees what a loader, or a
	// second run, would see of those before it.
	for _, step := range []func() error{r.arrange, r.read, r.relocate, r.adaptDebug, r.unbind} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	r.writeHeaders(base)
	return r.out, nil
}

// rebaser is one run of Rebase.
type rebaser struct {
	img   *Image
	delta uint64
	// sections are the new section table, pieces say what of the old file is where in the new one.
	sections []Section
	pieces   []piece
	out      []byte
	last     int // index of the section that was found last
}

// piece is a part of the old file, in bytes.
type piece struct{ from, to, size int64 }

// arrange finds the new place of every byte of the file.
func (r *rebaser) arrange() error {
	img := r.img
	align := int64(max(img.FileAlignment, pageSize))
	var inFile []*Section
	for i := range r.sections {
		s := &r.sections[i]
		s.VirtualSize = s.memorySize()
		switch {
		case s.VirtualAddress%img.SectionAlignment != 0:
			return malformed("section "+printable(s.Name), "its place in memory, %#x, is not a multiple of the section alignment", s.VirtualAddress)
		case s.SizeOfRawData == 0 || s.FileOffset == 0 || int64(s.FileOffset) >= img.size:
			s.SizeOfRawData, s.FileOffset = 0, 0
		case s.FileOffset&sectorMask != 0:
			return malformed("section "+printable(s.Name), "its offset in the file, %#x, is not a multiple of 512", s.FileOffset)
		default:
			inFile = append(inFile, s)
		}
	}
	slices.SortFunc(inFile, func(a, b *Section) int { return cmp.Compare(a.FileOffset, b.FileOffset) })

	headers, err := r.headersEnd()
	if err != nil {
		return err
	}
	var at, to int64
	for i, s := range inFile {
		from := int64(s.FileOffset)
		if from < max(at, headers) {
			return malformed("section "+printable(s.Name), "shares bytes of the file with %s", map[bool]string{true: "the headers", false: "another section"}[i == 0])
		}
		r.add(at, to, from-at)
		to = int64(alignUp(uint64(to+from-at), uint64(align)))
		// The loader rounds up to a sector what it takes of the file.
		size := min(int64(alignUp(uint64(s.SizeOfRawData), sectorMask+1)), img.size-from)
		r.add(from, to, size)
		s.FileOffset, s.SizeOfRawData = uint32(to), uint32(alignUp(uint64(size), uint64(align)))
		at, to = from+size, to+int64(s.SizeOfRawData)
	}
	end := img.size
	if img.Signed() {
		d := img.Directories[DirSecurity]
		from, after := int64(d.RVA), int64(d.RVA)+int64(d.Size)
		if from < max(at, headers) {
			return malformed("certificate table", "shares bytes of the file with a section or the headers")
		}
		r.add(at, to, from-at)
		at, to = after, to+from-at
	}
	r.add(at, to, end-at)
	to += end - at
	if to > maxRebaseFile {
		return refused("a file of more than 2 GiB")
	}
	r.out = make([]byte, to)
	return nil
}

// headersEnd is the file offset behind the section table.
func (r *rebaser) headersEnd() (int64, error) {
	img := r.img
	end := img.peOffset + coffLen + img.optionalLen + int64(len(img.Sections))*sectionLen
	if img.peOffset < dosHeaderLen || end > int64(img.SizeOfHeaders) {
		return 0, malformed("headers", "they end at %#x in the file, outside the first %#x bytes, which are mapped", end, img.SizeOfHeaders)
	}
	if first := img.firstSection(); alignUp(uint64(img.SizeOfHeaders), uint64(max(img.FileAlignment, pageSize))) > first {
		return 0, malformed("headers", "%d bytes, which reach into the first section at %#x", img.SizeOfHeaders, first)
	}
	return end, nil
}

// firstSection is the RVA behind the headers' room.
func (img *Image) firstSection() uint64 {
	if len(img.Sections) == 0 {
		return uint64(img.SizeOfImage)
	}
	return uint64(img.Sections[0].VirtualAddress)
}

func (r *rebaser) add(from, to, size int64) {
	if size > 0 {
		r.pieces = append(r.pieces, piece{from, to, size})
	}
}

func (r *rebaser) read() error {
	for _, p := range r.pieces {
		if err := readFull(r.img.r, r.out[p.to:p.to+p.size], p.from, r.img.size, "the file"); err != nil {
			return err
		}
	}
	return nil
}

// moved is the new place of an offset into the old file. One that is 0 or
// leads nowhere stays as it is.
func (r *rebaser) moved(offset uint32) uint32 {
	for _, p := range r.pieces {
		if o := int64(offset); offset != 0 && o >= p.from && o < p.from+p.size {
			return uint32(o - p.from + p.to)
		}
	}
	return offset
}

// at is the n bytes of the new file that stand for rva, nil when they are not
// all in one section's part of the file.
func (r *rebaser) at(rva uint64, n uint32) []byte {
	for try := range len(r.sections) {
		i := (r.last + try) % len(r.sections)
		s := &r.sections[i]
		have := min(uint64(s.SizeOfRawData), alignUp(uint64(s.VirtualSize), pageSize))
		if rva < uint64(s.VirtualAddress) || rva+uint64(n) > uint64(s.VirtualAddress)+have {
			continue
		}
		r.last = i
		off := uint64(s.FileOffset) + rva - uint64(s.VirtualAddress)
		return r.out[off : off+uint64(n)]
	}
	return nil
}

// relocate applies the base relocations. The types are those that Wine's loader
// knows for x86 and that a linker has reason to write.
func (r *rebaser) relocate() error {
	if r.delta == 0 {
		return nil
	}
	const where = "relocation table"
	dir := r.img.Directories[DirBaseReloc]
	le := binary.LittleEndian
	return r.img.walkRelocations(func() {}, func(rva uint32, t RelocationType) error {
		if rva+t.size() > dir.RVA && uint64(rva) < uint64(dir.RVA)+uint64(dir.Size) {
			return malformed(where, "a fixup at %#x changes the table itself", rva)
		}
		b := r.at(uint64(rva), t.size())
		if b == nil {
			return malformed(where, "a fixup at %#x is for memory that is not in the file", rva)
		}
		switch {
		case t == RelocHighLow && !r.img.PE32Plus:
			le.PutUint32(b, le.Uint32(b)+uint32(r.delta))
		case t == RelocDir64 && r.img.PE32Plus:
			le.PutUint64(b, le.Uint64(b)+r.delta)
		case t == RelocHigh && !r.img.PE32Plus:
			le.PutUint16(b, le.Uint16(b)+uint16(r.delta>>16))
		case t == RelocLow && !r.img.PE32Plus: // bases are multiples of 64 KiB
		default:
			return refused("a relocation of type %d, which no image for %s needs", t, r.img.Machine)
		}
		return nil
	})
}

// unbind marks the imports as not bound, so that every loader looks them up.
func (r *rebaser) unbind() error {
	for _, table := range []struct {
		what                    string
		dir, size, name, stamps int
	}{
		{"import table", DirImport, 20, 12, 4},
		{"delay import table", DirDelayImport, 32, 4, 28},
	} {
		rva := uint64(r.img.Directories[table.dir].RVA)
		for n := 0; rva != 0; n, rva = n+1, rva+uint64(table.size) {
			d := r.at(rva, uint32(table.size))
			if d == nil || n == maxImportDLLs {
				return malformed(table.what, "has no end in the file")
			}
			if le32(d, table.name) == 0 {
				break
			}
			if le32(d, table.stamps) == 0 {
				continue
			}
			if table.dir == DirImport {
				if le32(d, 0) == 0 {
					return refused("imports that are bound and nothing to look them up by")
				}
				clear(d[8:12]) // the chain of forwarders, for bound imports only
			}
			clear(d[table.stamps : table.stamps+4])
		}
	}
	return nil
}

// adaptDebug moves the file offsets in the debug directory (PE Format, "Debug
// Directory (Image Only)").
func (r *rebaser) adaptDebug() error {
	const entryLen, pointer, most = 28, 24, 1024
	dir := r.img.Directories[DirDebug]
	n := dir.Size / entryLen
	if dir.RVA == 0 || n == 0 {
		return nil
	}
	if n > most {
		return malformed("debug directory", "%s entries", thousands(int64(n)))
	}
	b := r.at(uint64(dir.RVA), n*entryLen)
	if b == nil {
		return malformed("debug directory", "lies outside the file")
	}
	for ; len(b) >= entryLen; b = b[entryLen:] {
		binary.LittleEndian.PutUint32(b[pointer:], r.moved(le32(b, pointer)))
	}
	return nil
}

// writeHeaders brings the headers in step with all the rest; the checksum is
// last. It goes by what Open has found, not by the copy: the file may have
// changed since.
func (r *rebaser) writeHeaders(base uint64) {
	img, le := r.img, binary.LittleEndian
	coff := r.out[img.peOffset+4:]
	opt := coff[coffLen-4:]
	table := opt[img.optionalLen:]
	align := max(img.FileAlignment, pageSize)

	if base != img.ImageBase {
		le.PutUint32(coff[4:], img.TimeDateStamp+1)
	}
	le.PutUint32(coff[8:], r.moved(le32(coff, 8))) // the symbol table, in files of GNU ld
	directories := opt[optFixedPE32:]
	if img.PE32Plus {
		directories = opt[optFixedPE32P:]
		le.PutUint64(opt[24:], base)
	} else {
		le.PutUint32(opt[28:], uint32(base))
	}
	le.PutUint32(opt[36:], align)
	le.PutUint32(opt[60:], uint32(alignUp(uint64(img.SizeOfHeaders), uint64(align))))
	if img.IsDLL() {
		le.PutUint16(opt[70:], uint16(img.DLLCharacteristics&^DynamicBase))
	}
	for _, i := range []int{DirSecurity, DirBoundImport} {
		if img.Directories[i] != (Directory{}) { // the table may be shorter
			clear(directories[i*directoryLen : (i+1)*directoryLen])
		}
	}
	for i := range r.sections {
		s, h := &r.sections[i], table[i*sectionLen:]
		le.PutUint32(h[8:], s.VirtualSize)
		le.PutUint32(h[16:], s.SizeOfRawData)
		le.PutUint32(h[20:], s.FileOffset)
		le.PutUint32(h[24:], r.moved(le32(h, 24))) // relocations and line numbers: for tools only
		le.PutUint32(h[28:], r.moved(le32(h, 28)))
	}
	if img.CheckSum != 0 {
		le.PutUint32(opt[64:], checksum(r.out, len(r.out)-len(opt)+64))
	}
}

// checksum is the sum of the file's 16-bit words with the carries added again,
// and of its length; the field at offset field counts as zero. It is what
// ImageHlp's CheckSumMappedFile computes.
func checksum(b []byte, field int) uint32 {
	clear(b[field : field+4])
	var sum uint64
	words := b
	for ; len(words) >= 2; words = words[2:] {
		sum += uint64(binary.LittleEndian.Uint16(words))
	}
	if len(words) == 1 {
		sum += uint64(words[0])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint32(sum) + uint32(len(b))
}
