package sandbox

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestCopyUp hides a directory of the image by a tmpfs with its content.
func TestCopyUp(t *testing.T) {
	const script = "cd /data; stat -c '%n %u:%g %a' . a dir dir/b setuid; stat -c '%N %u:%g' in out; cat a dir/b; touch new 2>/dev/null && echo written || echo refused"
	for name, test := range map[string]struct {
		options []string
		change  func(*bundle)
		first   int // host ids of the image's root
		top     string
		write   string
	}{
		"":                    {nil, func(*bundle) {}, 0, "3:4 1750", "written\n"},
		"read-only":           {[]string{"ro"}, func(*bundle) {}, 0, "3:4 1750", "refused\n"},
		"own mode":            {[]string{"mode=0700"}, func(*bundle) {}, 0, "3:4 700", "written\n"},
		"in a user namespace": {nil, (*bundle).mapUsers, 100000, "3:4 1750", "written\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := shell(t, script)
			test.change(b)
			outside := b.hostFile("outside", "secret")
			b.mkdir("data/dir")
			b.file("data/a", "text\n", 0o640)
			b.file("data/dir/b", "b\n", 0o600)
			b.file("data/setuid", "", 0o755)
			b.symlink("a", "data/in")
			b.symlink(outside, "data/out")
			for i, f := range []string{"data", "data/a", "data/dir", "data/dir/b", "data/setuid", "data/in", "data/out"} {
				gid := test.first
				if gid != 0 {
					gid += 100000
				}
				if err := os.Lchown(b.path(f), test.first+3+i, gid+4+i); err != nil {
					t.Fatal(err)
				}
			}
			for f, mode := range map[string]uint32{"data": 0o1750, "data/dir": 0o2711, "data/setuid": 0o4755} {
				if err := syscall.Chmod(b.path(f), mode); err != nil {
					t.Fatal(err)
				}
			}
			b.mount(specs.Mount{Destination: "/data", Type: "tmpfs", Options: append([]string{"tmpcopyup"}, test.options...)})
			b.expect(". " + test.top + "\na 4:5 640\ndir 5:6 2711\ndir/b 6:7 600\nsetuid 7:8 4755\n'in' -> 'a' 8:9\n'out' -> '" + outside + "' 9:10\ntext\nb\n" + test.write)
			if _, err := os.Stat(b.path("data/new")); err == nil {
				t.Error("what the container wrote is in the image")
			}
		})
	}
	t.Run("not a tmpfs", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.mount(specs.Mount{Destination: "/x", Type: "proc", Options: []string{"tmpcopyup"}})
		b.refused(`"tmpcopyup" is for tmpfs only`)
	})
	t.Run("too small", func(t *testing.T) {
		b := newBundle(t, "/bin/true")
		b.file("data/big", strings.Repeat("x", 1<<20), 0o644)
		b.mount(specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup", "size=64k"}})
		b.refused("copy into a tmpfs (tmpcopyup): copy big: ")
	})
	// As in the image itself, the owner is nobody whom the container knows.
	t.Run("owners that are not mapped", func(t *testing.T) {
		b := newBundle(t, "/bin/stat", "-c", "%u:%g", "/data/a")
		b.mapUsers()
		b.file("data/a", "", 0o644)
		b.mount(specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup"}})
		b.expect("65534:65534\n")
	})
}
