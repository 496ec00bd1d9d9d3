package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
)

// execOptions run args as root of the container, with output to out.
func (b *bundle) execOptions(out *os.File, args ...string) ExecOptions {
	return ExecOptions{
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}, Capabilities: allCapabilities()},
		Stdio:   [3]*os.File{b.opt.Stdio[0], out, out}, Log: b.opt.Log,
	}
}

// exec runs a script in the container to its end and returns what it has written.
func (b *bundle) exec(c *Container, script string, changes ...func(*ExecOptions)) (string, int) {
	b.t.Helper()
	out := tempFile(b.t)
	opt := b.execOptions(out, "/bin/sh", "-c", script)
	for _, change := range changes {
		change(&opt)
	}
	code, err := c.RunExec(context.Background(), opt)
	if err != nil {
		b.t.Fatalf("exec: %v", err)
	}
	return contents(b.t, out), code
}

// sleeper is a bundle whose container does nothing for long.
func sleeper(t *testing.T) *bundle {
	t.Helper()
	return newBundle(t, "/bin/sleep", "1000")
}

// everyNamespace gives the bundle one of each kind but user and time.
func (b *bundle) everyNamespace() {
	for _, kind := range []specs.LinuxNamespaceType{specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace, specs.CgroupNamespace} {
		b.namespace(kind, "")
	}
	b.spec.Hostname = "box"
}

// TestExecInside checks that another process is where the container is.
func TestExecInside(t *testing.T) {
	tests := []struct {
		name   string
		change func(*bundle)
	}{
		{"no mount namespace", func(b *bundle) {
			b.spec.Mounts = nil
			b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[:1]
		}},
		{"own", func(b *bundle) { b.everyNamespace() }},
		{"user", func(b *bundle) {
			b.everyNamespace()
			b.mapUsers()
		}},
		{"time", func(b *bundle) { b.namespace(specs.TimeNamespace, "") }},
		{"no pivot", func(b *bundle) { b.opt.NoPivot = true }},
		{"no pid namespace", func(b *bundle) { b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[1:] }},
		{"windows", func(b *bundle) { b.opt.Windows = true }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := sleeper(t)
			b.file("etc/mark", "mark\n", 0o644)
			test.change(b)
			insideIs(b, b.begin())
		})
	}
	first := sleeper(t)
	first.everyNamespace()
	first.mapUsers()
	pid := first.begin().PID()
	t.Run("joined", func(t *testing.T) {
		b := sleeper(t)
		b.file("etc/mark", "mark\n", 0o644)
		for kind := range namespaceFiles {
			if kind != specs.TimeNamespace && kind != specs.MountNamespace {
				b.namespace(kind, nsPath(pid, kind))
			}
		}
		insideIs(b, b.begin())
	})
}

// insideIs executes a process that waits, and compares its place with that of
// the container's own.
func insideIs(b *bundle, c *Container) {
	b.t.Helper()
	out := tempFile(b.t)
	pid, err := c.Exec(b.execOptions(out, "/bin/sh", "-c", "cat /etc/mark; echo /data/../*; exec sleep 1000"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		unix.Kill(pid, unix.SIGKILL)
		wait(pid)
	})
	for kind := range namespaceFiles {
		if got, want := nsLink(b.t, pid, kind), nsLink(b.t, c.PID(), kind); got != want {
			b.t.Errorf("%s namespace %s, want %s", kind, got, want)
		}
	}
	for _, name := range []string{"root", "cgroup"} {
		if got, want := processFile(b.t, pid, name), processFile(b.t, c.PID(), name); got != want {
			b.t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if list, err := c.Processes(); err != nil || !slices.Contains(list, pid) {
		b.t.Errorf("%d is not among the container's processes %v (%v)", pid, list, err)
	}
	await(b.t, "the script", func() bool { return strings.Count(contents(b.t, out), "\n") == 2 })
	if got, want := contents(b.t, out), "mark\n/data/../bin /data/../data /data/../dev /data/../etc /data/../proc /data/../tmp\n"; got != want {
		b.t.Errorf("output %q, want %q", got, want)
	}
}

// processFile is what a file of /proc/PID tells, or where it leads.
func processFile(t *testing.T, pid int, name string) string {
	t.Helper()
	file := fmt.Sprintf("/proc/%d/%s", pid, name)
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		st := new(unix.Stat_t)
		if err := unix.Stat(file, st); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestExecProcess checks what an executed process sees of its own process section.
func TestExecProcess(t *testing.T) {
	b := sleeper(t)
	b.everyNamespace()
	b.mount(specs.Mount{Destination: "/only", Type: "tmpfs"})
	b.spec.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Architectures: []specs.Arch{specs.ArchX86_64},
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: new(uint(unix.EXDEV))}},
	}
	c := b.begin()
	keep := func(*ExecOptions) {}
	tests := []struct {
		name, script string
		change       func(*ExecOptions)
		code         int
		want         string
	}{
		{"place", "tr '\\0' ' ' </proc/1/cmdline; hostname; grep -c ' /only ' /proc/self/mountinfo; ip -o link | cut -d: -f2; cut -d: -f3 /proc/self/cgroup | sort -u", keep, 0, "/bin/sleep 1000 box\n1\n lo\n/\n"},
		{"exit code", "exit 42", keep, 42, ""},
		{"killed", "kill -9 $$", keep, 137, ""},
		{"user", "id -u; id -g; id -G; umask", func(o *ExecOptions) {
			o.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 27}, Umask: new(uint32(0o077))}
		}, 0, "1000\n1001\n1001 5 27\n0077\n"},
		{"directory and environment", "pwd; env | grep -v -e ^SHLVL -e ^PWD | sort", func(o *ExecOptions) {
			o.Process.Cwd, o.Process.Env = "/tmp", []string{"PATH=/bin", "A=1=2"}
		}, 0, "/tmp\nA=1=2\nHOME=/\nPATH=/bin\n"},
		{"capabilities", "grep -E '^Cap|^NoNew' /proc/self/status | tr -d '\\t'", func(o *ExecOptions) {
			list := []string{"CAP_KILL"}
			o.Process.Capabilities = &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list, Inheritable: list, Ambient: list}
			o.Process.User.UID = 7
			o.Process.NoNewPrivileges = true
		}, 0, "CapInh:0000000000000020\nCapPrm:0000000000000020\nCapEff:0000000000000020\nCapBnd:0000000000000020\nCapAmb:0000000000000020\nNoNewPrivs:1\n"},
		{"limits", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj", func(o *ExecOptions) {
			o.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}}
			o.Process.OOMScoreAdj = new(789)
		}, 0, "100\n200\n789\n"},
		{"filter", "mkdir /data/x 2>&1; grep ^Seccomp: /proc/self/status | tr -d '\\t'", keep, 0, "mkdir: can't create directory '/data/x': Invalid cross-device link\nSeccomp:2\n"},
		{"filter without new privileges", "mkdir /data/x 2>/dev/null || echo no", func(o *ExecOptions) { o.Process.NoNewPrivileges = true }, 0, "no\n"},
		{"scheduling", "ionice", func(o *ExecOptions) {
			o.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
		}, 0, "best-effort: prio 6\n"},
		{"descriptors", "i=0; while [ $i -lt 100 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done; true", keep, 0, "0\n1\n2\n"},
		{"session", "[ $(cut -d' ' -f6 /proc/self/stat) = $$ ] && echo leader", keep, 0, "leader\n"},
		{"not process 1", "[ $$ != 1 ] && kill -0 1 && echo other", keep, 0, "other\n"},
	}
	b.symlink("busybox", "bin/ionice")
	// One that a careless runtime would pass on.
	dir, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := unix.FcntlInt(dir.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if out, code := b.exec(c, test.script, test.change); out != test.want || code != test.code {
				t.Errorf("exit code %d, output:\n%s\nwant %d and:\n%s", code, out, test.code, test.want)
			}
		})
	}
	for name, test := range map[string]struct {
		change func(*ExecOptions)
		want   string
	}{
		"missing":             {func(o *ExecOptions) { o.Process.Args = []string{"/missing"} }, `exec: "/missing": stat /missing: no such file or directory`},
		"missing in PATH":     {func(o *ExecOptions) { o.Process.Args = []string{"missing"} }, `exec: "missing": executable file not found in $PATH`},
		"working directory":   {func(o *ExecOptions) { o.Process.Cwd = "/new/deep" }, `chdir to cwd ("/new/deep") set in config.json failed: no such file or directory`},
		"garbage":             {func(o *ExecOptions) { o.Process.Args = []string{"/garbage"} }, `exec: "/garbage": exec format error`},
		"no arguments":        {func(o *ExecOptions) { o.Process.Args = nil }, "process.args: empty"},
		"nobody for terminal": {func(o *ExecOptions) { o.Process.Terminal = true }, "/dev/pts"},
		"pid file":            {func(o *ExecOptions) { o.PIDFile = b.dir + "/missing/pid" }, "write pid file"},
	} {
		t.Run(name, func(t *testing.T) {
			b.file("garbage", "\x00garbage", 0o755)
			opt := b.execOptions(b.out, "/bin/sleep", "1000")
			test.change(&opt)
			if _, err := c.Exec(opt); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if list, err := c.Processes(); err != nil || len(list) != 1 {
				t.Errorf("processes %v, %v; want only the container's first", list, err)
			}
		})
	}
}

// TestExecStatus executes processes in containers that do not run.
func TestExecStatus(t *testing.T) {
	b := sleeper(t)
	refused := func(c *Container, want string) {
		t.Helper()
		if _, err := c.Exec(b.execOptions(b.out, "/bin/true")); err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	c := b.create()
	// As with runc, a created container is there to look into.
	if out, code := b.exec(c, "cat /proc/1/comm; echo /bin/sh"); code != 0 || !strings.HasSuffix(out, "/bin/sh\n") {
		t.Errorf("created: exit code %d, output %q", code, out)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	refused(c, "cannot exec in a paused container (use --ignore-paused to override)")
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, code := b.exec(c, "exit 3"); code != 3 {
		t.Errorf("resumed: exit code %d", code)
	}
	// The end of the container ends what has been executed in it.
	pid, err := c.Exec(b.execOptions(b.out, "/bin/sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status, err := WaitProcess(pid); err != nil || exitCode(status) != 137 {
		t.Errorf("exit code %d, %v", exitCode(status), err)
	}
	wait(c.PID())
	refused(c, "cannot exec in a stopped container")
}

// TestExecTerminal gives an executed process a terminal of its own.
func TestExecTerminal(t *testing.T) {
	for name, change := range map[string]func(*bundle){"": func(*bundle) {}, "in a user namespace": (*bundle).mapUsers} {
		t.Run(name, func(t *testing.T) {
			b := sleeper(t)
			b.mount(specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}})
			change(b)
			c := b.begin()
			opt := b.execOptions(b.out, "/bin/sh", "-c", "tty; stty size; stat -c %u /dev/pts/0; echo tty >/dev/tty; cut -d' ' -f7 /proc/self/stat")
			opt.Process.Terminal, opt.Process.ConsoleSize = true, &specs.Box{Width: 91, Height: 37}
			opt.Process.User.UID = 1000
			var master *os.File
			opt.Console = func(m *os.File) error {
				master = m
				return nil
			}
			pid, err := c.Exec(opt)
			if err != nil {
				t.Fatal(err)
			}
			defer master.Close()
			out, err := io.ReadAll(master)
			if err != nil && !errors.Is(err, unix.EIO) { // EIO: the other side has been closed
				t.Error(err)
			}
			if got, want := strings.ReplaceAll(string(out), "\r\n", "\n"), "/dev/pts/0\n37 91\n1000\ntty\n34816\n"; got != want {
				t.Errorf("output %q, want %q", got, want)
			}
			if status, err := WaitProcess(pid); err != nil || exitCode(status) != 0 {
				t.Errorf("exit code %d, %v", exitCode(status), err)
			}
			opt.Console = func(m *os.File) error {
				m.Close()
				return os.ErrClosed
			}
			if _, err := c.Exec(opt); err == nil || !strings.Contains(err.Error(), "hand the terminal over: file already closed") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestExecParallel executes several processes at once.
func TestExecParallel(t *testing.T) {
	b := sleeper(t)
	c := b.begin()
	parallel(t, 20, func(i int) error {
		pid, err := c.Exec(b.execOptions(b.out, "/bin/sh", "-c", "exit "+strconv.Itoa(i)))
		if err != nil {
			return err
		}
		if status, err := WaitProcess(pid); err != nil || exitCode(status) != i {
			return fmt.Errorf("exit code %d, want %d (%v)", exitCode(status), i, err)
		}
		return nil
	})
}

// execVariable makes [TestExecDetached] do its part as another process: it is
// the state root and the id of the container.
const execVariable = "WINBOX_SANDBOX_EXEC"

// TestExecDetached lets another process execute one in a container, with
// descriptors of its own to be passed on, and end before that does.
func TestExecDetached(t *testing.T) {
	const script = "cat <&3; cat <&4; i=0; while [ $i -lt 100 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done; until [ -e /data/go ]; do sleep 0.01; done; echo still here"
	if place := os.Getenv(execVariable); place != "" {
		c, err := Load(filepath.Split(place))
		if err == nil {
			b := &bundle{}
			opt := b.execOptions(nil, "/bin/sh", "-c", script)
			opt.Preserve, opt.PIDFile = 2, os.Getenv(execVariable)+"/exec.pid"
			_, err = c.Exec(opt)
		}
		if err != nil {
			t.Fatal(err)
		}
		os.Exit(0) // before the test says PASS
	}
	b := sleeper(t)
	c := b.begin()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestExecDetached$")
	cmd.Env = append(os.Environ(), execVariable+"="+c.dir)
	b.preserve(cmd, "three", "four")
	text, err := os.ReadFile(c.dir + "/exec.pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if list, listErr := c.Processes(); err != nil || listErr != nil || !slices.Contains(list, pid) {
		t.Errorf("pid file %q; processes %v, %v", text, list, listErr)
	}
	b.file("data/go", "", 0o644)
	b.awaitOutput("still here\n")
	if got, want := contents(t, b.out), "three\nfour\n0\n1\n2\n3\n4\nstill here\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	if c.Status() != oci.Running {
		t.Errorf("status %s", c.Status())
	}
}
