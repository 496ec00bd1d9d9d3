package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
)

// Stats is what a group uses and may use. What a host has no controller for is
// zero.
type Stats struct {
	Memory MemoryStats `json:"memory"`
	// Swap is memory and swap together, as the runtime spec and v1 count.
	Swap MemoryStats `json:"swap"`
	// OOMKills is what [Group.OOMKills] returns.
	OOMKills uint64    `json:"oomKills"`
	Pids     PidsStats `json:"pids"`
	CPU      CPUStats  `json:"cpu"`
}

// MemoryStats are bytes.
type MemoryStats struct {
	Usage uint64 `json:"usage"`
	// Peak is the highest usage so far; 0 where the kernel does not keep it
	// (v2 before Linux 5.19; swap on v2).
	Peak uint64 `json:"peak"`
	// Limit may be [Unlimited].
	Limit uint64 `json:"limit"`
	// Failures is how often the limit was met: failcnt on v1 (newer kernels do
	// not count it for swap), max in memory.events on v2 (0 for swap).
	Failures uint64 `json:"failures"`
}

// PidsStats are numbers of tasks.
type PidsStats struct {
	Current uint64 `json:"current"`
	// Limit may be [Unlimited].
	Limit uint64 `json:"limit"`
}

// CPUStats are nanoseconds, except for the two numbers of periods.
type CPUStats struct {
	Usage            uint64 `json:"usage"`
	User             uint64 `json:"user"`
	Kernel           uint64 `json:"kernel"`
	Periods          uint64 `json:"periods"`
	ThrottledPeriods uint64 `json:"throttledPeriods"`
	ThrottledTime    uint64 `json:"throttledTime"`
}

// Stats reads the group's counters.
func (g *Group) Stats() (*Stats, error) {
	var s *Stats
	var err error
	if g.mode == V2 {
		s, err = g.statsV2()
	} else {
		s, err = g.statsV1()
	}
	if err != nil {
		return nil, fmt.Errorf("statistics of cgroup %s: %w", g.path, err)
	}
	return s, nil
}

func (g *Group) statsV1() (*Stats, error) {
	s := &Stats{}
	if g.hierarchy("memory") != nil {
		s.Memory, s.Swap = g.memoryEntry("memory"), g.memoryEntry("memory.memsw")
		var err error
		if s.OOMKills, err = g.OOMKills(); err != nil {
			return nil, err
		}
	}
	if g.hierarchy("pids") != nil {
		s.Pids = PidsStats{Current: g.number("pids.current"), Limit: Unlimited}
		if text := g.read("pids.max"); text != "max" {
			s.Pids.Limit = g.number("pids.max")
		}
	}
	throttled, err := parseFlat(g.read("cpu.stat"))
	if err != nil {
		return nil, fmt.Errorf("cpu.stat: %w", err)
	}
	used, err := parseFlat(g.read("cpuacct.stat"))
	if err != nil {
		return nil, fmt.Errorf("cpuacct.stat: %w", err)
	}
	// cpuacct.stat counts in USER_HZ, which is 100 on every machine there is.
	const tick = 1e9 / 100
	s.CPU = CPUStats{
		Usage: g.number("cpuacct.usage"), User: used["user"] * tick, Kernel: used["system"] * tick,
		Periods: throttled["nr_periods"], ThrottledPeriods: throttled["nr_throttled"], ThrottledTime: throttled["throttled_time"],
	}
	return s, nil
}

func (g *Group) statsV2() (*Stats, error) {
	manager, err := cgroup2.Load(g.path, cgroup2.WithMountpoint(g.unified().MountPoint))
	if err != nil {
		return nil, err
	}
	m, err := manager.StatFiltered(cgroup2.StatPids | cgroup2.StatCPU | cgroup2.StatMemory | cgroup2.StatMemoryEvents)
	if err != nil {
		return nil, err
	}
	const micro = 1000 // nanoseconds in the kernel's unit
	s := &Stats{
		Memory: MemoryStats{Usage: m.Memory.Usage, Peak: m.Memory.MaxUsage, Limit: unlimited(m.Memory.UsageLimit)},
		Pids:   PidsStats{Current: m.Pids.Current, Limit: m.Pids.Limit},
		CPU: CPUStats{
			Usage: m.CPU.UsageUsec * micro, User: m.CPU.UserUsec * micro, Kernel: m.CPU.SystemUsec * micro,
			Periods: m.CPU.NrPeriods, ThrottledPeriods: m.CPU.NrThrottled, ThrottledTime: m.CPU.ThrottledUsec * micro,
		},
	}
	if e := m.MemoryEvents; e != nil {
		s.OOMKills, s.Memory.Failures = e.OomKill, e.Max
	}
	s.Swap = MemoryStats{Usage: m.Memory.Usage + m.Memory.SwapUsage, Limit: Unlimited}
	if swap := unlimited(m.Memory.SwapLimit); swap != Unlimited && s.Memory.Limit != Unlimited {
		s.Swap.Limit = s.Memory.Limit + swap
	}
	return s, nil
}

// OOMKills returns how many times the OOM killer has struck in the group and
// below it. On v1 that is the number of processes it ended; on v2, where the
// group dies as one, the process that it chose counts twice. It is cheap: one
// file, or one for each group on v1. A missing group, or no memory controller,
// is 0.
func (g *Group) OOMKills() (uint64, error) {
	if g.mode == V2 {
		// memory.events counts the groups below too.
		return oomKills(g.unified().dir() + "/memory.events")
	}
	h := g.hierarchy("memory")
	if h == nil {
		return 0, nil
	}
	return oomKillsV1(h.dir())
}

// oomKillsV1 adds up: a v1 group counts only what happened to its own processes.
func oomKillsV1(dir string) (uint64, error) {
	total, err := oomKills(dir + "/memory.oom_control")
	if err != nil {
		return 0, err
	}
	children, err := childDirs(dir)
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		n, err := oomKillsV1(child)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// oomKills reads the line "oom_kill N" (Linux 4.13).
func oomKills(file string) (uint64, error) {
	data, err := readFile(file)
	if gone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseUint(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, errors.New(file + " does not count kills by the OOM killer: Linux 4.13 or later is needed")
}
