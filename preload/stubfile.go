package preload

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// StubPath is where the preloader looks for its list, inside the container.
const StubPath = "/run/winbox/layout"

// Form of the preloader's list, all numbers little-endian: magic, u64 limit, u32
// count, u32 flags (0), then count pairs of u64 start and end: page-aligned,
// ascending, not overlapping. preload/stub reads it into a buffer of this size.
const (
	stubMagic     = "WBLAYT01"
	stubHeaderLen = len(stubMagic) + 8 + 4 + 4
	stubMaxLen    = 4096
	maxStubRanges = (stubMaxLen - stubHeaderLen) / 16
)

// MarshalStub encodes Limit and Reservations for the preloader, in at most
// 4,096 bytes.
//
// # Errors
//
// When there are more ranges than fit, which Plan refuses already.
func (l *Layout) MarshalStub() ([]byte, error) {
	ranges := l.Reservations()
	if len(ranges) > maxStubRanges {
		return nil, fmt.Errorf("layout: %d ranges, the preloader takes at most %d", len(ranges), maxStubRanges)
	}
	b := append(make([]byte, 0, stubHeaderLen+16*len(ranges)), stubMagic...)
	b = binary.LittleEndian.AppendUint64(b, l.Limit)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(ranges)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	for _, r := range ranges {
		b = binary.LittleEndian.AppendUint64(b, r.Start)
		b = binary.LittleEndian.AppendUint64(b, r.End)
	}
	return b, nil
}

// UnmarshalStub decodes what MarshalStub wrote.
//
// # Errors
//
// For anything that the preloader would refuse: wrong magic, length or flags, a
// limit that is no page, or ranges that are empty, unaligned, out of order,
// overlapping or above the limit.
func UnmarshalStub(b []byte) (limit uint64, ranges []Range, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) < stubHeaderLen || string(b[:len(stubMagic)]) != stubMagic:
		return 0, nil, errors.New("layout: does not start with " + stubMagic)
	case len(b) > stubMaxLen:
		return 0, nil, fmt.Errorf("layout: %d bytes, at most %d are read", len(b), stubMaxLen)
	}
	limit = le.Uint64(b[8:])
	count, flags := uint64(le.Uint32(b[16:])), le.Uint32(b[20:])
	if flags != 0 {
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
		r := Range{le.Uint64(rest), le.Uint64(rest[8:])}
		if r.Empty() || r.Start < last || r.Start%pageSize != 0 || r.End%pageSize != 0 {
			return 0, nil, fmt.Errorf("layout: range %s is empty, unaligned or out of order", r)
		}
		if r.End > limit {
			return 0, nil, fmt.Errorf("layout: range %s is above the limit %#x", r, limit)
		}
		last = r.End
		ranges = append(ranges, r)
	}
	return limit, ranges, nil
}
