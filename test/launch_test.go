package test

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestTwoAtOnce runs a program twice at the same time; each must find only what it has written itself.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	boxes := []*box{newBox(t), newBox(t)}
	var calls []*call
	var release []func() error
	for i, b := range boxes {
		c := b.launch(b.program("settings"), "of "+strconv.Itoa(i))
		stdin := c.follow()
		calls, release = append(calls, c), append(release, stdin.Close)
	}
	for _, c := range calls {
		if got := c.line(); got != "before registry= file=" {
			t.Errorf("at the start: %s", got)
		}
		if got := c.line(); got != "ready" { // all have written before any reads
			t.Errorf("%q instead of ready", got)
		}
	}
	for i, c := range calls {
		if err := release[i](); err != nil {
			t.Error(err)
		}
		if got, want := c.line(), "after registry=of "+strconv.Itoa(i)+" file=of "+strconv.Itoa(i); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if c.wait(); c.code() != 0 || c.err.Len() > 0 {
			t.Errorf("exit code %d\n%s", c.code(), c.err.String())
		}
	}
}

// TestPrefix checks that a prefix of the user's persists, and that only one container has it at a time.
func TestPrefix(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	settings, prefix := b.program("settings"), filepath.Join(newDir(t), "prefix")
	c := b.launch("--prefix", prefix, settings, "kept")
	stdin := c.follow()
	if got := c.line(); got != "before registry= file=" {
		t.Errorf("at the start: %s", got)
	}
	c.line()
	if line := b.run("--prefix", prefix, settings).wantLine(failed); !strings.Contains(line, "in use") {
		t.Errorf("the second launch says %q", line)
	}
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	if c.wait(); c.code() != 0 {
		t.Errorf("exit code %d\n%s", c.code(), c.err.String())
	}
	for range 2 {
		c := b.run("--prefix", prefix, settings)
		c.want(0, "before registry=kept file=kept\nready\nafter registry=kept file=kept\n")
	}
	b.run(settings).want(0, "before registry= file=\nready\nafter registry= file=\n")
	// A folder with something else in it is not taken for a prefix.
	line := b.run("--prefix", b.dir, settings).wantLine(failed)
	if !strings.Contains(line, "not a prefix") {
		t.Errorf("a folder that is no prefix: %q", line)
	}
}

// TestShares checks what the program gets of the host's folders, by what cmd says.
func TestShares(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	writeFile(t, b.dir, "here.txt", []byte("current folder"))
	writeFile(t, b.dir, `sub/there.txt`, []byte("below"))
	other := newDir(t)
	writeFile(t, other, "other.txt", []byte("other folder"))
	look := build(t, "look", "look") // in a folder of its own
	for _, test := range []struct {
		name  string
		words []string
		code  int
		text  string
		makes string // a file that is there afterwards
		not   string // one that is not; that cmd could not write it does not show in its exit code
	}{
		{"current folder", []string{"cmd", "/c", "cd& type here.txt"}, 0, "D:\\\ncurrent folder", "", ""},
		{"write", []string{"cmd", "/c", "echo x>new1.txt"}, 0, "", filepath.Join(b.dir, "new1.txt"), ""},
		{"read-only", []string{"--read-only", "cmd", "/c", "type here.txt& echo x>new2.txt"}, 0, "current folder", "", filepath.Join(b.dir, "new2.txt")},
		{"read-only C:", []string{"--read-only", "cmd", "/c", `echo x>C:\new.txt& if not exist C:\new.txt echo refused`}, 0, "refused\n", "", ""},
		{"read-only C: has a folder for temporary files", []string{"--read-only", "cmd", "/c", `echo x>%TEMP%\new.txt& type %TEMP%\new.txt`}, 0, "x\n", "", ""},
		{"workdir", []string{"--workdir", `D:\SUB`, "cmd", "/c", "cd& type there.txt"}, 0, "D:\\sub\nbelow", "", ""},
		{"workdir on C:", []string{"--workdir", `C:\Windows`, "cmd", "/c", "cd"}, 0, "C:\\windows\n", "", ""},
		{"mount", []string{"--mount", other + ":E:", "cmd", "/c", `type E:\other.txt& echo x>E:\new3.txt`}, 0, "other folder", filepath.Join(other, "new3.txt"), ""},
		{"mount read-only", []string{"--mount", other + ":E::ro", "cmd", "/c", `type E:\other.txt& echo x>E:\new4.txt`}, 0, "other folder", "", filepath.Join(other, "new4.txt")},
		{"mount with read-only", []string{"--read-only", "--mount", other + ":E:", "cmd", "/c", `type E:\other.txt& echo x>E:\new5.txt`}, 0, "other folder", "", filepath.Join(other, "new5.txt")},
		{"mount below C:", []string{"--mount", other + `:C:\data\deep`, "cmd", "/c", `type c:\Data\deep\other.txt& echo x>C:\data\deep\new6.txt`}, 0, "other folder", filepath.Join(other, "new6.txt"), ""},
		{"mount a file", []string{"--mount", filepath.Join(other, "other.txt") + `:C:\data\name.txt:ro`, "cmd", "/c", `type C:\data\name.txt`}, 0, "other folder", "", ""},
		{"the program's own folder", []string{look, `E:\look.exe`, `F:\`}, 0, "there E:\\look.exe\nmissing F:\\\n", "", ""},
		{"environment", []string{"--env", "A=first value", "--env", "WINBOX_TEST_PASSED", "--env", "WINBOX_TEST_UNSET", "cmd", "/c", "echo %A%,%WINBOX_TEST_PASSED%,%WINBOX_TEST_UNSET%,%WINBOX_TEST_HIDDEN%"}, 0,
			"first value,passed on,%WINBOX_TEST_UNSET%,%WINBOX_TEST_HIDDEN%\n", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := b.launch(test.words...)
			c.Env = append(c.Env, "WINBOX_TEST_PASSED=passed on", "WINBOX_TEST_HIDDEN=hidden")
			c.wait()
			if c.code() != test.code || c.text() != test.text || strings.Contains(c.err.String(), "winbox:") {
				t.Errorf("exit code %d, output %q, standard error %q; want %d, %q", c.code(), c.text(), c.err.String(), test.code, test.text)
			}
			if _, err := os.Stat(test.makes); test.makes != "" && err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(test.not); test.not != "" && err == nil {
				t.Errorf("%s was written", test.not)
			}
		})
	}
}

// TestBadFlags gives flags what they do not take: one line each, and nothing runs.
func TestBadFlags(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	look := b.program("look")
	for _, words := range [][]string{
		{"--memory", "much", look},
		{"--memory", "-1", look},
		{"--memory", "0", look},
		{"--memory", "99999999999999g", look},
		{"--memory", "1gg", look},
		{"--pids", "-1", look},
		{"--cpus", "-1", look},
		{"--cpus", "99999", look},
		{"--cpus", "0", look},
		{"--cpus", "NaN", look},
		{"--pids", "0", look},
		{"--network", "some", look},
		{"--boot", "slow", look},
		{"--runtime", "other", look},
		{"--mount", "x", look},
		{"--mount", ".:C:", look},
		{"--mount", "missing:E:", look},
		{"--mount", ".:D:", look},
		{"--mount", ".:/etc", look},
		{"--mount", look + ":E:", look},
		{"--workdir", `E:\missing`, look},
		{"--workdir", `D:\missing`, look},
		{"--workdir", "relative", look},
		{"--env", "=x", look},
	} {
		t.Run(strings.Join(words, " "), func(t *testing.T) {
			c := b.run(words...)
			c.wantLine(failed)
			if c.out.Len() > 0 {
				t.Errorf("standard output %q", c.out.String())
			}
		})
	}
}

// TestShareHome checks that whole home directories, and the root directory, are not shared by mistake.
func TestShareHome(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	home := filepath.Join(newDir(t), "home")
	writeFile(t, home, "in home.txt", []byte("private"))
	writeFile(t, home, "work/in work.txt", []byte("work"))
	b.env = append(b.env, "HOME="+home)
	for _, test := range []struct {
		name  string
		dir   string
		flags []string
		code  int
	}{
		{"root directory", "/", nil, failed},
		{"home", home, nil, failed},
		{"above home", filepath.Dir(home), nil, failed},
		{"mount of home", b.dir, []string{"--mount", home + ":E:"}, failed},
		{"mount of root directory", b.dir, []string{"--mount", "/:E::ro"}, failed},
		{"below home", filepath.Join(home, "work"), nil, 0},
		{"home, allowed", home, []string{"--share-home"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := b.launch(append(test.flags, "cmd", "/c", "exit 0")...)
			c.Dir = test.dir
			if c.wait(); test.code == 0 {
				c.want(0, "")
			} else if line := c.wantLine(test.code); !strings.Contains(line, "--share-home") {
				t.Errorf("%q does not name --share-home", line)
			}
		})
	}
}

// TestHostIsHidden tries to see of the host what was not shared.
func TestHostIsHidden(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	look := b.program("look")
	secret := writeFile(t, newDir(t), "secret.txt", []byte("secret"))
	var hidden []string
	for letter := 'E'; letter <= 'Z'; letter++ {
		hidden = append(hidden, string(letter)+`:\`)
	}
	for _, file := range []string{
		secret, filepath.Dir(secret), winbox, "/etc/shadow", "/root", "/home", "/var", "/boot", "/bin/sh", "/usr/bin",
		"/sys/fs/cgroup", "/sys/class", "/run/winbox/containers", b.root, "/proc/1/root/etc/shadow", "/proc/1/cwd/etc/shadow", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda",
	} {
		hidden = append(hidden, `\\?\unix`+strings.ReplaceAll(file, "/", `\`))
	}
	// Names alone show nothing: the container has a /etc/passwd of its own, for instance.
	shown := []string{`C:\windows\system32\ntdll.dll`, `D:\look.exe`, `\\?\unix\proc\self`}
	want := ""
	for _, name := range shown {
		want += "there " + name + "\n"
	}
	for _, name := range hidden {
		want += "missing " + name + "\n"
	}
	c := b.run(append(append([]string{look}, shown...), hidden...)...)
	if c.code() != 0 || c.text() != want {
		t.Errorf("exit code %d, standard error %q", c.code(), c.err.String())
		for line := range strings.Lines(c.text()) {
			if !strings.Contains(want, line) {
				t.Errorf("not as it should be: %s", line)
			}
		}
	}
	// What the flag means for a person: there is no drive with the whole machine on it.
	if c := b.run("cmd", "/c", `dir z:\`); c.code() == 0 || strings.Contains(c.text(), "etc") {
		t.Errorf("dir z:\\ : exit code %d\n%s", c.code(), c.text())
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	line := b.run("--timeout", "1s", b.program("wait")).wantLine(124)
	if !strings.HasPrefix(line, "winbox: timed out after 1s: container wait-") {
		t.Errorf("standard error %q", line)
	}
	b.run("--timeout", "90s", "cmd", "/c", "exit 5").want(5, "")
}

// TestLimits looks at the control group of a container that runs, and that the limits bite.
func TestLimits(t *testing.T) {
	t.Parallel()
	t.Run("cpus", func(t *testing.T) {
		t.Parallel()
		b := newBox(t)
		c := b.launch("--cpus", "0.2", b.program("spin"))
		c.follow()
		c.line()
		id, _ := b.container()
		if got := cgroupFile(t, id, "cpu.cfs_quota_us", "cpu.max"); got != "20000" && got != "20000 100000" {
			t.Errorf("quota %q", got)
		}
		throttled := regexp.MustCompile(`(?m)^nr_throttled [1-9]`)
		await(t, "throttled", func() bool { return throttled.MatchString(cgroupFile(t, id, "cpu.stat")) })
		b.stop(c, id)
	})
	for _, kind := range []string{"threads", "processes"} {
		t.Run("pids, "+kind, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			spawn := b.program("spawn")
			for _, test := range []struct {
				flags       []string
				least, most int
			}{
				{nil, 60, 60},
				{[]string{"--pids", "30"}, 1, 29},
			} {
				c := b.run(append(test.flags, spawn, kind, "60")...)
				got, err := strconv.Atoi(strings.TrimSpace(c.text()))
				if err != nil || c.code() != 0 || c.err.Len() > 0 || got < test.least || got > test.most {
					t.Errorf("%s: exit code %d, %q %q, want %d to %d", c, c.code(), c.text(), c.err.String(), test.least, test.most)
				}
			}
		})
	}
}

// greetingServer serves a line of text on the host's loopback interface, and gives the port.
func greetingServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "hello from the host")
			conn.Close()
		}
	}()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// stop kills a container from outside and waits for the end of its launch.
func (b *box) stop(c *call, id string) {
	b.t.Helper()
	b.call("kill", id, "KILL").wait().want(0, "")
	if c.wait(); c.code() != 137 || c.err.Len() > 0 {
		b.t.Errorf("%s: exit code %d after kill, standard error %q", c, c.code(), c.err.String())
	}
}

// TestKeep keeps a container, looks at it and deletes it.
func TestKeep(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	statusFile := filepath.Join(b.dir, "status.json")
	b.run("--keep", "--status-file", statusFile, "cmd", "/c", "exit 3").want(3, "")
	var status struct{ ID string }
	if err := json.Unmarshal([]byte(readFile(t, statusFile)), &status); err != nil {
		t.Fatal(err)
	}
	scratch := filepath.Join(dataRoot, "containers", status.ID)
	if _, err := os.Stat(scratch); err != nil {
		t.Error(err)
	}
	c := b.call("state", status.ID).wait()
	var state struct {
		ID, Status string
		PID        int
	}
	if err := json.Unmarshal(c.out.Bytes(), &state); err != nil || state.ID != status.ID || state.Status != "stopped" || state.PID != 0 {
		t.Errorf("state: %v, %s", err, c.out.String())
	}
	b.call("delete", status.ID).wait().want(0, "")
	if line := b.call("delete", status.ID).wait().wantLine(1); !strings.Contains(line, "does not exist") {
		t.Errorf("deleted twice: %q", line)
	}
	if _, err := os.Stat(scratch); err == nil {
		t.Errorf("%s is left", scratch)
	}
	if left := cgroups(t, status.ID); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestStatusFile checks what --status-file tells of different ends.
func TestStatusFile(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	allocate, wait := b.program("allocate"), b.program("wait")
	file := filepath.Join(b.dir, "status.json")
	type status struct {
		ID              string
		Program         string
		ExitCode        int
		OOMKilled       bool
		TimedOut        bool
		DurationSeconds float64
		WindowsExitCode *uint32
		Memory          struct{ PeakBytes, LimitBytes uint64 }
		Layout          struct {
			ImageBase string
			ImageSize uint64
			Held      int
			Broken    []string
		}
	}
	for _, test := range []struct {
		name  string
		words []string
		check func(status) bool
	}{
		{"success", []string{"--memory", "256m", allocate, "40"}, func(s status) bool {
			return s.ExitCode == 0 && !s.OOMKilled && !s.TimedOut && s.Memory.LimitBytes == 256<<20 && s.Memory.PeakBytes > 40<<20 && s.Memory.PeakBytes < 256<<20
		}},
		{"without a limit", []string{allocate, "1"}, func(s status) bool {
			return s.ExitCode == 0 && s.Memory.PeakBytes > 1<<20 && s.Memory.LimitBytes == 0
		}},
		{"exit code", []string{"cmd", "/c", "exit 7"}, func(s status) bool { return s.ExitCode == 7 && s.WindowsExitCode != nil && *s.WindowsExitCode == 7 }},
		{"large exit code", []string{"cmd", "/c", "exit 305419896"}, func(s status) bool {
			return s.ExitCode == 0x78 && s.WindowsExitCode != nil && *s.WindowsExitCode == 0x12345678
		}},
		{"out of memory", []string{"--memory", "32m", "--commit", "off", allocate, "64"}, func(s status) bool { return s.OOMKilled && !s.TimedOut && s.ExitCode != 0 }},
		// The only one that surely runs long enough for its address space to be looked at.
		{"timeout", []string{"--timeout", "5s", wait}, func(s status) bool {
			return s.TimedOut && !s.OOMKilled && s.DurationSeconds >= 5 && s.Layout.ImageBase == "0x140000000" && s.Layout.ImageSize > 0 && s.Layout.Held > 0 && len(s.Layout.Broken) == 0
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			os.Remove(file) // of the test before, if there was one
			b.run(append([]string{"--status-file", file}, test.words...)...)
			text := readFile(t, file)
			var s status
			if err := json.Unmarshal([]byte(text), &s); err != nil {
				t.Fatal(err)
			}
			if s.ID == "" || !filepath.IsAbs(s.Program) || s.DurationSeconds <= 0 || s.DurationSeconds > patience.Seconds() || !test.check(s) {
				t.Errorf("status file:\n%s", text)
			}
		})
	}
}

// TestNetwork connects to a server on the host's loopback interface.
func TestNetwork(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	connect, port := b.program("connect"), greetingServer(t)
	b.run("--network", "host", connect, port).want(0, "hello from the host")
	for _, words := range [][]string{{"--network", "none", connect, port}, {connect, port}} {
		if c := b.run(words...); c.code() != 1 || !strings.HasPrefix(c.text(), "error ") {
			t.Errorf("%s: exit code %d, %q", c, c.code(), c.text())
		}
	}
}
