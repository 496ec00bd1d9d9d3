// SPDX-License-Identifier: Apache-2.0

// Package stub carries the preloader: a small freestanding ELF program that
// makes room in the address space before a Windows program is loaded, and
// that stands in for wine-preloader. There is one for x86-64 and one for i386,
// built from the same sources.
//
// It is for whoever puts a container together: write what [Preloader] returns
// to a file, mount it over the runtime's own preloader, and put a plan at
// [LayoutPath]; the same for the other machine, if the runtime has a loader
// for it, since a process passes through the preloader of its own machine
// whoever starts it. It does not plan (package preload does) and it knows
// nothing of PE files.
//
// # What it does
//
// "preloader LOADER ARGS…" takes the place of LOADER:
//
//  1. It reads the plan, and WINEPRELOADRESERVE from the environment. If the
//     kernel would put mappings outside the plan's pool because of a soft limit
//     of the stack above 8 MiB, it lowers that and executes itself again.
//  2. It maps LOADER and its ELF interpreter as execve would. What can be
//     moved goes into the preloader's own zone ([ZoneStartAMD64],
//     [ZoneStartI386]) and never into a planned range. So does the vdso when
//     the kernel has put it into one, as it does with the legacy layout.
//  3. It maps the shared heap, and reserves the planned ranges with PROT_NONE
//     mappings. Of a range that is partly in use it reserves the free parts.
//  4. If the kernel would put mappings outside the pool all the same, it takes
//     everything else that is free, until step 7.
//  5. It writes a pointer to the list of what it reserved to the loader's
//     exported variable wine_main_preload_info, if there is one.
//  6. It corrects the auxiliary vector, drops argv[0], moves the stack if the
//     plan says so, and enters the interpreter. AT_ENTRY leads back to the
//     preloader.
//  7. When the dynamic linker is done, it gives back what it took in step 4,
//     fills the holes in the ranges that the plan says, and enters the program.
//
// The 9 to 10 MiB below the kernel's stack are kept free for it to grow into,
// in ranges and above the limit alike. Native libraries that are loaded after
// step 7 go into the pool, because all that the kernel would choose before it
// is taken; on x86-64 with another than the usual layout they may also go into
// the free parts of the plan.
//
// Anything wrong with the plan or the loader, and a planned range that the
// kernel refuses, ends in one line on standard error and exit status 1.
//
// # The layout file
//
// At most 4096 bytes, numbers little-endian: the magic "WBLAYT02"; a uint64
// limit, the first address that no Windows program may get; a uint32 count; a
// uint32 of flags, of which the lowest says that the process is to end when a
// part of a range to reserve is in use; then count pairs of uint64, start and
// end of a range.
// All addresses are multiples of 4096, and the lowest 12 bits of a start say
// what is done with the range: 0 reserve and publish, 1 fill in step 7, 2 keep
// clear in step 4, 3 pool, 4 shared heap, 5 stack. Ends are exclusive, ranges
// ascend, do not overlap (they may touch) and end below the top of the address
// space; those that are published or shared end at or below the limit. Without
// the file a built-in list is used: what Wine 10 reserves.
//
// # The shared heap
//
// It is the file "heap" in [SharedDir], made by the first process and mapped
// with MAP_SHARED. It is not published: Wine would map over it. So VirtualQuery
// shows it as reserved in a 32-bit process and as free in a 64-bit one, and
// VirtualAlloc never gives it to a program. A process that truncates the file
// makes the others of its container fault there; nobody else has it.
//
// # The report
//
// The preloader leaves a record of its work at a fixed address in its own
// pages: 0x400010108000 on x86-64, 0x7c408000 on i386. Its form is that of
// winbox/preload.ParseReport, which reads it from /proc/PID/mem. The program
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
//   - A 32-bit ntdll fills by itself: when it starts it reserves all that is free
//     from the end of the published range that has 0x7ffe0000 in it up to the
//     stack, and from the stack to the next multiple of 256 MiB, in halves down
//     to 64 KiB. It counts that as its own, and the end of the highest such range
//     becomes the limit of large-address-aware programs. With the stack at the
//     top of the address space that leaves native code nothing but what ntdll
//     hands back later: 0x20000000 to 0x7f000000, or with large addresses what is
//     above 2 GiB. And what the preloader has reserved above 2 GiB costs ntdll
//     two calls for each 64 KiB: 49,000 in all for 2 GiB, 15 ms. Hence the moved
//     stack, with the pool above it, and no reservations below it.
//   - A 64-bit ntdll of Wine 10 hands back all below 2 GiB if the image asks for
//     addresses of high entropy (/HIGHENTROPYVA and /DYNAMICBASE).
//   - Wine 8 in Debian 12 is linked at 0x7d000000 and cannot be moved: in a
//     range that covers it, the rest is reserved. Wine 10 can be moved.
//
// # Traps
//
//   - The kernel's own copy of the auxiliary vector (/proc/PID/auxv) and
//     /proc/PID/exe stay the preloader's, as with wine-preloader. A debugger
//     has to be told the loader's address.
//   - The heap (brk) starts right behind the preloader when randomisation is
//     off, up to 1 GiB (32-bit: 32 MiB) above it when it is on.
//   - After the stack has been moved, /proc/PID/maps still calls the kernel's
//     stack "[stack]": the strings of arguments and environment are there.
//   - With vm.legacy_va_layout=1 the kernel begins with the lowest hole. In a
//     32-bit process, what native code maps after ntdll has handed memory back
//     is then in the middle of it; the ntdll of a built runtime hands none back.
//   - Without ADDR_NO_RANDOMIZE the stack, the vdso and the dynamic linker's
//     mappings are wherever the kernel puts them. They are never in a
//     low range, but stack and vdso, which come first, may be in one that is
//     near the top (within 1 TiB, or more if vm.mmap_rnd_bits was raised).
package stub
