// Package deflate compresses blocks of bytes to streams of RFC 1951. Unlike compress/flate and its kin it uses repetitions
// of three bytes too, which programs are full of, and ends its blocks where the data changes: what comes out is as large as
// what zlib makes.
package deflate

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Window is how far back repetitions are found, in bytes.
const Window = 32 << 10

const (
	longest = 258 // bytes of a repetition
	// far is the distance at which three bytes that are repeated cost more than they spare.
	far = 8 << 10
	// depth is how many places are looked at for a repetition; one of good bytes is not looked behind for a better one.
	depth, good = 4, 32
	// patience is the number of places without a repetition after which one place more of each so many is not looked at, up to
	// stride: what is compressed already has none.
	patience, stride = 128, 16
	// chunk is the number of symbols after which a new block is thought of, and header what one costs besides its symbols,
	// in bits.
	chunk, header = 2048, 600

	hash3Bits, hash4Bits = 15, 16
	multiplier           = 0x9E3779B1 // 2^32 by the golden ratio
)

// Symbols of literals and lengths, and of distances (RFC 1951, 3.2.5).
const (
	endOfBlock  = 256
	literals    = 286
	distances   = 30
	codeLengths = 19
)

var (
	lengthBase, lengthExtra     [29]uint16
	distanceBase, distanceExtra [distances]uint16
	lengthCode                  [longest + 1]uint8
	distanceCode                [512]uint8 // of distance-1 below 256, and behind of its upper bits
	fixedLengths                lengths
)

func init() {
	for n := range products[1:] {
		products[1+n] = float64(1+n) * math.Log2(float64(1+n))
	}
	base := uint16(3)
	for i := range lengthBase {
		if i >= 8 {
			lengthExtra[i] = uint16(i/4 - 1)
		}
		lengthBase[i] = base
		base += 1 << lengthExtra[i]
	}
	lengthBase[28], lengthExtra[28] = longest, 0
	for i := range lengthBase {
		for l := int(lengthBase[i]); l < min(int(lengthBase[i])+1<<lengthExtra[i], longest+1); l++ {
			lengthCode[l] = uint8(i)
		}
	}
	base = 1
	for i := range distanceBase {
		if i >= 4 {
			distanceExtra[i] = uint16(i/2 - 1)
		}
		distanceBase[i] = base
		base += 1 << distanceExtra[i]
		first := int(distanceBase[i]) - 1
		for d := first; d < first+1<<distanceExtra[i]; d++ {
			if d < 256 {
				distanceCode[d] = uint8(i)
			} else {
				distanceCode[256+d>>7] = uint8(i)
			}
		}
	}
	for i := range fixedLengths.literal {
		switch {
		case i < 144:
			fixedLengths.literal[i] = 8
		case i < 256:
			fixedLengths.literal[i] = 9
		case i < 280:
			fixedLengths.literal[i] = 7
		default:
			fixedLengths.literal[i] = 8
		}
	}
	for i := range fixedLengths.distance {
		fixedLengths.distance[i] = 5
	}
}

func codeOfDistance(d int) uint8 { // of distance-1
	if d < 256 {
		return distanceCode[d]
	}
	return distanceCode[256+d>>7]
}

// A token is a literal, or with the highest bit set a repetition: its length-3 from bit 16 on, and its distance-1.
type token uint32

const repetition token = 1 << 31

// counts says how often each symbol is there.
type counts struct {
	literal  [literals]uint32
	distance [distances]uint32
}

func (c *counts) add(o *counts) {
	for i, n := range o.literal {
		c.literal[i] += n
	}
	for i, n := range o.distance {
		c.distance[i] += n
	}
}

// bits estimates what the symbols cost, by their entropy.
func (c *counts) bits() float64 { return entropy(c.literal[:]) + entropy(c.distance[:]) }

func entropy(counts []uint32) float64 {
	var total uint32
	var sum float64
	for _, n := range counts {
		total += n
		sum += timesLog2(n)
	}
	return timesLog2(total) - sum
}

// products are those of small numbers and their logarithms.
var products [2 * chunk]float64

func timesLog2(n uint32) float64 {
	if int(n) < len(products) {
		return products[n]
	}
	return float64(n) * math.Log2(float64(n))
}

// An Encoder may be used again, by one goroutine at a time. Its zero value is ready.
type Encoder struct {
	head3  [1 << hash3Bits]int32
	head4  [1 << hash4Bits]int32
	prev   [Window]int32
	src    []byte
	tokens []token
	// block are the symbols of the tokens before the last chunk, part those of it.
	block, part counts
	out         writer
}

// Encode appends to dst what src[start:] compresses to; repetitions may be of what is before start. The stream ends at a
// byte, with an empty block as of zlib's Z_SYNC_FLUSH, or when it is the last one is at its end.
func (e *Encoder) Encode(dst, src []byte, start int, last bool) []byte {
	e.src, e.out = src, writer{buf: dst}
	for i := range e.head3 {
		e.head3[i] = -1
	}
	for i := range e.head4 {
		e.head4[i] = -1
	}
	for i := max(0, start-Window); i < start && i+4 <= len(src); i++ {
		e.insert(i)
	}
	e.scan(start, last)
	if !last {
		e.out.add(0, 3) // not the last one, stored
	}
	e.out.align()
	if !last {
		e.out.buf = append(e.out.buf, 0, 0, 0xff, 0xff)
	}
	e.src = nil
	return e.out.buf
}

// scan makes tokens of src[pos:], and blocks of those.
func (e *Encoder) scan(pos int, last bool) {
	e.tokens, e.block, e.part = e.tokens[:0], counts{}, counts{}
	from, inBlock := pos, 0 // where the block begins in src, and how many tokens are not of the part
	src := e.src
	misses := 0
	endPart := func() { // all tokens so far are in it
		if inBlock > 0 {
			both := e.block
			both.add(&e.part)
			if e.block.bits()+e.part.bits()+header < both.bits() {
				end := from + sizeOf(e.tokens[:inBlock])
				e.write(e.tokens[:inBlock], &e.block, from, end, false)
				e.tokens = e.tokens[:copy(e.tokens, e.tokens[inBlock:])]
				from, e.block = end, counts{}
			}
		}
		e.block.add(&e.part)
		e.part, inBlock = counts{}, len(e.tokens)
	}
	for pos < len(src) {
		length, distance := e.find(pos, depth)
		if length < 3 {
			for end := min(pos+1+min(misses/patience, stride), len(src)); pos < end; pos++ {
				e.literal(src[pos])
			}
			misses++
			if len(e.tokens)-inBlock >= chunk {
				endPart()
			}
			continue
		}
		misses = 0
		known := pos + 1 // up to where places have been entered
		for length < good && pos+1 < len(src) {
			next, d := e.find(pos+1, depth/2)
			known = pos + 2
			// A longer one is better, unless its distance costs more than that.
			if next < 3 || 4*(next-length)+bits.Len32(uint32(distance))-bits.Len32(uint32(d)) <= 2 {
				break
			}
			e.literal(src[pos])
			pos++
			length, distance = next, d
		}
		e.tokens = append(e.tokens, repetition|token(length-3)<<16|token(distance-1))
		e.part.literal[257+int(lengthCode[length])]++
		e.part.distance[codeOfDistance(distance-1)]++
		for ; known < pos+length && known+4 <= len(src); known++ {
			e.insert(known)
		}
		pos += length
		if len(e.tokens)-inBlock >= chunk {
			endPart()
		}
	}
	e.block.add(&e.part)
	if last || len(e.tokens) > 0 {
		e.write(e.tokens, &e.block, from, len(src), last)
	}
}

func (e *Encoder) literal(b byte) {
	e.tokens = append(e.tokens, token(b))
	e.part.literal[b]++
}

// sizeOf is the number of bytes that tokens stand for.
func sizeOf(tokens []token) (n int) {
	for _, t := range tokens {
		if n++; t&repetition != 0 {
			n += int(t>>16&0xff) + 2
		}
	}
	return n
}

func hash3(v uint32) uint32 { return v << 8 * multiplier >> (32 - hash3Bits) }
func hash4(v uint32) uint32 { return v * multiplier >> (32 - hash4Bits) }

// insert enters a place, with four bytes at least behind it.
func (e *Encoder) insert(pos int) {
	v := binary.LittleEndian.Uint32(e.src[pos:])
	h := hash4(v)
	e.head3[hash3(v)] = int32(pos)
	e.prev[pos&(Window-1)] = e.head4[h]
	e.head4[h] = int32(pos)
}

// find gives the longest repetition for what is at a place, of the shortest distance, and enters the place; 0 for none.
func (e *Encoder) find(pos, depth int) (length, distance int) {
	src := e.src
	if pos+4 > len(src) {
		return 0, 0
	}
	v := binary.LittleEndian.Uint32(src[pos:])
	h3, h4 := hash3(v), hash4(v)
	at3, at := int(e.head3[h3]), int(e.head4[h4])
	e.head3[h3], e.head4[h4], e.prev[pos&(Window-1)] = int32(pos), int32(pos), int32(at)
	// Places that are farther away have been overwritten in prev.
	oldest := max(pos-Window, -1)
	if at3 > oldest && pos-at3 <= far && binary.LittleEndian.Uint32(src[at3:])<<8 == v<<8 {
		length, distance = 3, pos-at3
	}
	most := min(longest, len(src)-pos)
	for ; depth > 0 && at > oldest; depth-- {
		if binary.LittleEndian.Uint32(src[at:]) == v && (length < 4 || src[at+length] == src[pos+length]) {
			if n := same(src[at:], src[pos:pos+most]); n > length {
				length, distance = n, pos-at
				if n >= good || n == most {
					break
				}
			}
		}
		at = int(e.prev[at&(Window-1)])
	}
	return length, distance
}

// same is how many bytes are the same at the beginning of both, of which a is the longer one.
func same(a, b []byte) int {
	n := 0
	for ; n+8 <= len(b); n += 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
