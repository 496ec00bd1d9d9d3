package pe

import (
	"fmt"
	"strconv"
	"strings"
)

// FileKind says what a file is when it is not a PE image.
type FileKind uint8

// The kinds that Open tells apart, by their first bytes.
const (
	// KindUnknown is binary data without a signature known here.
	KindUnknown FileKind = iota
	// KindEmpty is a file of no bytes.
	KindEmpty
	// KindText is text: ASCII, UTF-8 or UTF-16 with a byte order mark.
	KindText
	// KindScript is text that starts with "#!".
	KindScript
	// KindELF is a program or library of Linux and other Unix systems.
	KindELF
	// KindZip is a ZIP archive, which includes .jar, .msix and .docx.
	KindZip
	// KindOLE is an OLE compound file, which includes .msi and old .doc.
	KindOLE
	// KindDOS is an MS-DOS program: an MZ header that leads to no other.
	KindDOS
	// KindNE is a "new executable": 16-bit Windows or OS/2.
	KindNE
	// KindLE is a "linear executable": a VxD driver or a DOS extender's program.
	KindLE
	// KindLX is a 32-bit OS/2 program.
	KindLX
)

// kindText holds what NotPEError says of each kind: complete, fit for the user.
var kindText = [...]string{
	KindUnknown: "not a Windows program: it is data of an unknown kind",
	KindEmpty:   "not a Windows program: the file is empty",
	KindText:    "not a Windows program: it is a text file",
	KindScript:  "not a Windows program: it is a script",
	KindELF:     "not a Windows program: it is a Linux (ELF) program",
	KindZip:     "not a Windows program: it is a ZIP archive",
	KindOLE:     "not a Windows program: it is an OLE document, such as an installer package (.msi)",
	KindDOS:     "an MS-DOS program, which needs DOS; winbox runs 32- and 64-bit Windows programs",
	KindNE:      "a 16-bit Windows (NE) program, which needs Windows 3.x; winbox runs 32- and 64-bit programs",
	KindLE:      "a 16-bit driver or DOS-extender (LE) program, which needs Windows 9x or DOS; winbox runs 32- and 64-bit programs",
	KindLX:      "an OS/2 (LX) program, which needs OS/2; winbox runs 32- and 64-bit Windows programs",
}

// NotPEError says that a file is no PE image, and what it is instead.
type NotPEError struct {
	// Kind is what the first bytes show.
	Kind FileKind
}

func (e *NotPEError) Error() string {
	if int(e.Kind) < len(kindText) {
		return kindText[e.Kind]
	}
	return kindText[KindUnknown]
}

// TruncatedError says that a PE file ends before something its headers promise.
type TruncatedError struct {
	// What is the thing that is cut off, such as "section .text".
	What string
	// End is the file offset in bytes of the first byte after it.
	End int64
	// Size is the length of the file in bytes.
	Size int64
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("truncated: %s ends at byte %s but the file has %s", e.What, thousands(e.End), thousands(e.Size))
}

// FormatError says that a PE file breaks a rule of the format.
type FormatError struct {
	// Where is the part of the file, such as "import table".
	Where string
	// Problem is what is wrong with it.
	Problem string
}

func (e *FormatError) Error() string {
	return "malformed: " + e.Where + ": " + e.Problem
}

func malformed(where, format string, args ...any) error {
	return &FormatError{Where: where, Problem: fmt.Sprintf(format, args...)}
}

// thousands writes n with a comma after every third digit.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
