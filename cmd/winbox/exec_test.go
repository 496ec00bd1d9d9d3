package main

import (
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"winbox/sandbox/cgroup"
)

// ready is a script that runs until it is told to end.
const ready = "exec busybox sleep 1000"

func TestExecCommand(t *testing.T) {
	b := newBox(t, ready, nil)
	tests := []struct {
		name string
		args []string
		code int
		want string // standard output, or the error
	}{
		{"exit code", []string{b.id, "busybox", "sh", "-c", "exit 9"}, 9, ""},
		{"environment", []string{"--env", "A=1,2", "--env=B=3", b.id, "busybox", "sh", "-c", "echo $A $B $PATH"}, 0, "1,2 3 /bin\n"},
		{"directory", []string{"--cwd", "/proc", b.id, "busybox", "pwd"}, 0, "/proc\n"},
		{"user", []string{"-u", "7:8", "-g", "9", "-g", "10", b.id, "busybox", "id"}, 0, "uid=7 gid=8 groups=9,10\n"},
		{"user without group", []string{"--user", "7", b.id, "busybox", "id"}, 0, "uid=7 gid=0\n"},
		{"flags of the command", []string{b.id, "busybox", "echo", "-n", "--cwd", "x"}, 0, "--cwd x"},
		{"user by name", []string{"-u", "bob", b.id, "true"}, 255, `--user: "bob" is not a number`},
		{"no command", []string{b.id}, 255, "what is to be run? (exec ID COMMAND, or exec --process FILE ID)"},
		{"missing directory", []string{"--cwd", "/missing", b.id, "busybox", "pwd"}, 255, `chdir to cwd ("/missing") set in config.json failed: no such file or directory`},
		{"relative directory", []string{"--cwd", "proc", b.id, "busybox", "pwd"}, 255, `process.cwd: "proc" is not an absolute path`},
		{"missing in PATH", []string{b.id, "missing"}, 255, `exec: "missing": executable file not found in $PATH`},
		{"missing file", []string{b.id, "/missing"}, 255, `exec: "/missing": stat /missing: no such file or directory`},
		{"a directory", []string{b.id, "/proc"}, 255, `exec: "/proc": is a directory: permission denied`},
		{"not executable", []string{b.id, "/proc/version"}, 255, `exec: "/proc/version": permission denied`},
		{"detached terminal", []string{"-dt", b.id, "busybox", "tty"}, 255, "cannot allocate tty if runc will detach without setting console socket"},
		{"console socket without terminal", []string{"-d", "--console-socket", "/x", b.id, "true"}, 255, "cannot use console socket if runc will not detach or allocate tty"},
		{"console socket in the foreground", []string{"-t", "--console-socket", "/x", b.id, "true"}, 255, "cannot use console socket if runc will not detach or allocate tty"},
		{"unnamed controller", []string{"--cgroup", "a", "--cgroup", "b", b.id, "true"}, 255, `--cgroup: "a" names no controller; give each path as CONTROLLER:PATH`},
		{"missing group", []string{"--cgroup", "missing", b.id, "true"}, 255, "no such file or directory"},
		{"group outside", []string{"--cgroup", "../other", b.id, "true"}, 255, "../other is not a sub cgroup path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := b.process(append([]string{"exec"}, test.args...)...).Output()
			code, stderr := 0, ""
			if exit, ok := err.(*exec.ExitError); ok {
				code, stderr = exit.ExitCode(), string(exit.Stderr)
			} else if err != nil {
				t.Fatal(err)
			}
			if code != test.code {
				t.Errorf("exit code %d, want %d; %s", code, test.code, stderr)
			}
			if test.code == exitExecFailed {
				if !strings.HasPrefix(stderr, "winbox: exec failed: ") || !strings.HasSuffix(stderr, test.want+"\n") || len(out) > 0 {
					t.Errorf("output %q, error %q, want %q", out, stderr, test.want)
				}
			} else if string(out) != test.want || stderr != "" {
				t.Errorf("output %q, error %q, want %q", out, stderr, test.want)
			}
		})
	}
}

// TestExecSubgroup runs a process in a group below the container's.
func TestExecSubgroup(t *testing.T) {
	b := newBox(t, ready, nil)
	data, err := os.ReadFile("/proc/" + strconv.Itoa(b.pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	// One line a hierarchy: number, controllers, path.
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if !strings.Contains(fields[2], b.id) {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(fields[1], "name="), ",")
		if name == "" {
			if name = "unified"; strings.Count(string(data), "\n") == 1 {
				name = "."
			}
		}
		dir := filepath.Join("/sys/fs/cgroup", name, fields[2])
		if err := os.Mkdir(dir+"/below", 0o755); err != nil {
			t.Fatal(err)
		}
		if name == "cpuset" { // v1 has a new group without any (cpuset(7))
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				data, err := os.ReadFile(filepath.Join(dir, file))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, "below", file), data, 0)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	inGroup := func(args ...string) (groups map[string]bool) {
		groups = map[string]bool{}
		pidFile := filepath.Join(t.TempDir(), "pid")
		b.succeed(append(append([]string{"exec", "--detach", "--pid-file", pidFile}, args...), b.id, "busybox", "sleep", "100")...)
		pid, err := os.ReadFile(pidFile)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile("/proc/" + string(pid) + "/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if strings.HasSuffix(fields[2], b.id+"/below") {
				groups[fields[1]] = true
			}
		}
		n, _ := strconv.Atoi(string(pid))
		unix.Kill(n, unix.SIGKILL)
		unix.Wait4(n, nil, 0, nil)
		return groups
	}
	if got := inGroup(); len(got) > 0 {
		t.Errorf("without --cgroup: below in %v", got)
	}
	all := inGroup("--cgroup", "below")
	if len(all) == 0 {
		t.Error("the process is not below in any hierarchy")
	}
	if _, v1 := all["memory"]; v1 {
		if got, want := inGroup("--cgroup", "memory,freezer:/below"), map[string]bool{"memory": true, "freezer": true}; !maps.Equal(got, want) {
			t.Errorf("below in %v, want %v", got, want)
		}
	} else {
		code, _, stderr := b.run("exec", "--cgroup", "memory:below", b.id, "true")
		if code != exitExecFailed || !strings.Contains(stderr, "cgroup v2 has one tree") {
			t.Errorf("exit code %d, %q", code, stderr)
		}
	}
}

// TestExecNested runs a process in a container that has moved its own below
// and hands controllers on there, as systemd does.
func TestExecNested(t *testing.T) {
	if mode, err := cgroup.DetectMode(); err != nil || mode != cgroup.V2 {
		t.Skip("needs cgroup v2")
	}
	b := newBox(t, ready, nil)
	dir := "/sys/fs/cgroup/winbox-" + b.id
	for _, step := range [][2]string{{"below/cgroup.procs", strconv.Itoa(b.pid)}, {"cgroup.subtree_control", "+memory"}} {
		file := filepath.Join(dir, step[0])
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(step[1]), 0); err != nil {
			t.Fatal(err)
		}
	}
	out, err := b.process("exec", b.id, "busybox", "cat", "/proc/self/cgroup").Output()
	if err != nil || !strings.HasSuffix(string(out), b.id+"/below\n") {
		t.Errorf("the process is in %q, %v", out, err)
	}
}

// TestExecIgnorePaused checks that another process waits for the end of a pause.
func TestExecIgnorePaused(t *testing.T) {
	b := newBox(t, ready, nil)
	b.succeed("pause", b.id)
	resumed := false
	t.Cleanup(func() {
		if !resumed {
			b.run("resume", b.id)
		}
	})
	cmd := b.process("exec", "--ignore-paused", b.id, "busybox", "echo", "awake")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := b.stateOf().Status; got != "paused" {
		t.Errorf("status %s", got)
	}
	b.succeed("resume", b.id)
	resumed = true
	if err := cmd.Wait(); err != nil || out.String() != "awake\n" {
		t.Errorf("%v, output %q", err, &out)
	}
}

// listener is an AF_UNIX socket that takes one descriptor.
type listener struct {
	t    *testing.T
	path string
	l    *net.UnixListener
}

func listen(t *testing.T) *listener {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &listener{t, path, l}
}

// take receives the descriptor and its name.
func (l *listener) take() (file *os.File, name string) {
	l.t.Helper()
	conn, err := l.l.AcceptUnix()
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	buf, oob := make([]byte, 4096), make([]byte, 4096)
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		l.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		l.t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		l.t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	// As a file that can be waited for.
	unix.SetNonblock(fds[0], true)
	file = os.NewFile(uintptr(fds[0]), "taken")
	l.t.Cleanup(func() { file.Close() })
	return file, string(buf[:n])
}

// TestPidfdSocket checks that the descriptor sent is one of the process made.
func TestPidfdSocket(t *testing.T) {
	c, bundle := busyboxBundle(t, "sleep", "1000")
	id, pidFile := testID(), filepath.Join(bundle, "pid")
	for _, test := range []struct {
		name string // of the message
		args []string
	}{
		{"standard", []string{"create", "--bundle", bundle, id}},
		{"setns", []string{"exec", "--detach", id, "/bin/busybox", "sleep", "1000"}},
	} {
		l := listen(t)
		c.succeed(append([]string{test.args[0], "--pidfd-socket", l.path, "--pid-file", pidFile}, test.args[1:]...)...)
		pidfd, name := l.take()
		pid, err := os.ReadFile(pidFile)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(pidfd.Fd())))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(info), "\nPid:\t"+string(pid)+"\n") || name != test.name {
			t.Errorf("message %q with a descriptor of\n%s\nwant %q and process %s", name, info, test.name, pid)
		}
		if test.name == "setns" {
			n, _ := strconv.Atoi(string(pid))
			unix.Kill(n, unix.SIGKILL)
			unix.Wait4(n, nil, 0, nil)
		}
	}
	code, _, stderr := c.run("create", "--bundle", bundle, "--pidfd-socket", bundle+"/missing", testID())
	if code != 1 || !strings.Contains(stderr, "--pidfd-socket: ") || !strings.Contains(stderr, "no such file or directory") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// TestListenFDs checks that sockets of systemd reach the program, before the
// descriptors of --preserve-fds.
func TestListenFDs(t *testing.T) {
	for _, passed := range []bool{true, false} {
		c, bundle := busyboxBundle(t, "sh", "-c", `echo $LISTEN_FDS $LISTEN_PID; for fd in 3 4 5; do busybox readlink /proc/self/fd/$fd; done`)
		cmd := c.process("run", "--bundle", bundle, "--preserve-fds", "1", testID())
		cmd.Env = append(cmd.Env, "PATH=/bin", "LISTEN_FDS=2")
		for _, name := range []string{"a", "b", "c"} {
			f, err := os.Create(filepath.Join(bundle, "rootfs", name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
		want := "\n/a\n"
		if passed {
			// The shell becomes winbox, and keeps the process id.
			cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec /proc/self/exe "$@"`, "sh"}, cmd.Args[1:]...)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Args[2] = `LISTEN_PID=$$ exec "` + exe + `" "$@"`
			cmd.Path = "/bin/sh"
			want = "2 1\n/a\n/b\n/c\n"
		}
		out, err := cmd.CombinedOutput()
		if got := strings.ReplaceAll(string(out), bundle+"/rootfs", ""); err != nil && passed || got != want {
			t.Errorf("passed to this process %v: output %q, %v, want %q", passed, got, err, want)
		}
	}
}
