// Command layout measures what the address space of a Windows program costs.
//
// Memory: an application with 30 libraries that all want the same base runs in
// two containers at a time, as it was linked and prelinked (`winbox image
// prelink`). What counts is the memory that belongs to one of them alone.
//
// Time: Wine's loader is started with the preloader, for a plan as every program
// has it, and without; it only prints its version.
//
// With -runtime, a built runtime with a 32-bit part, both are done for 32-bit
// programs too. It needs root, mingw-w64, a mount namespace of its own, and Wine.
package main
