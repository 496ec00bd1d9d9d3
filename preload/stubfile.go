package preload

import (
	"encoding/binary"
	"errors"
	"fmt"

	"winbox/preload/pe"
)

// A Take is what the preloader does with a range. The values are those of the
// file.
type Take uint64

// What can be done.
const (
	// TakeReserve: taken before the dynamic linker runs, and published, so that
	// the engine may map over it.
	TakeReserve Take = iota
	// TakeFill: what is left of it is taken when the dynamic linker is done, and
	// not published.
	TakeFill
	// TakeClear: kept from the dynamic linker where the kernel would put its
	// mappings elsewhere than into a pool, and given back when it is done.
	TakeClear
	// TakePool: where native code is to be. Nothing is taken.
	TakePool
	// TakeShare: the memory that all processes of a container share.
	TakeShare
	// TakeStack: where the native stack is moved.
	TakeStack
	takes
)

// StubRange is one range of the preloader's list.
type StubRange struct {
	Range Range
	Take  Take
}

// Form of the preloader's list, all numbers little-endian: magic, u64 limit, u32
// count, u32 flags (stubStrict), then count pairs of u64 start and end: page-aligned,
// ascending, not overlapping; the lowest 12 bits of a start are the Take.
// preload/stub reads it into a buffer of this size.
const (
	stubMagic     = "WBLAYT02"
	stubHeaderLen = len(stubMagic) + 8 + 4 + 4
	stubMaxLen    = 4096
	maxStubRanges = (stubMaxLen - stubHeaderLen) / 16

	stubStrict = 1 // a range that is in use ends the process
)

// StubRanges returns what the preloader is to do, in order of address: for all
// but the lowest 64 KiB, its own zone, and a native stack that stays.
func (l *Layout) StubRanges() []StubRange {
	var ranges []StubRange
	for _, r := range l.Regions {
		take := TakeReserve
		switch {
		case r.Kind == KindSharedHeap:
			take = TakeShare
		case r.engine:
			take = TakeClear
		case r.Name == nameNativeStack && l.Process == pe.MachineI386:
			take = TakeStack
		case r.State == StateReserved, r.State == StateFixed, r.State == StateForecast && r.reserved:
		case r.State == StateFilled:
			take = TakeFill
		case r.State == StateFree, r.State == StateForecast, r.Name == nameNativeLoader:
			take = TakeClear
		case r.Pool:
			take = TakePool
		default:
			continue
		}
		if n := len(ranges); n > 0 && ranges[n-1].Take == take && ranges[n-1].Range.End == r.Range.Start {
			ranges[n-1].Range.End = r.Range.End
		} else {
			ranges = append(ranges, StubRange{r.Range, take})
		}
	}
	return ranges
}

// MarshalStub encodes Limit and StubRanges for the preloader, in at most 4,096
// bytes.
//
// # Errors
//
// When there are more ranges than fit, which Plan refuses already.
func (l *Layout) MarshalStub() ([]byte, error) {
	ranges := l.StubRanges()
	if len(ranges) > maxStubRanges {
		return nil, fmt.Errorf("layout: %d ranges, the preloader takes at most %d", len(ranges), maxStubRanges)
	}
	b := append(make([]byte, 0, stubHeaderLen+16*len(ranges)), stubMagic...)
	b = binary.LittleEndian.AppendUint64(b, l.Limit)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(ranges)))
	flags := uint32(0)
	if l.options.Strict {
		flags = stubStrict
	}
	b = binary.LittleEndian.AppendUint32(b, flags)
	for _, r := range ranges {
		b = binary.LittleEndian.AppendUint64(b, r.Range.Start|uint64(r.Take))
		b = binary.LittleEndian.AppendUint64(b, r.Range.End)
	}
	return b, nil
}

// UnmarshalStub decodes what MarshalStub wrote.
//
// # Errors
//
// For anything that the preloader would refuse: wrong magic, length or flags, a
// limit that is no page, or ranges that are empty, unaligned, out of order,
// overlapping, of an unknown kind, or reserved or shared above the limit.
func UnmarshalStub(b []byte) (limit uint64, ranges []StubRange, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) < stubHeaderLen || string(b[:len(stubMagic)]) != stubMagic:
		return 0, nil, errors.New("layout: does not start with " + stubMagic)
	case len(b) > stubMaxLen:
		return 0, nil, fmt.Errorf("layout: %d bytes, at most %d are read", len(b), stubMaxLen)
	}
	limit = le.Uint64(b[8:])
	count, flags := uint64(le.Uint32(b[16:])), le.Uint32(b[20:])
	if flags&^stubStrict != 0 {
		return 0, nil, fmt.Errorf("layout: unknown flags %#x", flags)
	}
	if limit == 0 || limit%pageSize != 0 {
		return 0, nil, fmt.Errorf("layout: limit %#x is not the address of a page", limit)
	}
	if uint64(len(b)) != uint64(stubHeaderLen)+16*count {
		return 0, nil, fmt.Errorf("layout: %d bytes do not hold %d ranges", len(b), count)
	}
	last := uint64(0)
	for rest := b[stubHeaderLen:]; len(rest) > 0; rest = rest[16:] {
		start, end := le.Uint64(rest), le.Uint64(rest[8:])
		take := Take(start % pageSize)
		r := Range{start - start%pageSize, end}
		if take >= takes {
			return 0, nil, fmt.Errorf("layout: range %s is of the unknown kind %d", r, take)
		}
		if r.Empty() || r.Start < last || r.End%pageSize != 0 {
			return 0, nil, fmt.Errorf("layout: range %s is empty, unaligned or out of order", r)
		}
		if r.End > topAMD64 || r.End > limit && (take == TakeReserve || take == TakeShare) {
			return 0, nil, fmt.Errorf("layout: range %s is above the limit %#x", r, limit)
		}
		last = r.End
		ranges = append(ranges, StubRange{r, take})
	}
	return limit, ranges, nil
}
