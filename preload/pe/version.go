package pe

import (
	"encoding/binary"
	"unicode/utf16"
)

// Caps on the version resource. The tree has three levels by definition, so a
// directory that points back to itself costs three steps, not for ever.
const (
	maxResourceEntries = 4096
	maxVersionBytes    = 64 << 10
	maxVersionStrings  = 256
	resourceVersion    = 16 // RT_VERSION
)

// Version is the version resource (Windows documentation, "VS_VERSIONINFO").
type Version struct {
	// File and Product are the four parts of the binary version numbers; zero
	// when the resource has none.
	File, Product [4]uint16
	// Strings are the texts of the first language, such as "FileVersion",
	// "ProductName" and "FileDescription"; at most 256.
	Strings map[string]string
}

// Version returns the first version resource; nil when the image has none (PE
// Format, "The .rsrc Section").
//
// # Errors
//
// A *FormatError for a tree or a block that points outside itself.
func (img *Image) Version() (*Version, error) {
	dir := img.Directories[DirResource]
	if dir.RVA == 0 {
		return nil, nil
	}
	w := img.window("resource directory")
	types, err := w.resourceEntry(dir.RVA, 0, func(id uint32) bool { return id == resourceVersion })
	if err != nil || types == 0 {
		return nil, err
	}
	entry := types
	for range 2 { // name, then language: the first of each
		if entry&resourceIsDirectory == 0 {
			return nil, malformed(w.what, "the version resource is not three levels deep")
		}
		entry, err = w.resourceEntry(dir.RVA, entry&^resourceIsDirectory, func(uint32) bool { return true })
		if err != nil {
			return nil, err
		}
	}
	if entry == 0 || entry&resourceIsDirectory != 0 {
		return nil, malformed(w.what, "the version resource is not three levels deep")
	}
	rva, err := addRVA(dir.RVA, entry, w.what)
	if err != nil {
		return nil, err
	}
	data, err := w.bytes(rva, 16)
	if err != nil {
		return nil, err
	}
	return img.readVersion(le32(data, 0), le32(data, 4))
}

// resourceIsDirectory marks an entry that leads to another directory.
const resourceIsDirectory = 0x80000000

// resourceEntry returns the offset field of the first entry that match takes in
// the directory at base+off, 0 when there is none (PE Format, "Resource
// Directory Table").
func (w *window) resourceEntry(base, off uint32, match func(id uint32) bool) (uint32, error) {
	rva, err := addRVA(base, off, w.what)
	if err != nil {
		return 0, err
	}
	h, err := w.bytes(rva, 16)
	if err != nil {
		return 0, err
	}
	count := uint32(binary.LittleEndian.Uint16(h[12:])) + uint32(binary.LittleEndian.Uint16(h[14:]))
	if count > maxResourceEntries {
		return 0, malformed(w.what, "%s entries in one directory", thousands(int64(count)))
	}
	for i := range count {
		at, err := addRVA(rva, 16+8*i, w.what)
		if err != nil {
			return 0, err
		}
		e, err := w.bytes(at, 8)
		if err != nil {
			return 0, err
		}
		if match(le32(e, 0)) {
			return le32(e, 4), nil
		}
	}
	return 0, nil
}

func addRVA(base, off uint32, what string) (uint32, error) {
	if sum := uint64(base) + uint64(off); sum < 1<<32 {
		return uint32(sum), nil
	}
	return 0, malformed(what, "offset %#x lies outside the image", off)
}

// readVersion takes the VS_VERSIONINFO block of size bytes at rva apart.
func (img *Image) readVersion(rva, size uint32) (*Version, error) {
	const where = "version resource"
	if size > maxVersionBytes {
		return nil, malformed(where, "%s bytes, at most %s are read", thousands(int64(size)), thousands(maxVersionBytes))
	}
	off, raw, _ := img.extent(rva)
	if raw < uint64(size) {
		return nil, malformed(where, "%d bytes at %#x lie outside the file", size, rva)
	}
	b := make([]byte, size)
	if err := readFull(img.r, b, off, img.size, where); err != nil {
		return nil, err
	}
	root, _, ok := nextVersionBlock(b)
	if !ok || root.key != "VS_VERSION_INFO" {
		return nil, malformed(where, "does not start with VS_VERSION_INFO")
	}
	v := &Version{Strings: map[string]string{}}
	const fixedLen, fixedMagic = 52, 0xfeef04bd // VS_FIXEDFILEINFO
	if f := root.value; len(f) >= fixedLen && le32(f, 0) == fixedMagic {
		v.File = versionParts(le32(f, 8), le32(f, 12))
		v.Product = versionParts(le32(f, 16), le32(f, 20))
	}
	for rest := root.children; ; {
		info, next, ok := nextVersionBlock(rest)
		if !ok {
			return v, nil
		}
		rest = next
		if info.key != "StringFileInfo" {
			continue
		}
		table, _, ok := nextVersionBlock(info.children)
		if !ok {
			return v, nil
		}
		for rest := table.children; len(v.Strings) < maxVersionStrings; {
			s, next, ok := nextVersionBlock(rest)
			if !ok {
				break
			}
			v.Strings[s.key] = utf16z(s.value)
			rest = next
		}
		return v, nil
	}
}

func versionParts(high, low uint32) [4]uint16 {
	return [4]uint16{uint16(high >> 16), uint16(high), uint16(low >> 16), uint16(low)}
}

// versionBlock is one node of the tree: a key, a value and blocks below it.
type versionBlock struct {
	key             string
	value, children []byte
}

// nextVersionBlock takes the first block off b and returns what follows it.
// Blocks and their parts are padded to four bytes. It is false at the end, and
// for a block that does not fit: the Windows API stops there without an error.
func nextVersionBlock(b []byte) (v versionBlock, rest []byte, ok bool) {
	const headerLen = 6
	if len(b) < headerLen {
		return v, nil, false
	}
	le := binary.LittleEndian
	length, valueLen, isText := int(le.Uint16(b)), int(le.Uint16(b[2:])), le.Uint16(b[4:]) == 1
	if length < headerLen || length > len(b) {
		return v, nil, false
	}
	rest = b[min(pad4(length), len(b)):]
	b = b[:length]
	end := headerLen
	for end+2 <= len(b) && le.Uint16(b[end:]) != 0 {
		end += 2
	}
	v.key = utf16z(b[headerLen:end])
	start := min(pad4(end+2), len(b))
	if isText { // counted in characters; some compilers count bytes
		valueLen = min(2*valueLen, len(b)-start)
	}
	valueEnd := min(start+valueLen, len(b))
	v.value = b[start:valueEnd]
	v.children = b[min(pad4(valueEnd), len(b)):]
	return v, rest, true
}

func pad4(n int) int { return (n + 3) &^ 3 }

// utf16z decodes little-endian UTF-16 up to the first zero.
func utf16z(b []byte) string {
	units := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
