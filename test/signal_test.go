package test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestSignals stops a program by signals to winbox, without a terminal.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		flags  []string
		signal os.Signal
	}{
		{"SIGINT", nil, os.Interrupt},
		{"SIGTERM", nil, syscall.SIGTERM},
		{"SIGHUP", nil, syscall.SIGHUP},
		{"SIGINT, with a prefix", []string{"--prefix", "prefix"}, os.Interrupt},
		{"SIGTERM, rootless", []string{"--rootless"}, syscall.SIGTERM},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			c := b.launch(append(test.flags, b.program("wait"))...)
			c.follow()
			c.line()
			id, _ := b.container()
			if err := c.Process.Signal(test.signal); err != nil {
				t.Error(err)
			}
			// Which code it is, is Wine's business: 0 after SIGINT, where Windows has 0xc000013a. But winbox itself must
			// not die of the signal.
			if c.wait(); c.code() < 0 || c.err.Len() > 0 {
				t.Errorf("exit code %d, standard error %q", c.code(), c.err.String())
			}
			if left := cgroups(t, id); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			if _, err := os.Stat(filepath.Join(dataRoot, "containers", id)); err == nil {
				t.Errorf("the folder of container %s is left", id)
			}
		})
	}
}

// TestSignalBeforeStart interrupts winbox at moments from its start on: whatever it was doing, nothing stays.
func TestSignalBeforeStart(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	// A name of its own, by which to find what stays in the data root.
	writeFile(t, b.dir, "early.exe", []byte(readFile(t, build(t, "wait", "wait"))))
	for delay := time.Duration(0); delay < 200*time.Millisecond; delay += 20 * time.Millisecond {
		c := b.launch("early.exe")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		// Twice, as an impatient user does: the second one kills.
		for range 2 {
			if err := c.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if c.wait(); c.code() == 0 {
			t.Errorf("exit code 0 after %v", delay)
		}
		folders, err := filepath.Glob(filepath.Join(dataRoot, "containers", "early-*"))
		if left := append(append(b.containers(), folders...), cgroups(t, "early-")...); len(left) > 0 || err != nil {
			t.Fatalf("interrupted after %v: left %v %v", delay, left, err)
		}
	}
}
