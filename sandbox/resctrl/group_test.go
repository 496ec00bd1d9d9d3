package resctrl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fake is a directory that behaves as the resctrl file system where this
// package can tell the difference.
func fake(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	oldMake, oldRemove := makeGroup, removeGroup
	t.Cleanup(func() { makeGroup, removeGroup = oldMake, oldRemove })
	makeGroup = func(dir string) error {
		if err := oldMake(dir); err != nil {
			return err
		}
		return fill(dir)
	}
	removeGroup = func(dir string) error {
		if _, err := os.Lstat(filepath.Join(dir, "tasks")); err != nil {
			return unix.ENOENT
		}
		return os.RemoveAll(dir)
	}
	if err := errors.Join(fill(root), os.Mkdir(filepath.Join(root, "info"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return root
}

func fill(dir string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "tasks"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "schemata"), nil, 0o644),
		os.Mkdir(filepath.Join(dir, "mon_groups"), 0o755),
	)
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func missing(t *testing.T, parts ...string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(parts...)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v, want it to be gone", filepath.Join(parts...), err)
	}
}

// TestGroups follows containers through their lives.
func TestGroups(t *testing.T) {
	tests := []struct {
		name     string
		existing string // schemata of the class "class", if it exists already
		rdt      specs.LinuxIntelRdt
		dir      string // where the container is
		schemata string
		stays    bool // dir, after the container
		err      string
	}{
		{"by the container's name", "", specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f", MemBwSchema: "MB:0=20"}, "box", "L3:0=f\nMB:0=20\n", false, ""},
		{"nothing to set", "", specs.LinuxIntelRdt{}, "box", "", false, ""},
		{"schemata last", "", specs.LinuxIntelRdt{ClosID: "new", Schemata: []string{"L2:0=f", "MB:0=10"}, L3CacheSchema: "L3:0=f"}, "new", "L3:0=f\nL2:0=f\nMB:0=10\n", true, ""},
		{"the root", "", specs.LinuxIntelRdt{ClosID: "/"}, ".", "", true, ""},
		{"a class of others", "    MB:0=100\n    L3:0=7ff;1=7ff\n", specs.LinuxIntelRdt{ClosID: "class"}, "class", "    MB:0=100\n    L3:0=7ff;1=7ff\n", true, ""},
		{"a class that matches", "MB:0=100\nL3:0=007ff;1=3\n", specs.LinuxIntelRdt{ClosID: "class", L3CacheSchema: "L3:1=3;0=7FF", MemBwSchema: "MB:0=100"}, "class", "MB:0=100\nL3:0=007ff;1=3\n", true, ""},
		{"a class that does not match", "MB:0=100\nL3:0=7ff\n", specs.LinuxIntelRdt{ClosID: "class", L3CacheSchema: "L3:0=7f"}, "class", "", true, `has "7ff" where "L3:0=7f" is asked for`},
		{"a class that has none of it", "L3:0=7ff\n", specs.LinuxIntelRdt{ClosID: "class", MemBwSchema: "MB:0=5"}, "class", "", true, `has "" where "MB:0=5" is asked for`},
		{"a class that is not there", "", specs.LinuxIntelRdt{ClosID: "class"}, "", "", false, "class does not exist"},
		{"out of the file system", "", specs.LinuxIntelRdt{ClosID: "../x", L3CacheSchema: "L3:0=f"}, "", "", false, `closID: "../x" cannot be`},
		{"above", "", specs.LinuxIntelRdt{ClosID: ".."}, "", "", false, `closID: ".." cannot be`},
		{"a directory of the kernel", "", specs.LinuxIntelRdt{ClosID: "info", Schemata: []string{"L3:0=f"}}, "", "", false, `closID: "info" cannot be`},
		{"two lines of bandwidth", "", specs.LinuxIntelRdt{MemBwSchema: "MB:0=1\nL3:0=f"}, "", "", false, "memBwSchema: "},
		{"bandwidth of something else", "", specs.LinuxIntelRdt{MemBwSchema: "L3:0=1"}, "", "", false, "memBwSchema: "},
		{"two lines in one", "", specs.LinuxIntelRdt{Schemata: []string{"L3:0=1\nMB:0=5"}}, "", "", false, "schemata[0]: "},
	}
	for _, test := range tests {
		for _, monitoring := range []bool{false, true} {
			name := test.name
			if monitoring {
				name += ", monitored"
			}
			t.Run(name, func(t *testing.T) {
				root := fake(t)
				if test.existing != "" {
					if err := errors.Join(makeGroup(filepath.Join(root, "class")), os.WriteFile(filepath.Join(root, "class/schemata"), []byte(test.existing), 0o644)); err != nil {
						t.Fatal(err)
					}
				}
				rdt := test.rdt
				rdt.EnableMonitoring = monitoring
				g, err := Plan(root, "box", &rdt)
				if err == nil {
					err = g.Create(&rdt)
				}
				if test.err != "" {
					if err == nil || !strings.Contains(err.Error(), test.err) {
						t.Errorf("error %v, want one with %q", err, test.err)
					}
					missing(t, root, "box")
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := g.Add(42); err != nil {
					t.Fatal(err)
				}
				if got := read(t, root, test.dir, "tasks"); got != "42" {
					t.Errorf("tasks %q", got)
				}
				if got := read(t, root, test.dir, "schemata"); got != test.schemata {
					t.Errorf("schemata %q, want %q", got, test.schemata)
				}
				if monitoring {
					if got := read(t, root, test.dir, "mon_groups/box/tasks"); got != "42" {
						t.Errorf("tasks of the monitoring group %q", got)
					}
				}
				for range 2 { // a deletion that was cut off is repeated
					if err := g.Delete(); err != nil {
						t.Error(err)
					}
				}
				missing(t, root, test.dir, "mon_groups/box")
				if _, err := os.Lstat(filepath.Join(root, test.dir)); (err == nil) != test.stays {
					t.Errorf("the group afterwards: %v", err)
				}
			})
		}
	}
}

// TestOccupied checks that a group of somebody else by the container's name is
// neither taken for the container's own nor removed.
func TestOccupied(t *testing.T) {
	root := fake(t)
	if err := errors.Join(makeGroup(filepath.Join(root, "box")), makeGroup(filepath.Join(root, "box/mon_groups/box"))); err != nil {
		t.Fatal(err)
	}
	rdt := &specs.LinuxIntelRdt{EnableMonitoring: true}
	g, err := Plan(root, "box", rdt)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "info/last_cmd_status"), []byte("Out of RMIDs\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := g.Create(rdt); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "(Out of RMIDs)") {
		t.Errorf("error %v", err)
	}
	if err := g.Delete(); err != nil {
		t.Error(err)
	}
	read(t, root, "box/mon_groups/box/tasks")
}

func TestUpdate(t *testing.T) {
	root := fake(t)
	rdt := &specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f", MemBwSchema: "MB:0=20"}
	g, err := Plan(root, "box", rdt)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Create(rdt); err != nil {
		t.Fatal(err)
	}
	// The kernel changes the lines that are written; the fake keeps what is behind them.
	if err := os.Truncate(filepath.Join(root, "box/schemata"), 0); err != nil {
		t.Fatal(err)
	}
	if err := g.Update(&specs.LinuxIntelRdt{MemBwSchema: "MB:0=70"}); err != nil {
		t.Error(err)
	}
	if got := read(t, root, "box/schemata"); got != "MB:0=70\n" {
		t.Errorf("schemata %q", got)
	}
	if err := g.Update(&specs.LinuxIntelRdt{MemBwSchema: "L3:0=1"}); err == nil || !strings.HasPrefix(err.Error(), "memBwSchema: ") {
		t.Errorf("error %v", err)
	}
}

// TestNotMounted: most machines, and those of the tests, have no such file system.
func TestNotMounted(t *testing.T) {
	if root, err := Mounted(); err == nil {
		t.Skipf("resctrl is mounted on %s", root)
	} else if !strings.Contains(err.Error(), "mount -t resctrl") {
		t.Error(err)
	}
}
