package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// namespaceFiles are the names in /proc/PID/ns of the kinds of namespaces.
var namespaceFiles = map[specs.LinuxNamespaceType]string{
	specs.PIDNamespace: "pid", specs.MountNamespace: "mnt", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
	specs.NetworkNamespace: "net", specs.CgroupNamespace: "cgroup", specs.UserNamespace: "user", specs.TimeNamespace: "time",
}

// nsLink is what names a namespace of a process, such as "uts:[4026531838]".
func nsLink(t *testing.T, pid int, kind specs.LinuxNamespaceType) string {
	t.Helper()
	link, err := os.Readlink(nsPath(pid, kind))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func nsPath(pid int, kind specs.LinuxNamespaceType) string {
	return fmt.Sprintf("/proc/%d/ns/%s", pid, namespaceFiles[kind])
}

// mapUsers gives the bundle a user namespace.
func (b *bundle) mapUsers() {
	b.namespace(specs.UserNamespace, "")
	b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	b.spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}
}

// TestNamespaces checks that a container has the namespaces it asks for, and
// shares those that it does not ask for.
func TestNamespaces(t *testing.T) {
	for kind := range namespaceFiles {
		t.Run(string(kind), func(t *testing.T) {
			b := newBundle(t, "/bin/sleep", "1000")
			b.spec.Linux.Namespaces = nil
			b.namespace(specs.MountNamespace, "")
			if kind == specs.UserNamespace {
				b.mapUsers()
				b.spec.Mounts = b.spec.Mounts[1:] // a new proc needs a pid namespace of the same owner
			} else {
				b.namespace(kind, "")
			}
			c := b.begin()
			for other := range namespaceFiles {
				own := nsLink(t, c.PID(), other) != nsLink(t, os.Getpid(), other)
				if want := other == kind || other == specs.MountNamespace; own != want {
					t.Errorf("%s namespace: of the container's own is %v, want %v", other, own, want)
				}
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.namespace("strange", "")
		b.refused(`linux.namespaces[2]: namespace "strange" is not supported`)
	})
}

// TestInside checks what the programs of containers see of their namespaces.
func TestInside(t *testing.T) {
	tests := []struct {
		name, script string
		change       func(*bundle)
		want         string
	}{
		{"pid", "echo $$; cd /proc; echo [0-9]*", func(*bundle) {}, "1\n1\n"},
		{"uts", "hostname; cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname", func(b *bundle) {
			b.namespace(specs.UTSNamespace, "")
			b.spec.Hostname, b.spec.Domainname = "box", "example.org"
		}, "box\nbox\nexample.org\n"},
		{"network", "cd /proc/sys/net/ipv4/conf; echo *; ip -o link | cut -d' ' -f2-3; ip -o -4 addr | cut -d' ' -f2,7", func(b *bundle) {
			b.namespace(specs.NetworkNamespace, "")
		}, "all default lo\nlo: <LOOPBACK,UP,LOWER_UP>\nlo 127.0.0.1/8\n"},
		{"cgroup", "cut -d: -f3 /proc/self/cgroup | sort -u", func(b *bundle) { b.namespace(specs.CgroupNamespace, "") }, "/\n"},
		{"ipc", "cat /proc/sysvipc/shm | wc -l", func(b *bundle) { b.namespace(specs.IPCNamespace, "") }, "1\n"},
		{"user", "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '", func(b *bundle) { b.mapUsers() },
			"0\n0\n 0 100000 65536\n 0 200000 65536\n"},
		{"user with everything", "cat /proc/sys/kernel/hostname; ip -o link | cut -d' ' -f2-3; cut -d: -f3 /proc/self/cgroup | sort -u; stat -c %t:%T /dev/null", func(b *bundle) {
			b.mapUsers()
			for _, kind := range []specs.LinuxNamespaceType{specs.UTSNamespace, specs.NetworkNamespace, specs.CgroupNamespace, specs.IPCNamespace} {
				b.namespace(kind, "")
			}
			b.spec.Hostname = "mapped"
			b.spec.Process.OOMScoreAdj = new(500)
			b.spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmni": "33"}
		}, "mapped\nlo: <LOOPBACK,UP,LOWER_UP>\n/\n1:3\n"},
	}
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := shell(t, test.script)
			test.change(b)
			b.expect(test.want)
		})
	}
	if after, err := os.Hostname(); err != nil || after != before {
		t.Errorf("the host is called %q now, and was called %q (%v)", after, before, err)
	}
}

// TestMappedOwners checks to whom files belong, inside and outside of a user namespace.
func TestMappedOwners(t *testing.T) {
	b := shell(t, "touch /data/new; stat -c '%n %u:%g' /data/*; touch /data/unmapped || echo refused")
	b.mapUsers()
	for name, owner := range map[string]int{"data": 100000, "data/mapped": 100007} {
		if name != "data" {
			b.file(name, "", 0o644)
		}
		if err := os.Chown(b.path(name), owner, owner+100000); err != nil {
			t.Fatal(err)
		}
	}
	b.file("data/unmapped", "", 0o644)
	b.spec.Process.Args[2] = strings.ReplaceAll(b.spec.Process.Args[2], "|| echo", "2>/dev/null || echo")
	b.expect("/data/mapped 7:7\n/data/new 0:0\n/data/unmapped 65534:65534\nrefused\n")
	info, err := os.Stat(b.path("data/new"))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 100000 || st.Gid != 200000 {
		t.Errorf("new file belongs to %d:%d, want 100000:200000", st.Uid, st.Gid)
	}
}

// TestBadMappings checks that mappings the kernel refuses are named.
func TestBadMappings(t *testing.T) {
	b := newBundle(t, "/bin/true")
	b.mapUsers()
	b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1, Size: 10}, {ContainerID: 5, HostID: 100, Size: 10}}
	b.refused("linux.uidMappings: ")
}

// TestJoin checks that a container enters existing namespaces.
func TestJoin(t *testing.T) {
	first := newBundle(t, "/bin/sleep", "1000")
	kinds := []specs.LinuxNamespaceType{specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace, specs.CgroupNamespace}
	for _, kind := range kinds {
		first.namespace(kind, "")
	}
	first.spec.Hostname = "first"
	pid := first.begin().PID()
	for _, kind := range append(kinds, specs.PIDNamespace) {
		t.Run(string(kind), func(t *testing.T) {
			b := newBundle(t, "/bin/sleep", "1000")
			b.namespace(kind, nsPath(pid, kind))
			c := b.begin()
			if got, want := nsLink(t, c.PID(), kind), nsLink(t, pid, kind); got != want {
				t.Errorf("container is in %s, want %s", got, want)
			}
		})
	}
	t.Run("together", func(t *testing.T) {
		b := shell(t, "hostname; [ $$ != 1 ] && ps -o args | grep -c '[s]leep 1000'")
		for _, kind := range append(kinds, specs.PIDNamespace) {
			b.namespace(kind, nsPath(pid, kind))
		}
		b.expect("first\n1\n")
	})
	t.Run("wrong kind", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.namespace(specs.NetworkNamespace, nsPath(pid, specs.UTSNamespace))
		b.refused("join network namespace " + nsPath(pid, specs.UTSNamespace) + ": invalid argument (the file is not a namespace of this kind)")
	})
	t.Run("missing", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.namespace(specs.NetworkNamespace, "/proc/self/missing")
		b.refused("open network namespace /proc/self/missing: no such file or directory")
	})
	t.Run("not a namespace", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.namespace(specs.NetworkNamespace, "/etc/passwd")
		b.refused("join network namespace /etc/passwd: invalid argument")
	})
}

func TestJoinUser(t *testing.T) {
	first := newBundle(t, "/bin/sleep", "1000")
	first.mapUsers()
	pid := first.begin().PID()
	b := shell(t, "id -u; touch /data/new; tr -s ' ' </proc/self/uid_map; cat /etc/hostname")
	b.namespace(specs.UserNamespace, nsPath(pid, specs.UserNamespace))
	if err := os.Chown(b.path("data"), 100000, 200000); err != nil {
		t.Fatal(err)
	}
	b.file("etc/hostname", "", 0o644)
	b.mount(specs.Mount{Destination: "/etc/hostname", Type: "bind", Source: b.hostFile("name", "bound\n"), Options: []string{"bind"}})
	b.expect("0\n 0 100000 65536\nbound\n")
}

// TestJoinMount joins a mount namespace that sees the host's files.
func TestJoinMount(t *testing.T) {
	b := shell(t, "readlink /proc/self/ns/mnt; echo /*")
	holder := exec.Command("/bin/sleep", "1000")
	holder.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		holder.Process.Kill()
		holder.Wait()
	}()
	b.namespace(specs.MountNamespace, nsPath(holder.Process.Pid, specs.MountNamespace))
	b.expect(nsLink(t, holder.Process.Pid, specs.MountNamespace) + "\n/bin /data /dev /etc /proc /tmp\n")
}

// TestNoMountNamespace runs a program with its root changed only.
func TestNoMountNamespace(t *testing.T) {
	b := shell(t, "echo /*")
	b.spec.Mounts = nil
	b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[:1]
	b.expect("/bin /data /dev /etc /proc /tmp\n")
}

// TestSharedPID checks that everything ends with a container that has no pid
// namespace of its own.
func TestSharedPID(t *testing.T) {
	b := shell(t, "sleep 1000 & echo child $!; exec sleep 1000")
	b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[1:]
	c := b.begin()
	b.awaitOutput("\n")
	child, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(contents(t, b.out), "child ")))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(child))); err != nil {
		t.Errorf("the child has ended with the first process: %v", err)
	}
	if err := c.Delete(false); err != nil {
		t.Error(err)
	}
	b.nothingLeft()
}
