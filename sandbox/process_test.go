package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
)

// TestProcess checks what a program sees of its process section.
func TestProcess(t *testing.T) {
	tests := []struct {
		name, script string
		change       func(*bundle)
		want         string
	}{
		{"user", "id -u; id -g; id -G; umask; touch /data/f; stat -c '%u:%g %a' /data/f", func(b *bundle) {
			b.spec.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 27}, Umask: new(uint32(0o077))}
			if err := os.Chmod(b.path("data"), 0o777); err != nil {
				b.t.Fatal(err)
			}
		}, "1000\n1001\n1001 5 27\n0077\n1000:1001 600\n"},
		{"default umask and groups", "umask; grep Groups /proc/self/status | tr -d '\\t '", func(*bundle) {}, "0022\nGroups:\n"},
		{"cwd", "pwd", func(b *bundle) { b.spec.Process.Cwd = "/data" }, "/data\n"},
		{"missing cwd", "pwd; stat -c %a /new/deep", func(b *bundle) { b.spec.Process.Cwd = "/new/deep" }, "/new/deep\n755\n"},
		{"environment", "env | grep -v -e ^SHLVL -e ^PWD | sort", func(b *bundle) {
			b.spec.Process.Env = []string{"A=0", "PATH=/bin", "A=1=2", "EMPTY=", "LINES=a\nb", "HOME=/home"}
		}, "A=1=2\nEMPTY=\nHOME=/home\nLINES=a\nPATH=/bin\nb\n"},
		{"limits", "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -Ss", func(b *bundle) {
			b.spec.Process.Rlimits = []specs.POSIXRlimit{
				{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 0}, {Type: "RLIMIT_STACK", Soft: 1 << 20, Hard: 2 << 20},
			}
		}, "100\n200\n0\n1024\n"},
		{"oom score", "cat /proc/self/oom_score_adj", func(b *bundle) { b.spec.Process.OOMScoreAdj = new(789) }, "789\n"},
		{"personality", "uname -m; cat /proc/self/personality", func(b *bundle) {
			b.spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
		}, "i686\n00000008\n"},
		{"sysctl", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmni /proc/sys/kernel/shm_rmid_forced", func(b *bundle) {
			b.namespace(specs.NetworkNamespace, "")
			b.namespace(specs.IPCNamespace, "")
			b.spec.Linux.Sysctl = map[string]string{
				"net.ipv4.ip_forward": "1", "net/core/somaxconn": "123", "kernel.shmmni": "77", "kernel.shm_rmid_forced": "1",
			}
		}, "1\n123\n77\n1\n"},
		{"mqueue sysctl", "cat /proc/sys/fs/mqueue/msg_max", func(b *bundle) {
			b.namespace(specs.IPCNamespace, "")
			b.spec.Linux.Sysctl = map[string]string{"fs.mqueue.msg_max": "15"}
		}, "15\n"},
		{"no new privileges", "grep NoNewPrivs /proc/self/status | tr -d '\\t'", func(b *bundle) { b.spec.Process.NoNewPrivileges = true }, "NoNewPrivs:1\n"},
		{"new privileges", "grep NoNewPrivs /proc/self/status | tr -d '\\t'", func(*bundle) {}, "NoNewPrivs:0\n"},
		{"session", "cut -d' ' -f6 /proc/self/stat", func(*bundle) {}, "1\n"},
		// Blocked, ignored and caught signals are those of a fresh process.
		{"signals", "grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\t'", func(*bundle) {}, "SigBlk:0000000000000000\nSigIgn:0000000000000000\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := shell(t, test.script)
			test.change(b)
			b.expect(test.want)
			if log := b.log.String(); log != "" {
				t.Errorf("warnings: %s", log)
			}
		})
	}
}

// TestLowerOOMScore asks for what only a process with CAP_SYS_RESOURCE may do:
// without it there is a warning, and the program runs.
func TestLowerOOMScore(t *testing.T) {
	for name, change := range map[string]func(*bundle){"": func(*bundle) {}, "in a user namespace": (*bundle).mapUsers} {
		t.Run(name, func(t *testing.T) {
			b := newBundle(t, "/bin/cat", "/proc/self/oom_score_adj")
			b.spec.Process.OOMScoreAdj = new(-999)
			change(b)
			out, _ := b.run()
			warned := strings.Contains(b.log.String(), "set oom_score_adj to -999: not permitted")
			if lowered := out == "-999\n"; lowered == warned {
				t.Errorf("oom_score_adj %s, warnings: %s", out, b.log)
			}
		})
	}
}

// TestCapabilities reads all five sets back. Process 1 of user 0 gets what its
// bounding and inheritable sets allow when it executes; another user what is ambient.
func TestCapabilities(t *testing.T) {
	const kill, chown, bind = 1 << unix.CAP_KILL, 1 << unix.CAP_CHOWN, 1 << unix.CAP_NET_BIND_SERVICE
	caps := &specs.LinuxCapabilities{
		Bounding:    []string{"CAP_KILL", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"},
		Effective:   []string{"CAP_KILL", "CAP_NET_BIND_SERVICE"},
		Permitted:   []string{"CAP_KILL", "CAP_NET_BIND_SERVICE"},
		Inheritable: []string{"CAP_NET_BIND_SERVICE"},
		Ambient:     []string{"CAP_NET_BIND_SERVICE"},
	}
	tests := []struct {
		name string
		uid  uint32
		caps *specs.LinuxCapabilities
		want [5]uint64 // Inh, Prm, Eff, Bnd, Amb
	}{
		{"root", 0, caps, [5]uint64{bind, kill | chown | bind, kill | chown | bind, kill | chown | bind, bind}},
		{"user", 1000, caps, [5]uint64{bind, bind, bind, kill | chown | bind, bind}},
		{"none", 0, nil, [5]uint64{}},
		{"none of a user", 1000, &specs.LinuxCapabilities{}, [5]uint64{}},
		{"user without ambient", 1000, &specs.LinuxCapabilities{Bounding: caps.Bounding, Permitted: caps.Permitted, Effective: caps.Effective}, [5]uint64{3: kill | chown | bind}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBundle(t, "/bin/grep", "^Cap", "/proc/self/status")
			b.spec.Process.User.UID = test.uid
			b.spec.Process.Capabilities = test.caps
			want := ""
			for i, name := range []string{"Inh", "Prm", "Eff", "Bnd", "Amb"} {
				want += fmt.Sprintf("Cap%s:\t%016x\n", name, test.want[i])
			}
			b.expect(want)
		})
	}
	t.Run("unknown", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.spec.Process.Capabilities.Bounding = append(b.spec.Process.Capabilities.Bounding, "CAP_STRANGE")
		b.expect("")
		if !strings.Contains(b.log.String(), "CAP_STRANGE left out") {
			t.Errorf("warnings: %s", b.log)
		}
	})
}

// TestExecutable checks how the program is found, and what is said when it is not.
func TestExecutable(t *testing.T) {
	prepare := func(b *bundle) {
		b.file("plain", "text", 0o644)
		b.file("script", "#!/bin/sh\necho script $0 $1\n", 0o755)
		b.file("broken", "#!/missing/interpreter\n", 0o755)
		b.file("garbage", "\x00garbage", 0o755)
		b.mkdir("first/cat")
		b.mkdir("second")
		b.file("first/tool", "not executable", 0o644)
		b.file("second/tool", "#!/bin/sh\necho second\n", 0o755)
	}
	tests := []struct {
		name string
		args []string
		env  string
		cwd  string
		out  string // what it prints
		fail string // or why it is not created
	}{
		{"path", []string{"echo", "found"}, "PATH=/nowhere:/bin", "/", "found\n", ""},
		{"no PATH", []string{"echo", "found"}, "A=b", "/", "found\n", ""},
		{"relative", []string{"./script", "a"}, "PATH=/bin", "/", "script ./script a\n", ""},
		{"relative to the working directory", []string{"second/tool"}, "PATH=/bin", "/", "second\n", ""},
		{"the first is not executable", []string{"tool"}, "PATH=/first:/second", "/", "second\n", ""},
		{"the first is a directory", []string{"cat", "/plain"}, "PATH=/first:/bin", "/", "text", ""},
		{"missing", []string{"/missing"}, "PATH=/bin", "/", "", `exec: "/missing": stat /missing: no such file or directory`},
		{"missing in PATH", []string{"missing"}, "PATH=/bin:/first", "/", "", `exec: "missing": executable file not found in $PATH`},
		{"directory", []string{"/bin"}, "PATH=/bin", "/", "", `exec: "/bin": is a directory: permission denied`},
		{"not executable", []string{"/plain"}, "PATH=/bin", "/", "", `exec: "/plain": permission denied`},
		{"only not executable ones in PATH", []string{"tool"}, "PATH=/first", "/", "", `exec: "tool": permission denied`},
		{"below a file", []string{"/plain/x"}, "PATH=/bin", "/", "", `exec: "/plain/x": stat /plain/x: not a directory`},
		{"working directory is a file", []string{"/bin/true"}, "PATH=/bin", "/plain", "", "enter the working directory /plain: not a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBundle(t, test.args...)
			prepare(b)
			b.spec.Process.Env, b.spec.Process.Cwd = []string{test.env}, test.cwd
			if test.fail == "" {
				b.expect(test.out)
				return
			}
			b.refused(test.fail)
		})
	}
	// What only execve can tell shows at the start.
	for name, want := range map[string]string{"broken": "no such file or directory", "garbage": "exec format error"} {
		t.Run(name, func(t *testing.T) {
			b := newBundle(t, "/"+name)
			prepare(b)
			c := b.create()
			if err := c.Start(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("exec: %q: %s", "/"+name, want)) {
				t.Errorf("start: %v", err)
			}
			await(t, "the end of the container", func() bool { return c.Status() == oci.Stopped })
			if err := c.Start(); err != ErrStartStopped {
				t.Errorf("second start: %v", err)
			}
			if err := c.Delete(false); err != nil {
				t.Error(err)
			}
			b.opt.Start = true
			b.refused(want)
		})
	}
}

// TestDescriptors checks that a program has its standard streams open and nothing else.
func TestDescriptors(t *testing.T) {
	b := shell(t, "i=0; while [ $i -lt 100 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done; true")
	dir, err := os.Open("/") // one that a careless runtime would pass on
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := unix.FcntlInt(dir.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	b.expect("0\n1\n2\n")
}

// TestPreserve hands two descriptors on, which the program reads from.
func TestPreserve(t *testing.T) {
	b := shell(t, "cat <&3; cat <&4; i=0; while [ $i -lt 100 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done; true")
	j := b.save()
	j.Create, j.Start, j.Preserve = true, true, 2
	cmd := j.command(t)
	b.preserve(cmd, "three", "four")
	c, err := Load(b.opt.Root, b.opt.ID)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the container", func() bool { return c.Status() == oci.Stopped })
	if got, want := contents(t, b.out), "ready\nthree\nfour\n0\n1\n2\n3\n4\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}

// TestSealedInit looks at process 1 of a created container from outside: what
// it executes is a copy in memory that nobody can write to (CVE-2019-5736).
func TestSealedInit(t *testing.T) {
	b := newBundle(t, "/bin/true")
	c := b.create()
	proc := filepath.Join("/proc", strconv.Itoa(c.PID()))
	exe := filepath.Join(proc, "exe")
	if link, err := os.Readlink(exe); err != nil || link != "/memfd:winbox-init (deleted)" {
		t.Errorf("executes %q, %v", link, err)
	}
	if f, err := os.OpenFile(exe, os.O_WRONLY, 0); err == nil {
		_, err = f.Write([]byte("x"))
		f.Close()
		if err == nil {
			t.Error("it can be written to")
		}
	}
	f, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const want = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&want != want {
		t.Errorf("seals %#x, %v; want %#x", seals, err, want)
	}
	// Nothing of the host's file system is open in it, nor is its root.
	links, _ := filepath.Glob(filepath.Join(proc, "fd/*"))
	for _, link := range append(links, filepath.Join(proc, "cwd"), filepath.Join(proc, "root")) {
		info, err := os.Stat(link)
		if err == nil && info.IsDir() {
			root, err := os.Stat(b.rootfs)
			if err != nil || !os.SameFile(info, root) {
				target, _ := os.Readlink(link)
				t.Errorf("%s is a directory that is not the container's: %s", link, target)
			}
		}
	}
}

// TestSeccomp runs a program under a filter that makes mkdir fail in a way the
// kernel never would.
func TestSeccomp(t *testing.T) {
	for _, privileges := range []bool{true, false} {
		t.Run(fmt.Sprintf("new privileges %v", privileges), func(t *testing.T) {
			b := shell(t, "mkdir /data/x 2>&1; [ -d /data/x ] && echo made; grep -E '^Seccomp:' /proc/self/status | tr -d '\\t'")
			b.spec.Process.NoNewPrivileges = !privileges
			b.spec.Linux.Seccomp = &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow,
				Architectures: []specs.Arch{specs.ArchX86_64},
				Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: new(uint(unix.EXDEV))}},
			}
			b.expect("mkdir: can't create directory '/data/x': Invalid cross-device link\nSeccomp:2\n")
		})
	}
}

// TestStdio checks that an ordinary user can open the standard streams that are pipes.
func TestStdio(t *testing.T) {
	b := shell(t, "echo one; echo two >/dev/stdout; echo three >/proc/self/fd/1")
	b.spec.Process.User = specs.User{UID: 1000, GID: 1000}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b.opt.Stdio[1] = w
	_, res := b.run()
	w.Close()
	buf := make([]byte, 100)
	n, err := r.Read(buf)
	if err != nil || string(buf[:n]) != "one\ntwo\nthree\n" || res.ExitCode != 0 {
		t.Errorf("exit code %d, output %q, %v; errors %s", res.ExitCode, buf[:n], err, contents(t, b.out))
	}
}

// TestCreatorGone checks that a container survives a creator whose standard
// streams and session end with it.
func TestCreatorGone(t *testing.T) {
	b := shell(t, "echo still here; sleep 1000")
	j := b.save()
	j.Create, j.Start = true, true
	cmd := j.command(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout, cmd.Stderr = b.out, b.out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	b.awaitOutput("still here")
	c, err := Load(b.opt.Root, b.opt.ID)
	if err != nil || c.Status() != oci.Running {
		t.Errorf("status %v, %v", c.Status(), err)
	}
}

// TestStrictSeccomp runs a program under filters that forbid what the set-up
// does before the program, identity and the program itself apart.
func TestStrictSeccomp(t *testing.T) {
	for _, noNewPrivileges := range []bool{false, true} {
		t.Run(fmt.Sprintf("no new privileges %v", noNewPrivileges), func(t *testing.T) {
			b := newBundle(t, "/bin/echo", "fine")
			b.spec.Process.NoNewPrivileges = noNewPrivileges
			refused := []string{"close_range", "umask", "fchown", "openat2", "recvfrom", "sendto", "prlimit64"}
			if noNewPrivileges {
				refused = append(refused, "setgroups", "setresgid", "setresuid", "capset")
			}
			b.spec.Linux.Seccomp = &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow,
				Syscalls:      []specs.LinuxSyscall{{Names: refused, Action: specs.ActErrno}},
			}
			b.expect("fine\n")
		})
	}
}
