package sandbox

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
)

// supervised is a bundle whose program runs under process 1 of winbox's own.
func supervised(t *testing.T, script string) *bundle {
	t.Helper()
	b := shell(t, script)
	b.opt.Windows = true
	return b
}

// TestSupervisedExit checks the exit codes that process 1 passes on.
func TestSupervisedExit(t *testing.T) {
	tests := []struct {
		name, script string
		want         int
	}{
		{"zero", "exit 0", 0},
		{"seven", "exit 7", 7},
		{"largest", "exit 255", 255},
		{"killed", "kill -9 $$", 137},
		{"terminated", "kill $$", 143},
		{"orphans left", "sleep 1000 & sleep 1000 & exit 3", 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := supervised(t, test.script)
			b.opt.StopGrace = time.Minute
			_, res := b.run()
			if res.ExitCode != test.want {
				t.Errorf("exit code %d, want %d", res.ExitCode, test.want)
			}
			if code := res.WindowsExitCode; test.want < 128 && (code == nil || int(*code) != test.want) {
				t.Errorf("exit code of 32 bits: %v", code)
			}
		})
	}
}

// TestSupervisedErrors checks that failures to execute are reported by name.
func TestSupervisedErrors(t *testing.T) {
	b := supervised(t, "")
	b.file("garbage", "\x00garbage", 0o755)
	b.spec.Process.Args = []string{"/garbage"}
	b.opt.Start = true
	b.refused(`exec: "/garbage": exec format error`)
}

// TestSupervisedReaping checks that the program is a child of process 1, and
// that orphans do not stay behind as zombies.
func TestSupervisedReaping(t *testing.T) {
	b := supervised(t, `echo $PPID
		for i in 1 2 3 4 5 6 7 8; do sh -c 'true & true & true &'; done
		i=0; while [ $i -lt 3000 ]; do
			set -- /proc/[0-9]*; [ $# = 2 ] && break
			i=$((i+1)); sleep 0.01
		done
		grep -h ^State /proc/[0-9]*/status | grep -c zombie`)
	b.opt.StopGrace = time.Minute
	out, _ := b.run()
	if out != "1\n0\n" {
		t.Errorf("output %q", out)
	}
}

// TestSupervisedSignals checks that signals for the container reach its program.
func TestSupervisedSignals(t *testing.T) {
	for name, sig := range map[string]unix.Signal{"TERM": unix.SIGTERM, "INT": unix.SIGINT, "HUP": unix.SIGHUP, "USR1": unix.SIGUSR1, "USR2": unix.SIGUSR2} {
		t.Run(name, func(t *testing.T) {
			b := supervised(t, "trap 'exit 42' "+name+"; echo ready; while :; do sleep 0.01; done")
			c := b.begin()
			b.awaitOutput("ready")
			if err := c.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if status, err := c.Wait(); err != nil || exitCode(status) != 42 {
				t.Errorf("exit code %d, %v", exitCode(status), err)
			}
		})
	}
	t.Run("before the start", func(t *testing.T) {
		b := supervised(t, "exit 0")
		c := b.create()
		if err := c.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if status, err := c.Wait(); err != nil || exitCode(status) != 137 {
			t.Errorf("exit code %d, %v", exitCode(status), err)
		}
	})
}

// TestSupervisedGrace checks what becomes of processes that outlive the program.
func TestSupervisedGrace(t *testing.T) {
	const waiting = "while [ ! -e /data/trapped ]; do sleep 0.01; done; "
	tests := []struct {
		name, script string
		grace        time.Duration
		saved        bool
	}{
		{"they get time to save", "(trap 'sleep 0.2; echo saved >/data/saved; exit' TERM; touch /data/trapped; while :; do sleep 0.01; done) & " + waiting + "exit 5", time.Minute, true},
		{"but not for ever", "(trap '' TERM; touch /data/trapped; sleep 1000; echo saved >/data/saved) & " + waiting + "exit 5", 50 * time.Millisecond, false},
		{"nor without grace", "(trap 'echo saved >/data/saved' TERM; touch /data/trapped; while :; do sleep 0.01; done) & " + waiting + "exit 5", 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := supervised(t, test.script)
			b.opt.StopGrace = test.grace
			_, res := b.run()
			if res.ExitCode != 5 {
				t.Errorf("exit code %d, want 5", res.ExitCode)
			}
			if _, err := os.Stat(b.path("data/saved")); (err == nil) != test.saved {
				t.Errorf("saved is %v, want %v", err == nil, test.saved)
			}
		})
	}
}

// TestSupervisedStreams checks that the standard streams end with the program,
// although the container still lives because of another process.
func TestSupervisedStreams(t *testing.T) {
	b := supervised(t, "(trap '' TERM; echo >/data/trapped; exec sleep 1000) </dev/null >/dev/null 2>&1 & while [ ! -e /data/trapped ]; do sleep 0.01; done; echo last")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b.opt.Stdio[1] = w
	b.opt.StopGrace = time.Hour
	c := b.begin()
	w.Close()
	if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(r); err != nil || string(out) != "last\n" {
		t.Errorf("output %q, %v", out, err)
	}
	if got := c.Status(); got != oci.Running {
		t.Errorf("status %s, want running", got)
	}
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
}

// TestSupervisedDescriptors checks what is open in the program and in process 1.
func TestSupervisedDescriptors(t *testing.T) {
	b := supervised(t, "i=0; while [ $i -lt 100 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done; echo ready; sleep 1000")
	c := b.begin()
	b.awaitOutput("ready")
	if out := contents(t, b.out); out != "0\n1\n2\nready\n" {
		t.Errorf("open in the program: %q", out)
	}
	out, err := b.out.Stat()
	if err != nil {
		t.Fatal(err)
	}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.PID()))
	for _, link := range links {
		if info, err := os.Stat(link); err == nil && (info.IsDir() || os.SameFile(info, out)) {
			target, _ := os.Readlink(link)
			t.Errorf("open in process 1: %s", target)
		}
	}
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
}

// TestSupervisedShared supervises a program that is to share a pid namespace: with another container, or with the host.
// It gets one inside that, so that what it leaves behind ends with it, and nobody else.
func TestSupervisedShared(t *testing.T) {
	for _, with := range []string{"container", "host"} {
		t.Run(with, func(t *testing.T) {
			others := shell(t, "exec sleep 1000")
			other := others.begin()
			b := supervised(t, "sleep 1000 & set -- /proc/[0-9]*; echo $PPID $#; read line; exit 5")
			b.opt.StopGrace = time.Minute
			b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[1:]
			if with == "container" {
				b.namespace(specs.PIDNamespace, nsPath(other.PID(), specs.PIDNamespace))
			}
			in, keep, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			b.opt.Stdio[0] = in
			c := b.begin()
			b.awaitOutput("\n")
			// Process 1, the shell and sleep: none of the others'.
			if got := contents(t, b.out); got != "1 3\n" {
				t.Errorf("parent and number of processes: %q", got)
			}
			if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID())); err != nil || !strings.Contains(string(status), "\t1\n") {
				t.Errorf("process %d is not the first of its pid namespace: %v\n%s", c.PID(), err, status)
			}
			pids, err := c.Processes()
			if err != nil {
				t.Fatal(err)
			}
			keep.Close()
			if status, err := c.Wait(); err != nil || exitCode(status) != 5 {
				t.Errorf("exit code %d, %v", exitCode(status), err)
			}
			for _, pid := range pids {
				if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
					t.Errorf("process %d has outlived the container", pid)
				}
			}
			if s := other.Status(); s != oci.Running {
				t.Errorf("the other container is %s", s)
			}
			if err := c.Delete(false); err != nil {
				t.Error(err)
			}
			if err := other.Signal(unix.SIGKILL); err != nil {
				t.Error(err)
			}
			other.Wait()
			if err := other.Delete(false); err != nil {
				t.Error(err)
			}
			b.nothingLeft()
			others.nothingLeft()
		})
	}
}

// TestSupervisedStop checks what a program that is executed for a signal does, and that without it the signal goes to the
// main process.
func TestSupervisedStop(t *testing.T) {
	const script = "trap 'exit 42' TERM; trap 'exit 43' HUP; echo ready; while :; do [ -e /data/asked ] && exit 41; sleep 0.01; done"
	for name, test := range map[string]struct {
		args []string
		want int
	}{
		"asked":           {[]string{"/bin/sh", "-c", "echo; echo >&2; read line; echo $$ >/data/asked; exit 3"}, 41},
		"it says nothing": {[]string{"/bin/sh", "-c", "exit 0"}, 42},
		"it fails":        {[]string{"/bin/sh", "-c", "exit 1"}, 42},
		"it is killed":    {[]string{"/bin/sh", "-c", "kill -9 $$"}, 42},
		"it is missing":   {[]string{"/bin/none"}, 42},
	} {
		t.Run(name, func(t *testing.T) {
			b := supervised(t, script)
			b.opt.Stops = map[unix.Signal][]string{unix.SIGTERM: test.args, unix.SIGUSR1: {"/bin/none"}}
			c := b.begin()
			b.awaitOutput("ready")
			if err := c.SignalAll(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if status, err := c.Wait(); err != nil || exitCode(status) != test.want {
				t.Errorf("exit code %d, %v; want %d", exitCode(status), err, test.want)
			}
			if out := contents(t, b.out); out != "ready\n" {
				t.Errorf("output %q", out)
			}
		})
	}
	t.Run("another signal", func(t *testing.T) {
		b := supervised(t, script)
		b.opt.Stops = map[unix.Signal][]string{unix.SIGTERM: {"/bin/none"}}
		c := b.begin()
		b.awaitOutput("ready")
		if err := c.Signal(unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if status, err := c.Wait(); err != nil || exitCode(status) != 43 {
			t.Errorf("exit code %d, %v", exitCode(status), err)
		}
	})
}

// TestSupervisedLinger checks that a container may last as long as its processes, and that a stop ends it then.
func TestSupervisedLinger(t *testing.T) {
	b := supervised(t, "(while [ ! -e /data/go ]; do sleep 0.01; done; echo last) & echo ready; exit 5")
	b.opt.Linger = true
	c := b.begin()
	b.awaitOutput("ready")
	b.file("data/go", "", 0o644)
	if status, err := c.Wait(); err != nil || exitCode(status) != 5 {
		t.Errorf("exit code %d, %v", exitCode(status), err)
	}
	if out := contents(t, b.out); out != "ready\nlast\n" {
		t.Errorf("output %q", out)
	}

	b = supervised(t, "sleep 1000 & echo ready; exit 5")
	b.opt.Linger, b.opt.Stops = true, map[unix.Signal][]string{unix.SIGTERM: {"/bin/none"}}
	c = b.begin()
	b.awaitOutput("ready")
	if err := c.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// It comes to the program or to those that it left.
	if status, err := c.Wait(); err != nil || exitCode(status) != 5 && exitCode(status) != 143 {
		t.Errorf("exit code %d, %v", exitCode(status), err)
	}
}

// TestSupervisedExec checks the parent of a program that is executed in a container.
func TestSupervisedExec(t *testing.T) {
	b := supervised(t, "echo ready; sleep 1000")
	c := b.begin()
	b.awaitOutput("ready")
	windows := func(o *ExecOptions) { o.Windows = true }
	for script, want := range map[string]int{"exit 7": 7, "kill -9 $$": 137, "sleep 1000 & exit 3": 3} {
		if out, code := b.exec(c, script, windows); code != want || out != "" {
			t.Errorf("%s: exit code %d, want %d; %q", script, code, want, out)
		}
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, test := range []struct {
		signal unix.Signal
		want   int
	}{{unix.SIGTERM, 42}, {unix.SIGKILL, 137}} {
		opt := b.execOptions(out, "/bin/sh", "-c", "trap 'exit 42' TERM; echo $$; while :; do sleep 0.01; done")
		opt.Windows = true
		pid, err := c.Exec(opt)
		if err != nil {
			t.Fatal(err)
		}
		var child string
		wait := func(what string, done func() bool) {
			t.Helper()
			for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s: not in a minute", what)
				}
			}
		}
		wait("the child's line", func() bool { child = strings.TrimSpace(contents(t, out)); return child != "" })
		if err := unix.Kill(pid, test.signal); err != nil {
			t.Fatal(err)
		}
		if status, err := WaitProcess(pid); err != nil || exitCode(status) != test.want {
			t.Errorf("%v: exit code %d, %v; want %d", test.signal, exitCode(status), err, test.want)
		}
		wait("the child's end", func() bool {
			_, code := b.exec(c, "kill -0 "+child)
			return code != 0
		})
		if err := out.Truncate(0); err != nil {
			t.Fatal(err)
		}
		out.Seek(0, io.SeekStart)
	}
	// What the first of them has left behind runs on.
	if _, code := b.exec(c, "[ $(ps | grep -c 'sleep 1000') -ge 2 ]"); code != 0 {
		t.Error("a program that was left behind has been killed")
	}
}

// TestSupervisedResize changes the size of a terminal.
func TestSupervisedResize(t *testing.T) {
	b := supervised(t, "while [ ! -e /data/go ]; do sleep 0.01; done; exit 7")
	b.spec.Process.Terminal = true
	b.mount(specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}})
	var master *os.File
	b.opt.Console = func(m *os.File) error {
		master = m
		return nil
	}
	b.opt.Resize = []string{"/bin/sh", "-c", "echo $1 >/data/new; mv /data/new /data/size; [ $1 = 00100x00020 ]", "sh"}
	c := b.begin()
	defer master.Close()
	for _, size := range []unix.Winsize{{Col: 100, Row: 20}, {Col: 65535, Row: 1}, {Col: 9, Row: 12345}} {
		if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &size); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%05dx%05d\n", size.Col, size.Row)
		file := filepath.Join(b.rootfs, "data/size")
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if data, _ := os.ReadFile(file); string(data) == want {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("the size was told as %q, want %q", data, want)
			}
		}
	}
	b.file("data/go", "", 0o644)
	if status, err := c.Wait(); err != nil || exitCode(status) != 7 {
		t.Errorf("exit code %d, %v", exitCode(status), err)
	}
}
