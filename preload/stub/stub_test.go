// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"winbox/preload"
	"winbox/preload/pe"
)

// The constants of preloader.c and stub.h that tests check against.
const (
	pageSize     = 4096
	userTop      = 0x7ffffffff000
	defaultLimit = 0x7fffffff0000
	stackRoom    = 10 << 20 // 9 MiB, and up to 1 MiB from rounding
)

type span struct{ start, end uint64 }

var defaultRanges = []span{{0x10000, 0x68000000}, {0x7f000000, 0x7fff0000}, {0x7ffffe000000, 0x7fffffff0000}}

func encodeLayout(limit uint64, ranges ...span) []byte {
	b := append([]byte("WBLAYT01"), make([]byte, 16)...)
	binary.LittleEndian.PutUint64(b[8:], limit)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(ranges)))
	for _, r := range ranges {
		b = binary.LittleEndian.AppendUint64(b, r.start)
		b = binary.LittleEndian.AppendUint64(b, r.end)
	}
	return b
}

// run says how a program is started. The zero value starts it directly.
type run struct {
	preloader  string // path of the preloader, or empty for a direct start
	layout     []byte // content of the layout file; nil means that there is none
	fixed      bool   // without address randomisation
	unlimited  bool   // with an unlimited stack, which makes the kernel map upward
	env        []string
	environAll bool // env is the whole environment rather than an addition
}

// command makes a command that runs in a mount namespace of its own, where
// nothing but the layout is in /run.
func (r run) command(t testing.TB, argv ...string) *exec.Cmd {
	t.Helper()
	script := "mount -t tmpfs none /run && mkdir /run/winbox"
	if r.layout != nil {
		path := filepath.Join(t.TempDir(), "layout")
		if err := os.WriteFile(path, r.layout, 0o644); err != nil {
			t.Fatal(err)
		}
		script += " && cp " + path + " " + LayoutPath
	}
	if r.unlimited {
		script += " && ulimit -s unlimited"
	}
	script += ` && exec "$@"`
	args := []string{"-c", script, "sh"}
	if r.fixed {
		args = append(args, "setarch", "x86_64", "-R")
	}
	if r.preloader != "" {
		args = append(args, r.preloader)
	}
	cmd := exec.Command("/bin/sh", append(args, argv...)...)
	cmd.Env = append(os.Environ(), r.env...)
	if r.environAll {
		cmd.Env = r.env
	}
	cmd.SysProcAttr = privateMounts(t)
	return cmd
}

// privateMounts asks for a mount namespace, through a user namespace if need
// be, and skips the test where there is none to be had.
func privateMounts(t testing.TB) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	probe := exec.Command("mount", "-t", "tmpfs", "none", "/run")
	probe.SysProcAttr = attr
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("needs a private mount namespace (root or user namespaces): %v: %s", err, out)
	}
	return attr
}

// preloaderFile writes the embedded preloader to an executable file.
func preloaderFile(t testing.TB) string {
	t.Helper()
	content, err := Preloader("amd64")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "wine64-preloader")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// build compiles a program of testdata, once for each set of flags.
func build(t testing.TB, compiler, name, source string, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath(compiler); err != nil {
		t.Skipf("needs %s: %v", compiler, err)
	}
	path := filepath.Join(t.TempDir(), name)
	args := append([]string{"-O1", "-o", path, filepath.Join("testdata", source)}, flags...)
	if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", compiler, strings.Join(args, " "), err, out)
	}
	return path
}

var probeKinds = []struct {
	name  string
	flags []string
}{
	{"exec", []string{"-no-pie", "-rdynamic"}},
	{"pie", []string{"-pie", "-fPIE", "-rdynamic"}},
	{"sysv-hash", []string{"-pie", "-fPIE", "-rdynamic", "-Wl,--hash-style=sysv"}},
	{"no-symbol", []string{"-pie", "-fPIE", "-DNO_PRELOAD_INFO"}},
	{"static", []string{"-static"}},
	{"static-pie", []string{"-static-pie", "-fPIE"}},
}

// buildProbe compiles the probe; the dynamic kinds come with a library that
// they are linked with and one that they load.
func buildProbe(t testing.TB, kind string) string {
	t.Helper()
	for _, k := range probeKinds {
		if k.name != kind {
			continue
		}
		flags := k.flags
		if !strings.HasPrefix(kind, "static") {
			linked := build(t, "gcc", "liblinked.so", "library.c", "-shared", "-fPIC", `-DNAME="linked"`)
			loaded := build(t, "gcc", "libloaded.so", "library.c", "-shared", "-fPIC", `-DNAME="loaded"`)
			flags = append([]string{"-Wl,--no-as-needed", linked, `-DLIBRARY="` + loaded + `"`}, flags...)
		}
		report := fmt.Sprintf("-DREPORT=%#x", preload.ReportAddress(pe.MachineAMD64))
		return build(t, "gcc", "probe", "probe.c", append([]string{report}, flags...)...)
	}
	t.Fatalf("no such kind of probe: %s", kind)
	return ""
}

type mapping struct {
	span
	rights, name string
}

type auxEntry struct {
	value uint64
	text  string
}

// report is what the probe found out.
type report struct {
	lists    map[string][]string // lines by their first word
	aux      map[string]auxEntry
	auxOrder []string
	early    []mapping // when main began
	late     []mapping // at the end
	reserved []span    // what wine_main_preload_info says
	work     *preload.Report
}

func parseMaps(t testing.TB, lines []string) []mapping {
	t.Helper()
	var maps []mapping
	for _, line := range lines {
		var m mapping
		var offset, device, inode string
		if n, err := fmt.Sscanf(line, "%x-%x %s %s %s %s", &m.start, &m.end, &m.rights, &offset, &device, &inode); n < 6 {
			t.Fatalf("cannot read %q: %v", line, err)
		}
		if fields := strings.Fields(line); len(fields) > 5 {
			m.name = fields[5]
		}
		maps = append(maps, m)
	}
	return maps
}

func parseReport(t testing.TB, out string) *report {
	t.Helper()
	r := &report{lists: map[string][]string{}, aux: map[string]auxEntry{}}
	for line := range strings.Lines(out) {
		key, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		r.lists[key] = append(r.lists[key], rest)
	}
	for _, line := range r.lists["aux"] {
		fields := strings.Fields(line)
		value, err := strconv.ParseUint(fields[1], 16, 64)
		if err != nil {
			t.Fatalf("aux %q: %v", line, err)
		}
		r.auxOrder = append(r.auxOrder, fields[0])
		r.aux[fields[0]] = auxEntry{value, strings.Join(fields[2:], " ")}
	}
	for _, line := range r.lists["reserved"] {
		var s span
		if _, err := fmt.Sscanf(line, "%x-%x", &s.start, &s.end); err != nil {
			t.Fatalf("reserved %q: %v", line, err)
		}
		r.reserved = append(r.reserved, s)
	}
	for _, line := range r.lists["report"] {
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		if r.work, err = preload.ParseReport(b); err != nil {
			t.Error(err)
		}
	}
	r.early, r.late = parseMaps(t, r.lists["map"]), parseMaps(t, r.lists["late"])
	return r
}

// probe runs the probe and reads its report.
func probe(t testing.TB, r run, path string, args ...string) *report {
	t.Helper()
	cmd := r.command(t, append([]string{path}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("probe %+v: %v, want exit status 7\n%s", r, err, stderr.Bytes())
	}
	if stderr.Len() != 0 {
		t.Errorf("standard error: %s", stderr.Bytes())
	}
	return parseReport(t, stdout.String())
}

func TestPreloaderFile(t *testing.T) {
	content, err := Preloader("amd64")
	if err != nil {
		t.Fatal(err)
	}
	if len(content) > 16<<10 {
		t.Errorf("%d bytes, want at most 16 KiB", len(content))
	}
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_X86_64 {
		t.Errorf("%v for %v, want an executable for x86-64", f.Type, f.Machine)
	}
	stack := false
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			if p.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X {
				t.Errorf("segment at %#x is writable and executable", p.Vaddr)
			}
			if p.Vaddr < ZoneStartAMD64 || p.Vaddr+p.Memsz > ZoneEndAMD64 {
				t.Errorf("segment at %#x is outside the preloader's zone", p.Vaddr)
			}
		case elf.PT_GNU_STACK:
			stack = true
			if p.Flags&elf.PF_X != 0 {
				t.Error("asks for an executable stack")
			}
		default:
			t.Errorf("unwanted program header %v", p.Type)
		}
	}
	if !stack {
		t.Error("does not say that its stack is not executable")
	}
	content[0] = 0
	if again, _ := Preloader("amd64"); again[0] != 0x7f {
		t.Error("the caller's copy is not a copy")
	}
}

func TestPreloaderUnknownMachine(t *testing.T) {
	_, err := Preloader("386")
	var machine *MachineError
	if !errors.As(err, &machine) || machine.Machine != "386" {
		t.Errorf("Preloader(386) = %v, want a *MachineError", err)
	}
}

// A program must find what it would have found without the preloader.
func TestSameAsDirect(t *testing.T) {
	preloader := preloaderFile(t)
	for _, kind := range probeKinds {
		t.Run(kind.name, func(t *testing.T) {
			path := buildProbe(t, kind.name)
			env := []string{"FIRST=1", "WINEPRELOADRESERVE=0-0", "EMPTY=", "LAST=x y"}
			args := []string{"one", "", "two words", strings.Repeat("long", 1000)}
			direct := probe(t, run{env: env, environAll: true}, path, args...)
			loaded := probe(t, run{preloader: preloader, env: env, environAll: true}, path, args...)

			for _, key := range []string{"argv", "env", "vdso", "thread", "dlopen", "atexit", "constructor", "destructor", "comm"} {
				if want, got := direct.lists[key], loaded.lists[key]; strings.Join(want, "\n") != strings.Join(got, "\n") {
					t.Errorf("%s: %q, want %q", key, got, want)
				}
			}
			compareAux(t, direct, loaded)
			compareObjects(t, direct, loaded)
			checkPlacement(t, loaded, path)
			if want := kind.name == "exec" || kind.name == "pie" || kind.name == "sysv-hash"; (len(loaded.reserved) > 0) != want {
				t.Errorf("reserved ranges published: %x", loaded.reserved)
			}
		})
	}
}

func compareAux(t *testing.T, direct, loaded *report) {
	t.Helper()
	if strings.Join(direct.auxOrder, " ") != strings.Join(loaded.auxOrder, " ") {
		t.Errorf("auxiliary vector has entries %v, want %v", loaded.auxOrder, direct.auxOrder)
	}
	// Those that are addresses differ: PHDR, BASE, ENTRY, PLATFORM, RANDOM, EXECFN, SYSINFO_EHDR.
	addresses := map[string]bool{"3": true, "7": true, "9": true, "15": true, "25": true, "31": true, "33": true}
	for _, key := range direct.auxOrder {
		want, got := direct.aux[key], loaded.aux[key]
		if want.text != got.text || !addresses[key] && want.value != got.value || (want.value == 0) != (got.value == 0) {
			t.Errorf("auxiliary vector entry %s: %x %q, want %x %q", key, got.value, got.text, want.value, want.text)
		}
	}
}

func compareObjects(t *testing.T, direct, loaded *report) {
	t.Helper()
	names := func(r *report) (names []string) {
		for _, line := range r.lists["object"] {
			fields := strings.Fields(line)
			names = append(names, fields[0]+" "+fields[2])
		}
		return names
	}
	if want, got := names(direct), names(loaded); strings.Join(want, "\n") != strings.Join(got, "\n") {
		t.Errorf("objects %q, want %q", got, want)
	}
}

// checkPlacement checks rights and places of the loader's segments against its file.
func checkPlacement(t *testing.T, r *report, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bias := r.aux["3"].value - f.Progs[0].Vaddr // AT_PHDR; the first program header is PT_PHDR where there is one
	if f.Progs[0].Type != elf.PT_PHDR {
		bias = r.aux["3"].value - 64 - f.Progs[0].Vaddr
	}
	if f.Type == elf.ET_DYN && (bias < ZoneStartAMD64 || bias >= ZoneEndAMD64) {
		t.Errorf("movable program at %#x is outside the preloader's zone", bias)
	}
	if base := r.aux["7"].value; base != 0 && (base < ZoneStartAMD64 || base >= ZoneEndAMD64) {
		t.Errorf("interpreter at %#x is outside the preloader's zone", base)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		// The last byte of a segment: the first pages may have been made read-only after relocation.
		last := bias + p.Vaddr + p.Memsz - 1
		want := []byte("---p")
		for i, flag := range []elf.ProgFlag{elf.PF_R, elf.PF_W, elf.PF_X} {
			if p.Flags&flag != 0 {
				want[i] = "rwx"[i]
			}
		}
		if got := at(r.early, last); got.rights != string(want) {
			t.Errorf("segment at %#x has rights %q, want %q", bias+p.Vaddr, got.rights, want)
		}
	}
	for _, m := range r.early {
		if strings.Contains(m.rights, "wx") {
			t.Errorf("%x-%x %s is writable and executable", m.start, m.end, m.name)
		}
		if m.name == "[heap]" && (m.start < ZoneStartAMD64 || m.end > ZoneEndAMD64) {
			t.Errorf("heap at %x-%x is outside the preloader's zone", m.start, m.end)
		}
	}
}

func at(maps []mapping, address uint64) mapping {
	for _, m := range maps {
		if m.start <= address && address < m.end {
			return m
		}
	}
	return mapping{}
}

// holes returns the parts of a range where nothing is mapped.
func holes(maps []mapping, r span) (free []span) {
	from := r.start
	for _, m := range maps {
		if m.end <= from || m.start >= r.end {
			continue
		}
		if m.start > from {
			free = append(free, span{from, m.start})
		}
		from = m.end
	}
	if from < r.end {
		free = append(free, span{from, r.end})
	}
	return free
}

// checkReserved checks that planned ranges are reserved, but for what the
// kernel put there, and that the rest of the space above the limit is filled.
func checkReserved(t *testing.T, r *report, limit uint64, ranges []span, program string) {
	t.Helper()
	var stack mapping
	for _, m := range r.early {
		if m.name == "[stack]" {
			stack = m
		}
	}
	for _, want := range ranges {
		for _, m := range r.early {
			if m.end <= want.start || m.start >= want.end || m.rights == "---p" && m.name == "" {
				continue
			}
			switch m.name {
			case "[stack]", "[vdso]", "[vvar]", "[vvar_vclock]":
			case program:
			default:
				// The zeroes behind a program that may not move have no name.
				if at(r.early, m.start-1).name != program {
					t.Errorf("%x-%x %s %s sits in the planned range %x-%x", m.start, m.end, m.rights, m.name, want.start, want.end)
				}
			}
		}
	}
	for _, want := range append(ranges, span{limit, userTop}) {
		for _, hole := range holes(r.early, want) {
			if hole.start < stack.start-stackRoom || hole.end > stack.start {
				t.Errorf("hole at %x-%x in %x-%x", hole.start, hole.end, want.start, want.end)
			}
		}
	}
	for _, got := range r.reserved {
		inside := false
		for _, want := range ranges {
			inside = inside || want.start <= got.start && got.end <= want.end
		}
		if !inside {
			t.Errorf("%x-%x is published, but in no planned range", got.start, got.end)
		}
		if m := at(r.early, got.start); m.rights != "---p" || m.start > got.start || m.end < got.end {
			t.Errorf("%x-%x is published, but not reserved: %v", got.start, got.end, m)
		}
	}
}

func TestLayout(t *testing.T) {
	preloader := preloaderFile(t)
	// The second limit has the stack, the vdso and, unless the stack is unlimited, all libraries above it.
	layouts := map[string]struct {
		limit  uint64
		ranges []span
	}{
		"high limit": {defaultLimit, []span{
			{0x10000, 0x7fff0000}, {0x140000000, 0x150000000}, {0x180000000, 0x1a0000000},
			{0x7ff000000000, 0x7ff100000000}, {0x7ffffe000000, 0x7fffffff0000},
		}},
		"low limit": {0x7e0000000000, []span{{0x10000, 0x7fff0000}, {0x100000000, 0x200000000}, {0x7d0000000000, 0x7e0000000000}}},
	}
	runs := 50
	if testing.Short() {
		runs = 5
	}
	for _, kind := range []string{"exec", "pie"} {
		path := buildProbe(t, kind)
		for name, l := range layouts {
			for _, r := range []run{{}, {fixed: true}, {unlimited: true}, {fixed: true, unlimited: true}} {
				t.Run(fmt.Sprintf("%s/%s/fixed=%v/unlimited=%v", kind, name, r.fixed, r.unlimited), func(t *testing.T) {
					r.preloader, r.layout = preloader, encodeLayout(l.limit, l.ranges...)
					var first []span
					for i := range runs {
						got := probe(t, r, path)
						checkReserved(t, got, l.limit, l.ranges, path)
						if got.lists["dlopen"] == nil || got.lists["dlopen"][0] != "1" {
							t.Error("a library cannot be loaded any more")
						}
						if i == 0 {
							first = got.reserved
						} else if r.fixed && fmt.Sprint(got.reserved) != fmt.Sprint(first) {
							t.Errorf("run %d reserved %x, the first one %x", i, got.reserved, first)
						}
						if t.Failed() {
							return
						}
					}
				})
			}
		}
	}
}

func TestDefaultLayout(t *testing.T) {
	path, preloader := buildProbe(t, "pie"), preloaderFile(t)
	for _, fixed := range []bool{false, true} {
		got := probe(t, run{preloader: preloader, fixed: fixed}, path)
		checkReserved(t, got, defaultLimit, defaultRanges, path)
		if want := defaultRanges[:2]; len(got.reserved) != 3 || fmt.Sprint(got.reserved[:2]) != fmt.Sprint(want) {
			t.Errorf("published %x, want %x and the top", got.reserved, want)
		}
	}
}

// What the preloader tells of its work is what the memory map shows.
func TestReport(t *testing.T) {
	preloader := preloaderFile(t)
	ranges := []span{{0x10000, 0x20000}, {0x30000, 0x7fff0000}, {0x140000000, 0x150000000}}
	const limit = 0x7e0000000000
	for _, kind := range []string{"exec", "pie", "static"} {
		t.Run(kind, func(t *testing.T) {
			path := buildProbe(t, kind)
			r := run{preloader: preloader, layout: encodeLayout(limit, ranges...), fixed: true}
			got := probe(t, r, path)
			if got.work == nil {
				t.Fatal("no report")
			}
			want, holes := uint64(0), uint64(3)
			for _, r := range ranges {
				want += r.end - r.start
			}
			if kind != "pie" { // the program itself sits in the second range, and splits it
				holes++
				for _, m := range got.early {
					if m.start < ranges[1].end && m.rights != "---p" {
						want -= m.end - m.start
					}
				}
			}
			if r := got.work.Reserve; r.Holes != holes || r.Bytes != want || r.Calls < r.Holes || r.Time == 0 {
				t.Errorf("first stage %+v, want %d holes of %d bytes", r, holes, want)
			}
			filled, pieces := uint64(0), uint64(0)
			for _, m := range got.early {
				if m.start >= limit && m.rights == "---p" && m.name == "" {
					filled += m.end - m.start
					pieces++
				}
			}
			if f := got.work.Fill; f.Bytes != filled || f.Holes != pieces || pieces < 2 || f.Calls < f.Holes || f.Time == 0 {
				t.Errorf("second stage %+v, want %d holes of %d bytes", f, pieces, filled)
			}
			if w := got.work; !w.Filled || w.Limit != limit || w.SharedHeap != (preload.Range{}) {
				t.Errorf("report %+v", w)
			}
		})
	}
	if got := probe(t, run{}, buildProbe(t, "pie")); got.work != nil {
		t.Errorf("a report without a preloader: %+v", got.work)
	}
}

func TestImageRange(t *testing.T) {
	path, preloader := buildProbe(t, "pie"), preloaderFile(t)
	low, top := defaultRanges[0], defaultRanges[1]
	for value, want := range map[string][]span{
		"000400000-000410000":               {low, top}, // as Wine writes it; inside a range
		"140000000-140123456":               {low, top, {0x140000000, 0x140124000}},
		"67fff000-68010800":                 {{low.start, 0x68011000}, top},
		"68000000-7f000000":                 {{low.start, top.end}},
		"8000-20000000000":                  {{0x8000, 0x20000000000}},
		"0-0":                               {low, top},
		"200000000-100000000":               {low, top},
		"ffffffffffff0000-0":                {low, top},
		"7FFFFFFFFFFF0000-7fffffffffffffff": {low, top},
	} {
		got := probe(t, run{preloader: preloader, env: []string{"WINEPRELOADRESERVE=" + value}}, path)
		if len(got.reserved) != len(want)+1 || fmt.Sprint(got.reserved[:len(want)]) != fmt.Sprint(want) {
			t.Errorf("WINEPRELOADRESERVE=%s: published %x, want %x and the top", value, got.reserved, want)
		}
	}
}

// refused runs the preloader and checks that it gives up with one clear line that names the subject.
func refused(t *testing.T, r run, subject string, argv ...string) {
	t.Helper()
	cmd := r.command(t, argv...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1", err)
	}
	line := stderr.String()
	if !strings.HasPrefix(line, "winbox preloader: "+subject+" ") || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Errorf("standard error %q, want one line on %s", line, subject)
	}
	t.Log(strings.TrimSpace(line))
}

func TestMalformedLayout(t *testing.T) {
	good := encodeLayout(defaultLimit, span{0x10000, 0x20000}, span{0x30000, 0x40000})
	changed := func(offset int, b byte) []byte {
		c := bytes.Clone(good)
		c[offset] = b
		return c
	}
	many := make([]span, 255)
	for i := range many {
		many[i] = span{uint64(2*i+16) * pageSize, uint64(2*i+17) * pageSize}
	}
	preloader := preloaderFile(t)
	for name, layout := range map[string][]byte{
		"empty":               {},
		"short header":        good[:23],
		"magic":               changed(0, 'w'),
		"version":             changed(7, '2'),
		"flags":               changed(20, 1),
		"count too high":      changed(16, 3),
		"count too low":       changed(16, 1),
		"count huge":          changed(19, 0xff),
		"trailing byte":       append(bytes.Clone(good), 0),
		"too many ranges":     encodeLayout(defaultLimit, many...),
		"limit zero":          encodeLayout(0),
		"limit not a page":    encodeLayout(defaultLimit + 1),
		"limit in the kernel": encodeLayout(1 << 63),
		"start not a page":    changed(24, 1),
		"end not a page":      changed(32, 1),
		"empty range":         encodeLayout(defaultLimit, span{0x10000, 0x10000}),
		"reversed range":      encodeLayout(defaultLimit, span{0x20000, 0x10000}),
		"overlapping ranges":  encodeLayout(defaultLimit, span{0x10000, 0x30000}, span{0x20000, 0x40000}),
		"descending ranges":   encodeLayout(defaultLimit, span{0x30000, 0x40000}, span{0x10000, 0x20000}),
		"range above limit":   encodeLayout(0x100000000, span{0xffff0000, 0x100001000}),
		"range above the top": encodeLayout(userTop, span{0x10000, 0xfffffffffffff000}),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, run{preloader: preloader, layout: layout}, LayoutPath, "/bin/true")
		})
	}
	t.Run("most ranges", func(t *testing.T) {
		path := buildProbe(t, "pie")
		got := probe(t, run{preloader: preloader, layout: encodeLayout(defaultLimit, many[:254]...)}, path)
		if len(got.reserved) != 254 {
			t.Errorf("%d ranges published, want 254", len(got.reserved))
		}
		got = probe(t, run{preloader: preloader, layout: encodeLayout(defaultLimit)}, path)
		if len(got.reserved) != 0 {
			t.Errorf("published %x of an empty plan", got.reserved)
		}
	})
	for _, value := range []string{"", "-", "1", "1-", "-1", "g-h", "1-2-3", "0x1-0x2", " 1-2"} {
		t.Run("WINEPRELOADRESERVE="+value, func(t *testing.T) {
			refused(t, run{preloader: preloader, env: []string{"WINEPRELOADRESERVE=" + value}}, "WINEPRELOADRESERVE", "/bin/true")
		})
	}
}

// Offsets in the ELF header and in a program header.
const (
	ehType, ehMachine, ehEntry, ehPhoff, ehPhentsize, ehPhnum = 16, 18, 24, 32, 54, 56
	phType, phFlags, phOffset, phVaddr, phFilesz, phMemsz     = 0, 4, 8, 16, 32, 40
	phAlign, phSize                                           = 48, 56
)

func TestMalformedLoader(t *testing.T) {
	preloader := preloaderFile(t)
	good, err := os.ReadFile(buildProbe(t, "pie"))
	if err != nil {
		t.Fatal(err)
	}
	fixed, err := os.ReadFile(buildProbe(t, "exec"))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	headers := int(le.Uint64(good[ehPhoff:]))
	// header returns where the nth program header of a type is; both probes have theirs in the same order.
	header := func(kind elf.ProgType, n int) int {
		for at := headers; ; at += phSize {
			if elf.ProgType(le.Uint32(good[at:])) == kind {
				if n--; n < 0 {
					return at
				}
			}
		}
	}
	load0, load1, interp := header(elf.PT_LOAD, 0), header(elf.PT_LOAD, 1), header(elf.PT_INTERP, 0)
	edit := func(base []byte, change func(b []byte)) []byte {
		b := bytes.Clone(base)
		change(b)
		return b
	}
	put64 := func(offset int, value uint64) []byte {
		return edit(good, func(b []byte) { le.PutUint64(b[offset:], value) })
	}
	put16 := func(offset int, value uint16) []byte {
		return edit(good, func(b []byte) { le.PutUint16(b[offset:], value) })
	}
	moveFixed := func(to uint64) []byte {
		return edit(fixed, func(b []byte) {
			first := le.Uint64(b[load0+phVaddr:])
			for n := range 4 {
				at := header(elf.PT_LOAD, n) + phVaddr
				le.PutUint64(b[at:], le.Uint64(b[at:])-first+to)
			}
			le.PutUint64(b[ehEntry:], le.Uint64(b[ehEntry:])-first+to)
		})
	}
	for name, content := range map[string][]byte{
		"empty":              {},
		"text":               []byte("#!/bin/sh\nexit 0\n" + strings.Repeat(" ", 64)),
		"only magic":         good[:4],
		"half a header":      good[:63],
		"no program headers": good[:64],
		"cut short":          good[:len(good)/3],
		"PE":                 append([]byte("MZ\x90\x00"), make([]byte, 4096)...),
		"32 bits":            edit(good, func(b []byte) { b[4] = 1 }),
		"big endian":         edit(good, func(b []byte) { b[5] = 2 }),
		"ELF version":        edit(good, func(b []byte) { b[6] = 9 }),
		"other machine":      put16(ehMachine, 183),
		"object file":        put16(ehType, 1),
		"core file":          put16(ehType, 4),
		"phentsize":          put16(ehPhentsize, 32),
		"phnum zero":         put16(ehPhnum, 0),
		"phnum 65":           put16(ehPhnum, 65),
		"phnum extended":     put16(ehPhnum, 0xffff),
		"phoff past the end": put64(ehPhoff, uint64(len(good))),
		"phoff negative":     put64(ehPhoff, 1<<63),
		"headers not loaded": edit(append(bytes.Clone(good), good[headers:headers+int(le.Uint16(good[ehPhnum:]))*phSize]...), func(b []byte) { le.PutUint64(b[ehPhoff:], uint64(len(good))) }),
		"no load segment": edit(good, func(b []byte) {
			for n := range 4 {
				le.PutUint32(b[header(elf.PT_LOAD, n):], 0)
			}
		}),
		"file above memory":    put64(load0+phMemsz, 1),
		"offset past the end":  put64(load0+phOffset, 1<<40),
		"size wraps":           put64(load0+phFilesz, ^uint64(0)),
		"memory wraps":         put64(load0+phMemsz, ^uint64(0)),
		"kernel address":       put64(load1+phVaddr, 0xffffffff80001000),
		"off its page":         put64(load1+phVaddr, le.Uint64(good[load1+phVaddr:])+8),
		"alignment 3":          put64(load0+phAlign, 3),
		"alignment huge":       put64(load0+phAlign, 1<<40),
		"overlap":              put64(load1+phVaddr, le.Uint64(good[load1+phVaddr:])-pageSize),
		"entry outside":        put64(ehEntry, 0x100000),
		"entry not code":       put64(ehEntry, 0x10),
		"interpreter empty":    put64(interp+phFilesz, 1),
		"interpreter long":     put64(interp+phFilesz, 4097),
		"interpreter past end": put64(interp+phOffset, uint64(len(good))),
		"interpreter endless":  edit(good, func(b []byte) { b[le.Uint64(b[interp+phOffset:])+le.Uint64(b[interp+phFilesz:])-1] = 'x' }),
		"spans everything":     put64(header(elf.PT_LOAD, 3)+phMemsz, 0x7f0000000000),
		"over the preloader":   moveFixed(ZoneStartAMD64 + 0x10100000),
		"over the stack":       moveFixed(0x7ffffffe0000),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "loader")
			if err := os.WriteFile(path, content, 0o755); err != nil {
				t.Fatal(err)
			}
			refused(t, run{preloader: preloader, fixed: true}, path, path)
		})
	}
	for name, change := range map[string]string{"missing": "/lib64/no-such-interpreter", "not ELF": "/etc/passwd"} {
		t.Run("interpreter "+name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "loader")
			content := edit(good, func(b []byte) {
				at := le.Uint64(b[interp+phOffset:])
				copy(b[at:at+le.Uint64(b[interp+phFilesz:])], change+"\x00")
				le.PutUint64(b[interp+phFilesz:], uint64(len(change)+1))
			})
			if err := os.WriteFile(path, content, 0o755); err != nil {
				t.Fatal(err)
			}
			refused(t, run{preloader: preloader}, change, path)
		})
	}
	dir := t.TempDir()
	fifo, loop := filepath.Join(dir, "fifo"), filepath.Join(dir, "loop")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "missing"), dir, fifo, loop, "/dev/null", "/dev/null/x"} {
		t.Run(path, func(t *testing.T) { refused(t, run{preloader: preloader}, path, path) })
	}
	t.Run("no loader", func(t *testing.T) { refused(t, run{preloader: preloader}, "usage:") })
}

// A symbol table that makes no sense must not lead the preloader astray.
func TestBrokenSymbolTable(t *testing.T) {
	// Without copy relocations the dynamic linker needs nothing from the table of this program.
	good := build(t, "gcc", "probe", "probe.c", "-pie", "-fPIC", "-rdynamic")
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(good)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := f.Section(".gnu.hash")
	preloader := preloaderFile(t)
	for _, garbage := range []byte{0x00, 0x01, 0x7f, 0xff} {
		t.Run(fmt.Sprintf("%#x", garbage), func(t *testing.T) {
			broken := bytes.Clone(content)
			hash := broken[table.Offset:][:table.Size]
			filter := 16 + 8*int(binary.LittleEndian.Uint32(hash[8:]))
			clear(hash[16:filter]) // the dynamic linker looks no further
			for i := filter; i < len(hash); i++ {
				hash[i] = garbage
			}
			path := filepath.Join(t.TempDir(), "probe")
			if err := os.WriteFile(path, broken, 0o755); err != nil {
				t.Fatal(err)
			}
			if got := probe(t, run{preloader: preloader}, path); len(got.reserved) != 0 {
				t.Errorf("published %x through a broken table", got.reserved)
			}
		})
	}
}

// ps and the like show the loader and its arguments.
func TestProcessName(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(preloaderFile(t), sleep, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for range 1000 {
		time.Sleep(time.Millisecond)
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if string(comm) != "sleep\n" {
			continue // the preloader is not done yet
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimRight(string(line), "\x00"); got != sleep+"\x0060" {
			t.Errorf("command line %q", got)
		}
		return
	}
	t.Error("the process never took the loader's name")
}
