package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/console"
	"github.com/opencontainers/runtime-spec/specs-go"
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
	return watch(t, master)
}

// watch collects what is written to a terminal.
func watch(t *testing.T, master console.Console) *screen {
	s := &screen{Console: master, done: make(chan struct{})}
	t.Cleanup(func() { master.Close() })
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

// checkConsole launches pe/console.c at a terminal, looks at the window that it sees, and types Ctrl-C.
func checkConsole(t *testing.T, c *call) {
	t.Helper()
	s := c.attach(console.WinSize{Width: 93, Height: 37})
	s.shows(t, `console=1window=93x37`)
	if _, err := s.Write([]byte{3}); err != nil {
		t.Error(err)
	}
	if c.wait(); c.code() != 130 {
		t.Errorf("exit code %d after Ctrl-C", c.code())
	}
}

// TestTerminal runs programs with a terminal.
func TestTerminal(t *testing.T) {
	t.Parallel()
	t.Run("window size, Ctrl-C", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		checkConsole(t, b.launch(b.program("console")))
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

// received gives the master of the terminal that a call hands over on its console socket, as an engine takes it, as a screen.
func (b *box) received(call func(socket string) *call) *screen {
	b.t.Helper()
	name := filepath.Join(newDir(b.t), "console")
	listener, err := net.Listen("unix", name)
	if err != nil {
		b.t.Fatal(err)
	}
	defer listener.Close()
	c := call(name)
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 4096), oob)
	if err != nil {
		b.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		b.t.Fatalf("messages %v, %v, want one", messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		b.t.Fatalf("descriptors %v, %v, want one", fds, err)
	}
	if c.wait(); c.code() != 0 {
		b.t.Fatalf("%s: exit code %d\n%s%s", c, c.code(), c.text(), c.err.String())
	}
	master, err := console.ConsoleFromFile(os.NewFile(uintptr(fds[0]), "terminal"))
	if err != nil {
		b.t.Fatal(err)
	}
	return watch(b.t, master)
}

// TestResize changes the size of terminals: the program's console follows, and tells it by an event.
func TestResize(t *testing.T) {
	list := append([]machine{{"amd64 on a built runtime", machines[0].compiler, machines[0].arch, "i386"}}, machines...)
	t.Parallel()
	for _, m := range list {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			b := m.newBox(t)
			file := m.build(t, "size.exe", "size")
			writeFile(t, b.dir, "size.exe", []byte(readFile(t, file)))
			steps := func(s *screen) {
				t.Helper()
				s.shows(t, `\[window90x30buffer90x30\]`)
				for _, size := range []console.WinSize{{Width: 120, Height: 40}, {Width: 70, Height: 45}, {Width: 61, Height: 20}} {
					if err := s.Resize(size); err != nil {
						t.Fatal(err)
					}
					s.shows(t, fmt.Sprintf(`\[window%[1]dx%[2]dbuffer%[1]dx%[2]d\]`, size.Width, size.Height))
				}
			}
			begin := console.WinSize{Width: 90, Height: 30}
			t.Run("launch", func(t *testing.T) {
				c := b.launch("size.exe", "61")
				steps(c.attach(begin))
				if c.wait(); c.code() != 7 {
					t.Errorf("exit code %d, want 7", c.code())
				}
			})
			bundle := b.bundle(func(s *specs.Spec) {
				b.bare("size.exe")(s)
				s.Annotations = map[string]string{"io.winbox.runtime": cmp.Or(m.kind, "host")}
				s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Width: 90, Height: 30}
			}, "/app/size.exe", "61")
			t.Run("engine", func(t *testing.T) {
				id := b.id("resize")
				s := b.received(func(socket string) *call { return b.call("create", "--bundle", bundle, "--console-socket", socket, id) })
				if c := b.call("start", id).wait(); c.code() != 0 {
					t.Fatalf("%s: exit code %d\n%s", c, c.code(), c.err.String())
				}
				steps(s)
				await(t, "the end", func() bool { status, _ := b.containerOf(id); return status == "stopped" })
				var told exitCodes
				if c := b.call("state", id).wait(); json.Unmarshal(c.out.Bytes(), &told) != nil || !told.is(7, 7) {
					t.Errorf("state says %s", c.out.String())
				}
				b.call("delete", id).wait()
			})
			t.Run("exec", func(t *testing.T) {
				id := b.id("resize-exec")
				s := b.received(func(socket string) *call { return b.call("create", "--bundle", bundle, "--console-socket", socket, id) })
				if c := b.call("start", id).wait(); c.code() != 0 {
					t.Fatalf("%s: exit code %d\n%s", c, c.code(), c.err.String())
				}
				s.shows(t, `\[window90x30buffer90x30\]`)
				c := b.call("exec", "--tty", id, "/app/size.exe", "61")
				steps(c.attach(begin))
				if c.wait(); c.code() != 7 {
					t.Errorf("exit code %d, want 7", c.code())
				}
				steps(b.received(func(socket string) *call {
					return b.call("exec", "--tty", "--detach", "--console-socket", socket, id, "/app/size.exe", "61")
				}))
				// The main program's console is another one.
				steps(s)
				await(t, "the end", func() bool { status, _ := b.containerOf(id); return status == "stopped" })
				b.call("delete", id).wait()
			})
		})
	}
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
