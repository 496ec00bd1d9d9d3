package pe

// LoadConfig is the part of the load configuration that says how the program
// defends itself (PE Format, "The Load Configuration Structure").
type LoadConfig struct {
	// Size is the length in bytes that the structure says it has.
	Size uint32
	// SecurityCookie says that the image was built with stack cookies (/GS).
	SecurityCookie bool
	// SEHandlers is the number of registered exception handlers (32-bit
	// images only; 0 elsewhere). The table itself is not read.
	SEHandlers uint64
	// GuardFlags are the IMAGE_GUARD_ bits.
	GuardFlags uint32
}

// GuardCFInstrumented is the GuardFlags bit of an image whose calls are checked
// against the table of valid targets (Control Flow Guard).
const GuardCFInstrumented uint32 = 0x100

// LoadConfig returns the load configuration; nil when the image has none. Parts
// that the structure, which grew over the years, is too short for are zero.
//
// # Errors
//
// A *FormatError when it lies outside the image.
func (img *Image) LoadConfig() (*LoadConfig, error) {
	// Offsets of SecurityCookie, SEHandlerCount and GuardFlags.
	cookie, handlers, guard := uint32(60), uint32(68), uint32(88)
	if img.PE32Plus {
		cookie, handlers, guard = 88, 104, 144
	}
	dir := img.Directories[DirLoadConfig]
	if dir.RVA == 0 {
		return nil, nil
	}
	w := img.window("load configuration")
	b, err := w.bytes(dir.RVA, 4)
	if err != nil {
		return nil, err
	}
	c := &LoadConfig{Size: le32(b, 0)}
	// The size inside is the one that loaders go by: that of the directory
	// was fixed at 64 for 32-bit images by old linkers.
	if b, err = w.bytes(dir.RVA, min(c.Size, guard+4)); err != nil {
		return nil, err
	}
	width := img.pointerSize()
	has := func(off, n uint32) bool { return uint32(len(b)) >= off+n }
	if has(cookie, width) {
		c.SecurityCookie = img.pointer(b[cookie:]) != 0
	}
	if !img.PE32Plus && has(handlers, width) {
		c.SEHandlers = img.pointer(b[handlers:])
	}
	if has(guard, 4) {
		c.GuardFlags = le32(b, int(guard))
	}
	return c, nil
}
