package test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// stopped is a program that waits to be stopped, and what becomes of it.
type stopped struct {
	name   string
	flags  []string
	words  []string
	signal syscall.Signal
	code   int
	out    string
}

// program builds the test program of the first word, for the machine.
func (s *stopped) program(t *testing.T, m machine) string {
	t.Helper()
	if s.words[0] == "unsaved" { // it has the subsystem of windows
		return m.build(t, "unsaved.exe", "unsaved", "-mwindows")
	}
	return m.build(t, s.words[0]+".exe", s.words[0])
}

var (
	consoleStops = []stopped{
		{"SIGTERM", nil, []string{"stop", "handle"}, syscall.SIGTERM, 7, "ctrl-shutdown\ncleaned up\n"},
		{"without a handler", nil, []string{"stop", "none"}, syscall.SIGTERM, 130, ""},
		{"SIGINT", nil, []string{"stop", "handle"}, syscall.SIGINT, 7, "ctrl-c\ncleaned up\n"},
		{"SIGHUP", nil, []string{"stop", "handle"}, syscall.SIGHUP, 7, "ctrl-close\ncleaned up\n"},
		{"SIGQUIT", nil, []string{"stop", "handle"}, syscall.SIGQUIT, 7, "ctrl-break\ncleaned up\n"},
		{"asked for", []string{"--stop", "ctrl-close"}, []string{"stop", "handle"}, syscall.SIGTERM, 7, "ctrl-close\ncleaned up\n"},
		{"its handler returns", nil, []string{"stop", "return"}, syscall.SIGTERM, 130, "ctrl-shutdown\n"},
		{"its handler leaves it to the system", nil, []string{"stop", "leave"}, syscall.SIGHUP, 130, "ctrl-close\n"},
		{"SIGINT without a handler", nil, []string{"stop", "none"}, syscall.SIGINT, 130, ""},
		{"kill", []string{"--stop", "kill"}, []string{"stop", "handle"}, syscall.SIGTERM, 143, ""},
		{"rootless", []string{"--rootless"}, []string{"stop", "handle"}, syscall.SIGTERM, 7, "ctrl-shutdown\ncleaned up\n"},
		{"the host's network", []string{"--network", "host"}, []string{"stop", "handle"}, syscall.SIGTERM, 7, "ctrl-shutdown\ncleaned up\n"},
		{"a child of the same console", nil, []string{"stop", "parent"}, syscall.SIGTERM, 7, "ctrl-shutdown\nctrl-shutdown\ncleaned up\n"},
		{"auto boot", []string{"--boot", "auto"}, []string{"stop", "handle"}, syscall.SIGINT, 7, "ctrl-c\ncleaned up\n"},
		{"full boot", []string{"--boot", "full"}, []string{"stop", "handle"}, syscall.SIGTERM, 7, "ctrl-shutdown\ncleaned up\n"},
	}
	windowStops = []stopped{
		{"window", nil, []string{"unsaved", "close"}, syscall.SIGTERM, 5, "WM_CLOSE\n"},
		{"unsaved", nil, []string{"unsaved", "save"}, syscall.SIGTERM, 143, "WM_CLOSE\nWM_QUERYENDSESSION\nWM_ENDSESSION\nsaved\n"},
	}
)

// TestStop stops programs by a signal to winbox launch: all ways on the first machine, one of each kind on the others.
func TestStop(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		stops := append(consoleStops[:2:2], windowStops[0])
		if m.kind == "" {
			stops = append(consoleStops[:len(consoleStops):len(consoleStops)], windowStops...)
		}
		for _, test := range stops {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				b := m.newBox(t)
				c := b.launch(append(append(test.flags, test.program(t, m)), test.words[1:]...)...)
				c.follow()
				if line := c.line(); line != "waiting" {
					t.Fatalf("it says %q", line)
				}
				if err := c.Process.Signal(test.signal); err != nil {
					t.Fatal(err)
				}
				if out := c.rest(); out != test.out || c.code() != test.code || c.err.Len() > 0 {
					t.Errorf("exit code %d, output %q, error %q; want %d and %q", c.code(), out, c.err.String(), test.code, test.out)
				}
			})
		}
	})
}

// rest waits for the end of a call that is followed, and gives the lines that were not read yet.
func (c *call) rest() string {
	c.box.t.Helper()
	var text strings.Builder
	for line := range c.lines {
		text.WriteString(strings.TrimSuffix(line, "\r") + "\n")
	}
	c.wait()
	return text.String()
}

// TestStopBundle stops the programs of bundles by winbox kill, and by a signal to process 1 from outside.
func TestStopBundle(t *testing.T) {
	t.Parallel()
	for _, test := range append(consoleStops[:3:3], windowStops[0]) {
		for _, how := range []string{"winbox kill", "winbox kill --all", "kill"} {
			t.Run(test.name+" by "+how, func(t *testing.T) {
				t.Parallel()
				b := newBox(t)
				writeFile(t, b.dir, "program.exe", []byte(readFile(t, test.program(t, machines[0]))))
				id := b.id("stop")
				c := b.call("run", "--bundle", b.bundle(nil, append([]string{"/box/program.exe"}, test.words[1:]...)...), id)
				c.follow()
				c.line()
				if _, pid := b.container(); how == "kill" {
					if err := syscall.Kill(pid, test.signal); err != nil {
						t.Fatal(err)
					}
				} else {
					flags := strings.Fields(how)[2:]
					b.call(append(append([]string{"kill"}, flags...), id, strconv.Itoa(int(test.signal)))...).wait().want(0, "")
				}
				if out := c.rest(); out != test.out || c.code() != test.code {
					t.Errorf("exit code %d, output %q, error %q; want %d and %q", c.code(), out, c.err.String(), test.code, test.out)
				}
			})
		}
	}
}

// TestStopIgnored stops programs that do not end for it: they run on until they are killed.
func TestStopIgnored(t *testing.T) {
	t.Parallel()
	for _, test := range []stopped{
		{"console", nil, []string{"stop", "ignore"}, syscall.SIGTERM, 137, "ctrl-shutdown\n"},
		{"handled Ctrl-C", nil, []string{"stop", "return"}, syscall.SIGINT, 137, "ctrl-c\n"},
		{"window", nil, []string{"unsaved", "refuse"}, syscall.SIGTERM, 137, "WM_CLOSE\nWM_QUERYENDSESSION\nWM_ENDSESSION, not\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			c := b.launch(append(test.flags, test.program(t, machines[0]), test.words[1])...)
			c.follow()
			c.line()
			if err := c.Process.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for out.Len() < len(test.out) {
				out.WriteString(strings.TrimSuffix(c.line(), "\r") + "\n")
			}
			id, _ := b.container() // it runs
			b.call("kill", id, "KILL").wait().want(0, "")
			if out.WriteString(c.rest()); out.String() != test.out || c.code() != test.code {
				t.Errorf("exit code %d, output %q; want %d and %q", c.code(), out.String(), test.code, test.out)
			}
		})
	}
}

// TestStopRegistry stops a program that has just written to the registry of a persistent prefix.
func TestStopRegistry(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("stop")
	c := b.launch("--prefix", "prefix", "--stop", "ctrl-c", "stop.exe", "Name=Value", "handle")
	c.follow()
	c.line()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if out := c.rest(); out != "ctrl-c\ncleaned up\n" || c.code() != 7 {
		t.Errorf("exit code %d, output %q", c.code(), out)
	}
	if c := b.run("--prefix", "prefix", "reg", "query", `HKCU\Software\Stop`, "/v", "Name"); !strings.Contains(c.text(), "Value") {
		t.Errorf("exit code %d, output %q", c.code(), c.text())
	}
}

// TestStopLinger leaves a child behind, which has the standard output, too: it ends with the program, or the container
// with it. Services hold the streams of the full boot.
func TestStopLinger(t *testing.T) {
	t.Parallel()
	for _, boot := range []string{"minimal", "auto", "full"} {
		for _, linger := range []bool{false, true} {
			t.Run(fmt.Sprint(boot, " ", linger), func(t *testing.T) {
				t.Parallel()
				b := newBox(t)
				b.program("stop")
				c := b.launch("--boot", boot, fmt.Sprint("--linger=", linger), "stop.exe", "linger")
				c.follow()
				if line := c.line(); line != "ended" {
					t.Errorf("it says %q", line)
				}
				want := ""
				if linger {
					writeFile(t, b.dir, "go", nil)
					want = "stayed\n"
				}
				// The lines end with the end of the file.
				if out := c.rest(); out != want || c.code() != 5 {
					t.Errorf("exit code %d, output %q; want %q", c.code(), out, want)
				}
			})
		}
	}
}

// TestStopMixed stops a program with a child of the other machine on the same console.
func TestStopMixed(t *testing.T) {
	t.Parallel()
	for _, kind := range wow64Kinds {
		for i, names := range [][2]string{{"stop-64.exe", "stop-32.exe"}, {"stop-32.exe", "stop-64.exe"}} {
			t.Run(fmt.Sprint(kind, " ", names[0]), func(t *testing.T) {
				t.Parallel()
				b := newRuntimeBox(t, kind)
				for j, m := range []machine{machines[0], machines[1]} {
					writeFile(t, b.dir, names[(i+j)%2], []byte(readFile(t, m.build(t, "stop.exe", "stop"))))
				}
				c := b.launch(names[0], "parent", names[1])
				c.follow()
				c.line()
				if err := c.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if out := c.rest(); out != "ctrl-shutdown\nctrl-shutdown\ncleaned up\n" || c.code() != 7 {
					t.Errorf("exit code %d, output %q, error %q", c.code(), out, c.err.String())
				}
			})
		}
	}
}
