package main

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
)

// screen is the user's side of a terminal, and what it shows.
type screen struct {
	t      *testing.T
	master *os.File
	slave  *os.File // the program's side
	mu     sync.Mutex
	text   strings.Builder
	done   chan struct{}
}

// newScreen makes a terminal of a size.
func newScreen(t *testing.T, rows, cols uint16) *screen {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}))
	if err != nil {
		t.Fatal(err)
	}
	peer, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(peer), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := watch(t, os.NewFile(uintptr(fd), "screen"))
	s.slave = slave
	t.Cleanup(func() { slave.Close() })
	return s
}

// watch reads what a master shows.
func watch(t *testing.T, master *os.File) *screen {
	s := &screen{t: t, master: master, done: make(chan struct{})}
	t.Cleanup(func() { master.Close() })
	go func() {
		defer close(s.done)
		buf := make([]byte, 64<<10)
		for {
			n, err := master.Read(buf) // fails when nobody has the other side any more
			s.mu.Lock()
			s.text.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *screen) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until the screen shows something.
func (s *screen) await(text string) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the terminal shows %q", s.shown())
		}
	}()
	await(s.t, strconv.Quote(text), func() bool { return strings.Contains(s.shown(), text) })
}

// await waits for something that must happen; the limit only keeps a broken test from hanging.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (s *screen) enter(text string) {
	s.t.Helper()
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// settings are those of the terminal (termios(3)).
func (s *screen) settings() unix.Termios {
	s.t.Helper()
	settings, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *settings
}

// attach starts a command with the terminal as a shell in a terminal window has it.
func (s *screen) attach(cmd *exec.Cmd) {
	s.t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// terminalBundle makes a bundle whose program is a script with a terminal.
func terminalBundle(t *testing.T, script string) (command, string) {
	t.Helper()
	c, bundle := busyboxBundle(t, "sh", "-c", script)
	configure(t, bundle, func(s *specs.Spec) {
		s.Process.Terminal = true
		s.Process.Env = []string{"PATH=/bin"}
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
			specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}})
	})
	return c, bundle
}

// configure changes a bundle's configuration.
func configure(t *testing.T, bundle string, change func(*specs.Spec)) {
	t.Helper()
	loaded, err := oci.Load(bundle)
	if err != nil {
		t.Fatal(err)
	}
	change(loaded.Spec)
	data, err := json.Marshal(loaded.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// exitOf waits for a command and gives its exit code.
func exitOf(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// TestRunOnTerminal runs a program on the caller's terminal: size from the
// first moment, keys, line ends, changes of the size, exit code, and the
// caller's settings afterwards.
func TestRunOnTerminal(t *testing.T) {
	c, bundle := terminalBundle(t, `busybox stty size; busybox tty; echo ready; read x; echo "got $x"
		until [ "$(busybox stty size)" = "50 100" ]; do busybox sleep 0.01; done; echo resized; exit 7`)
	s := newScreen(t, 33, 77)
	before := s.settings()
	cmd := c.process("run", "--bundle", bundle, testID())
	s.attach(cmd)
	s.await("ready\r\n")
	s.enter("typed\r")
	s.await("got typed\r\n")
	if during := s.settings(); during.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Errorf("the caller's terminal has local modes %#x while the program runs", during.Lflag)
	}
	if err := unix.IoctlSetWinsize(int(s.slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 100}); err != nil {
		t.Fatal(err)
	}
	if code := exitOf(t, cmd); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	s.await("resized\r\n")
	if got, want := s.shown(), "33 77\r\n/dev/pts/0\r\nready\r\ntyped\r\ngot typed\r\nresized\r\n"; got != want {
		t.Errorf("the terminal shows %q, want %q", got, want)
	}
	if after := s.settings(); after != before {
		t.Errorf("the terminal's settings are %+v, they were %+v", after, before)
	}
}

// TestExecOnTerminal does the same with another process in a container.
func TestExecOnTerminal(t *testing.T) {
	c, bundle := terminalBundle(t, "busybox sleep 1000")
	configure(t, bundle, func(s *specs.Spec) { s.Process.Terminal = false })
	id := testID()
	c.succeed("create", "--bundle", bundle, id)
	s := newScreen(t, 33, 77)
	before := s.settings()
	cmd := c.process("exec", "-t", id, "/bin/busybox", "sh", "-c", `busybox stty size; busybox tty; read x; echo "got $x"; exit 9`)
	s.attach(cmd)
	s.await("/dev/pts/0\r\n")
	s.enter("typed\r")
	if code := exitOf(t, cmd); code != 9 {
		t.Errorf("exit code %d, want 9", code)
	}
	s.await("got typed\r\n")
	if got, want := s.shown(), "33 77\r\n/dev/pts/0\r\ntyped\r\ngot typed\r\n"; got != want {
		t.Errorf("the terminal shows %q, want %q", got, want)
	}
	if after := s.settings(); after != before {
		t.Errorf("the terminal's settings are %+v, they were %+v", after, before)
	}
}

// TestTerminalKeys checks that the keys of job control mean the program, and
// not winbox.
func TestTerminalKeys(t *testing.T) {
	t.Run("interrupt", func(t *testing.T) {
		c, bundle := terminalBundle(t, `trap 'echo interrupted' INT; busybox sh -c 'echo ready; exec busybox sleep 1000'; echo after`)
		s := newScreen(t, 24, 80)
		cmd := c.process("run", "--bundle", bundle, testID())
		s.attach(cmd)
		s.await("ready")
		s.enter("\x03")
		if code := exitOf(t, cmd); code != 0 {
			t.Errorf("exit code %d", code)
		}
		s.await("interrupted\r\nafter\r\n")
	})
	t.Run("suspend", func(t *testing.T) {
		c, bundle := terminalBundle(t, "exec busybox sh -i")
		s := newScreen(t, 24, 80)
		cmd := c.process("run", "--bundle", bundle, testID())
		s.attach(cmd)
		// Said by the process that is in the foreground: only then is the key for it.
		s.enter("busybox sh -c 'echo rea\"\"dy; exec busybox sleep 1000'\r")
		s.await("ready")
		s.enter("\x1a")
		s.await("Stopped")
		s.enter("kill -9 %1; fg; echo still he''re\r")
		s.await("still here")
		s.enter("exit 8\r")
		if code := exitOf(t, cmd); code != 8 {
			t.Errorf("exit code %d, want 8; the terminal shows %q", code, s.shown())
		}
	})
	t.Run("end of input", func(t *testing.T) {
		c, bundle := terminalBundle(t, "busybox cat; echo after")
		s := newScreen(t, 24, 80)
		cmd := c.process("run", "--bundle", bundle, testID())
		s.attach(cmd)
		s.enter("line\r")
		s.await("line\r\nline\r\n")
		s.enter("\x04")
		s.await("after")
		exitOf(t, cmd)
	})
}

// TestTerminalGoesAway closes the caller's terminal: the program loses its own,
// and the container is gone in the end.
func TestTerminalGoesAway(t *testing.T) {
	c, bundle := terminalBundle(t, `echo ready; read x; echo "status $?" >/log`)
	s := newScreen(t, 24, 80)
	id := testID()
	cmd := c.process("run", "--bundle", bundle, id)
	s.attach(cmd)
	s.await("ready")
	s.slave.Close()
	s.master.Close()
	exitOf(t, cmd)
	if data, err := os.ReadFile(filepath.Join(bundle, "rootfs/log")); string(data) != "status 1\n" {
		t.Errorf("the program wrote %q, %v", data, err)
	}
	c.fail("container does not exist", "state", id)
}

// TestTerminalWithoutOne gives programs that have a terminal callers that have
// none, or only for some streams.
func TestTerminalWithoutOne(t *testing.T) {
	t.Run("pipes", func(t *testing.T) {
		for input, want := range map[string]string{
			"one\ntwo\n": "one\r\ntwo\r\none\r\ntwo\r\nend\r\n",
			"one\ntwo":   "one\r\ntwoone\r\ntwoend\r\n", // the echo, and what cat makes of it
			"":           "end\r\n",
		} {
			c, bundle := terminalBundle(t, "busybox sleep 0.1; busybox cat; echo end")
			cmd := c.process("run", "--bundle", bundle, testID())
			cmd.Stdin = strings.NewReader(input)
			out, err := cmd.Output()
			if got := strings.ReplaceAll(string(out), "^D\b\b", ""); err != nil || got != want {
				t.Errorf("input %q: output %q, %v, want %q", input, out, err, want)
			}
		}
	})
	t.Run("size of the configuration", func(t *testing.T) {
		c, bundle := terminalBundle(t, "busybox stty size")
		configure(t, bundle, func(s *specs.Spec) { s.Process.ConsoleSize = &specs.Box{Height: 12, Width: 34} })
		if out, err := c.process("run", "--bundle", bundle, testID()).Output(); err != nil || string(out) != "12 34\r\n" {
			t.Errorf("output %q, %v", out, err)
		}
	})
	t.Run("only the output is one", func(t *testing.T) {
		c, bundle := terminalBundle(t, "busybox stty size; read x; echo got $x")
		s := newScreen(t, 33, 77)
		before := s.settings()
		cmd := c.process("run", "--bundle", bundle, testID())
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = s.slave
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s.await("33 77")
		if during := s.settings(); during != before {
			t.Errorf("the terminal's settings are %+v, they were %+v", during, before)
		}
		io.WriteString(in, "piped\n")
		s.await("got piped")
		in.Close()
		exitOf(t, cmd)
	})
	t.Run("only the input is one", func(t *testing.T) {
		c, bundle := terminalBundle(t, "read x; busybox stty size; echo got $x")
		s := newScreen(t, 33, 77)
		before := s.settings()
		var out strings.Builder
		cmd := c.process("run", "--bundle", bundle, testID())
		cmd.Stdin, cmd.Stdout = s.slave, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, "raw mode", func() bool { return s.settings().Lflag&unix.ICANON == 0 })
		s.enter("typed\r")
		if code := exitOf(t, cmd); code != 0 || out.String() != "typed\r\n33 77\r\ngot typed\r\n" {
			t.Errorf("exit code %d, output %q", code, &out)
		}
		if after := s.settings(); after != before {
			t.Errorf("the terminal's settings are %+v, they were %+v", after, before)
		}
		if shown := s.shown(); shown != "" {
			t.Errorf("the terminal shows %q", shown)
		}
	})
}

// TestTerminalOutput checks that no output is lost at the end, and that a
// program does not wait for a reader who has gone.
func TestTerminalOutput(t *testing.T) {
	t.Run("all of it", func(t *testing.T) {
		c, bundle := terminalBundle(t, "busybox seq 100000")
		out, err := c.process("run", "--bundle", bundle, testID()).Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(out), "\r\n"), "\r\n")
		for i, line := range lines {
			if line != strconv.Itoa(i+1) {
				t.Fatalf("line %d is %q", i+1, line)
			}
		}
		if len(lines) != 100000 {
			t.Errorf("%d lines, want 100000", len(lines))
		}
	})
	for _, tty := range []bool{true, false} {
		t.Run("nobody reads, terminal "+strconv.FormatBool(tty), func(t *testing.T) {
			c, bundle := terminalBundle(t, "busybox yes; echo $? >/log")
			configure(t, bundle, func(s *specs.Spec) { s.Process.Terminal = tty })
			cmd := c.process("run", "--bundle", bundle, testID())
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, 1000)); err != nil {
				t.Error(err)
			}
			out.Close()
			exitOf(t, cmd)
			if data, err := os.ReadFile(filepath.Join(bundle, "rootfs/log")); err != nil || strings.TrimSpace(string(data)) == "0" {
				t.Errorf("the program ended with %q, %v", data, err)
			}
		})
	}
}

// TestForegroundStreams checks a program without a terminal: it has the
// caller's own streams.
func TestForegroundStreams(t *testing.T) {
	c, bundle := terminalBundle(t, "busybox cat; echo end; echo error >&2; exit 3")
	configure(t, bundle, func(s *specs.Spec) { s.Process.Terminal = false })
	cmd := c.process("run", "--bundle", bundle, testID())
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("in\nput"), &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if code := exitOf(t, cmd); code != 3 || stdout.String() != "in\nputend\n" || stderr.String() != "error\n" {
		t.Errorf("exit code %d, output %q, error %q", code, &stdout, &stderr)
	}
}

// TestForegroundSignals checks that signals reach the program, and its end by
// one the caller.
func TestForegroundSignals(t *testing.T) {
	signals := map[string]syscall.Signal{
		"HUP": unix.SIGHUP, "INT": unix.SIGINT, "QUIT": unix.SIGQUIT, "USR1": unix.SIGUSR1, "USR2": unix.SIGUSR2,
		"ALRM": unix.SIGALRM, "CONT": unix.SIGCONT, "TERM": unix.SIGTERM, "37": 37, // systemd's SIGRTMIN+3
	}
	var traps strings.Builder
	for name := range signals {
		traps.WriteString("trap 'echo " + name + "' " + name + "\n")
	}
	c, bundle := busyboxBundle(t, "sh", "-c", traps.String()+"trap 'exit 5' 40\necho ready\nwhile :; do /bin/busybox sleep 0.01; done")
	cmd := c.process("run", "--bundle", bundle, testID())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	out := watch(t, r)
	out.await("ready\n")
	for _, name := range slices.Sorted(maps.Keys(signals)) {
		cmd.Process.Signal(signals[name])
		out.await("\n" + name + "\n")
	}
	cmd.Process.Signal(syscall.Signal(40))
	if code := exitOf(t, cmd); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
}

// TestConsoleSocket checks the terminal that an engine gets.
func TestConsoleSocket(t *testing.T) {
	c, bundle := terminalBundle(t, "busybox stty size; read x; echo got $x")
	configure(t, bundle, func(s *specs.Spec) { s.Process.ConsoleSize = &specs.Box{Height: 21, Width: 43} })
	c.fail("create failed: cannot allocate tty if runc will detach without setting console socket", "create", "--bundle", bundle, testID())
	c.fail("run failed: cannot allocate tty if runc will detach without setting console socket", "run", "-d", "--bundle", bundle, testID())
	c.fail("run failed: cannot use console socket if runc will not detach or allocate tty", "run", "--console-socket", "/x", "--bundle", bundle, testID())
	id, l := testID(), listen(t)
	c.succeed("create", "--bundle", bundle, "--console-socket", l.path, id)
	master, name := l.take()
	if name == "" || len(name) >= 4096 {
		t.Errorf("the message is %q", name)
	}
	s := watch(t, master)
	c.succeed("start", id)
	s.enter("typed\n")
	s.await("got typed\r\n")
	<-s.done
	if got := s.shown(); got != "21 43\r\ntyped\r\ngot typed\r\n" && got != "typed\r\n21 43\r\ngot typed\r\n" {
		t.Errorf("the terminal shows %q", got)
	}
	pid := int(c.state(id)["pid"].(float64))
	unix.Wait4(pid, nil, 0, nil)

	configure(t, bundle, func(s *specs.Spec) { s.Process.Terminal = false })
	c.fail("create failed: cannot use console socket if runc will not detach or allocate tty", "create", "--console-socket", "/x", "--bundle", bundle, testID())
}
