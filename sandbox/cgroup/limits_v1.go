package cgroup

import (
	"fmt"
	"strconv"

	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// planV1 compiles limits for v1 hierarchies (kernel: admin-guide/cgroup-v1).
// has reports whether the group has a file. hugetlbOnUnified says that the
// hugetlb controller is on the cgroup2 mount of a hybrid host.
func planV1(res *specs.LinuxResources, has func(file string) bool, hugetlbOnUnified bool) plan {
	var p plan
	if m := res.Memory; m != nil {
		planMemoryV1(&p, m, has)
	}
	if c := res.CPU; c != nil {
		planCPUV1(&p, c)
	}
	if res.Pids != nil && res.Pids.Limit != nil {
		planPids(&p, *res.Pids.Limit)
	}
	if b := res.BlockIO; b != nil {
		planBlockIOV1(&p, b, has)
	}
	planHugepages(&p, res.HugepageLimits, hugetlbOnUnified)
	if n := res.Network; n != nil {
		if set(n.ClassID) {
			p.add(step{field: "network.classID", file: "net_cls.classid",
				v1: &specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: n.ClassID}}})
		}
		for i, prio := range n.Priorities {
			p.add(step{field: fmt.Sprintf("network.priorities[%d]", i), file: "net_prio.ifpriomap",
				v1: &specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{prio}}}})
		}
	}
	for _, name := range sortedKeys(res.Rdma) {
		p.add(step{field: "rdma." + name, file: "rdma.max",
			v1: &specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{name: res.Rdma[name]}}})
	}
	for _, key := range sortedKeys(res.Unified) {
		p.unsupported("unified."+key, "this host has cgroup v1, and unified holds files of v2")
	}
	return p
}

func planMemoryV1(p *plan, m *specs.LinuxMemory, has func(string) bool) {
	add := func(field, file string, one specs.LinuxMemory) {
		p.add(step{field: "memory." + field, file: "memory." + file, v1: &specs.LinuxResources{Memory: &one}})
	}
	swap := m.Swap
	if set(m.Limit) {
		if *m.Limit == -1 && !set(swap) {
			swap = m.Limit // or the old memory+swap limit would stay and bound memory too
		}
		add("limit", "limit_in_bytes", specs.LinuxMemory{Limit: m.Limit})
	}
	if set(swap) {
		switch {
		case set(m.Limit) && *m.Limit > 0 && *swap > 0 && *swap < *m.Limit:
			p.invalid("memory.swap", "%d is memory and swap together and must not be less than memory.limit (%d)", *swap, *m.Limit)
		case has("memory.memsw.limit_in_bytes"):
			add("swap", "memsw.limit_in_bytes", specs.LinuxMemory{Swap: swap})
		case *swap == -1:
			// Nothing to lift.
		case set(m.Limit) && *swap == *m.Limit && has("memory.limit_in_bytes"):
			p.warn("linux.resources.memory.swap: this kernel does not account for swap (swapaccount=1): if the host has swap, the container may use it")
		default:
			add("swap", "memsw.limit_in_bytes", specs.LinuxMemory{Swap: swap})
		}
	}
	if set(m.Reservation) {
		add("reservation", "soft_limit_in_bytes", specs.LinuxMemory{Reservation: m.Reservation})
	}
	if set(m.KernelTCP) {
		add("kernelTCP", "kmem.tcp.limit_in_bytes", specs.LinuxMemory{KernelTCP: m.KernelTCP})
	}
	if m.Swappiness != nil {
		add("swappiness", "swappiness", specs.LinuxMemory{Swappiness: m.Swappiness})
	}
	if m.DisableOOMKiller != nil {
		add("disableOOMKiller", "oom_control", specs.LinuxMemory{DisableOOMKiller: m.DisableOOMKiller})
	}
	planMemoryCommon(p, m)
}

// planMemoryCommon deals with what has lost its meaning on both versions.
func planMemoryCommon(p *plan, m *specs.LinuxMemory) {
	//lint:ignore SA1019 engines may still send it
	if kernel := m.Kernel; set(kernel) {
		// The file takes any value and has had no effect since Linux 5.16; the
		// runtime spec lets it be ignored.
		p.warn("linux.resources.memory.kernel: kernels no longer have this limit; memory.limit covers kernel memory")
	}
	if m.UseHierarchy != nil && !*m.UseHierarchy {
		p.unsupported("memory.useHierarchy", "memory is always accounted for hierarchically since Linux 5.11")
	}
}

func planCPUV1(p *plan, c *specs.LinuxCPU) {
	add := func(field, file string, one specs.LinuxCPU) {
		p.add(step{field: "cpu." + field, file: file, v1: &specs.LinuxResources{CPU: &one}})
	}
	if c.Cpus != "" {
		add("cpus", "cpuset.cpus", specs.LinuxCPU{Cpus: c.Cpus})
	}
	if c.Mems != "" {
		add("mems", "cpuset.mems", specs.LinuxCPU{Mems: c.Mems})
	}
	if set(c.Shares) {
		// The kernel clamps without a word (sched/core.c: MIN_SHARES, MAX_SHARES).
		if *c.Shares < 2 || *c.Shares > 262144 {
			p.invalid("cpu.shares", "%d is not between 2 and 262144", *c.Shares)
		}
		add("shares", "cpu.shares", specs.LinuxCPU{Shares: c.Shares})
	}
	if set(c.RealtimePeriod) {
		add("realtimePeriod", "cpu.rt_period_us", specs.LinuxCPU{RealtimePeriod: c.RealtimePeriod})
	}
	if set(c.RealtimeRuntime) {
		add("realtimeRuntime", "cpu.rt_runtime_us", specs.LinuxCPU{RealtimeRuntime: c.RealtimeRuntime})
	}
	if set(c.Period) {
		add("period", "cpu.cfs_period_us", specs.LinuxCPU{Period: c.Period})
	}
	if set(c.Quota) {
		add("quota", "cpu.cfs_quota_us", specs.LinuxCPU{Quota: c.Quota})
	}
	// The library knows neither of these.
	if c.Burst != nil {
		p.raw("cpu.burst", "cpu.cfs_burst_us", strconv.FormatUint(*c.Burst, 10))
	}
	if c.Idle != nil {
		p.raw("cpu.idle", "cpu.idle", strconv.FormatInt(*c.Idle, 10))
	}
}

// planPids serves both versions, which share the file. The library is not used:
// on v1 it drops -1, so that a limit could not be lifted, and on both it drops
// 0, which the runtime spec wants passed on.
func planPids(p *plan, limit int64) {
	value := "max"
	if limit >= 0 {
		value = strconv.FormatInt(limit, 10)
	}
	p.raw("pids.limit", "pids.max", value)
}

func planBlockIOV1(p *plan, b *specs.LinuxBlockIO, has func(string) bool) {
	add := func(field, file string, one specs.LinuxBlockIO) {
		p.add(step{field: "blockIO." + field, file: "blkio." + file, v1: &specs.LinuxResources{BlockIO: &one}})
	}
	// Weights belong to an I/O scheduler: CFQ until Linux 5.0, then BFQ, whose
	// files the library does not know.
	bfq := !has("blkio.weight") && has("blkio.bfq.weight")
	if set(b.Weight) {
		if bfq {
			p.raw("blockIO.weight", "blkio.bfq.weight", strconv.Itoa(int(*b.Weight)))
		} else {
			add("weight", "weight", specs.LinuxBlockIO{Weight: b.Weight})
		}
	}
	if set(b.LeafWeight) {
		add("leafWeight", "leaf_weight", specs.LinuxBlockIO{LeafWeight: b.LeafWeight})
	}
	for i, d := range b.WeightDevice {
		field := fmt.Sprintf("weightDevice[%d]", i)
		if set(d.Weight) {
			if bfq {
				p.raw("blockIO."+field, "blkio.bfq.weight_device", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *d.Weight))
			} else {
				add(field, "weight_device", specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{
					{LinuxBlockIODevice: d.LinuxBlockIODevice, Weight: d.Weight}}})
			}
		}
		if set(d.LeafWeight) {
			add(field, "leaf_weight_device", specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{
				{LinuxBlockIODevice: d.LinuxBlockIODevice, LeafWeight: d.LeafWeight}}})
		}
	}
	for i, d := range b.ThrottleReadBpsDevice {
		add(fmt.Sprintf("throttleReadBpsDevice[%d]", i), "throttle.read_bps_device",
			specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{d}})
	}
	for i, d := range b.ThrottleWriteBpsDevice {
		add(fmt.Sprintf("throttleWriteBpsDevice[%d]", i), "throttle.write_bps_device",
			specs.LinuxBlockIO{ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{d}})
	}
	for i, d := range b.ThrottleReadIOPSDevice {
		add(fmt.Sprintf("throttleReadIOPSDevice[%d]", i), "throttle.read_iops_device",
			specs.LinuxBlockIO{ThrottleReadIOPSDevice: []specs.LinuxThrottleDevice{d}})
	}
	for i, d := range b.ThrottleWriteIOPSDevice {
		add(fmt.Sprintf("throttleWriteIOPSDevice[%d]", i), "throttle.write_iops_device",
			specs.LinuxBlockIO{ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{d}})
	}
}

// planHugepages limits what is reserved, where the kernel can, and what is used
// (runtime-spec: reservation limits by default). unified is true where hugetlb
// is a cgroup2 controller.
func planHugepages(p *plan, limits []specs.LinuxHugepageLimit, unified bool) {
	for i, l := range limits {
		if !p.pageSize(i, l.Pagesize) {
			continue
		}
		field := fmt.Sprintf("hugepageLimits[%d]", i)
		if unified {
			// The library puts the size into the file's name; with this suffix it
			// writes the reservation file, which it does not know.
			for _, size := range []string{l.Pagesize + ".rsvd", l.Pagesize} {
				p.add(step{field: field, file: "hugetlb." + size + ".max", optional: size != l.Pagesize,
					v2: &cgroup2.Resources{HugeTlb: &cgroup2.HugeTlb{{HugePageSize: size, Limit: l.Limit}}}})
			}
			continue
		}
		// The library's v1 writer knows usage limits only and lists the huge
		// page sizes of the host each time.
		value := strconv.FormatUint(l.Limit, 10)
		p.add(step{field: field, file: "hugetlb." + l.Pagesize + ".rsvd.limit_in_bytes", raw: value, optional: true})
		p.raw(field, "hugetlb."+l.Pagesize+".limit_in_bytes", value)
	}
}
