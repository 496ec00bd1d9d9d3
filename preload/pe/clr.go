package pe

import "encoding/binary"

// CLR is the header of a .NET image (ECMA-335, II.25.3.3 "CLI header").
type CLR struct {
	// Runtime is the major and minor version of the header's format.
	Runtime [2]uint16
	// Flags are the COMIMAGE_FLAGS_ bits.
	Flags uint32
}

// Bits of CLR.Flags (ECMA-335, II.25.3.3.1 "Runtime flags").
const (
	CLRILOnly           uint32 = 0x00000001
	CLR32BitRequired    uint32 = 0x00000002
	CLRNativeEntryPoint uint32 = 0x00000010
)

// Only reports whether the image holds no native code that could start it, so
// that a .NET runtime is needed.
func (c *CLR) Only() bool { return c.Flags&CLRILOnly != 0 && c.Flags&CLRNativeEntryPoint == 0 }

// CLR returns the .NET header; nil when the image has none.
//
// # Errors
//
// A *FormatError when it lies outside the image or is too short.
func (img *Image) CLR() (*CLR, error) {
	const where, headerLen = ".NET header", 72
	dir := img.Directories[DirCLR]
	if dir.RVA == 0 {
		return nil, nil
	}
	b, err := img.window(where).bytes(dir.RVA, headerLen)
	if err != nil {
		return nil, err
	}
	if size := le32(b, 0); size < headerLen {
		return nil, malformed(where, "%d bytes, needs %d", size, headerLen)
	}
	le := binary.LittleEndian
	return &CLR{Runtime: [2]uint16{le.Uint16(b[4:]), le.Uint16(b[6:])}, Flags: le32(b, 16)}, nil
}
