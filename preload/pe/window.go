package pe

import "strings"

// windowLen is what one read of a directory fetches at most, in bytes.
const windowLen = 4096

// maxName is the longest DLL or function name accepted, in bytes. Longer ones
// occur in no linker's output (C++ decorated names end at 4,096).
const maxName = 4096

// window reads an image as it will stand in memory, by RVA, a few KiB at a
// time. Each parser has its own, so that an Image can be shared.
type window struct {
	img  *Image
	what string // for errors: the table being read
	rva  uint32
	buf  []byte
}

func (img *Image) window(what string) *window { return &window{img: img, what: what} }

// extent finds rva in the headers or a section: its file offset, how many bytes
// from there on are in the file, and how many in memory (the rest is zero).
func (img *Image) extent(rva uint32) (off int64, raw, memory uint64) {
	if rva < img.SizeOfHeaders && (len(img.Sections) == 0 || rva < img.Sections[0].VirtualAddress) {
		memory = uint64(img.SizeOfHeaders - rva)
		return int64(rva), min(memory, uint64(max(img.size-int64(rva), 0))), memory
	}
	for i := range img.Sections {
		s := &img.Sections[i]
		size := alignUp(uint64(s.memorySize()), uint64(min(img.SectionAlignment, pageSize)))
		if rva < s.VirtualAddress || uint64(rva-s.VirtualAddress) >= size {
			continue
		}
		skip := uint64(rva - s.VirtualAddress)
		memory = size - skip
		start, end := uint64(s.FileOffset), uint64(s.FileOffset)+uint64(s.SizeOfRawData)
		if img.SectionAlignment >= pageSize { // loaders take whole sectors of the file
			start, end = start&^sectorMask, (end+sectorMask)&^sectorMask
		}
		if have := min(end-start, size); s.FileOffset != 0 && have > skip {
			off = int64(start) + int64(skip)
			raw = min(have-skip, uint64(max(img.size-off, 0)))
		}
		return off, raw, memory
	}
	return 0, 0, 0
}

// bytes returns n bytes at rva, valid until the next call; n is at most
// windowLen. It fails when they are not all inside one section.
func (w *window) bytes(rva, n uint32) ([]byte, error) {
	if rva >= w.rva && uint64(rva-w.rva)+uint64(n) <= uint64(len(w.buf)) {
		return w.buf[rva-w.rva:][:n], nil
	}
	off, raw, memory := w.img.extent(rva)
	if memory < uint64(n) {
		return nil, malformed(w.what, "%d bytes at %#x lie outside the image's sections", n, rva)
	}
	size := min(memory, windowLen)
	if cap(w.buf) < windowLen {
		w.buf = make([]byte, windowLen)
	}
	w.buf = w.buf[:size]
	have := min(raw, size)
	if err := readFull(w.img.r, w.buf[:have], off, w.img.size, w.what); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	clear(w.buf[have:])
	w.rva = rva
	return w.buf[:n], nil
}

// cstring returns the zero-terminated string at rva.
func (w *window) cstring(rva uint32) (string, error) {
	var b strings.Builder
	for b.Len() <= maxName {
		c, err := w.bytes(rva, 1)
		if err != nil {
			return "", err
		}
		if c[0] == 0 {
			return b.String(), nil
		}
		b.WriteByte(c[0])
		rva++
	}
	return "", malformed(w.what, "a name longer than %d bytes", maxName)
}

// rvaOf turns an address, as some tables hold, into an RVA.
func (img *Image) rvaOf(va uint64, what string) (uint32, error) {
	if va < img.ImageBase || va-img.ImageBase >= uint64(img.SizeOfImage) {
		return 0, malformed(what, "address %#x lies outside the image", va)
	}
	return uint32(va - img.ImageBase), nil
}

// printable makes a name from the file safe for a message on a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
