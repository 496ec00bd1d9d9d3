package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestBadInput gives create and run what they cannot work with: they say so in one line that names the field or the file,
// and nothing is left behind. Not parallel: it looks at what is left behind.
func TestBadInput(t *testing.T) {
	const long = 5000
	tests := []struct {
		name   string
		change func(*bundle)
		config func([]byte) []byte // changes config.json; may be nil
		id     string              // "" is the bundle's
		flags  []string
		says   string
	}{
		{name: "not JSON", config: func([]byte) []byte { return []byte("root: rootfs\n") }, says: "config.json: not valid JSON"},
		{name: "empty file", config: func([]byte) []byte { return nil }, says: "config.json: not valid JSON: unexpected end"},
		{name: "truncated", config: func(c []byte) []byte { return c[:len(c)/2] }, says: "config.json: not valid JSON: unexpected end"},
		{name: "other version", change: func(b *bundle) { b.spec.Version = "2.0.0" }, says: "ociVersion"},
		{name: "no version", change: func(b *bundle) { b.spec.Version = "" }, says: "ociVersion"},
		{name: "100 MB", config: func(c []byte) []byte { return append(c, make([]byte, 100<<20)...) }, says: "config.json: larger than"},
		{name: "100 MB of white space", config: func(c []byte) []byte { return append(c, strings.Repeat(" ", 100<<20)...) }, says: "config.json: larger than"},
		{name: "deep", config: func([]byte) []byte { return []byte(strings.Repeat("[", 1<<20)) }, says: "config.json: not valid JSON"},
		{name: "wrong type of the whole", config: func([]byte) []byte { return []byte("[]") }, says: "the whole: JSON type array"},
		{name: "wrong type of args", config: replace(`"args":["/bin/true"]`, `"args":"/bin/true"`), says: "process.args: JSON type string"},
		{name: "wrong type of mounts", config: replace(`"mounts":[`, `"mounts":[7,`), says: "mounts"},
		{name: "wrong type of a uid", config: replace(`"uid":0`, `"uid":"root"`), says: "process.user.uid: JSON type string"},
		{name: "negative uid", config: replace(`"uid":0`, `"uid":-1`), says: "process.user.uid"},
		{name: "no root", change: func(b *bundle) { b.spec.Root = nil }, says: "root.path"},
		{name: "empty root", change: func(b *bundle) { b.spec.Root.Path = "" }, says: "root.path"},
		{name: "root is missing", change: func(b *bundle) { b.spec.Root.Path = "missing" }, says: "root"},
		{name: "root is a file", change: func(b *bundle) { b.spec.Root.Path = "config.json" }, says: "root"},
		{name: "no process", change: func(b *bundle) { b.spec.Process = nil }, says: "process: missing"},
		{name: "no args", change: func(b *bundle) { b.spec.Process.Args = nil }, says: "process.args"},
		{name: "empty args", change: func(b *bundle) { b.spec.Process.Args = []string{""} }, says: "process.args"},
		{name: "relative cwd", change: func(b *bundle) { b.spec.Process.Cwd = "tmp" }, says: "process.cwd"},
		{name: "no linux", change: func(b *bundle) { b.spec.Linux = nil }, says: "linux: missing"},
		{name: "relative mount destination", change: func(b *bundle) { b.mount(specs.Mount{Destination: "x", Type: "tmpfs"}) }, says: "mounts[2] (x): destination"},
		{name: "empty mount destination", change: func(b *bundle) { b.mount(specs.Mount{Type: "tmpfs"}) }, says: "destination: empty"},
		{name: "missing mount source", change: func(b *bundle) { b.mount(bind("/missing/source", "/x")) }, says: "/missing/source"},
		{name: "unknown file system", change: func(b *bundle) { b.mount(specs.Mount{Destination: "/vol", Type: "strangefs"}) }, says: "strangefs"},
		{name: "unknown namespace", change: func(b *bundle) { b.namespace("strange", "") }, says: "linux.namespaces[4]"},
		{name: "namespace that is not there", change: func(b *bundle) { b.namespace(specs.NetworkNamespace, "/missing/net") }, says: "/missing/net"},
		{name: "overlapping mappings", change: mappings(specs.LinuxIDMapping{HostID: 1000, Size: 10}, specs.LinuxIDMapping{HostID: 2000, Size: 10}), says: "uidMappings"},
		{name: "mapping of no ids", change: mappings(specs.LinuxIDMapping{HostID: 1000, Size: 0}), says: "uidMappings"},
		{name: "mapping past the end", change: mappings(specs.LinuxIDMapping{HostID: 1<<32 - 2, Size: 100}), says: "uidMappings"},
		{name: "unknown limit", change: func(b *bundle) { b.spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_STRANGE"}} }, says: "process.rlimits[0]"},
		{name: "relative masked path", change: func(b *bundle) { b.spec.Linux.MaskedPaths = []string{"proc"} }, says: "linux.maskedPaths[0]"},
		{name: "control group outside", change: func(b *bundle) { b.spec.Linux.CgroupsPath = "/../x" }, says: "linux.cgroupsPath"},
		{name: "id with a path", id: "../../x", says: "invalid container ID format"},
		{name: "id of dots", id: "..", says: "invalid container ID format"},
		{name: "long id", id: strings.Repeat("x", long), says: "invalid container ID format"},
		{name: "empty id", id: "EMPTY", says: "container id cannot be empty"},
		{name: "id with a line end", id: "a\nb", says: "invalid container ID format"},
		{name: "bundle is missing", flags: []string{"--bundle", "/missing/bundle"}, says: "/missing/bundle"},
		{name: "bundle is a file", flags: []string{"--bundle", "/etc/passwd"}, says: "/etc/passwd"},
		{name: "pid file in a missing folder", flags: []string{"--pid-file", "/missing/pid"}, says: "write pid file: write /missing/pid"},
		{name: "pid file is a folder", flags: []string{"--pid-file", "/tmp"}, says: "write pid file: write /tmp"},
		{name: "no console socket", change: func(b *bundle) { b.spec.Process.Terminal = true }, says: "console"},
		{name: "console socket is missing", change: terminal, flags: []string{"--console-socket", "/missing/socket"}, says: "/missing/socket"},
		{name: "console socket is a file", change: terminal, flags: []string{"--console-socket", "/etc/passwd"}, says: "/etc/passwd"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			if test.change != nil {
				test.change(b)
			}
			data := encode(t, b.spec)
			if test.config != nil {
				data = test.config(data)
			}
			writeFile(t, b.dir, "config.json", data)
			id := map[string]string{"": b.id, "EMPTY": ""}[test.id]
			if id == "" && test.id != "EMPTY" {
				id = test.id
			}
			before := takeSnapshot(t, b.id)
			c, _ := b.detached(append(append([]string{"create"}, test.flags...), id)...)
			if line := c.wantLine(1); !strings.Contains(line, test.says) || len(line) > 1000 {
				t.Errorf("%.1000q, want something with %q", line, test.says)
			}
			after := takeSnapshot(t, b.id)
			for _, list := range []snapshot{before, after} { // what belongs to the test's own call
				for what := range list {
					if strings.HasPrefix(what, "file "+os.TempDir()+"/TestBadInput") {
						delete(list, what)
					}
				}
			}
			for _, left := range before.diff(after) {
				t.Error(left)
			}
			b.nothingLeft()
		})
	}
	t.Run("unknown fields", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		data := strings.Replace(string(encode(t, b.spec)), `"linux":{`, `"strange":[{"x":null}],"linux":{"stranger":1,`, 1)
		writeFile(t, b.dir, "config.json", []byte(data))
		b.call("run", b.id).wait().want(0, "")
	})
	t.Run("id in use", func(t *testing.T) {
		b := newBundle(t, "/bin/sleep", "1000")
		b.begin()
		for _, command := range []string{"create", "run"} {
			if line := b.call(command, b.id).wait().wantLine(1); !strings.Contains(line, "container with given ID already exists") {
				t.Error(line)
			}
		}
		if _, status := b.state(); status != "running" {
			t.Errorf("the container is %s", status)
		}
		b.remove()
	})
}

// replace changes a part of config.json, which must be there.
func replace(old, with string) func([]byte) []byte {
	return func(config []byte) []byte {
		if !strings.Contains(string(config), old) {
			panic("config.json has no " + old)
		}
		return []byte(strings.Replace(string(config), old, with, 1))
	}
}

func mappings(list ...specs.LinuxIDMapping) func(*bundle) {
	return func(b *bundle) {
		b.namespace(specs.UserNamespace, "")
		b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = list, []specs.LinuxIDMapping{{HostID: 1000, Size: 10}}
	}
}

func terminal(b *bundle) {
	b.spec.Process.Terminal = true
	b.mount(specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}})
}

// TestBadRoot gives a place for the state that cannot be written to: a file, a file system that is read-only, and one
// that is full after a number of pages, so that it fills up at different moments.
func TestBadRoot(t *testing.T) {
	mount := func(t *testing.T, options string, flags uintptr) string {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	check := func(t *testing.T, root, says string) {
		b := newBundle(t, "/bin/true")
		b.save()
		own := b.root
		b.root = root
		c, _ := b.detached("create", b.id)
		if line := c.wantLine(1); !strings.Contains(line, says) {
			t.Errorf("%q, want something with %q", line, says)
		}
		for _, dir := range cgroups(t, b.id) {
			t.Errorf("left behind: %s", dir)
		}
		if entries, err := os.ReadDir(root); err == nil && len(entries) > 0 {
			t.Errorf("left behind: %v", entries)
		}
		b.root = own
		b.nothingLeft()
	}
	t.Run("a file", func(t *testing.T) { check(t, writeFile(t, newDir(t), "file", nil), "state root") })
	t.Run("below a file", func(t *testing.T) { check(t, filepath.Join(writeFile(t, newDir(t), "file", nil), "x"), "state root") })
	t.Run("read-only", func(t *testing.T) { check(t, mount(t, "", unix.MS_RDONLY), "read-only file system") })
	for inodes := 1; inodes <= 4; inodes++ { // the root itself takes one
		t.Run(fmt.Sprintf("full after %d files", inodes-1), func(t *testing.T) {
			check(t, mount(t, fmt.Sprintf("nr_inodes=%d", inodes), 0), "no space left on device")
		})
	}
	t.Run("full after a page", func(t *testing.T) { check(t, mount(t, "nr_blocks=1", 0), "no space left on device") })
}
