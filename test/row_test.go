package test

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/stub"
)

// TestRow1OwnSpace runs two programs at the same addresses, each of which must have them for itself.
func TestRow1OwnSpace(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		file := m.space(t, "own", linked(0x400000))
		b := m.newBox(t)
		// Both write to the image at the same address; the child first, the parent after it.
		s, f := m.startIn(b, nil, file, "poke=400080:c0de", "peek=400080", "wait", "peek=400080", "query", "modules", "blocks", "status", "wait")
		if f.one(t, "poke", 2)[1] == 0 {
			t.Error("the header of the image is writable")
		}
		s.goOn()
		f = s.facts()
		views, end := f.views(t), f.one(t, "regions", 2)[1]
		if want := s.plan.ProgramLimit; end != want {
			t.Errorf("the space ends at %#x, want %#x", end, want)
		}
		if status := f.one(t, "status", 4); status[0] < end-0x100000 || status[0] > end || status[3] != end-1 {
			t.Errorf("GlobalMemoryStatusEx and GetSystemInfo: %x, want %#x bytes up to that", status, end)
		}
		if at(views, 0x400000).allocation != 0x400000 {
			t.Errorf("VirtualQuery at 0x400000: %s", at(views, 0x400000))
		}
		exe, err := elf.Open(fmt.Sprintf("/proc/%d/exe", s.pid))
		if err != nil {
			t.Fatal(err)
		}
		defer exe.Close()
		want := elf.ELFCLASS64
		if m.process() == pe.MachineI386 {
			want = elf.ELFCLASS32
		}
		if exe.Class != want {
			t.Errorf("the process is %s, want %s", exe.Class, want)
		}
		maps := s.maps()
		if top := maps[len(maps)-1].Range.End; want == elf.ELFCLASS32 && top > 1<<32 || want == elf.ELFCLASS64 && top < 1<<32 {
			t.Errorf("the process has addresses up to %#x", top)
		}
		for name, numbers := range f {
			if strings.HasSuffix(name, " module") && !m.wide() && numbers[0][0] >= 1<<32 {
				t.Errorf("%s at %#x", name, numbers[0][0])
			}
		}
		s.audit()
		s.end()
	})
}

// TestRow2MainModule runs programs at several bases, with and without relocations, and a large one.
func TestRow2MainModule(t *testing.T) {
	const large = 0x60000000
	onEach(t, func(t *testing.T, m machine) {
		for _, test := range []struct {
			name  string
			base  uint64
			size  uint64 // at least
			flags []string
			wide  bool // for 64-bit programs only
		}{
			{"usual", 0x400000, 0, []string{linked(0x400000)}, false},
			{"relocatable", 0x400000, 0, []string{"-Wl,--image-base,0x400000"}, false},
			{"low", 0x10000, 0, []string{linked(0x10000)}, false},
			{"library's place", 0x10000000, 0, []string{linked(0x10000000)}, false},
			{"high", 0x60000000, 0, []string{linked(0x60000000)}, false},
			{"large", 0x400000, large, []string{linked(0x400000), fmt.Sprintf("-DBIG=%#x", large)}, false},
			{"large, relocatable", 0x400000, large, []string{"-Wl,--image-base,0x400000", fmt.Sprintf("-DBIG=%#x", large)}, false},
			{"above 4 GiB", 0x140000000, 0, []string{linked(0x140000000)}, true},
			{"at the top", 0x7ff000000000, 0, []string{linked(0x7ff000000000)}, true},
		} {
			if test.wide && !m.wide() {
				continue
			}
			t.Run(test.name, func(t *testing.T) {
				s, f := m.start(t, m.space(t, "main-"+strings.ReplaceAll(test.name, " ", "-"), test.flags...), "image", "query", "wait")
				image := f.one(t, "image", 3)
				if image[0] != test.base || image[1] < test.size || image[2] != 1 {
					t.Errorf("the program says that it is at %x, %x bytes, and that its addresses are right: %d", image[0], image[1], image[2])
				}
				// Of all of it, VirtualQuery says that it is one image (MEM_IMAGE).
				views := f.views(t)
				for address := test.base; address < test.base+image[1]; address = at(views, address).End {
					if v := at(views, address); v.allocation != test.base || v.kind != 0x1000000 {
						t.Fatalf("VirtualQuery at %#x: %s", address, v)
					}
				}
				s.audit()
				s.end()
			})
		}
	})
}

// TestRow3ProcessHeap checks where the process heap is at the start, and that it grows into Windows' ranges only.
func TestRow3ProcessHeap(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		s, f := m.start(t, m.space(t, "heap"), "heap", "query", "wait", "grow=256", "heap", "query", "wait")
		before := f.one(t, "heap", 5)
		handle, regions := before[0], f["heapregion"]
		if r := s.region(handle); r.Range.End > 1<<31 || !slices.ContainsFunc(s.plan.Reservations(), func(r preload.Range) bool { return r.Contains(preload.Range{Start: handle, End: handle + 1}) }) {
			t.Errorf("the heap is at %#x, in %s (%s), want reserved memory below 2 GiB", handle, r.Name, r.Range)
		}
		if len(regions) == 0 || regions[0][0] != handle || before[1] == 0 || before[4] != 259 { // ERROR_NO_MORE_ITEMS
			t.Errorf("HeapWalk: %x, regions %x", before, regions)
		}
		s.goOn()
		f = s.facts()
		grown, after := f.one(t, "grown", 3), f.one(t, "heap", 5)
		if grown[0] < 256<<20 {
			t.Errorf("the heap grew by %d bytes only", grown[0])
		}
		if after[0] != handle || after[1] <= before[1] {
			t.Errorf("the heap was at %#x with %d blocks, and is at %#x with %d", handle, before[1], after[0], after[1])
		}
		s.windows("what was allocated", grown[1], grown[2])
		for _, r := range f["heapregion"] {
			s.windows("a region of the heap", r[0], r[0]+r[1]+r[2])
		}
		s.foreign(f.views(t))
		s.audit()
		s.end()
	})
}

// TestRow4Stack checks that the stack is a new one of the size that the program asks for, and what comes of using it up.
func TestRow4Stack(t *testing.T) {
	onEach(t, testStack)
	t.Run("amd64 on a built runtime", func(t *testing.T) {
		t.Parallel()
		m := machines[0]
		m.kind = "i386"
		testStack(t, m)
	})
}

func testStack(t *testing.T, m machine) {
	for _, size := range []uint64{64 << 10, 1 << 20, 64 << 20, 512 << 20} {
		t.Run(preload.FormatSize(size), func(t *testing.T) {
			file := m.space(t, fmt.Sprintf("stack-%d", size>>10), fmt.Sprintf("-Wl,--stack,%d", size))
			s, f := m.start(t, file, "stack", "query", "wait", "overflow", "stack", "wait")
			stack := f.one(t, "stack", 4)
			start, limit, end, used := stack[0], stack[1], stack[2], stack[3]
			want := size
			if m.kind == "" { // a Wine that nobody has changed gives at least 1 MiB
				want = max(size, 1<<20)
			}
			if end-start != want || s.plan.StackSize != want {
				t.Errorf("a stack of %s, planned were %s", preload.FormatSize(end-start), preload.FormatSize(s.plan.StackSize))
			}
			if used < limit || used >= end || limit <= start {
				t.Errorf("stack %x", stack)
			}
			s.windows("the stack", start, end)
			for _, m := range s.maps() {
				if m.Range.Overlaps(preload.Range{Start: start, End: end}) && m.Path != "" {
					t.Errorf("%q at %s is in the stack %x-%x", m.Path, m.Range, start, end)
				}
			}
			views := f.views(t)
			if v := at(views, used); v.allocation != start {
				t.Errorf("VirtualQuery in the stack: %s", v)
			}
			s.audit()
			s.goOn()
			f = s.facts()
			for _, name := range []string{"overflow-thread", "overflow"} {
				if len(f[name]) != 2 {
					t.Errorf("%s: %x, want two", name, f[name])
				}
				for _, n := range f[name] {
					// EXCEPTION_STACK_OVERFLOW, at the lower end of that very stack.
					if n[0] != 0xc00000fd || n[1] < n[2] || n[1] > n[2]+64<<10 || n[3] != 1 {
						t.Errorf("%s: %x", name, n)
					}
				}
			}
			if got := f["overflow"][0][2]; got != start {
				t.Errorf("the overflow was in the stack at %#x, not at %#x", got, start)
			}
			s.end()
		})
	}
}

// TestRow5Libraries loads libraries that want bases of their own, and two that want the same.
func TestRow5Libraries(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		same, other := uint64(0x10000000), uint64(0x20000000)
		if m.wide() {
			same, other = 0x180000000, 0x190000000
		}
		b := m.newBox(t)
		words := []string{}
		for _, library := range []struct {
			name string
			base uint64
		}{{"first", same}, {"other", other}, {"second", same}} {
			// Aligned to pages in the file as well: only then can it be shared at all.
			file := m.build(t, library.name+".dll", "library", "-shared", "-nostdlib",
				fmt.Sprintf("-Wl,--entry,0,--image-base,%#x,--file-alignment,4096,--disable-dynamicbase", library.base))
			writeFile(t, b.dir, library.name+".dll", []byte(readFile(t, file)))
			words = append(words, "load="+library.name+".dll")
		}
		words = append(words, "load=user32.dll", "load=ole32.dll", "load=ws2_32.dll")
		s, f := m.startIn(b, nil, m.space(t, "libraries"), append(words, "wait")...)
		loaded := f["loaded"]
		if len(loaded) != 6 || loaded[0][0] != same || loaded[1][0] != other || loaded[2][0] == same || loaded[2][0] == 0 {
			t.Fatalf("loaded: %x, want %x, %x and elsewhere", loaded, same, other)
		}
		for i, want := range []uint64{0, 0, 4096} {
			r := preload.Range{Start: loaded[i][0], End: loaded[i][0] + loaded[i][1]}
			s.windows(words[i], r.Start, r.End)
			if got := s.private(r); got != want {
				t.Errorf("%s at %s: %d bytes are private, want %d", words[i], r, got, want)
			}
		}
		// Wine's as well: each is where its file says, and no page of it was relocated.
		if n := s.builtins(); n < 6 {
			t.Errorf("only %d of Wine's libraries are mapped", n)
		}
		if b.plain == nil {
			b.checkMoved("second.dll", "first.dll")
		}
		s.audit()
		s.end()
	})
}

// TestRow6SharedHeap has one process write to the shared heap of its container, and another read it.
func TestRow6SharedHeap(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		const start, word, end = 0x80000000, 0x80abc000, 0x81000000
		file := m.space(t, "shared-heap")
		b := m.newBox(t)
		if m.wide() { // has none
			s, f := m.startIn(b, nil, file, "peek=80000000", "wait")
			if got := f.one(t, "peek", 3); got[1] != 0xc0000005 {
				t.Errorf("a 64-bit program reads at 0x80000000: %x", got)
			}
			s.end()
			return
		}
		child := filepath.Base(writeFile(t, b.dir, "child.exe", []byte(readFile(t, file))))
		poke := func(at uint64) string { return fmt.Sprintf("poke=%x:cafe", at) }
		peek := func(at uint64) string { return fmt.Sprintf("peek=%x", at) }
		s, f := m.startIn(b, nil, file, poke(start), poke(word), poke(end-4), "start="+child, peek(start), peek(word), peek(end-4), peek(word+4), "wait")
		if len(f["poke"]) != 3 || len(f["peek"]) != 4 {
			t.Fatalf("the programs said %x", f)
		}
		for _, n := range f["poke"] {
			if n[1] != 0 {
				t.Errorf("writing at %#x gives exception %x", n[0], n[1])
			}
		}
		for i, want := range []uint64{0xcafe, 0xcafe, 0xcafe, 0} {
			if n := f["peek"][i]; n[1] != 0 || n[2] != want {
				t.Errorf("reading at %#x gives %x, exception %x, want %x", n[0], n[2], n[1], want)
			}
		}
		inodes := make(map[uint64]bool)
		for _, pid := range []int{s.pid, having(t, b.processes(), child)} {
			maps, err := mapsOf(pid)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(maps, func(m preload.Mapping) bool { return m.Range == preload.Range{Start: start, End: end} })
			if i < 0 || maps[i].Perms[3] != 's' {
				t.Fatalf("process %d has no shared memory from %#x to %#x", pid, start, end)
			}
			inodes[maps[i].Inode] = true
		}
		if len(inodes) != 1 {
			t.Errorf("the processes share different files: %v", inodes)
		}
		s.audit()
		s.end()
		for _, test := range []struct {
			flag string
			end  uint64
		}{{"0", start}, {"1m", start + 1<<20}} {
			s, _ := m.startIn(m.newBox(t), []string{"--shared-heap", test.flag}, file, "wait")
			got := preload.Range{Start: start, End: start}
			for _, mapping := range s.maps() {
				if mapping.Range.Start == start && mapping.Perms[3] == 's' {
					got = mapping.Range
				}
			}
			if got.End != test.end {
				t.Errorf("--shared-heap %s: shared memory is at %s", test.flag, got)
			}
			s.end()
		}
	})
}

// TestRow7Bottom checks that null pointers fault, and that nothing is mapped there.
func TestRow7Bottom(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		s, f := m.start(t, m.space(t, "bottom"), "null", "wait")
		if len(f["null"]) != 8 {
			t.Errorf("null: %x, want eight", f["null"])
		}
		for _, n := range f["null"] {
			// EXCEPTION_ACCESS_VIOLATION, at the address, for what was tried.
			if n[2] != 0xc0000005 || n[3] != n[0] || n[4] != n[1] {
				t.Errorf("access to %#x, write: %d: exception %x at %#x, write: %d", n[0], n[1], n[2], n[3], n[4])
			}
		}
		if lowest := f.one(t, "lowest", 3); lowest[0] != 0 || lowest[1] < 64<<10 || lowest[2] != freeMemory {
			t.Errorf("VirtualQuery(0): %x", lowest)
		}
		if first := s.maps()[0]; first.Range.Start < 64<<10 {
			t.Errorf("%s is mapped", first.Range)
		}
		s.audit()
		s.end()
	})
}

// TestRow8DOSArea checks that no native code and no hole is between 64 KiB and 1 MiB + 64 KiB.
func TestRow8DOSArea(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		s, f := m.start(t, m.space(t, "dos"), "query", "wait")
		next := dosArea.Start
		for _, mapping := range s.maps() {
			if !mapping.Range.Overlaps(dosArea) {
				continue
			}
			if mapping.Range.Start > next {
				t.Errorf("%x-%x is not reserved", next, mapping.Range.Start)
			}
			if mapping.Native() {
				t.Errorf("%s has %s", mapping.Range, mapping.Path)
			}
			next = mapping.Range.End
		}
		if next < dosArea.End {
			t.Errorf("%x-%x is not reserved", next, dosArea.End)
		}
		s.foreign(f.views(t))
		s.end()
	})
}

// TestRow9MagicPlaces checks shared user data, and that all native code and memory is outside the ranges that are
// Windows'.
func TestRow9MagicPlaces(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		s, f := m.start(t, m.space(t, "magic"), "shareddata", "peek=7ffe0000", "poke=7ffe0000:1", "blocks", "query", "wait")
		if data := f.one(t, "shareddata", 3); data[0] != 10 || data[1] != 1 || data[2] != 'C' {
			t.Errorf("shared user data: version %d, ticks: %d, drive %c", data[0], data[1], rune(data[2]))
		}
		if peek, poke := f.one(t, "peek", 3), f.one(t, "poke", 2); peek[1] != 0 || poke[1] != 0xc0000005 {
			t.Errorf("shared user data: reading gives exception %x, writing %x", peek[1], poke[1])
		}
		for i, what := range []string{"the TEB", "the PEB"} {
			start := f.one(t, "blocks", 2)[i]
			s.windows(what, start, start+0x1000)
		}
		n := 0
		for _, mapping := range s.maps() {
			if !mapping.Native() {
				continue
			}
			n++
			for _, r := range s.plan.Reservations() {
				if mapping.Range.Overlaps(r) {
					t.Errorf("%s at %s is in the range %s", mapping.Path, mapping.Range, r)
				}
			}
		}
		if n < 10 {
			t.Errorf("only %d native mappings found", n)
		}
		s.foreign(f.views(t))
		s.audit()
		s.end()
	})
}

// TestRow11Prelinked gives a process a native library that is linked at an address that Windows programs want.
func TestRow11Prelinked(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		const wanted = 0x10000000
		dir := newDir(t)
		library := filepath.Join(dir, "prelinked.so")
		source := writeFile(t, dir, "prelinked.c", []byte("int prelinked = 1;\n"))
		flag := "-m64"
		if m.process() == pe.MachineI386 {
			flag = "-m32"
		}
		cmd := exec.Command("gcc", flag, "-shared", "-nostdlib", "-o", library, source, fmt.Sprintf("-Wl,-Ttext-segment=%#x", wanted))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		// Up to glibc 2.36, ld.so heeds such an address only if told to.
		b := m.newBox(t)
		flags := []string{"--mount", library + ":/tmp/prelinked.so:ro", "--env", "LD_USE_LOAD_BIAS=1", "--env", "LD_PRELOAD=/tmp/prelinked.so"}
		if b.plain != nil {
			flags = []string{"--env", "LD_USE_LOAD_BIAS=1", "--env", "LD_PRELOAD=" + library}
		}
		s, f := m.startIn(b, flags, m.space(t, "prelinked", linked(wanted)), "image", "query", "wait")
		if image := f.one(t, "image", 3); image[0] != wanted || image[2] != 1 {
			t.Errorf("the program is at %x", image[0])
		}
		found := false
		for _, mapping := range s.maps() {
			if filepath.Base(mapping.Path) != "prelinked.so" {
				continue
			}
			found = true
			if r := s.region(mapping.Range.Start); r.State != preload.StateNative && r.State != preload.StateFree {
				t.Errorf("%s is at %s, in %s", mapping.Path, mapping.Range, r.Name)
			}
		}
		if !found {
			t.Error("the native library is not loaded")
		}
		s.foreign(f.views(t))
		s.audit()
		// The dynamic linkers of processes of the other kind say that the library is not for them.
		if err := s.stdin.Close(); err != nil {
			t.Error(err)
		}
		if s.wait(); s.code() != 0 {
			t.Errorf("exit code %d\n%s", s.code(), s.err.String())
		}
	})
}

// TestRow12Limit lets programs allocate until nothing is left.
func TestRow12Limit(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		for _, aware := range []bool{false, true} {
			if m.wide() && !aware {
				continue // such 64-bit programs have 2 GiB on Windows and all under Wine, and nobody has any
			}
			name, flags := "not large-address-aware", []string(nil)
			if aware {
				name = "large-address-aware"
			}
			if aware && !m.wide() {
				flags = []string{"-Wl,--large-address-aware"}
			}
			t.Run(name, func(t *testing.T) {
				s, f := m.start(t, m.space(t, strings.ReplaceAll(name, " ", "-"), flags...), "take=up", "take=down", "query", "wait")
				least, most := uint64(1)<<30, uint64(0x7fff0000)
				switch {
				case m.wide():
					least, most = 64<<30, 0x7fffffff0000
				case aware:
					least, most = 2<<30, s.plan.ProgramLimit
				}
				if s.plan.ProgramLimit != most {
					t.Errorf("the plan's limit is %#x, want %#x", s.plan.ProgramLimit, most)
				}
				if len(f["taken"]) != 2 {
					t.Fatalf("taken: %x", f["taken"])
				}
				for i, direction := range []string{"from below", "from above"} {
					n := f["taken"][i]
					t.Logf("%s: %s, %#x to %#x", direction, preload.FormatSize(n[0]), n[1], n[2])
					if n[0] < least || n[2] > most {
						t.Errorf("%s: got %s in all, the highest below %#x; want at least %s, none above %#x", direction, preload.FormatSize(n[0]), n[2], preload.FormatSize(least), most)
					}
				}
				for _, v := range f.views(t) {
					if v.state != freeMemory && v.End > most {
						t.Errorf("VirtualQuery: %s, above the limit %#x", v, most)
					}
				}
				s.audit()
				s.end()
			})
		}
	})
}

// TestRow13Preloader checks that the preloader needs no library, and that the dynamic linker finds the ranges taken.
func TestRow13Preloader(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		program, err := stub.Preloader(m.process().Arch())
		if err != nil {
			t.Fatal(err)
		}
		image, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range image.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC || p.Type == elf.PT_TLS {
				t.Errorf("the preloader has %s", p.Type)
			}
		}
		strace, err := exec.LookPath("strace")
		if err != nil {
			t.Skip("needs strace, to see the order of system calls")
		}
		b := m.newBox(t)
		if b.plain != nil {
			return
		}
		file := m.space(t, "preloader", linked(0x400000))
		trace := filepath.Join(newDir(t), "trace")
		c := b.launch(file, "image")
		c.Args = append([]string{"strace", "-f", "-o", trace, "-e", "trace=execve,mmap,mmap2,openat,open", c.Path}, c.Args[1:]...)
		c.Path = strace
		if c.wait(); c.code() != 0 {
			t.Fatalf("exit code %d\n%s", c.code(), c.err.String())
		}
		// The last execve of the process that has the program as its argument is that of the preloader.
		process, done := "", false
		var taken []preload.Range
		started := regexp.MustCompile(`^(\d+) +execve\("[^"]*", \[.*` + regexp.QuoteMeta(filepath.Base(file)) + `"`)
		mapped := regexp.MustCompile(`^(\d+) +mmap2?\(0x([0-9a-f]+), (\d+), .*MAP_FIXED_NOREPLACE.* = 0x([0-9a-f]+)$`)
		opened := regexp.MustCompile(`^(\d+) +open(?:at)?\(.*(?:ld\.so\.cache|libc\.so\.6)`)
		for line := range strings.Lines(readFile(t, trace)) {
			line = strings.TrimSpace(line)
			if found := started.FindStringSubmatch(line); found != nil && !strings.Contains(line, "winbox") {
				process, taken = found[1], nil
			} else if found := mapped.FindStringSubmatch(line); found != nil && found[1] == process && found[2] == found[4] {
				start, _ := strconv.ParseUint(found[2], 16, 64)
				size, _ := strconv.ParseUint(found[3], 10, 64)
				taken = append(taken, preload.Range{Start: start, End: start + size})
			} else if found := opened.FindStringSubmatch(line); found != nil && found[1] == process {
				done = true
				break
			}
		}
		if !done {
			t.Error("the dynamic linker was not seen to begin")
		}
		slices.SortFunc(taken, func(a, b preload.Range) int { return cmp.Compare(a.Start, b.Start) })
		for _, r := range m.plan(t, file).Reservations() {
			next := r.Start
			for _, piece := range taken {
				if piece.Start <= next && piece.End > next {
					next = piece.End
				}
			}
			if next < r.End {
				t.Errorf("when the dynamic linker began, %x-%x of %s was free", next, r.End, r)
			}
		}
	})
}

// TestRow14Filler checks that nothing is free above the limit, and that native code can load libraries nevertheless.
func TestRow14Filler(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) { m.loadLate(t, "filler") })
}

// TestRow14Legacy does so where the kernel searches from below, with and without large addresses: the engine must not hand
// anything back there. Of one that does, a program that is to be started strictly is refused. The setting is the host's:
// no other test may run meanwhile, and it is put back.
func TestRow14Legacy(t *testing.T) {
	const setting = "vm/legacy_va_layout"
	before := readFile(t, sysctl(setting))
	t.Cleanup(func() { set(t, setting, before) })
	set(t, setting, "1")
	t.Run("machines", func(t *testing.T) { // ends when its parallel subtests have
		for _, m := range machines {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				m.loadLate(t, "legacy")
				if !m.wide() {
					m.loadLate(t, "legacy-aware", "-Wl,--large-address-aware")
				}
			})
		}
	})
	m := machines[1]
	b, name := m.newBox(t), m.kind
	if b.plain != nil {
		return
	}
	strict := m.space(t, "legacy-strict")
	if c := b.launch("--strict", strict, "image").wait(); c.code() != 0 || c.err.Len() > 0 {
		t.Errorf("%s: exit code %d, %s", c, c.code(), c.err.String())
	}
	// The same runtime, but for what its record says.
	data := filepath.Join(b.dir, "data")
	real, err := filepath.EvalSymlinks(filepath.Join(runtimesRoot(), "runtimes", name))
	if err != nil {
		t.Fatal(err)
	}
	record, tree := readFile(t, filepath.Join(real, "runtime.json")), filepath.Base(real)
	writeFile(t, data, filepath.Join("runtimes", tree, "runtime.json"), []byte(strings.Replace(record, `"keepsReserved": true`, `"keepsReserved": false`, 1)))
	for link, to := range map[string]string{"../templates": filepath.Join(runtimesRoot(), "templates"), filepath.Join(tree, "root"): filepath.Join(real, "root"), name: tree} {
		if err := os.Symlink(to, filepath.Join(data, "runtimes", link)); err != nil {
			t.Fatal(err)
		}
	}
	b.env = []string{"WINBOX_DATA=" + data}
	if c := b.launch("--strict", strict, "image").wait(); !strings.Contains(c.wantLine(126), "vm.legacy_va_layout is 1") {
		t.Errorf("with an engine that hands memory back, --strict says %q", c.err.String())
	}
}

// loadLate has a program load libraries when it has long been running, whose native parts must stay out of its memory.
func (m machine) loadLate(t *testing.T, name string, flags ...string) {
	t.Helper()
	s, _ := m.start(t, m.space(t, name, flags...), "wait", "load=ws2_32.dll", "load=secur32.dll", "load=dnsapi.dll", "load=crypt32.dll", "query", "wait")
	libraries := func() []string {
		var names []string
		for _, mapping := range s.maps() {
			if mapping.Native() && strings.HasSuffix(mapping.Path, ".so") && !slices.Contains(names, mapping.Path) {
				names = append(names, mapping.Path)
			}
		}
		return names
	}
	before := libraries()
	s.audit()
	s.goOn()
	f := s.facts()
	for _, n := range f["loaded"] {
		if n[0] == 0 {
			t.Errorf("a library could not be loaded: error %d", n[1])
		}
	}
	if after := libraries(); len(after) <= len(before) {
		t.Errorf("no native library was loaded: %q", after)
	}
	for _, mapping := range s.maps() {
		if r := s.region(mapping.Range.Start); mapping.Native() && mapping.Path != "[vsyscall]" && r.State != preload.StateNative && r.State != preload.StateFree && r.State != preload.StateFilled {
			t.Errorf("%s at %s is in %s", mapping.Path, mapping.Range, r.Name)
		}
	}
	s.foreign(f.views(t))
	s.audit()
	s.end()
}

// TestRow15Churn takes and gives back memory near 2 GiB again and again.
func TestRow15Churn(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		s, f := m.start(t, m.space(t, "churn"), "churn=1", "query", "wait", "churn=1000", "query", "wait")
		viewsBefore, mapsBefore := f.views(t), s.maps()
		s.goOn()
		f = s.facts()
		n := f.one(t, "churned", 4)
		if n[0] != 1000 || n[1] != 0 || n[2] < 0x70000000 || n[3] > 0x7fff0000 {
			t.Errorf("%d rounds, %d failures, between %#x and %#x", n[0], n[1], n[2], n[3])
		}
		if views := f.views(t); !slices.Equal(views, viewsBefore) {
			t.Errorf("VirtualQuery said before: %s\nand after: %s", viewsBefore, views)
		}
		if maps := s.maps(); !slices.Equal(maps, mapsBefore) {
			t.Errorf("memory map before: %v\nand after: %v", mapsBefore, maps)
		}
		s.foreign(f.views(t))
		s.audit()
		s.end()
	})
}

// TestRow16Children starts programs of each machine from programs of each machine.
func TestRow16Children(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		for _, child := range machines {
			m := m
			switch { // one Wine runs both
			case m.wide():
				m.kind = child.kind
			case child.wide():
				child.kind = m.kind
			case m.kind != child.kind:
				continue
			}
			t.Run("to "+child.name, func(t *testing.T) {
				b := m.newBox(t)
				parent := m.space(t, "parent", linked(0x400000))
				file := child.space(t, "child", linked(0x10000000))
				name := "child-" + child.arch.Arch() + ".exe"
				copied := writeFile(t, b.dir, name, []byte(readFile(t, file)))
				c := b.launch(parent, "image", "start="+name, "image", "heap", "stack", "null", "query", "wait")
				s := &space{call: c, machine: child, file: copied, plan: child.plan(t, file)}
				s.stdin = s.follow()
				f := s.facts()
				if images := f["image"]; len(images) != 2 || images[0][0] != 0x400000 || images[1][0] != 0x10000000 {
					t.Errorf("parent and child are at %x", images)
				}
				s.pid = having(t, b.processes(), copied)
				s.windows("the heap", f.one(t, "heap", 5)[0], f.one(t, "heap", 5)[3])
				s.windows("the stack", f.one(t, "stack", 4)[0], f.one(t, "stack", 4)[2])
				s.foreign(f.views(t))
				s.audit()
				p := &space{call: c, machine: m, file: parent, plan: m.plan(t, parent), pid: having(t, b.processes(), parent)}
				p.audit()
				s.end()
			})
		}
	})
}
