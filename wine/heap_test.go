package wine

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"winbox/preload"
)

// atAddress is memory that begins at an address.
type atAddress struct {
	start int64
	b     []byte
}

func (m *atAddress) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(b, at-m.start)
}

// heap8 is the head of a heap as Wine 8 has it, with one more piece and one large block.
func heap8() *atAddress {
	m := &atAddress{0x340000, make([]byte, 0x30100)}
	for at, value := range map[uint64]uint64{
		0x340088: 0x350020, 0x340098: 0x360010, 0x3400b8: heapMark, // heads of the lists, mark
		0x350020: 0x340350, 0x350010: 0x20000 - 0x38, 0x350018: 0x1000 - 0x40, // a piece of 128 KiB, a page of it in use
		0x340350: 0x340088, 0x340340: 0x400000 - 0x368, 0x340348: 0x10000 - 0x370, // the first one, behind the heap's head
		0x360010: 0x340098, 0x360028: 0x300000 - 0x38,
	} {
		binary.LittleEndian.PutUint64(m.b[at-0x340000:], value)
	}
	return m
}

func TestHeapPieces(t *testing.T) {
	want := []preload.HeapPiece{
		{Range: preload.Range{Start: 0x350000, End: 0x370000}, Committed: 0x1000},
		{Range: preload.Range{Start: 0x340000, End: 0x740000}, Committed: 0x10000},
		{Range: preload.Range{Start: 0x360000, End: 0x660000}, Committed: 0x300000},
	}
	if got := HeapPieces(heap8(), 0x340000, true); !slices.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	m := heap8()
	m.b[0xb8] = 0
	if got := HeapPieces(m, 0x340000, true); got != nil {
		t.Errorf("without a mark: %x", got)
	}
}

func FuzzHeapPieces(f *testing.F) {
	f.Add(heap8().b, true)
	f.Add(heap8().b[:0x200], false)
	f.Fuzz(func(t *testing.T, b []byte, wide bool) {
		if n := len(HeapPieces(&atAddress{0x340000, b}, 0x340000, wide)); n > 2*maxHeapPieces {
			t.Errorf("%d pieces", n)
		}
	})
}
