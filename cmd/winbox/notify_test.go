package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// reportVariable makes the test program send this to NOTIFY_SOCKET and then wait.
const reportVariable = "WINBOX_REPORT_TEST"

// report is what a service does when it is ready.
func report(text string) {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err == nil {
		_, err = conn.Write([]byte("STATUS=not ready"))
	}
	if err == nil {
		_, err = conn.Write([]byte(text))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	time.Sleep(time.Hour)
}

// manager is a service manager that notes what it is told.
type manager struct {
	path string
	mu   sync.Mutex
	told []string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{path: filepath.Join(t.TempDir(), "manager")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for {
			buf, oob := make([]byte, 4096), make([]byte, 4096)
			n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.told = append(m.told, string(buf[:n]))
			m.mu.Unlock()
			// Only now: the sender waits for it (sd_notify_barrier(3)).
			messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
			for i := range messages {
				fds, _ := unix.ParseUnixRights(&messages[i])
				for _, fd := range fds {
					unix.Close(fd)
				}
			}
		}
	}()
	return m
}

func (m *manager) heard() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.told, "|")
}

// TestNotify checks that a service manager learns that the program is ready:
// before start and run --detach return, and from the foreground.
func TestNotify(t *testing.T) {
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	c, bundle := busyboxBundle(t, "true")
	if err := os.WriteFile(filepath.Join(bundle, "rootfs/bin/report"), exe, 0o755); err != nil {
		t.Fatal(err)
	}
	program := func(text string, args ...string) {
		configure(t, bundle, func(s *specs.Spec) {
			s.Process.Args, s.Process.Env, s.Process.User = args, []string{reportVariable + "=" + text}, specs.User{UID: 7, GID: 7}
		})
	}
	winbox := func(t *testing.T, m *manager, args ...string) {
		t.Helper()
		cmd := c.process(args...)
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.path)
		// No pipe: the container would keep it.
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(out.Name())
			t.Fatalf("winbox %q: %v, %s", args, err, text)
		}
	}
	pidOf := func(id string) string { return strconv.Itoa(int(c.state(id)["pid"].(float64))) }

	t.Run("start", func(t *testing.T) {
		m, id := newManager(t), testID()
		program("STATUS=here I am\nREADY=1\nMAINPID=1\n", "/bin/report")
		winbox(t, m, "create", "--bundle", bundle, id)
		if heard := m.heard(); heard != "" {
			t.Errorf("told %q before the start", heard)
		}
		winbox(t, m, "start", id)
		if heard, want := m.heard(), "READY=1\nMAINPID="+pidOf(id)+"|BARRIER=1"; heard != want {
			t.Errorf("told %q, want %q", heard, want)
		}
	})
	t.Run("run detached", func(t *testing.T) {
		m, id := newManager(t), testID()
		program("READY=1", "/bin/report")
		winbox(t, m, "run", "--detach", "--bundle", bundle, id)
		if heard, want := m.heard(), "READY=1\nMAINPID="+pidOf(id)+"|BARRIER=1"; heard != want {
			t.Errorf("told %q, want %q", heard, want)
		}
	})
	t.Run("run", func(t *testing.T) {
		m, id := newManager(t), testID()
		program("READY=1", "/bin/report")
		cmd := c.process("run", "--bundle", bundle, id)
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, "the report", func() bool { return m.heard() == "READY=1|BARRIER=1" })
		c.succeed("kill", id, "KILL")
		if code := exitOf(t, cmd); code != 137 {
			t.Errorf("exit code %d", code)
		}
		if _, err := os.Stat(filepath.Join(c.root, id)); !os.IsNotExist(err) {
			t.Errorf("the state directory is left: %v", err)
		}
	})
	t.Run("never ready", func(t *testing.T) {
		m, id := newManager(t), testID()
		program("", "/bin/busybox", "true")
		winbox(t, m, "create", "--bundle", bundle, id)
		winbox(t, m, "start", id)
		if heard := m.heard(); heard != "" {
			t.Errorf("told %q", heard)
		}
	})
	t.Run("no manager", func(t *testing.T) {
		program("", "/bin/busybox", "sh", "-c", `[ -z "$NOTIFY_SOCKET" ] && ! [ -e /run/notify/notify.sock ]`)
		if code, _, stderr := c.run("run", "--bundle", bundle, testID()); code != 0 {
			t.Errorf("exit code %d, %s", code, stderr)
		}
	})
}
