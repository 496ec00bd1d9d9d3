package preload

import (
	"cmp"
	"encoding/binary"
	"io"
	"slices"
)

// Windows keeps a block of data for each thread and one for the process in the
// process itself (Windows documentation, TEB and PEB; the offsets are those of
// the structures that winternl.h does not hide from debuggers). They are the
// program's to write: nothing in them is believed without a second look.

// blockForm has the places of the fields for one word size.
type blockForm struct {
	word                                                   int
	stackBase, stackLimit, self, thread, peb, deallocStack int // of a thread block
	imageBase, processHeap                                 int // of the process block
	heapSignature                                          int // of a heap: 0xffeeffee
}

var (
	form64 = &blockForm{8, 0x08, 0x10, 0x30, 0x48, 0x60, 0x1478, 0x10, 0x30, 0x10}
	form32 = &blockForm{4, 0x04, 0x08, 0x18, 0x24, 0x30, 0xe0c, 0x08, 0x18, 0x08}
)

// wowOffset is where a 64-bit thread block says how far behind it the 32-bit
// one is, when the program is a 32-bit one (TEB.WowTebOffset).
const wowOffset = 0x180c

// threadBlock is what is read of a thread's block.
type threadBlock struct {
	at     uint64
	peb    uint64
	thread uint64
	// stack is all that the stack may grow to, of which all from limit is in use.
	stack Range
	limit uint64
	// engine is the thread's 64-bit stack, beside the 32-bit one; mostly empty.
	engine Range
}

// processBlock is what is read of the process's block.
type processBlock struct {
	at, imageBase, heap uint64
}

// reader reads numbers from a process's memory.
type reader struct {
	mem  io.ReaderAt
	form *blockForm
}

func (r reader) word(at uint64) (uint64, bool) {
	var b [8]byte
	if at > 1<<47 {
		return 0, false
	}
	if _, err := r.mem.ReadAt(b[:r.form.word], int64(at)); err != nil {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[:]), true
}

// thread reads a thread's block, if there is one at that address.
func (r reader) thread(at uint64) (t threadBlock, ok bool) {
	f := r.form
	if self, ok := r.word(at + uint64(f.self)); !ok || self != at {
		return t, false
	}
	t.at = at
	for _, field := range []struct {
		offset int
		value  *uint64
	}{{f.peb, &t.peb}, {f.thread, &t.thread}, {f.stackBase, &t.stack.End}, {f.stackLimit, &t.limit}, {f.deallocStack, &t.stack.Start}} {
		if *field.value, ok = r.word(at + uint64(field.offset)); !ok {
			return t, false
		}
	}
	// The 64-bit stack of a 32-bit program begins a little below its top.
	t.stack.End, ok = alignUp(t.stack.End, pageSize)
	if !ok || t.peb == 0 || t.peb%pageSize != 0 || t.stack.Empty() || t.stack.Start%pageSize != 0 {
		return t, false
	}
	t.limit = min(max(t.limit, t.stack.Start), t.stack.End)
	return t, true
}

// process reads the process's block.
func (r reader) process(at uint64) (p processBlock, ok bool) {
	p.at = at
	if p.imageBase, ok = r.word(at + uint64(r.form.imageBase)); !ok {
		return p, false
	}
	p.heap, ok = r.word(at + uint64(r.form.processHeap))
	return p, ok
}

// isHeap looks for the mark of a heap.
func (r reader) isHeap(at uint64) bool {
	mark, ok := reader{r.mem, form32}.word(at + uint64(r.form.heapSignature))
	return ok && at%pageSize == 0 && mark == 0xffeeffee
}

// threadPages is how far behind the start of a unit of allocation a thread's
// block may begin: a 32-bit engine leaves room for a 64-bit block.
const threadPages = 3

// threads finds the blocks of threads: each is near the start of a unit of
// allocation below 4 GiB, in memory that has been written to, and holds its own
// address. For a 32-bit program in a 64-bit process it gives the 32-bit ones. The
// first is the main thread's, which engines put next to the process's block.
func threads(p Live, maps []Mapping) ([]threadBlock, reader) {
	native := reader{p, form32}
	if isWide(maps) {
		native.form = form64
	}
	program := native
	var found []threadBlock
	for i := range maps {
		m := &maps[i]
		if m.Inode != 0 || m.Perms[:2] != "rw" {
			continue
		}
		for at := m.Range.Start; at < min(m.Range.End, limit4G); at += pageSize {
			if at%granularity >= threadPages*pageSize {
				at += granularity - at%granularity - pageSize
				continue
			}
			// Reading a page that was never used would make one.
			if used, err := p.Private(Range{at, at + pageSize}); err != nil || used == 0 {
				continue
			}
			t, ok := native.thread(at)
			if !ok {
				continue
			}
			if native.form == form64 {
				narrow := reader{p, form32}
				offset, _ := narrow.word(at + wowOffset)
				if behind, ok := narrow.thread(at + uint64(int32(offset))); ok && offset != 0 {
					behind.engine = t.stack
					t, program = behind, narrow
				}
			}
			found = append(found, t)
		}
	}
	distance := func(t threadBlock) uint64 { return max(t.at, t.peb) - min(t.at, t.peb) }
	slices.SortFunc(found, func(a, b threadBlock) int { return cmp.Compare(distance(a), distance(b)) })
	return found, program
}
