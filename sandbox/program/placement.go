package program

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// memoryModes and memoryFlags are those of set_mempolicy(2), with the numbers
// of linux/mempolicy.h.
var (
	memoryModes = map[specs.MemoryPolicyModeType]int{
		specs.MpolDefault: unix.MPOL_DEFAULT, specs.MpolPreferred: unix.MPOL_PREFERRED, specs.MpolBind: unix.MPOL_BIND,
		specs.MpolInterleave: unix.MPOL_INTERLEAVE, specs.MpolLocal: unix.MPOL_LOCAL, specs.MpolPreferredMany: unix.MPOL_PREFERRED_MANY,
		specs.MpolWeightedInterleave: unix.MPOL_WEIGHTED_INTERLEAVE,
	}
	memoryFlags = map[specs.MemoryPolicyFlagType]int{
		specs.MpolFNumaBalancing: unix.MPOL_F_NUMA_BALANCING, specs.MpolFRelativeNodes: unix.MPOL_F_RELATIVE_NODES,
		specs.MpolFStaticNodes: unix.MPOL_F_STATIC_NODES,
	}
)

// Limits of the lists of processors and memory nodes: more than any kernel is
// built for (CONFIG_NR_CPUS, CONFIG_NODES_SHIFT), and what its calls take.
const (
	maxCPUs  = 8192
	maxNodes = 1024
)

// memoryPolicy says from which NUMA nodes memory is taken. Which modes go with
// which nodes and flags, the kernel knows best.
func (c *compiler) memoryPolicy() error {
	policy := c.spec.Linux.MemoryPolicy
	if policy == nil {
		return nil
	}
	mode, ok := memoryModes[policy.Mode]
	if !ok {
		return fmt.Errorf("linux.memoryPolicy.mode: %q is not supported", policy.Mode)
	}
	text := string(policy.Mode)
	for i, name := range policy.Flags {
		flag, ok := memoryFlags[name]
		if !ok {
			return fmt.Errorf("linux.memoryPolicy.flags[%d]: %q is not supported", i, name)
		}
		mode |= flag
		text += "|" + string(name)
	}
	nodes, err := ParseList(policy.Nodes, maxNodes)
	if err != nil {
		return fmt.Errorf("linux.memoryPolicy.nodes: %w", err)
	}
	note := "set the memory policy " + text
	if len(nodes) == 0 {
		c.call("set_mempolicy", note, named(uint64(mode), text), 0, 0)
		return nil
	}
	// The kernel takes one bit less than it is told (set_mempolicy(2), "maxnode").
	mask := bitmask(nodes)
	c.call("set_mempolicy", note+" with nodes "+policy.Nodes, named(uint64(mode), text), c.bytes(mask, "{"+policy.Nodes+"}"), 8*len(mask)+1)
	return nil
}

// execAffinity has a process that joins a container run on the processors of
// execCPUAffinity.final; the list initial is the runtime's matter. The first
// process of a container has no use for either.
func (c *compiler) execAffinity() error {
	affinity := c.spec.Process.ExecCPUAffinity
	if affinity == nil {
		return nil
	}
	if _, err := ParseCPUs(affinity.Initial); err != nil {
		return fmt.Errorf("process.execCPUAffinity.initial: %w", err)
	}
	cpus, err := ParseCPUs(affinity.Final)
	if err != nil {
		return fmt.Errorf("process.execCPUAffinity.final: %w", err)
	}
	if c.joins && len(cpus) > 0 {
		mask := bitmask(cpus)
		c.call("sched_setaffinity", "set the final CPU affinity "+affinity.Final, 0, len(mask), c.bytes(mask, "{"+affinity.Final+"}"))
	}
	return nil
}

// ParseCPUs reads a list of processors such as "0-3,7".
func ParseCPUs(list string) ([]int, error) { return ParseList(list, maxCPUs) }

// ParseList reads numbers and ranges that are separated by commas, as in
// "0-3,7" (cpuset(7), "List format"); an empty list has no numbers.
//
// # Errors
//
// Anything else, a range that ends before it begins, a number not below limit.
func ParseList(list string, limit int) ([]int, error) {
	var numbers []int
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 31)
		last, err2 := strconv.ParseUint(to, 10, 31)
		switch {
		case errors.Join(err1, err2) != nil:
			return nil, fmt.Errorf("%q is neither a number nor a range like 0-3", part)
		case last < first:
			return nil, fmt.Errorf("the range %q ends before it begins", part)
		case last >= uint64(limit):
			return nil, fmt.Errorf("%d is not below %d", last, limit)
		}
		for n := first; n <= last; n++ {
			numbers = append(numbers, int(n))
		}
		if len(numbers) > limit {
			return nil, fmt.Errorf("more than %d numbers", limit)
		}
	}
	return numbers, nil
}

// bitmask has the bits set that numbers names, in 64-bit words (little-endian).
func bitmask(numbers []int) []byte {
	var mask []byte
	for _, n := range numbers {
		for n/8 >= len(mask) {
			mask = append(mask, make([]byte, 8)...)
		}
		mask[n/8] |= 1 << (n % 8)
	}
	return mask
}
