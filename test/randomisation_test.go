package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// containers and starts are in how many containers each machine's program is started under each setting, and how often in
// each: 200 starts.
const containers, starts = 4, 50

// TestRow10Randomisation starts programs again and again under settings of the kernel that move native code about. What is
// Windows' must be the same in each start under each setting, and all of the memory map in each start under one setting.
// The settings are the host's: no other test may run meanwhile, and they are put back.
func TestRow10Randomisation(t *testing.T) {
	// A test that was killed may have left others.
	for name, want := range map[string]string{"kernel/randomize_va_space": "2\n", "vm/legacy_va_layout": "0\n"} {
		if got := readFile(t, sysctl(name)); got != want {
			t.Fatalf("%s is %q; this test needs %q: set it, and vm.mmap_rnd_bits and vm.mmap_rnd_compat_bits (usually 28 and 8)", name, got, want)
		}
	}
	for _, name := range []string{"kernel/randomize_va_space", "vm/legacy_va_layout", "vm/mmap_rnd_bits", "vm/mmap_rnd_compat_bits"} {
		before := readFile(t, sysctl(name))
		t.Cleanup(func() { set(t, name, before) })
	}
	var first sync.Map // what each machine had of Windows under the first setting
	for _, setting := range []struct {
		name    string
		change  func()
		wrapper []string
	}{
		{"randomize_va_space 2", func() {}, nil},
		{"compat layout", func() {}, []string{"setarch", "x86_64", "--addr-compat-layout"}},
		{"unlimited stack", func() {}, []string{"prlimit", "--stack=unlimited"}},
		{"mmap_rnd_bits", func() { setHighest(t, "vm/mmap_rnd_bits"); setHighest(t, "vm/mmap_rnd_compat_bits") }, nil},
		{"legacy layout", func() { set(t, "vm/legacy_va_layout", "1") }, nil},
		{"randomize_va_space 1", func() { set(t, "vm/legacy_va_layout", "0"); set(t, "kernel/randomize_va_space", "1") }, nil},
		{"randomize_va_space 0", func() { set(t, "kernel/randomize_va_space", "0") }, nil},
	} {
		t.Run(setting.name, func(t *testing.T) {
			setting.change()
			t.Run("machines", func(t *testing.T) { // ends when its parallel subtests have
				for _, m := range machines {
					t.Run(m.name, func(t *testing.T) {
						t.Parallel()
						var all []string
						for range containers {
							more, windows := m.startMany(t, setting.wrapper)
							want, _ := first.LoadOrStore(m.name, windows)
							if want != windows {
								t.Fatalf("under another setting there is other Windows memory:\n%s", difference(want.(string), windows))
							}
							all = append(all, more...)
						}
						for run, got := range all {
							if got != all[0] {
								t.Fatalf("start %d differs from start 0:\n%s", run, difference(all[0], got))
							}
						}
					})
				}
			})
		})
	}
}

// sysctl is the file of a setting of the kernel.
func sysctl(name string) string { return filepath.Join("/proc/sys", name) }

// set changes a setting of the kernel.
func set(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile(sysctl(name), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// setHighest gives a setting the highest value that the kernel takes.
func setHighest(t *testing.T, name string) {
	t.Helper()
	for bits := 64; bits > 0; bits-- {
		if os.WriteFile(sysctl(name), []byte(strconv.Itoa(bits)), 0) == nil {
			return
		}
	}
	t.Fatalf("%s cannot be set", name)
}

// difference gives the lines that only one of two texts has.
func difference(before, after string) string {
	var lines []string
	for sign, of := range map[string][2]string{"- ": {before, after}, "+ ": {after, before}} {
		others := strings.Split(of[1], "\n")
		for line := range strings.Lines(of[0]) {
			if line = strings.TrimSuffix(line, "\n"); !slices.Contains(others, line) {
				lines = append(lines, sign+line)
			}
		}
	}
	return strings.Join(lines, "\n")
}

// startMany starts a program many times in one container. It gives the memory map of each, and what there is of Windows in
// the first: its ranges, and what the program says.
func (m machine) startMany(t *testing.T, wrapper []string) (all []string, windows string) {
	t.Helper()
	file := m.space(t, "many")
	b := m.newBox(t)
	child := writeFile(t, b.dir, "child.exe", []byte(readFile(t, file)))
	c := b.launch(file, fmt.Sprint("repeat=", starts), "child.exe", "blocks", "stack", "heap", "query", "wait")
	if wrapper != nil {
		if b.plain != nil && b.plain.root != "/" {
			t.Skip("the root of that Wine has no ", wrapper[0])
		}
		path, err := exec.LookPath(wrapper[0])
		if err != nil {
			t.Fatal(err)
		}
		c.Path, c.Args = path, append(slices.Clone(wrapper), c.Args...)
	}
	s := &space{call: c, machine: m, file: child, plan: m.plan(t, file)}
	s.stdin = s.follow()
	ranges := s.plan.Reservations()
	var parent int
	for run := range starts {
		said := s.facts()
		if run == 0 {
			parent = having(t, b.processes(), file)
		}
		// The one before may not be gone yet when Windows says that it has ended.
		s.pid = having(t, slices.DeleteFunc(beside(t, parent), func(pid int) bool { return pid == s.pid }), child)
		if s.audit(); t.Failed() {
			t.FailNow()
		}
		var text, own strings.Builder
		for _, mapping := range s.maps() {
			// Not the inodes and the names of Wine's temporary files, which each container has of its own.
			line := fmt.Sprintln(mapping.Range, mapping.Perms, tmpmap.ReplaceAllString(mapping.Path, ""))
			text.WriteString(line)
			if slices.ContainsFunc(ranges, mapping.Range.Overlaps) {
				own.WriteString(line)
			}
		}
		fmt.Fprintln(&own, said)
		fmt.Fprintln(&text, said)
		if all = append(all, text.String()); run == 0 {
			windows = own.String()
		}
		s.goOn()
	}
	s.end()
	return all, windows
}

// tmpmap is the name of a file that Wine's server shares with its clients.
var tmpmap = regexp.MustCompile(`/server-[0-9a-f-]+/tmpmap-[0-9a-f]+`)
