package test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/wine"
)

// A machine is what a program is built for, and how it is run: the rows of docs/address-space.md are tested on each.
type machine struct {
	// name is that of the subtests.
	name string
	// compiler is mingw-w64's, as Debian names it.
	compiler string
	// arch is the machine of the programs.
	arch pe.Machine
	// kind is that of newRuntimeBox; empty for the host's Wine.
	kind string
}

// machines are those of the tests of the rows. The first is also that of all other tests.
var machines = []machine{
	{"amd64", "x86_64-w64-mingw32-gcc", pe.MachineAMD64, ""},
	{"386", "i686-w64-mingw32-gcc", pe.MachineI386, "i386"},
	{"386-wow64", "i686-w64-mingw32-gcc", pe.MachineI386, "new"},
}

// newBox makes a box whose launches use the machine's runtime.
func (m machine) newBox(t *testing.T) *box {
	t.Helper()
	var b *box
	if m.kind == "" {
		b = newBox(t)
	} else {
		b = newRuntimeBox(t, m.kind)
	}
	if os.Getenv(plainWine) != "" {
		b.plain = m.plain(t)
	}
	return b
}

// onEach runs a test on each machine.
func onEach(t *testing.T, test func(t *testing.T, m machine)) {
	t.Parallel()
	for _, m := range machines {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			test(t, m)
		})
	}
}

// wide says whether the programs are 64-bit ones.
func (m machine) wide() bool { return m.arch == pe.MachineAMD64 }

// process is the machine of the Linux process.
func (m machine) process() pe.Machine {
	if m.kind == "new" {
		return pe.MachineAMD64
	}
	return m.arch
}

// linked gives the flags that link a program at a base, without relocations.
func linked(base uint64) string { return fmt.Sprintf("-Wl,--image-base,%#x", base) + fixed }

// space compiles pe/space.c with further flags.
func (m machine) space(t *testing.T, name string, flags ...string) string {
	t.Helper()
	return m.build(t, "space-"+name+".exe", "space", append([]string{"-lpsapi"}, flags...)...)
}

// plan plans the address space of a program as winbox does.
func (m machine) plan(t *testing.T, file string) *preload.Layout {
	t.Helper()
	image, closer, err := pe.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	name := m.kind
	if name == "" {
		name = "host"
	}
	runtime, err := wine.OpenStore(runtimesRoot()).Select(name, m.arch.Arch())
	if err != nil {
		t.Fatal(err)
	}
	opt, err := runtime.PlanOptions(m.arch.Arch())
	if err != nil {
		t.Fatal(err)
	}
	layout, err := preload.Plan(image, opt)
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

// A space is a running program of pe/space.c.
type space struct {
	*call
	machine machine
	// file is the program's, plan what is planned for it.
	file string
	plan *preload.Layout
	// stdin lets it go on.
	stdin io.WriteCloser
	// pid is that of its process.
	pid int
}

// start starts a program of pe/space.c with commands, and waits until it waits: see facts.
func (m machine) start(t *testing.T, file string, commands ...string) (*space, facts) {
	t.Helper()
	return m.startIn(m.newBox(t), nil, file, commands...)
}

// startIn does so in a box, with further flags of launch.
func (m machine) startIn(b *box, flags []string, file string, commands ...string) (*space, facts) {
	b.t.Helper()
	s := &space{call: b.launch(append(append(flags, file), commands...)...), machine: m, file: file, plan: m.plan(b.t, file)}
	s.stdin = s.follow()
	f := s.facts()
	s.pid = having(b.t, b.processes(), file)
	return s, f
}

// having gives the process, of some, that has mapped a file of this name.
func having(t *testing.T, pids []int, file string) (found int) {
	t.Helper()
	for _, pid := range pids {
		maps, err := mapsOf(pid)
		if err != nil {
			t.Error(err)
		}
		if slices.ContainsFunc(maps, func(m preload.Mapping) bool { return filepath.Base(m.Path) == filepath.Base(file) }) {
			if found != 0 {
				t.Fatalf("processes %d and %d have both mapped %s", found, pid, file)
			}
			found = pid
		}
	}
	if found == 0 {
		t.Fatalf("no process of the container has mapped %s", file)
	}
	return found
}

// facts are what a program of pe/space.c has said: the numbers of each line, by its first words.
type facts map[string][][]uint64

// facts reads what the program says until it waits or ends.
func (s *space) facts() facts {
	s.box.t.Helper()
	f := facts{}
	for {
		line := s.line()
		if line == "ready" {
			return f
		}
		f.add(s.box.t, line)
	}
}

// add notes a line: words, then numbers, which are hexadecimal.
func (f facts) add(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	n := len(words)
	var numbers []uint64
	for ; n > 1; n-- {
		number, err := strconv.ParseUint(words[n-1], 16, 64)
		if err != nil {
			break
		}
		numbers = append(numbers, number)
	}
	slices.Reverse(numbers)
	name := strings.Join(words[:n], " ")
	f[name] = append(f[name], numbers)
}

// one gives the numbers of the only line of this name.
func (f facts) one(t *testing.T, name string, numbers int) []uint64 {
	t.Helper()
	if len(f[name]) != 1 || len(f[name][0]) != numbers {
		t.Fatalf("the program said %s %x, want one line of %d numbers", name, f[name], numbers)
	}
	return f[name][0]
}

// goOn lets the program carry out its further commands.
func (s *space) goOn() {
	s.box.t.Helper()
	if _, err := s.stdin.Write([]byte("\n")); err != nil {
		s.box.t.Fatal(err)
	}
}

// end lets the program end, which must be in good order.
func (s *space) end() {
	s.box.t.Helper()
	if err := s.stdin.Close(); err != nil {
		s.box.t.Error(err)
	}
	if s.wait(); s.code() != 0 || s.err.Len() > 0 && s.box.plain == nil {
		s.box.t.Errorf("%s: exit code %d\n%s", s, s.code(), s.err.String())
	}
}

// maps reads the memory map of the process.
func (s *space) maps() []preload.Mapping {
	s.box.t.Helper()
	maps, err := mapsOf(s.pid)
	if err != nil {
		s.box.t.Fatal(err)
	}
	return maps
}

// audit wants that no region of the plan is broken.
func (s *space) audit() {
	s.box.t.Helper()
	for _, f := range preload.Audit(s.plan, s.maps(), s.file) {
		switch hole := strings.HasSuffix(f.Detail, " not reserved") || strings.HasSuffix(f.Detail, " not filled"); {
		case f.Verdict != preload.Broken:
		case hole && s.box.plain != nil: // nobody has promised otherwise
			s.box.t.Logf("%s (%s): %s", f.Region.Name, f.Region.Range, f.Detail)
		default:
			s.box.t.Errorf("%s (%s): %s", f.Region.Name, f.Region.Range, f.Detail)
		}
	}
}

// region gives the region of the plan that an address is in.
func (s *space) region(address uint64) preload.Region {
	for _, r := range s.plan.Regions {
		if r.Range.Contains(preload.Range{Start: address, End: address + 1}) {
			return r
		}
	}
	return preload.Region{Name: "nothing"}
}

// windows wants that a range is where the plan has place for what Windows programs allocate.
func (s *space) windows(what string, start, end uint64) {
	s.box.t.Helper()
	if start == 0 || end <= start || end > s.plan.ProgramLimit {
		s.box.t.Errorf("%s at %x-%x, above %#x or nowhere", what, start, end, s.plan.ProgramLimit)
	}
	for _, r := range s.plan.Regions {
		if r.Range.Overlaps(preload.Range{Start: start, End: end}) && (r.State == preload.StateNative || r.State == preload.StateUnmapped) {
			s.box.t.Errorf("%s at %x-%x, which is left to %s (%s)", what, start, end, r.Name, r.Range)
		}
	}
}

// freeMemory is MEM_FREE of VirtualQuery.
const freeMemory = 0x10000

// A view is a region as VirtualQuery has it.
type view struct {
	preload.Range
	allocation, state, protection, kind uint64
}

func (v view) String() string {
	return fmt.Sprintf("%s of %x, state %x, protection %x, type %x", v.Range, v.allocation, v.state, v.protection, v.kind)
}

// views are what the command query has said.
func (f facts) views(t *testing.T) []view {
	t.Helper()
	var views []view
	for _, n := range f["region"] {
		if len(n) != 6 {
			t.Fatalf("region %x, want six numbers", n)
		}
		views = append(views, view{preload.Range{Start: n[0], End: n[0] + n[1]}, n[2], n[3], n[4], n[5]})
	}
	if len(views) == 0 {
		t.Fatal("the program has said nothing of its regions")
	}
	return views
}

// at gives the view that an address is in.
func at(views []view, address uint64) view {
	for _, v := range views {
		if v.Contains(preload.Range{Start: address, End: address + 1}) {
			return v
		}
	}
	return view{}
}

// dispatcher is Wine's page after shared user data, which leads to its system calls.
var dispatcher = preload.Range{Start: 0x7ffe1000, End: 0x7ffe2000}

// dosArea is made accessible by a 32-bit Wine, to hide bugs of old programs (dlls/ntdll/unix/virtual.c, virtual_init).
var dosArea = preload.Range{Start: 0x10000, End: 0x110000}

// foreign wants that nobody but Windows has memory in the ranges that are reserved for it: whatever can be accessed
// there, the program finds with VirtualQuery, but for Wine's own tables.
func (s *space) foreign(views []view) {
	s.box.t.Helper()
	for _, r := range s.plan.Reservations() {
		for _, m := range s.maps() {
			if !m.Range.Overlaps(r) || m.Perms == "---p" || m.Range == dispatcher || m.Range == dosArea {
				continue
			}
			if at := s.region(m.Range.Start); at.Kind == preload.KindSharedHeap || strings.Contains(at.Name, "engine's tables") {
				continue
			}
			for _, v := range views {
				if v.state == freeMemory && v.Overlaps(m.Range) && v.Overlaps(r) {
					s.box.t.Errorf("foreign memory: %s %s %q, where VirtualQuery says that %s is free", m.Range, m.Perms, m.Path, v.Range)
				}
			}
		}
	}
}

// private counts the bytes of a range that are no longer the file's but the process's own.
func (s *space) private(r preload.Range) (bytes uint64) {
	s.box.t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", s.pid))
	if err != nil {
		s.box.t.Fatal(err)
	}
	defer f.Close()
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var start, end, kilobytes uint64
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &start, &end); n == 2 {
			inside = r.Contains(preload.Range{Start: start, End: end})
		} else if n, _ := fmt.Sscanf(lines.Text(), "Anonymous: %d kB", &kilobytes); n == 1 && inside {
			bytes += kilobytes << 10
		}
	}
	return bytes
}

// builtins checks Wine's own libraries in the process, as far as they are mapped to run, and gives their number. Each must
// be at the base that its file names, and no page may be the process's own but those that Wine or the library itself writes
// to: data, tables of exports (Wine takes some out of those of 32-bit ones), and the addresses of what is imported.
func (s *space) builtins() (n int) {
	t := s.box.t
	t.Helper()
	pages, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	defer pages.Close()
	for _, mapping := range s.maps() {
		if mapping.Offset != 0 || mapping.Inode == 0 || mapping.Perms[3] != 'p' || !strings.HasSuffix(filepath.Dir(mapping.Path), "-windows") {
			continue
		}
		path := mapping.Path
		if s.box.plain == nil { // else it is in the tests' own mount namespace
			path = fmt.Sprintf("/proc/%d/root%s", s.pid, path)
		}
		image, closer, err := pe.OpenFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		closer.Close()
		n++
		base := mapping.Range.Start
		switch {
		case base == image.ImageBase:
		case s.box.plain != nil && image.DLLCharacteristics&pe.DynamicBase != 0: // Wine 9 and later move it
			continue
		default:
			t.Errorf("%s is at %#x, its base is %#x", mapping.Path, base, image.ImageBase)
			continue
		}
		if s.machine.kind == "" && filepath.Base(path) == "zlib1.dll" {
			continue // mingw-w64's, as Debian has it: not laid out to be mapped
		}
		const exports, importedAddresses = 0, 12 // data directories
		written := []pe.Directory{image.Directories[exports], image.Directories[importedAddresses]}
		for _, section := range image.Sections {
			if section.Flags&pe.SectionWrite != 0 {
				continue
			}
			for rva := section.VirtualAddress; rva < section.VirtualAddress+section.VirtualSize; rva += 4096 {
				if slices.ContainsFunc(written, func(d pe.Directory) bool { return rva+4096 > d.RVA && rva < d.RVA+d.Size }) {
					continue
				}
				var entry [8]byte
				if _, err := pages.ReadAt(entry[:], int64((base+uint64(rva))/4096*8)); err != nil {
					t.Fatal(err)
				}
				// Documentation/admin-guide/mm/pagemap.rst: bit 63 is "present", bit 61 "of a file or shared".
				if entry[7]&0x80 != 0 && entry[7]&0x20 == 0 {
					t.Errorf("%s: the page %#x of %s is private", mapping.Path, rva, section.Name)
				}
			}
		}
	}
	return n
}
