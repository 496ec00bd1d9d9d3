package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/sandbox/cgroup/systemd/systemdtest"
)

// newScope gives a scope that does not exist yet, kept by a stand-in for systemd.
func newScope(t *testing.T) (*systemdtest.Manager, *Group) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	if _, err := DetectMode(); err != nil {
		t.Skip(err)
	}
	fake := systemdtest.New(t)
	fake.UseGroups(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.Address)
	slice := fmt.Sprintf("wbtest%d.slice", os.Getpid())
	g, err := NewScope(slice+":winbox:box", "id", map[string]string{"org.systemd.property.CollectMode": "'inactive-or-failed'"})
	if err != nil {
		t.Fatal(err)
	}
	place := "/" + slice + "/winbox-box.scope"
	if g.Path() != place || !g.Managed() {
		t.Fatalf("group at %s, managed %v", g.Path(), g.Managed())
	}
	t.Cleanup(func() {
		// v1 hierarchies that systemd does not use keep the slice, as with runc.
		for _, h := range g.hierarchies {
			_ = unix.Rmdir(h.MountPoint + "/" + slice)
		}
	})
	return fake, g
}

// TestScope takes a scope through its life.
func TestScope(t *testing.T) {
	fake, g := newScope(t)
	p := spawnOutside(t, "sleep")
	res := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: new(int64(20))}, CPU: &specs.LinuxCPU{Quota: new(int64(50000)), Cpus: "0"},
		Devices: DeviceRules(nil),
	}
	if err := g.Prepare(); err != nil {
		t.Fatal(err)
	}
	if err := g.Adopt(p.cmd.Process.Pid, res); err != nil {
		t.Fatal(err)
	}
	var taken *NotEmptyError
	if err := g.Prepare(); !errors.As(err, &taken) || !g.Adopted() {
		t.Errorf("the same again: %v", err)
	}
	// Every step from here on is another command's.
	reload := func() *Group {
		t.Helper()
		var s State
		text, err := json.Marshal(g.State())
		if err == nil {
			err = json.Unmarshal(text, &s)
		}
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := Load(s)
		if err != nil {
			t.Fatal(err)
		}
		if !loaded.Managed() {
			t.Fatal("the stored group is not systemd's")
		}
		return loaded
	}
	props := fake.Units()["winbox-box.scope"].Properties
	limit, accounting := "MemoryLimit", "BlockIOAccounting"
	if g.mode == V2 {
		limit, accounting = "MemoryMax", "IOAccounting"
	}
	want := map[string]any{
		"Delegate": true, "DefaultDependencies": false, "MemoryAccounting": true, "CPUAccounting": true, "TasksAccounting": true, accounting: true,
		"Description": "winbox container winbox-box.scope", limit: uint64(64 << 20), "TasksMax": uint64(20), "CPUQuotaPerSecUSec": uint64(500000),
		"DevicePolicy": "strict", "CollectMode": "inactive-or-failed",
	}
	for name, value := range want {
		if props[name] != value {
			t.Errorf("property %s: %v, want %v", name, props[name], value)
		}
	}
	for _, h := range g.hierarchies {
		if pids, err := appendPids(nil, h.dir()); err != nil || !slices.Equal(pids, []int{p.cmd.Process.Pid}) {
			t.Errorf("%s: processes %v, %v", h.dir(), pids, err)
		}
	}
	files := map[Mode]string{
		V1: "memory.limit_in_bytes=67108864 pids.max=20 cpu.cfs_quota_us=50000 cpuset.cpus=0",
		V2: "memory.max=67108864 pids.max=20 cpu.max=50000 100000 cpuset.cpus=0 memory.oom.group=1",
	}
	check := func(want string) {
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
	check(files[g.mode])

	if err := reload().Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(96 << 20))}, CPU: &specs.LinuxCPU{Period: new(uint64(50000))}}); err != nil {
		t.Error(err)
	}
	changed := fake.Units()["winbox-box.scope"]
	if changed.Properties[limit] != uint64(96<<20) || changed.Properties["CPUQuotaPerSecUSec"] != uint64(1000000) || slices.Contains(changed.Changed, "DeviceAllow") {
		t.Errorf("after the update: %+v", changed)
	}
	check(map[Mode]string{
		V1: "memory.limit_in_bytes=100663296 cpu.cfs_quota_us=50000 cpu.cfs_period_us=50000",
		V2: "memory.max=100663296 cpu.max=50000 50000",
	}[g.mode])
	exec := spawn(t, reload(), "sleep")
	if pids, err := g.Pids(); err != nil || len(pids) != 2 || !slices.Contains(pids, exec.cmd.Process.Pid) {
		t.Errorf("processes %v, %v", pids, err)
	}
	if err := reload().Freeze(); err != nil {
		t.Error(err)
	}
	if err := reload().Kill(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	p.signal()
	exec.signal()
	if err := reload().Delete(); err != nil {
		t.Error(err)
	}
	if units := fake.Units(); len(units) > 0 {
		t.Errorf("units left: %v", units)
	}
	for _, h := range g.hierarchies {
		if _, err := os.Stat(h.dir()); err == nil {
			t.Errorf("%s is left", h.dir())
		}
	}
}

// TestScopeWithoutBus deletes a scope when systemd cannot be reached any more.
func TestScopeWithoutBus(t *testing.T) {
	fake, g := newScope(t)
	p := spawnOutside(t, "sleep")
	if err := g.Adopt(p.cmd.Process.Pid, nil); err != nil {
		t.Fatal(err)
	}
	if err := g.Kill(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	p.signal()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	if err := g.Update(&specs.LinuxResources{}); err == nil || !strings.Contains(err.Error(), "connect to systemd") {
		t.Errorf("update: %v", err)
	}
	if err := g.Delete(); err != nil {
		t.Error(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.Address)
	if err := g.Delete(); err != nil { // systemd has forgotten the scope by then
		t.Error(err)
	}
}

// TestScopeFailures checks what is left of a scope that cannot be made.
func TestScopeFailures(t *testing.T) {
	for name, test := range map[string]struct {
		res    *specs.LinuxResources
		errors map[string]string
		result string
		want   string
	}{
		"refused":      {errors: map[string]string{"StartTransientUnit": "org.freedesktop.DBus.Error.AccessDenied"}, want: "systemd: start winbox-box.scope: StartTransientUnit is refused"},
		"failed job":   {result: "failed", want: `the job ended as "failed"`},
		"refused file": {res: &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "9999"}}, want: "linux.resources.cpu.cpus"},
	} {
		t.Run(name, func(t *testing.T) {
			fake, g := newScope(t)
			fake.Errors, fake.Result = test.errors, test.result
			p := spawnOutside(t, "sleep")
			if err := g.Adopt(p.cmd.Process.Pid, test.res); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			_ = p.cmd.Process.Kill()
			p.signal()
			if err := g.Delete(); err != nil {
				t.Error(err)
			}
		})
	}
}
