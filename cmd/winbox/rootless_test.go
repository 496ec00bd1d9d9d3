package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/cgroup"
)

// userVariable makes winbox, run by the test program (commandVariable), an ordinary user's.
const userVariable = "WINBOX_CMD_TEST_USER"

// userJob says as whom and with what winbox is run.
type userJob struct {
	ID int
	// Files are mounted over others of this machine, for this process only.
	Files map[string]string
	// Groups are control groups to be in.
	Groups []string
}

// becomeUser gives up all rights of root, if this process is to do so.
func becomeUser() error {
	text := os.Getenv(userVariable)
	if text == "" {
		return nil
	}
	os.Unsetenv(userVariable)
	var j userJob
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	for _, dir := range j.Groups {
		if err := os.WriteFile(dir+"/cgroup.procs", []byte("0"), 0); err != nil {
			return err
		}
	}
	if len(j.Files) > 0 {
		// All threads have to be in the new namespace, so the program begins anew in it.
		runtime.LockOSThread()
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
			return err
		}
		for over, file := range j.Files {
			if err := unix.Mount(file, over, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("mount %s on %s: %w", file, over, err)
			}
		}
		again, err := json.Marshal(userJob{ID: j.ID})
		if err != nil {
			return err
		}
		return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), userVariable+"="+string(again)))
	}
	return errors.Join(syscall.Setgroups(nil), syscall.Setgid(j.ID), syscall.Setuid(j.ID),
		// After a change of user, /proc/self belongs to root (PR_SET_DUMPABLE(2const)).
		unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
}

// Ids of a user that no machine has, and of its subordinates.
const (
	userID    = 23456
	subID     = 3_000_000
	userIDMap = 65536
)

// ordinaryUser runs winbox as an ordinary user.
type ordinaryUser struct {
	t      *testing.T
	dir    string // the user's own; holds home, run and the bundle
	id     string // a container's
	spec   *specs.Spec
	job    userJob
	stdin  *os.File
	extras []string // further environment
}

// newUser makes a user with a bundle that `winbox spec --rootless` began and
// whose program is a shell script. With subordinate ids, the user has 65536 more
// ids, and all are mapped.
func newUser(t *testing.T, subordinate bool, script string) *ordinaryUser {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("needs a static busybox (Debian package busybox-static): %v", err)
	}
	u := &ordinaryUser{t: t, dir: t.TempDir(), id: testID(), job: userJob{ID: userID}}
	if err := os.Chmod(filepath.Dir(u.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	rootfs := filepath.Join(u.dir, "bundle/rootfs")
	for _, dir := range []string{"bin", "proc", "dev", "sys", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(rootfs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	u.file("bundle/rootfs/bin/busybox", string(busybox), 0o755)
	for _, applet := range []string{"sh", "id", "ls", "cat", "sleep", "touch", "ip", "stat", "mount", "grep", "tty", "echo", "mkfifo", "true"} {
		if err := os.Symlink("busybox", filepath.Join(rootfs, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"home", "run"} {
		if err := os.Mkdir(filepath.Join(u.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	err = filepath.WalkDir(u.dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, userID, userID))
	})
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	u.stdin = null

	u.succeed("spec", "--rootless", "--bundle", filepath.Join(u.dir, "bundle"))
	loaded, err := oci.Load(filepath.Join(u.dir, "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	u.spec = loaded.Spec
	u.spec.Process.Terminal = false
	u.spec.Process.Args = []string{"/bin/sh", "-c", script}
	u.spec.Process.Env = []string{"PATH=/bin"}
	u.spec.Root.Readonly = false
	if subordinate {
		u.subordinate()
	}
	t.Cleanup(u.sweep)
	return u
}

// file makes a file of the user's.
func (u *ordinaryUser) file(name, text string, perm os.FileMode) string {
	u.t.Helper()
	path := filepath.Join(u.dir, name)
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		u.t.Fatal(err)
	}
	if err := os.Chmod(path, perm); err != nil {
		u.t.Fatal(err)
	}
	return path
}

// subordinate gives the user subordinate ids and maps them. newuidmap(1) wants to
// know the user's name.
func (u *ordinaryUser) subordinate() {
	u.t.Helper()
	if _, err := exec.LookPath("newuidmap"); err != nil {
		u.t.Skip("needs newuidmap (Debian package uidmap)")
	}
	line := "wbtest:" + strconv.Itoa(subID) + ":" + strconv.Itoa(userIDMap) + "\n"
	u.job.Files = map[string]string{}
	for file, own := range map[string]string{
		"/etc/subuid": line, "/etc/subgid": line,
		"/etc/passwd": fmt.Sprintf("root:x:0:0::/root:/bin/sh\nwbtest:x:%d:%d::/:/bin/sh\n", userID, userID),
		"/etc/group":  fmt.Sprintf("root:x:0:\nwbtest:x:%d:\n", userID),
	} {
		if _, err := os.Stat(file); err != nil {
			u.t.Skip(err)
		}
		u.job.Files[file] = u.file(filepath.Base(file), own, 0o644)
	}
	maps := []specs.LinuxIDMapping{{HostID: userID, Size: 1}, {ContainerID: 1, HostID: subID, Size: userIDMap}}
	u.spec.Linux.UIDMappings, u.spec.Linux.GIDMappings = maps, slices.Clone(maps)
}

// command is winbox with these arguments, run in the bundle.
func (u *ordinaryUser) command(args ...string) *exec.Cmd {
	u.t.Helper()
	job, err := json.Marshal(u.job)
	if err != nil {
		u.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = filepath.Join(u.dir, "bundle")
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + u.dir + "/home", "XDG_RUNTIME_DIR=" + u.dir + "/run", commandVariable + "=1", userVariable + "=" + string(job)}, u.extras...)
	cmd.Stdin = u.stdin
	return cmd
}

// run gives exit code, standard output and standard error.
func (u *ordinaryUser) run(args ...string) (int, string, string) {
	u.t.Helper()
	// Files, as a container that outlives the command would hold pipes open.
	var out [2]*os.File
	for i := range out {
		f, err := os.CreateTemp(u.t.TempDir(), "out")
		if err != nil {
			u.t.Fatal(err)
		}
		defer f.Close()
		out[i] = f
	}
	cmd := u.command(args...)
	cmd.Stdout, cmd.Stderr = out[0], out[1]
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	var text [2]string
	for i := range out {
		data, err := os.ReadFile(out[i].Name())
		if err != nil {
			u.t.Fatal(err)
		}
		text[i] = string(data)
	}
	return cmd.ProcessState.ExitCode(), text[0], text[1]
}

func (u *ordinaryUser) succeed(args ...string) string {
	u.t.Helper()
	code, stdout, stderr := u.run(args...)
	if code != 0 || stderr != "" {
		u.t.Fatalf("winbox %q: exit code %d, %s", args, code, stderr)
	}
	return stdout
}

// fails runs a command that must fail with an error that contains want.
func (u *ordinaryUser) fails(want string, args ...string) {
	u.t.Helper()
	code, stdout, stderr := u.run(args...)
	if code == 0 || !strings.HasPrefix(stderr, "winbox: ") || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
		u.t.Errorf("winbox %q: exit code %d, output %q, error %q; want one line with %q", args, code, stdout, stderr, want)
	}
}

// save writes config.json.
func (u *ordinaryUser) save() {
	u.t.Helper()
	data, err := json.Marshal(u.spec)
	if err != nil {
		u.t.Fatal(err)
	}
	u.file("bundle/config.json", string(data), 0o644)
}

// expect runs the container, whose program must succeed and write exactly want.
func (u *ordinaryUser) expect(want string) {
	u.t.Helper()
	u.save()
	code, stdout, stderr := u.run("run", u.id)
	if code != 0 || stdout != want || stderr != "" {
		u.t.Errorf("exit code %d, error %q, output:\n%s\nwant:\n%s", code, stderr, stdout, want)
	}
	u.nothingLeft()
}

// refused runs the container, which must not begin.
func (u *ordinaryUser) refused(want string) {
	u.t.Helper()
	u.save()
	u.fails(want, "run", u.id)
	u.nothingLeft()
}

func (u *ordinaryUser) mount(dest string) *specs.Mount {
	u.t.Helper()
	i := slices.IndexFunc(u.spec.Mounts, func(m specs.Mount) bool { return m.Destination == dest })
	if i < 0 {
		u.t.Fatalf("the bundle has no mount on %s", dest)
	}
	return &u.spec.Mounts[i]
}

func (u *ordinaryUser) status() string {
	u.t.Helper()
	var s oci.State
	if err := json.Unmarshal([]byte(u.succeed("state", u.id)), &s); err != nil {
		u.t.Fatal(err)
	}
	return string(s.Status)
}

// awaitStatus waits for something that must happen; the limit ends a test that is broken.
func (u *ordinaryUser) awaitStatus(want string) {
	u.t.Helper()
	for end := time.Now().Add(time.Minute); u.status() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			u.t.Fatalf("waited in vain for status %s", want)
		}
	}
}

func (u *ordinaryUser) sweep() {
	if _, err := os.Stat(filepath.Join(u.dir, "run/winbox", u.id)); err == nil {
		u.t.Errorf("container %s was left behind", u.id)
	}
	if code, _, stderr := u.run("delete", "--force", u.id); code != 0 {
		u.t.Errorf("delete: %s", stderr)
	}
	u.nothingLeft()
}

// nothingLeft checks that no state and no process is left.
func (u *ordinaryUser) nothingLeft() {
	u.t.Helper()
	left, _ := filepath.Glob(u.dir + "/run/winbox/*")
	left = slices.DeleteFunc(left, func(name string) bool { return strings.HasSuffix(name, "/seccomp~cache") })
	processes, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
	own, _ := os.Readlink("/proc/self/ns/mnt")
	for _, file := range processes {
		mounts, _ := os.ReadFile(file)
		if ns, _ := os.Readlink(filepath.Dir(file) + "/ns/mnt"); ns != own && bytes.Contains(mounts, []byte(u.dir+"/bundle")) {
			left = append(left, filepath.Dir(file))
		}
	}
	if len(left) > 0 {
		u.t.Errorf("left behind: %v", left)
	}
}

// both runs a test with one mapped id and with subordinate ids.
func both(t *testing.T, test func(t *testing.T, subordinate bool)) {
	for name, subordinate := range map[string]bool{"one id": false, "subordinate ids": true} {
		t.Run(name, func(t *testing.T) { test(t, subordinate) })
	}
}

// TestRootlessLife takes a container through every command.
func TestRootlessLife(t *testing.T) {
	both(t, func(t *testing.T, subordinate bool) {
		u := newUser(t, subordinate, "sleep 1000; :")
		u.save()
		u.succeed("create", "--pid-file", u.dir+"/run/pid", u.id)
		if got := u.status(); got != "created" {
			t.Errorf("status %s", got)
		}
		u.fails("container with given ID already exists", "create", u.id)
		u.succeed("start", u.id)
		if got := u.status(); got != "running" {
			t.Errorf("status %s", got)
		}
		if out := u.succeed("list", "--quiet"); out != u.id+"\n" {
			t.Errorf("list: %q", out)
		}
		if out := u.succeed("exec", u.id, "id"); !strings.HasPrefix(out, "uid=0 gid=0") {
			t.Errorf("exec: %q", out)
		}
		if code, _, stderr := u.run("exec", u.id, "sh", "-c", "exit 7"); code != 7 || stderr != "" {
			t.Errorf("exec: exit code %d, %s", code, stderr)
		}
		if subordinate {
			if out := u.succeed("exec", "--user", "1000:100", "--additional-gids", "7", u.id, "id"); out != "uid=1000 gid=100 groups=7\n" {
				t.Errorf("exec: %q", out)
			}
		} else {
			code, _, stderr := u.run("exec", "--user", "1000", u.id, "id")
			if code != 255 || !strings.Contains(stderr, "the container's user namespace does not have this id") {
				t.Errorf("exec as nobody's id: exit code %d, %s", code, stderr)
			}
		}
		// Without a delegated control group.
		pid, err := os.ReadFile(u.dir + "/run/pid")
		if err != nil {
			t.Fatal(err)
		}
		// Its shell, and what that runs.
		if out := u.succeed("ps", "--format", "json", u.id); !strings.HasPrefix(out, "["+string(pid)+",") || strings.Count(out, ",") != 1 {
			t.Errorf("processes %s, the first should be %s", out, pid)
		}
		for _, args := range [][]string{{"pause"}, {"resume"}, {"events", "--stats"}, {"update", "--pids-limit", "5"}} {
			u.fails("has no control group", append(args, u.id)...)
		}
		u.fails("cannot delete container "+u.id+" that is not stopped: running", "delete", u.id)
		u.succeed("kill", u.id, "KILL")
		u.awaitStatus("stopped")
		u.succeed("delete", u.id)
		u.fails("container does not exist", "state", u.id)
		u.nothingLeft()

		u.succeed("run", "--detach", u.id)
		u.succeed("delete", "--force", u.id)
		u.nothingLeft()
	})
}

// TestRootlessIdentity looks from inside at who the user has become.
func TestRootlessIdentity(t *testing.T) {
	const look = "id; touch /tmp/file; stat -c %u:%g /tmp/file; stat -c %u:%g /etc/roots; cat /etc/roots"
	tests := []struct {
		name        string
		subordinate bool
		change      func(*ordinaryUser)
		want        string
	}{
		{"one id", false, func(*ordinaryUser) {}, "uid=0 gid=0\n0:0\n65534:65534\ntext\n"},
		{"one id, another inside", false, func(u *ordinaryUser) {
			u.spec.Linux.UIDMappings[0].ContainerID, u.spec.Linux.GIDMappings[0].ContainerID = 1000, 100
			u.spec.Process.User = specs.User{UID: 1000, GID: 100}
		}, "uid=1000 gid=100\n1000:100\n65534:65534\ntext\n"},
		{"subordinate ids", true, func(u *ordinaryUser) { u.spec.Process.User.AdditionalGids = []uint32{5} }, "uid=0 gid=0 groups=5\n0:0\n65534:65534\ntext\n"},
		{"subordinate user", true, func(u *ordinaryUser) {
			u.spec.Process.User = specs.User{UID: 65536, GID: 7}
			u.spec.Mounts = append(u.spec.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Options: []string{"mode=1777"}})
		}, "uid=65536 gid=7\n65536:7\n65534:65534\ntext\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := newUser(t, test.subordinate, look)
			u.file("bundle/rootfs/etc/roots", "text\n", 0o644) // root's own
			test.change(u)
			u.expect(test.want)
		})
	}
	t.Run("file of the host's root", func(t *testing.T) {
		u := newUser(t, false, "cat /etc/secret 2>/dev/null || touch /etc/secret 2>/dev/null || echo refused")
		u.file("bundle/rootfs/etc/secret", "text\n", 0o600)
		u.expect("refused\n")
	})
}

// TestRootlessWorld looks at devices, file systems and the network.
func TestRootlessWorld(t *testing.T) {
	both(t, func(t *testing.T, subordinate bool) {
		u := newUser(t, subordinate, `
echo x >/dev/null || exit 1
stat -c %t:%T /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty
mkfifo /tmp/p && ls -l /dev/pipe | grep -c ^p
grep -c ' /dev/pts devpts ' /proc/mounts
ip addr show lo | grep -c 127.0.0.1
ls /sys/class/net`)
		u.spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/pipe", Type: "p"}}
		u.spec.Linux.Namespaces = append(u.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
		*u.mount("/sys") = specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro", "nosuid", "nodev", "noexec"}}
		if subordinate {
			u.mount("/dev/pts").Options = append(u.mount("/dev/pts").Options, "gid=5")
		}
		u.expect("1:3\n1:5\n1:7\n1:8\n1:9\n5:0\n1\n1\n1\nlo\n")
	})
}

// TestRootlessRefused asks for what an ordinary user cannot have.
func TestRootlessRefused(t *testing.T) {
	tests := []struct {
		name        string
		subordinate bool
		change      func(*ordinaryUser)
		want        string
	}{
		{"no user namespace", false, func(u *ordinaryUser) {
			l := u.spec.Linux
			l.Namespaces = slices.DeleteFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
			l.UIDMappings, l.GIDMappings = nil, nil
		}, "rootless container requires user namespaces"},
		{"no mappings", false, func(u *ordinaryUser) { u.spec.Linux.UIDMappings = nil }, "linux.uidMappings and linux.gidMappings"},
		{"root's id", false, func(u *ordinaryUser) { u.spec.Linux.UIDMappings[0].HostID = 0 }, "newuidmap: "},
		{"ids not granted", true, func(u *ordinaryUser) { u.spec.Linux.GIDMappings[1].HostID = 7_000_000 }, "/etc/subgid"},
		{"more ids than granted", true, func(u *ordinaryUser) { u.spec.Linux.UIDMappings[1].Size++ }, "/etc/subuid"},
		{"unmapped user", true, func(u *ordinaryUser) { u.spec.Process.User.UID = 65537 }, "process.user.uid: 65537 is not in linux.uidMappings"},
		{"groups", false, func(u *ordinaryUser) { u.spec.Process.User.AdditionalGids = []uint32{5} }, "process.user.additionalGids: cannot set any additional groups in a rootless container"},
		{"group of terminals", false, func(u *ordinaryUser) { u.mount("/dev/pts").Options = append(u.mount("/dev/pts").Options, "gid=5") }, "(/dev/pts): options: gid=5: it is not in linux.gidMappings"},
		{"sysfs of the host's network", false, func(u *ordinaryUser) {
			*u.mount("/sys") = specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs"}
		}, "mount sysfs on /sys: operation not permitted (in a user namespace, sysfs needs a network namespace"},
		{"part of a tree of mounts", false, func(u *ordinaryUser) {
			u.mount("/sys").Options = []string{"bind"}
		}, "mount /sys on /sys: invalid argument (in a user namespace, what has other mounts on it can only be shared with them: rbind)"},
		{"a device that the host does not have", false, func(u *ordinaryUser) {
			u.spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/winbox-test", Type: "c", Major: 1, Minor: 3}}
		}, "mount the host's /dev/winbox-test: no such file or directory"},
		{"a file system of its own", false, func(u *ordinaryUser) {
			u.spec.Mounts = append(u.spec.Mounts, specs.Mount{Destination: "/tmp", Type: "ext4", Source: "/dev/null"})
		}, "mount ext4 on /tmp: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := newUser(t, test.subordinate, "true")
			test.change(u)
			u.refused(test.want)
		})
	}
	t.Run("a state root of somebody else's", func(t *testing.T) {
		u := newUser(t, false, "true")
		u.save()
		dir := filepath.Join(u.dir, "foreign")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		u.fails("it belongs to user 0; choose another with --root", "--root", dir, "run", u.id)
	})
}

// TestRootlessLimits asks for limits where no control group is delegated.
func TestRootlessLimits(t *testing.T) {
	u := newUser(t, false, "echo runs")
	u.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}}
	u.save()
	code, stdout, stderr := u.run("run", u.id)
	if code != 0 || stdout != "runs\n" || !strings.Contains(stderr, "level=warning") || !strings.Contains(stderr, "limits are not enforced: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, output %q, %s", code, stdout, stderr)
	}
	u.nothingLeft()
}

// TestRootlessTime makes a time namespace, which belongs to the user namespace.
func TestRootlessTime(t *testing.T) {
	both(t, func(t *testing.T, subordinate bool) {
		u := newUser(t, subordinate, "cat /proc/self/timens_offsets")
		u.spec.Linux.Namespaces = append(u.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		u.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000}}
		u.save()
		if out := u.succeed("run", u.id); !strings.Contains(out, "boottime      1000000         0\n") {
			t.Errorf("offsets:\n%s", out)
		}
	})
}

// TestRootlessHooks runs hooks, who are the user.
func TestRootlessHooks(t *testing.T) {
	both(t, func(t *testing.T, subordinate bool) {
		u := newUser(t, subordinate, "true")
		hook := func(name string) []specs.Hook {
			return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat >/dev/null; echo " + name + " $(id -u) >>" + u.dir + "/run/log"}}}
		}
		u.spec.Hooks = &specs.Hooks{CreateRuntime: hook("createRuntime"), Poststart: hook("poststart"), Poststop: hook("poststop")}
		u.expect("")
		log, err := os.ReadFile(u.dir + "/run/log")
		// createRuntime runs in the runtime's namespaces, as who the runtime is.
		if want := fmt.Sprintf("createRuntime %[1]d\npoststart %[1]d\npoststop %[1]d\n", userID); err != nil || string(log) != want {
			t.Errorf("hooks: %q, %v; want %q", log, err, want)
		}
	})
}

// TestRootlessTerminal has the terminal of the container sent to a socket.
func TestRootlessTerminal(t *testing.T) {
	both(t, func(t *testing.T, subordinate bool) {
		u := newUser(t, subordinate, "tty; stat -c %u /dev/pts/0; sleep 1000")
		u.spec.Process.Terminal = true
		u.save()
		path := filepath.Join(u.dir, "run/s")
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
		u.succeed("create", "--console-socket", path, u.id)
		master := receiveFile(t, listener)
		defer master.Close()
		u.succeed("start", u.id)
		var text []byte
		for !strings.Contains(string(text), "/dev/pts/0\r\n0\r\n") {
			buf := make([]byte, 256)
			n, err := master.Read(buf)
			if err != nil {
				t.Fatalf("terminal: %v after %q", err, text)
			}
			text = append(text, buf[:n]...)
		}
		u.succeed("delete", "--force", u.id)
		u.nothingLeft()
	})
}

// receiveFile takes a descriptor from a console socket.
func receiveFile(t *testing.T, listener *net.UnixListener) *os.File {
	t.Helper()
	if err := listener.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf, oob := make([]byte, 256), make([]byte, 256)
	_, n, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal")
}

// delegate makes a sub-tree of control groups that is the user's, and puts the
// user's commands into it.
func (u *ordinaryUser) delegate() {
	u.t.Helper()
	mode, err := cgroup.DetectMode()
	if err != nil {
		u.t.Skip(err)
	}
	place := fmt.Sprintf("/wbtest-user-%d-%d", os.Getpid(), time.Now().UnixNano())
	top, err := cgroup.Create(place, nil)
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() {
		u.job.Groups = nil
		if err := errors.Join(top.Kill(unix.SIGKILL), top.Delete()); err != nil {
			u.t.Error(err)
		}
	})
	caller, err := cgroup.Create(place+"/caller", nil)
	if err != nil {
		u.t.Fatal(err)
	}
	// cgroups(7), "Cgroup delegation".
	for _, h := range top.Mounts() {
		dir := h.MountPoint + h.Path
		for _, name := range []string{"", "/cgroup.procs", "/tasks", "/cgroup.subtree_control", "/cgroup.threads"} {
			if err := os.Chown(dir+name, userID, userID); err != nil && !errors.Is(err, os.ErrNotExist) {
				u.t.Fatal(err)
			}
		}
	}
	for _, h := range caller.Mounts() {
		u.job.Groups = append(u.job.Groups, h.MountPoint+h.Path)
	}
	if mode == cgroup.V1 {
		// On v2, the place next to the caller's own group is the default.
		u.spec.Linux.CgroupsPath = place + "/box"
	}
}

// TestRootlessDelegated has limits, and what else needs a control group.
func TestRootlessDelegated(t *testing.T) {
	both(t, func(t *testing.T, subordinate bool) {
		u := newUser(t, subordinate, "sleep 1000; :")
		u.delegate()
		u.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: new(int64(20))}}
		u.save()
		if code, _, stderr := u.run("run", "--detach", u.id); code != 0 || stderr != "" {
			t.Fatalf("exit code %d, %s", code, stderr)
		}
		stats := func() (memory, pids float64) {
			t.Helper()
			var event struct {
				Data struct {
					Memory struct{ Usage struct{ Limit float64 } }
					Pids   struct{ Limit float64 }
				}
			}
			if err := json.Unmarshal([]byte(u.succeed("events", "--stats", u.id)), &event); err != nil {
				t.Fatal(err)
			}
			return event.Data.Memory.Usage.Limit, event.Data.Pids.Limit
		}
		if memory, pids := stats(); memory != 64<<20 || pids != 20 {
			t.Errorf("limits %v and %v", memory, pids)
		}
		u.succeed("update", "--memory", "96m", "--memory-swap", "96m", "--pids-limit", "30", u.id)
		if memory, pids := stats(); memory != 96<<20 || pids != 30 {
			t.Errorf("limits after update %v and %v", memory, pids)
		}
		var pids []int
		if err := json.Unmarshal([]byte(u.succeed("ps", "--format", "json", u.id)), &pids); err != nil || len(pids) != 2 {
			t.Errorf("processes %v, %v; want two", pids, err)
		}
		u.succeed("exec", u.id, "true")
		u.succeed("pause", u.id)
		if got := u.status(); got != "paused" {
			t.Errorf("status %s", got)
		}
		u.fails("cannot exec in a paused container", "exec", u.id, "true")
		u.succeed("resume", u.id)
		u.succeed("kill", "--all", u.id, "KILL")
		u.awaitStatus("stopped")
		u.succeed("delete", u.id)
		u.nothingLeft()
	})
}
