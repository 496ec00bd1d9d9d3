package seccomp

import (
	"math"
	"math/bits"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (linux/seccomp.h) of what filters load, in words of 32 bits.
const (
	offsetNumber    = 0
	offsetArch      = 4
	offsetArguments = 16
	noOffset        = math.MaxUint32
)

// assembler writes a program from its end to its beginning: jumps in BPF only go forward, so that every
// target is there when a jump to it is written. Positions count from the end.
type assembler struct {
	reversed []bpf.Instruction
	returns  map[uint32]int // position of the latest return of each value
	leaves   leaves
	labels   []label // by leaf, once written
}

// A label is a place to jump to, or a value to return: those are written where they are needed.
type label struct {
	written  bool
	position int
	loads    uint32 // offset of the word that the instruction there loads, or noOffset
	value    uint32 // of a return
}

// assemble writes the filter of a profile:
//
//	load the architecture; if it is x86-64, load the number and search for it
//	if it is i386, load the number and search for it
//	otherwise return badArch
//
// Only the leaves look at arguments. The kernel runs a filter once for each number when it is loaded, and
// remembers the ones that are allowed without a look at anything but architecture and number
// (seccomp_cache_prepare in kernel/seccomp.c): these cost next to nothing.
func assemble(p *profile) []bpf.Instruction {
	a := &assembler{returns: map[uint32]int{}, leaves: leaves{index: map[string]int{}}}
	i386, amd64 := p.spansI386(&a.leaves), p.spansAMD64(&a.leaves)
	a.labels = make([]label, len(a.leaves.all))

	// Without rules for numbers, a search ends before it starts and need not load one.
	last := a.search(i386)
	if last.written {
		last = a.load(offsetNumber)
	}
	first := a.search(amd64)
	if first.written {
		first = a.load(offsetNumber)
	}
	other := a.jump(bpf.JumpEqual, unix.AUDIT_ARCH_I386, last, returns(badArch))
	if a.jump(bpf.JumpEqual, unix.AUDIT_ARCH_X86_64, first, other).written {
		a.load(offsetArch)
	} else {
		a.near(other) // one return for all calls
	}
	slices.Reverse(a.reversed)
	return a.reversed
}

// search writes a binary search for a number among spans.
func (a *assembler) search(spans []span) label {
	if len(spans) == 1 {
		rest := a.leaf(spans[0].leaf)
		if spans[0].islandLeaf < 0 {
			return rest
		}
		return a.jump(bpf.JumpEqual, spans[0].island, a.leaf(spans[0].islandLeaf), rest)
	}
	middle := len(spans) / 2
	above := a.search(spans[middle:])
	below := a.search(spans[:middle])
	return a.jump(bpf.JumpGreaterOrEqual, spans[middle].start, above, below)
}

// leaf writes a leaf, once.
func (a *assembler) leaf(id int) label {
	leaf := &a.leaves.all[id]
	if len(leaf.clauses) == 0 {
		return returns(leaf.otherwise)
	}
	if !a.labels[id].written {
		next := returns(leaf.otherwise)
		for _, clause := range slices.Backward(leaf.clauses) {
			holds := returns(clause.action)
			for _, condition := range slices.Backward(clause.conditions) {
				holds = a.condition(condition, leaf.wide, holds, next)
			}
			next = holds
		}
		a.labels[id] = next
	}
	return a.labels[id]
}

// condition writes the test of one argument.
func (a *assembler) condition(c condition, wide bool, holds, fails label) label {
	if c.negated {
		holds, fails = fails, holds
	}
	low := offsetArguments + 8*uint32(c.argument)
	if !wide {
		return a.narrow(c, low, holds, fails)
	}
	high := low + 4
	if c.op == specs.OpMaskedEqual {
		rest := a.masked(low, uint32(c.mask), uint32(c.value), holds, fails)
		return a.masked(high, uint32(c.mask>>32), uint32(c.value>>32), rest, fails)
	}
	rest := a.ordered(c.op, low, uint32(c.value), holds, fails)
	if c.value>>32 == 0 {
		return a.ordered(specs.OpGreaterThan, high, 0, holds, rest)
	}
	equal := a.jump(bpf.JumpEqual, uint32(c.value>>32), rest.after(high), fails.after(high))
	return a.test(high, bpf.JumpGreaterThan, uint32(c.value>>32), holds, equal)
}

// narrow writes the test of an argument that has 32 bits. The value can be a negative number in 64 bits.
func (a *assembler) narrow(c condition, low uint32, holds, fails label) label {
	negative := int64(c.value) >= math.MinInt32 && int64(c.value) < 0
	if c.op == specs.OpMaskedEqual {
		if (c.value&c.mask)>>32 != 0 && !negative {
			return fails
		}
		return a.masked(low, uint32(c.mask), uint32(c.value), holds, fails)
	}
	if c.value>>32 != 0 && !negative {
		return fails
	}
	return a.ordered(c.op, low, uint32(c.value), holds, fails)
}

// masked writes the test whether some bits of a word have a value.
func (a *assembler) masked(offset, mask, value uint32, holds, fails label) label {
	value &= mask
	switch {
	case holds == fails || mask == 0:
		return holds
	case mask == math.MaxUint32:
		return a.test(offset, bpf.JumpEqual, value, holds, fails)
	case value == 0:
		return a.test(offset, bpf.JumpBitsSet, mask, fails, holds)
	case value == mask && bits.OnesCount32(mask) == 1:
		return a.test(offset, bpf.JumpBitsSet, mask, holds, fails)
	}
	a.jump(bpf.JumpEqual, value, holds, fails)
	a.reversed = append(a.reversed, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask})
	return a.load(offset)
}

// ordered writes the test whether a word is greater than a value, or greater or equal.
func (a *assembler) ordered(op specs.LinuxSeccompOperator, offset, value uint32, holds, fails label) label {
	switch {
	case op == specs.OpGreaterEqual && value == 0:
		return holds
	case op == specs.OpGreaterThan && value == math.MaxUint32:
		return fails
	case op == specs.OpGreaterEqual:
		return a.test(offset, bpf.JumpGreaterOrEqual, value, holds, fails)
	}
	return a.test(offset, bpf.JumpGreaterThan, value, holds, fails)
}

// test loads a word and jumps. The targets need not load it again.
func (a *assembler) test(offset uint32, test bpf.JumpTest, value uint32, holds, fails label) label {
	if holds == fails {
		return holds
	}
	a.jump(test, value, holds.after(offset), fails.after(offset))
	return a.load(offset)
}

// after is the label to jump to with the word at an offset loaded.
func (l label) after(offset uint32) label {
	if l.written && l.loads == offset {
		return label{written: true, position: l.position - 1, loads: noOffset}
	}
	return l
}

// returns is the label of a return.
func returns(value uint32) label {
	return label{loads: noOffset, value: value}
}

// load writes the load of a word.
func (a *assembler) load(offset uint32) label {
	a.reversed = append(a.reversed, bpf.LoadAbsolute{Off: offset, Size: 4})
	return label{written: true, position: len(a.reversed) - 1, loads: offset}
}

// jump writes a test of the word that is loaded.
func (a *assembler) jump(test bpf.JumpTest, value uint32, holds, fails label) label {
	if holds == fails {
		return holds
	}
	first, second := a.near(holds), a.near(fails)
	position := len(a.reversed)
	a.reversed = append(a.reversed, bpf.JumpIf{
		Cond:      test,
		Val:       value,
		SkipTrue:  uint8(position - 1 - first),
		SkipFalse: uint8(position - 1 - second),
	})
	return label{written: true, position: position, loads: noOffset}
}

// near returns the position of a label, or of an instruction that leads there, which the next instruction
// but one can still reach: conditional jumps skip at most 255 instructions, unconditional ones any number.
func (a *assembler) near(l label) int {
	next := len(a.reversed)
	position := l.position
	if !l.written {
		found, ok := a.returns[l.value]
		if !ok || next-found > math.MaxUint8 {
			a.reversed = append(a.reversed, bpf.RetConstant{Val: l.value})
			a.returns[l.value] = next
			return next
		}
		position = found
	}
	if next-position > math.MaxUint8 {
		a.reversed = append(a.reversed, bpf.Jump{Skip: uint32(next - 1 - position)})
		return next
	}
	return position
}
