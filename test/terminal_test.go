package test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// A screen is the user's side of a terminal.
type screen struct {
	console.Console
	mu   sync.Mutex
	text strings.Builder
	done chan struct{}
}

// attach gives a call a terminal of a size, as a shell in a terminal window does.
func (c *call) attach(size console.WinSize) *screen {
	t := c.box.t
	t.Helper()
	master, name, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := master.Resize(size); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	s := &screen{Console: master, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		buf := make([]byte, 4096)
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

// control matches what moves a terminal's cursor and changes its modes (ECMA-48, control sequences and titles).
var control = regexp.MustCompile(`\x1b\[[0-9;?]*[@-~]|\x1b\][^\a]*\a`)

// shows waits until something like the pattern has been written, without blanks: Wine may move the cursor instead.
func (s *screen) shows(t *testing.T, pattern string) {
	t.Helper()
	want := regexp.MustCompile(pattern)
	seen := func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.ReplaceAll(control.ReplaceAllString(s.text.String(), ""), " ", "")
	}
	defer func() {
		if t.Failed() {
			t.Logf("the terminal shows %q", seen())
		}
	}()
	await(t, "terminal shows "+pattern, func() bool { return want.MatchString(seen()) })
}

// TestTerminal runs programs with a terminal.
func TestTerminal(t *testing.T) {
	t.Parallel()
	t.Run("window size, Ctrl-C", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		c := b.launch(b.program("console"))
		s := c.attach(console.WinSize{Width: 93, Height: 37})
		s.shows(t, `console=1window=93x37`)
		if _, err := s.Write([]byte{3}); err != nil {
			t.Error(err)
		}
		if c.wait(); c.code() < 0 {
			t.Errorf("exit code %d after Ctrl-C", c.code())
		}
	})
	t.Run("typing", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		c := b.launch("cmd")
		s := c.attach(console.WinSize{Width: 120, Height: 30})
		s.shows(t, `D:\\>`)
		if _, err := s.Write([]byte("set /a 6*7\r")); err != nil {
			t.Error(err)
		}
		s.shows(t, `42`)
		// Backspace, the cursor keys and the history of lines.
		if _, err := s.Write([]byte("set /a 9*7\x7f5\r\x1b[A\x7f6\r\x1b[A\x1b[D1\r")); err != nil {
			t.Error(err)
		}
		s.shows(t, `(?s)\n45\b.*\n54\b.*\n144\b`)
		for _, pid := range b.processes() {
			// Fails for a process that has ended in the meantime.
			if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(line), "explorer") {
				t.Errorf("process %d is %q", pid, line)
			}
		}
		if _, err := s.Write([]byte("exit 9\r")); err != nil {
			t.Error(err)
		}
		if c.wait(); c.code() != 9 {
			t.Errorf("exit code %d, want 9", c.code())
		}
	})
	t.Run("modes are restored", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		c := b.launch("cmd", "/c", "exit 0")
		s := c.attach(console.WinSize{Width: 80, Height: 24})
		before, err := unix.IoctlGetTermios(int(s.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		c.wait()
		after, err := unix.IoctlGetTermios(int(s.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if c.code() != 0 || *before != *after {
			t.Errorf("exit code %d, modes %+v before and %+v after", c.code(), before, after)
		}
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		b.run(b.program("console")).want(0, "console=0\n")
	})
}

// TestDesktop checks that a program with windows has Wine's explorer for its desktop.
func TestDesktop(t *testing.T) {
	t.Parallel()
	for _, kind := range append([]string{"host"}, wow64Kinds...) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var b *box
			if kind == "host" {
				b = newBox(t)
			} else {
				b = newRuntimeBox(t, kind)
			}
			b.run(b.program("desktop")).want(0, "window=1 desktop=C:\\windows\\explorer.exe\n")
		})
	}
}
