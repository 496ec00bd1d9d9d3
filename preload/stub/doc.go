// SPDX-License-Identifier: Apache-2.0

// Package stub carries the preloader: a small freestanding ELF program that
// makes room in the address space before a Windows program is loaded, and
// that stands in for wine-preloader.
//
// It is for whoever puts a container together: write what [Preloader] returns
// to a file, mount it over the runtime's own preloader, and put a plan at
// [LayoutPath]. It does not plan (package preload does) and it knows nothing
// of PE files.
//
// # What it does
//
// "preloader LOADER ARGS…" takes the place of LOADER:
//
//  1. It reads the plan, and WINEPRELOADRESERVE from the environment.
//  2. It maps LOADER and its ELF interpreter as execve would. What can be
//     moved goes into the preloader's own zone ([ZoneStartAMD64]), or below
//     it, and never into a planned range.
//  3. It reserves the planned ranges with PROT_NONE mappings. Of a range that
//     is partly in use it reserves the free parts.
//  4. It writes a pointer to the list of what it reserved to the loader's
//     exported variable wine_main_preload_info, if there is one.
//  5. It corrects the auxiliary vector, drops argv[0] and enters the
//     interpreter. AT_ENTRY leads back to the preloader.
//  6. When the dynamic linker is done, it fills all holes from the plan's limit
//     to the top of the address space and enters the program.
//
// The 9 to 10 MiB below the stack are kept free for it to grow into, in ranges
// and above the limit alike. Nothing else is kept free above the limit: native
// libraries that are loaded after step 6 go below it, outside the ranges.
//
// Anything wrong with the plan or the loader ends in one line on standard
// error and exit status 1.
//
// # The layout file
//
// At most 4096 bytes, numbers little-endian: the magic "WBLAYT01"; a uint64
// limit, the first address that no Windows program may get; a uint32 count; a
// uint32 of flags, 0; then count pairs of uint64, start and end of a range.
// All addresses are multiples of 4096, ends are exclusive, ranges ascend, do
// not overlap (they may touch) and end at or below the limit, which is at
// most 0x7ffffffff000. Without the file a built-in list is used: what Wine 10
// reserves on x86-64.
//
// # The report
//
// The preloader leaves a record of its work at a fixed address in its own
// pages: 0x400010108000 on x86-64, 0x7c408000 on i386. Its form is that of
// [winbox/preload.ParseReport], which reads it from /proc/PID/mem. The program
// can overwrite it, as it can everything in its process.
//
// # Wine's side of the protocol
//
// Read in the sources of Wine 8.0 and 10.0, which agree but for the last point:
//
//   - A loader that is started without WINELOADERNOEXEC in its environment
//     sets it to 1 and executes itself again through the preloader. Starting
//     "preloader LOADER PROGRAM" with the variable set saves that. It is never
//     unset, and children inherit it.
//   - CreateProcess forks twice and executes the preloader, too, with
//     WINEPRELOADRESERVE set to the range of the new main image (0-0 for a
//     builtin). argv[0] is the preloader and argv[1] the loader.
//   - The preloader is looked for beside the loader: "wine64-preloader" if the
//     loader's name ends in 64, else "wine-preloader". (Later versions: the
//     loader's name with "-preloader" added.) If it cannot be executed, the
//     loader is executed without one, silently. So a child is bypassed exactly
//     when the file is missing there or not executable. It must exist to be
//     mounted over: Debian has it in a package of its own (wine64-preloader),
//     as a link to wine64-preloader.static in the same directory.
//   - The directory of /proc/self/exe, which is the preloader, is where Wine
//     looks for its loader, and from where it finds its libraries. The preloader
//     must therefore be mounted into the loader's directory; run from elsewhere
//     it starts the first process at best.
//   - ntdll treats the published ranges as its own to map over. Once it has
//     a list, it reserves nothing itself. A range that ends above 0x7fffffff0000
//     would raise its idea of the highest address: the filler is not published.
//   - ntdll takes about 2 MiB for its own tables from the end of the highest
//     range that lies above 2 GiB and does not belong to WINEPRELOADRESERVE. If
//     the main image's range is the highest of a plan, ntdll will sit in it. So
//     a plan should have a range at the top (as the built-in one), or the first
//     process be given WINEPRELOADRESERVE as well.
//   - Wine 8 in Debian 12 is linked at 0x7d000000 and cannot be moved: in a
//     range that covers it, the rest is reserved. Wine 10 can be moved.
//
// # Traps
//
//   - The kernel's own copy of the auxiliary vector (/proc/PID/auxv) and
//     /proc/PID/exe stay the preloader's, as with wine-preloader. A debugger
//     has to be told the loader's address.
//   - The heap (brk) starts right behind the preloader when randomisation is
//     off, up to 1 GiB above it when it is on.
//   - Without ADDR_NO_RANDOMIZE the stack, the vdso and the dynamic linker's
//     mappings are wherever the kernel puts them. They are never in a
//     low range, but stack and vdso, which come first, may be in one that is
//     near the top (within 1 TiB, or more if vm.mmap_rnd_bits was raised).
package stub
