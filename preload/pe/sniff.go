package pe

import (
	"bytes"
	"encoding/binary"
	"io"
	"unicode/utf8"
)

// sniffLen is what a first look reads: enough for the headers of any image a
// linker makes, so that most files need one read.
const sniffLen = 4096

// Sniff reports whether r starts like a PE image: an MZ header that leads to a
// PE signature (PE Format, "MS-DOS Stub" and "Signature"). It reads at most
// twice, a few bytes; a failing read is a "no". Open may still refuse the file.
func Sniff(r io.ReaderAt) bool {
	var dos [dosHeaderLen]byte
	if n, _ := r.ReadAt(dos[:], 0); n < len(dos) || dos[0] != 'M' || dos[1] != 'Z' {
		return false
	}
	var sig [4]byte
	off := int64(binary.LittleEndian.Uint32(dos[lfanewOffset:]))
	n, _ := r.ReadAt(sig[:], off)
	return n == len(sig) && string(sig[:]) == peSignature
}

// classify says what a file is that starts with head and has no MZ header.
func classify(head []byte) FileKind {
	switch {
	case len(head) == 0:
		return KindEmpty
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return KindELF
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return KindZip
	case bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		return KindOLE
	case bytes.HasPrefix(head, []byte("#!")):
		return KindScript
	case isText(head):
		return KindText
	}
	return KindUnknown
}

// isText reports whether head reads as text: a UTF-16 byte order mark, or UTF-8
// without control characters other than white space and escape. The last bytes
// may be the first half of a character that the read has cut in two.
func isText(head []byte) bool {
	if bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff}) {
		return true
	}
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		if r == utf8.RuneError && n == 1 {
			return len(head) < utf8.UTFMax && !utf8.FullRune(head)
		}
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' && r != '\f' && r != '\x1b' {
			return false
		}
		head = head[n:]
	}
	return true
}

// classifyMZ says what a file with an MZ header is whose second header starts
// with sig (which may be short) and is not PE.
func classifyMZ(sig []byte) FileKind {
	if len(sig) >= 2 {
		switch string(sig[:2]) {
		case "NE":
			return KindNE
		case "LE":
			return KindLE
		case "LX":
			return KindLX
		}
	}
	return KindDOS
}
