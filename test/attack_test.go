package test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Each test here makes an attack that has worked on a container runtime, and shows that it fails. Where that could go
// unseen, a control shows that the test would have noticed.

// rounds is how often a race is run.
const rounds = 25

// exchanger swaps two directory entries as fast as it can while on (renameat2(2), RENAME_EXCHANGE), as another container
// could that shares their folder.
type exchanger struct {
	on, stop atomic.Bool
	swaps    atomic.Int64
	done     sync.WaitGroup
}

func newExchanger(t *testing.T, one, other string) *exchanger {
	t.Helper()
	x := &exchanger{}
	x.done.Go(func() {
		for !x.stop.Load() {
			if !x.on.Load() {
				unix.Nanosleep(&unix.Timespec{Nsec: 100_000}, nil)
				continue
			}
			if err := unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err == nil {
				x.swaps.Add(1)
			}
		}
	})
	t.Cleanup(func() { x.stop.Store(true); x.done.Wait() })
	return x
}

// race makes the container over and over while entries are swapped. A creation may be refused; one that succeeds is handed
// to check with the output of its program, after the swapping has stopped.
func (b *bundle) race(one, other string, check func(output string)) {
	b.t.Helper()
	x := newExchanger(b.t, one, other)
	made := 0
	for range rounds {
		x.on.Store(true)
		c, output := b.create()
		x.on.Store(false)
		if c.code() == 0 {
			made++
			check(b.finish(output))
		} else if !strings.HasPrefix(c.err.String(), "winbox: ") {
			b.t.Errorf("exit code %d: %s", c.code(), c.err.String())
		}
		b.remove()
		if b.t.Failed() {
			return
		}
	}
	if x.swaps.Load() < rounds || made == 0 {
		b.t.Errorf("%d swaps, %d of %d containers made: that was no race", x.swaps.Load(), made, rounds)
	}
	b.t.Logf("%d swaps, %d of %d containers made", x.swaps.Load(), made, rounds)
}

// refused checks that the container is not made, with one line that has these words, and that nothing is left of it.
func (b *bundle) refused(words string) {
	b.t.Helper()
	c, _ := b.create()
	if c.code() == 0 {
		b.t.Errorf("not refused, want something with %q", words)
		b.remove()
		return
	}
	if line := c.wantLine(1); !strings.Contains(line, words) {
		b.t.Errorf("%q, want something with %q", line, words)
	}
	b.nothingLeft()
}

// protect masks /proc/version and makes /proc/sys read-only.
func (b *bundle) protect() {
	b.spec.Linux.MaskedPaths = []string{"/proc/version"}
	b.spec.Linux.ReadonlyPaths = []string{"/proc/sys"}
}

// unprotected is a script that looks into folders, and prints "unmasked" for one that has a proc file system whose version
// is not hidden, "writable" for one whose sys can be written to, and "protected" for one with neither. What is written
// belongs to the container's own ipc namespace.
func unprotected(folders string) string {
	return `for d in ` + folders + `; do
		cd $d && [ "$(stat -f -c %t .)" = 9fa0 ] || continue
		bad=
		[ "$(stat -c %t:%T version)" = 1:3 ] || { bad=1; echo $d unmasked; }
		(echo 1 >sys/kernel/shm_rmid_forced) 2>/dev/null && { bad=1; echo $d writable; }
		[ $bad ] || echo $d protected
	done`
}

// TestAttackProcLink has an image whose /proc or /sys is a link, so that the file system is mounted in one place and
// masked in another (CVE-2019-19921, CVE-2023-28642).
func TestAttackProcLink(t *testing.T) {
	t.Parallel()
	t.Run("control", func(t *testing.T) {
		b := script(t, unprotected("/proc"))
		b.run().want(0, "/proc unmasked\n/proc writable\n")
		b.protect()
		b.run().want(0, "/proc protected\n")
	})
	for _, target := range []string{"/vol/proc", "vol/proc", "../../../../../../../../proc", "/proc", "/vol", "missing", "/missing/proc"} {
		for _, name := range []string{"proc", "sys"} {
			t.Run(name+" to "+target, func(t *testing.T) {
				b := newBundle(t, "/bin/true")
				b.protect()
				volume := b.hostDir("volume")
				writeFile(t, volume, "proc/version", nil)
				writeFile(t, volume, "proc/sys/kernel/shm_rmid_forced", nil)
				b.spec.Mounts = append([]specs.Mount{bind(volume, "/vol")}, b.spec.Mounts...)
				b.mount(specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}})
				b.link(target, name)
				b.refused("mount")
				if list, err := os.ReadDir(volume); err != nil || len(list) != 1 {
					t.Errorf("the volume holds %v, %v", list, err)
				}
			})
		}
	}
}

// TestAttackProcExchange swaps the image's /proc, once it is mounted on, for a folder of the attacker's, in which the
// paths are masked that should have been masked in /proc (CVE-2019-19921).
func TestAttackProcExchange(t *testing.T) {
	b := script(t, unprotected("/proc /decoy"))
	b.protect()
	b.file("decoy/version", "")
	b.file("decoy/sys/kernel/shm_rmid_forced", "")
	// What takes long, for the swaps to come in between.
	for i := range 40 {
		b.mount(specs.Mount{Destination: fmt.Sprintf("/tmp/%d", i), Type: "tmpfs"})
	}
	b.race(b.path("proc"), b.path("decoy"), func(output string) {
		if output != "/proc protected\n" && output != "/decoy protected\n" {
			b.t.Errorf("output %q", output)
		}
	})
}

// TestAttackMountExchange swaps the destination of a mount, in a volume, for a link to / (CVE-2021-30465).
func TestAttackMountExchange(t *testing.T) {
	marker := newName(t)
	b := script(t, "find / -xdev -name "+marker+"; find / -name "+marker+" -path '*/tmp/*'; true")
	volume, source := b.hostDir("volume"), b.hostDir("source")
	// It lies in a folder of the host that the container is given no part of.
	writeFile(t, b.dir, "tmp/"+marker, nil)
	if err := os.MkdirAll(filepath.Join(volume, "folder/below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(volume, "link")); err != nil {
		t.Fatal(err)
	}
	b.mount(bind(volume, "/vol"))
	for i := range 8 {
		b.mount(bind(source, "/vol/folder/below"), specs.Mount{Destination: fmt.Sprintf("/vol/folder/%d", i), Type: "tmpfs"}, bind(source, "/vol/folder"))
	}
	before := readFile(t, "/proc/self/mountinfo")
	// The control: who follows the link as the kernel does gets to the host's root.
	hits, stop := 0, make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		var root, now unix.Stat_t
		unix.Stat("/", &root)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if unix.Stat(filepath.Join(volume, "folder"), &now) == nil && now.Ino == root.Ino && now.Dev == root.Dev {
				hits++
			}
			unix.Nanosleep(&unix.Timespec{Nsec: 1_000_000}, nil)
		}
	}()
	b.race(filepath.Join(volume, "folder"), filepath.Join(volume, "link"), func(output string) {
		if output != "" {
			b.t.Errorf("the container sees the host: %q", output)
		}
		if now := readFile(t, "/proc/self/mountinfo"); now != before {
			b.t.Errorf("mounts of the host before:\n%s\nand after:\n%s", before, now)
		}
	})
	close(stop)
	<-watched
	if hits == 0 {
		t.Error("nobody ever came to / through the link: that was no attack")
	}
	for _, name := range []string{"below", "0"} {
		if _, err := os.Lstat("/" + name); err == nil {
			t.Errorf("/%s was made on the host", name)
		}
	}
}

// TestAttackMaskSource has an image whose /dev/null, with which files are masked, is something else: a link, or a file
// that is swapped for one (CVE-2025-31133).
func TestAttackMaskSource(t *testing.T) {
	const look = `stat -c '%n %t:%T' /proc/version /dev/null; grep -c . /proc/sysrq-trigger 2>/dev/null; wc -c </secret`
	image := func(t *testing.T) (b *bundle, secret string) {
		b = script(t, look)
		b.withoutMount("/dev") // else the image's /dev is not to be seen
		b.protect()
		b.file("secret", "secret")
		b.spec.Linux.MaskedPaths = append(b.spec.Linux.MaskedPaths, "/secret")
		secret = writeFile(t, b.dir, newName(t), []byte("untouched"))
		return b, secret
	}
	const good = "/proc/version 1:3\n/dev/null 1:3\n0\n"
	for _, target := range []string{"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/secret", "../../../../../../../../dev/zero", "/missing", "HOST"} {
		t.Run("link to "+target, func(t *testing.T) {
			t.Parallel()
			b, secret := image(t)
			if target == "HOST" {
				target = secret
			}
			b.link(target, "dev/null")
			b.run().want(0, good)
			if text := readFile(t, secret); text != "untouched" {
				t.Errorf("the host's file: %q", text)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		b, _ := image(t)
		b.run().want(0, good)
	})
	t.Run("exchanged", func(t *testing.T) {
		b, secret := image(t)
		b.file("dev/null", "")
		b.link(secret, "dev/link")
		b.race(b.path("dev/null"), b.path("dev/link"), func(output string) {
			// Which of the two is /dev/null at the end is left to chance; what the paths are masked with is not.
			if !strings.HasPrefix(output, "/proc/version 1:3\n") || !strings.HasSuffix(output, "0\n") {
				b.t.Errorf("output %q", output)
			}
		})
		if text := readFile(t, secret); text != "untouched" {
			t.Errorf("the host's file: %q", text)
		}
	})
}

// consoleSocket makes a socket that takes terminals, and gives the flag for it.
func (b *bundle) consoleSocket() string {
	b.t.Helper()
	name := filepath.Join(b.t.TempDir(), "console")
	listener, err := net.Listen("unix", name)
	if err != nil {
		b.t.Fatal(err)
	}
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		var kept []net.Conn // with the terminals in them: what is not received is not closed
		for {
			conn, err := listener.Accept()
			if err != nil {
				break
			}
			kept = append(kept, conn)
		}
		for _, conn := range kept {
			conn.Close()
		}
	}()
	b.t.Cleanup(func() { listener.Close(); <-taken })
	return "--console-socket=" + name
}

// TestAttackConsole has an image or a volume whose /dev/console or /dev/pts leads elsewhere, so that the terminal is
// mounted, or a file made, where it should not (CVE-2025-52565, CVE-2026-88264).
func TestAttackConsole(t *testing.T) {
	devpts := specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}}
	image := func(t *testing.T) *bundle {
		b := script(t, `stat -c '%n %t' /proc/sysrq-trigger /proc/self/attr/exec /proc/sys/kernel/core_pattern | grep ' 88$' || echo nothing`)
		b.spec.Process.Terminal = true
		b.protect()
		b.spec.Linux.ReadonlyPaths = append(b.spec.Linux.ReadonlyPaths, "/proc/sysrq-trigger")
		return b
	}
	create := func(b *bundle) *call {
		c, _ := b.create(b.consoleSocket())
		b.remove()
		return c
	}
	t.Run("control", func(t *testing.T) {
		b := image(t)
		b.mount(devpts)
		if c := create(b); c.code() != 0 {
			t.Errorf("exit code %d: %s", c.code(), c.err.String())
		}
	})
	for _, target := range []string{"/proc/sysrq-trigger", "/proc/self/attr/exec", "/proc/sys/kernel/core_pattern", "/proc/1/environ", "/proc/self/fd/0"} {
		t.Run("console to "+target, func(t *testing.T) {
			t.Parallel()
			b := image(t)
			b.withoutMount("/dev")
			b.mount(devpts)
			b.link(target, "dev/console")
			if line := create(b).wantLine(1); !strings.Contains(line, "/dev/console") {
				t.Error(line)
			}
		})
	}
	for _, target := range []string{"HOST", "../../../../../../../../HOST"} {
		t.Run("console out of the root to "+target, func(t *testing.T) {
			t.Parallel()
			b := image(t)
			b.withoutMount("/dev")
			b.mount(devpts)
			outside := filepath.Join(b.dir, "outside")
			b.link(strings.Replace(target, "HOST", outside, 1), "dev/console")
			create(b).wantLine(1)
			if _, err := os.Lstat(outside); err == nil {
				t.Error("a file was made outside the root")
			}
		})
	}
	// A pts folder of the attacker's: the other side of the terminal must not be found by its path there.
	for name, entry := range map[string]string{"ptmx": "/proc/sysrq-trigger", "0": "/proc/sysrq-trigger"} {
		t.Run("pts is a volume with "+name, func(t *testing.T) {
			t.Parallel()
			b := image(t)
			volume := b.hostDir("volume")
			if err := os.Symlink(entry, filepath.Join(volume, name)); err != nil {
				t.Fatal(err)
			}
			b.mount(bind(volume, "/dev/pts"))
			if line := create(b).wantLine(1); !strings.Contains(line, "pseudo-terminal") {
				t.Error(line)
			}
		})
	}
	t.Run("exchanged", func(t *testing.T) {
		b := image(t)
		b.withoutMount("/dev")
		b.mount(devpts)
		b.file("dev/console", "")
		b.link("/proc/sysrq-trigger", "dev/link")
		x := newExchanger(t, b.path("dev/console"), b.path("dev/link"))
		flag := b.consoleSocket()
		for range rounds {
			x.on.Store(true)
			c, _ := b.create(flag)
			x.on.Store(false)
			if c.code() == 0 {
				// What lies on /proc/sysrq-trigger and the like, as a process in the container sees it.
				e, output := b.detached("exec", b.id, "/bin/sh", "-c", b.spec.Process.Args[2])
				if text := readFile(t, output); e.code() != 0 || text != "nothing\n" {
					t.Errorf("exit code %d, output %q: %s", e.code(), text, e.err.String())
				}
			}
			b.remove()
			if t.Failed() {
				return
			}
		}
		if x.swaps.Load() < rounds {
			t.Errorf("only %d swaps", x.swaps.Load())
		}
	})
}

// TestAttackProcWrites has writes to files of /proc go elsewhere, by mounts in a /proc that the attacker shares
// (CVE-2025-52881): kernel parameters at create, the OOM score at exec.
func TestAttackProcWrites(t *testing.T) {
	const parameter = "/proc/sys/net/ipv4/ip_default_ttl"
	// A container whose program has mounted files of its own over those that are written to.
	hostile := script(t, `
		mount --bind /net /proc/sys/net && mount --bind /self /proc/self && echo ready
		exec sleep 1000`)
	hostile.capabilities("CAP_SYS_ADMIN")
	victims := []string{"net/ipv4/ip_default_ttl", "self/oom_score_adj", "self/attr/exec", "self/timens_offsets", "self/setgroups"}
	for _, name := range victims {
		hostile.file(name, "untouched")
	}
	output := hostile.begin()
	await(t, "mounts", func() bool { return strings.Contains(readFile(t, output), "ready") })
	pid, _ := hostile.state()
	defer hostile.remove()
	untouched := func(t *testing.T) {
		t.Helper()
		for _, name := range victims {
			if text := readFile(t, hostile.path(name)); text != "untouched" {
				t.Errorf("%s: %q", name, text)
			}
		}
	}
	t.Run("control", func(t *testing.T) {
		// By its path, the parameter is the attacker's file.
		c, output := hostile.detached("exec", hostile.id, "cat", parameter)
		if text := readFile(t, output); c.code() != 0 || text != "untouched" {
			t.Errorf("exit code %d, %q", c.code(), text)
		}
	})
	t.Run("exec", func(t *testing.T) {
		process := *hostile.spec.Process
		process.Args = []string{"/bin/sleep", "1000"}
		process.OOMScoreAdj = new(700)
		file := hostile.processFile(&process)
		pidFile := filepath.Join(hostile.dir, "exec.pid")
		c, _ := hostile.detached("exec", "--detach", "--pid-file", pidFile, "--process", file, hostile.id)
		c.want(0, "")
		if text := readFile(t, "/proc/"+readFile(t, pidFile)+"/oom_score_adj"); text != "700\n" {
			t.Errorf("OOM score %q", text)
		}
		untouched(t)
	})
	for _, joined := range []bool{false, true} {
		t.Run(fmt.Sprintf("sysctl, mount namespace joined %v", joined), func(t *testing.T) {
			b := script(t, "cat "+parameter)
			b.spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_default_ttl": "77"}
			if joined {
				b.namespace(specs.MountNamespace, fmt.Sprintf("/proc/%d/ns/mnt", pid))
				b.namespace(specs.PIDNamespace, fmt.Sprintf("/proc/%d/ns/pid", pid))
				b.spec.Root.Path = "/"
				b.spec.Process.OOMScoreAdj = new(700)
				// Nobody but the parameter's file itself tells what the parameter is; it must be another file system's.
				b.spec.Process.Args = []string{"/bin/sh", "-c", "mkdir -p /fresh && mount -t proc proc /fresh && cat /fresh" + strings.TrimPrefix(parameter, "/proc") + "; umount /fresh"}
				b.spec.Mounts = nil
				b.capabilities("CAP_SYS_ADMIN")
			}
			c := b.run()
			if c.code() != 0 || c.text() != "77\n" {
				t.Errorf("exit code %d, %q: %s", c.code(), c.text(), c.err.String())
			}
			untouched(t)
		})
	}
}

// processFile writes a process for exec --process, and gives the file.
func (b *bundle) processFile(p *specs.Process) string {
	b.t.Helper()
	return writeFile(b.t, b.t.TempDir(), "process.json", encode(b.t, p))
}

// TestAttackDevLink has an image whose /dev is a link, so that device nodes and links are made elsewhere, or a file
// ptmx is removed there (CVE-2026-41579, CVE-2026-47766).
func TestAttackDevLink(t *testing.T) {
	for _, mounted := range []bool{true, false} {
		for _, target := range []string{"HOST", "../../../../../../../..HOST", "../../outside", "/vol", "vol", "/proc", "/proc/self", "/proc/self/root", "/missing", "dev"} {
			t.Run(fmt.Sprintf("to %s, mounted %v", target, mounted), func(t *testing.T) {
				t.Parallel()
				b := script(t, "true")
				outside, volume := b.hostDir("outside"), b.hostDir("volume")
				for _, dir := range []string{outside, volume} {
					writeFile(t, dir, "ptmx", []byte("untouched"))
				}
				// A device that must not become a file in somebody's folder.
				b.spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/disk", Type: "b", Major: 7, Minor: 200}}
				b.spec.Mounts = append([]specs.Mount{bind(volume, "/vol")}, b.spec.Mounts...)
				if !mounted {
					b.withoutMount("/dev")
				}
				b.link(strings.Replace(target, "HOST", outside, 1), "dev")
				b.refused("dev")
				for _, dir := range []string{outside, volume} {
					list, err := os.ReadDir(dir)
					if err != nil || len(list) != 1 || readFile(t, filepath.Join(dir, "ptmx")) != "untouched" {
						t.Errorf("%s holds %v, %v", dir, list, err)
					}
				}
			})
		}
	}
	t.Run("control", func(t *testing.T) {
		b := script(t, "readlink /dev/ptmx; readlink /dev/fd; stat -c %F /dev/null")
		b.withoutMount("/dev")
		b.run().want(0, "pts/ptmx\n/proc/self/fd\ncharacter special file\n")
	})
	t.Run("exchanged", func(t *testing.T) {
		b := script(t, "true")
		b.withoutMount("/dev")
		outside := b.hostDir("outside")
		b.link(outside, "link")
		b.race(b.path("dev"), b.path("link"), func(string) {})
		if list, err := os.ReadDir(outside); err != nil || len(list) > 0 {
			t.Errorf("%s holds %v, %v", outside, list, err)
		}
	})
}

// TestAttackStandardStreams closes winbox's standard streams, which are made up for with the host's /dev/null, in an
// image where that is a link (CVE-2026-88265).
func TestAttackStandardStreams(t *testing.T) {
	b := script(t, `stat -L -c %t:%T /proc/$$/fd/0 /proc/$$/fd/2; stat -c '%u %s' /victim`)
	b.withoutMount("/dev")
	b.spec.Process.User.UID, b.spec.Process.User.GID = 1000, 1000
	b.file("victim", "untouched")
	host := writeFile(t, b.dir, newName(t), []byte("untouched"))
	for _, target := range []string{"/victim", host} {
		b.link(target, "dev/null")
		b.save()
		shell := exec.Command("sh", "-c", `exec "$@" <&- 2>&-`, "sh", b.winbox, "--root", b.root, "run", b.id)
		shell.Dir = b.dir
		out, err := shell.Output()
		if text := string(out); err != nil || text != "1:3\n1:3\n0 9\n" {
			t.Errorf("link to %s: %v, output %q", target, err, text)
		}
		b.nothingLeft()
	}
	if info, err := os.Stat(host); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || readFile(t, host) != "untouched" {
		t.Errorf("the host's file: %v, %v", info, err)
	}
}

// TestAttackUser gives users that a careless reader takes for root (CVE-2026-30892), and the number that setresuid(2)
// takes for "no change", which leaves root as well.
func TestAttackUser(t *testing.T) {
	t.Parallel()
	b := script(t, "sleep 1000")
	b.spec.Process.User = specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{7}}
	b.begin()
	defer b.remove()
	const who = `grep -E '^(Uid|Gid|Groups):' /proc/self/status | cut -f2-3 | sed 's/ *$//'`
	for _, test := range []struct {
		user string
		want string // "" when it is to be refused
	}{
		{"1", "1\t1\n"}, {"1000", "1000\t1000\n"}, {"1000:1001", "1000\t1000\n"}, {"0", "0\t0\n"}, {"4294967294", "4294967294\t4294967294\n"}, {"007", "7\t7\n"},
		{"4294967295", ""}, {"4294967296", ""}, {"18446744073709551615", ""}, {"18446744073709551616", ""}, {"-1", ""}, {"-0", ""}, {"+0", ""}, {"+1000", ""},
		{"0x0", ""}, {"0x3e8", ""}, {"0b1", ""}, {"0o17", ""}, {"1_000", ""}, {"1e3", ""}, {"1.5", ""}, {" 1000", ""}, {"1000 ", ""}, {"1000\n", ""}, {"١", ""},
		{"1000:", ""}, {":", ""}, {":0", ""}, {"1000:-1", ""}, {"1000:+0", ""}, {"1000:4294967295", ""}, {"1000:4294967296", ""}, {"1000:0x0", ""}, {"1000:1:0", ""},
		{"root", ""}, {"nobody", ""}, {"1000:root", ""}, {"1000abc", ""},
	} {
		c, output := b.detached("exec", "--user="+test.user, b.id, "/bin/sh", "-c", who)
		text := readFile(t, output)
		if test.want == "" {
			if line := c.wantLine(255); text != "" || !strings.Contains(line, "user") {
				t.Errorf("user %q: %q, %q", test.user, line, text)
			}
		} else if c.code() != 0 || !strings.HasPrefix(text, test.want) {
			t.Errorf("user %q: exit code %d, %q, %s; want %q", test.user, c.code(), text, c.err.String(), test.want)
		}
	}
	for _, gid := range []string{"-1", "4294967295", "4294967296", "+0", "root"} {
		c, output := b.detached("exec", "--additional-gids="+gid, b.id, "/bin/sh", "-c", who)
		if text := readFile(t, output); c.code() == 0 || text != "" {
			t.Errorf("group %q: exit code %d, %q", gid, c.code(), text)
		}
	}
	const noChange = 1<<32 - 1
	for field, user := range map[string]specs.User{
		"process.user.uid": {UID: noChange}, "process.user.gid": {GID: noChange}, "process.user.additionalGids": {UID: 1, GID: 1, AdditionalGids: []uint32{1, noChange}},
	} {
		process := *b.spec.Process
		process.Args, process.User = []string{"/bin/sh", "-c", who}, user
		c, output := b.detached("exec", "--process", b.processFile(&process), b.id)
		if line, text := c.wantLine(255), readFile(t, output); text != "" || !strings.Contains(line, field) {
			t.Errorf("%s: %q, %q", field, line, text)
		}
		other := script(t, who)
		other.spec.Process.User = user
		other.refused(field)
	}
}

// TestAttackDescriptors has a descriptor of the host open in winbox, and a working directory that leads through it out
// of the root (CVE-2024-21626).
func TestAttackDescriptors(t *testing.T) {
	t.Parallel()
	marker := newName(t)
	host := newDir(t)
	writeFile(t, host, marker, []byte("seen"))
	leak := func(c *call) {
		for range 20 {
			dir, err := os.Open(host)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { dir.Close() })
			c.ExtraFiles = append(c.ExtraFiles, dir) // descriptors from 3 on
		}
	}
	list := "for f in /proc/self/fd/*; do [ -e $f ] && echo -n ${f##*/}; done; cat " + marker + " ./../" + marker
	for n := range 26 {
		cwd := fmt.Sprintf("/proc/self/fd/%d", n)
		b := script(t, list)
		b.spec.Process.Cwd = cwd
		b.save()
		for _, command := range []string{"run", "create"} {
			c := b.call(command, b.id)
			leak(c)
			c.WaitDelay = time.Millisecond // a container that is created has the other ends
			if err := c.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) && !errors.Is(err, exec.ErrWaitDelay) {
				t.Fatal(err)
			}
			if strings.Contains(c.text(), "seen") {
				t.Errorf("%s in %s: output %q", command, cwd, c.text())
			}
			if c.code() == 0 {
				t.Errorf("%s in %s was possible", command, cwd)
			}
			b.remove()
		}
	}
	b := script(t, "sleep 1000")
	b.begin()
	defer b.remove()
	for n := range 26 {
		for _, pattern := range []string{"/proc/self/fd/%d", "/proc/self/fd/%d/", "/proc/self/fd/%d/../", "/proc/self/task/../fd/%d", "/proc/thread-self/fd/%d"} {
			cwd := fmt.Sprintf(pattern, n)
			c := b.call("exec", "--cwd", cwd, b.id, "/bin/sh", "-c", list)
			leak(c)
			c.wait()
			if strings.Contains(c.text(), "seen") || c.code() == 0 {
				t.Errorf("exec in %s: exit code %d, output %q", cwd, c.code(), c.text())
			}
		}
	}
	t.Run("control", func(t *testing.T) {
		// A descriptor that the program is given does lead there, once it runs.
		c := b.call("exec", "--preserve-fds", "1", b.id, "/bin/sh", "-c", "cat /proc/self/fd/3/"+marker)
		leak(c)
		c.wait().want(0, "seen")
	})
	t.Run("inherited", func(t *testing.T) {
		show := `for f in /proc/$$/fd/*; do [ -e $f ] && echo ${f##*/}; done; true`
		for preserve, want := range map[string]string{"0": "0\n1\n2\n", "2": "0\n1\n2\n3\n4\n"} {
			c := b.call("exec", "--preserve-fds", preserve, b.id, "/bin/sh", "-c", show)
			leak(c)
			c.wait().want(0, want)
			run := script(t, show)
			run.save()
			c = run.call("run", "--preserve-fds", preserve, run.id)
			leak(c)
			c.wait().want(0, want)
		}
	})
	t.Run("of process 1 before the start", func(t *testing.T) {
		b := script(t, "sleep 1000")
		b.capabilities("CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH")
		b.save()
		c := b.call("create", b.id)
		leak(c)
		out, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		c.Stdout, c.Stderr = out, out
		c.wait().want(0, "")
		defer b.remove()
		e, output := b.detached("exec", b.id, "/bin/sh", "-c", "for f in /proc/1/fd/* /proc/1/cwd /proc/1/root /proc/1/exe; do echo $f $(readlink $f); cat $f/"+marker+"; done; true")
		text := readFile(t, output)
		if e.code() != 0 || strings.Contains(text, host) || strings.Contains(text, "seen") || !strings.Contains(text, "/proc/1/fd/0 ") {
			t.Errorf("exit code %d, output:\n%s", e.code(), text)
		}
	})
}

// TestAttackBinary writes to the executables of all processes that a container ever sees, while it is created, started
// and entered (CVE-2019-5736).
func TestAttackBinary(t *testing.T) {
	t.Parallel()
	sum := func() [32]byte { return sha256.Sum256([]byte(readFile(t, winbox))) }
	before := sum()
	// Until it is told to stop: overwrite what has an executable that is not busybox, through /proc/PID/exe and through
	// a descriptor that is opened before and written through when the process has ended.
	const overwrite = `
		while ! [ -e /tmp/stop ]; do
			for p in /proc/[0-9]*; do
				case $(readlink $p/exe) in
				/bin/busybox|"") ;;
				*) echo "seen $(readlink $p/exe)"
				   (echo overwritten >$p/exe) 2>/dev/null && echo "written $p"
				   (exec 9<$p/exe && sleep 0.05 && echo overwritten >/proc/self/fd/9) 2>/dev/null && echo "written late $p" ;;
				esac
			done
		done`
	b := script(t, overwrite)
	b.capabilities("CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH")
	b.mount(specs.Mount{Destination: "/tmp", Type: "tmpfs"})
	output := b.begin()
	// The attacker meets the init program by chance.
	for round := 0; round < 20 || round < 500 && !strings.Contains(readFile(t, output), "seen /memfd:"); round++ {
		c, _ := b.detached("exec", b.id, "/bin/true")
		c.want(0, "")
		// The image's program is winbox itself, or what executes it.
		for _, program := range []string{"/proc/self/exe", "/proc/1/exe", "/link"} {
			b.link("/proc/self/exe", "link")
			b.detached("exec", b.id, program, "exec")
		}
	}
	c, _ := b.detached("exec", b.id, "touch", "/tmp/stop")
	c.want(0, "")
	await(t, "end of the container", func() bool { _, status := b.state(); return status == "stopped" })
	text := readFile(t, output)
	b.remove()
	if strings.Contains(text, "written") {
		t.Errorf("output:\n%s", text)
	}
	if !strings.Contains(text, "seen /memfd:") {
		t.Errorf("the attacker never met the init program; output:\n%s", text)
	}
	for _, seen := range regexp.MustCompile(`(?m)^seen (.*)$`).FindAllStringSubmatch(text, -1) {
		// Between one look and the next, a process may have executed its program, or ended.
		if !strings.HasPrefix(seen[1], "/memfd:winbox-init") && seen[1] != "/bin/busybox" && seen[1] != "" {
			t.Errorf("the attacker met %q", seen[1])
		}
	}
	t.Run("created", func(t *testing.T) {
		b := script(t, "true")
		b.capabilities("CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH")
		c, _ := b.create()
		c.want(0, "")
		defer b.remove()
		e, output := b.detached("exec", b.id, "/bin/sh", "-c", `readlink /proc/1/exe; (echo x >/proc/1/exe) 2>/dev/null && echo written; for f in /proc/1/fd/*; do case $(readlink $f) in /memfd*) (echo x >$f) && echo written $f; esac; done; true`)
		if text := readFile(t, output); e.code() != 0 || strings.Contains(text, "written") || !strings.HasPrefix(text, "/memfd:winbox-init") {
			t.Errorf("exit code %d, output %q", e.code(), text)
		}
		b.call("start", b.id).wait().want(0, "")
	})
	t.Run("image's program", func(t *testing.T) {
		for _, args := range [][]string{{"/proc/self/exe", "features"}, {"/script"}} {
			b := newBundle(t, args...)
			b.file("script", "#!/proc/self/exe\n")
			c := b.run()
			if c.code() == 0 || strings.Contains(c.text(), "ociVersion") {
				t.Errorf("%v: exit code %d, output %q", args, c.code(), c.text())
			}
		}
	})
	if sum() != before {
		t.Fatal("the binary has changed")
	}
}

// TestAttackReleaseAgent looks for a release agent that can be set from a container with its control groups mounted for
// writing, with a cgroup namespace and without (cgroups(7), "release_agent"; CVE-2022-0492).
func TestAttackReleaseAgent(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprintf("namespace %v", own), func(t *testing.T) {
			b := script(t, `
				for f in $(find / -name release_agent); do echo agent $f; done
				for f in $(find /sys/fs/cgroup -name cgroup.procs); do echo groups; break; done
				for f in $(find /sys/fs/cgroup -name notify_on_release); do echo 1 >$f || echo not writable $f; done
				cd /sys/fs/cgroup; for d in * .; do
					mkdir $d/below 2>/dev/null || continue
					[ -e $d/below/release_agent ] && echo agent below $d
					rmdir $d/below
				done
				for k in memory cpu devices pids freezer; do
					mount -t cgroup -o $k,release_agent=/bin/true c /tmp 2>/dev/null && echo mounted $k
				done
				true`)
			b.link("busybox", "bin/rmdir")
			if own {
				b.namespace(specs.CgroupNamespace, "")
			}
			group := specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"rw"}}
			b.mount(group)
			b.run().want(0, "groups\n")
			b.nothingLeft()

			b.spec.Mounts[len(b.spec.Mounts)-1].Options = []string{"rw", "release_agent=/bin/true"}
			b.refused("release_agent")
		})
	}
}

// TestAttackDestinations mounts through links of the image, and on places in /proc that security modules and the set-up
// rely on (CVE-2019-16884).
func TestAttackDestinations(t *testing.T) {
	t.Parallel()
	for _, destination := range []string{
		"/proc/self/attr", "/proc/self/attr/exec", "/proc/self", "/proc/sys", "/proc/1/attr", "//proc//self/attr", "/proc/../proc/self/attr", "/x/../proc/self/attr", "proc/self/attr",
		"/proc/sysrq-trigger", "/proc/thread-self/attr", "/proc/cpuinfo/../self/attr",
		"/link/attr", "/link/attr/exec", "/self/attr", "/deep/self/exe", "/sysctl",
	} {
		for _, kind := range []string{"bind", "tmpfs", "cgroup", "sysfs", "mqueue", "devpts"} {
			t.Run(kind+" on "+destination, func(t *testing.T) {
				b := newBundle(t, "/bin/true")
				b.link("/proc/self", "link")
				b.link("../../proc/self", "self")
				b.link("proc", "deep")
				b.link("/proc/sys", "sysctl")
				m := specs.Mount{Destination: destination, Type: kind, Source: kind}
				if kind == "bind" {
					m = bind(b.hostDir("source/exec"), destination)
				}
				b.mount(m)
				b.refused("mount")
			})
		}
	}
	marker := newName(t)
	for _, test := range []struct{ link, target, destination string }{
		{"etc", "/", "/etc/" + marker}, {"etc", "../../../../../../../../etc", "/etc/" + marker}, {"tmp", "../..", "/tmp/" + marker}, {"vol", "/vol2", "/vol/a/" + marker},
	} {
		t.Run(test.link+" to "+test.target, func(t *testing.T) {
			b := script(t, "find / -xdev -name "+marker+" | wc -l")
			b.link(test.target, test.link)
			b.mkdir("vol2")
			source := b.hostDir("source")
			b.mount(bind(source, test.destination), bind(writeFile(t, source, "file", nil), test.destination+"/file"))
			c := b.run()
			if c.code() != 0 && !(c.code() == 1 && strings.Contains(c.err.String(), "mount")) {
				t.Errorf("exit code %d: %s", c.code(), c.err.String())
			}
			for _, dir := range []string{"/", "/etc", b.dir, filepath.Dir(b.dir), "/tmp"} {
				if _, err := os.Lstat(filepath.Join(dir, marker)); err == nil {
					t.Errorf("%s was made on the host", filepath.Join(dir, marker))
				}
			}
		})
	}
}

// TestAttackStart lets a user of the host, for whom the container is none of his business, start it, when winbox's own
// caller has a umask that lets everybody do everything.
func TestAttackStart(t *testing.T) {
	t.Parallel()
	b := script(t, "sleep 1000")
	b.save()
	if err := os.Chmod(b.root, 0o755); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("sh", "-c", `umask 0; exec "$@" >/dev/null 2>&1`, "sh", b.winbox, "--root", b.root, "create", b.id)
	shell.Dir = b.dir
	if err := shell.Run(); err != nil {
		t.Fatal(err)
	}
	defer b.remove()
	for _, name := range []string{"state.json", "config.json", "start.sock"} {
		info, err := os.Stat(filepath.Join(b.root, b.id, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}
