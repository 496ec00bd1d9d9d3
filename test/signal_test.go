package test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
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
			if c.wait(); c.code() != 130 || c.err.Len() > 0 {
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

// TestSignalBeforeStart interrupts winbox while it prepares the container, at every few of its system calls: nothing stays,
// and the program, if it has come to that, is stopped.
func TestSignalBeforeStart(t *testing.T) {
	t.Parallel()
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	// The first call is that by which a shell becomes winbox. After some sixty, it only waits for the program.
	const calls, step = 60, 7
	for at := 2; at < calls; at += step {
		signal := signals[at/step%len(signals)]
		t.Run(fmt.Sprint(signal, " at ", at), func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			// A name of its own, by which to find what stays in the data root.
			program := fmt.Sprintf("early%d.exe", at)
			writeFile(t, b.dir, program, []byte(readFile(t, build(t, "wait", "wait"))))
			r := inject(t, injection{At: at, Signal: signal, Dir: b.dir,
				Args: []string{"env", b.env[0], b.winbox, "--root", b.root, "launch", "--timeout", "20s", program}})
			t.Logf("%s: exit code %d, %q", r.Call, r.Code, r.Output)
			if !r.Killed || r.Code == 124 {
				t.Error("has not been interrupted")
			}
			folders, err := filepath.Glob(filepath.Join(dataRoot, "containers", fmt.Sprintf("early%d-*", at)))
			if left := append(append(b.containers(), folders...), cgroups(t, fmt.Sprintf("early%d-", at))...); len(left) > 0 || err != nil {
				t.Errorf("left: %v %v", left, err)
			}
		})
	}
}
