package sandbox

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestTimeOffsets reads the clocks of a time namespace.
func TestTimeOffsets(t *testing.T) {
	t.Run("own", func(t *testing.T) { testTimeOffsets(t, func(*bundle) {}) })
	t.Run("in a user namespace", func(t *testing.T) { testTimeOffsets(t, (*bundle).mapUsers) })
}

func testTimeOffsets(t *testing.T, change func(*bundle)) {
	b := shell(t, "cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets | tr -s ' '; exec sleep 1000")
	b.namespace(specs.TimeNamespace, "")
	b.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000}, "monotonic": {Secs: 86400, Nanosecs: 5}}
	change(b)
	c := b.begin()
	b.awaitOutput("boottime")
	// An executed process has the same clocks.
	out, _ := b.exec(c, "cut -d. -f1 /proc/uptime")
	data, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := strings.Cut(string(data), ".")
	now, err := strconv.Atoi(host)
	if err != nil {
		t.Fatal(err)
	}
	first, offsets, _ := strings.Cut(contents(t, b.out), "\n")
	for _, text := range []string{first, strings.TrimSpace(out)} {
		if up, err := strconv.Atoi(text); err != nil || up < now+1000000-60 || up > now+1000000 {
			t.Errorf("uptime %q inside, %d outside", text, now)
		}
	}
	if want := "monotonic 86400 5\nboottime 1000000 0\n"; offsets != want {
		t.Errorf("offsets %q, want %q", offsets, want)
	}
	for want, change := range map[string]func(*bundle){
		`there is no clock "realtime"`: func(b *bundle) {
			b.namespace(specs.TimeNamespace, "")
			b.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"realtime": {Secs: 1}}
		},
		"they need a new time namespace": func(b *bundle) { b.namespace(specs.TimeNamespace, nsPath(c.PID(), specs.TimeNamespace)) },
	} {
		refused := newBundle(t, "/bin/true")
		refused.spec.Linux.TimeOffsets = b.spec.Linux.TimeOffsets
		change(refused)
		refused.refused("linux.timeOffsets: " + want)
	}
}

// TestScheduling checks how a container and a process executed in it compete
// for processors and disks.
func TestScheduling(t *testing.T) {
	b := sleeper(t)
	b.spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 3}
	b.spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
	c := b.begin()
	check := func(pid int, policy uint32, nice int32, io uintptr) {
		t.Helper()
		a, err := unix.SchedGetAttr(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		if a.Policy != policy || a.Nice != nice {
			t.Errorf("policy %d, nice %d; want %d, %d", a.Policy, a.Nice, policy, nice)
		}
		got, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(pid), 0) // IOPRIO_WHO_PROCESS
		if errno != 0 || got != io {
			t.Errorf("I/O priority %#x, %v; want %#x", got, errno, io)
		}
	}
	check(c.PID(), unix.SCHED_BATCH, 3, 2<<13|6)
	opt := b.execOptions(b.out, "/bin/sleep", "1000")
	opt.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedIdle}
	opt.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE}
	pid, err := c.Exec(opt)
	if err != nil {
		t.Fatal(err)
	}
	check(pid, unix.SCHED_IDLE, 0, 3<<13)
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait(pid)
	for want, change := range map[string]func(*specs.Process){
		`process.scheduler.policy: "STRANGE"`: func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: "STRANGE"} },
		`process.scheduler.flags[0]: "STRANGE"`: func(p *specs.Process) {
			p.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Flags: []specs.LinuxSchedulerFlag{"STRANGE"}}
		},
		`process.ioPriority.class: "STRANGE"`: func(p *specs.Process) { p.IOPriority = &specs.LinuxIOPriority{Class: "STRANGE"} },
		`process.ioPriority.priority: 8`: func(p *specs.Process) {
			p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		},
	} {
		b := newBundle(t, "/bin/true")
		change(b.spec.Process)
		b.refused(want)
	}
}

// TestKeyring looks for the session keyring of a container and of a process
// executed in it.
func TestKeyring(t *testing.T) {
	if _, err := os.Stat("/proc/keys"); err != nil {
		t.Skip("the kernel does not show keys")
	}
	for _, own := range []bool{true, false} {
		b := shell(t, "cat /proc/keys; echo end; exec sleep 1000")
		b.opt.NoNewKeyring = !own
		c := b.begin()
		b.awaitOutput("end\n")
		if got := strings.Contains(contents(t, b.out), "_ses."+b.opt.ID); got != own {
			t.Errorf("a keyring of its own is %v, want %v:\n%s", got, own, contents(t, b.out))
		}
		if out, _ := b.exec(c, "cat /proc/keys"); strings.Contains(out, "_ses."+b.opt.ID) != own {
			t.Errorf("keys of an executed process:\n%s", out)
		}
	}
}
