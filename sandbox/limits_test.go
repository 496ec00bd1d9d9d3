package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
	"winbox/sandbox/cgroup"
)

// TestLimits reads the limits back from the control group's files.
func TestLimits(t *testing.T) {
	b := newBundle(t, "/bin/sleep", "1000")
	b.spec.Linux.Resources = &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))},
		Pids:   &specs.LinuxPids{Limit: new(int64(20))},
		CPU:    &specs.LinuxCPU{Quota: new(int64(50000)), Period: new(uint64(100000)), Cpus: "0", Mems: "0"},
	}
	c := b.begin()
	var want map[string]string // file → content
	controller := map[string]string{}
	for _, h := range c.Group().Mounts() {
		for _, name := range h.Controllers {
			controller[name] = filepath.Join(h.MountPoint, h.Path)
		}
		if c.Group().Mode() == cgroup.V2 {
			controller[""] = filepath.Join(h.MountPoint, h.Path)
		}
	}
	if c.Group().Mode() == cgroup.V2 {
		want = map[string]string{
			controller[""] + "/memory.max": "67108864", controller[""] + "/pids.max": "20", controller[""] + "/cpu.max": "50000 100000", controller[""] + "/cpuset.cpus": "0",
		}
	} else {
		want = map[string]string{
			controller["memory"] + "/memory.limit_in_bytes": "67108864", controller["pids"] + "/pids.max": "20",
			controller["cpu"] + "/cpu.cfs_quota_us": "50000", controller["cpu"] + "/cpu.cfs_period_us": "100000",
			controller["cpuset"] + "/cpuset.cpus": "0", controller["cpuset"] + "/cpuset.mems": "0",
		}
	}
	for file, value := range want {
		if data, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(data)) != value {
			t.Errorf("%s: %q, %v; want %q", file, data, err, value)
		}
	}
	pids, err := c.Group().Pids()
	if err != nil || len(pids) != 1 || pids[0] != c.PID() {
		t.Errorf("processes in the group: %v, %v; want %d", pids, err, c.PID())
	}
}

// TestPidsLimit runs into the limit of processes.
func TestPidsLimit(t *testing.T) {
	b := shell(t, "i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done")
	b.spec.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(5))}}
	out, res := b.run()
	if res.ExitCode == 0 || !strings.Contains(out, "can't fork") {
		t.Errorf("exit code %d, output %q", res.ExitCode, out)
	}
}

// TestCPUQuota measures the processor time of four processes that want more than they may have. On a busy machine it is less.
func TestCPUQuota(t *testing.T) {
	b := shell(t, "for i in 1 2 3; do while :; do :; done & done; while :; do :; done")
	b.spec.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(50000)), Period: new(uint64(100000))}}
	c := b.begin()
	sample := func() cgroup.CPUStats {
		d, err := c.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return d.CPU
	}
	before := sample()
	for range 30 {
		time.Sleep(100 * time.Millisecond)
	}
	after := sample()
	periods := float64(after.Periods - before.Periods)
	share, held := float64(after.Usage-before.Usage)/(periods*1e8), float64(after.ThrottledPeriods-before.ThrottledPeriods)/periods
	t.Logf("%.3f processors in %v periods, held back in %.0f%% of them", share, periods, 100*held)
	if periods < 5 || share > 0.55 || share < 0.45 && held > 0.95 {
		t.Errorf("%.3f of a processor, want 0.45 to 0.55", share)
	}
}

// TestOOM runs out of memory.
func TestOOM(t *testing.T) {
	b := newBundle(t, "/bin/awk", `BEGIN { s = "x"; for (;;) s = s s }`)
	b.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(16 << 20)), Swap: new(int64(16 << 20))}}
	b.opt.Stats = true
	_, res := b.run()
	if res.ExitCode != 137 || res.OOMKills == 0 || res.Stats == nil || res.Stats.Memory.Limit != 16<<20 {
		t.Errorf("exit code %d, %d OOM kills, stats %+v", res.ExitCode, res.OOMKills, res.Stats)
	}
}

// TestOOMGroup runs out of memory in one of several processes, in containers whose process 1 is winbox's: all die, on
// both versions of cgroups, and the neighbour goes on.
func TestOOMGroup(t *testing.T) {
	neighbour := supervised(t, "while :; do sleep 0.01; done")
	neighbour.spec.Linux.CgroupsPath = "/winbox-" + neighbour.opt.ID + "/" + neighbour.opt.ID
	parent := filepath.Dir(neighbour.spec.Linux.CgroupsPath)
	beside := neighbour.begin()
	const eat = `awk 'BEGIN { s = "x"; for (;;) s = s s }'`
	for name, script := range map[string]string{
		"child":      eat + " & touch /data/begun; sleep 1000",
		"grandchild": "sh -c '" + strings.ReplaceAll(eat, "'", `'"'"'`) + ` & sleep 1000'; sleep 1000`,
		"main":       "sleep 1000 & exec " + eat,
		"survivor":   "trap '' TERM; " + eat + "; sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			b := supervised(t, script)
			b.spec.Linux.CgroupsPath = parent + "/" + b.opt.ID
			b.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(16 << 20)), Swap: new(int64(16 << 20))}}
			if _, res := b.run(); res.ExitCode != 137 || res.OOMKills == 0 || res.WindowsExitCode != nil {
				t.Errorf("exit code %d, 32 bits %v, %d OOM kills", res.ExitCode, res.WindowsExitCode, res.OOMKills)
			}
		})
	}
	mode, err := cgroup.DetectMode()
	if err != nil {
		t.Fatal(err)
	}
	above, err := cgroup.Load(cgroup.State{Mode: mode, Path: parent})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("limit above", func(t *testing.T) {
		// The OOM is the parent's; who is killed is one of two containers, and the other stays whole.
		victim := supervised(t, eat+" & sleep 1000")
		victim.spec.Linux.CgroupsPath = parent + "/" + victim.opt.ID
		if err := above.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(32 << 20)), Swap: new(int64(32 << 20))}}); err != nil {
			t.Fatal(err)
		}
		if _, res := victim.run(); res.ExitCode != 137 {
			t.Errorf("exit code %d", res.ExitCode)
		}
	})
	// Longer than process 1 looks at the count: 1 s after the last OOM.
	for range 12 {
		time.Sleep(100 * time.Millisecond)
		if status := beside.Status(); status != oci.Running {
			t.Fatalf("the neighbour is %v", status)
		}
	}
	if kills, err := beside.Group().OOMKills(); kills != 0 || err != nil {
		t.Errorf("%d OOM kills of the neighbour, %v", kills, err)
	}
	if err := errors.Join(beside.Delete(true), above.Delete()); err != nil {
		t.Error(err)
	}
}

// TestBadLimit asks for what the kernel refuses.
func TestBadLimit(t *testing.T) {
	b := newBundle(t, "/bin/true")
	b.spec.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "9999"}}
	_, err := Create(b.opt)
	var limit *cgroup.LimitError
	if !errors.As(err, &limit) || limit.Field != "linux.resources.cpu.cpus" {
		t.Errorf("error %v", err)
	}
	b.nothingLeft()
}

// TestCgroupsPath puts a container where linux.cgroupsPath says.
func TestCgroupsPath(t *testing.T) {
	b := shell(t, "cut -d: -f3 /proc/self/cgroup | sort -u")
	parent := "/winbox-" + b.opt.ID
	b.spec.Linux.CgroupsPath = parent + "/deep/" + b.opt.ID
	out, _ := b.run()
	if !strings.Contains(out, b.spec.Linux.CgroupsPath+"\n") {
		t.Errorf("groups %q, want %s", out, b.spec.Linux.CgroupsPath)
	}
	// The groups above stay, as with runc: they are the engine's.
	mode, err := cgroup.DetectMode()
	if err != nil {
		t.Fatal(err)
	}
	group, err := cgroup.Load(cgroup.State{Mode: mode, Path: parent})
	if err != nil {
		t.Fatal(err)
	}
	if err := group.Delete(); err != nil {
		t.Error(err)
	}
}
