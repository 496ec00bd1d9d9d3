package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/internal/specfields"
)

// testPath returns a path for a test's group. Nothing else has that name.
func testPath(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	if _, err := DetectMode(); err != nil {
		t.Skip(err)
	}
	name := strings.NewReplacer("/", "-", "_", "-").Replace(strings.ToLower(t.Name()))
	place := fmt.Sprintf("/winbox-test-%d-%s", os.Getpid(), name)
	// Limits on huge pages make a hybrid host's root hand the controller down.
	file := mountRoot + "/unified/cgroup.subtree_control"
	if before, err := os.ReadFile(file); err == nil && !contains(string(before), "hugetlb") {
		t.Cleanup(func() { _ = writeFile(file, "-hugetlb") })
	}
	t.Cleanup(func() { sweep(t, place) })
	return place
}

// sweep fails a test that left its group behind, and removes it.
func sweep(t testing.TB, place string) {
	mode, _ := DetectMode()
	g, err := newGroup(mode, place)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range g.hierarchies {
		if _, err := os.Lstat(h.dir()); err == nil {
			t.Errorf("%s was left behind", h.dir())
		}
	}
	if err := errors.Join(g.Kill(unix.SIGKILL), g.Delete()); err != nil {
		t.Error(err)
	}
}

// create makes a group that is removed at the end of the test.
func create(t testing.TB, res *specs.LinuxResources) *Group {
	t.Helper()
	g, err := Create(testPath(t), res)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Kill(unix.SIGKILL), g.Delete()); err != nil {
			t.Error(err)
		}
	})
	return g
}

// legacy returns the group as a host without a cgroup2 mount would see it.
func (g *Group) legacy() *Group {
	l := *g
	l.hierarchies = slices.DeleteFunc(slices.Clone(g.hierarchies), func(h Hierarchy) bool { return h.Unified })
	return &l
}

// views returns the ways to look at a group that this host offers.
func views(g *Group) map[string]*Group {
	v := map[string]*Group{g.mode.String(): g}
	if g.mode == V1 && g.unified() != nil {
		v["legacy"] = g.legacy()
	}
	return v
}

// content reads files of the group: "memory.max=1 pids.max=2".
func content(g *Group, files ...string) string {
	var out []string
	for _, f := range files {
		out = append(out, f+"="+g.read(f))
	}
	return strings.Join(out, " ")
}

func TestLimits(t *testing.T) {
	res := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(64 << 20)), Reservation: new(int64(32 << 20))},
		CPU:    &specs.LinuxCPU{Shares: new(uint64(512)), Quota: new(int64(50000)), Period: new(uint64(100000)), Burst: new(uint64(10000)), Cpus: "0"},
		Pids:   &specs.LinuxPids{Limit: new(int64(40))},
	}
	g := create(t, res)
	files := map[Mode]string{
		V1: "memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=67108864 memory.soft_limit_in_bytes=33554432 cpu.shares=512 cpu.cfs_quota_us=50000 cpu.cfs_period_us=100000 cpu.cfs_burst_us=10000 cpuset.cpus=0 pids.max=40",
		V2: "memory.max=67108864 memory.swap.max=0 memory.low=33554432 memory.oom.group=1 cpu.weight=59 cpu.max=50000 100000 cpu.max.burst=10000 cpuset.cpus=0 pids.max=40",
	}
	check := func(g *Group, want string) {
		t.Helper()
		var names []string
		for f := range strings.FieldsSeq(want) {
			if name, _, ok := strings.Cut(f, "="); ok {
				names = append(names, name)
			}
		}
		if got := content(g, names...); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
	check(g, files[g.mode])

	for _, up := range []struct {
		name   string
		res    specs.LinuxResources
		v1, v2 string
	}{
		{"raise", specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: new(int64(128 << 20)), Swap: new(int64(160 << 20))},
			CPU:    &specs.LinuxCPU{Quota: new(int64(200000)), Period: new(uint64(200000)), Burst: new(uint64(150000))}},
			"memory.limit_in_bytes=134217728 memory.memsw.limit_in_bytes=167772160 cpu.cfs_quota_us=200000 cpu.cfs_period_us=200000 cpu.cfs_burst_us=150000 pids.max=40",
			"memory.max=134217728 memory.swap.max=33554432 cpu.max=200000 200000 cpu.max.burst=150000 pids.max=40"},
		{"lower", specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: new(int64(32 << 20)), Swap: new(int64(40 << 20))},
			CPU:    &specs.LinuxCPU{Quota: new(int64(10000)), Period: new(uint64(50000)), Burst: new(uint64(5000))}},
			"memory.limit_in_bytes=33554432 memory.memsw.limit_in_bytes=41943040 cpu.cfs_quota_us=10000 cpu.cfs_period_us=50000 cpu.cfs_burst_us=5000",
			"memory.max=33554432 memory.swap.max=8388608 cpu.max=10000 50000 cpu.max.burst=5000"},
		{"period alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: new(uint64(100000))}},
			"cpu.cfs_quota_us=10000 cpu.cfs_period_us=100000", "cpu.max=10000 100000"},
		{"lift", specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: new(int64(-1))},
			CPU:    &specs.LinuxCPU{Quota: new(int64(-1)), Burst: new(uint64(0)), Idle: new(int64(1))},
			Pids:   &specs.LinuxPids{Limit: new(int64(-1))}},
			"memory.limit_in_bytes=9223372036854771712 memory.memsw.limit_in_bytes=9223372036854771712 cpu.cfs_quota_us=-1 cpu.idle=1 pids.max=max",
			"memory.max=max memory.swap.max=max cpu.max=max 100000 cpu.idle=1 pids.max=max"},
	} {
		t.Run(up.name, func(t *testing.T) {
			if err := g.Update(&up.res); err != nil {
				t.Fatal(err)
			}
			if g.mode == V2 {
				check(g, up.v2)
			} else {
				check(g, up.v1)
			}
		})
	}
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.Memory.Limit != Unlimited || stats.Swap.Limit != Unlimited || stats.Pids.Limit != Unlimited {
		t.Errorf("limits that were lifted: %+v", stats)
	}
}

// TestUpdateEachField changes each limit of linux.resources twice, by itself, in a group that is in use, and reads the
// files. What this version of cgroups or this kernel cannot do must be refused by the field's name.
func TestUpdateEachField(t *testing.T) {
	g := create(t, nil)
	spawn(t, g, "sleep")
	memory := func(m specs.LinuxMemory) specs.LinuxResources { return specs.LinuxResources{Memory: &m} }
	cpu := func(c specs.LinuxCPU) specs.LinuxResources { return specs.LinuxResources{CPU: &c} }
	blockIO := func(b specs.LinuxBlockIO) specs.LinuxResources { return specs.LinuxResources{BlockIO: &b} }
	network := func(n specs.LinuxNetwork) specs.LinuxResources { return specs.LinuxResources{Network: &n} }
	if g.mode == V2 && !g.has("io.bfq.weight") && g.has("io.weight") { // until newDisk has the kernel load BFQ
		res := blockIO(specs.LinuxBlockIO{Weight: new(uint16(500))})
		if err := g.Update(&res); err != nil || g.read("io.weight") != "default 4950" {
			t.Errorf("blockIO.weight: %v, %s", err, content(g, "io.weight"))
		}
	}
	major, minor := newDisk(t, "bfq")
	rate := func(n uint64) []specs.LinuxThrottleDevice { return throttle(major, minor, n) }
	disk := fmt.Sprintf("%d:%d ", major, minor)
	weight := func(major, minor int64, n uint64) specs.LinuxResources {
		w := specs.LinuxWeightDevice{Weight: new(uint16(n))}
		w.Major, w.Minor = major, minor
		return blockIO(specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{w}})
	}
	oomKiller := [2]uint64{0, 1} // off
	if g.mode == V2 {
		oomKiller[0] = 1 // what it does is refused
	}
	rows := []struct {
		field  string
		make   func(n uint64) specs.LinuxResources
		values [2]uint64
		v1, v2 string // the file; without one, the field is refused
		// text is what the file has for a value, if not the number itself. A file for several devices has it among others.
		text func(n uint64) string
		// refused is what the kernel says where the file is there, but not what the limit is for.
		refused error
	}{
		{field: "memory.limit", make: func(n uint64) specs.LinuxResources { return memory(specs.LinuxMemory{Limit: new(int64(n))}) },
			values: [2]uint64{128 << 20, 64 << 20}, v1: "memory.limit_in_bytes", v2: "memory.max"},
		{field: "memory.swap", make: func(n uint64) specs.LinuxResources { return memory(specs.LinuxMemory{Swap: new(int64(n))}) },
			values: [2]uint64{96 << 20, 80 << 20}, v1: "memory.memsw.limit_in_bytes", v2: "memory.swap.max",
			text: func(n uint64) string {
				if g.mode == V2 {
					n -= 64 << 20
				}
				return fmt.Sprint(n)
			}},
		{field: "memory.reservation", make: func(n uint64) specs.LinuxResources { return memory(specs.LinuxMemory{Reservation: new(int64(n))}) },
			values: [2]uint64{16 << 20, 8 << 20}, v1: "memory.soft_limit_in_bytes", v2: "memory.low"},
		{field: "memory.kernelTCP", make: func(n uint64) specs.LinuxResources { return memory(specs.LinuxMemory{KernelTCP: new(int64(n))}) },
			values: [2]uint64{16 << 20, 8 << 20}, v1: "memory.kmem.tcp.limit_in_bytes"},
		{field: "memory.swappiness", make: func(n uint64) specs.LinuxResources { return memory(specs.LinuxMemory{Swappiness: new(n)}) },
			values: [2]uint64{10, 0}, v1: "memory.swappiness"},
		{field: "memory.disableOOMKiller", make: func(n uint64) specs.LinuxResources { return memory(specs.LinuxMemory{DisableOOMKiller: new(n == 1)}) },
			values: oomKiller, v1: "memory.oom_control", text: func(n uint64) string { return fmt.Sprintf("oom_kill_disable %d\n", n) }},
		{field: "memory.useHierarchy", make: func(n uint64) specs.LinuxResources { return memory(specs.LinuxMemory{UseHierarchy: new(false)}) }},
		{field: "cpu.shares", make: func(n uint64) specs.LinuxResources { return cpu(specs.LinuxCPU{Shares: new(n)}) },
			values: [2]uint64{1024, 2}, v1: "cpu.shares", v2: "cpu.weight",
			text: func(n uint64) string {
				if g.mode == V2 {
					return map[uint64]string{1024: "100", 2: "1"}[n]
				}
				return fmt.Sprint(n)
			}},
		{field: "cpu.period", make: func(n uint64) specs.LinuxResources { return cpu(specs.LinuxCPU{Period: new(n)}) },
			values: [2]uint64{50000, 200000}, v1: "cpu.cfs_period_us", v2: "cpu.max",
			text: func(n uint64) string {
				if g.mode == V2 {
					return fmt.Sprintf("max %d", n)
				}
				return fmt.Sprint(n)
			}},
		{field: "cpu.quota", make: func(n uint64) specs.LinuxResources { return cpu(specs.LinuxCPU{Quota: new(int64(n))}) },
			values: [2]uint64{50000, 100000}, v1: "cpu.cfs_quota_us", v2: "cpu.max",
			text: func(n uint64) string {
				if g.mode == V2 {
					return fmt.Sprintf("%d 200000", n)
				}
				return fmt.Sprint(n)
			}},
		{field: "cpu.burst", make: func(n uint64) specs.LinuxResources { return cpu(specs.LinuxCPU{Burst: new(n)}) },
			values: [2]uint64{20000, 10000}, v1: "cpu.cfs_burst_us", v2: "cpu.max.burst"},
		{field: "cpu.realtimePeriod", make: func(n uint64) specs.LinuxResources { return cpu(specs.LinuxCPU{RealtimePeriod: new(n)}) },
			values: [2]uint64{500000, 800000}, v1: "cpu.rt_period_us"},
		{field: "cpu.realtimeRuntime", make: func(n uint64) specs.LinuxResources { return cpu(specs.LinuxCPU{RealtimeRuntime: new(int64(n))}) },
			values: [2]uint64{2000, 1000}, v1: "cpu.rt_runtime_us"},
		{field: "cpu.idle", make: func(n uint64) specs.LinuxResources { return cpu(specs.LinuxCPU{Idle: new(int64(n))}) },
			values: [2]uint64{1, 0}, v1: "cpu.idle", v2: "cpu.idle"},
		{field: "cpu.cpus", make: func(n uint64) specs.LinuxResources { return cpu(specs.LinuxCPU{Cpus: fmt.Sprint(n)}) },
			values: [2]uint64{uint64(runtime.NumCPU() - 1), 0}, v1: "cpuset.cpus", v2: "cpuset.cpus"},
		{field: "cpu.mems", make: func(n uint64) specs.LinuxResources { return cpu(specs.LinuxCPU{Mems: fmt.Sprint(n)}) },
			values: [2]uint64{0, 0}, v1: "cpuset.mems", v2: "cpuset.mems"},
		{field: "pids.limit", make: func(n uint64) specs.LinuxResources {
			return specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(n))}}
		}, values: [2]uint64{50, 20}, v1: "pids.max", v2: "pids.max"},
		{field: "hugepageLimits", make: func(n uint64) specs.LinuxResources {
			return specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: n}}}
		}, values: [2]uint64{8 << 20, 4 << 20}, v1: "hugetlb.2MB.limit_in_bytes", v2: "hugetlb.2MB.max"},
		{field: "blockIO.weight", make: func(n uint64) specs.LinuxResources { return blockIO(specs.LinuxBlockIO{Weight: new(uint16(n))}) },
			values: [2]uint64{500, 20}, v1: "blkio.bfq.weight", v2: "io.bfq.weight", text: func(n uint64) string {
				if g.mode == V2 {
					return fmt.Sprintf("default %d\n", n)
				}
				return fmt.Sprint(n)
			}},
		{field: "blockIO.leafWeight", make: func(n uint64) specs.LinuxResources {
			return blockIO(specs.LinuxBlockIO{LeafWeight: new(uint16(n))})
		}, values: [2]uint64{500, 20}, v1: "blkio.leaf_weight"},
		{field: "blockIO.weightDevice", make: func(n uint64) specs.LinuxResources { return weight(major, minor, n) },
			values: [2]uint64{600, 30}, v1: "blkio.bfq.weight_device", v2: "io.bfq.weight",
			text: func(n uint64) string { return disk + fmt.Sprint(n) }},
		{field: "blockIO.weightDevice", make: func(n uint64) specs.LinuxResources {
			major, minor := newDisk(t, "none")
			return weight(major, minor, n)
		}, values: [2]uint64{600, 30}, v1: "blkio.bfq.weight_device", v2: "io.bfq.weight", refused: unix.EOPNOTSUPP},
		{field: "blockIO.throttleReadBpsDevice", make: func(n uint64) specs.LinuxResources {
			return blockIO(specs.LinuxBlockIO{ThrottleReadBpsDevice: rate(n)})
		}, values: [2]uint64{2 << 20, 1 << 20}, v1: "blkio.throttle.read_bps_device", v2: "io.max",
			text: ioText(disk, "rbps=", g.mode)},
		{field: "blockIO.throttleWriteBpsDevice", make: func(n uint64) specs.LinuxResources {
			return blockIO(specs.LinuxBlockIO{ThrottleWriteBpsDevice: rate(n)})
		}, values: [2]uint64{3 << 20, 4 << 20}, v1: "blkio.throttle.write_bps_device", v2: "io.max",
			text: ioText(disk, "wbps=", g.mode)},
		{field: "blockIO.throttleReadIOPSDevice", make: func(n uint64) specs.LinuxResources {
			return blockIO(specs.LinuxBlockIO{ThrottleReadIOPSDevice: rate(n)})
		}, values: [2]uint64{200, 100}, v1: "blkio.throttle.read_iops_device", v2: "io.max",
			text: ioText(disk, "riops=", g.mode)},
		{field: "blockIO.throttleWriteIOPSDevice", make: func(n uint64) specs.LinuxResources {
			return blockIO(specs.LinuxBlockIO{ThrottleWriteIOPSDevice: rate(n)})
		}, values: [2]uint64{400, 300}, v1: "blkio.throttle.write_iops_device", v2: "io.max",
			text: ioText(disk, "wiops=", g.mode)},
		{field: "network.classID", make: func(n uint64) specs.LinuxResources {
			return network(specs.LinuxNetwork{ClassID: new(uint32(n))})
		}, values: [2]uint64{0x100001, 0x100002}, v1: "net_cls.classid"},
		{field: "network.priorities", make: func(n uint64) specs.LinuxResources {
			return network(specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: uint32(n)}}})
		}, values: [2]uint64{5, 3}, v1: "net_prio.ifpriomap", text: func(n uint64) string { return fmt.Sprintf("lo %d", n) }},
		{field: "rdma", make: func(n uint64) specs.LinuxResources {
			return specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"winbox0": {HcaHandles: new(uint32(n)), HcaObjects: new(uint32(n))}}}
		}, values: [2]uint64{3, 2}, v1: "rdma.max", v2: "rdma.max", refused: unix.ENODEV},
		{field: "unified", make: func(n uint64) specs.LinuxResources {
			return specs.LinuxResources{Unified: map[string]string{"memory.high": fmt.Sprint(n)}}
		}, values: [2]uint64{60 << 20, 50 << 20}, v2: "memory.high"},
	}
	for _, path := range specfields.List(reflect.TypeFor[specs.LinuxResources]()) {
		switch {
		case strings.HasPrefix(path, "devices."): // TestDevices
		case path == "memory.checkBeforeUpdate": // TestCheckBeforeUpdate
		case path == "memory.kernel": // TestPlan: a warning
		default:
			tested := false
			for _, row := range rows {
				tested = tested || path == row.field || strings.HasPrefix(path, row.field+".")
			}
			if !tested {
				t.Errorf("%s is not tested", path)
			}
		}
	}
	for _, row := range rows {
		t.Run(row.field, func(t *testing.T) {
			file := row.v1
			if g.mode == V2 {
				file = row.v2
			}
			for _, n := range row.values {
				res := row.make(n)
				err := g.Update(&res)
				if err != nil && !strings.Contains(err.Error(), "linux.resources."+row.field) {
					t.Errorf("%d: the field is not named: %v", n, err)
				}
				if file == "" || errors.Is(err, ErrUnsupported) { // by this version, or this kernel
					if !errors.Is(err, ErrUnsupported) {
						t.Errorf("%d: %v", n, err)
					} else if file != "" && g.has(file) {
						t.Errorf("%d: refused, though there is %s", n, file)
					}
					t.Log(err)
					continue
				}
				if row.refused != nil {
					if !errors.Is(err, row.refused) || !strings.Contains(err.Error(), file) {
						t.Errorf("%d: %v, want %v and the file's name", n, err, row.refused)
					}
					t.Log(err)
					continue
				}
				want := fmt.Sprint(n)
				if row.text != nil {
					want = row.text(n)
				}
				got := g.read(file)
				if data, readErr := os.ReadFile(g.unified().dir() + "/" + row.v2); got == "" && row.v2 != "" && readErr == nil {
					got = strings.TrimSpace(string(data)) // huge pages, on a hybrid host
				}
				if err != nil || got != want && (row.text == nil || !strings.Contains(got+"\n", want)) {
					t.Errorf("%d: %v, %s has %q, want %q", n, err, file, got, want)
				}
			}
		})
	}
}

// ioText gives what the file of a throttle has for a disk.
func ioText(disk, key string, mode Mode) func(uint64) string {
	return func(n uint64) string {
		if mode == V2 {
			return key + fmt.Sprint(n)
		}
		return disk + fmt.Sprint(n)
	}
}

// newDisk makes a disk of a file, with a scheduler; it gives the disk's numbers, or skips the test where there are no such.
func newDisk(t *testing.T, scheduler string) (major, minor int64) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = exec.Command("modprobe", "loop").Run() // where it is a module
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	device := strings.TrimSpace(string(out))
	if err != nil {
		t.Skipf("needs a disk of a file: %v: %s", err, out)
	}
	setting := "/sys/block/" + filepath.Base(device) + "/queue/scheduler"
	before, err := os.ReadFile(setting)
	if err == nil {
		err = os.WriteFile(setting, []byte(scheduler), 0)
	}
	t.Cleanup(func() { // the scheduler stays the device's when the file is not
		_, rest, _ := strings.Cut(string(before), "[")
		name, _, _ := strings.Cut(rest, "]")
		if err := os.WriteFile(setting, []byte(name), 0); err != nil {
			t.Error(err)
		}
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	if err != nil {
		t.Skipf("needs the I/O scheduler %s: %v", scheduler, err)
	}
	var info unix.Stat_t
	if err := unix.Stat(device, &info); err != nil {
		t.Fatal(err)
	}
	return int64(unix.Major(info.Rdev)), int64(unix.Minor(info.Rdev))
}

func TestHugepages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/hugepages/hugepages-2048kB"); err != nil {
		t.Skip("the kernel has no 2 MiB pages")
	}
	g := create(t, &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}})
	file := "hugetlb.2MB.max"
	dir := ""
	if h := g.hierarchy("hugetlb"); h != nil {
		dir, file = h.dir(), "hugetlb.2MB.limit_in_bytes"
	} else {
		dir = g.unified().dir()
	}
	if data, err := os.ReadFile(dir + "/" + file); string(data) != "4194304\n" {
		t.Errorf("%s: %q, %v", file, data, err)
	}
}

// TestCreateFails checks that an error names the field, and that nothing stays.
func TestCreateFails(t *testing.T) {
	for _, tt := range []struct {
		name, field string
		res         specs.LinuxResources
		unsupported bool
	}{
		{"no such processor", "linux.resources.cpu.cpus", specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}}, false},
		{"absurd period", "linux.resources.cpu.period", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: new(uint64(1)), Quota: new(int64(1))}}, false},
		{"no such file", "linux.resources.blockIO.leafWeight", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{LeafWeight: new(uint16(10))}}, true},
		{"swap below memory", "linux.resources.memory.swap", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(2 << 20)), Swap: new(int64(1 << 20))}}, false},
		{"no such huge page", "linux.resources.hugepageLimits[0]", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "3MB"}}}, true},
		{"device", "linux.resources.devices[0].type", specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "x"}}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parent := testPath(t)
			_, err := Create(parent+"/a/b", &tt.res)
			if err == nil {
				t.Fatal("accepted")
			}
			t.Log(err)
			field := tt.field
			if mode, _ := DetectMode(); mode == V2 && tt.name == "absurd period" {
				field = "linux.resources.cpu.quota" // one file for both
			}
			if !strings.Contains(err.Error(), field) || errors.Is(err, ErrUnsupported) != tt.unsupported {
				t.Errorf("%v: does not name %s, or is wrong about support", err, field)
			}
		})
	}
}

func TestExisting(t *testing.T) {
	g := create(t, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(50))}})
	again, err := Create(g.Path(), nil)
	if err != nil {
		t.Fatalf("an empty group was refused: %v", err)
	}
	if got := content(again, "pids.max"); got != "pids.max=50" {
		t.Errorf("taken over with %s", got)
	}
	spawn(t, g, "sleep")
	_, err = Create(g.Path(), nil)
	var occupied *NotEmptyError
	if !errors.As(err, &occupied) || len(occupied.Pids) != 1 || !strings.Contains(err.Error(), "container's cgroup is not empty: 1 process(es) found") {
		t.Errorf("a group with a process: %v", err)
	}
	if err := g.Kill(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(time.Second, func() bool { pids, _ := g.Pids(); return len(pids) == 0 })
	if err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(g.Path(), nil); !errors.Is(err, ErrFrozen) {
		t.Errorf("a frozen group: %v", err)
	}
	if err := g.Start(&syscall.SysProcAttr{}, func() (int, error) { return 0, errors.New("started") }); !errors.Is(err, ErrFrozen) {
		t.Errorf("start in a frozen group: %v", err)
	}
}

func TestState(t *testing.T) {
	g := create(t, nil)
	text, err := json.Marshal(g.State())
	if err != nil {
		t.Fatal(err)
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(s)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(loaded.Mounts()) != fmt.Sprint(g.Mounts()) {
		t.Errorf("%s: loaded %v, want %v", text, loaded.Mounts(), g.Mounts())
	}
	if _, err := Load(State{Mode: V1 + V2 - g.mode, Path: s.Path}); err == nil {
		t.Error("a group of the other mode was loaded")
	}
	if _, err := Load(State{Mode: g.mode, Path: "/a/../.."}); err == nil {
		t.Error("a path with .. was loaded")
	}
}

// membership returns the groups of a process, without the test's own.
func membership(t *testing.T, pid int) []string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	var inside []string
	for line := range strings.Lines(string(data)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); strings.Contains(f[2], "winbox-test-") {
			inside = append(inside, f[1])
		}
	}
	return inside
}

func TestStartAndAdd(t *testing.T) {
	g := create(t, nil)
	started := spawn(t, g, "sleep")
	added := spawnOutside(t, "sleep")
	if err := g.Add(added.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]*process{"started": started, "added": added} {
		if got := membership(t, p.cmd.Process.Pid); len(got) != len(g.hierarchies) {
			t.Errorf("%s process is in the hierarchies %q of %d", name, got, len(g.hierarchies))
		}
	}
	if got := membership(t, os.Getpid()); len(got) > 0 {
		t.Errorf("the test itself is in %q", got)
	}
	for name, v := range views(g) {
		pids, err := v.Pids()
		slices.Sort(pids)
		want := []int{started.cmd.Process.Pid, added.cmd.Process.Pid}
		slices.Sort(want)
		if err != nil || !slices.Equal(pids, want) {
			t.Errorf("%s: processes %v, %v; want %v", name, pids, err, want)
		}
	}
	dir, err := g.Dir()
	if err != nil || (dir != nil) != (g.mode == V2) {
		t.Errorf("directory %v, %v", dir, err)
	}
	dir.Close()
}

func TestOnOwnThread(t *testing.T) {
	for range 50 {
		ran := 0
		onOwnThread(func() {
			if unix.Gettid() == unix.Getpid() {
				t.Error("on the main thread, which cannot end")
			}
			ran++
		})
		if ran != 1 {
			t.Fatalf("ran %d times", ran)
		}
	}
}

func TestFreeze(t *testing.T) {
	g := create(t, nil)
	for name, v := range views(g) {
		t.Run(name, func(t *testing.T) {
			p := spawn(t, g, "sleep")
			if err := v.Freeze(); err != nil {
				t.Fatal(err)
			}
			if frozen, err := v.Frozen(); err != nil || !frozen {
				t.Errorf("frozen: %v, %v", frozen, err)
			}
			p.begin()
			answer := make(chan string, 1)
			go func() { answer <- p.line() }()
			select {
			case line := <-answer:
				t.Errorf("a frozen process said %q", line)
			case <-time.After(100 * time.Millisecond):
			}
			if err := v.Thaw(); err != nil {
				t.Fatal(err)
			}
			if frozen, err := v.Frozen(); err != nil || frozen {
				t.Errorf("frozen after thaw: %v, %v", frozen, err)
			}
			if line := <-answer; line != "sleeping" {
				t.Errorf("after thaw: %q", line)
			}
		})
	}
}

func TestKill(t *testing.T) {
	g := create(t, nil)
	for name, v := range views(g) {
		for _, frozen := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s frozen=%v", name, frozen), func(t *testing.T) {
				a, b := spawn(t, g, "sleep"), spawn(t, g, "sleep")
				if frozen {
					if err := v.Freeze(); err != nil {
						t.Fatal(err)
					}
				}
				if err := v.Kill(unix.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if frozen {
					if still, _ := v.Frozen(); !still {
						t.Error("SIGTERM thawed the group")
					}
				} else if sig := a.signal(); sig != unix.SIGTERM {
					t.Errorf("ended by %v", sig)
				}
				if err := v.Kill(unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if sig := b.signal(); sig != unix.SIGKILL && sig != unix.SIGTERM {
					t.Errorf("ended by %v", sig)
				}
				if still, _ := v.Frozen(); still {
					t.Error("frozen after SIGKILL")
				}
			})
		}
	}
}

// TestKillForkBomb kills something that makes processes faster than they can be
// listed.
func TestKillForkBomb(t *testing.T) {
	g := create(t, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(200))}})
	for name, v := range views(g) {
		t.Run(name, func(t *testing.T) {
			p := spawn(t, g, "fork")
			p.begin()
			p.line()
			var before []int
			if !await(20*time.Second, func() bool { before, _ = v.Pids(); return len(before) > 8 }) {
				t.Fatalf("only %d processes were made", len(before))
			}
			if err := v.Kill(unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			var left []int
			if !await(5*time.Second, func() bool { left, _ = v.Pids(); return len(left) == 0 }) {
				t.Fatalf("of %d processes, %v escaped", len(before), left)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	g := create(t, nil)
	p := spawn(t, g, "nest")
	p.begin()
	if line := p.line(); line != "nested" {
		t.Fatal(line)
	}
	pids, err := g.Pids()
	if err != nil || len(pids) != 1 {
		t.Errorf("processes below: %v, %v", pids, err)
	}
	if err := g.Kill(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := g.Delete(); err != nil { // waits for what was killed, reaped or not
		t.Fatal(err)
	}
	p.signal()
	for _, h := range g.Mounts() {
		if _, err := os.Stat(h.MountPoint + h.Path); err == nil {
			t.Errorf("%s%s is still there", h.MountPoint, h.Path)
		}
	}
	// All of these take a missing group for an empty one.
	pids, err = g.Pids()
	kills, oomErr := g.OOMKills()
	frozen, frozenErr := g.Frozen()
	if err := errors.Join(err, oomErr, frozenErr, g.Kill(unix.SIGTERM), g.Kill(unix.SIGKILL), g.Thaw(), g.Delete()); err != nil || len(pids) > 0 || kills > 0 || frozen {
		t.Errorf("a missing group: %v, %v, %v, %v", err, pids, kills, frozen)
	}
	if err := g.Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(1))}}); err == nil {
		t.Error("updated a missing group")
	}
}

func TestOOM(t *testing.T) {
	g := create(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(48 << 20)), Swap: new(int64(64 << 20))}})
	bystander := spawn(t, g, "sleep")
	p := spawn(t, g, "allocate 256")
	p.begin()
	if line := p.line(); line != "" {
		t.Errorf("the child said %q", line)
	}
	if sig := p.signal(); sig != unix.SIGKILL {
		t.Errorf("ended by %v", sig)
	}
	kills, err := g.OOMKills()
	if err != nil || kills == 0 || (g.mode == V1 && kills != 1) {
		t.Errorf("%d kills, %v", kills, err)
	}
	if g.mode == V2 { // the group dies as one
		if sig := bystander.signal(); sig != unix.SIGKILL {
			t.Errorf("the other process ended by %v", sig)
		}
	}
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.OOMKills < kills || stats.Memory.Failures == 0 || stats.Memory.Limit != 48<<20 || stats.Swap.Limit != 64<<20 ||
		(stats.Memory.Peak != 0 && (stats.Memory.Peak < 40<<20 || stats.Memory.Peak > 48<<20)) {
		t.Errorf("statistics %+v", stats)
	}
	if stats.CPU.Usage == 0 {
		t.Error("no processor time was counted")
	}
}

// TestOOMBelow checks that a kill in a group that the container made counts.
func TestOOMBelow(t *testing.T) {
	g := create(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(48 << 20))}})
	below := g.Path() + "/below"
	inner, err := Create(below, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := spawn(t, inner, "allocate 256")
	p.begin()
	p.signal()
	if kills, err := g.OOMKills(); err != nil || kills == 0 {
		t.Errorf("%d kills, %v", kills, err)
	}
}

func TestCheckBeforeUpdate(t *testing.T) {
	g := create(t, nil)
	p := spawn(t, g, "sleep")
	p.begin()
	p.line()
	err := g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(4096)), CheckBeforeUpdate: new(true)}})
	if err == nil || !strings.Contains(err.Error(), "linux.resources.memory.limit") {
		t.Errorf("error %v", err)
	}
}

func TestDevices(t *testing.T) {
	const job = "open /dev/null rw /dev/kmsg r /dev/kmsg rw /dev/urandom r"
	const denied = "operation not permitted"
	asked := func(s string) *specs.LinuxResources {
		res := &specs.LinuxResources{Devices: DeviceRules(nil)}
		if s != "" {
			res.Devices = DeviceRules([]specs.LinuxDeviceCgroup{device(t, s)})
		}
		return res
	}
	open := func(g *Group) string {
		t.Helper()
		p := spawn(t, g, job)
		p.begin()
		return p.line()
	}
	g := create(t, asked(""))
	for _, tt := range []struct{ rule, kmsgR, kmsgRW string }{
		{"", denied, denied},
		{"allow c 1:11 r", "<nil>", denied},
		{"allow c 1:11 rw", "<nil>", "<nil>"},
		{"allow a *:* rwm", "<nil>", "<nil>"},
		{"", denied, denied},
	} {
		if err := g.Update(asked(tt.rule)); err != nil {
			t.Fatalf("%s: %v", tt.rule, err)
		}
		want := fmt.Sprintf("<nil> %s %s <nil>", tt.kmsgR, tt.kmsgRW)
		if got := open(g); got != want {
			t.Errorf("with %q: %s\nwant %s", tt.rule, got, want)
		}
	}
}

func TestUnprivileged(t *testing.T) {
	testPath(t)
	p := spawnOutside(t, "unprivileged box-"+strconv.Itoa(os.Getpid()))
	p.begin()
	if line := p.line(); line != "not delegated" {
		t.Errorf("an ordinary user: %s", line)
	}
}

// TestDelegated makes a group as an ordinary user in a sub-tree that was handed
// over (admin-guide/cgroup-v2: delegation containment).
func TestDelegated(t *testing.T) {
	place := testPath(t)
	if mode, _ := DetectMode(); mode != V2 {
		t.Skip("v1 has no safe delegation")
	}
	tree, err := Create(place, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(tree.Kill(unix.SIGKILL), tree.Delete()) })
	shell, err := Create(place+"/shell", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{place, place + "/shell"} {
		for _, file := range []string{"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"} {
			if err := os.Chown(mountRoot+dir+file, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := spawn(t, shell, "unprivileged box")
	p.begin()
	want := fmt.Sprintf(`{"members":1,"memory":33554432,"path":"%s/winbox-box","pids":16,"warnings":0}`, place)
	if line := p.line(); line != want {
		t.Errorf("\n got %s\nwant %s", line, want)
	}
}

// TestUnified sets files of v2 by name.
func TestUnified(t *testing.T) {
	place := testPath(t)
	g, err := Create(place, &specs.LinuxResources{Unified: map[string]string{"memory.high": "40000000", "pids.max": "9"}})
	if mode, _ := DetectMode(); mode == V1 {
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "linux.resources.unified.memory.high") {
			t.Errorf("on v1: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Delete() })
	if got := content(g, "pids.max"); got != "pids.max=9" {
		t.Error(got)
	}
	err = g.Update(&specs.LinuxResources{Unified: map[string]string{"nothing.max": "1"}})
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "linux.resources.unified.nothing.max") {
		t.Errorf("a controller that does not exist: %v", err)
	}
}

// TestCPUQuota checks that a quota holds and that the throttling is counted.
func TestCPUQuota(t *testing.T) {
	g := create(t, &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(10000)), Period: new(uint64(100000))}})
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
	if err := startCommand(g, cmd); err != nil {
		t.Fatal(err)
	}
	time.Sleep(700 * time.Millisecond)
	if err := g.Kill(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	// By periods, not by the clock: on a slow machine more of them go by. What a tick finds too late is paid back later.
	most := 2 * 10 * time.Millisecond * time.Duration(stats.CPU.Periods+2)
	if used := time.Duration(stats.CPU.Usage); used > most || stats.CPU.ThrottledPeriods == 0 || stats.CPU.ThrottledTime == 0 {
		t.Errorf("a tenth of a processor: more than %v, or not held back: %+v", most, stats.CPU)
	}
}

// BenchmarkLifecycle is what a container costs: a group with common limits, one
// process, and the end of both.
func BenchmarkLifecycle(b *testing.B) {
	base := testPath(b)
	var spent [4][]time.Duration
	lap := func(i int, since time.Time, without time.Duration) time.Time {
		now := time.Now()
		spent[i] = append(spent[i], now.Sub(since)-without)
		return now
	}
	for b.Loop() {
		cmd := exec.Command("/bin/sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		t := time.Now()
		g, err := Create(base, &specs.LinuxResources{
			Memory:  &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(64 << 20))},
			CPU:     &specs.LinuxCPU{Shares: new(uint64(1024)), Quota: new(int64(50000)), Period: new(uint64(100000))},
			Pids:    &specs.LinuxPids{Limit: new(int64(64))},
			Devices: DeviceRules(nil),
		})
		if err != nil {
			b.Fatal(err)
		}
		t = lap(0, t, 0)
		var start, started time.Time
		err = g.Start(cmd.SysProcAttr, func() (int, error) {
			start = time.Now()
			defer func() { started = time.Now() }()
			if err := cmd.Start(); err != nil {
				return 0, err
			}
			return cmd.Process.Pid, nil
		})
		if err != nil {
			b.Fatal(err)
		}
		t = lap(1, t, started.Sub(start)) // without fork and exec
		if err := g.Kill(unix.SIGKILL); err != nil {
			b.Fatal(err)
		}
		lap(2, t, 0)
		_ = cmd.Wait()
		t = time.Now()
		if err := g.Delete(); err != nil {
			b.Fatal(err)
		}
		lap(3, t, 0)
	}
	for i, name := range []string{"create", "enter", "kill", "delete"} {
		slices.Sort(spent[i])
		b.ReportMetric(float64(spent[i][0].Microseconds()), name+"-min-µs")
		b.ReportMetric(float64(spent[i][len(spent[i])/2].Microseconds()), name+"-µs")
	}
}

// BenchmarkAdd shows why Start exists. It pauses first, as containers do.
func BenchmarkAdd(b *testing.B) {
	g := create(b, nil)
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var spent time.Duration
	for b.Loop() {
		time.Sleep(100 * time.Millisecond)
		t := time.Now()
		if err := g.Add(cmd.Process.Pid); err != nil {
			b.Fatal(err)
		}
		spent += time.Since(t)
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "add-µs")
}
