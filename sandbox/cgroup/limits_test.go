package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func throttle(major, minor int64, rate uint64) []specs.LinuxThrottleDevice {
	return []specs.LinuxThrottleDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: major, Minor: minor}, Rate: rate}}
}

// TestPlan checks what reaches which file, in which order. The library writes
// its part into a plain directory, so that its bytes are checked too.
func TestPlan(t *testing.T) {
	const mem, all = 64 << 20, -1
	for _, tt := range []struct {
		name    string
		res     specs.LinuxResources
		missing []string          // files that the kernel lacks
		present map[string]string // v2: what files hold
		v1, v2  string            // "file=value" with spaces between, or "error: …"
		warn    string
	}{
		{name: "nothing"},
		{name: "zeroes are not limits",
			res: specs.LinuxResources{
				Memory: &specs.LinuxMemory{Limit: new(int64), Swap: new(int64), Reservation: new(int64), DisableOOMKiller: nil},
				CPU:    &specs.LinuxCPU{Shares: new(uint64), Quota: new(int64), Period: new(uint64)},
			}},
		{name: "memory",
			res: specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(mem)), Reservation: new(int64(mem / 2))}},
			v1:  "memory.limit_in_bytes=67108864 memory.soft_limit_in_bytes=33554432",
			v2:  "memory.max=67108864 memory.low=33554432"},
		{name: "memory and swap",
			res: specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(mem)), Swap: new(int64(mem + 4096))}},
			v1:  "memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=67112960",
			v2:  "memory.max=67108864 memory.swap.max=4096"},
		{name: "no swap",
			res: specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(mem)), Swap: new(int64(mem))}},
			v1:  "memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=67108864",
			v2:  "memory.max=67108864 memory.swap.max=0"},
		{name: "no swap, no accounting",
			res:     specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(mem)), Swap: new(int64(mem))}},
			missing: []string{"memory.memsw.limit_in_bytes", "memory.swap.max"},
			v1:      "memory.limit_in_bytes=67108864",
			v2:      "memory.max=67108864",
			warn:    "does not account for swap"},
		{name: "any swap, no accounting",
			res:     specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(mem)), Swap: new(int64(all))}},
			missing: []string{"memory.memsw.limit_in_bytes", "memory.swap.max"},
			v1:      "memory.limit_in_bytes=67108864",
			v2:      "memory.max=67108864"},
		{name: "memory without end lifts swap",
			res: specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(all))}},
			v1:  "memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=-1",
			v2:  "memory.max=max memory.swap.max=max"},
		{name: "swap below memory",
			res: specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(mem)), Swap: new(int64(mem - 1))}},
			v1:  "error: linux.resources.memory.swap", v2: "error: linux.resources.memory.swap"},
		{name: "swap alone",
			res: specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: new(int64(mem))}},
			v1:  "memory.memsw.limit_in_bytes=67108864", // the kernel knows the memory limit
			v2:  "error: linux.resources.memory.swap"},
		{name: "swap alone, memory limit in force",
			res:     specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: new(int64(mem))}},
			present: map[string]string{"memory.max": "4096"},
			v1:      "memory.memsw.limit_in_bytes=67108864",
			v2:      "memory.swap.max=67104768"},
		{name: "v1's own",
			res: specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: new(uint64(0)), KernelTCP: new(int64(mem)), DisableOOMKiller: new(true)}},
			v1:  "memory.kmem.tcp.limit_in_bytes=67108864 memory.swappiness=0 memory.oom_control=1",
			v2:  "error: linux.resources.memory.kernelTCP linux.resources.memory.swappiness linux.resources.memory.disableOOMKiller"},
		{name: "the OOM killer, on",
			res: specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: new(false)}},
			v1:  "memory.oom_control=0"},
		{name: "kernel memory",
			//lint:ignore SA1019 engines may still send it
			res:  specs.LinuxResources{Memory: &specs.LinuxMemory{Kernel: new(int64(mem))}},
			warn: "memory.kernel"},
		{name: "processors",
			res: specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: new(uint64(1024)), Quota: new(int64(50000)), Period: new(uint64(100000)),
				Burst: new(uint64(1000)), Cpus: "0-1", Mems: "0", Idle: new(int64(0))}},
			v1: "cpuset.cpus=0-1 cpuset.mems=0 cpu.shares=1024 cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000 cpu.cfs_burst_us=1000 cpu.idle=0",
			v2: "cpuset.cpus=0-1 cpuset.mems=0 cpu.weight=100 cpu.max=50000_100000 cpu.max.burst=1000 cpu.idle=0"},
		{name: "quota alone",
			res: specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(20000))}},
			v1:  "cpu.cfs_quota_us=20000", v2: "cpu.max=20000"},
		{name: "quota lifted",
			res: specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(-1))}},
			v1:  "cpu.cfs_quota_us=-1", v2: "cpu.max=max"},
		{name: "period keeps the quota",
			res:     specs.LinuxResources{CPU: &specs.LinuxCPU{Period: new(uint64(50000))}},
			present: map[string]string{"cpu.max": "20000 100000"},
			v1:      "cpu.cfs_period_us=50000", v2: "cpu.max=20000_50000"},
		{name: "real time",
			res: specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimePeriod: new(uint64(1000000)), RealtimeRuntime: new(int64(1000))}},
			v1:  "cpu.rt_period_us=1000000 cpu.rt_runtime_us=1000",
			v2:  "error: linux.resources.cpu.realtimePeriod linux.resources.cpu.realtimeRuntime"},
		{name: "shares out of range",
			res: specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: new(uint64(1))}},
			v1:  "error: linux.resources.cpu.shares", v2: "cpu.weight=1"},
		{name: "pids",
			res: specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(32))}}, v1: "pids.max=32", v2: "pids.max=32"},
		{name: "no pids",
			res: specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(0))}}, v1: "pids.max=0", v2: "pids.max=0"},
		{name: "the most pids", res: specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(1 << 22))}}, v1: "pids.max=4194304", v2: "pids.max=4194304"},
		{name: "too many pids", res: specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(1<<22 + 1))}},
			v1: "error: linux.resources.pids.limit", v2: "error: linux.resources.pids.limit"},
		{name: "any number of pids",
			res: specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(-1))}}, v1: "pids.max=max", v2: "pids.max=max"},
		{name: "block I/O",
			res: specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: new(uint16(1000)),
				ThrottleReadBpsDevice: throttle(8, 0, 1048576), ThrottleWriteBpsDevice: throttle(8, 0, 0),
				ThrottleReadIOPSDevice: throttle(8, 16, 7), ThrottleWriteIOPSDevice: throttle(8, 16, 8)}},
			missing: []string{"io.bfq.weight"},
			v1: "blkio.weight=1000 blkio.throttle.read_bps_device=8:0_1048576 blkio.throttle.write_bps_device=8:0_0 " +
				"blkio.throttle.read_iops_device=8:16_7 blkio.throttle.write_iops_device=8:16_8",
			v2: "io.weight=10000 io.max=8:0_rbps=1048576 io.max=8:0_wbps=max io.max=8:16_riops=7 io.max=8:16_wiops=8"},
		{name: "block I/O weights with BFQ",
			res: specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: new(uint16(500)), WeightDevice: []specs.LinuxWeightDevice{
				{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: 8}, Weight: new(uint16(20))}}}},
			missing: []string{"blkio.weight"},
			v1:      "blkio.bfq.weight=500 blkio.bfq.weight_device=8:0_20",
			v2:      "io.bfq.weight=500 io.bfq.weight=8:0_20"},
		{name: "block I/O weights out of range",
			res: specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: new(uint16(9)), WeightDevice: []specs.LinuxWeightDevice{
				{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: 8}, Weight: new(uint16(1001))}}}},
			v1: "error: linux.resources.blockIO.weight linux.resources.blockIO.weightDevice[0]",
			v2: "error: linux.resources.blockIO.weight linux.resources.blockIO.weightDevice[0]"},
		{name: "huge pages",
			res: specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}},
			v1:  "hugetlb.2MB.rsvd.limit_in_bytes=4194304 hugetlb.2MB.limit_in_bytes=4194304",
			v2:  "hugetlb.2MB.rsvd.max=4194304 hugetlb.2MB.max=4194304"},
		{name: "a path for a page size",
			res: specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB/../../x", Limit: 1}}},
			v1:  "error: linux.resources.hugepageLimits[0].pageSize", v2: "error: linux.resources.hugepageLimits[0].pageSize"},
		{name: "network",
			res: specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: new(uint32(0x100001)),
				Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 5}}}},
			v1: "net_cls.classid=1048577 net_prio.ifpriomap=eth0_5",
			v2: "error: linux.resources.network.classID linux.resources.network.priorities"},
		{name: "rdma",
			res: specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: new(uint32(3))}, "mlx4_0": {HcaObjects: new(uint32(9))}}},
			v1:  "rdma.max=mlx4_0_hca_object=9 rdma.max=mlx5_1_hca_handle=3",
			v2:  "rdma.max=mlx4_0_hca_object=9 rdma.max=mlx5_1_hca_handle=3"},
		{name: "unified",
			res: specs.LinuxResources{Unified: map[string]string{"memory.high": "1000000", "cpu.weight": "7"}},
			v1:  "error: linux.resources.unified.cpu.weight linux.resources.unified.memory.high",
			v2:  "cpu.weight=7 memory.high=1000000"},
		{name: "unified, a path",
			res: specs.LinuxResources{Unified: map[string]string{"../memory.high": "1"}},
			v1:  "error: linux.resources.unified", v2: "error: linux.resources.unified"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			has := func(file string) bool { return !slices.Contains(tt.missing, file) }
			for version, want := range map[string]string{"v1": tt.v1, "v2": tt.v2} {
				var p plan
				if version == "v1" {
					p = planV1(&tt.res, has, false)
				} else {
					p = planV2(&tt.res, has, func(file string) string { return tt.present[file] })
				}
				if fields, isError := strings.CutPrefix(want, "error: "); isError {
					text := fmt.Sprint(errors.Join(p.errs...))
					for f := range strings.FieldsSeq(fields) {
						if !strings.Contains(text, f) {
							t.Errorf("%s: error %q does not name %s", version, text, f)
						}
					}
					continue
				}
				if len(p.errs) > 0 {
					t.Errorf("%s: %v", version, p.errs)
				}
				if got := render(t, p.steps); got != want {
					t.Errorf("%s:\n got %s\nwant %s", version, got, want)
				}
				if got := strings.Join(p.warnings, "; "); !strings.Contains(got, tt.warn) || (got != "") != (tt.warn != "") {
					t.Errorf("%s: warnings %q, want %q", version, got, tt.warn)
				}
			}
		})
	}
}

// render carries the steps out in a plain directory and returns what came to be.
func render(t *testing.T, steps []step) string {
	t.Helper()
	root := t.TempDir()
	var out []string
	for _, s := range steps {
		value := s.raw
		if s.v2 != nil {
			dir := filepath.Join(root, "g")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			// The library makes files without any permission.
			file := filepath.Join(dir, s.file)
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := cgroup2.Load("/g", cgroup2.WithMountpoint(root))
			if err == nil {
				err = m.Update(s.v2)
			}
			if err != nil {
				t.Fatalf("%s: %v", s.field, err)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			value = string(data)
		}
		out = append(out, s.file+"="+strings.ReplaceAll(value, " ", "_"))
	}
	return strings.Join(out, " ")
}

// TestWriteAll checks that values which bound each other are written whichever
// way they move, against a stand-in for v1's rule limit <= limit with swap.
func TestWriteAll(t *testing.T) {
	steps := []step{{file: "memory"}, {file: "both"}}
	for _, tt := range []struct {
		name           string
		memory, both   int // in force
		toMem, toBoth  int
		wantErr        bool
		mostWritesEver int
	}{
		{"raise", 10, 10, 20, 20, false, 3},
		{"lower", 20, 20, 10, 10, false, 2},
		{"impossible", 10, 10, 20, 15, true, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			writes := 0
			err := writeAll(slices.Clone(steps), func(s *step) error {
				writes++
				memory, both := tt.memory, tt.both
				if s.file == "memory" {
					memory = tt.toMem
				} else {
					both = tt.toBoth
				}
				if memory > both {
					return fmt.Errorf("stand-in: %w", unix.EINVAL)
				}
				tt.memory, tt.both = memory, both
				return nil
			})
			if (err != nil) != tt.wantErr || writes > tt.mostWritesEver {
				t.Errorf("error %v after %d writes", err, writes)
			}
		})
	}
}

func TestUnlimited(t *testing.T) {
	for v, want := range map[uint64]uint64{
		9223372036854771712: Unlimited, // 4 KiB pages
		9223372036854710272: Unlimited, // 64 KiB pages
		Unlimited:           Unlimited,
		64 << 20:            64 << 20,
		0:                   0,
	} {
		if got := unlimited(v); got != want {
			t.Errorf("unlimited(%d) = %d, want %d", v, got, want)
		}
	}
}
