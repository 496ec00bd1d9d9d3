package preload

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Units of the two systems. Linux maps pages; Windows allocates address space
// in units of 64 KiB (Windows documentation, SYSTEM_INFO,
// dwAllocationGranularity).
const (
	pageSize    = 4 << 10
	granularity = 64 << 10
)

// Range is a part of an address space: bytes from Start up to, not including, End.
type Range struct {
	Start, End uint64
}

// Size is the length in bytes.
func (r Range) Size() uint64 { return r.End - r.Start }

// Empty reports whether there is no byte in r.
func (r Range) Empty() bool { return r.End <= r.Start }

// Overlaps reports whether r and o have a byte in common.
func (r Range) Overlaps(o Range) bool {
	return !r.Empty() && !o.Empty() && r.Start < o.End && o.Start < r.End
}

// Contains reports whether all of o, which is not empty, lies in r.
func (r Range) Contains(o Range) bool { return r.Start <= o.Start && o.End <= r.End && !o.Empty() }

// String writes r as WINEPRELOADRESERVE and the layout annotation do:
// hexadecimal without a prefix, "400000-43d000".
func (r Range) String() string { return fmt.Sprintf("%x-%x", r.Start, r.End) }

func (r Range) intersect(o Range) Range {
	return Range{max(r.Start, o.Start), min(r.End, o.End)}
}

// ParseRanges reads the value of the annotation io.winbox.layout.reserve:
// ranges "start-end" in hexadecimal, with or without "0x", separated by commas.
// The result is sorted and merged; an empty string is no range.
//
// # Errors
//
// A message that quotes the part that is wrong: not a number, end not after
// start, or not a multiple of the 4 KiB page.
func ParseRanges(s string) ([]Range, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var ranges []Range
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		from, to, ok := strings.Cut(part, "-")
		start, err1 := parseHex(from)
		end, err2 := parseHex(to)
		switch {
		case !ok || err1 != nil || err2 != nil:
			return nil, fmt.Errorf("range %q: want START-END in hexadecimal, such as 10000000-18000000", part)
		case end <= start:
			return nil, fmt.Errorf("range %q: the end is not after the start", part)
		case start%pageSize != 0 || end%pageSize != 0:
			return nil, fmt.Errorf("range %q: not a multiple of the page size, 0x1000", part)
		}
		ranges = append(ranges, Range{start, end})
	}
	return merge(ranges), nil
}

// formatRanges writes ranges as ParseRanges reads them.
func formatRanges(ranges []Range) string {
	var parts []string
	for _, r := range ranges {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, ",")
}

func parseHex(s string) (uint64, error) {
	s = strings.TrimSpace(s)
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		s = s[2:]
	}
	return strconv.ParseUint(s, 16, 64)
}

// merge sorts ranges and joins those that touch. It works in place.
func merge(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	out := ranges[:0]
	for _, r := range ranges {
		if n := len(out); n > 0 && r.Start <= out[n-1].End {
			out[n-1].End = max(out[n-1].End, r.End)
		} else if !r.Empty() {
			out = append(out, r)
		}
	}
	return out
}

// alignUp rounds n up to a multiple of unit, a power of two. It is false when
// the result does not fit in 64 bits.
func alignUp(n, unit uint64) (uint64, bool) {
	sum, carry := bits.Add64(n, unit-1, 0)
	return sum &^ (unit - 1), carry == 0
}

// FormatSize writes a number of bytes in the largest binary unit that shows it
// with at most one decimal: "64 KiB", "1.5 MiB", "127.9 TiB".
func FormatSize(n uint64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	// One decimal would round 1023.97 up to 1024.0: show the larger unit.
	if value >= 1023.95 && unit < len(units)-1 {
		value, unit = 1, unit+1
	}
	return strings.TrimSuffix(strconv.FormatFloat(value, 'f', 1, 64), ".0") + " " + units[unit]
}
