package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// parallel calls do with 0 to n-1, all at once, and reports its errors.
func parallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if err := do(i); err != nil {
				t.Errorf("number %d: %v", i, err)
			}
		})
	}
	group.Wait()
}

// TestFailures makes containers that fail at different steps and checks that
// nothing stays behind, and that the same id can be used afterwards.
func TestFailures(t *testing.T) {
	tests := []struct {
		name   string
		change func(*bundle)
		want   string
	}{
		{"no root file system", func(b *bundle) { b.spec.Root.Path = "missing" }, "mount the root file system"},
		{"root file system is a file", func(b *bundle) { b.spec.Root.Path = "rootfs/bin/busybox" }, "not a directory"},
		{"mount source", func(b *bundle) { b.mount(bind("/missing", "/x")) }, "source: /missing"},
		{"mount option", func(b *bundle) {
			b.mount(specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"strange"}})
		}, "option strange"},
		{"executable", func(b *bundle) { b.spec.Process.Args[0] = "/missing" }, "no such file"},
		{"sysctl value", func(b *bundle) {
			b.namespace(specs.NetworkNamespace, "")
			b.spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_default_ttl": "9999"}
		}, "set net.ipv4.ip_default_ttl to 9999: invalid argument"},
		{"sysctl name", func(b *bundle) {
			b.namespace(specs.NetworkNamespace, "")
			b.spec.Linux.Sysctl = map[string]string{"net.strange": "1"}
		}, "set net.strange to 1: no such file or directory"},
		{"sysctl of the host", func(b *bundle) { b.spec.Linux.Sysctl = map[string]string{"vm.swappiness": "1"} }, "would change the host"},
		{"limit", func(b *bundle) {
			b.spec.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "9999"}}
		}, "linux.resources.cpu.cpus"},
		{"cgroup path", func(b *bundle) { b.spec.Linux.CgroupsPath = "/../x" }, "linux.cgroupsPath"},
		{"hard limit", func(b *bundle) {
			b.spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1 << 40, Hard: 1 << 40}}
		}, "set RLIMIT_NOFILE"},
		{"seccomp", func(b *bundle) { b.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "STRANGE"} }, "STRANGE"},
		{"pid file", func(b *bundle) { b.opt.PIDFile = b.dir + "/missing/pid" }, "write pid file"},
		{"pid file of a running program", func(b *bundle) {
			b.opt.PIDFile, b.opt.Start = b.dir+"/missing/pid", true
			b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[1:] // no pid namespace
			b.spec.Process.Args = []string{"/bin/sh", "-c", "sleep 1000 & sleep 1000"}
		}, "write pid file"},
		{"state root is a file", func(b *bundle) { b.opt.Root = b.hostFile("file", "") }, "not a directory"},
		{"zero byte", func(b *bundle) { b.mount(specs.Mount{Destination: "/x\x00y", Type: "tmpfs"}) }, "zero byte"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			test.change(b)
			b.refused(test.want)
			if t.Failed() || strings.HasPrefix(test.name, "state root") {
				return
			}
			id := b.opt.ID
			other := newBundle(t, "/bin/true")
			other.opt.ID, other.opt.Root = id, b.opt.Root
			other.expect("")
		})
	}
}

// TestKilledCreator kills the process that makes, starts and deletes a
// container at many moments. A forced deletion must clean up every time.
func TestKilledCreator(t *testing.T) {
	b := newBundle(t, "/bin/sleep", "1000")
	for _, kind := range []specs.LinuxNamespaceType{specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace, specs.CgroupNamespace} {
		b.namespace(kind, "")
	}
	variants := map[string]func(){"cloned": func() {}, "cloned by the program": b.mapUsers}
	for _, name := range []string{"cloned", "cloned by the program"} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			variants[name]()
			j := b.save()
			j.Create, j.Start, j.Delete = true, true, true
			whole := killAfter(b, j, time.Hour)
			const times = 30
			for i := range times {
				killAfter(b, j, whole*time.Duration(i)/times)
				if err := Delete(b.opt.Root, b.opt.ID, true); err != nil && !errors.Is(err, ErrNotExist) {
					t.Errorf("killed after %d/%d of its time: delete: %v", i, times, err)
				}
				b.awaitNothingLeft()
				if t.Failed() {
					return
				}
			}
		})
	}
}

// killAfter does j in a child that is killed after a time, and returns how long the child ran.
func killAfter(b *bundle, j job, after time.Duration) time.Duration {
	b.t.Helper()
	cmd := j.command(b.t)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	if line, err := reader.ReadString('\n'); line != "ready\n" {
		b.t.Fatalf("child said %q, %v", line, err)
	}
	begin := time.Now()
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer timer.Stop()
	// Not Wait, which waits for the pipe's end: the container keeps it open.
	state, err := cmd.Process.Wait()
	if err != nil {
		b.t.Fatal(err)
	}
	took := time.Since(begin)
	out.Close()
	if state.Exited() && state.ExitCode() != 0 {
		b.t.Errorf("child: %v", state)
	}
	return took
}

// awaitNothingLeft gives processes whose creator was killed before it could
// write down their number the moment that they need to notice.
func (b *bundle) awaitNothingLeft() {
	b.t.Helper()
	var left []string
	for range 500 {
		if left = b.leftovers(); len(left) == 0 {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	for _, l := range left {
		b.t.Errorf("left behind: %s", l)
	}
}

// TestParallel makes, starts and deletes 20 containers at once.
func TestParallel(t *testing.T) {
	b := shell(t, "echo begun; sleep 1000")
	parallel(t, 20, func(int) error {
		opt := b.opt
		opt.ID = newID()
		c, err := Create(opt)
		if err != nil {
			return err
		}
		defer wait(c.PID())
		return errors.Join(c.Start(), c.Signal(unix.SIGKILL), Delete(opt.Root, opt.ID, true))
	})
	if list, err := os.ReadDir(b.opt.Root); err != nil || len(list) > 0 {
		t.Errorf("state left: %v, %v", list, err)
	}
}

// TestRivals lets several processes make, start and delete one container over and over.
func TestRivals(t *testing.T) {
	b := newBundle(t, "/bin/sleep", "1000")
	b.save()
	parallel(t, 4, func(int) error {
		j := job{Root: b.opt.Root, Bundle: b.dir, ID: b.opt.ID, Create: true, Start: true, Delete: true, Times: 15}
		out := tempFile(t)
		cmd := j.command(t)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, contents(t, out))
		}
		return nil
	})
	b.awaitNothingLeft()
}

// TestStartRace lets several callers start one container: exactly one does.
func TestStartRace(t *testing.T) {
	b := newBundle(t, "/bin/sleep", "1000")
	b.create()
	var started sync.Map
	parallel(t, 6, func(i int) error {
		c, err := Load(b.opt.Root, b.opt.ID)
		if err != nil {
			return err
		}
		switch err := c.Start(); {
		case err == nil:
			started.Store(i, true)
		case !errors.Is(err, ErrStartRunning):
			return err
		}
		return nil
	})
	count := 0
	started.Range(func(any, any) bool { count++; return true })
	if count != 1 {
		t.Errorf("%d callers have started it", count)
	}
}

// TestStartCutOff looks at a container whose `start` was killed after the
// program had begun and before that was written down.
func TestStartCutOff(t *testing.T) {
	b := newBundle(t, "/bin/sleep", "1000")
	c := b.create()
	socket := c.dir + "/" + startSocket
	if err := os.Link(socket, socket+".kept"); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(socket+".kept", socket); err != nil {
		t.Fatal(err)
	}
	if got := c.Status(); got != "running" {
		t.Errorf("status %s, want running", got)
	}
	if err := c.Start(); !errors.Is(err, ErrStartRunning) {
		t.Errorf("second start: %v", err)
	}
	if err := c.Delete(false); err == nil {
		t.Error("deleted while running")
	}
}

// TestForkDescriptors starts an init whose descriptors all have to change their
// numbers: on their way they must not take that of the ELF.
func TestForkDescriptors(t *testing.T) {
	elf, err := os.Open("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	defer elf.Close()
	null := tempFile(t)
	for n := 3; n < 40; n++ {
		var init initProcess
		if err := init.fork(initOptions{}, elf, slices.Repeat([]uintptr{null.Fd()}, n)); err != nil {
			t.Errorf("%d descriptors: %v", n, err)
			continue
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(init.pid, &status, 0, nil); err != nil || !status.Exited() || status.ExitStatus() != 0 {
			t.Errorf("%d descriptors: status %#x, %v", n, status, err)
		}
	}
}
