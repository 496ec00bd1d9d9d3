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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"winbox/preload"
	"winbox/preload/pe"
)

const (
	pageSize  = 4096
	stackRoom = 10 << 20 // 9 MiB, and up to 1 MiB from rounding (preloader.c)
)

// span is a range of addresses, end exclusive. In a layout file the lowest bits of start say what is done with it.
type span struct{ start, end uint64 }

func fill(start, end uint64) span  { return span{start | uint64(preload.TakeFill), end} }
func share(start, end uint64) span { return span{start | uint64(preload.TakeShare), end} }

// machine has the constants of stub.h for one machine, and where ELF files of its kind have their fields.
type machine struct {
	name          string
	elf           elf.Machine
	pe            pe.Machine
	compile       string // the flag of gcc
	zone          span
	userTop       uint64
	defaultLimit  uint64
	defaultRanges []span
	defaultFill   span
	word          int
	// Offsets in the ELF header and in a program header, and their sizes.
	ehEntry, ehPhoff, ehPhentsize, ehPhnum, ehSize                 int
	phFlags, phOffset, phVaddr, phFilesz, phMemsz, phAlign, phSize int
}

var amd64 = machine{
	name: "amd64", elf: elf.EM_X86_64, pe: pe.MachineAMD64, compile: "-m64", zone: span{ZoneStartAMD64, ZoneEndAMD64},
	userTop: 0x7ffffffff000, defaultLimit: 0x7fffffff0000,
	defaultRanges: []span{{0x10000, 0x68000000}, {0x7f000000, 0x7fff0000}, {0x7ffffe000000, 0x7fffffff0000}},
	defaultFill:   span{0x7fffffff0000, 0x7ffffffff000},
	word:          8, ehEntry: 24, ehPhoff: 32, ehPhentsize: 54, ehPhnum: 56, ehSize: 64,
	phFlags: 4, phOffset: 8, phVaddr: 16, phFilesz: 32, phMemsz: 40, phAlign: 48, phSize: 56,
}

var i386 = machine{
	name: "386", elf: elf.EM_386, pe: pe.MachineI386, compile: "-m32", zone: span{ZoneStartI386, ZoneEndI386},
	userTop: 0xffffe000, defaultLimit: 0xc0000000,
	defaultRanges: []span{{0x10000, 0x68000000}, {0x7f000000, 0x82000000}},
	defaultFill:   span{0xc0000000, 0xe0000000},
	word:          4, ehEntry: 24, ehPhoff: 28, ehPhentsize: 42, ehPhnum: 44, ehSize: 52,
	phFlags: 24, phOffset: 4, phVaddr: 8, phFilesz: 16, phMemsz: 20, phAlign: 28, phSize: 32,
}

// Offsets that both machines have at the same place.
const ehType, ehMachine, phType = 16, 18, 0

// forMachines runs a test for each machine.
func forMachines(t *testing.T, test func(t *testing.T, m *machine)) {
	for _, m := range []*machine{&amd64, &i386} {
		t.Run(m.name, func(t *testing.T) { test(t, m) })
	}
}

// put writes a field of the machine's word size.
func (m *machine) put(b []byte, offset int, value uint64) {
	if m.word == 8 {
		binary.LittleEndian.PutUint64(b[offset:], value)
	} else {
		binary.LittleEndian.PutUint32(b[offset:], uint32(value))
	}
}

// get reads one.
func (m *machine) get(b []byte, offset int) uint64 {
	if m.word == 8 {
		return binary.LittleEndian.Uint64(b[offset:])
	}
	return uint64(binary.LittleEndian.Uint32(b[offset:]))
}

// layout encodes a plan that reserves ranges and fills what is above the limit.
func (m *machine) layout(limit uint64, ranges ...span) []byte {
	return encodeLayout(limit, append(slices.Clone(ranges), fill(limit, m.userTop))...)
}

func encodeLayout(limit uint64, ranges ...span) []byte {
	b := append([]byte("WBLAYT02"), make([]byte, 16)...)
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
	machine    *machine
	preloader  string // path of the preloader, or empty for a direct start
	layout     []byte // content of the layout file; nil means that there is none
	fixed      bool   // without address randomisation
	unlimited  bool   // with an unlimited stack, which makes the kernel map from the middle of the address space
	legacy     bool   // with the layout of old kernels, which maps upward from a third of the address space
	before     string // a command for the shell, in the mount namespace
	env        []string
	environAll bool // env is the whole environment rather than an addition
}

// command makes a command that runs in a mount namespace of its own, where
// nothing but the layout is in /run.
func (r run) command(t testing.TB, argv ...string) *exec.Cmd {
	t.Helper()
	script := "mount -t tmpfs none /run && mkdir -p " + SharedDir
	if r.layout != nil {
		path := filepath.Join(t.TempDir(), "layout")
		if err := os.WriteFile(path, r.layout, 0o644); err != nil {
			t.Fatal(err)
		}
		script += " && cp " + path + " " + LayoutPath(r.machine.name)
	}
	if r.unlimited {
		script += " && ulimit -s unlimited"
	}
	if r.before != "" {
		script += " && " + r.before
	}
	script += ` && exec "$@"`
	args := []string{"-c", script, "sh"}
	if r.fixed || r.legacy {
		// In one go: setarch takes back what it is not asked for.
		args = append(args, "setarch", "x86_64")
		if r.fixed {
			args = append(args, "-R")
		}
		if r.legacy {
			args = append(args, "-L")
		}
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
func preloaderFile(t testing.TB, m *machine) string {
	t.Helper()
	content, err := Preloader(m.name)
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
func buildProbe(t testing.TB, m *machine, kind string) string {
	t.Helper()
	for _, k := range probeKinds {
		if k.name != kind {
			continue
		}
		flags := k.flags
		if !strings.HasPrefix(kind, "static") {
			linked := build(t, "gcc", "liblinked.so", "library.c", m.compile, "-shared", "-fPIC", `-DNAME="linked"`)
			loaded := build(t, "gcc", "libloaded.so", "library.c", m.compile, "-shared", "-fPIC", `-DNAME="loaded"`)
			flags = append([]string{"-Wl,--no-as-needed", linked, `-DLIBRARY="` + loaded + `"`}, flags...)
		}
		report := reportFlag(m)
		return build(t, "gcc", "probe", "probe.c", append([]string{m.compile, report}, flags...)...)
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
	stack    uint64 // an address on the stack
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
	for _, line := range r.lists["stack"] {
		if _, err := fmt.Sscanf(line, "%x", &r.stack); err != nil {
			t.Fatalf("stack %q: %v", line, err)
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

func TestPreloaderFile(t *testing.T) { forMachines(t, testPreloaderFile) }

func testPreloaderFile(t *testing.T, m *machine) {
	content, err := Preloader(m.name)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) > 20<<10 {
		t.Errorf("%d bytes, want at most 20 KiB", len(content))
	}
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC || f.Machine != m.elf {
		t.Errorf("%v for %v, want an executable for %v", f.Type, f.Machine, m.elf)
	}
	stack, report := false, false
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			if p.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X {
				t.Errorf("segment at %#x is writable and executable", p.Vaddr)
			}
			if p.Vaddr < m.zone.start || p.Vaddr+p.Memsz > m.zone.end {
				t.Errorf("segment at %#x is outside the preloader's zone", p.Vaddr)
			}
			report = report || p.Vaddr == preload.ReportAddress(m.pe) && p.Memsz >= preload.ReportSize
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
	if !report {
		t.Errorf("no segment has its report at %#x", preload.ReportAddress(m.pe))
	}
	content[0] = 0
	if again, _ := Preloader(m.name); again[0] != 0x7f {
		t.Error("the caller's copy is not a copy")
	}
}

func TestPreloaderUnknownMachine(t *testing.T) {
	_, err := Preloader("arm64")
	var machine *MachineError
	if !errors.As(err, &machine) || machine.Machine != "arm64" {
		t.Errorf("Preloader(arm64) = %v, want a *MachineError", err)
	}
}

// A program must find what it would have found without the preloader.
func TestSameAsDirect(t *testing.T) { forMachines(t, testSameAsDirect) }

func testSameAsDirect(t *testing.T, m *machine) {
	preloader := preloaderFile(t, m)
	for _, kind := range probeKinds {
		t.Run(kind.name, func(t *testing.T) {
			path := buildProbe(t, m, kind.name)
			env := []string{"FIRST=1", "WINEPRELOADRESERVE=0-0", "EMPTY=", "LAST=x y"}
			args := []string{"one", "", "two words", strings.Repeat("long", 1000)}
			direct := probe(t, run{machine: m, env: env, environAll: true}, path, args...)
			loaded := probe(t, run{machine: m, preloader: preloader, env: env, environAll: true}, path, args...)

			for _, key := range []string{"argv", "env", "vdso", "thread", "dlopen", "atexit", "constructor", "destructor", "comm"} {
				if want, got := direct.lists[key], loaded.lists[key]; strings.Join(want, "\n") != strings.Join(got, "\n") {
					t.Errorf("%s: %q, want %q", key, got, want)
				}
			}
			compareAux(t, direct, loaded)
			compareObjects(t, direct, loaded)
			checkPlacement(t, m, loaded, path)
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
	// Those that are addresses differ: PHDR, BASE, ENTRY, PLATFORM, RANDOM, EXECFN, SYSINFO, SYSINFO_EHDR.
	addresses := map[string]bool{"3": true, "7": true, "9": true, "15": true, "25": true, "31": true, "32": true, "33": true}
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
func checkPlacement(t *testing.T, m *machine, r *report, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bias := r.aux["3"].value - f.Progs[0].Vaddr // AT_PHDR; the first program header is PT_PHDR where there is one
	if f.Progs[0].Type != elf.PT_PHDR {
		bias = r.aux["3"].value - uint64(m.ehSize) - f.Progs[0].Vaddr
	}
	if f.Type == elf.ET_DYN && (bias < m.zone.start || bias >= m.zone.end) {
		t.Errorf("movable program at %#x is outside the preloader's zone", bias)
	}
	if base := r.aux["7"].value; base != 0 && (base < m.zone.start || base >= m.zone.end) {
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
	for _, mapping := range r.early {
		if strings.Contains(mapping.rights, "wx") {
			t.Errorf("%x-%x %s is writable and executable", mapping.start, mapping.end, mapping.name)
		}
		if mapping.name == "[heap]" && (mapping.start < m.zone.start || mapping.end > m.zone.end) {
			t.Errorf("heap at %x-%x is outside the preloader's zone", mapping.start, mapping.end)
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
func checkReserved(t *testing.T, r *report, filled span, ranges []span, program string) {
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
	for _, want := range append(slices.Clone(ranges), filled) {
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

func TestLayout(t *testing.T) { forMachines(t, testLayout) }

func testLayout(t *testing.T, m *machine) {
	preloader := preloaderFile(t, m)
	// The second limit has the stack and, as far as the kernel maps from the top, the vdso and all libraries above it.
	layouts := map[string]struct {
		limit  uint64
		ranges []span
	}{
		"high limit": {amd64.defaultLimit, []span{
			{0x10000, 0x7fff0000}, {0x140000000, 0x150000000}, {0x180000000, 0x1a0000000},
			{0x7ff000000000, 0x7ff100000000}, {0x7ffffe000000, 0x7fffffff0000},
		}},
		"low limit": {0x7e0000000000, []span{{0x10000, 0x7fff0000}, {0x100000000, 0x200000000}, {0x7d0000000000, 0x7e0000000000}}},
	}
	if m.word == 4 {
		layouts = map[string]struct {
			limit  uint64
			ranges []span
		}{
			"high limit": {0xff000000, []span{{0x10000, 0x7c000000}, {0x90000000, 0xa0000000}, {0xf0000000, 0xf1000000}}},
			"low limit":  {0xc0000000, []span{{0x10000, 0x60000000}, {0x7f000000, 0xc0000000}}},
		}
	}
	runs := 25
	if testing.Short() {
		runs = 5
	}
	for _, kind := range []string{"exec", "pie"} {
		path := buildProbe(t, m, kind)
		for name, l := range layouts {
			for _, r := range []run{{}, {fixed: true}, {unlimited: true}, {fixed: true, unlimited: true}} {
				t.Run(fmt.Sprintf("%s/%s/fixed=%v/unlimited=%v", kind, name, r.fixed, r.unlimited), func(t *testing.T) {
					r.machine, r.preloader, r.layout = m, preloader, m.layout(l.limit, l.ranges...)
					var first []span
					for i := range runs {
						got := probe(t, r, path)
						checkReserved(t, got, span{l.limit, m.userTop}, l.ranges, path)
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

// What package preload plans is the same for every way in which the kernel lays processes out: the planned ranges are
// whole, native code is in its pool and the preloader's zone, and more of it can be loaded.
func TestPlan(t *testing.T) { forMachines(t, testPlan) }

func testPlan(t *testing.T, m *machine) {
	preloader := preloaderFile(t, m)
	plan, err := preload.PlanChildren(m.pe, preload.Options{SharedHeap: preload.NoSharedHeap})
	if err != nil {
		t.Fatal(err)
	}
	layout, err := plan.MarshalStub()
	if err != nil {
		t.Fatal(err)
	}
	var ranges, native []span
	var filled span
	for _, r := range plan.StubRanges() {
		switch s := (span{r.Range.Start, r.Range.End}); r.Take {
		case preload.TakeReserve:
			ranges = append(ranges, s)
		case preload.TakeFill:
			filled = s
		case preload.TakePool, preload.TakeStack:
			native = append(native, s)
		}
	}
	native = append(native, m.zone)
	if m.word == 8 {
		native = append(native, filled) // what shares the highest addresses with the stack
	}
	within := func(mapping mapping) bool {
		return slices.ContainsFunc(native, func(s span) bool { return s.start <= mapping.start && mapping.end <= s.end })
	}
	runs := 20
	if testing.Short() {
		runs = 2
	}
	path := buildProbe(t, m, "pie")
	for _, fixed := range []bool{true, false} {
		for name, r := range map[string]run{
			"default": {}, "unlimited": {unlimited: true}, "legacy": {legacy: true}, "unlimited-legacy": {unlimited: true, legacy: true},
		} {
			t.Run(fmt.Sprintf("%s/fixed=%v", name, fixed), func(t *testing.T) {
				r.machine, r.preloader, r.layout, r.fixed = m, preloader, layout, fixed
				for range runs {
					got := probe(t, r, path)
					checkReserved(t, got, filled, ranges, path)
					// A stack at random can be in the highest range.
					if fmt.Sprint(got.reserved) != fmt.Sprint(ranges) && (fixed || m.word == 4) {
						t.Errorf("reserved %x, want %x", got.reserved, ranges)
					}
					for _, mapping := range got.early {
						if mapping.rights != "---p" && mapping.name != "[stack]" && mapping.name != "[vsyscall]" && !within(mapping) {
							t.Errorf("%x-%x %s is in none of %x", mapping.start, mapping.end, mapping.name, native)
						}
					}
					for key, want := range map[string]string{"dlopen": "1", "vdso": "1", "thread": "42"} {
						if got := got.lists[key]; len(got) != 1 || got[0] != want {
							t.Errorf("%s: %q, want %s", key, got, want)
						}
					}
					if m.word == 8 || !r.legacy { // there, the kernel begins with the lowest hole
						checkPool(t, m, got, within)
					}
					if stack := at(got.early, got.stack); m.word == 4 && stack.span != (span{plan.Limit + 0x10000, plan.Limit + 8<<20}) {
						t.Errorf("the program's stack is in %v", stack)
					}
					if t.Failed() {
						return
					}
				}
			})
		}
	}
}

// checkPool checks what the kernel has given to a program that asked for memory until there was no more, or for 1 GiB.
func checkPool(t *testing.T, m *machine, r *report, within func(mapping) bool) {
	t.Helper()
	sum := uint64(0)
	for _, line := range r.lists["pool"] {
		var s span
		if _, err := fmt.Sscanf(line, "%x-%x", &s.start, &s.end); err != nil {
			t.Fatalf("pool %q: %v", line, err)
		}
		// In a 32-bit process it is ntdll that takes the rest, and no ntdll is here.
		if m.word == 8 || within(mapping{span: s}) {
			sum += s.end - s.start
		}
	}
	if sum < 352<<20 {
		t.Errorf("native code gets %d MiB, want at least 352", sum>>20)
	}
}

func TestDefaultLayout(t *testing.T) { forMachines(t, testDefaultLayout) }

func testDefaultLayout(t *testing.T, m *machine) {
	path, preloader := buildProbe(t, m, "pie"), preloaderFile(t, m)
	for _, fixed := range []bool{false, true} {
		got := probe(t, run{machine: m, preloader: preloader, fixed: fixed}, path)
		checkReserved(t, got, m.defaultFill, m.defaultRanges, path)
		// Randomisation puts the stack into the highest range now and then, which makes two of it.
		most := len(m.defaultRanges)
		if !fixed {
			most++
		}
		if want := m.defaultRanges[:2]; len(got.reserved) > most || len(got.reserved) < len(m.defaultRanges) || fmt.Sprint(got.reserved[:2]) != fmt.Sprint(want) {
			t.Errorf("published %x, want %x and no more than %d", got.reserved, want, most)
		}
	}
}

// What the preloader tells of its work is what the memory map shows.
func TestReport(t *testing.T) { forMachines(t, testReport) }

func testReport(t *testing.T, m *machine) {
	preloader := preloaderFile(t, m)
	ranges, limit := []span{{0x10000, 0x20000}, {0x30000, 0x7fff0000}, {0x140000000, 0x150000000}}, uint64(0x7e0000000000)
	if m.word == 4 {
		ranges, limit = []span{{0x10000, 0x20000}, {0x30000, 0x70000000}, {0x80000000, 0x90000000}}, 0xc0000000
	}
	for _, kind := range []string{"exec", "pie", "static"} {
		t.Run(kind, func(t *testing.T) {
			path := buildProbe(t, m, kind)
			r := run{machine: m, preloader: preloader, layout: m.layout(limit, ranges...), fixed: true}
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
			if f := got.work.Fill; f.Bytes != filled || f.Holes != pieces || pieces == 0 || f.Calls < f.Holes || f.Time == 0 {
				t.Errorf("second stage %+v, want %d holes of %d bytes", f, pieces, filled)
			}
			if w := got.work; !w.Filled || w.Limit != limit || w.SharedHeap != (preload.Range{}) {
				t.Errorf("report %+v", w)
			}
		})
	}
	if got := probe(t, run{machine: m}, buildProbe(t, m, "pie")); got.work != nil {
		t.Errorf("a report without a preloader: %+v", got.work)
	}
}

func TestImageRange(t *testing.T) { forMachines(t, testImageRange) }

func testImageRange(t *testing.T, m *machine) {
	path, preloader := buildProbe(t, m, "pie"), preloaderFile(t, m)
	low, top := m.defaultRanges[0], m.defaultRanges[1]
	tests := map[string][]span{
		"000400000-000410000":               {low, top}, // as Wine writes it; inside a range
		"6a000000-6a123456":                 {low, {0x6a000000, 0x6a124000}, top},
		"67fff000-68010800":                 {{low.start, 0x68011000}, top},
		"68000000-69000000":                 {{low.start, 0x69000000}, top},
		"7e000000-7f000000":                 {low, {0x7e000000, top.end}},
		"0-0":                               {low, top},
		"200000000-100000000":               {low, top},
		"ffffffffffff0000-0":                {low, top},
		"7FFFFFFFFFFF0000-7fffffffffffffff": {low, top},
	}
	if m.word == 8 {
		tests["140000000-140123456"] = []span{low, top, {0x140000000, 0x140124000}}
		tests["68000000-7f000000"] = []span{{low.start, top.end}}
		tests["8000-20000000000"] = []span{{0x8000, 0x20000000000}}
	}
	more := len(m.defaultRanges) - 2
	for value, want := range tests {
		// Randomisation puts the stack into the highest range now and then, which makes two of it.
		got := probe(t, run{machine: m, preloader: preloader, fixed: true, env: []string{"WINEPRELOADRESERVE=" + value}}, path)
		if len(got.reserved) != len(want)+more || fmt.Sprint(got.reserved[:len(want)]) != fmt.Sprint(want) {
			t.Errorf("WINEPRELOADRESERVE=%s: published %x, want %x and %d more", value, got.reserved, want, more)
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

func TestMalformedLayout(t *testing.T) { forMachines(t, testMalformedLayout) }

func testMalformedLayout(t *testing.T, m *machine) {
	good := encodeLayout(m.defaultLimit, span{0x10000, 0x20000}, span{0x30000, 0x40000})
	changed := func(offset int, b byte) []byte {
		c := bytes.Clone(good)
		c[offset] = b
		return c
	}
	many := make([]span, 255)
	for i := range many {
		many[i] = span{uint64(2*i+16) * pageSize, uint64(2*i+17) * pageSize}
	}
	preloader := preloaderFile(t, m)
	for name, layout := range map[string][]byte{
		"empty":                {},
		"short header":         good[:23],
		"magic":                changed(0, 'w'),
		"version":              changed(7, '1'),
		"flags":                changed(20, 2),
		"count too high":       changed(16, 3),
		"count too low":        changed(16, 1),
		"count huge":           changed(19, 0xff),
		"trailing byte":        append(bytes.Clone(good), 0),
		"too many ranges":      encodeLayout(m.defaultLimit, many...),
		"limit zero":           encodeLayout(0),
		"limit not a page":     encodeLayout(m.defaultLimit + 1),
		"limit in the kernel":  encodeLayout(1 << 63),
		"unknown kind":         changed(24, 6),
		"unknown kind, high":   changed(25, 8),
		"end not a page":       changed(32, 1),
		"empty range":          encodeLayout(m.defaultLimit, span{0x10000, 0x10000}),
		"reversed range":       encodeLayout(m.defaultLimit, span{0x20000, 0x10000}),
		"overlapping ranges":   encodeLayout(m.defaultLimit, span{0x10000, 0x30000}, span{0x20000, 0x40000}),
		"descending ranges":    encodeLayout(m.defaultLimit, span{0x30000, 0x40000}, span{0x10000, 0x20000}),
		"range above limit":    encodeLayout(0x90000000, span{0x8fff0000, 0x90001000}),
		"shared above limit":   encodeLayout(0x90000000, share(0x90000000, 0x90001000)),
		"filled in the kernel": encodeLayout(0x90000000, fill(m.userTop, m.userTop+pageSize)),
		"range above the top":  encodeLayout(m.userTop, span{0x10000, 0xfffffffffffff000}),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, run{machine: m, preloader: preloader, layout: layout}, LayoutPath(m.name), "/bin/true")
		})
	}
	t.Run("most ranges", func(t *testing.T) {
		path := buildProbe(t, m, "pie")
		got := probe(t, run{machine: m, preloader: preloader, layout: encodeLayout(m.defaultLimit, many[:254]...)}, path)
		if len(got.reserved) != 254 {
			t.Errorf("%d ranges published, want 254", len(got.reserved))
		}
		got = probe(t, run{machine: m, preloader: preloader, layout: encodeLayout(m.defaultLimit)}, path)
		if len(got.reserved) != 0 {
			t.Errorf("published %x of an empty plan", got.reserved)
		}
	})
	for _, value := range []string{"", "-", "1", "1-", "-1", "g-h", "1-2-3", "0x1-0x2", " 1-2"} {
		t.Run("WINEPRELOADRESERVE="+value, func(t *testing.T) {
			refused(t, run{machine: m, preloader: preloader, env: []string{"WINEPRELOADRESERVE=" + value}}, "WINEPRELOADRESERVE", "/bin/true")
		})
	}
}

// TestStrict has a plan with a range in which the preloader itself is: what is there is left alone, unless all of it is
// demanded. An image that lies in a range of the plan is no obstacle.
func TestStrict(t *testing.T) { forMachines(t, testStrict) }

func testStrict(t *testing.T, m *machine) {
	preloader := preloaderFile(t, m)
	path := buildProbe(t, m, "pie")
	strict := func(ranges ...span) []byte {
		layout := encodeLayout(m.defaultLimit, ranges...)
		layout[20] = 1
		return layout
	}
	free, used := span{0x10000, 0x20000}, m.zone
	probe(t, run{machine: m, preloader: preloader, layout: strict(free), env: []string{"WINEPRELOADRESERVE=10000-18000"}}, path)
	probe(t, run{machine: m, preloader: preloader, layout: encodeLayout(m.defaultLimit, free, used)}, path)
	var said bytes.Buffer
	cmd := run{machine: m, preloader: preloader, layout: strict(free, used)}.command(t, path)
	cmd.Stderr = &said
	if err := cmd.Run(); err == nil || !strings.Contains(said.String(), " cannot be reserved: the addresses are in use\n") {
		t.Errorf("%v, standard error %q", err, said.String())
	}
}

func TestMalformedLoader(t *testing.T) { forMachines(t, testMalformedLoader) }

func testMalformedLoader(t *testing.T, m *machine) {
	preloader := preloaderFile(t, m)
	good, err := os.ReadFile(buildProbe(t, m, "pie"))
	if err != nil {
		t.Fatal(err)
	}
	fixed, err := os.ReadFile(buildProbe(t, m, "exec"))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	headers := int(m.get(good, m.ehPhoff))
	// header returns where the nth program header of a type is; both probes have theirs in the same order.
	header := func(kind elf.ProgType, n int) int {
		for at := headers; ; at += m.phSize {
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
		return edit(good, func(b []byte) { m.put(b, offset, value) })
	}
	put16 := func(offset int, value uint16) []byte {
		return edit(good, func(b []byte) { le.PutUint16(b[offset:], value) })
	}
	moveFixed := func(to uint64) []byte {
		return edit(fixed, func(b []byte) {
			first := m.get(b, load0+m.phVaddr)
			for n := range 4 {
				at := header(elf.PT_LOAD, n) + m.phVaddr
				m.put(b, at, m.get(b, at)-first+to)
			}
			m.put(b, m.ehEntry, m.get(b, m.ehEntry)-first+to)
		})
	}
	for name, content := range map[string][]byte{
		"empty":              {},
		"text":               []byte("#!/bin/sh\nexit 0\n" + strings.Repeat(" ", 64)),
		"only magic":         good[:4],
		"half a header":      good[:m.ehSize-1],
		"no program headers": good[:m.ehSize],
		"cut short":          good[:len(good)/3],
		"PE":                 append([]byte("MZ\x90\x00"), make([]byte, 4096)...),
		"other word size":    edit(good, func(b []byte) { b[4] ^= 3 }),
		"big endian":         edit(good, func(b []byte) { b[5] = 2 }),
		"ELF version":        edit(good, func(b []byte) { b[6] = 9 }),
		"other machine":      put16(ehMachine, 183),
		"object file":        put16(ehType, 1),
		"core file":          put16(ehType, 4),
		"phentsize":          put16(m.ehPhentsize, 33),
		"phnum zero":         put16(m.ehPhnum, 0),
		"phnum 65":           put16(m.ehPhnum, 65),
		"phnum extended":     put16(m.ehPhnum, 0xffff),
		"phoff past the end": put64(m.ehPhoff, uint64(len(good))),
		"phoff negative":     put64(m.ehPhoff, 1<<63),
		"headers not loaded": edit(append(bytes.Clone(good), good[headers:headers+int(le.Uint16(good[m.ehPhnum:]))*m.phSize]...), func(b []byte) { m.put(b, m.ehPhoff, uint64(len(good))) }),
		"no load segment": edit(good, func(b []byte) {
			for n := range 4 {
				le.PutUint32(b[header(elf.PT_LOAD, n):], 0)
			}
		}),
		"file above memory":    put64(load0+m.phMemsz, 1),
		"offset past the end":  put64(load0+m.phOffset, 1<<30),
		"size wraps":           put64(load0+m.phFilesz, ^uint64(0)),
		"memory wraps":         put64(load0+m.phMemsz, ^uint64(0)),
		"kernel address":       put64(load1+m.phVaddr, ^uint64(0xfff)),
		"off its page":         put64(load1+m.phVaddr, m.get(good, load1+m.phVaddr)+8),
		"alignment 3":          put64(load0+m.phAlign, 3),
		"alignment huge":       put64(load0+m.phAlign, 1<<31),
		"overlap":              put64(load1+m.phVaddr, m.get(good, load1+m.phVaddr)-pageSize),
		"entry outside":        put64(m.ehEntry, 0x100000),
		"entry not code":       put64(m.ehEntry, 0x10),
		"interpreter empty":    put64(interp+m.phFilesz, 1),
		"interpreter long":     put64(interp+m.phFilesz, 4097),
		"interpreter past end": put64(interp+m.phOffset, uint64(len(good))),
		"interpreter endless":  edit(good, func(b []byte) { b[m.get(b, interp+m.phOffset)+m.get(b, interp+m.phFilesz)-1] = 'x' }),
		"spans everything":     put64(header(elf.PT_LOAD, 3)+m.phMemsz, m.userTop-0x800000),
		"over the preloader":   moveFixed(preload.ReportAddress(m.pe) - 0x8000),
		"over the stack":       moveFixed(m.userTop - 0x1f000),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "loader")
			if err := os.WriteFile(path, content, 0o755); err != nil {
				t.Fatal(err)
			}
			refused(t, run{machine: m, preloader: preloader, fixed: true}, path, path)
		})
	}
	for name, change := range map[string]string{"missing": "/lib/no-such", "not ELF": "/etc/passwd"} {
		t.Run("interpreter "+name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "loader")
			content := edit(good, func(b []byte) {
				at := m.get(b, interp+m.phOffset)
				copy(b[at:at+m.get(b, interp+m.phFilesz)], change+"\x00")
				m.put(b, interp+m.phFilesz, uint64(len(change)+1))
			})
			if err := os.WriteFile(path, content, 0o755); err != nil {
				t.Fatal(err)
			}
			refused(t, run{machine: m, preloader: preloader}, change, path)
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
		t.Run(path, func(t *testing.T) { refused(t, run{machine: m, preloader: preloader}, path, path) })
	}
	t.Run("no loader", func(t *testing.T) { refused(t, run{machine: m, preloader: preloader}, "usage:") })
}

// A symbol table that makes no sense must not lead the preloader astray.
func TestBrokenSymbolTable(t *testing.T) { forMachines(t, testBrokenSymbolTable) }

func testBrokenSymbolTable(t *testing.T, m *machine) {
	// Without copy relocations the dynamic linker needs nothing from the table of this program.
	good := build(t, "gcc", "probe", "probe.c", "-pie", "-fPIC", "-rdynamic", m.compile, reportFlag(m))
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
	preloader := preloaderFile(t, m)
	for _, garbage := range []byte{0x00, 0x01, 0x7f, 0xff} {
		t.Run(fmt.Sprintf("%#x", garbage), func(t *testing.T) {
			broken := bytes.Clone(content)
			hash := broken[table.Offset:][:table.Size]
			filter := 16 + m.word*int(binary.LittleEndian.Uint32(hash[8:]))
			clear(hash[16:filter]) // the dynamic linker looks no further
			for i := filter; i < len(hash); i++ {
				hash[i] = garbage
			}
			path := filepath.Join(t.TempDir(), "probe")
			if err := os.WriteFile(path, broken, 0o755); err != nil {
				t.Fatal(err)
			}
			if got := probe(t, run{machine: m, preloader: preloader}, path); len(got.reserved) != 0 {
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
	cmd := exec.Command(preloaderFile(t, &amd64), sleep, "60")
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

func reportFlag(m *machine) string { return fmt.Sprintf("-DREPORT=%#x", preload.ReportAddress(m.pe)) }
