package seccomp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A leaf is where the search for a number ends: clauses to try, and the action if none holds.
type leaf struct {
	clauses   []clause
	otherwise uint32
	wide      bool // arguments have 64 bits
}

// leaves numbers the leaves of a filter such that equal ones have one number.
type leaves struct {
	all   []leaf
	index map[string]int
	key   []byte
}

// id returns the number of a leaf.
func (l *leaves) id(new leaf) int {
	if len(new.clauses) > 0 && len(new.clauses[0].conditions) == 0 {
		new = leaf{otherwise: new.clauses[0].action}
	}
	l.key = binary.LittleEndian.AppendUint32(l.key[:0], new.otherwise)
	l.key = append(l.key, oneIf(new.wide && len(new.clauses) > 0))
	for _, clause := range new.clauses {
		l.key = append(l.key, byte(len(clause.conditions)))
		l.key = binary.LittleEndian.AppendUint32(l.key, clause.action)
		for _, c := range clause.conditions {
			l.key = append(append(l.key, c.op...), byte(c.argument), oneIf(c.negated))
			l.key = binary.LittleEndian.AppendUint64(l.key, c.mask)
			l.key = binary.LittleEndian.AppendUint64(l.key, c.value)
		}
	}
	if id, ok := l.index[string(l.key)]; ok {
		return id
	}
	id := len(l.all)
	l.all = append(l.all, new)
	l.index[string(l.key)] = id
	return id
}

func oneIf(condition bool) byte {
	if condition {
		return 1
	}
	return 0
}

// A span is a run of system call numbers, from start to the next span, that end at the same leaf, but for
// one number at most: the island.
type span struct {
	start      uint32
	leaf       int
	island     uint32
	islandLeaf int // -1: no island
}

// appendRange goes on with numbers that end at a leaf, from start on.
func appendRange(spans []span, start uint32, leaf int) []span {
	if len(spans) > 0 && spans[len(spans)-1].leaf == leaf {
		return spans
	}
	return append(spans, span{start: start, leaf: leaf, islandLeaf: -1})
}

// foldIslands takes every span of a single number between two spans with the same leaf into these, as the
// one comparison "equal" then replaces two of "greater or equal". A span gets one island only, so that
// the search stays balanced.
func foldIslands(spans []span) []span {
	folded := spans[:0]
	for i := 0; i < len(spans); i++ {
		current := spans[i]
		if i+2 < len(spans) && spans[i+2].leaf == current.leaf && spans[i+2].start == spans[i+1].start+1 {
			current.island, current.islandLeaf = spans[i+1].start, spans[i+1].leaf
			i += 2
		}
		folded = append(folded, current)
	}
	return folded
}

// appendTable goes on with all numbers of a table, counted from base, and has those that follow end as
// newer calls do.
func (p *profile) appendTable(spans []span, a arch, base uint32, l *leaves) []span {
	table := &p.arches[a]
	for number := range table.calls {
		id := l.id(leaf{table.calls[number].clauses, p.otherwise(a, number), a.wide()})
		spans = appendRange(spans, base+uint32(number), id)
	}
	return appendRange(spans, base+uint32(len(table.calls)), l.id(leaf{otherwise: table.newer}))
}

// badArch is the answer to calls of an architecture that is not listed.
const badArch = unix.SECCOMP_RET_KILL_PROCESS

// spansAMD64 covers all numbers of the audit architecture x86-64: its own calls, those of x32, and the
// negative ones, which the kernel knows for neither (a tracer skips a call by setting its number to -1).
func (p *profile) spansAMD64(l *leaves) []span {
	spans := p.appendTable(nil, archAMD64, 0, l)
	if p.arches[archX32].listed {
		spans = p.appendTable(spans, archX32, x32Bit, l)
	} else {
		spans = appendRange(spans, x32Bit, l.id(leaf{otherwise: badArch}))
	}
	return foldIslands(appendRange(spans, 1<<31, l.id(leaf{otherwise: p.arches[archAMD64].newer})))
}

// spansI386 covers all numbers of the audit architecture i386.
func (p *profile) spansI386(l *leaves) []span {
	if !p.arches[archI386].listed {
		return []span{{leaf: l.id(leaf{otherwise: badArch}), islandLeaf: -1}}
	}
	return foldIslands(p.appendTable(nil, archI386, 0, l))
}
