package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountsInside runs the bundle with a program that prints its mounts.
func mountsInside(b *bundle) map[string]*mountinfo.Info {
	b.t.Helper()
	b.spec.Process.Args = []string{"/bin/cat", "/proc/self/mountinfo"}
	out, res := b.run()
	if res.ExitCode != 0 {
		b.t.Fatalf("exit code %d: %s", res.ExitCode, out)
	}
	list, err := mountinfo.GetMountsFromReader(strings.NewReader(out), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	found := map[string]*mountinfo.Info{}
	for _, m := range list {
		found[m.Mountpoint] = m // the last one is on top
	}
	return found
}

func bind(source, dest string, options ...string) specs.Mount {
	return specs.Mount{Destination: dest, Type: "bind", Source: source, Options: append([]string{"bind"}, options...)}
}

// TestMountKinds reads back how each file system has been mounted.
func TestMountKinds(t *testing.T) {
	tests := []struct {
		mount   specs.Mount
		kind    string
		options string // of the mount, that must be among those in mountinfo
		super   string // of the file system
	}{
		{specs.Mount{Destination: "/mnt/tmpfs", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "size=64k", "mode=1777"}}, "tmpfs", "rw,nosuid,nodev,noexec,relatime", "size=64k"},
		{specs.Mount{Destination: "/mnt/ro", Type: "tmpfs", Options: []string{"ro", "noatime", "nosymfollow"}}, "tmpfs", "ro,noatime,nosymfollow", ""},
		{specs.Mount{Destination: "/mnt/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "hidepid=2"}}, "proc", "rw,nosuid", "hidepid=invisible"},
		{specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}}, "sysfs", "ro,nosuid,nodev,noexec", ""},
		{specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}}, "devpts", "rw,nosuid,noexec", "gid=5,mode=620,ptmxmode=666"},
		{specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}}, "mqueue", "rw,nosuid,nodev,noexec", ""},
		{specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"strictatime", "nodiratime", "mode=1777"}}, "tmpfs", "rw,nodiratime", ""},
	}
	b := newBundle(t)
	b.namespace(specs.NetworkNamespace, "")
	b.namespace(specs.IPCNamespace, "")
	for _, test := range tests {
		b.mount(test.mount)
	}
	found := mountsInside(b)
	for _, test := range tests {
		m := found[test.mount.Destination]
		if m == nil {
			t.Errorf("%s: not mounted", test.mount.Destination)
			continue
		}
		if m.FSType != test.kind || !hasAll(m.Options, test.options) || !hasAll(m.VFSOptions, test.super) {
			t.Errorf("%s: %s with %s and %s; want %s with %s and %s", m.Mountpoint, m.FSType, m.Options, m.VFSOptions, test.kind, test.options, test.super)
		}
	}
	if m := found["/dev/shm"]; m != nil && hasAll(m.Options, "relatime") {
		t.Errorf("/dev/shm: %s, want strictatime", m.Options)
	}
	if m := found["/"]; !hasAll(m.Options, "rw") {
		t.Errorf("/: %s", m.Options)
	}
}

// hasAll tells whether all options of want are among those of have.
func hasAll(have, want string) bool {
	list := strings.Split(have, ",")
	for option := range strings.SplitSeq(want, ",") {
		if option != "" && !slices.Contains(list, option) {
			return false
		}
	}
	return true
}

// TestMountBind mounts directories and files of the host, one of which has another mount below it.
func TestMountBind(t *testing.T) {
	b := shell(t, "")
	b.hostDir("source/below")
	b.hostFile("source/text", "hello\n")
	source := filepath.Join(b.dir, "source")
	file := filepath.Join(source, "text")
	tree := func(dest string, options ...string) []specs.Mount {
		// The mount below is made in the container itself, by way of the first bind.
		return []specs.Mount{
			bind(source, dest, append(options, "rbind")...),
		}
	}
	b.mount(
		bind(source, "/a"),
		specs.Mount{Destination: "/a/below", Type: "tmpfs"},
		bind(source, "/ro", "ro", "nosuid", "nodev", "noexec"),
		bind(file, "/file"),
		bind(file, "/new/dir/file", "ro"),
		bind("source", "/relative"),
		specs.Mount{Destination: "/later", Source: source, Options: []string{"rbind"}},
		specs.Mount{Destination: "/later", Options: []string{"remount", "ro", "noexec"}},
	)
	b.mount(tree("/plain")...)
	found := mountsInside(b)
	for dest, options := range map[string]string{
		"/a": "rw", "/a/below": "rw", "/ro": "ro,nosuid,nodev,noexec", "/file": "rw", "/new/dir/file": "ro", "/relative": "rw", "/later": "ro,noexec", "/plain": "rw",
	} {
		if m := found[dest]; m == nil || !hasAll(m.Options, options) {
			t.Errorf("%s: %+v, want options %s", dest, m, options)
		}
	}

	b.spec.Process.Args = []string{"/bin/sh", "-c", "cat /a/text /file /new/dir/file /relative/text; echo x 2>/dev/null >/ro/new || echo refused; echo x >/plain/made; echo /a/below/*"}
	if err := b.out.Truncate(0); err != nil {
		t.Fatal(err)
	}
	b.opt.ID = newID()
	out, _ := b.run()
	if want := "hello\nhello\nhello\nhello\nrefused\n/a/below/*\n"; !strings.HasSuffix(out, want) {
		t.Errorf("output %q, want %q", out, want)
	}
	if _, err := os.Stat(filepath.Join(source, "made")); err != nil {
		t.Errorf("what the container wrote is not there: %v", err)
	}
}

// TestMountRecursive checks options that concern a mount and all below it.
func TestMountRecursive(t *testing.T) {
	b := newBundle(t)
	b.mount(specs.Mount{Destination: "/mnt", Type: "tmpfs"}, specs.Mount{Destination: "/mnt/sub", Type: "tmpfs"})
	b.mount(
		bind("/sys", "/host", "rbind", "rro", "rnosuid"),
		bind("/sys", "/single", "rbind", "ro"),
	)
	found := mountsInside(b)
	below := func(top string) (dests []string) {
		for dest := range found {
			if strings.HasPrefix(dest, top+"/") {
				dests = append(dests, dest)
			}
		}
		return dests
	}
	if len(below("/host")) == 0 {
		t.Skip("nothing is mounted below /sys")
	}
	for _, dest := range append(below("/host"), "/host") {
		if !hasAll(found[dest].Options, "ro,nosuid") {
			t.Errorf("%s: %s, want ro,nosuid", dest, found[dest].Options)
		}
	}
	if !hasAll(found["/single"].Options, "ro") {
		t.Errorf("/single: %s, want ro", found["/single"].Options)
	}
	if len(below("/single")) != len(below("/host")) {
		t.Errorf("%d mounts below /single, %d below /host", len(below("/single")), len(below("/host")))
	}
}

// TestMountPropagation reads back how mounts are passed on.
func TestMountPropagation(t *testing.T) {
	b := newBundle(t)
	source := b.hostDir("source")
	for _, kind := range []string{"shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"} {
		b.mount(bind(source, "/"+kind, kind))
	}
	b.mount(bind(source, "/both", "shared", "rprivate", "shared"))
	found := mountsInside(b)
	for dest, want := range map[string]string{
		"/shared": "shared:", "/rshared": "shared:", "/private": "", "/rprivate": "", "/unbindable": "unbindable", "/runbindable": "unbindable", "/both": "shared:",
	} {
		if m := found[dest]; m == nil || want == "" && m.Optional != "" || !strings.HasPrefix(m.Optional, want) {
			t.Errorf("%s: %+v, want %q", dest, m, want)
		}
	}
}

// TestRootPropagation checks linux.rootfsPropagation.
func TestRootPropagation(t *testing.T) {
	for kind, want := range map[string]string{"private": "", "rprivate": "", "shared": "shared:", "unbindable": "unbindable"} {
		t.Run(kind, func(t *testing.T) {
			b := newBundle(t)
			b.spec.Linux.RootfsPropagation = kind
			if m := mountsInside(b)["/"]; want == "" && m.Optional != "" || !strings.HasPrefix(m.Optional, want) {
				t.Errorf("root: %q, want %q", m.Optional, want)
			}
		})
	}
}

// TestMountsOfHost checks that a container leaves the mounts of its host alone,
// even if host and container have theirs shared.
func TestMountsOfHost(t *testing.T) {
	for _, kind := range []string{"", "shared", "rshared", "slave", "private"} {
		t.Run(kind, func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			b.spec.Linux.RootfsPropagation = kind
			j := b.save()
			j.Create, j.Start, j.Delete, j.SharedMounts = true, true, true, true
			cmd := j.command(t)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
			cmd.Stdout, cmd.Stderr = b.out, b.out
			if err := cmd.Run(); err != nil {
				t.Errorf("%v: %s", err, contents(t, b.out))
			}
		})
	}
}

// TestMountsOnHost checks that a container without a mount namespace has its
// mounts among the host's, and that they go with it, also when it is not
// even created.
func TestMountsOnHost(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("fails %v", fails), func(t *testing.T) {
			b := shell(t, "grep -q '^proc / proc' /proc/mounts && touch /data/x 2>&1; mount -t tmpfs tmpfs /data; mount -t tmpfs tmpfs /")
			b.spec.Root.Readonly = true
			b.spec.Linux.MaskedPaths, b.spec.Linux.ReadonlyPaths = []string{"/proc/bus"}, []string{"/proc/sys"}
			b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[:1]
			seen := filepath.Join(b.dir, "seen")
			b.hook("createRuntime", "cat /proc/self/mountinfo >"+seen)
			if fails {
				b.hook("createRuntime", "false")
			}
			j := b.save()
			j.Create, j.Start, j.Delete, j.SharedMounts = true, true, true, true
			cmd := j.command(t)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
			cmd.Stdout, cmd.Stderr = b.out, b.out
			err := cmd.Run()
			out := contents(t, b.out)
			if (err != nil) != fails || strings.Contains(out, "mounts before") || fails && !strings.Contains(out, "createRuntime hook #1") {
				t.Errorf("%v: %s", err, out)
			}
			mounts, err := os.ReadFile(seen)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []string{"", "/proc", "/proc/bus", "/proc/sys", "/dev"} {
				if !strings.Contains(string(mounts), " "+b.rootfs+at+" ") {
					t.Errorf("no mount on the root file system's %q:\n%s", at, mounts)
				}
			}
		})
	}
}

// TestMountCgroup checks that a container sees its own control groups and no others.
func TestMountCgroup(t *testing.T) {
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprintf("namespace %v", own), func(t *testing.T) {
			b := shell(t, `for f in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
				[ -e $f ] && grep -qx $$ $f || { [ -e $f ] && echo not in $f; }
			done
			mkdir /sys/fs/cgroup/memory/x 2>/dev/null || mkdir /sys/fs/cgroup/x 2>/dev/null || echo read-only`)
			if own {
				b.namespace(specs.CgroupNamespace, "")
			}
			b.mount(
				specs.Mount{Destination: "/sys", Type: "tmpfs"},
				specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
			)
			b.expect("read-only\n")
		})
	}
}

// TestMountDestinations checks where mounts land whose destinations are not
// what they seem. Nothing may ever land outside of the root file system.
func TestMountDestinations(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(b *bundle) // makes the root file system
		dest    string
		file    bool   // mount a file, not a directory
		at      string // where it lands
		fails   string // or why not
	}{
		{"missing directory", nil, "/a/b/c", false, "/a/b/c", ""},
		{"missing file", nil, "/a/b/c", true, "/a/b/c", ""},
		{"dots", nil, "/a/../../../b/./c", false, "/b/c", ""},
		{"absolute link to a directory", func(b *bundle) { b.symlink("/etc", "link") }, "/link/x", true, "/etc/x", ""},
		{"link that leads up", func(b *bundle) { b.symlink("../../../../../../etc", "link") }, "/link/x", false, "/etc/x", ""},
		{"last element is a link", func(b *bundle) { b.symlink("/etc", "link") }, "/link", false, "/etc", ""},
		{"last element is a link to a file", func(b *bundle) {
			b.file("etc/real", "", 0o644)
			b.symlink("../../etc/real", "link")
		}, "/link", true, "/etc/real", ""},
		{"link to a file that is missing", func(b *bundle) { b.symlink("/etc/missing", "link") }, "/link", true, "/etc/missing", ""},
		{"link to a file in a missing directory", func(b *bundle) { b.symlink("../run/missing/file", "link") }, "/link", true, "/link", ""},
		{"link to a directory that is missing", func(b *bundle) { b.symlink("/run/missing", "link") }, "/link", false, "", "no such file or directory"},
		{"link out of the root", func(b *bundle) { b.symlink(filepath.Join(b.dir, "outside"), "link") }, "/link/x", true, "", "no such file or directory"},
		{"relative link out of the root", func(b *bundle) { b.symlink("../outside", "link") }, "/link/x", true, "", "no such file or directory"},
		{"link of the kernel", func(b *bundle) { b.symlink("/proc/1/root/etc", "link") }, "/link/x", true, "", "too many levels of symbolic links"},
		{"loop", func(b *bundle) { b.symlink("loop", "loop") }, "/loop/x", false, "", "too many levels of symbolic links"},
		{"file on the way", func(b *bundle) { b.file("file", "", 0o644) }, "/file/x", false, "", "not a directory"},
		{"directory on a file", func(b *bundle) { b.file("file", "", 0o644) }, "/file", false, "", "not a directory"},
		{"file on a directory", nil, "/data", true, "", "a file on a file"},
		{"root", nil, "/", false, "", "the root itself cannot be mounted on"},
		{"inside proc", nil, "/proc/sys", false, "", "inside /proc"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBundle(t)
			b.hostDir("outside")
			source := b.hostDir("source")
			b.hostFile("source/in", "")
			if test.file {
				source = b.hostFile("source/text", "")
			}
			if test.prepare != nil {
				test.prepare(b)
			}
			b.mount(bind(source, test.dest))
			if test.fails != "" {
				b.spec.Process.Args = []string{"/bin/true"}
				b.refused(test.fails)
			} else if found := mountsInside(b); found[test.at] == nil {
				t.Errorf("nothing is mounted on %s", test.at)
			}
			if list, err := os.ReadDir(filepath.Join(b.dir, "outside")); err != nil || len(list) > 0 {
				t.Errorf("the directory outside holds %v, %v", list, err)
			}
			for _, name := range []string{"/etc/x", "/etc/missing", "/etc/real"} {
				if _, err := os.Lstat(name); err == nil {
					t.Errorf("%s was made on the host", name)
				}
			}
		})
	}
}

// TestMountSources checks errors of sources and options.
func TestMountSources(t *testing.T) {
	tests := []struct {
		name  string
		mount specs.Mount
		want  string
	}{
		{"missing", bind("/missing", "/x"), "mounts[2] (/x): source: /missing: no such file or directory"},
		{"empty", bind("", "/x"), "mounts[2] (/x): source: empty"},
		{"unknown file system", specs.Mount{Destination: "/x", Type: "strangefs", Source: "x"}, "mount strangefs on /x: no such device"},
		{"unknown option", specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"strange=1"}}, "mount tmpfs on /x: option strange=1: invalid argument"},
		{"bad value", specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"size=x"}}, "mount tmpfs on /x: option size=x: invalid argument"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			b.mount(test.mount)
			b.refused(test.want)
		})
	}
}

// TestManyMounts makes more mounts and directories than a process may have open files.
func TestManyMounts(t *testing.T) {
	b := shell(t, "grep -c ' /many/' /proc/self/mountinfo")
	source := b.hostFile("source", "")
	const count = 100
	for i := range count / 2 {
		b.mount(
			bind(source, fmt.Sprintf("/many/files/%d/a/b/c/d", i)),
			specs.Mount{Destination: fmt.Sprintf("/many/trees/%d/a/b/c/d", i), Type: "tmpfs"},
		)
	}
	j := b.save()
	j.Create, j.Start = true, true
	cmd := j.command(t)
	cmd.Path, cmd.Args = "/bin/busybox", []string{"busybox", "sh", "-c", "ulimit -n 64; exec " + executable(t)}
	cmd.Stdout, cmd.Stderr = b.out, b.out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, contents(t, b.out))
	}
	b.awaitOutput(fmt.Sprintf("ready\n%d\n", count))
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestProtectedPaths checks masked and read-only paths and the read-only root.
func TestProtectedPaths(t *testing.T) {
	b := shell(t, `wc -c </secret; echo /hidden/*; stat -c %t:%T /secret; echo /kept/*; cat /kept/file
		for f in /kept/file /hidden/new /new /proc/sys/kernel/shmmni; do (echo x >$f) 2>/dev/null && echo wrote $f; done
		touch /tmp/fine && echo fine
		mount -o remount,rw /kept 2>/dev/null; (echo x >/kept/file) 2>/dev/null && echo remounted
		true`)
	b.file("secret", "secret", 0o644)
	b.mkdir("hidden")
	b.file("hidden/file", "secret", 0o644)
	b.mkdir("kept")
	b.file("kept/file", "kept\n", 0o644)
	b.symlink("/hidden", "link")
	b.spec.Process.Capabilities = &specs.LinuxCapabilities{}
	b.namespace(specs.IPCNamespace, "")
	b.spec.Root.Readonly = true
	b.mount(specs.Mount{Destination: "/tmp", Type: "tmpfs"})
	b.spec.Linux.MaskedPaths = []string{"/secret", "/link", "/missing", "/secret/below"}
	b.spec.Linux.ReadonlyPaths = []string{"/kept", "/proc/sys", "/missing"}
	b.expect("0\n/hidden/*\n1:3\n/kept/file\nkept\nfine\n")
	if data, err := os.ReadFile(b.path("secret")); err != nil || string(data) != "secret" {
		t.Errorf("the masked file itself: %q, %v", data, err)
	}
}

// TestReadonlyRoot checks that everything the set-up makes is made before the
// root becomes read-only.
func TestReadonlyRoot(t *testing.T) {
	b := shell(t, "(touch /new) 2>/dev/null || echo refused; pwd; cat /deep/er/file; echo x >/dev/null")
	b.spec.Root.Readonly = true
	b.spec.Process.Cwd = "/made/cwd"
	b.mkdir("made/cwd")
	b.mount(bind(b.hostFile("file", "text\n"), "/deep/er/file"))
	b.expect("refused\n/made/cwd\ntext\n")
}

// TestDevices checks the nodes of /dev.
func TestDevices(t *testing.T) {
	const list = "stat -c '%n %F %a %u:%g %t:%T' "
	b := shell(t, list+`/dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/mine /dev/sub/block /dev/pipe
		for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; echo x >/dev/null && head -c1 /dev/zero | wc -c`)
	mode := os.FileMode(0o640)
	b.spec.Linux.Devices = []specs.LinuxDevice{
		{Path: "/dev/mine", Type: "c", Major: 1, Minor: 3, FileMode: &mode, UID: new(uint32(7)), GID: new(uint32(8))},
		{Path: "/dev/sub/block", Type: "b", Major: 7, Minor: 300},
		{Path: "/dev/pipe", Type: "p", FileMode: &mode},
		{Path: "/dev/full", Type: "u", Major: 1, Minor: 7, FileMode: &mode},
	}
	special := "character special file"
	b.expect("/dev/null " + special + " 666 0:0 1:3\n" +
		"/dev/zero " + special + " 666 0:0 1:5\n" +
		"/dev/full " + special + " 640 0:0 1:7\n" +
		"/dev/random " + special + " 666 0:0 1:8\n" +
		"/dev/urandom " + special + " 666 0:0 1:9\n" +
		"/dev/tty " + special + " 666 0:0 5:0\n" +
		"/dev/mine " + special + " 640 7:8 1:3\n" +
		"/dev/sub/block block special file 666 0:0 7:12c\n" +
		"/dev/pipe fifo 640 0:0 0:0\n" +
		"/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n1\n")
}

// TestHostileImage runs images that have something else where the set-up
// TestRenamesElsewhere makes containers whose mounts lead over ".." of the
// image's links while files are renamed all the time, in a folder that has
// nothing to do with them: openat2(2) fails with EAGAIN then.
func TestRenamesElsewhere(t *testing.T) {
	elsewhere := t.TempDir()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		a, b := filepath.Join(elsewhere, "a"), filepath.Join(elsewhere, "b")
		if err := os.WriteFile(a, nil, 0o600); err != nil {
			t.Error(err)
		}
		for {
			select {
			case <-stop:
				return
			default:
				os.Rename(a, b)
				os.Rename(b, a)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 20 {
		b := newBundle(t, "/bin/true")
		if err := os.MkdirAll(b.path("data/deep"), 0o755); err != nil {
			t.Fatal(err)
		}
		b.symlink("../../../../../../../../data/deep/../../data/deep/..", "link")
		for _, name := range []string{"a", "b", "c", "d"} {
			b.mount(bind(b.hostFile(name, ""), "/link/"+name))
		}
		b.expect("")
	}
}

// expects its own.
func TestHostileImage(t *testing.T) {
	t.Run("null is a link", func(t *testing.T) {
		// Without a mount on /dev, so that the image's /dev is used.
		b := shell(t, "stat -c %t:%T /dev/null; cat /etc/victim")
		b.spec.Mounts = b.spec.Mounts[:1]
		b.file("etc/victim", "untouched\n", 0o644)
		b.symlink("/etc/victim", "dev/null")
		b.expect("1:3\nuntouched\n")
	})
	t.Run("null is a link, and there is something to mask", func(t *testing.T) {
		b := shell(t, "stat -c %t:%T /dev/null; wc -c </secret; cat /etc/victim")
		b.spec.Mounts = b.spec.Mounts[:1]
		b.file("etc/victim", "untouched\n", 0o644)
		b.file("secret", "secret", 0o644)
		b.symlink("/etc/victim", "dev/null")
		b.spec.Linux.MaskedPaths = []string{"/secret"}
		b.expect("1:3\n0\nuntouched\n")
	})
	t.Run("dev is a link", func(t *testing.T) {
		// Device nodes belong into /dev, and not into what may be a folder of the host's.
		b := newBundle(t, "/bin/true")
		if err := os.Remove(b.path("dev")); err != nil {
			t.Fatal(err)
		}
		b.symlink("/tmp", "dev")
		b.refused("too many levels of symbolic links")
	})
	t.Run("dev is a link out of the root", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		outside := b.hostDir("outside")
		if err := os.Remove(b.path("dev")); err != nil {
			t.Fatal(err)
		}
		b.symlink(outside, "dev")
		b.refused("no such file or directory")
		if list, err := os.ReadDir(outside); err != nil || len(list) > 0 {
			t.Errorf("the directory outside holds %v, %v", list, err)
		}
	})
	t.Run("dev is a link out of the root, without a mount", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.spec.Mounts = b.spec.Mounts[:1]
		outside := b.hostDir("outside")
		if err := os.Remove(b.path("dev")); err != nil {
			t.Fatal(err)
		}
		b.symlink("../outside", "dev")
		b.refused("too many levels of symbolic links")
		if list, err := os.ReadDir(outside); err != nil || len(list) > 0 {
			t.Errorf("the directory outside holds %v, %v", list, err)
		}
	})
	for _, name := range []string{"proc", "sys"} {
		// What is mounted there must be where masked paths are looked for,
		// even if another container changes the link meanwhile.
		t.Run(name+" is a link", func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			if err := os.RemoveAll(b.path(name)); err != nil {
				t.Fatal(err)
			}
			b.symlink("/data", name)
			b.namespace(specs.NetworkNamespace, "")
			b.mount(specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs"})
			b.refused("too many levels of symbolic links")
		})
	}
	t.Run("etc is the host's", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		if err := os.Remove(b.path("etc")); err != nil {
			t.Fatal(err)
		}
		b.symlink("../../../../../../../../etc", "etc")
		name := "winbox-test-" + b.opt.ID
		b.mount(bind(b.hostFile("file", ""), "/etc/"+name))
		b.refused("too many levels of symbolic links")
		if _, err := os.Lstat("/etc/" + name); err == nil {
			t.Error("a file was made in the host's /etc")
		}
	})
	t.Run("working directory is a link", func(t *testing.T) {
		b := newBundle(t, "/bin/pwd")
		b.spec.Process.Cwd = "/link/new"
		b.symlink("/data", "link")
		b.expect("/data/new\n")
	})
	t.Run("working directory leads out by a descriptor", func(t *testing.T) {
		// CVE-2024-21626: a descriptor of the host's file system that is still open.
		for fd := 3; fd < 16; fd++ {
			b := newBundle(t, "/bin/pwd")
			b.spec.Process.Cwd = fmt.Sprintf("/proc/self/fd/%d", fd)
			_, err := Create(b.opt)
			if err == nil {
				t.Errorf("%s could be entered", b.spec.Process.Cwd)
			}
			b.nothingLeft()
		}
	})
}

// TestSharedRoot makes containers at the same time that share one root file
// system without mounts of their own on /dev.
func TestSharedRoot(t *testing.T) {
	b := shell(t, "echo x >/dev/null && stat -c %t:%T /dev/null")
	b.spec.Mounts = b.spec.Mounts[:1]
	b.symlink("/etc/victim", "dev/null")
	parallel(t, 8, func(int) error {
		opt := b.opt
		opt.ID = newID()
		opt.Start = true
		c, err := Create(opt)
		if err != nil {
			return err
		}
		if _, err := c.Wait(); err != nil {
			return err
		}
		return c.Delete(false)
	})
	if out := contents(t, b.out); out != strings.Repeat("1:3\n", 8) {
		t.Errorf("output %q", out)
	}
}

// TestRemount changes a file system that is there.
func TestRemount(t *testing.T) {
	b := shell(t, "grep -E ' /tmp | /data ' /proc/self/mounts | cut -d' ' -f2,4")
	b.mount(
		specs.Mount{Destination: "/tmp", Type: "tmpfs", Options: []string{"size=1m"}},
		specs.Mount{Destination: "/tmp", Type: "tmpfs", Options: []string{"remount", "noexec", "size=64k"}},
		bind(b.hostDir("data"), "/data"),
		specs.Mount{Destination: "/data", Type: "bind", Options: []string{"remount", "ro", "nodev"}},
	)
	out, res := b.run()
	if !strings.Contains(out, "/tmp rw,noexec,relatime,size=64k") || !strings.Contains(out, "/data ro,nodev") || res.ExitCode != 0 {
		t.Errorf("exit code %d, mounts:\n%s", res.ExitCode, out)
	}
}

// TestReadonlyImage: on a read-only file system without a /dev of its own, a
// container takes what the image has there, and fails where it has nothing.
func TestReadonlyImage(t *testing.T) {
	for _, complete := range []bool{true, false} {
		b := shell(t, "cat /dev/null; (echo x >/new) 2>/dev/full || echo refused")
		b.spec.Mounts = b.spec.Mounts[:1]
		for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
			if name != "zero" || complete {
				b.file("dev/"+name, "image's "+name+"\n", 0o644)
			}
		}
		for _, name := range []string{"fd", "stdin", "stdout", "stderr", "ptmx"} {
			b.symlink("null", "dev/"+name)
		}
		j := b.save()
		j.Create, j.Start, j.Wait, j.Delete, j.ReadonlyRoot = true, true, true, true, true
		cmd := j.command(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		cmd.Stdout, cmd.Stderr = b.out, b.out
		err := cmd.Run()
		out := contents(t, b.out)
		if complete && (err != nil || !strings.Contains(out, "image's null\n") || !strings.HasSuffix(out, "refused\n")) {
			t.Errorf("%v, output:\n%s", err, out)
		}
		if !complete && (err == nil || !strings.Contains(out, "make /dev/zero: read-only file system")) {
			t.Errorf("incomplete: %v, output:\n%s", err, out)
		}
	}
}

// TestTmpfsMode mounts tmpfs on directories that are there, whose mode it takes over, and on new ones.
func TestTmpfsMode(t *testing.T) {
	b := shell(t, "stat -c '%a' /data /new /new/below /given")
	if err := os.Chmod(b.path("data"), 0o750); err != nil {
		t.Fatal(err)
	}
	b.mount(
		specs.Mount{Destination: "/data", Type: "tmpfs"},
		specs.Mount{Destination: "/new", Type: "tmpfs"},
		specs.Mount{Destination: "/new/below", Type: "tmpfs", Options: []string{"ro"}},
		specs.Mount{Destination: "/given", Type: "tmpfs", Options: []string{"mode=710"}},
	)
	b.expect("750\n1777\n1777\n710\n")
	// The directory itself is not for everybody to write to.
	if info, err := os.Stat(b.path("new")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("/new: %v, %v", info.Mode(), err)
	}
}
