package preload

import (
	"cmp"
	"fmt"
	"slices"

	"winbox/preload/pe"
)

// Kind says what a region is for. The values are stable: they are the "kind" of
// the JSON that "winbox inspect" prints.
type Kind string

// The kinds of region, from low to high addresses as far as they have an order.
const (
	KindLow            Kind = "low-64k"          // nothing may be here, so that null pointers fault
	KindDOS            Kind = "dos-area"         // 64 KiB to 1 MiB + 64 KiB
	KindImage          Kind = "image"            // the main program
	KindStack          Kind = "stack"            // the main thread's stack (a forecast)
	KindHeap           Kind = "heap"             // the process heap at its start (a forecast)
	KindMemory         Kind = "memory"           // what the program allocates
	KindDLL            Kind = "dll"              // bases that libraries are linked at
	KindTopDown        Kind = "top-down"         // thread blocks and MEM_TOP_DOWN allocations
	KindSharedUserData Kind = "shared-user-data" // KUSER_SHARED_DATA at 0x7ffe0000
	KindSharedHeap     Kind = "shared-heap"      // SYSTEM_HEAP_BASE, 32-bit programs
	KindRequested      Kind = "requested"        // Options.Reserve
	KindNative         Kind = "native"           // left to ELF code: loader, libraries, their stack and heap
	KindFree           Kind = "free"             // nobody's
	KindFiller         Kind = "filler"           // above the limit
)

// State says what is to be done with a region, and by whom.
type State string

// The states of a region.
const (
	// StateUnmapped: nobody may map anything here.
	StateUnmapped State = "unmapped"
	// StateReserved: the preloader takes it before any native code runs; the
	// engine hands it out to the program.
	StateReserved State = "reserved"
	// StateFixed: reserved as well, and this very range will be used.
	StateFixed State = "fixed"
	// StateForecast: inside reserved or free space; the engine chooses the place
	// when it runs, so that the address may differ.
	StateForecast State = "forecast"
	// StateNative: kept out of the reservations for native code.
	StateNative State = "native"
	// StateFree: neither reserved nor forbidden.
	StateFree State = "free"
	// StateFilled: the preloader fills the holes in it once the dynamic linker
	// has run.
	StateFilled State = "filled"
)

// Region is one named part of the address space.
type Region struct {
	// Kind is what the region is for.
	Kind Kind
	// Range is where it is.
	Range Range
	// State is what is to be done with it.
	State State
	// Name describes it in two or three words, for tables.
	Name string
	// HandedBack says of a reserved region that the engine may give what it has
	// not used of it back to the kernel, when the program has started. Native
	// code is kept out of it by its own pool, not by the reservation.
	HandedBack bool
	// Pool says of a native region that it is where mmap(2) is to put what native
	// code loads, now and later.
	Pool bool

	// reserved says of a forecast that the preloader takes its range.
	reserved bool
	// engine says of a reserved region that the engine takes it, not the
	// preloader.
	engine bool
}

// Options are the host facts and wishes that a plan depends on. The zero value
// is a plain x86-64 host and no wishes.
type Options struct {
	// MmapMinAddr is vm.mmap_min_addr, in bytes: the lowest address the kernel
	// lets an unprivileged process map. 0 is the kernel's default, 65,536.
	MmapMinAddr uint64
	// AddressLimit is the first address that the kernel does not give to
	// processes. 0 is the default: 0x7ffffffff000 for a 64-bit process
	// (Documentation/arch/x86/x86_64/mm.rst), 0xffffe000 for a 32-bit one on a
	// 64-bit kernel.
	AddressLimit uint64
	// NewWoW64 says that 32-bit programs run in the low 4 GiB of 64-bit
	// processes, not in 32-bit processes of their own. All of it is reserved then
	// in 64-bit programs, too, since any process may become one of theirs.
	NewWoW64 bool
	// SharedHeap is the size of the memory that all 32-bit programs of a container
	// share, in bytes, at most MaxSharedHeap; it is rounded up to 64 KiB. 0 is
	// DefaultSharedHeap, NoSharedHeap is none.
	SharedHeap uint64
	// KeepsReserved says that the engine hands nothing of what is reserved in a
	// 32-bit process back to the kernel.
	KeepsReserved bool
	// Legacy is vm.legacy_va_layout: mmap(2) searches from below.
	Legacy bool
	// SmallestStack is what the engine gives a stack at least, in bytes. 0 is 1 MiB:
	// what Wine 8 and 10 do that nobody has changed.
	SmallestStack uint64
	// Loader is where the engine's native loader is linked; empty when it is
	// position-independent. Nothing is reserved there.
	Loader Range
	// Reserve are further ranges to reserve, as ParseRanges returns them.
	Reserve []Range
	// Strict has the preloader end a process that cannot have all of a reserved range.
	Strict bool
}

// Sizes of the shared heap, in bytes. The largest leaves a 32-bit process more
// than 2 GiB besides; what is mapped there costs each such process some
// microseconds a MiB when it starts (regionsI386).
const (
	DefaultSharedHeap = 16 << 20
	MaxSharedHeap     = 512 << 20
	NoSharedHeap      = ^uint64(0)
)

// Layout is the plan for one program.
type Layout struct {
	// Machine is the program's.
	Machine pe.Machine
	// Process is the machine of the Linux process: x86-64 for a 32-bit program
	// under Options.NewWoW64.
	Process pe.Machine
	// Limit is the first address in the process above all that Windows needs;
	// holes above it are filled.
	Limit uint64
	// ProgramLimit is the first address above what the program itself gets. For
	// a 32-bit program that is not large-address-aware it is below Limit: what
	// other programs in such processes need, and the engine's tables, are between
	// them.
	ProgramLimit uint64
	// Regions cover the address space from 0 to the kernel's limit: ascending,
	// without gaps or overlaps.
	Regions []Region
	// Moved says why the image will not be at the base it asks for; empty when
	// it will.
	Moved string
	// Exposed says why native code that is loaded late may come to lie among the
	// program's memory; empty when it will not.
	Exposed string
	// StackSize is what the main thread's stack will be given, in bytes.
	StackSize uint64

	loader Range
	// options are what the plan was made with, for the plans of other programs in the same container.
	options Options
}

// LayoutError says that a program cannot be given the address space it needs.
// Its message is a sentence for the user.
type LayoutError struct {
	// Range is what cannot be had; empty when it is not about one range.
	Range Range
	// Problem says what and why.
	Problem string
}

func (e *LayoutError) Error() string { return e.Problem }

func layoutError(r Range, format string, args ...any) error {
	return &LayoutError{Range: r, Problem: fmt.Sprintf(format, args...)}
}

// maxImageSize is the largest SizeOfImage accepted: an image must fit below
// 2 GiB relative to its base (PE Format, "General Concepts": images are at most
// 2 GB).
const maxImageSize = 0x7fff0000

// usualStack is Options.SmallestStack of an engine as it comes, in bytes.
const usualStack = 1 << 20

// Plan lays out the address space for the program img. It is a pure function:
// it reads only headers that pe.Open has read.
//
// # Errors
//
// A *MachineError for a machine that an x86-64 host cannot run, a *LayoutError
// for a base that is not a multiple of 64 KiB, a SizeOfImage of 0 or past 2 GiB,
// a stack that fits nowhere, requested ranges that cannot be reserved, and for
// an image without relocations whose place cannot be had. With relocations it
// is planned elsewhere and Layout.Moved says why.
func Plan(img *pe.Image, opt Options) (*Layout, error) {
	if (img.Machine == pe.MachineAMD64) != img.PE32Plus && (img.Machine == pe.MachineAMD64 || img.Machine == pe.MachineI386) {
		return nil, layoutError(Range{}, "malformed: optional header of the other word size than %s has", img.Machine)
	}
	l, err := newLayout(img.Machine, img.LargeAddressAware(), opt)
	if err != nil {
		return nil, err
	}
	for _, r := range opt.Reserve {
		if err := l.request(r); err != nil {
			return nil, err
		}
	}
	l.handBack(img)
	if err := l.placeImage(img); err != nil {
		return nil, err
	}
	stack := max(img.StackReserve, img.StackCommit, cmp.Or(opt.SmallestStack, usualStack))
	stack, ok := alignUp(stack, granularity)
	if !ok || !l.forecast(KindStack, "main thread's stack", stack) {
		return nil, layoutError(Range{}, "the stack of %s that the program asks for fits nowhere below %#x",
			FormatSize(max(img.StackReserve, img.StackCommit)), l.ProgramLimit)
	}
	l.StackSize = stack
	// The heap grows by further ranges, so a reserve that fits nowhere in one
	// piece is no reason to refuse the program.
	heap, ok := alignUp(max(img.HeapReserve, img.HeapCommit, l.minHeap()), granularity)
	if !ok || !l.forecast(KindHeap, "process heap", heap) {
		l.forecast(KindHeap, "process heap", l.minHeap())
	}
	if n := len(l.StubRanges()); n > maxStubRanges {
		return nil, layoutError(Range{}, "%d separate ranges to reserve, at most %d are possible", n, maxStubRanges)
	}
	return l, nil
}

// handBack notes what the engine hands back to the kernel (Wine 10,
// virtual_set_large_address_space and virtual_release_address_space): in a
// 32-bit process what a program of its kind has least use for, in a 64-bit one
// all below 2 GiB if the image asks for addresses of high entropy.
func (l *Layout) handBack(img *pe.Image) {
	var back Range
	switch {
	case l.Process == pe.MachineI386 && l.options.KeepsReserved:
		return
	case l.Process == pe.MachineI386 && img.LargeAddressAware():
		back = Range{sharedHeap, l.Limit}
	case l.Process == pe.MachineI386:
		back = Range{dosEnd, nativeLowEnd}
	case l.Machine == pe.MachineAMD64 && img.DLLCharacteristics&(pe.DynamicBase|pe.HighEntropyVA) == pe.DynamicBase|pe.HighEntropyVA:
		back = Range{granularity, sharedUserData}
	}
	for i := range l.Regions {
		if r := &l.Regions[i]; r.State == StateReserved && back.Contains(r.Range) {
			r.HandedBack = true
		}
	}
	if l.Process == pe.MachineI386 && l.options.Legacy {
		l.Exposed = "vm.legacy_va_layout is 1, and this engine hands memory back where the kernel then searches first (" + remedyLegacy + ")"
	}
}

// PlanChildren lays out the address space of processes whose program is not
// known yet: those that a program starts for another machine than its own. There
// is no image, stack and heap in it. Options.Reserve is left out, since it is
// about the first program.
//
// # Errors
//
// A *MachineError for a machine that an x86-64 host cannot run, and a
// *LayoutError when vm.mmap_min_addr or the shared heap leave no room.
func PlanChildren(machine pe.Machine, opt Options) (*Layout, error) {
	return newLayout(machine, true, opt)
}

// newLayout starts with the regions that every program of a machine has.
func newLayout(machine pe.Machine, largeAddresses bool, opt Options) (*Layout, error) {
	l := &Layout{Machine: machine, Process: machine, loader: opt.Loader, options: opt}
	heap := opt.SharedHeapSize()
	if heap > MaxSharedHeap {
		return nil, layoutError(Range{}, "a shared heap of %s does not fit: at most %s are possible", FormatSize(heap), FormatSize(MaxSharedHeap))
	}
	var regions []Region
	top := uint64(topAMD64)
	l.Limit = limitAMD64
	switch {
	case machine == pe.MachineAMD64 && !opt.NewWoW64:
		regions = regionsAMD64()
		l.ProgramLimit = l.Limit
	case machine == pe.MachineAMD64:
		regions = regionsWoW64(heap)
		l.ProgramLimit = l.Limit
	case machine == pe.MachineI386 && opt.NewWoW64:
		l.Process = pe.MachineAMD64
		regions = regionsWoW64(heap)
		l.ProgramLimit = limit4G
	case machine == pe.MachineI386:
		regions, top, l.Limit = regionsI386(heap), topI386, limitI386
		l.ProgramLimit = l.Limit
	default:
		return nil, &MachineError{Machine: machine}
	}
	if machine == pe.MachineI386 && !largeAddresses {
		l.ProgramLimit = limit2G
	}
	if opt.AddressLimit != 0 && opt.AddressLimit < top {
		top = opt.AddressLimit &^ (pageSize - 1)
		l.Limit, l.ProgramLimit = min(l.Limit, top), min(l.ProgramLimit, top)
	}
	for _, r := range regions {
		if r.Range = r.Range.intersect(Range{0, top}); !r.Range.Empty() {
			l.Regions = append(l.Regions, r)
		}
	}
	low, ok := alignUp(max(opt.MmapMinAddr, granularity), granularity)
	if !ok || low >= l.ProgramLimit {
		return nil, layoutError(Range{}, "vm.mmap_min_addr is %d: no address is left for the program (%s)", opt.MmapMinAddr, remedyMmapMinAddr)
	}
	if low > granularity {
		l.put(Region{Kind: KindLow, Range: Range{0, low}, State: StateUnmapped, Name: "below vm.mmap_min_addr"})
	}
	l.leaveLoader()
	return l, nil
}

// SharedHeapSize is the size of the shared heap in bytes, in whole units of 64
// KiB; 0 is none.
func (opt Options) SharedHeapSize() uint64 {
	switch size, ok := alignUp(opt.SharedHeap, granularity); {
	case opt.SharedHeap == NoSharedHeap:
		return 0
	case opt.SharedHeap == 0:
		return DefaultSharedHeap
	case !ok:
		return opt.SharedHeap
	default:
		return size
	}
}

// leaveLoader keeps the native loader's place out of the reservations.
func (l *Layout) leaveLoader() {
	end, ok := alignUp(l.loader.End, pageSize)
	if l.loader.Empty() || !ok {
		return
	}
	place := Range{l.loader.Start &^ (pageSize - 1), end}
	for _, r := range l.Regions {
		if r.Kind == KindNative && r.Range.Contains(place) {
			return
		}
	}
	l.put(Region{Kind: KindNative, Range: place, State: StateNative, Name: nameNativeLoader})
}

// put cuts r out of the regions it overlaps and adds it.
func (l *Layout) put(r Region) {
	regions := make([]Region, 0, len(l.Regions)+2)
	for _, old := range l.Regions {
		left, right := old, old
		left.Range.End = min(old.Range.End, r.Range.Start)
		right.Range.Start = max(old.Range.Start, r.Range.End)
		for _, piece := range []Region{left, right} {
			if !piece.Range.Empty() {
				regions = append(regions, piece)
			}
		}
	}
	regions = append(regions, r)
	slices.SortFunc(regions, func(a, b Region) int { return cmp.Compare(a.Range.Start, b.Range.Start) })
	l.Regions = regions
}

// request adds a range of Options.Reserve: what of it is not reserved anyway.
func (l *Layout) request(r Range) error {
	low := l.Regions[0].Range.End
	switch {
	case r.Empty() || r.Start%pageSize != 0 || r.End%pageSize != 0:
		return layoutError(r, "the range %s to reserve is empty or not a multiple of the page size", r)
	case r.Start < low:
		return layoutError(r, "the range %s to reserve starts below %#x, where nothing may be mapped", r, low)
	case r.End > l.Limit:
		return layoutError(r, "the range %s to reserve ends above %#x, the limit of Windows programs", r, l.Limit)
	case r.Overlaps(l.loader):
		return layoutError(r, "the range %s to reserve holds the native loader (%s)", r, l.loader)
	}
	for _, old := range l.Regions {
		if old.State == StateNative && old.taken() && old.Range.Overlaps(r) {
			return layoutError(r, "the range %s to reserve holds the %s (%s)", r, old.Name, old.Range)
		}
	}
	for _, old := range slices.Clone(l.Regions) {
		if part := old.Range.intersect(r); !part.Empty() && (old.State == StateFree || old.State == StateNative) {
			l.put(Region{Kind: KindRequested, Range: part, State: StateReserved, Name: "requested range"})
		}
	}
	return nil
}

// placeImage plans img at its base, or, when that cannot be and it has
// relocations, elsewhere.
func (l *Layout) placeImage(img *pe.Image) error {
	size, _ := alignUp(uint64(img.SizeOfImage), pageSize)
	switch {
	case img.SizeOfImage == 0:
		return layoutError(Range{}, "malformed: the size of the image is 0")
	case size > maxImageSize:
		return layoutError(Range{}, "malformed: the image wants %s of address space, at most %s are possible",
			FormatSize(size), FormatSize(maxImageSize))
	case img.ImageBase%granularity != 0:
		return layoutError(Range{}, "malformed: the image base %#x is not a multiple of 64 KiB", img.ImageBase)
	}
	want := Range{img.ImageBase, img.ImageBase + size}
	problem := l.obstacle(want)
	if problem == "" {
		l.put(Region{Kind: KindImage, Range: want, State: StateFixed, Name: "program"})
		return nil
	}
	if !img.Relocatable() {
		return layoutError(want, "the program must be at %#x and has no relocations, but %s", img.ImageBase, problem)
	}
	if !l.forecast(KindImage, "program", size) {
		return layoutError(want, "%s of address space for the program fit nowhere below %#x", FormatSize(size), l.ProgramLimit)
	}
	l.Moved = problem
	return nil
}

// taken reports whether something that cannot move uses the region.
func (r *Region) taken() bool {
	return r.Kind == KindSharedUserData || r.Kind == KindSharedHeap || r.Name == namePreloader || r.Name == nameNativeStack
}

// obstacle says what keeps an image from being at r; empty when nothing does.
func (l *Layout) obstacle(r Range) string {
	low := l.Regions[0].Range.End
	switch {
	case r.End < r.Start || r.End > l.ProgramLimit:
		return fmt.Sprintf("its end is above %#x, the limit of such programs", l.ProgramLimit)
	case r.Start < granularity:
		return "the lowest 64 KiB stay unmapped, so that null pointers fault"
	case r.Start < low:
		return fmt.Sprintf("this host maps nothing below %#x (%s)", low, remedyMmapMinAddr)
	case r.Overlaps(l.loader):
		return fmt.Sprintf("the native loader is there (%s)", l.loader)
	}
	for _, other := range l.Regions {
		if other.taken() && r.Overlaps(other.Range) {
			return fmt.Sprintf("the %s is there (%s)", other.Name, other.Range)
		}
	}
	return ""
}

// forecast puts a region of size bytes where an engine that allocates from the
// bottom up would: the lowest place in the space that programs may use.
func (l *Layout) forecast(kind Kind, name string, size uint64) bool {
	for _, r := range l.Regions {
		if r.Kind != KindMemory && r.Kind != KindDLL && (r.Kind != KindFree || l.Machine != pe.MachineAMD64) {
			continue
		}
		start, ok := alignUp(r.Range.Start, granularity)
		if !ok || start >= r.Range.End || r.Range.End-start < size || size > l.ProgramLimit || start > l.ProgramLimit-size {
			continue
		}
		l.put(Region{Kind: kind, Range: Range{start, start + size}, State: StateForecast, Name: name,
			reserved: r.State == StateReserved, engine: r.engine})
		return true
	}
	return false
}

// minHeap is what an engine reserves for the process heap at least, in bytes:
// measured with Wine 8 (4 MiB), half of it where pointers are half as wide.
func (l *Layout) minHeap() uint64 {
	if l.Machine == pe.MachineI386 {
		return 2 << 20
	}
	return 4 << 20
}

// Image returns the region of the main program.
func (l *Layout) Image() Region {
	for _, r := range l.Regions {
		if r.Kind == KindImage {
			return r
		}
	}
	return Region{}
}

// Reservations returns what the preloader must take before the dynamic linker
// runs, so that no native library, heap or stack lands in it: sorted, merged,
// page-aligned. Native code, free space, the lowest 64 KiB and what lies above
// the limit are not in it.
func (l *Layout) Reservations() []Range {
	var ranges []Range
	for _, r := range l.Regions {
		switch {
		case r.engine:
		case r.State == StateReserved, r.State == StateFixed:
			ranges = append(ranges, r.Range)
		case r.State == StateForecast && r.reserved:
			ranges = append(ranges, r.Range)
		}
	}
	return merge(ranges)
}
