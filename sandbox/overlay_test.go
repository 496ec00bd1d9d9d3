package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/sandbox/program"
)

// TestOverlay gives another user the files of root in the lower layers of an overlay, in and without a user namespace,
// with the upper layer on disk and in memory, and makes a part of the overlay read-only.
func TestOverlay(t *testing.T) {
	const script = `for f in over gone moved fixed/a fixed/open/b; do stat -c %u,%g $f; done
		echo new >over; rm gone; mv moved elsewhere; cat over elsewhere; ls
		echo new >fixed/a || echo refused
		echo new >fixed/open/b && cat fixed/open/b`
	for _, test := range []struct {
		name          string
		namespace     bool
		uid, gid      uint32 // in the container
		memory        bool
		hostUID, size int
	}{
		{"on disk", false, 1000, 0, false, 1000, 0},
		{"in memory", false, 1000, 0, true, 1000, 1 << 20},
		{"in a user namespace", true, 7, 0, false, 100007, 0},
		{"in a user namespace, in memory", true, 7, 0, true, 100007, 1 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := shell(t, "exec 2>/dev/null; cd /data; "+script)
			for _, name := range []string{"one/over", "one/gone", "two/moved", "two/fixed/a", "two/fixed/open/b"} {
				b.hostDir(filepath.Dir(name))
				b.hostFile(name, "old\n")
			}
			upper, work := b.hostDir("upper"), b.hostDir("work")
			gid := 0
			b.spec.Process.User = specs.User{UID: test.uid, GID: test.gid}
			b.spec.Process.Capabilities = &specs.LinuxCapabilities{}
			if test.namespace {
				ids := []specs.LinuxIDMapping{{HostID: 100000, Size: 1000}}
				b.namespace(specs.UserNamespace, "")
				b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = ids, ids
				gid = 100000
			}
			for _, dir := range []string{upper, work} {
				if err := os.Chown(dir, test.hostUID, gid); err != nil {
					t.Fatal(err)
				}
			}
			options := []string{"upperdir=" + upper, "workdir=" + work}
			if test.namespace {
				options = append(options, "userxattr")
				// The directory of the test is for its owner only.
				for dir := b.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
					if err := os.Chmod(dir, 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			lower, err := MapOwners([]string{filepath.Join(b.dir, "one"), filepath.Join(b.dir, "two")}, test.hostUID, gid)
			if err != nil {
				t.Fatal(err)
			}
			b.mount(specs.Mount{Destination: "/data", Type: "overlay", Source: "overlay", Options: options})
			b.opt.Overlays = map[string]Overlay{"/data": {Lower: lower, Overlay: program.Overlay{
				Memory: test.memory, MemorySize: int64(test.size), ReadOnly: []string{"fixed"}, Writable: []string{"fixed/open"},
			}}}
			owner := "7,0\n"
			if !test.namespace {
				owner = "1000,0\n"
			}
			b.expect(owner + owner + owner + owner + owner + "new\nold\nelsewhere\nfixed\nover\nrefused\nnew\n")
			for _, name := range []string{"one/over", "two/fixed/open/b"} {
				if got, err := os.ReadFile(filepath.Join(b.dir, name)); err != nil || string(got) != "old\n" {
					t.Errorf("the lower layer's %s is %q now, %v", name, got, err)
				}
			}
			changed, err := os.ReadDir(upper)
			if err != nil {
				t.Fatal(err)
			}
			if test.memory == (len(changed) > 0) {
				t.Errorf("upper layer on disk: %v", changed)
			}
		})
	}
}
