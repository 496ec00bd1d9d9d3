package pe

import (
	"encoding/binary"
	"fmt"
)

// Caps on what an import table may hold; chrome.dll, the largest met, has under
// a tenth of each. Tables may overlap in the file, so that its size is no cap.
const (
	maxImportDLLs  = 4096
	maxImports     = 1 << 16
	maxImportBytes = 2 << 20 // of names, in all
)

// Import is one library that an image needs.
type Import struct {
	// DLL is the file name as it stands in the image.
	DLL string
	// Functions are the names asked for; one asked for by number is "#12".
	Functions []string
}

// Imports returns the libraries that are loaded before the program starts, in
// the order of the file; nil when there are none (PE Format, "The .idata
// Section"). At most 4,096 libraries, 65,536 functions and 2 MiB of names.
//
// # Errors
//
// A *FormatError for a table that points outside the image or passes a cap.
func (img *Image) Imports() ([]Import, error) {
	const descriptorLen = 20
	dir := img.Directories[DirImport]
	if dir.RVA == 0 {
		return nil, nil
	}
	t := newImportTable(img, "import table")
	for rva := uint64(dir.RVA); ; rva += descriptorLen {
		d, err := t.descriptor(rva, descriptorLen)
		if err != nil {
			return nil, err
		}
		lookup, name, iat := le32(d, 0), le32(d, 12), le32(d, 16)
		if name == 0 || iat == 0 {
			return t.imports, nil
		}
		if lookup == 0 { // some old linkers write only the address table
			lookup = iat
		}
		if err := t.add(name, lookup, 0); err != nil {
			return nil, err
		}
	}
}

// DelayImports returns the libraries that are loaded at the first call into
// them; nil when there are none (PE Format, "Delay-Load Import Tables"). Caps and
// errors are those of Imports.
func (img *Image) DelayImports() ([]Import, error) {
	const descriptorLen = 32
	dir := img.Directories[DirDelayImport]
	if dir.RVA == 0 {
		return nil, nil
	}
	t := newImportTable(img, "delay import table")
	for rva := uint64(dir.RVA); ; rva += descriptorLen {
		d, err := t.descriptor(rva, descriptorLen)
		if err != nil {
			return nil, err
		}
		attributes, name, lookup := le32(d, 0), le32(d, 4), le32(d, 16)
		if name == 0 {
			return t.imports, nil
		}
		base := uint64(0)
		if attributes&1 == 0 { // Visual C++ 6: addresses, not offsets
			base = img.ImageBase
			if name, err = img.rvaOf(uint64(name), t.desc.what); err != nil {
				return nil, err
			}
			if lookup, err = img.rvaOf(uint64(lookup), t.desc.what); err != nil {
				return nil, err
			}
		}
		if err := t.add(name, lookup, base); err != nil {
			return nil, err
		}
	}
}

// importTable gathers the imports of one directory under its caps. The three
// windows stand at the three places that are read in turn.
type importTable struct {
	desc, thunks, names *window
	imports             []Import
	functions, bytes    int
}

func newImportTable(img *Image, what string) *importTable {
	return &importTable{desc: img.window(what), thunks: img.window(what), names: img.window(what)}
}

func (t *importTable) descriptor(rva uint64, n uint32) ([]byte, error) {
	if len(t.imports) >= maxImportDLLs {
		return nil, malformed(t.desc.what, "more than %s libraries", thousands(maxImportDLLs))
	}
	if rva+uint64(n) > 1<<32 {
		return nil, malformed(t.desc.what, "runs past the end of the address space")
	}
	return t.desc.bytes(uint32(rva), n)
}

// name reads a string and counts it.
func (t *importTable) name(rva uint32) (string, error) {
	s, err := t.names.cstring(rva)
	if err != nil {
		return "", err
	}
	if t.bytes += len(s); t.bytes > maxImportBytes {
		return "", malformed(t.desc.what, "more than %s bytes of names", thousands(maxImportBytes))
	}
	return s, nil
}

// add reads the lookup table of one library (PE Format, "Import Lookup Table").
// base is not zero when the table holds addresses instead of offsets.
func (t *importTable) add(dll, lookup uint32, base uint64) error {
	img, what := t.desc.img, t.desc.what
	name, err := t.name(dll)
	if err != nil {
		return err
	}
	imp := Import{DLL: name}
	width, byOrdinal := uint32(4), uint64(1)<<31
	if img.PE32Plus {
		width, byOrdinal = 8, 1<<63
	}
	for rva := uint64(lookup); ; rva += uint64(width) {
		if rva+uint64(width) > 1<<32 {
			return malformed(what, "runs past the end of the address space")
		}
		b, err := t.thunks.bytes(uint32(rva), width)
		if err != nil {
			return err
		}
		thunk := uint64(le32(b, 0))
		if img.PE32Plus {
			thunk = binary.LittleEndian.Uint64(b)
		}
		if thunk == 0 {
			t.imports = append(t.imports, imp)
			return nil
		}
		if t.functions++; t.functions > maxImports {
			return malformed(what, "more than %s functions", thousands(maxImports))
		}
		if thunk&byOrdinal != 0 {
			imp.Functions = append(imp.Functions, fmt.Sprintf("#%d", uint16(thunk)))
			continue
		}
		if thunk < base || thunk-base >= 1<<31-2 {
			return malformed(what, "a name of %s lies at %#x, outside the image", printable(name), thunk)
		}
		// A two-byte hint comes before the name (PE Format, "Hint/Name Table").
		fn, err := t.name(uint32(thunk-base) + 2)
		if err != nil {
			return err
		}
		imp.Functions = append(imp.Functions, fn)
	}
}

// le32 is the little-endian word of b at off.
func le32(b []byte, off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
