package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

// bareSpec is a container of almost nothing, so that a golden file shows what
// its test adds.
func bareSpec() *specs.Spec {
	return &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace},
		}},
	}
}

// defaultSpec is what `runc spec` writes: the common case.
func defaultSpec(t *testing.T) *specs.Spec {
	data, err := os.ReadFile("testdata/default-config.json")
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	return &spec
}

func testOptions() Options {
	return Options{
		ID: "test", Bundle: "/bundle", Control: 3, Listen: 5,
		Host: Host{
			LastCap: 40, Permitted: 1<<41 - 1, CloneDetached: true,
			IsDir: func(path string) (bool, error) {
				switch {
				case strings.HasPrefix(path, "/missing"):
					return false, unix.ENOENT
				case strings.HasSuffix(path, ".txt"):
					return false, nil
				}
				return true, nil
			},
			Cgroups: []CgroupMount{
				{Name: "cpu,cpuacct", Options: "cpu,cpuacct", Path: "/sys/fs/cgroup/cpu,cpuacct/test"},
				{Name: "systemd", Options: "name=systemd", Path: "/sys/fs/cgroup/systemd/test"},
			},
		},
	}
}

func mounts(list ...specs.Mount) func(*specs.Spec, *Options) {
	return func(s *specs.Spec, _ *Options) { s.Mounts = list }
}

func ptr[T any](v T) *T { return &v }

// TestPrint compares the programs of many bundles with golden files: what a
// container's set-up does is read there.
func TestPrint(t *testing.T) {
	namespaces := func(list ...specs.LinuxNamespace) func(*specs.Spec, *Options) {
		return func(s *specs.Spec, _ *Options) { s.Linux.Namespaces = list }
	}
	overlay := func(s *specs.Spec, o *Options) {
		s.Mounts = []specs.Mount{{Destination: "/data", Type: "overlay", Options: []string{"lowerdir=/srv/lower", "upperdir=/srv/upper", "workdir=/srv/work"}}}
		o.Overlays = map[int]Overlay{0: {Lower: []int{6, 7}, Memory: true, MemorySize: 1 << 20, ReadOnly: []string{"a"}, Writable: []string{"a/b"}, Views: map[string]string{"c": "/view"}}}
	}
	tests := []struct {
		name   string
		change func(*specs.Spec, *Options)
	}{
		{"bare", func(*specs.Spec, *Options) {}},
		{"readonly-rootfs", func(s *specs.Spec, _ *Options) { s.Root.Readonly = true }},
		{"rootfs-propagation", func(s *specs.Spec, o *Options) {
			s.Linux.RootfsPropagation = "rshared"
			o.Host.RootParent = "/srv"
		}},
		{"masked-and-readonly-paths", func(s *specs.Spec, _ *Options) {
			s.Linux.MaskedPaths = []string{"/proc/kcore", "/proc/acpi"}
			s.Linux.ReadonlyPaths = []string{"/proc/sys"}
		}},
		{"masked-paths-before-6.15", func(s *specs.Spec, o *Options) {
			s.Linux.MaskedPaths = []string{"/proc/acpi"}
			o.Host.CloneDetached = false
		}},
		{"mount-proc-sysfs-mqueue", mounts(
			specs.Mount{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		)},
		{"mount-tmpfs-devpts", mounts(
			specs.Mount{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			specs.Mount{Destination: "/tmp", Type: "tmpfs", Options: []string{"sync", "noatime", "rro"}},
			specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		)},
		{"mount-tmpfs-copyup", mounts(specs.Mount{Destination: "/etc", Type: "tmpfs", Options: []string{"tmpcopyup", "ro"}})},
		{"mount-cgroup-v1", func(s *specs.Spec, o *Options) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
			s.Mounts = []specs.Mount{{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}}}
		}},
		{"mount-cgroup-v1-shared-namespace", mounts(
			specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}},
		)},
		{"mount-cgroup-v1-perhaps-without", func(s *specs.Spec, o *Options) {
			o.Host.Cgroups = []CgroupMount{{Name: "pids", Options: "pids", Path: "/sys/fs/cgroup/pids/test", Otherwise: "/sys/fs/cgroup/pids/own"}}
			s.Mounts = []specs.Mount{{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}}}
		}},
		{"mount-cgroup-v2", func(s *specs.Spec, o *Options) {
			o.Host.Cgroups = []CgroupMount{{Path: "/sys/fs/cgroup/test"}}
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
			s.Mounts = []specs.Mount{{Destination: "/sys/fs/cgroup", Type: "cgroup2", Source: "cgroup2", Options: []string{"ro", "nosuid"}}}
		}},
		{"mount-bind-directory", mounts(
			specs.Mount{Destination: "/data", Source: "/srv/data", Options: []string{"bind"}},
			specs.Mount{Destination: "/a/b", Source: "relative", Options: []string{"rbind", "ro"}},
		)},
		{"mount-bind-file", mounts(
			specs.Mount{Destination: "/etc/note.txt", Type: "bind", Source: "/srv/note.txt"},
		)},
		{"mount-bind-idmapped", func(s *specs.Spec, o *Options) {
			ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}}
			s.Mounts = []specs.Mount{
				{Destination: "/data", Source: "/srv", Options: []string{"rbind", "ridmap", "ro"}, UIDMappings: ids, GIDMappings: ids},
				{Destination: "/tmp", Type: "tmpfs", UIDMappings: ids, GIDMappings: ids},
			}
			o.MountFiles = map[int]int{0: 6, 1: 7}
		}},
		{"mount-overlay", overlay},
		{"mount-overlay-before-6.15", func(s *specs.Spec, o *Options) {
			overlay(s, o)
			o.Host.CloneDetached = false
		}},
		{"mount-remount-filesystem", mounts(
			specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Options: []string{"remount", "nosuid", "size=1m"}},
			specs.Mount{Destination: "/data", Options: []string{"remount", "bind", "ro", "sync"}},
			specs.Mount{Destination: "/tmp", Type: "tmpfs", Options: []string{"mand"}},
		)},
		{"mount-remount", mounts(
			specs.Mount{Destination: "/data", Options: []string{"remount", "ro", "nosuid"}},
		)},
		{"mount-propagation", func(s *specs.Spec, _ *Options) {
			for _, p := range []string{"shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"} {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/" + p, Source: "/srv", Options: []string{"bind", p}})
			}
		}},
		{"mount-attributes", func(s *specs.Spec, _ *Options) {
			for _, option := range []string{
				"ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "atime", "nodiratime", "diratime",
				"relatime", "norelatime", "strictatime", "nostrictatime", "nosymfollow", "symfollow",
			} {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/" + option, Source: "/srv", Options: []string{"bind", option}})
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/r" + option, Source: "/srv", Options: []string{"rbind", "r" + option}})
			}
		}},
		{"mount-superblock-options", mounts(
			specs.Mount{Destination: "/mnt", Type: "ext4", Source: "/dev/vdb", Options: []string{
				"defaults", "async", "dirsync", "lazytime", "nolazytime", "iversion", "noiversion", "silent", "loud", "nomand", "sync", "data=ordered",
			}},
		)},
		{"devices", func(s *specs.Spec, _ *Options) {
			s.Mounts = []specs.Mount{{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}}}
			s.Linux.Devices = []specs.LinuxDevice{
				{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: ptr(os.FileMode(0o600)), UID: ptr(uint32(1000)), GID: ptr(uint32(1000))},
				{Path: "/dev/sub/loop", Type: "b", Major: 7, Minor: 0},
				{Path: "/dev/null", Type: "c", Major: 1, Minor: 3, FileMode: ptr(os.FileMode(0o640))},
			}
		}},
		{"devices-bind-dev", mounts(specs.Mount{Destination: "/dev", Source: "/dev", Options: []string{"rbind"}})},
		{"sysctl", func(s *specs.Spec, _ *Options) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace}, specs.LinuxNamespace{Type: specs.IPCNamespace})
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel/shmmax": "65536", "net/ipv4/conf/eth0.1/forwarding": "1"}
		}},
		{"rlimits", func(s *specs.Spec, _ *Options) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 4096}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 1<<64 - 1}}
		}},
		{"capabilities", func(s *specs.Spec, _ *Options) {
			set := []string{"CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHECKPOINT_RESTORE"}
			s.Process.Capabilities = &specs.LinuxCapabilities{
				Bounding: set, Effective: set[:1], Permitted: set[:2], Inheritable: set[:2], Ambient: set[1:2],
			}
		}},
		{"no-new-privileges-and-seccomp", func(s *specs.Spec, o *Options) {
			s.Process.NoNewPrivileges = true
			o.Seccomp = make([]byte, 16)
		}},
		{"seccomp-with-privileges", func(s *specs.Spec, o *Options) { o.Seccomp = make([]byte, 16); o.SeccompFlags = 2 }},
		{"user", func(s *specs.Spec, o *Options) {
			s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 27}, Umask: ptr(uint32(0o077))}
			s.Process.Cwd = "/home/user"
			o.ChownStdio = []int{1}
		}},
		{"names", func(s *specs.Spec, _ *Options) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UTSNamespace})
			s.Hostname, s.Domainname = "box", "example.org"
		}},
		{"join-namespaces", namespaces(
			specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/proc/7/ns/net"},
			specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/proc/7/ns/pid"},
			specs.LinuxNamespace{Type: specs.MountNamespace},
			specs.LinuxNamespace{Type: specs.IPCNamespace},
		)},
		{"user-namespace", func(s *specs.Spec, _ *Options) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
			s.Linux.GIDMappings = s.Linux.UIDMappings
		}},
		{"time-namespace", func(s *specs.Spec, _ *Options) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 604800, Nanosecs: 5}, "monotonic": {Secs: -100}}
		}},
		{"scheduling", func(s *specs.Spec, _ *Options) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 5, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 7}
		}},
		{"labels", func(s *specs.Spec, o *Options) {
			s.Process.ApparmorProfile, s.Process.SelinuxLabel = "docker-default", "system_u:system_r:container_t:s0:c1,c2"
			s.Process.Terminal = true
			s.Linux.MountLabel = "system_u:object_r:container_file_t:s0:c1,c2"
			s.Linux.MaskedPaths = []string{"/proc/kcore"}
			s.Mounts = []specs.Mount{
				{Destination: "/proc", Type: "proc"}, {Destination: "/tmp", Type: "tmpfs"}, {Destination: "/dev/mqueue", Type: "mqueue"},
				{Destination: "/run", Type: "tmpfs", Options: []string{"context=system_u:object_r:tmp_t:s0"}},
				{Destination: "/data", Source: "/srv", Type: "bind"},
			}
			o.Host.AppArmor, o.Host.SELinux = true, true
		}},
		{"memory-policy", func(s *specs.Spec, _ *Options) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolInterleave, Nodes: "0-2,65", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
		}},
		{"no-mount-namespace", namespaces(specs.LinuxNamespace{Type: specs.PIDNamespace})},
		{"no-mount-namespace-but-mounts", func(s *specs.Spec, _ *Options) {
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.PIDNamespace}}
			s.Mounts = []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}}
			s.Root.Readonly = true
		}},
		{"oom-score-adj", func(s *specs.Spec, _ *Options) { s.Process.OOMScoreAdj = ptr(-500) }},
		{"personality", func(s *specs.Spec, _ *Options) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
		}},
		{"windows", func(s *specs.Spec, o *Options) {
			s.Process.Args = []string{"/usr/lib/wine/wine64-preloader", "/usr/lib/wine/wine64", `C:\app.exe`}
			s.Process.Env = []string{"WINEPREFIX=/prefix"}
			o.Supervise, o.NoRandomize, o.StopGrace, o.Listen, o.Status = true, true, 5000, -1, 6
			o.ExitFilter, o.ExitFilterFlags = make([]byte, 16), 8
		}},
		{"windows-helper", func(s *specs.Spec, o *Options) {
			s.Process.Args = []string{"/usr/lib/wine/wine64-preloader", "/usr/lib/wine/wine64", `C:\app.exe`}
			s.Process.NoNewPrivileges = true
			o.Supervise, o.NoRandomize, o.Status = true, true, 6
			o.Seccomp, o.ChownStdio, o.Preserve = make([]byte, 16), []int{1}, 2
			o.Helpers = []Helper{{Name: "the display server", Root: "/run/winbox/display", Args: []string{"/usr/bin/Xvfb", ":1000"}}}
		}},
		{"windows-in-a-pod", func(s *specs.Spec, o *Options) {
			namespaces(specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/proc/7/ns/pid"}, specs.LinuxNamespace{Type: specs.MountNamespace})(s, o)
			o.Supervise, o.NoRandomize, o.Status = true, true, 6
			s.Process.Args = []string{"/usr/lib/wine/wine64-preloader", "/usr/lib/wine/wine64", `C:\app.exe`}
		}},
		{"terminal", func(s *specs.Spec, _ *Options) {
			s.Process.Terminal = true
			s.Process.ConsoleSize = &specs.Box{Width: 80, Height: 24}
		}},
		{"search-path", func(s *specs.Spec, _ *Options) {
			s.Process.Args = []string{"true"}
			s.Process.Env = []string{"PATH=/usr/bin:/bin"}
		}},
		{"no-pivot", func(_ *specs.Spec, o *Options) { o.NoPivot = true }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec, opt := bareSpec(), testOptions()
			test.change(spec, &opt)
			golden(t, test.name, spec, opt)
		})
	}
	t.Run("default", func(t *testing.T) { golden(t, "default", defaultSpec(t), testOptions()) })
}

// userNamespace gives the container one with ten users and groups.
func userNamespace(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
}

func golden(t *testing.T, name string, spec *specs.Spec, opt Options) {
	t.Helper()
	p, err := Compile(spec, opt)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, name, p)
}

// compare compares a program with its golden file.
func compare(t *testing.T, name string, p *Program) {
	t.Helper()
	var out bytes.Buffer
	if err := p.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, w := range p.Warnings {
		out.WriteString("warning: " + w + "\n")
	}
	if _, err := p.Encode(); err != nil {
		t.Errorf("encode: %v", err)
	}
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("program differs from %s (go test -update writes it anew); got:\n%s", file, out.Bytes())
	}
}

// TestErrors checks that what cannot be carried out is refused with the name of its field.
func TestErrors(t *testing.T) {
	tests := []struct {
		name   string
		change func(*specs.Spec, *Options)
		want   string
	}{
		{"no arguments", func(s *specs.Spec, _ *Options) { s.Process.Args = nil }, "process.args: empty"},
		{"unknown namespace", func(s *specs.Spec, _ *Options) { s.Linux.Namespaces[0].Type = "x" }, `linux.namespaces[0]: namespace "x" is not supported`},
		{"namespace twice", func(s *specs.Spec, _ *Options) { s.Linux.Namespaces[1] = s.Linux.Namespaces[0] }, `linux.namespaces[1]: namespace "pid" is listed twice`},
		{"hostname of the host", func(s *specs.Spec, _ *Options) { s.Hostname = "x" }, `hostname: "x" needs a uts namespace`},
		{"sysctl of the host", func(s *specs.Spec, _ *Options) { s.Linux.Sysctl = map[string]string{"vm.swappiness": "1"} }, `linux.sysctl["vm.swappiness"]: it does not belong to a namespace`},
		{"sysctl of a shared namespace", func(s *specs.Spec, _ *Options) { s.Linux.Sysctl = map[string]string{"net.core.somaxconn": "1"} }, "needs a network namespace"},
		{"sysctl outside", func(s *specs.Spec, _ *Options) { s.Linux.Sysctl = map[string]string{"net/../../x": "1"} }, "leads out of /proc/sys"},
		{"mount on root", mounts(specs.Mount{Destination: "/x/..", Type: "tmpfs"}), "mounts[0] (/x/..): destination: the root itself"},
		{"mount in proc", mounts(specs.Mount{Destination: "/proc/self/attr", Type: "tmpfs"}), "inside /proc"},
		{"mount without type", mounts(specs.Mount{Destination: "/x"}), "type: empty"},
		{"bind of nothing", mounts(specs.Mount{Destination: "/x", Source: "/missing", Options: []string{"bind"}}), "mounts[0] (/x): source: no such file"},
		{"tmpcopyup", mounts(specs.Mount{Destination: "/x", Type: "proc", Options: []string{"tmpcopyup"}}), `option "tmpcopyup" is for tmpfs only`},
		{"id-mapped remount", mounts(specs.Mount{Destination: "/x", Options: []string{"remount"}, UIDMappings: []specs.LinuxIDMapping{{Size: 1}}}), "uidMappings: a mount that is there"},
		{"id-mapped in a user namespace", func(s *specs.Spec, _ *Options) {
			userNamespace(s)
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 1000, Size: 1}}
			s.Linux.GIDMappings = s.Linux.UIDMappings
			s.Mounts = []specs.Mount{{Destination: "/x", Type: "tmpfs", Options: []string{"idmap"}}}
		}, "uidMappings: in a container with a user namespace, only bind mounts"},
		{"id-mapped without mappings", mounts(specs.Mount{Destination: "/x", Source: "/srv", Options: []string{"bind", "idmap"}}), "uidMappings: an id-mapped mount needs mappings"},
		{"no user namespace, no privilege", func(_ *specs.Spec, o *Options) { o.Host.Permitted = 0 }, "linux.namespaces: rootless container requires user namespaces"},
		{"no mappings", func(s *specs.Spec, _ *Options) { userNamespace(s); s.Linux.GIDMappings = nil }, "linux.uidMappings and linux.gidMappings: a new user namespace needs both"},
		{"unmapped user", func(s *specs.Spec, _ *Options) { userNamespace(s); s.Process.User.UID = 10 }, "process.user.uid: 10 is not in linux.uidMappings"},
		{"unmapped group", func(s *specs.Spec, _ *Options) { userNamespace(s); s.Process.User.GID = 4294967295 }, "process.user.gid: 4294967295 is not in linux.gidMappings"},
		{"unmapped further group", func(s *specs.Spec, _ *Options) { userNamespace(s); s.Process.User.AdditionalGids = []uint32{9, 10} }, "process.user.additionalGids: 10 is not"},
		{"further groups without setgroups", func(s *specs.Spec, o *Options) {
			userNamespace(s)
			s.Process.User.AdditionalGids, o.Host.NoSetgroups = []uint32{9}, true
		}, "process.user.additionalGids: cannot set any additional groups in a rootless container"},
		{"unmapped owner of a mount", func(s *specs.Spec, _ *Options) {
			userNamespace(s)
			s.Mounts = []specs.Mount{{Destination: "/dev/pts", Type: "devpts", Options: []string{"newinstance", "gid=50"}}}
		}, "mounts[0] (/dev/pts): options: gid=50: it is not in linux.gidMappings"},
		{"unmapped owner of a pipe", func(s *specs.Spec, _ *Options) {
			userNamespace(s)
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/p", Type: "p", UID: new(uint32(10))}}
		}, "linux.devices[0]: its owner is not in the mappings"},
		{"relative device", func(s *specs.Spec, _ *Options) { s.Linux.Devices = []specs.LinuxDevice{{Path: "x", Type: "c"}} }, "linux.devices[0]: path"},
		{"device type", func(s *specs.Spec, _ *Options) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} }, "linux.devices[0]: type"},
		{"unknown rlimit", func(s *specs.Spec, _ *Options) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} }, "process.rlimits[0].type"},
		{"soft above hard", func(s *specs.Spec, _ *Options) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 2, Hard: 1}}
		}, "process.rlimits[0].soft"},
		{"oom score", func(s *specs.Spec, _ *Options) { s.Process.OOMScoreAdj = ptr(2000) }, "process.oomScoreAdj"},
		{"personality", func(s *specs.Spec, _ *Options) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "BSD"} }, "linux.personality.domain"},
		{"propagation", func(s *specs.Spec, _ *Options) { s.Linux.RootfsPropagation = "x" }, "linux.rootfsPropagation"},
		{"masked relative", func(s *specs.Spec, _ *Options) { s.Linux.MaskedPaths = []string{"x"} }, "linux.maskedPaths[0]"},
		{"time offsets without a time namespace", func(s *specs.Spec, _ *Options) {
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {}}
		}, "linux.timeOffsets: they need a new time namespace"},
		{"scheduler policy", func(s *specs.Spec, _ *Options) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_X"} }, "process.scheduler.policy"},
		{"I/O priority", func(s *specs.Spec, _ *Options) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		}, "process.ioPriority.priority"},
		{"apparmor", func(s *specs.Spec, _ *Options) { s.Process.ApparmorProfile = "x" }, "process.apparmorProfile: apparmor: config provided but apparmor not supported"},
		{"apparmor profile of two lines", func(s *specs.Spec, o *Options) { s.Process.ApparmorProfile = "x\ny"; o.Host.AppArmor = true }, `process.apparmorProfile: "x\ny" is not`},
		{"selinux", func(s *specs.Spec, o *Options) { s.Process.SelinuxLabel = "x"; o.Host.AppArmor = true }, "process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported"},
		{"memory policy", func(s *specs.Spec, _ *Options) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_X"} }, `linux.memoryPolicy.mode: "MPOL_X"`},
		{"memory policy without a mode", func(s *specs.Spec, _ *Options) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{} }, `linux.memoryPolicy.mode: ""`},
		{"memory policy flag", func(s *specs.Spec, _ *Options) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"X"}}
		}, `linux.memoryPolicy.flags[0]: "X"`},
		{"memory nodes", func(s *specs.Spec, _ *Options) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0-"}
		}, `linux.memoryPolicy.nodes: "0-"`},
		{"initial affinity", func(s *specs.Spec, _ *Options) { s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "x"} }, `process.execCPUAffinity.initial: "x"`},
		{"final affinity", func(s *specs.Spec, _ *Options) { s.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "9-1"} }, `process.execCPUAffinity.final: the range "9-1"`},
		{"network devices of the host", func(s *specs.Spec, _ *Options) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}}
		}, "linux.netDevices: they need a network namespace"},
		{"mounts without a mount namespace", func(s *specs.Spec, _ *Options) {
			s.Linux.Namespaces = nil
			s.Root.Path, s.Root.Readonly = "/", true
		}, "need a mount namespace"},
		{"too long for a host name", func(s *specs.Spec, _ *Options) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UTSNamespace})
			s.Hostname = strings.Repeat("x", 65)
		}, "hostname: longer than 64 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec, opt := bareSpec(), testOptions()
			test.change(spec, &opt)
			_, err := Compile(spec, opt)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestMissingCapability checks that a capability nobody has is left out with a warning.
func TestMissingCapability(t *testing.T) {
	spec, opt := bareSpec(), testOptions()
	opt.Host.Permitted &^= 1 << unix.CAP_SYS_RESOURCE
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_SYS_RESOURCE", "CAP_NEW"}}
	p, err := Compile(spec, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Warnings) != 2 || !strings.Contains(p.Warnings[0], "CAP_SYS_RESOURCE left out") || !strings.Contains(p.Warnings[1], "CAP_NEW left out") {
		t.Errorf("warnings: %q", p.Warnings)
	}
}

// TestBindOptions checks that options of a file system do not keep a bind mount
// from being made.
func TestBindOptions(t *testing.T) {
	spec := bareSpec()
	spec.Mounts = []specs.Mount{{Destination: "/x", Source: "/srv", Options: []string{"rbind", "size=1m", "sync", "ro"}}}
	p, err := Compile(spec, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Warnings) != 2 || !strings.Contains(p.Warnings[0], "option size=1m left out") || !strings.Contains(p.Warnings[1], "option sync left out") {
		t.Errorf("warnings: %q", p.Warnings)
	}
}

// TestMountLabelWithoutSELinux checks that a label of files that means nothing
// here changes nothing but for a warning.
func TestMountLabelWithoutSELinux(t *testing.T) {
	compile := func(label string) *Program {
		spec, opt := bareSpec(), testOptions()
		spec.Mounts = []specs.Mount{{Destination: "/tmp", Type: "tmpfs"}}
		spec.Linux.MountLabel = label
		p, err := Compile(spec, opt)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	without, with := compile(""), compile("system_u:object_r:container_file_t:s0")
	if len(with.Warnings) != 1 || !strings.Contains(with.Warnings[0], "linux.mountLabel: left out") {
		t.Errorf("warnings: %q", with.Warnings)
	}
	if len(without.Instructions) != len(with.Instructions) {
		t.Errorf("%d instructions, want %d", len(with.Instructions), len(without.Instructions))
	}
}

// TestFailure checks the text that a failed step becomes.
func TestFailure(t *testing.T) {
	spec, opt := bareSpec(), testOptions()
	spec.Mounts = []specs.Mount{{Destination: "/tmp", Type: "tmpfs"}}
	spec.Process.Args, spec.Process.Env = []string{"true"}, []string{"PATH=/bin"}
	p, err := Compile(spec, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		call  string
		errno unix.Errno
		want  string
	}{
		{"fsopen", unix.ENODEV, "mount tmpfs on /tmp: no such device (the kernel does not have this file system)"},
		{"execve", unix.EACCES, `exec: "true": permission denied`},
		// Engines look for the end of this one.
		{"faccessat", unix.ENOENT, `exec: "true": executable file not found in $PATH`},
	} {
		i := slices.IndexFunc(p.Instructions, func(in Instruction) bool { return in.Name == test.call })
		if i < 0 {
			t.Fatalf("no %s in the program", test.call)
		}
		err := p.Failure(i, test.errno)
		if err.Error() != test.want {
			t.Errorf("got %q, want %q", err, test.want)
		}
		if !errors.Is(err, test.errno) {
			t.Errorf("%v: the errno is lost", err)
		}
	}
}
