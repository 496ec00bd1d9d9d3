package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
)

// TestRealSystemd has systemd itself keep a container's control group.
func TestRealSystemd(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("needs systemd as process 1, as in the machine of `make test-v2`")
	}
	b := shell(t, "cut -d: -f3 /proc/self/cgroup | sort -u; cat /dev/null && echo x >/dev/full 2>/dev/null || echo full; sleep 1000")
	slice := fmt.Sprintf("wbtest-a%d.slice", os.Getpid())
	unit := "wb-" + b.opt.ID + ".scope"
	b.spec.Linux.CgroupsPath = slice + ":wb:" + b.opt.ID
	b.spec.Annotations = map[string]string{"org.systemd.property.TimeoutStopSec": "uint64 5"}
	b.spec.Linux.Resources = &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(96 << 20))}, Pids: &specs.LinuxPids{Limit: new(int64(20))},
		CPU: &specs.LinuxCPU{Quota: new(int64(33333)), Shares: new(uint64(512)), Cpus: "0"},
	}
	b.opt.Systemd = true
	systemctl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("systemctl", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("systemctl %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	show := func(properties ...string) string {
		t.Helper()
		out := systemctl("show", unit, "-p", strings.Join(properties, ","))
		return strings.Join(strings.Fields(out), " ")
	}
	expect := func(got, want string) {
		t.Helper()
		for _, part := range strings.Fields(want) {
			if !strings.Contains(" "+got+" ", " "+part+" ") {
				t.Errorf("%s is not in:\n%s", part, got)
			}
		}
	}
	t.Cleanup(func() { systemctl("stop", slice, "wbtest.slice") })

	c := b.create()
	place := "/wbtest.slice/" + slice + "/" + unit
	expect(show("ActiveState", "Slice", "Delegate", "ControlGroup", "MemoryMax", "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec", "CPUWeight", "AllowedCPUs", "DevicePolicy", "TimeoutStopUSec"),
		"ActiveState=active Slice="+slice+" Delegate=yes ControlGroup="+place+
			" MemoryMax=67108864 MemorySwapMax=33554432 TasksMax=20 CPUQuotaPerSecUSec=340ms CPUWeight=59 AllowedCPUs=0 DevicePolicy=strict TimeoutStopUSec=5s")
	limits := func() string {
		t.Helper()
		var text []string
		for _, file := range []string{"memory.max", "pids.max", "cpu.max", "cpu.weight"} {
			data, err := os.ReadFile("/sys/fs/cgroup" + place + "/" + file)
			if err != nil {
				t.Error(err)
			}
			text = append(text, file+"="+strings.ReplaceAll(strings.TrimSpace(string(data)), " ", "/"))
		}
		return strings.Join(text, " ")
	}
	expect(limits(), "memory.max=67108864 pids.max=20 cpu.max=33333/100000 cpu.weight=59")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	b.awaitOutput(place + "\nfull\n")

	load := func() *Container {
		t.Helper()
		c, err := Load(b.opt.Root, b.opt.ID)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := load().Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(80 << 20))}, Pids: &specs.LinuxPids{Limit: new(int64(-1))}}); err != nil {
		t.Error(err)
	}
	expect(show("MemoryMax", "TasksMax"), "MemoryMax=83886080 TasksMax=infinity")
	// systemd writes what it knows, all over again.
	systemctl("daemon-reload")
	expect(limits(), "memory.max=83886080 pids.max=max cpu.weight=59")
	exec := func(script string) string {
		t.Helper()
		out := tempFile(t)
		pid, err := load().Exec(ExecOptions{Process: &specs.Process{Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}}, Stdio: [3]*os.File{nil, out, out}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := WaitProcess(pid); err != nil {
			t.Error(err)
		}
		return contents(t, out)
	}
	// The rules for devices are in force as before, and the process is in the scope.
	if got, want := exec("cut -d: -f3 /proc/self/cgroup; cat /dev/null && echo null"), place+"\nnull\n"; got != want {
		t.Errorf("exec: %q, want %q", got, want)
	}
	if err := load().Pause(); err != nil {
		t.Error(err)
	}
	if got := load().Status(); got != oci.Paused {
		t.Errorf("status %s, want paused", got)
	}
	if err := load().Resume(); err != nil {
		t.Error(err)
	}
	if err := load().SignalAll(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	wait(c.PID())
	if err := load().Delete(false); err != nil {
		t.Error(err)
	}
	expect(show("LoadState"), "LoadState=not-found")
	b.nothingLeft()

	t.Run("a taken name", func(t *testing.T) {
		other := newBundle(t, "/bin/sleep", "1000")
		other.spec.Linux.CgroupsPath = b.spec.Linux.CgroupsPath
		other.opt.Systemd = true
		first := other.create()
		again := newBundle(t, "/bin/true")
		again.spec.Linux.CgroupsPath = b.spec.Linux.CgroupsPath
		again.opt.Systemd = true
		again.refused("container's cgroup is not empty: 1 process(es) found in ")
		if got := first.Status(); got != oci.Created {
			t.Errorf("the first container's status is %s", got)
		}
		if err := first.Delete(true); err != nil {
			t.Error(err)
		}
		wait(first.PID())
	})
}
