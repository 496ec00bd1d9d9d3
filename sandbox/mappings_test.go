package sandbox

import (
	"os"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestMappedMounts checks to whom the files of an id-mapped mount belong,
// inside and outside.
func TestMappedMounts(t *testing.T) {
	ids := func(host uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: 65536}}
	}
	for name, change := range map[string]func(*bundle, *specs.Mount){
		"own":       func(_ *bundle, m *specs.Mount) { m.UIDMappings, m.GIDMappings = ids(1000), ids(2000) },
		"container": func(_ *bundle, m *specs.Mount) { m.Options = []string{"bind", "idmap"} },
		"recursive": func(_ *bundle, m *specs.Mount) { m.Options = []string{"rbind", "ridmap"} },
	} {
		t.Run(name, func(t *testing.T) {
			b := shell(t, "stat -c %u:%g /shared/file; touch /shared/new; stat -c %u:%g /shared/new")
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
			change(b, &m)
			b.mount(m)
			b.expect("1007:2008\n1000:2000\n")
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
		"not a bind mount":  {specs.Mount{Destination: "/x", Type: "tmpfs", UIDMappings: ids(1), GIDMappings: ids(1)}, "only bind mounts can be id-mapped"},
		"only users":        {specs.Mount{Destination: "/x", Type: "bind", Source: "/", UIDMappings: ids(1)}, "needs mappings of both users and groups"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			b.mount(test.mount)
			b.refused(test.want)
		})
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
