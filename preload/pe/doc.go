// Package pe reads Windows programs and libraries (Portable Executable files):
// what the loader, the layout planner and "winbox inspect" need to know of one.
//
// It is not a linker, a disassembler or a signature checker, and it maps
// nothing: Signed says that a signature is there, not that it is good.
//
// Open reads the headers only (one or two small reads, whatever the size of the
// file); imports, relocations, resources and the like are read when asked for.
// An Image keeps the io.ReaderAt and must not be used after it is closed.
//
// Traps: nothing in a file is believed. Every offset, size and count is checked
// against the file and against a cap, so a method can fail on an image that
// Open took. Strings come from the file: escape them before printing.
// Facts are from Microsoft's "PE Format" specification; the section is named.
package pe
