package pe

import "encoding/binary"

// maxTLSCallbacks caps the list of callbacks, which only a zero ends.
const maxTLSCallbacks = 1024

// TLS is the thread-local storage directory (PE Format, "The .tls Section").
type TLS struct {
	// DataSize is the initialised part in bytes, copied for each thread.
	DataSize uint64
	// ZeroFill is the zeroed part behind it, in bytes.
	ZeroFill uint32
	// Callbacks is the number of functions called as threads come and go.
	Callbacks int
}

// TLS returns the thread-local storage directory; nil when the image has none.
//
// # Errors
//
// A *FormatError for addresses outside the image, data that end before they
// start, or more than 1,024 callbacks.
func (img *Image) TLS() (*TLS, error) {
	const where = "TLS directory"
	dir := img.Directories[DirTLS]
	if dir.RVA == 0 {
		return nil, nil
	}
	width := img.pointerSize()
	w := img.window(where)
	b, err := w.bytes(dir.RVA, 4*width+8)
	if err != nil {
		return nil, err
	}
	start, end, callbacks := img.pointer(b), img.pointer(b[width:]), img.pointer(b[3*width:])
	if end < start || end-start > uint64(img.SizeOfImage) {
		return nil, malformed(where, "data from %#x to %#x", start, end)
	}
	t := &TLS{DataSize: end - start, ZeroFill: le32(b, int(4*width))}
	if callbacks == 0 {
		return t, nil
	}
	rva, err := img.rvaOf(callbacks, where)
	if err != nil {
		return nil, err
	}
	for {
		b, err := w.bytes(rva, width)
		if err != nil {
			return nil, err
		}
		if img.pointer(b) == 0 {
			return t, nil
		}
		if t.Callbacks++; t.Callbacks > maxTLSCallbacks {
			return nil, malformed(where, "more than %s callbacks", thousands(maxTLSCallbacks))
		}
		rva += width
	}
}

// pointerSize is the width of an address in the image's tables, in bytes.
func (img *Image) pointerSize() uint32 {
	if img.PE32Plus {
		return 8
	}
	return 4
}

// pointer reads one address from b.
func (img *Image) pointer(b []byte) uint64 {
	if img.PE32Plus {
		return binary.LittleEndian.Uint64(b)
	}
	return uint64(le32(b, 0))
}
