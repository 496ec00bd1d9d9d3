package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// autoBoxes runs a test under the boot profile `auto` on Wine 8 and Wine 10.
func autoBoxes(t *testing.T, test func(*testing.T, *box)) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *box{
		"host":   newBox,
		"wine10": func(t *testing.T) *box { return newRuntimeBox(t, "i386") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// batch runs commands of cmd.exe under a boot profile and gives what they print.
func (b *box) batch(profile string, lines ...string) *call {
	b.t.Helper()
	writeFile(b.t, b.dir, "run.bat", []byte("@echo off\r\n"+strings.Join(lines, "\r\n")+"\r\n"))
	return b.run("--boot", profile, "cmd", "/c", "run.bat")
}

// TestAutoServices installs, starts and stops a service; nothing but the program and the placeholder runs before.
func TestAutoServices(t *testing.T) {
	autoBoxes(t, func(t *testing.T, b *box) {
		b.program("service")
		commands := []string{`sc create sample binPath= D:\service.exe`, `sc start sample`, `sc stop sample`, `type C:\service.txt`}
		if c := b.batch("auto", commands...); c.code() != 0 || !strings.HasSuffix(c.text(), "started\nstopped\n") {
			t.Errorf("%s: exit code %d, output:\n%s%s", c, c.code(), c.text(), c.err.String())
		}
		// Of many at once, one is served by way of the placeholder.
		b.run("--boot", "auto", "service.exe", "ask").want(0, "8\n")
		if c := b.batch("minimal", commands...); strings.Contains(c.text(), "started\n") {
			t.Errorf("a service runs under the minimal boot:\n%s", c.text())
		}
	})
}

// TestAutoCOM calls a COM server in another process.
func TestAutoCOM(t *testing.T) {
	autoBoxes(t, func(t *testing.T, b *box) {
		writeFile(t, b.dir, "comserver.exe", []byte(readFile(t, build(t, "comserver", "comserver", "-lole32", "-luuid"))))
		if c := b.batch("auto", `comserver /RegServer`, `comserver`); c.code() != 0 || c.text() != "another process\n" {
			t.Errorf("%s: exit code %d, output:\n%s%s", c, c.code(), c.text(), c.err.String())
		}
	})
}

// TestAutoInstaller installs a package that has a file, a registry value, a service and a custom action.
func TestAutoInstaller(t *testing.T) {
	if _, err := exec.LookPath("wixl"); err != nil {
		t.Skip("needs wixl (Debian package wixl)")
	}
	autoBoxes(t, func(t *testing.T, b *box) {
		b.program("service")
		writeFile(t, b.dir, "action.dll", []byte(readFile(t, machines[0].build(t, "action.dll", "action", "-shared"))))
		writeFile(t, b.dir, "sample.wxs", []byte(readFile(t, filepath.Join("pe", "sample.wxs"))))
		cmd := exec.Command("wixl", "-a", "x64", "-o", "sample.msi", "sample.wxs")
		cmd.Dir = b.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		c := b.batch("auto", `msiexec /i D:\sample.msi /qn`, `echo code %errorlevel%`, `if exist "%ProgramFiles%\Sample\service.exe" echo file`,
			`type C:\service.txt C:\action.txt`, `reg query HKLM\Software\Sample /v Installed`)
		for _, want := range []string{"code 0\n", "file\n", "started\n", "session 1\n", "yes"} {
			if !strings.Contains(c.text(), want) {
				t.Errorf("%s: no %q in the output:\n%s%s", c, want, c.text(), c.err.String())
			}
		}
	})
}

// TestAutoIsSmall looks at the processes: as long as nobody asks for a service there is none, and what waits for that
// neither has the program's standard input or output nor keeps the container.
func TestAutoIsSmall(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c := b.launch("--boot", "auto", "cmd", "/c", "echo ready& pause")
	stdin := c.follow()
	if c.line() != "ready" {
		t.Error("not ready")
	}
	var names []string
	// Process 1, the wineserver, the program and what waits.
	await(t, "four processes", func() bool {
		names = nil
		for _, pid := range b.processes() {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // fails for one that has ended
			names = append(names, string(line))
			if !strings.Contains(string(line), "wineboot.exe") {
				continue
			}
			for fd := range 2 {
				if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); err == nil && to != "/dev/null" {
					t.Errorf("the placeholder's descriptor %d is %s", fd, to)
				}
			}
		}
		return len(names) == 4
	})
	for _, name := range names {
		if strings.Contains(name, "services.exe") {
			t.Errorf("processes: %q", names)
		}
	}
	stdin.Close()
	if c.wait(); c.code() != 0 {
		t.Errorf("exit code %d", c.code())
	}
}

// TestAutoBundle has the profile from an annotation.
func TestAutoBundle(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	bundle := b.bundle(func(s *specs.Spec) {
		s.Root.Path = newDir(t)
		s.Annotations = map[string]string{"io.winbox.boot": "auto"}
	}, system32+"net.exe", "start")
	if c := b.call("run", "--bundle", bundle, b.id("auto")).wait(); c.code() != 0 || !strings.Contains(c.text(), "Event Log") {
		t.Errorf("%s: exit code %d, output %q, error %q", c, c.code(), c.text(), c.err.String())
	}
}

// TestAutoDevices asks for what drivers know, from each machine. Of drives, the placeholder knows it itself; for the rest
// it starts the services, which answer the same question; and so do the drivers after that.
func TestAutoDevices(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		writeFile(t, b.dir, "devices.exe", []byte(readFile(t, m.build(t, "devices.exe", "devices", "-liphlpapi"))))
		volume := `\\?\Volume{00000000-0000-0000-0000-000000000044}\`
		b.run("--boot", "auto", "devices.exe", "drives", "type", "volume", "no volume", "name", "drives", "type", "volume", "no volume", "adapters").
			want(0, "drives c services 0\ntype 3 services 0\nvolume 1 44000000 NTFS services 0\nvolume 0 services 0\n"+
				"name "+volume+" services 1\ndrives c services 1\ntype 3 services 1\nvolume 1 44000000 NTFS services 1\nvolume 0 services 1\nadapters 111 services 1\n")
		// 111 is ERROR_BUFFER_OVERFLOW: there is a table, and how large it is.
		b.run("--boot", "auto", "devices.exe", "adapters", "name").want(0, "adapters 111 services 1\nname "+volume+" services 1\n")
		b.run("devices.exe", "drives", "type", "name").want(0, "drives c services 0\ntype 3 services 0\nname  services 0\n")
	})
}

// TestSecondStart starts a further program in a container: the session is not booted again.
func TestSecondStart(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("wait")
	b.program("exit")
	first := b.launch("-e", "WINEDEBUG=+process", "wait.exe")
	first.follow()
	if first.line() != "waiting" {
		t.Fatal("not waiting")
	}
	b.booted()
	id, _ := b.container()
	for range 2 {
		c := b.call("exec", "--env", "WINEDEBUG=+process", id, `D:\exit.exe`, "7").wait()
		if c.code() != 7 || !strings.Contains(c.err.String(), "trace:process:") || strings.Contains(c.err.String(), "wineboot") {
			t.Errorf("%s: exit code %d\n%s", c, c.code(), c.err.String())
		}
	}
	if c := b.call("kill", id, "KILL").wait(); c.code() != 0 {
		t.Errorf("%s: exit code %d, %s", c, c.code(), c.err.String())
	}
	first.wait()
	if !strings.Contains(first.err.String(), "wineboot") {
		t.Error("the boot is not to be seen")
	}
}
