package preload

import "winbox/preload/pe"

// LibraryRanges is where "winbox image prelink" puts the libraries of an
// application for machine, the best range first; nil for a machine that is not
// x86-64 or x86. Every plan reserves them, and no Wine has libraries of its own
// there:
//
//   - 64 bits: Wine up to 8 links its own at 0x170000000 to 0x3c0000000, later
//     ones below 0x180000000, and their server hands out addresses below
//     0x700000000000. Programs are at 0x140000000 and libraries of every
//     linker at 0x180000000 unless told otherwise.
//   - 32 bits: the server hands out addresses from 0x60000000 to 0x7c000000
//     (Wine, server/mapping.c), where system libraries have been at all times.
//     Below 0x10000000 are programs and what they allocate, from the bottom up.
func LibraryRanges(machine pe.Machine) []Range {
	switch machine {
	case pe.MachineAMD64:
		return []Range{{0x3c0000000, freeAMD64}, {dllAMD64, 0x140000000}}
	case pe.MachineI386:
		return []Range{{0x10000000, 0x60000000}}
	}
	return nil
}

// EngineRanges is where "winbox runtime build" puts the engine's own libraries
// for machine, the best range first; nil for a machine that is not x86-64 or
// x86. Every plan reserves them, and nobody else's libraries are there unasked:
//
//   - 64 bits: below LibraryRanges, above 0x180000000, where linkers put
//     libraries.
//   - 32 bits: the lower end of what the server hands out from the top, so that
//     it comes to them after 192 MiB of an application's libraries that may be
//     anywhere. Wine 10's own take 110 MiB. 64-bit ones that must be below 4 GiB
//     are here, too.
func EngineRanges(machine pe.Machine) []Range {
	switch machine {
	case pe.MachineAMD64:
		return []Range{{0x380000000, 0x3c0000000}}
	case pe.MachineI386:
		return []Range{{0x68000000, 0x70000000}, {0x60000000, 0x68000000}}
	}
	return nil
}
