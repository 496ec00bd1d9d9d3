package cgroup

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// planV2 compiles limits for cgroup v2 (kernel: admin-guide/cgroup-v2). has
// reports whether the group has a file, read returns what a file holds.
//
// The library's own conversion, ToResources, is not used: it drops fields
// (quota without period, burst, idle), writes -1 where v2 wants "max", and its
// I/O weight overflows 16 bits.
func planV2(res *specs.LinuxResources, has func(file string) bool, read func(file string) string) plan {
	var p plan
	if m := res.Memory; m != nil {
		planMemoryV2(&p, m, has, read)
	}
	if c := res.CPU; c != nil {
		planCPUV2(&p, c, read)
	}
	if res.Pids != nil && res.Pids.Limit != nil {
		planPids(&p, *res.Pids.Limit)
	}
	if b := res.BlockIO; b != nil {
		planBlockIOV2(&p, b, has)
	}
	planHugepages(&p, res.HugepageLimits, true)
	if n := res.Network; n != nil {
		if set(n.ClassID) {
			p.unsupported("network.classID", "cgroup v2 has no net_cls; match the cgroup's path in nftables instead")
		}
		if len(n.Priorities) > 0 {
			p.unsupported("network.priorities", "cgroup v2 has no net_prio")
		}
	}
	for _, name := range sortedKeys(res.Rdma) {
		// The library drops an entry unless both of its limits are given.
		value := name
		if v := res.Rdma[name].HcaHandles; v != nil {
			value += fmt.Sprintf(" hca_handle=%d", *v)
		}
		if v := res.Rdma[name].HcaObjects; v != nil {
			value += fmt.Sprintf(" hca_object=%d", *v)
		}
		p.raw("rdma."+name, "rdma.max", value)
	}
	for _, key := range sortedKeys(res.Unified) {
		if strings.ContainsAny(key, "/\x00") || !strings.Contains(key, ".") {
			p.invalid("unified", "%q is not the name of a cgroup file such as memory.high", key)
			continue
		}
		p.raw("unified."+key, key, res.Unified[key])
	}
	return p
}

func planMemoryV2(p *plan, m *specs.LinuxMemory, has func(string) bool, read func(string) string) {
	// limit adds a byte count, for which v2 writes -1 as "max" and the library
	// does not.
	limit := func(field, file string, v int64, one cgroup2.Memory) {
		if v == -1 {
			p.raw("memory."+field, file, "max")
		} else {
			p.add(step{field: "memory." + field, file: file, v2: &cgroup2.Resources{Memory: &one}})
		}
	}
	if set(m.Limit) {
		limit("limit", "memory.max", *m.Limit, cgroup2.Memory{Max: m.Limit})
	}
	switch swap, ok, err := swapV2(m, read); {
	case err != nil:
		p.errs = append(p.errs, err)
	case !ok:
	case !has("memory.swap.max") && swap == -1:
		// Nothing to lift.
	case !has("memory.swap.max") && swap == 0 && has("memory.max"):
		p.warn("linux.resources.memory.swap: this kernel does not account for swap (CONFIG_SWAP, swapaccount=1): if the host has swap, the container may use it")
	default:
		limit("swap", "memory.swap.max", swap, cgroup2.Memory{Swap: &swap})
	}
	if set(m.Reservation) {
		limit("reservation", "memory.low", *m.Reservation, cgroup2.Memory{Low: m.Reservation})
	}
	if set(m.KernelTCP) {
		p.unsupported("memory.kernelTCP", "cgroup v2 counts socket memory in memory.limit")
	}
	if m.Swappiness != nil {
		p.unsupported("memory.swappiness", "cgroup v2 has no swappiness of a group's own")
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		p.unsupported("memory.disableOOMKiller", "cgroup v2 cannot turn the OOM killer off")
	}
	planMemoryCommon(p, m)
}

// swapV2 returns the limit on swap alone that v2 wants, from the limit on memory
// and swap together that the runtime spec has; -1 is unlimited. ok is false when
// nothing is asked.
func swapV2(m *specs.LinuxMemory, read func(string) string) (swap int64, ok bool, err error) {
	if !set(m.Swap) {
		// As on v1 and with runc: lifting the memory limit lifts both.
		return -1, set(m.Limit) && *m.Limit == -1, nil
	}
	if *m.Swap == -1 {
		return -1, true, nil
	}
	const field = "linux.resources.memory.swap"
	var memory int64
	if set(m.Limit) {
		memory = *m.Limit
	} else {
		// An update of swap alone: what counts is the limit in force.
		memory, _ = strconv.ParseInt(read("memory.max"), 10, 64)
	}
	if memory <= 0 {
		return 0, false, fmt.Errorf("%s: it is memory and swap together, so memory.limit must be given too", field)
	}
	if *m.Swap < memory {
		return 0, false, fmt.Errorf("%s: %d is memory and swap together and must not be less than memory.limit (%d)", field, *m.Swap, memory)
	}
	return *m.Swap - memory, true, nil
}

func planCPUV2(p *plan, c *specs.LinuxCPU, read func(string) string) {
	add := func(field, file string, one cgroup2.CPU) {
		p.add(step{field: "cpu." + field, file: file, v2: &cgroup2.Resources{CPU: &one}})
	}
	if c.Cpus != "" {
		add("cpus", "cpuset.cpus", cgroup2.CPU{Cpus: c.Cpus})
	}
	if c.Mems != "" {
		add("mems", "cpuset.mems", cgroup2.CPU{Mems: c.Mems})
	}
	if set(c.Shares) {
		weight := cgroup2.ConvertCPUSharesToCgroupV2Value(*c.Shares)
		add("shares", "cpu.weight", cgroup2.CPU{Weight: &weight})
	}
	if field, value := cpuMax(c, read); value != "" {
		add(field, "cpu.max", cgroup2.CPU{Max: value})
	}
	if c.Burst != nil {
		p.raw("cpu.burst", "cpu.max.burst", strconv.FormatUint(*c.Burst, 10))
	}
	if c.Idle != nil {
		p.raw("cpu.idle", "cpu.idle", strconv.FormatInt(*c.Idle, 10))
	}
	if set(c.RealtimePeriod) {
		p.unsupported("cpu.realtimePeriod", "cgroup v2 has no real-time bandwidth")
	}
	if set(c.RealtimeRuntime) {
		p.unsupported("cpu.realtimeRuntime", "cgroup v2 has no real-time bandwidth")
	}
}

// cpuMax returns the text for cpu.max and the field it stands for. The library's
// NewCPUMax would reset the half that is not given: a period alone would lift
// the quota. The kernel keeps a period that is left out, but a quota must be
// said again.
func cpuMax(c *specs.LinuxCPU, read func(string) string) (field string, value cgroup2.CPUMax) {
	quota := "max"
	switch {
	case set(c.Quota):
		field = "quota"
		if *c.Quota > 0 {
			quota = strconv.FormatInt(*c.Quota, 10)
		}
	case set(c.Period):
		field = "period"
		if current := strings.Fields(read("cpu.max")); len(current) > 0 {
			quota = current[0]
		}
	default:
		return "", ""
	}
	if set(c.Period) {
		quota += " " + strconv.FormatUint(*c.Period, 10)
	}
	return field, cgroup2.CPUMax(quota)
}

func planBlockIOV2(p *plan, b *specs.LinuxBlockIO, has func(string) bool) {
	// BFQ takes blkio's own range, 10 to 1000.
	file, scale := "io.weight", ioWeight
	if has("io.bfq.weight") {
		file, scale = "io.bfq.weight", func(w uint16) int { return int(w) }
	}
	weight := func(field, device string, w uint16) {
		if !p.blockWeight(field, w) {
			return
		}
		p.raw("blockIO."+field, file, device+strconv.Itoa(scale(w)))
	}
	if set(b.Weight) {
		weight("weight", "", *b.Weight)
	}
	if set(b.LeafWeight) {
		p.unsupported("blockIO.leafWeight", "it belonged to the CFQ scheduler and cgroup v1")
	}
	for i, d := range b.WeightDevice {
		field := fmt.Sprintf("weightDevice[%d]", i)
		if set(d.Weight) {
			weight(field, fmt.Sprintf("%d:%d ", d.Major, d.Minor), *d.Weight)
		}
		if set(d.LeafWeight) {
			p.unsupported("blockIO."+field+".leafWeight", "it belonged to the CFQ scheduler and cgroup v1")
		}
	}
	throttle := func(field string, kind cgroup2.IOType, devices []specs.LinuxThrottleDevice) {
		for i, d := range devices {
			name := fmt.Sprintf("blockIO.%s[%d]", field, i)
			if d.Rate == 0 { // lifts the limit on v1; v2 refuses 0
				p.raw(name, "io.max", fmt.Sprintf("%d:%d %s=max", d.Major, d.Minor, kind))
				continue
			}
			p.add(step{field: name, file: "io.max", v2: &cgroup2.Resources{IO: &cgroup2.IO{
				Max: []cgroup2.Entry{{Type: kind, Major: d.Major, Minor: d.Minor, Rate: d.Rate}}}}})
		}
	}
	throttle("throttleReadBpsDevice", cgroup2.ReadBPS, b.ThrottleReadBpsDevice)
	throttle("throttleWriteBpsDevice", cgroup2.WriteBPS, b.ThrottleWriteBpsDevice)
	throttle("throttleReadIOPSDevice", cgroup2.ReadIOPS, b.ThrottleReadIOPSDevice)
	throttle("throttleWriteIOPSDevice", cgroup2.WriteIOPS, b.ThrottleWriteIOPSDevice)
}

// ioWeight turns a weight from 10 to 1000 into one for io.weight, from 1 to 10000.
func ioWeight(w uint16) int { return 1 + (int(w)-10)*9999/990 }

// sortedKeys makes the order of writes, and of errors, the same each time.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// unlimited maps what the kernel shows for "no limit" to [Unlimited]: on v1 the
// largest multiple of the page size that fits 63 bits.
func unlimited(v uint64) uint64 {
	if v >= math.MaxInt64&^(1<<16-1) {
		return Unlimited
	}
	return v
}
