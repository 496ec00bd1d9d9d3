package preload

// Limits of Windows address spaces. A 32-bit program ends 64 KiB below 2 GiB
// (Windows documentation, "Virtual Address Space"); Wine gives a
// large-address-aware one all of 4 GiB in a 64-bit process, and in a 32-bit one
// what it reserves itself (dlls/ntdll/unix/virtual.c, mmap_init): up to the
// native stack, where regionsI386 has it. 64-bit programs end 64 KiB below 128 TiB.
const (
	limit2G    = 0x7fff0000
	limitI386  = 0xcf800000
	limit4G    = 0xffff0000
	limitAMD64 = 0x7fffffff0000

	topI386  = 0xffffe000     // arch/x86/include/asm/page_64_types.h, IA32_PAGE_OFFSET
	topAMD64 = 0x7ffffffff000 // arch/x86/include/asm/page_64_types.h, TASK_SIZE_MAX
)

// Places that have meant something since Windows NT, or to Wine. Wine's server
// gives relocatable libraries of version 9 and later addresses below nativeLow
// or below serverDLLsEnd, depending on the base they ask for (server/mapping.c).
const (
	dosEnd            = 0x110000   // 1 MiB + 64 KiB, the reach of real-mode addresses
	lowEnd            = 0x68000000 // up to here Wine's own preloader reserves low memory
	nativeLow         = 0x7c000000 // from here Wine links its loader: 0x7c000000 once, 0x7d000000 in 7 to 9
	nativeLowEnd      = 0x7f000000 // up to here the loader's brk heap may grow
	preloaderI386End  = 0x7c500000 // in a 32-bit process the preloader and what it loads are at nativeLow
	sharedUserData    = 0x7ffe0000 // KUSER_SHARED_DATA
	sharedHeap        = 0x80000000 // SYSTEM_HEAP_BASE
	tablesI386        = 0xce800000 // ntdll keeps its tables at the end of the highest range
	nativeStackEnd    = 0xd0000000 // 8 MiB below a multiple of 256 MiB
	dllAMD64          = 0x100000000
	freeAMD64         = 0x400000000     // bases: 0x140000000 link.exe's programs, 0x180000000 its libraries, 0x170000000 to 0x3c0000000 Wine 8's
	preloaderAMD64    = 0x400000000000  // zone_start of preload/stub/preloader-amd64.ld
	preloaderAMD64End = 0x400100000000  // its zone is 4 GiB, with the dynamic linker and the native heap
	serverDLLs        = 0x6fff00000000  // Wine's server counts down from serverDLLsEnd
	serverDLLsEnd     = 0x700000000000  // 4 GiB of the 16 TiB it may use: all of Wine's own take 0.6
	nativeHigh        = 0x7fff00000000  // mmap(2) starts 128 MiB below the top and goes down
	topDownAMD64      = 0x7ffffc000000  // above all mmap(2) gives out, below the native stack
	topDownAMD64End   = 0x7ffffdff0000  // 32 MiB less 64 KiB, as much as Wine's preloader takes
	nativePoolI386    = 0xe0000000      // 512 MiB; see regionsI386
	nameLow           = "lowest 64 KiB" // of every process
	nameSystemDLLs    = "system libraries"
	nameNativeLoader  = "native loader" // and nothing else
	nameNativeStack   = "native stack"
	namePreloader     = "preloader"
	nameLarge         = "large allocations"
)

// regionsLow are the regions below 2 GiB: the same in every process, but for
// what the gap at nativeLow is used for.
//
// 0x68000000 to 0x7c000000 is more than Wine's own preloader takes: Wine's
// kernel32 and kernelbase are linked at 0x7b000000, and the heap of a native
// loader must not be there first.
func regionsLow(gap ...Region) []Region {
	regions := []Region{
		{Kind: KindLow, Range: Range{0, granularity}, State: StateUnmapped, Name: nameLow},
		{Kind: KindDOS, Range: Range{granularity, dosEnd}, State: StateReserved, Name: "DOS area"},
		{Kind: KindMemory, Range: Range{dosEnd, lowEnd}, State: StateReserved, Name: "low memory"},
		{Kind: KindDLL, Range: Range{lowEnd, nativeLow}, State: StateReserved, Name: nameSystemDLLs},
	}
	return append(append(regions, gap...),
		Region{Kind: KindTopDown, Range: Range{nativeLowEnd, sharedUserData}, State: StateReserved, Name: "thread blocks, top-down"},
		Region{Kind: KindSharedUserData, Range: Range{sharedUserData, limit2G}, State: StateFixed, Name: "shared user data"},
	)
}

// gapAMD64 is nativeLow to nativeLowEnd in a 64-bit process: for a loader that is
// linked there, and for nothing else.
var gapAMD64 = Region{Kind: KindNative, Range: Range{nativeLow, nativeLowEnd}, State: StateNative, Name: nameNativeLoader}

// regionsHigh are the regions above 4 GiB of a 64-bit process.
//
// The pool is 64 GiB less 64 MiB below the stack, where mmap(2) puts what has no
// address by itself. It stays open: libraries that native code loads later go
// there, too.
func regionsHigh() []Region {
	return []Region{
		{Kind: KindDLL, Range: Range{dllAMD64, freeAMD64}, State: StateReserved, Name: "programs and libraries"},
		{Kind: KindFree, Range: Range{freeAMD64, preloaderAMD64}, State: StateFree, Name: nameLarge},
		{Kind: KindNative, Range: Range{preloaderAMD64, preloaderAMD64End}, State: StateNative, Name: namePreloader},
		{Kind: KindFree, Range: Range{preloaderAMD64End, serverDLLs}, State: StateFree, Name: nameLarge},
		{Kind: KindDLL, Range: Range{serverDLLs, serverDLLsEnd}, State: StateReserved, Name: "relocated libraries"},
		{Kind: KindFree, Range: Range{serverDLLsEnd, nativeHigh}, State: StateFree, Name: nameLarge},
		{Kind: KindNative, Range: Range{nativeHigh, topDownAMD64}, State: StateNative, Name: "native libraries", Pool: true},
		{Kind: KindTopDown, Range: Range{topDownAMD64, topDownAMD64End}, State: StateReserved, Name: "top-down, engine's tables"},
		{Kind: KindNative, Range: Range{topDownAMD64End, limitAMD64}, State: StateNative, Name: nameNativeStack},
		{Kind: KindFiller, Range: Range{limitAMD64, topAMD64}, State: StateFilled, Name: "above the limit"},
	}
}

// regionsAMD64 are those of a 64-bit process in which only 64-bit programs run.
func regionsAMD64() []Region {
	middle := Region{Kind: KindFree, Range: Range{limit2G, dllAMD64}, State: StateFree, Name: "2 to 4 GiB"}
	return append(append(regionsLow(gapAMD64), middle), regionsHigh()...)
}

// regionsWoW64 are those of a 64-bit process in which a 32-bit program may run:
// nothing native is in the low 4 GiB. The last 64 KiB of 2 and of 4 GiB are
// filled rather than reserved: Wine's limit is 0x80000000, Windows' is below
// the guard, so Wine must not know of it.
func regionsWoW64(heap uint64) []Region {
	regions := append(regionsLow(gapAMD64), regionsSharedHeap(heap, StateFilled)...)
	regions = append(regions,
		Region{Kind: KindMemory, Range: Range{sharedHeap + heap, limit4G}, State: StateReserved, Name: "high memory"},
		Region{Kind: KindFree, Range: Range{limit4G, dllAMD64}, State: StateFilled, Name: "guard below 4 GiB"},
	)
	return append(regions, regionsHigh()...)
}

// regionsI386 are those of a 32-bit process on a 64-bit kernel. They are the
// same for all programs, since a program that is not large-address-aware may
// start one that is: the engine itself gives the former nothing above 2 GiB.
//
// A 32-bit ntdll reserves for itself, when it starts, all that is free between
// the published range with the shared user data and the native stack, and from
// the native stack to the next multiple of 256 MiB (mmap_init). With the stack
// where the kernel puts it, at the top, nothing would be left for native code,
// which would go down to where Windows programs have their memory. So the
// preloader moves the stack: below a multiple of 256 MiB, with all that is
// Windows' below it and the pool above. What ntdll takes need not be taken
// before, and must not: it tries each 64 KiB of what it does not get.
//
// The pool is 512 MiB. The dynamic linker's mappings come from 128 MiB below the
// top downward, what is loaded later goes below them, and when that is full
// above them; with the kernel's legacy layout they start at the pool's lower
// end. Wine's own libraries with a display take less than 100 MiB.
func regionsI386(heap uint64) []Region {
	regions := regionsLow(
		Region{Kind: KindNative, Range: Range{nativeLow, preloaderI386End}, State: StateNative, Name: namePreloader},
		Region{Kind: KindNative, Range: Range{preloaderI386End, nativeLowEnd}, State: StateNative, Name: "native loader and heap"},
	)
	regions = append(regions, regionsSharedHeap(heap, StateReserved)...)
	return append(regions,
		Region{Kind: KindMemory, Range: Range{sharedHeap + heap, tablesI386}, State: StateReserved, Name: "high memory", engine: true},
		Region{Kind: KindTopDown, Range: Range{tablesI386, limitI386}, State: StateReserved, Name: "engine's tables", engine: true},
		Region{Kind: KindNative, Range: Range{limitI386, nativeStackEnd}, State: StateNative, Name: nameNativeStack},
		Region{Kind: KindFiller, Range: Range{nativeStackEnd, nativePoolI386}, State: StateFilled, Name: "above the limit"},
		Region{Kind: KindNative, Range: Range{nativePoolI386, topI386}, State: StateNative, Name: "native libraries", Pool: true},
	)
}

// regionsSharedHeap are the guard, which is the last 64 KiB of 2 GiB, and the
// shared heap of heap bytes behind it, unless that is 0.
func regionsSharedHeap(heap uint64, guard State) []Region {
	regions := []Region{{Kind: KindFree, Range: Range{limit2G, sharedHeap}, State: guard, Name: "guard below 2 GiB"}}
	if heap > 0 {
		regions = append(regions, Region{Kind: KindSharedHeap, Range: Range{sharedHeap, sharedHeap + heap}, State: StateFixed, Name: "shared heap"})
	}
	return regions
}
