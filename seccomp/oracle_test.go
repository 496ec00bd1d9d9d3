package seccomp

import (
	"math"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// An oracle says what a profile makes of a call, straight from the profile and as simply as can be. It
// shares nothing with the compiler but the table of numbers and the values of actions.
type oracle struct {
	cfg    *specs.LinuxSeccomp
	rules  map[specs.Arch]map[int64][]specs.LinuxSyscall // by number, in the profile's order
	newest map[specs.Arch]int64
}

func newOracle(cfg *specs.LinuxSeccomp) *oracle {
	o := &oracle{cfg, map[specs.Arch]map[int64][]specs.LinuxSyscall{}, map[specs.Arch]int64{}}
	for _, name := range []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32} {
		o.rules[name] = map[int64][]specs.LinuxSyscall{}
		o.newest[name] = -1
		for _, rule := range cfg.Syscalls {
			for _, syscall := range rule.Names {
				if row := lookup(syscall); row != nil {
					if number := numberOn(row, name); number >= 0 {
						o.rules[name][number] = append(o.rules[name][number], rule)
						o.newest[name] = max(o.newest[name], number)
					}
				}
				if call, ok := multiplexed[syscall]; ok && name == specs.ArchX86 {
					o.newest[name] = max(o.newest[name], map[int]int64{socketcall: 102, ipc: 117}[call.multiplexer])
				}
			}
		}
	}
	return o
}

// table finds the system call table that a call goes by, the number there and the rules for it.
func (o *oracle) table(c call) (name specs.Arch, number int64, rules []specs.LinuxSyscall) {
	name, number = specs.ArchX86_64, int64(c.number)
	switch {
	case c.arch == unix.AUDIT_ARCH_I386:
		name = specs.ArchX86
	case c.arch != unix.AUDIT_ARCH_X86_64:
		return "", number, nil
	case c.number >= x32Bit && c.number < 1<<31:
		name, number = specs.ArchX32, number-x32Bit
	}
	if name != specs.ArchX86_64 && !slices.Contains(o.cfg.Architectures, name) {
		return "", number, nil
	}
	return name, number, o.rules[name][number]
}

// action returns what the filter should return for a call.
func (o *oracle) action(c call) uint32 {
	defaultAction := actionOf(o.cfg.DefaultAction, o.cfg.DefaultErrnoRet)
	name, number, rules := o.table(c)
	if name == "" {
		return unix.SECCOMP_RET_KILL_PROCESS
	}

	// Rules without conditions.
	for _, rule := range rules {
		if action := actionOf(rule.Action, rule.ErrnoRet); action != defaultAction && len(rule.Args) == 0 {
			return action
		}
	}
	// Rules with.
	for _, rule := range rules {
		if action := actionOf(rule.Action, rule.ErrnoRet); action != defaultAction && argsMatch(rule.Args, c.args, name != specs.ArchX86) {
			return action
		}
	}
	if name == specs.ArchX86 {
		for _, multiplexer := range []struct {
			number   int64
			name     string
			selector uint32
			calls    []string
		}{
			{102, "socketcall", uint32(c.args[0]), []string{1: "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair",
				"send", "recv", "sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg"}},
			{117, "ipc", uint32(c.args[0]) & 0xffff, []string{1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop",
				11: "msgsnd", 12: "msgrcv", 13: "msgget", 14: "msgctl", 21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl"}},
		} {
			if number != multiplexer.number || int64(multiplexer.selector) >= int64(len(multiplexer.calls)) || multiplexer.calls[multiplexer.selector] == "" {
				continue
			}
			if action, ok := behindMultiplexer(o.cfg, multiplexer.name, multiplexer.calls[multiplexer.selector], defaultAction); ok {
				return action
			}
		}
	}
	// Calls newer than the newest one in the profile.
	if newest := o.newest[name]; newest >= 0 && number > newest && !lets(o.cfg.DefaultAction) {
		return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	return defaultAction
}

// behindMultiplexer finds the action for a call that a multiplexer makes.
func behindMultiplexer(cfg *specs.LinuxSeccomp, multiplexer, name string, defaultAction uint32) (uint32, bool) {
	var rules []specs.LinuxSyscall
	for _, rule := range cfg.Syscalls {
		if slices.Contains(rule.Names, multiplexer) && len(rule.Args) == 0 {
			return 0, false
		}
		if slices.Contains(rule.Names, name) && actionOf(rule.Action, rule.ErrnoRet) != defaultAction {
			rules = append(rules, rule)
		}
	}
	for _, wanted := range []func(specs.LinuxSyscall) bool{
		func(rule specs.LinuxSyscall) bool { return len(rule.Args) == 0 },
		func(rule specs.LinuxSyscall) bool { return lets(rule.Action) != lets(cfg.DefaultAction) },
		func(specs.LinuxSyscall) bool { return true },
	} {
		if i := slices.IndexFunc(rules, wanted); i >= 0 {
			return actionOf(rules[i].Action, rules[i].ErrnoRet), true
		}
	}
	return 0, false
}

func lets(action specs.LinuxSeccompAction) bool {
	return action == specs.ActAllow || action == specs.ActLog || action == specs.ActTrace
}

func actionOf(action specs.LinuxSeccompAction, errnoRet *uint) uint32 {
	value, err := parseAction(action, errnoRet)
	if err != nil {
		panic(err)
	}
	return value
}

func numberOn(row *syscallNumbers, name specs.Arch) int64 {
	return int64(map[specs.Arch]int16{specs.ArchX86_64: row.amd64, specs.ArchX86: row.i386, specs.ArchX32: row.x32}[name])
}

// argsMatch says whether a rule's conditions hold.
func argsMatch(conditions []specs.LinuxSeccompArg, args [6]uint64, wide bool) bool {
	perArgument := map[uint]int{}
	holding, all := 0, len(conditions)
	repeated := false
	for _, condition := range conditions {
		perArgument[condition.Index]++
		repeated = repeated || perArgument[condition.Index] > 1
		if conditionHolds(condition, args[condition.Index], wide) {
			holding++
		}
	}
	if repeated {
		return holding > 0
	}
	return holding == all
}

func conditionHolds(c specs.LinuxSeccompArg, arg uint64, wide bool) bool {
	cut := func(value uint64) uint64 {
		if !wide && value >= 1<<64-1<<31 {
			return value & math.MaxUint32
		}
		return value
	}
	if !wide {
		arg &= math.MaxUint32
	}
	value := cut(c.Value)
	switch c.Op {
	case specs.OpNotEqual:
		return arg != value
	case specs.OpLessThan:
		return arg < value
	case specs.OpLessEqual:
		return arg <= value
	case specs.OpEqualTo:
		return arg == value
	case specs.OpGreaterEqual:
		return arg >= value
	case specs.OpGreaterThan:
		return arg > value
	case specs.OpMaskedEqual:
		mask, value := c.Value, c.ValueTwo
		if cut(value) != value {
			mask, value = mask&math.MaxUint32, cut(value)
		}
		return arg&mask == value&mask
	}
	panic(c.Op)
}
