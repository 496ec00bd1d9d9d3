package wine

import (
	"encoding/binary"
	"io"

	"winbox/preload"
)

// heapForm has the places of what is read of Wine's heaps for one word size (dlls/ntdll/heap.c of Wine 8 and 10, which
// agree): of the heap's head, counted from its second mark; of a piece, from its entry in the list of pieces; and of a
// large block, from its entry in the list of those.
type heapForm struct {
	word               uint64
	pieces, large      uint64 // before the mark: the heads of the two lists
	pieceSize          uint64 // before the entry: two numbers
	pieceHead          uint64 // behind the entry: the first block, from which its size is counted
	largeHead, largeTo uint64 // before the entry: the start; behind it: the size
}

// The mark of a heap, and where to look for it: earlier fields are as Windows has them, later ones vary.
const (
	heapMark                  = 0x50414548 // "HEAP"
	heapMarkFrom, heapMarkEnd = 0x40, 0x140
	heapBlockHead             = 8
	maxHeapPieces             = 4096
	heapAlign                 = 64 << 10
)

// HeapPieces gives the ranges of memory that a heap of Wine's consists of, in no order. mem is the process's
// memory, at is where the heap is, wide tells a 64-bit program. What is read is hostile: the result may be any ranges,
// and is nil where nothing is understood.
func HeapPieces(mem io.ReaderAt, at uint64, wide bool) []preload.HeapPiece {
	f := heapForm{word: 4, pieces: 0x18, large: 0x10, pieceSize: 8, pieceHead: 0xc, largeHead: 4, largeTo: 0xc}
	if wide {
		f = heapForm{word: 8, pieces: 0x30, large: 0x20, pieceSize: 0x10, pieceHead: 0x18, largeHead: 0x10, largeTo: 0x18}
	}
	mark := at + heapMarkFrom
	for ; ; mark += 4 {
		if mark == at+heapMarkEnd {
			return nil
		}
		if value, ok := readNumber(mem, mark, 4); ok && value == heapMark {
			break
		}
	}
	var pieces []preload.HeapPiece
	f.list(mem, mark-f.pieces, func(entry uint64) {
		size, ok1 := readNumber(mem, entry-f.pieceSize, f.word)
		committed, ok2 := readNumber(mem, entry-f.pieceSize+f.word, f.word)
		head := entry + f.pieceHead
		start := head &^ (heapAlign - 1)
		if ok1 && ok2 && size < 1<<47 && committed <= size {
			pieces = append(pieces, preload.HeapPiece{Range: preload.Range{Start: start, End: head + size}, Committed: head + heapBlockHead + committed - start})
		}
	})
	f.list(mem, mark-f.large, func(entry uint64) {
		if size, ok := readNumber(mem, entry+f.largeTo, f.word); ok && size < 1<<47 {
			// The size leaves out some bytes at the start in one version, and does not in others.
			start := entry - f.largeHead
			size = (size + 4095) &^ 4095
			pieces = append(pieces, preload.HeapPiece{Range: preload.Range{Start: start, End: start + size}, Committed: size})
		}
	})
	return pieces
}

// list follows a circular list from its head.
func (f *heapForm) list(mem io.ReaderAt, head uint64, visit func(entry uint64)) {
	for i, entry := 0, head; i < maxHeapPieces; i++ {
		next, ok := readNumber(mem, entry, f.word)
		if !ok || next == head || next < heapAlign || next > 1<<47 {
			return
		}
		visit(next)
		entry = next
	}
}

func readNumber(mem io.ReaderAt, at, size uint64) (uint64, bool) {
	var b [8]byte
	if at > 1<<47 {
		return 0, false
	}
	if _, err := mem.ReadAt(b[:size], int64(at)); err != nil {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[:]), true
}
