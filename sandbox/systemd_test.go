package sandbox

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/cgroup"
	"winbox/sandbox/cgroup/systemd/systemdtest"
)

// managed makes systemd keep the bundle's control group: a stand-in for it.
func (b *bundle) managed() *systemdtest.Manager {
	b.t.Helper()
	fake := systemdtest.New(b.t)
	fake.UseGroups(b.t)
	b.t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.Address)
	slice := fmt.Sprintf("wbtest%d.slice", os.Getpid())
	b.spec.Linux.CgroupsPath = slice + ":wb:" + b.opt.ID
	b.opt.Systemd = true
	b.t.Cleanup(func() { // what systemd has no controllers of
		group, err := cgroup.Load(cgroup.State{Mode: mode(b.t), Path: "/" + slice})
		if err != nil {
			b.t.Fatal(err)
		}
		for _, h := range group.Mounts() {
			_ = unix.Rmdir(h.MountPoint + h.Path)
		}
	})
	return fake
}

func mode(t *testing.T) cgroup.Mode {
	t.Helper()
	m, err := cgroup.DetectMode()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSystemd takes a container through its life whose control group systemd keeps.
func TestSystemd(t *testing.T) {
	b := shell(t, "cut -d: -f3 /proc/self/cgroup | sort -u; ls /sys/fs/cgroup | head -n 1; sleep 1000")
	fake := b.managed()
	b.mkdir("sys/fs/cgroup")
	b.mount(specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
	b.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}}
	c := b.create()
	unit := "wb-" + b.opt.ID + ".scope"
	if _, ok := fake.Units()[unit]; !ok {
		t.Fatalf("units %v, want %s", fake.Units(), unit)
	}
	load := func() *Container {
		t.Helper()
		c, err := Load(b.opt.Root, b.opt.ID)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := load().Start(); err != nil {
		t.Fatal(err)
	}
	b.awaitOutput(fmt.Sprintf("/wbtest%d.slice/%s\n", os.Getpid(), unit))
	if err := load().Pause(); err != nil {
		t.Error(err)
	}
	if got := load().Status(); got != oci.Paused {
		t.Errorf("status %s, want paused", got)
	}
	if err := load().Resume(); err != nil {
		t.Error(err)
	}
	if err := load().Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(30))}}); err != nil {
		t.Error(err)
	}
	stats, err := load().Stats()
	if err != nil || stats.Memory.Limit != 64<<20 || stats.Pids.Limit != 30 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	if got := fake.Units()[unit].Properties["TasksMax"]; got != uint64(30) {
		t.Errorf("TasksMax %v, want 30", got)
	}
	pid, err := load().Exec(ExecOptions{Process: &specs.Process{Args: []string{"/bin/sleep", "1000"}, Cwd: "/"}, Stdio: b.opt.Stdio})
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := load().Processes(); err != nil || !slices.Contains(pids, c.PID()) || !slices.Contains(pids, pid) {
		t.Errorf("processes %v, %v; want %d and %d among them", pids, err, c.PID(), pid)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	wait(pid) // it is the test's child: process 1 cannot end before
	if err := load().Delete(true); err != nil {
		t.Error(err)
	}
	wait(c.PID())
	if units := fake.Units(); len(units) > 0 {
		t.Errorf("units left: %v", units)
	}
	b.nothingLeft()
}

// TestSystemdNamespaces has the program make the first process, and checks that
// the group of the scope is the root of its control group namespace.
func TestSystemdNamespaces(t *testing.T) {
	b := shell(t, "cut -d: -f3 /proc/self/cgroup | sort -u")
	b.managed()
	b.namespace(specs.CgroupNamespace, "")
	b.namespace(specs.TimeNamespace, "")
	b.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 1}}
	b.expect("/\n")
}

func TestSystemdRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*bundle, *systemdtest.Manager)
		want   string
	}{
		"no bus":     {func(b *bundle, _ *systemdtest.Manager) { b.t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/none") }, "--systemd-cgroup: connect to systemd: dial unix /none: connect: no such file or directory (set the engine's cgroup manager to cgroupfs)"},
		"plain path": {func(b *bundle, _ *systemdtest.Manager) { b.spec.Linux.CgroupsPath = "/a/b" }, `of format "slice:prefix:name"`},
		"bad annotation": {func(b *bundle, _ *systemdtest.Manager) {
			b.spec.Annotations = map[string]string{"org.systemd.property.Description": "no quotes"}
		}, `annotations["org.systemd.property.Description"]`},
		"access denied": {func(_ *bundle, m *systemdtest.Manager) {
			m.Errors = map[string]string{"StartTransientUnit": "org.freedesktop.DBus.Error.AccessDenied"}
		}, "systemd: start wb-"},
		"bad limit": {func(b *bundle, _ *systemdtest.Manager) {
			b.spec.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "9999"}}
		}, "linux.resources.cpu.cpus"},
		"missing program": {func(b *bundle, _ *systemdtest.Manager) { b.spec.Process.Args = []string{"/none"} }, "no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			fake := b.managed()
			test.change(b, fake)
			b.refused(test.want)
			if units := fake.Units(); len(units) > 0 {
				t.Errorf("units left: %v", units)
			}
		})
	}
}

// TestSystemdTaken makes a container whose scope another one has.
func TestSystemdTaken(t *testing.T) {
	b := newBundle(t, "/bin/sleep", "1000")
	fake := b.managed()
	c := b.create()
	again := newBundle(t, "/bin/true")
	again.opt.Systemd = true
	again.spec.Linux.CgroupsPath = b.spec.Linux.CgroupsPath
	again.refused("container's cgroup is not empty: 1 process(es) found in ")
	// Only systemd knows of this one.
	again.spec.Linux.CgroupsPath = "wbtest.slice:wb:taken"
	fake.AddRunning("wb-taken.scope")
	again.refused("Unit wb-taken.scope was already loaded")
	if calls := fake.Calls(); slices.ContainsFunc(calls, func(s string) bool { return strings.HasPrefix(s, "StopUnit") }) {
		t.Errorf("calls %q", calls)
	}
	fake.Forget("wb-taken.scope")
	if got := c.Status(); got != oci.Created {
		t.Errorf("status of the first container: %s", got)
	}
	if err := c.Delete(true); err != nil {
		t.Error(err)
	}
	wait(c.PID())
}

// TestSystemdCutOff removes a container whose creator was killed between the
// recording of the scope and its making: systemd knows of none.
func TestSystemdCutOff(t *testing.T) {
	b := newBundle(t, "/bin/true")
	fake := b.managed()
	c := b.create()
	if err := c.Delete(true); err != nil {
		t.Fatal(err)
	}
	wait(c.PID())
	if err := os.MkdirAll(c.dir, 0o711); err != nil {
		t.Fatal(err)
	}
	c.rec.PID = 0
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	if err := Delete(b.opt.Root, b.opt.ID, true); err != nil {
		t.Error(err)
	}
	if calls := strings.Join(fake.Calls(), "\n"); strings.Count(calls, "StopUnit wb-") != 2 {
		t.Errorf("calls:\n%s", calls)
	}
}
