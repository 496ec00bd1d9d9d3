package test

import (
	"os"
	"os/exec"
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

// TestSignalBeforeStart interrupts winbox while it prepares the container: nothing stays, and the program is stopped.
func TestSignalBeforeStart(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace, to interrupt at a given system call")
	}
	b := newBox(t)
	// A name of its own, by which to find what stays in the data root.
	writeFile(t, b.dir, "early.exe", []byte(readFile(t, build(t, "wait", "wait"))))
	for _, moment := range []string{
		"mkdirat:signal=INT:when=1", "mkdirat:signal=INT:when=3", "mkdirat:signal=TERM:when=6", "symlinkat:signal=HUP:when=1",
		"memfd_create:signal=INT:when=1", "clone,clone3:signal=TERM:when=3+", "wait4,waitid:signal=INT:when=1",
	} {
		t.Run(moment, func(t *testing.T) {
			c := b.launch("early.exe")
			c.Args = append([]string{"strace", "--seccomp-bpf", "-f", "-o", "/dev/null", "-e", "inject=" + moment, c.Path}, c.Args[1:]...)
			c.Path = strace
			if c.wait(); c.ProcessState.Success() && c.out.Len() > 0 {
				t.Errorf("exit code %d, output %q", c.code(), c.out.String())
			}
			folders, err := filepath.Glob(filepath.Join(dataRoot, "containers", "early-*"))
			if left := append(append(b.containers(), folders...), cgroups(t, "early-")...); len(left) > 0 || err != nil {
				t.Errorf("left: %v %v", left, err)
			}
		})
	}
}
