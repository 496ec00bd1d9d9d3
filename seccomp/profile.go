package seccomp

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// profile is a checked OCI profile, resolved to numbers.
type profile struct {
	defaultAction uint32
	flags         uint
	notify        bool
	skipped       []string
	arches        [archCount]table
}

// table is what a profile says about one architecture.
type table struct {
	listed bool
	calls  []policy // by number
	newest int      // the greatest number that the profile names, or -1
	newer  uint32   // the action for numbers beyond newest
}

// A policy says what becomes of one system call: clauses are tried in order. One without conditions
// stands alone.
type policy struct {
	clauses []clause
}

// A clause is an action that is taken when all conditions hold.
type clause struct {
	conditions []condition
	action     uint32
}

// A condition compares one argument with a value. op is masked-equal, greater-than or greater-or-equal;
// every other operator is one of these, perhaps negated. mask matters to masked-equal only.
type condition struct {
	argument uint
	op       specs.LinuxSeccompOperator
	negated  bool
	mask     uint64
	value    uint64
}

// maxArguments is the number of arguments in struct seccomp_data.
const maxArguments = 6

// add appends the clauses of a rule, unless the call is decided already by one that always holds; such a
// one takes the place of all others.
func (p *policy) add(clauses []clause) {
	rule := policy{slices.Clip(clauses)}
	switch {
	case p.always():
	case len(p.clauses) == 0 || rule.always():
		*p = rule
	default:
		p.clauses = append(p.clauses, clauses...)
	}
}

// always says whether the policy holds for all arguments.
func (p *policy) always() bool {
	return len(p.clauses) == 1 && len(p.clauses[0].conditions) == 0
}

// parseProfile checks a profile and resolves its names.
func parseProfile(cfg *specs.LinuxSeccomp) (*profile, error) {
	p := &profile{}
	var err error
	if p.defaultAction, err = parseAction(cfg.DefaultAction, cfg.DefaultErrnoRet); err != nil {
		return nil, fmt.Errorf("linux.seccomp.defaultAction: %w", err)
	}
	if cfg.DefaultAction == specs.ActNotify {
		return nil, fmt.Errorf("linux.seccomp.defaultAction: %s would stop the runtime before it can pass the listener on: use it in rules", specs.ActNotify)
	}
	if err := p.parseArchitectures(cfg.Architectures); err != nil {
		return nil, err
	}
	if err := p.parseSyscalls(cfg.Syscalls); err != nil {
		return nil, err
	}
	if err := p.parseFlags(cfg.Flags); err != nil {
		return nil, err
	}
	if cfg.ListenerPath == "" {
		if p.notify {
			return nil, fmt.Errorf("linux.seccomp.listenerPath: empty, but a rule has the action %s: name the agent's socket", specs.ActNotify)
		}
		if cfg.ListenerMetadata != "" {
			return nil, errors.New("linux.seccomp.listenerMetadata: given without listenerPath: set both or none")
		}
	}
	return p, nil
}

// parseArchitectures sets up the tables. The native architecture is always there, as in libseccomp.
func (p *profile) parseArchitectures(names []specs.Arch) error {
	p.arches[archAMD64].listed = true
	for i, name := range names {
		arch, ours := archNames[name]
		if ours {
			p.arches[arch].listed = true
		} else if !slices.Contains(foreignArches, name) {
			return fmt.Errorf("linux.seccomp.architectures[%d]: unknown architecture %q: use one of the SCMP_ARCH_ constants of the runtime specification", i, name)
		}
	}
	for arch := range archCount {
		table := &p.arches[arch]
		table.newest = -1
		if !table.listed {
			continue
		}
		size := 0
		for i := range syscallTable {
			size = max(size, 1+syscallTable[i].number(arch))
		}
		table.calls = make([]policy, size)
	}
	return nil
}

// flagTSYNC is in the specification, not in its Go package.
const flagTSYNC specs.LinuxSeccompFlag = "SECCOMP_FILTER_FLAG_TSYNC"

// flagBits are the flags of seccomp(2) that a profile may have.
var flagBits = map[specs.LinuxSeccompFlag]uint{
	flagTSYNC:                              unix.SECCOMP_FILTER_FLAG_TSYNC,
	specs.LinuxSeccompFlagLog:              unix.SECCOMP_FILTER_FLAG_LOG,
	specs.LinuxSeccompFlagSpecAllow:        unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
	specs.LinuxSeccompFlagWaitKillableRecv: unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}

// parseFlags translates the flags of seccomp(2).
func (p *profile) parseFlags(names []specs.LinuxSeccompFlag) error {
	if p.notify {
		p.flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	for i, name := range names {
		bit, known := flagBits[name]
		switch {
		case !known:
			return fmt.Errorf("linux.seccomp.flags[%d]: unknown flag %q: use one of the SECCOMP_FILTER_FLAG_ constants of the runtime specification", i, name)
		case name == specs.LinuxSeccompFlagWaitKillableRecv && !p.notify:
			// It says how to wait for a listener's answer; the kernel refuses it when there is none.
			continue
		case name == flagTSYNC && p.notify:
			// Both want seccomp's return value; this makes a failure to synchronise ESRCH.
			bit |= unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
		}
		p.flags |= bit
	}
	return nil
}

// parseSyscalls puts the rules into the tables.
func (p *profile) parseSyscalls(rules []specs.LinuxSyscall) error {
	var behind derived
	for i := range rules {
		rule := &rules[i]
		action, err := parseAction(rule.Action, rule.ErrnoRet)
		if err != nil {
			return fmt.Errorf("linux.seccomp.syscalls[%d].action: %w", i, err)
		}
		if rule.Action == specs.ActNotify {
			p.notify = true
		}
		clauses, err := parseClauses(rule.Args, action)
		if err != nil {
			return fmt.Errorf("linux.seccomp.syscalls[%d]%w", i, err)
		}
		if action == p.defaultAction {
			clauses = nil
		}
		if len(rule.Names) == 0 {
			return fmt.Errorf("linux.seccomp.syscalls[%d].names: empty: name at least one system call", i)
		}
		for j, name := range rule.Names {
			if name == "" {
				return fmt.Errorf("linux.seccomp.syscalls[%d].names[%d]: empty: name a system call", i, j)
			}
			if name == "write" && rule.Action == specs.ActNotify {
				return fmt.Errorf("linux.seccomp.syscalls[%d].names[%d]: %s of write would stop the runtime before it can pass the listener on: choose other calls", i, j, specs.ActNotify)
			}
			behind.add(name, len(rule.Args) > 0, action, p.defaultAction)
			if !p.addRule(name, clauses) {
				p.skipped = append(p.skipped, name)
			}
		}
	}
	slices.Sort(p.skipped)
	p.skipped = slices.Compact(p.skipped)

	if table := &p.arches[archI386]; table.listed {
		behind.apply(table.calls)
	}
	for arch := range p.arches {
		table := &p.arches[arch]
		table.newer = p.defaultAction
		if table.newest >= 0 && !permits(p.defaultAction) {
			table.newer = refuseENOSYS
		}
	}
	return nil
}

// addRule adds clauses to the call of that name on every listed architecture, and says whether any has it.
func (p *profile) addRule(name string, clauses []clause) bool {
	known := false
	if call, ok := multiplexed[name]; ok && p.arches[archI386].listed {
		p.arches[archI386].name(lookup(multiplexers[call.multiplexer].name).number(archI386))
		known = true
	}
	row := lookup(name)
	if row == nil {
		return known
	}
	for arch := range archCount {
		table := &p.arches[arch]
		number := row.number(arch)
		if !table.listed || number < 0 {
			continue
		}
		known = true
		table.name(number)
		table.calls[number].add(clauses)
	}
	return known
}

// name notes that the profile names a number.
func (t *table) name(number int) { t.newest = max(t.newest, number) }

// otherwise returns the action for a number when no clause holds.
func (p *profile) otherwise(a arch, number int) uint32 {
	if table := &p.arches[a]; number > table.newest {
		return table.newer
	}
	return p.defaultAction
}

// parseClauses turns a rule's arguments into clauses that stand for it.
func parseClauses(args []specs.LinuxSeccompArg, action uint32) ([]clause, error) {
	conditions := make([]condition, len(args))
	var seen [maxArguments]bool
	repeated := false
	for i, arg := range args {
		if arg.Index >= maxArguments {
			return nil, fmt.Errorf(".args[%d]: index %d: a system call has arguments 0 to %d", i, arg.Index, maxArguments-1)
		}
		repeated = repeated || seen[arg.Index]
		seen[arg.Index] = true
		var err error
		if conditions[i], err = parseCondition(arg); err != nil {
			return nil, fmt.Errorf(".args[%d]: %w", i, err)
		}
	}
	if !repeated {
		return []clause{{conditions, action}}, nil
	}
	clauses := make([]clause, len(conditions))
	for i := range conditions {
		clauses[i] = clause{conditions[i : i+1], action}
	}
	return clauses, nil
}

// operators reduces the operators to three, which may be negated.
var operators = map[specs.LinuxSeccompOperator]struct {
	op      specs.LinuxSeccompOperator
	negated bool
}{
	specs.OpEqualTo:      {specs.OpMaskedEqual, false},
	specs.OpNotEqual:     {specs.OpMaskedEqual, true},
	specs.OpMaskedEqual:  {specs.OpMaskedEqual, false},
	specs.OpGreaterThan:  {specs.OpGreaterThan, false},
	specs.OpGreaterEqual: {specs.OpGreaterEqual, false},
	specs.OpLessEqual:    {specs.OpGreaterThan, true},
	specs.OpLessThan:     {specs.OpGreaterEqual, true},
}

// parseCondition checks one condition. As in libseccomp, the mask of masked-equal is applied to both
// sides.
func parseCondition(arg specs.LinuxSeccompArg) (condition, error) {
	reduced, known := operators[arg.Op]
	if !known {
		return condition{}, fmt.Errorf("unknown operator %q: use one of the SCMP_CMP_ constants of the runtime specification", arg.Op)
	}
	c := condition{argument: arg.Index, op: reduced.op, negated: reduced.negated, mask: math.MaxUint64, value: arg.Value}
	if arg.Op == specs.OpMaskedEqual {
		c.mask, c.value = arg.Value, arg.ValueTwo
	}
	return c, nil
}
