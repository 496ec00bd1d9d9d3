package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/wine"
)

// fixed are the linker's flags for a program that can only be where it is linked.
const fixed = ",--disable-dynamicbase,--disable-reloc-section"

// TestBase runs programs again and again, and looks at the memory of each while it runs.
func TestBase(t *testing.T) {
	// The programs' addresses must hold in spite of the host's randomisation, not for want of it.
	if data, err := os.ReadFile("/proc/sys/kernel/randomize_va_space"); err != nil || strings.TrimSpace(string(data)) != "2" {
		t.Fatalf("kernel.randomize_va_space is %q (%v); this test needs 2: sysctl kernel.randomize_va_space=2", data, err)
	}
	for _, test := range []struct {
		name        string
		flags       string
		base        uint64
		relocatable bool
		argument    string
		instances   int // of the program's image
		runs        int
	}{
		{"low", "-Wl,--image-base,0x400000" + fixed, 0x400000, false, "program", 1, 50},
		{"usual", "", 0x140000000, true, "program", 1, 50},
		{"low-child", "-Wl,--image-base,0x400000" + fixed, 0x400000, false, "parent", 2, 5},
		{"usual-child", "", 0x140000000, true, "parent", 2, 5},
		// Where the loaders of other Wines are, and high above everything.
		{"loader's-place", "-Wl,--image-base,0x7c000000" + fixed, 0x7c000000, false, "parent", 2, 3},
		{"high", "-Wl,--image-base,0x7ff000000000" + fixed, 0x7ff000000000, false, "parent", 2, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			file := build(t, "base-"+test.name, "base", strings.Fields(test.flags)...)
			layout := planned(t, file, test.base, test.relocatable)
			for run := range test.runs {
				c := b.launch(file, test.argument)
				stdin := c.follow()
				for range test.instances {
					_, at, _ := strings.Cut(c.line(), " ")
					if got, err := strconv.ParseUint(at, 16, 64); err != nil || got != test.base {
						t.Errorf("run %d: the program says that it is at %s, not at %#x", run, at, test.base)
					}
				}
				if n := b.audit(layout, file); n != test.instances {
					t.Errorf("run %d: %d processes have the image, want %d", run, n, test.instances)
				}
				if err := stdin.Close(); err != nil {
					t.Error(err)
				}
				if c.wait(); c.code() != 0 || c.err.Len() > 0 {
					t.Errorf("run %d: exit code %d\n%s", run, c.code(), c.err.String())
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// planned plans the address space of a program as winbox does, after a check that it is linked as asked for.
func planned(t *testing.T, file string, base uint64, relocatable bool) *preload.Layout {
	t.Helper()
	image, closer, err := pe.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if image.ImageBase != base || image.Relocatable() != relocatable {
		t.Fatalf("linked at %#x, relocatable: %v; want %#x, %v", image.ImageBase, image.Relocatable(), base, relocatable)
	}
	runtime, err := wine.Host()
	if err != nil {
		t.Fatal(err)
	}
	opt := preload.HostOptions()
	if opt.Loader.Start, opt.Loader.End, err = runtime.LoaderRange(image.Machine.Arch()); err != nil {
		t.Fatal(err)
	}
	layout, err := preload.Plan(image, opt)
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

// audit compares the memory of the container's processes that have the program's image with the plan, and gives their
// number.
func (b *box) audit(layout *preload.Layout, file string) int {
	b.t.Helper()
	found := 0
	for _, pid := range b.processes() {
		maps, err := mapsOf(pid)
		if err != nil {
			b.t.Error(err)
			continue
		}
		has := false
		for _, m := range maps {
			has = has || filepath.Base(m.Path) == filepath.Base(file)
		}
		if !has {
			continue
		}
		found++
		for _, f := range preload.Audit(layout, maps, file) {
			if f.Verdict == preload.Broken {
				b.t.Errorf("process %d: %s (%s): %s", pid, f.Region.Name, f.Region.Range, f.Detail)
			}
		}
	}
	return found
}

// mapsOf gives what a process has mapped: nothing when it has ended.
func mapsOf(pid int) ([]preload.Mapping, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	maps, err := preload.ParseMaps(f)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	return maps, err
}
