package sandbox

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMappedMounts checks to whom the files of an id-mapped mount belong,
// inside and outside.
func TestMappedMounts(t *testing.T) {
	ids := func(host uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: 65536}}
	}
	const mapped = "1007:2008\n1000:2000\n" // seen with a mapping to 1000 and 2000, and no user namespace
	for name, change := range map[string]func(*bundle, *specs.Mount) (owners string){
		"own": func(_ *bundle, m *specs.Mount) string {
			m.UIDMappings, m.GIDMappings = ids(1000), ids(2000)
			return mapped
		},
		"container": func(_ *bundle, m *specs.Mount) string { m.Options = []string{"bind", "idmap"}; return mapped },
		"recursive": func(_ *bundle, m *specs.Mount) string { m.Options = []string{"rbind", "ridmap"}; return mapped },
		"user namespace": func(b *bundle, m *specs.Mount) string {
			b.namespace(specs.UserNamespace, "")
			b.spec.Process.User = specs.User{}
			m.Options = []string{"bind", "idmap", "nosuid"}
			return "7:8\n0:0\n"
		},
		"user namespace with another mapping": func(b *bundle, m *specs.Mount) string {
			b.namespace(specs.UserNamespace, "")
			b.spec.Process.User = specs.User{UID: 5, GID: 5}
			m.UIDMappings, m.GIDMappings = ids(1005), ids(2005)
			return "12:13\n5:5\n"
		},
		"joined user namespace": func(b *bundle, m *specs.Mount) string {
			other := sleeper(b.t)
			other.namespace(specs.UserNamespace, "")
			other.spec.Linux.UIDMappings, other.spec.Linux.GIDMappings = ids(1000), ids(2000)
			b.namespace(specs.UserNamespace, nsPath(other.begin().PID(), specs.UserNamespace))
			b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = nil, nil
			b.spec.Process.User = specs.User{}
			m.Options = []string{"rbind", "ridmap"}
			return "7:8\n0:0\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := shell(t, "stat -c %u:%g /shared/file; touch /shared/new; stat -c %u:%g /shared/new")
			b.mkdir("shared")
			// The one whose files are those of user 0 on the disk.
			b.spec.Process.User = specs.User{UID: 1000, GID: 2000}
			b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = ids(1000), ids(2000)
			dir := b.hostDir("shared")
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(b.hostFile("shared/file", ""), 7, 8); err != nil {
				t.Fatal(err)
			}
			m := bind(dir, "/shared")
			owners := change(b, &m)
			b.mount(m)
			b.expect(owners)
			info, err := os.Stat(dir + "/new")
			if err != nil {
				t.Fatal(err)
			}
			if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != 0 {
				t.Errorf("new file belongs to %d:%d outside, want 0:0", st.Uid, st.Gid)
			}
		})
	}
	for name, test := range map[string]struct {
		mount specs.Mount
		want  string
	}{
		"nothing to map by": {bind("/", "/x", "idmap"), "needs mappings of both users and groups"},
		"in vain":           {specs.Mount{Destination: "/x", Type: "proc", UIDMappings: ids(1), GIDMappings: ids(1)}, "map the owners of files on /x"},
		"too late":          {specs.Mount{Destination: "/proc", Options: []string{"remount"}, UIDMappings: ids(1), GIDMappings: ids(1)}, "cannot be id-mapped any more"},
		"only users":        {specs.Mount{Destination: "/x", Type: "bind", Source: "/", UIDMappings: ids(1)}, "needs mappings of both users and groups"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			b.mount(test.mount)
			b.refused(test.want)
		})
	}
}

// TestMappedTmpfs maps the owners of files on a file system that is new.
func TestMappedTmpfs(t *testing.T) {
	b := shell(t, "stat -c %u:%g /x")
	b.mount(specs.Mount{
		Destination: "/x", Type: "tmpfs", Options: []string{"uid=3", "gid=4"},
		UIDMappings: []specs.LinuxIDMapping{{HostID: 1000, Size: 10}}, GIDMappings: []specs.LinuxIDMapping{{HostID: 2000, Size: 10}},
	})
	b.expect("1003:2004\n")
	b.namespace(specs.UserNamespace, "")
	b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
	b.spec.Linux.GIDMappings = b.spec.Linux.UIDMappings
	b.refused("only bind mounts can be id-mapped")
}

// TestMappedPropagation: a mount that was cloned for a container from a shared one of
// the host must not pass on what is mounted on it there.
func TestMappedPropagation(t *testing.T) {
	b := shell(t, "cat /proc/self/mountinfo | grep ' /shared ' | cut -d' ' -f7")
	dir := b.hostDir("shared")
	b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 1000, Size: 10}}
	b.spec.Linux.GIDMappings = b.spec.Linux.UIDMappings
	b.mount(bind(dir, "/shared", "idmap"))
	j := b.save()
	j.Create, j.Start, j.Wait, j.Delete, j.SharedMounts = true, true, true, true, true
	cmd := j.command(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	cmd.Stdout, cmd.Stderr = b.out, b.out
	err := cmd.Run()
	if out := contents(t, b.out); err != nil || !strings.Contains(out, "master:") || strings.Contains(out, "shared:") {
		t.Errorf("%v, propagation:\n%s", err, out)
	}
}

// TestMountIntoProc mounts on links of the image that lead into /proc.
func TestMountIntoProc(t *testing.T) {
	for name, m := range map[string]specs.Mount{
		"tmpfs":               {Destination: "/link", Type: "tmpfs"},
		"tmpfs below":         {Destination: "/data/up/sys", Type: "tmpfs"},
		"bind":                {Destination: "/link", Type: "bind", Source: "/tmp"},
		"bind of a file":      {Destination: "/link/ostype", Type: "bind", Source: "/etc/passwd"},
		"bind of an exempted": {Destination: "/data/up/uptime", Type: "bind", Source: "/etc/passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			b.symlink("/proc/sys/kernel", "link")
			b.symlink("../proc", "data/up")
			b.mount(m)
			b.refused("mount on " + m.Destination + ": it leads into /proc, where nothing may be mounted")
		})
	}
}
