package main

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"winbox/sandbox"
	"winbox/sandbox/cgroup"
)

func eventsCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "events",
		Usage: "print statistics and out-of-memory events of a container as JSON, one a line",
		Description: `Statistics are printed at each interval until the container ends, with the
fields of runc's events and for Windows programs an object windows; a line with
the type oom comes when the kernel has killed for want of memory, with the
process's name where the kernel's log can be read, one with the type commit when
Windows programs were refused memory, one with the type exit when a Windows
program has ended, with its exit code.

    winbox events --stats box1`,
		ArgsUsage: "ID",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "interval", Value: 5 * time.Second, Usage: "`TIME` between statistics"},
			&cli.BoolFlag{Name: "stats", Usage: "print statistics once"},
		},
		Action: g.onContainer(func(c *cli.Context, ct *sandbox.Container) error {
			interval := c.Duration("interval")
			if interval <= 0 {
				return errors.New("duration interval must be greater than 0")
			}
			out := json.NewEncoder(c.App.Writer)
			stats := func(d *cgroup.Details) error {
				data := newEventStats(d)
				if ct.Windows() {
					var err error
					if data.Windows, err = newEventWindows(ct); err != nil {
						return err
					}
				}
				return out.Encode(&event{Type: "stats", ID: ct.ID(), Data: data})
			}
			oom := func(victim *sandbox.OOMKill) error {
				e := &event{Type: "oom", ID: ct.ID()}
				if victim != nil {
					e.Data = victim
				}
				return out.Encode(e)
			}
			if c.Bool("stats") {
				d, err := ct.Stats()
				if err != nil {
					return err
				}
				return stats(d)
			}
			commits := &commitWatch{ct: ct, report: func(f *commitFailure) error {
				return out.Encode(&event{Type: "commit", ID: ct.ID(), Data: f})
			}}
			defer commits.close()
			end, err := ct.Watch(c.Context, interval, stats, oom, commits.look)
			if err != nil || end == nil {
				return err
			}
			return out.Encode(&event{Type: "exit", ID: ct.ID(), Data: end})
		}),
	}
}

// event and the types below are the JSON of runc's events, which callers parse;
// the names of the fields are runc's, and so is what is left out when zero.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	// Data is *eventStats; for oom *sandbox.OOMKill, for commit *commitFailure and for exit *sandbox.Exit, which are winbox's own.
	Data any `json:"data,omitempty"`
}

type eventStats struct {
	CPU      eventCPU                `json:"cpu"`
	CPUSet   map[string]any          `json:"cpuset"`
	Memory   eventMemory             `json:"memory"`
	Pids     eventPids               `json:"pids"`
	BlockIO  eventBlockIO            `json:"blkio"`
	HugeTLB  map[string]eventHugeTLB `json:"hugetlb"`
	IntelRDT struct{}                `json:"intel_rdt"`
	// NetworkInterfaces are those that the runtime has made: none.
	NetworkInterfaces []struct{} `json:"network_interfaces"`
	// Windows is winbox's own, for Windows containers.
	Windows *eventWindows `json:"windows,omitempty"`
}

// eventWindows is what Windows would count. Handles are not there: they are the wineserver's, which has no cheap way to
// tell of them. Sizes are bytes.
type eventWindows struct {
	Processes    int    `json:"processes"`
	Threads      int    `json:"threads"`
	PrivateBytes uint64 `json:"privateBytes"`
	SharedBytes  uint64 `json:"sharedBytes"`
	// Commit is nil as long as no program has counted.
	Commit *commit `json:"commit"`
}

func newEventWindows(ct *sandbox.Container) (*eventWindows, error) {
	u, err := ct.WindowsUsage()
	if err != nil {
		return nil, err
	}
	w := &eventWindows{Processes: u.Processes, Threads: u.Threads, PrivateBytes: u.Private, SharedBytes: u.Shared}
	w.Commit, err = commitOf(ct)
	return w, err
}

type eventCPU struct {
	Usage      eventCPUUsage   `json:"usage"`
	Throttling eventThrottling `json:"throttling"`
}

type eventCPUUsage struct {
	Total        uint64   `json:"total,omitempty"`
	PerCPU       []uint64 `json:"percpu,omitempty"`
	PerCPUKernel []uint64 `json:"percpu_kernel,omitempty"`
	PerCPUUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

type eventThrottling struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"`
}

type eventMemory struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     eventMemoryEntry  `json:"usage"`
	Swap      eventMemoryEntry  `json:"swap"`
	Kernel    eventMemoryEntry  `json:"kernel"`
	KernelTCP eventMemoryEntry  `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
}

type eventMemoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type eventPids struct {
	Current uint64 `json:"current,omitempty"`
	// Limit is left out when there is none.
	Limit uint64 `json:"limit,omitempty"`
}

type eventBlockIO struct {
	ServiceBytes []eventBlockIOEntry `json:"ioServiceBytesRecursive,omitempty"`
	Serviced     []eventBlockIOEntry `json:"ioServicedRecursive,omitempty"`
}

type eventBlockIOEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

type eventHugeTLB struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

func newEventStats(d *cgroup.Details) *eventStats {
	s := &eventStats{
		CPU: eventCPU{
			Usage: eventCPUUsage{
				Total: d.CPU.Usage, PerCPU: d.PerCPU, PerCPUKernel: d.PerCPUKernel, PerCPUUser: d.PerCPUUser,
				Kernel: d.CPU.Kernel, User: d.CPU.User,
			},
			Throttling: eventThrottling{Periods: d.CPU.Periods, ThrottledPeriods: d.CPU.ThrottledPeriods, ThrottledTime: d.CPU.ThrottledTime},
		},
		CPUSet: map[string]any{},
		Memory: eventMemory{
			Cache: d.PageCache, Usage: newEventMemory(d.Memory), Swap: newEventMemory(d.Swap),
			Kernel: newEventMemory(d.Kernel), KernelTCP: newEventMemory(d.KernelTCP), Raw: d.MemoryStat,
		},
		Pids:    eventPids{Current: d.Pids.Current, Limit: d.Pids.Limit},
		BlockIO: eventBlockIO{ServiceBytes: newEventBlockIO(d.ServiceBytes), Serviced: newEventBlockIO(d.Serviced)},
		HugeTLB: map[string]eventHugeTLB{},
	}
	if d.Pids.Limit == cgroup.Unlimited {
		s.Pids.Limit = 0
	}
	for name, value := range d.CPUSet {
		s.CPUSet[name] = value
	}
	for name, list := range map[string][]uint16{"cpus": d.CPUs, "mems": d.Mems} {
		if len(list) > 0 {
			s.CPUSet[name] = list
		}
	}
	for size, pages := range d.HugePages {
		s.HugeTLB[size] = eventHugeTLB{Usage: pages.Usage, Max: pages.Peak, Failcnt: pages.Failures}
	}
	return s
}

func newEventMemory(m cgroup.MemoryStats) eventMemoryEntry {
	return eventMemoryEntry{Limit: m.Limit, Usage: m.Usage, Max: m.Peak, Failcnt: m.Failures}
}

func newEventBlockIO(counts []cgroup.BlockIOCount) []eventBlockIOEntry {
	var list []eventBlockIOEntry
	for _, c := range counts {
		list = append(list, eventBlockIOEntry(c))
	}
	return list
}
