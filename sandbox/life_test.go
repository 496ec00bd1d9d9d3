package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"winbox/oci"
)

func TestRun(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want int
	}{
		{"true", []string{"/bin/true"}, 0},
		{"false", []string{"/bin/false"}, 1},
		{"seven", []string{"/bin/sh", "-c", "exit 7"}, 7},
		{"largest", []string{"/bin/sh", "-c", "exit 255"}, 255},
		// Process 1 cannot kill itself: its child does the dying, and it says so as shells do.
		{"child killed", []string{"/bin/sh", "-c", "sh -c 'kill -9 $$'; exit $?"}, 128 + int(unix.SIGKILL)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, res := newBundle(t, test.args...).run()
			if res.ExitCode != test.want {
				t.Errorf("exit code %d, want %d", res.ExitCode, test.want)
			}
		})
	}
}

// TestRunKilled checks the exit code of a program that a signal has ended.
func TestRunKilled(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			b := newBundle(t, "/bin/sleep", "1000")
			// Without a pid namespace the program is not process 1, which ignores signals.
			b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[1:]
			b.opt.Start = true
			c, err := Create(b.opt)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Signal(sig); err != nil {
				t.Error(err)
			}
			status, err := c.Wait()
			if got := exitCode(status); err != nil || got != 128+int(sig) {
				t.Errorf("exit code %d, error %v; want %d", got, err, 128+int(sig))
			}
			if err := c.Delete(false); err != nil {
				t.Error(err)
			}
			b.nothingLeft()
		})
	}
}

// TestLife takes a container through its life and checks its state at each step.
func TestLife(t *testing.T) {
	b := shell(t, "echo begun; sleep 1000")
	b.spec.Annotations = map[string]string{"org.example.key": "value"}
	b.opt.PIDFile = filepath.Join(b.dir, "pid")
	c := b.create()

	// Every step is taken by a container loaded anew, as by another command.
	load := func(want oci.Status) *Container {
		t.Helper()
		c, err := Load(b.opt.Root, b.opt.ID)
		if err != nil {
			t.Fatal(err)
		}
		state := c.State()
		if state.Status != want {
			t.Errorf("status %s, want %s", state.Status, want)
		}
		if state.ID != b.opt.ID || state.Bundle != b.dir || state.Rootfs != b.rootfs || state.Annotations["org.example.key"] != "value" || state.Created.IsZero() {
			t.Errorf("state %+v", state)
		}
		if wantPID := c.PID(); want == oci.Stopped && state.PID != 0 || want != oci.Stopped && state.PID != wantPID {
			t.Errorf("%s: pid %d, the process is %d", want, state.PID, wantPID)
		}
		return c
	}

	created := load(oci.Created)
	if out := contents(t, b.out); out != "" {
		t.Errorf("the program has begun before its start: %q", out)
	}
	if data, err := os.ReadFile(b.opt.PIDFile); err != nil || string(data) != strconv.Itoa(c.PID()) {
		t.Errorf("pid file: %q, %v", data, err)
	}
	if _, err := Create(b.opt); !errors.Is(err, ErrExist) {
		t.Errorf("second container of the same id: %v", err)
	}
	if err := created.Start(); err != nil {
		t.Fatal(err)
	}
	b.awaitOutput("begun")
	running := load(oci.Running)
	if err := running.Start(); !errors.Is(err, ErrStartRunning) {
		t.Errorf("started twice: %v", err)
	}
	if err := running.Delete(false); err == nil || !strings.Contains(err.Error(), "not stopped: running") {
		t.Errorf("deleted while running: %v", err)
	}
	load(oci.Running)
	if err := running.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if status, err := c.Wait(); err != nil || exitCode(status) != 137 {
		t.Errorf("wait: %v, %v", status, err)
	}
	stopped := load(oci.Stopped)
	if err := stopped.Start(); !errors.Is(err, ErrStartStopped) {
		t.Errorf("started when stopped: %v", err)
	}
	if err := stopped.Signal(unix.SIGTERM); !errors.Is(err, ErrNotRunning) {
		t.Errorf("signalled when stopped: %v", err)
	}
	if err := stopped.Delete(false); err != nil {
		t.Error(err)
	}
	b.nothingLeft()
	for name, err := range map[string]error{
		"delete": Delete(b.opt.Root, b.opt.ID, false), "forced delete": Delete(b.opt.Root, b.opt.ID, true), "start": stopped.Start(),
	} {
		if !errors.Is(err, ErrNotExist) {
			t.Errorf("%s of a container that is gone: %v", name, err)
		}
	}
	if _, err := Load(b.opt.Root, b.opt.ID); !errors.Is(err, ErrNotExist) {
		t.Errorf("load: %v", err)
	}
}

// TestDelete removes containers in every state.
func TestDelete(t *testing.T) {
	tests := []struct {
		name    string
		shared  bool // no pid namespace
		prepare func(*bundle) *Container
		force   bool
	}{
		{"created", false, (*bundle).create, false},
		{"created, forced", false, (*bundle).create, true},
		{"running, forced", false, (*bundle).begin, true},
		{"running without a pid namespace, forced", true, func(b *bundle) *Container {
			c := b.begin()
			b.awaitOutput("begun")
			return c
		}, true},
		{"paused, forced", false, func(b *bundle) *Container {
			c := b.begin()
			if err := c.Group().Freeze(); err != nil {
				b.t.Fatal(err)
			}
			if got := c.Status(); got != oci.Paused {
				b.t.Errorf("status %s, want paused", got)
			}
			return c
		}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := shell(t, "sleep 1000 & sleep 1000 & echo begun; wait")
			if test.shared {
				b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[1:]
			}
			test.prepare(b)
			if err := Delete(b.opt.Root, b.opt.ID, test.force); err != nil {
				t.Error(err)
			}
			b.nothingLeft()
		})
	}
}

// TestID checks which names a container may have.
func TestID(t *testing.T) {
	b := newBundle(t, "/bin/true")
	for _, id := range []string{"", ".", "..", "../x", "a/b", "/etc", "a b", "a\x00b", "a\nb", "ä", strings.Repeat("x", 300), strings.Repeat("x", 5000)} {
		b.opt.ID = id
		if _, err := Create(b.opt); err == nil {
			t.Errorf("%.20q: created", id)
		}
		if _, err := Load(b.opt.Root, id); err == nil {
			t.Errorf("%.20q: loaded", id)
		}
		if err := Delete(b.opt.Root, id, true); err == nil {
			t.Errorf("%.20q: deleted", id)
		}
	}
	for _, id := range []string{b.opt.Root, "a.b_c+d-9", "-", "...", strings.Repeat("x", 200)} {
		b.opt.ID = newID() + filepath.Base(id)
		if _, res := b.run(); res.ExitCode != 0 {
			t.Errorf("%s: exit code %d", b.opt.ID, res.ExitCode)
		}
		b.nothingLeft()
	}
}

// TestOutlivesCreator makes a container in a process that has ended by the
// time when another one starts it.
func TestOutlivesCreator(t *testing.T) {
	b := shell(t, "echo begun; sleep 1000")
	j := b.save()
	j.Create = true
	j.run(t)
	c, err := Load(b.opt.Root, b.opt.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Status(); got != oci.Created {
		t.Errorf("status %s, want created", got)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if got := c.Status(); got != oci.Running {
		t.Errorf("status %s, want running", got)
	}
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	await(t, "the end of the container", func() bool { return c.Status() == oci.Stopped })
	if err := c.Delete(false); err != nil {
		t.Error(err)
	}
	b.nothingLeft()
}

// TestStartKilled starts a container whose first process has been killed since.
func TestStartKilled(t *testing.T) {
	b := newBundle(t, "/bin/true")
	c := b.create()
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the container", func() bool { return c.Status() == oci.Stopped })
	if err := c.Start(); !errors.Is(err, ErrStartStopped) {
		t.Errorf("start: %v", err)
	}
}

// TestReusedPID checks that a process is not taken for the container's when it
// has only its number.
func TestReusedPID(t *testing.T) {
	b := newBundle(t, "/bin/true")
	c := b.create()
	other := *c
	other.rec.PID = os.Getpid()
	if got := other.Status(); got != oci.Stopped {
		t.Errorf("status %s, want stopped", got)
	}
	if err := other.Signal(unix.SIGURG); !errors.Is(err, ErrNotRunning) {
		t.Errorf("signal: %v", err)
	}
}

// TestStateFile checks what is made of state files that cannot be used.
func TestStateFile(t *testing.T) {
	b := newBundle(t, "/bin/true")
	dir := filepath.Join(b.opt.Root, b.opt.ID)
	write := func(text string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o711); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("other version", func(t *testing.T) {
		write(`{"version": 99}`)
		if _, err := Load(b.opt.Root, b.opt.ID); err == nil || !strings.Contains(err.Error(), "another version of winbox") {
			t.Errorf("load: %v", err)
		}
		if err := Delete(b.opt.Root, b.opt.ID, false); err == nil {
			t.Error("deleted without force")
		}
		if err := Delete(b.opt.Root, b.opt.ID, true); err != nil {
			t.Error(err)
		}
		b.nothingLeft()
	})
	t.Run("damaged", func(t *testing.T) {
		write(`{"version": `)
		if err := Delete(b.opt.Root, b.opt.ID, false); err == nil {
			t.Error("deleted without force")
		}
		if err := Delete(b.opt.Root, b.opt.ID, true); err != nil {
			t.Error(err)
		}
		b.nothingLeft()
	})
	t.Run("missing", func(t *testing.T) {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(b.opt.Root, b.opt.ID); !errors.Is(err, ErrNotExist) {
			t.Errorf("load: %v", err)
		}
		if err := Delete(b.opt.Root, b.opt.ID, true); err != nil {
			t.Error(err)
		}
		b.nothingLeft()
	})
}
