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
			p.raw("network.classID", "net_cls.classid", fmt.Sprint(*n.ClassID))
		}
		for i, prio := range n.Priorities {
			p.raw(fmt.Sprintf("network.priorities[%d]", i), "net_prio.ifpriomap", fmt.Sprintf("%s %d", prio.Name, prio.Priority))
		}
	}
	for _, name := range sortedKeys(res.Rdma) {
		limit, value := res.Rdma[name], name
		if limit.HcaHandles != nil {
			value += fmt.Sprintf(" hca_handle=%d", *limit.HcaHandles)
		}
		if limit.HcaObjects != nil {
			value += fmt.Sprintf(" hca_object=%d", *limit.HcaObjects)
		}
		p.raw("rdma."+name, "rdma.max", value)
	}
	for _, key := range sortedKeys(res.Unified) {
		p.unsupported("unified."+key, "this host has cgroup v1, and unified holds files of v2")
	}
	return p
}

func planMemoryV1(p *plan, m *specs.LinuxMemory, has func(string) bool) {
	add := func(field, file string, bytes int64) {
		p.raw("memory."+field, "memory."+file, strconv.FormatInt(bytes, 10))
	}
	swap := m.Swap
	if set(m.Limit) {
		if *m.Limit == -1 && !set(swap) {
			swap = m.Limit // or the old memory+swap limit would stay and bound memory too
		}
		add("limit", "limit_in_bytes", *m.Limit)
	}
	if set(swap) {
		switch {
		case set(m.Limit) && *m.Limit > 0 && *swap > 0 && *swap < *m.Limit:
			p.invalid("memory.swap", "%d is memory and swap together and must not be less than memory.limit (%d)", *swap, *m.Limit)
		case has("memory.memsw.limit_in_bytes"):
			add("swap", "memsw.limit_in_bytes", *swap)
		case *swap == -1:
			// Nothing to lift.
		case set(m.Limit) && *swap == *m.Limit && has("memory.limit_in_bytes"):
			p.warn("linux.resources.memory.swap: this kernel does not account for swap (swapaccount=1): if the host has swap, the container may use it")
		default:
			add("swap", "memsw.limit_in_bytes", *swap)
		}
	}
	if set(m.Reservation) {
		add("reservation", "soft_limit_in_bytes", *m.Reservation)
	}
	if set(m.KernelTCP) {
		add("kernelTCP", "kmem.tcp.limit_in_bytes", *m.KernelTCP)
	}
	if m.Swappiness != nil {
		p.raw("memory.swappiness", "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10))
	}
	if m.DisableOOMKiller != nil {
		disable := "0"
		if *m.DisableOOMKiller {
			disable = "1"
		}
		p.raw("memory.disableOOMKiller", "memory.oom_control", disable)
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
	unsigned := func(field, file string, n *uint64) { p.raw("cpu."+field, file, strconv.FormatUint(*n, 10)) }
	signed := func(field, file string, n *int64) { p.raw("cpu."+field, file, strconv.FormatInt(*n, 10)) }
	if c.Cpus != "" {
		p.raw("cpu.cpus", "cpuset.cpus", c.Cpus)
	}
	if c.Mems != "" {
		p.raw("cpu.mems", "cpuset.mems", c.Mems)
	}
	if set(c.Shares) {
		// The kernel clamps without a word (sched/core.c: MIN_SHARES, MAX_SHARES).
		if *c.Shares < 2 || *c.Shares > 262144 {
			p.invalid("cpu.shares", "%d is not between 2 and 262144", *c.Shares)
		}
		unsigned("shares", "cpu.shares", c.Shares)
	}
	if set(c.RealtimePeriod) {
		unsigned("realtimePeriod", "cpu.rt_period_us", c.RealtimePeriod)
	}
	if set(c.RealtimeRuntime) {
		signed("realtimeRuntime", "cpu.rt_runtime_us", c.RealtimeRuntime)
	}
	if set(c.Period) {
		unsigned("period", "cpu.cfs_period_us", c.Period)
	}
	if set(c.Quota) {
		signed("quota", "cpu.cfs_quota_us", c.Quota)
	}
	if c.Burst != nil {
		unsigned("burst", "cpu.cfs_burst_us", c.Burst)
	}
	if c.Idle != nil {
		signed("idle", "cpu.idle", c.Idle)
	}
}

// MaxPids is the highest number of tasks that a limit can have (kernel: PID_MAX_LIMIT on 64-bit machines).
const MaxPids = 1 << 22

// planPids serves both versions, which share the file. The library is not used: it
// drops 0, which the runtime spec wants passed on.
func planPids(p *plan, limit int64) {
	value := "max"
	if limit > MaxPids {
		p.invalid("pids.limit", "%d is more than %d, the most that Linux has", limit, MaxPids)
		return
	}
	if limit >= 0 {
		value = strconv.FormatInt(limit, 10)
	}
	p.raw("pids.limit", "pids.max", value)
}

func planBlockIOV1(p *plan, b *specs.LinuxBlockIO, has func(string) bool) {
	// Weights belong to an I/O scheduler: CFQ until Linux 5.0, then BFQ.
	weight := "blkio.weight"
	if !has(weight) && has("blkio.bfq.weight") {
		weight = "blkio.bfq.weight"
	}
	checked := func(field, file, device string, w uint16) {
		if p.blockWeight(field, w) {
			p.raw("blockIO."+field, file, device+fmt.Sprint(w))
		}
	}
	if set(b.Weight) {
		checked("weight", weight, "", *b.Weight)
	}
	if set(b.LeafWeight) {
		p.raw("blockIO.leafWeight", "blkio.leaf_weight", fmt.Sprint(*b.LeafWeight))
	}
	for i, d := range b.WeightDevice {
		field := fmt.Sprintf("weightDevice[%d]", i)
		device := fmt.Sprintf("%d:%d", d.Major, d.Minor)
		if set(d.Weight) {
			checked(field, weight+"_device", device+" ", *d.Weight)
		}
		if set(d.LeafWeight) {
			p.raw("blockIO."+field, "blkio.leaf_weight_device", fmt.Sprintf("%s %d", device, *d.LeafWeight))
		}
	}
	throttle := func(field, file string, devices []specs.LinuxThrottleDevice) {
		for i, d := range devices {
			p.raw(fmt.Sprintf("blockIO.%s[%d]", field, i), "blkio.throttle."+file, fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate))
		}
	}
	throttle("throttleReadBpsDevice", "read_bps_device", b.ThrottleReadBpsDevice)
	throttle("throttleWriteBpsDevice", "write_bps_device", b.ThrottleWriteBpsDevice)
	throttle("throttleReadIOPSDevice", "read_iops_device", b.ThrottleReadIOPSDevice)
	throttle("throttleWriteIOPSDevice", "write_iops_device", b.ThrottleWriteIOPSDevice)
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
		value := strconv.FormatUint(l.Limit, 10)
		p.add(step{field: field, file: "hugetlb." + l.Pagesize + ".rsvd.limit_in_bytes", raw: value, optional: true})
		p.raw(field, "hugetlb."+l.Pagesize+".limit_in_bytes", value)
	}
}
