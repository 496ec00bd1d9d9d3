package deflate

import (
	"encoding/binary"
	"slices"
)

// A writer writes bits, the lowest first.
type writer struct {
	buf  []byte
	bits uint64
	n    uint
}

func (w *writer) add(value uint64, n uint) {
	w.bits |= value << w.n
	if w.n += n; w.n >= 32 {
		w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(w.bits))
		w.bits >>= 32
		w.n -= 32
	}
}

// align fills the byte.
func (w *writer) align() {
	for ; w.n > 0; w.n -= min(w.n, 8) {
		w.buf = append(w.buf, byte(w.bits))
		w.bits >>= 8
	}
}

// lengths are the lengths of the codes of all symbols, in bits; 0 for those that are not used.
type lengths struct {
	literal  [288]uint8 // the last two are of the fixed code only
	distance [32]uint8
}

// bits is what the symbols cost with these codes.
func (l *lengths) bits(c *counts) (n int) {
	for i, count := range c.literal {
		n += int(count) * int(l.literal[i])
		if i > endOfBlock {
			n += int(count) * int(lengthExtra[i-257])
		}
	}
	for i, count := range c.distance {
		n += int(count) * (int(l.distance[i]) + int(distanceExtra[i]))
	}
	return n
}

// write writes a block of tokens, which stand for src[from:end]: with codes of its own, the fixed ones, or as it is.
func (e *Encoder) write(tokens []token, c *counts, from, end int, last bool) {
	w := &e.out
	c.literal[endOfBlock] = 1
	var own lengths
	limited(c.literal[:], own.literal[:], 15)
	limited(c.distance[:], own.distance[:], 15)
	codes := describe(&own)
	dynamic, fixed := codes.bits()+own.bits(c), fixedLengths.bits(c)
	stored := 8*(end-from) + (end-from+0xfffe)/0xffff*(3+7+32)
	final := uint64(0)
	if last {
		final = 1
	}
	switch {
	case stored < min(dynamic, fixed) && end > from:
		e.store(from, end, final)
	case fixed <= dynamic:
		w.add(final|1<<1, 3)
		w.tokens(tokens, &fixedLengths)
	default:
		w.add(final|2<<1, 3)
		codes.write(w)
		w.tokens(tokens, &own)
	}
}

// store writes bytes as they are.
func (e *Encoder) store(from, end int, final uint64) {
	w := &e.out
	for from < end {
		n := min(end-from, 0xffff)
		if from+n < end {
			w.add(0, 3)
		} else {
			w.add(final, 3)
		}
		w.align()
		w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(n))
		w.buf = binary.LittleEndian.AppendUint16(w.buf, ^uint16(n))
		w.buf = append(w.buf, e.src[from:from+n]...)
		from += n
	}
	if final != 0 {
		w.align()
	}
}

func (w *writer) tokens(tokens []token, l *lengths) {
	literal, distance := codesOf(l.literal[:]), codesOf(l.distance[:])
	for _, t := range tokens {
		if t&repetition == 0 {
			w.add(uint64(literal[t]), uint(l.literal[t]))
			continue
		}
		length, back := int(t>>16&0xff)+3, int(t&0xffff)
		i, j := lengthCode[length], codeOfDistance(back)
		w.add(uint64(literal[257+int(i)]), uint(l.literal[257+int(i)]))
		w.add(uint64(length-int(lengthBase[i])), uint(lengthExtra[i]))
		w.add(uint64(distance[j]), uint(l.distance[j]))
		w.add(uint64(back+1-int(distanceBase[j])), uint(distanceExtra[j]))
	}
	w.add(uint64(literal[endOfBlock]), uint(l.literal[endOfBlock]))
}

// codesOf makes the codes of lengths (RFC 1951, 3.2.2), with their first bit lowest.
func codesOf(lengths []uint8) []uint16 {
	var count, next [16]uint16
	for _, l := range lengths {
		count[l]++
	}
	count[0] = 0
	for l := 1; l < 16; l++ {
		next[l] = (next[l-1] + count[l-1]) << 1
	}
	codes := make([]uint16, len(lengths))
	for i, l := range lengths {
		if l > 0 {
			codes[i] = reverse(next[l], l)
			next[l]++
		}
	}
	return codes
}

func reverse(v uint16, n uint8) (r uint16) {
	for range n {
		r = r<<1 | v&1
		v >>= 1
	}
	return r
}

// limited sets the lengths of the best prefix code for the counts, of so many bits at most. At least two symbols get one,
// so that the code is a complete one.
func limited(counts []uint32, lengths []uint8, most int) {
	type leaf struct {
		count  uint32
		symbol int
	}
	var leaves []leaf
	for i, n := range counts {
		if n > 0 {
			leaves = append(leaves, leaf{n, i})
		}
	}
	for i := 0; len(leaves) < 2; i++ {
		if counts[i] == 0 {
			leaves = append(leaves, leaf{1, i})
		}
	}
	slices.SortFunc(leaves, func(a, b leaf) int {
		if a.count != b.count {
			return int(int64(a.count) - int64(b.count))
		}
		return a.symbol - b.symbol
	})
	// The two rarest become one, again and again; both leaves and nodes are in order by themselves.
	n := len(leaves)
	nodes, parent := make([]uint64, 0, n-1), make([]int, 2*n-1)
	weight := func(i int) uint64 {
		if i < n {
			return uint64(leaves[i].count)
		}
		return nodes[i-n]
	}
	nextLeaf, nextNode := 0, n
	take := func() int {
		if nextLeaf < n && (nextNode >= n+len(nodes) || weight(nextLeaf) <= weight(nextNode)) {
			nextLeaf++
			return nextLeaf - 1
		}
		nextNode++
		return nextNode - 1
	}
	for len(nodes) < n-1 {
		a, b := take(), take()
		parent[a], parent[b] = n+len(nodes), n+len(nodes)
		nodes = append(nodes, weight(a)+weight(b))
	}
	depth := make([]int, 2*n-1)
	var count [64]int
	for i := 2*n - 3; i >= 0; i-- {
		depth[i] = depth[parent[i]] + 1
		if i < n {
			count[min(depth[i], most)]++
		}
	}
	// Those that were cut off take more room than there is: it comes from where a code can be one bit longer.
	room := -1 << most
	for l := 1; l <= most; l++ {
		room += count[l] << (most - l)
	}
	for ; room > 0; room-- {
		l := most - 1
		for count[l] == 0 {
			l--
		}
		count[l]--
		count[l+1] += 2
		count[most]--
	}
	for i, l := 0, most; l > 0; l-- { // the rarest have the longest
		for range count[l] {
			lengths[leaves[i].symbol] = uint8(l)
			i++
		}
	}
}

// A description of the lengths of a block's codes (RFC 1951, 3.2.7).
type description struct {
	literals, distances int      // how many lengths there are
	symbols             []uint16 // code length symbol, and from bit 8 on its extra bits
	counts              [codeLengths]uint32
	lengths             [codeLengths]uint8
	used                int // how many lengths of the code of code lengths there are
}

// order is that of the lengths of the code of code lengths.
var order = [codeLengths]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// extra are the extra bits of the symbols that repeat.
var extra = [codeLengths]uint{16: 2, 17: 3, 18: 7}

func describe(l *lengths) *description {
	d := &description{literals: literals, distances: distances}
	for d.literals > 257 && l.literal[d.literals-1] == 0 {
		d.literals--
	}
	for d.distances > 1 && l.distance[d.distances-1] == 0 {
		d.distances--
	}
	all := append(append([]uint8(nil), l.literal[:d.literals]...), l.distance[:d.distances]...)
	put := func(symbol, bits int) {
		d.symbols = append(d.symbols, uint16(symbol|bits<<8))
		d.counts[symbol]++
	}
	for i := 0; i < len(all); {
		run := 1
		for i+run < len(all) && all[i+run] == all[i] {
			run++
		}
		i += run
		value := int(all[i-1])
		if value != 0 {
			put(value, 0)
			run--
		}
		for run >= 3 {
			switch {
			case value != 0:
				n := min(run, 6)
				put(16, n-3)
				run -= n
			case run <= 10:
				put(17, run-3)
				run = 0
			default:
				n := min(run, 138)
				put(18, n-11)
				run -= n
			}
		}
		for range run {
			put(value, 0)
		}
	}
	limited(d.counts[:], d.lengths[:], 7)
	for d.used = codeLengths; d.used > 4 && d.lengths[order[d.used-1]] == 0; {
		d.used--
	}
	return d
}

// bits is what it costs.
func (d *description) bits() int {
	n := 3 + 5 + 5 + 4 + 3*d.used
	for symbol, count := range d.counts {
		n += int(count) * (int(d.lengths[symbol]) + int(extra[symbol]))
	}
	return n
}

func (d *description) write(w *writer) {
	w.add(uint64(d.literals-257), 5)
	w.add(uint64(d.distances-1), 5)
	w.add(uint64(d.used-4), 4)
	for _, symbol := range order[:d.used] {
		w.add(uint64(d.lengths[symbol]), 3)
	}
	codes := codesOf(d.lengths[:])
	for _, s := range d.symbols {
		symbol := s & 0xff
		w.add(uint64(codes[symbol]), uint(d.lengths[symbol]))
		w.add(uint64(s>>8), extra[symbol])
	}
}
