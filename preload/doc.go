// Package preload plans the address space of a Windows program and checks what
// became of the plan: Plan turns PE headers and host facts into named regions,
// StubRanges and MarshalStub tell the preloader in preload/stub what to do with
// each of them before the dynamic linker runs, Audit compares a live process, Look
// names all that is in one, ParseReport reads what the preloader says of its work,
// and Host says what of this machine stands in the way.
//
// It maps nothing itself and starts nothing, and it does not know Wine: what it
// says of engines is only where their native code may and may not be.
//
// Traps: ranges are half-open and a multiple of the 4 KiB page, but Windows
// allocates in units of 64 KiB. Places of the stack and the heap are forecasts
// (the engine chooses them when it runs); those of all other regions are
// promises. A plan holds only with address randomisation off (personality(2),
// ADDR_NO_RANDOMIZE), since the kernel may otherwise put native code anywhere.
package preload
