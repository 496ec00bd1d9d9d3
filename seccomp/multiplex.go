package seccomp

import (
	"math"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// multiplexers are the i386 system calls that stand for many others: the first argument says which one.
// mask has the bits of it that the kernel looks at: sys_ipc takes a version from the upper half
// (ipc/syscall.c).
var multiplexers = [...]struct {
	name string
	mask uint64
}{
	socketcall: {"socketcall", math.MaxUint32},
	ipc:        {"ipc", 0xffff},
}

// Indices of multiplexers.
const (
	socketcall = iota
	ipc
)

// maxMultiplexed is above the number of every multiplexed call.
const maxMultiplexed = 32

// multiplexed has the calls behind the multiplexers with the first argument that stands for each: SYS_*
// of linux/net.h for socketcall(2), the calls of linux/ipc.h for ipc(2).
var multiplexed = map[string]struct{ multiplexer, number int }{
	"socket":      {socketcall, 1},
	"bind":        {socketcall, 2},
	"connect":     {socketcall, 3},
	"listen":      {socketcall, 4},
	"accept":      {socketcall, 5},
	"getsockname": {socketcall, 6},
	"getpeername": {socketcall, 7},
	"socketpair":  {socketcall, 8},
	"send":        {socketcall, 9},
	"recv":        {socketcall, 10},
	"sendto":      {socketcall, 11},
	"recvfrom":    {socketcall, 12},
	"shutdown":    {socketcall, 13},
	"setsockopt":  {socketcall, 14},
	"getsockopt":  {socketcall, 15},
	"sendmsg":     {socketcall, 16},
	"recvmsg":     {socketcall, 17},
	"accept4":     {socketcall, 18},
	"recvmmsg":    {socketcall, 19},
	"sendmmsg":    {socketcall, 20},

	"semop":      {ipc, 1},
	"semget":     {ipc, 2},
	"semctl":     {ipc, 3},
	"semtimedop": {ipc, 4},
	"msgsnd":     {ipc, 11},
	"msgrcv":     {ipc, 12},
	"msgget":     {ipc, 13},
	"msgctl":     {ipc, 14},
	"shmat":      {ipc, 21},
	"shmdt":      {ipc, 22},
	"shmget":     {ipc, 23},
	"shmctl":     {ipc, 24},
}

// derived collects what a profile says about the calls behind the multiplexers.
//
// Conditions on their arguments cannot be checked, as these lie behind a pointer. A rule with conditions
// therefore counts as one without, but after all that have none; and among such rules, the ones that
// depart from the default action come first. An allow-list that lets some sockets through thus lets
// socketcall make any, which 32-bit programs need; a deny-list that refuses some refuses all.
type derived struct {
	calls   [len(multiplexers)][maxMultiplexed]derivedCall
	decided [len(multiplexers)]bool // a rule without conditions names the multiplexer itself
}

// derivedCall is the rule of the highest rank so far for one call; rank zero is none.
type derivedCall struct {
	rank   int
	action uint32
}

// add notes a rule for the call of that name.
func (d *derived) add(name string, conditional bool, action, defaultAction uint32) {
	for i := range multiplexers {
		if name == multiplexers[i].name && !conditional {
			d.decided[i] = true
		}
	}
	call, ok := multiplexed[name]
	if !ok || action == defaultAction {
		return
	}
	rank := 1
	switch {
	case !conditional:
		rank = 3
	case permits(action) != permits(defaultAction):
		rank = 2
	}
	if best := &d.calls[call.multiplexer][call.number]; rank > best.rank {
		*best = derivedCall{rank, action}
	}
}

// apply adds the rules to the multiplexers' own in the table of i386.
func (d *derived) apply(table []policy) {
	for i, calls := range d.calls {
		if d.decided[i] {
			continue
		}
		for number, call := range calls {
			if call.rank > 0 {
				table[lookup(multiplexers[i].name).i386].add([]clause{{
					conditions: []condition{{op: specs.OpMaskedEqual, mask: multiplexers[i].mask, value: uint64(number)}},
					action:     call.action,
				}})
			}
		}
	}
}
