package preload

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"winbox/internal/diagnosis"
)

// Host are the facts of a machine that decide which addresses a process can
// have. What could not be read has the kernel's default.
type Host struct {
	// MmapMinAddr is vm.mmap_min_addr, MaxMapCount vm.max_map_count.
	MmapMinAddr, MaxMapCount uint64
	// Overcommit is vm.overcommit_memory: 2 counts what is committed.
	Overcommit uint64
	// Legacy is vm.legacy_va_layout: mmap(2) gives addresses from below.
	Legacy bool
	// AddressSpace is RLIMIT_AS, in bytes.
	AddressSpace uint64
	// FiveLevel says that the processor has addresses of 57 bits.
	FiveLevel bool
	// SELinux is "enforcing", "permissive", or empty without SELinux.
	SELinux string
	// DenyExecMem is SELinux's boolean deny_execmem.
	DenyExecMem bool
	// Release is the kernel's.
	Release string
	// PtraceScope is kernel.yama.ptrace_scope.
	PtraceScope uint64
}

// ReadHost reads the facts from /proc and /sys below root, which is "/" but for tests.
func ReadHost(root string) Host {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	number := func(name string, otherwise uint64) uint64 {
		if n, err := strconv.ParseUint(read(name), 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	h := Host{
		MmapMinAddr: number("proc/sys/vm/mmap_min_addr", 65536), MaxMapCount: number("proc/sys/vm/max_map_count", 65530),
		Overcommit: number("proc/sys/vm/overcommit_memory", 0), Legacy: number("proc/sys/vm/legacy_va_layout", 0) != 0,
		Release: read("proc/sys/kernel/osrelease"), PtraceScope: number("proc/sys/kernel/yama/ptrace_scope", 0),
		DenyExecMem: strings.HasPrefix(read("sys/fs/selinux/booleans/deny_execmem"), "1"),
	}
	h.AddressSpace = parseLimit(read("proc/self/limits"))
	for line := range strings.Lines(read("proc/cpuinfo")) {
		if strings.HasPrefix(line, "flags") {
			h.FiveLevel = strings.Contains(line+" ", " la57 ")
			break
		}
	}
	switch read("sys/fs/selinux/enforce") {
	case "1":
		h.SELinux = "enforcing"
	case "0":
		h.SELinux = "permissive"
	}
	return h
}

// parseLimit reads RLIMIT_AS of /proc/PID/limits; what is not a number is no limit.
func parseLimit(limits string) uint64 {
	for line := range strings.Lines(limits) {
		if rest, ok := strings.CutPrefix(line, "Max address space"); ok {
			if n, err := strconv.ParseUint(strings.Fields(rest + " -")[0], 10, 64); err == nil {
				return n
			}
		}
	}
	return math.MaxUint64
}

// HostOptions returns Options with the facts of this host: vm.mmap_min_addr and
// vm.legacy_va_layout.
func HostOptions() Options {
	h := ReadHost("/")
	return Options{MmapMinAddr: h.MmapMinAddr, Legacy: h.Legacy}
}

// What to do about settings that keep ranges from being had. Errors of Plan,
// findings about a process and "winbox doctor" say the same.
const (
	remedyMmapMinAddr  = "as root: sysctl -w vm.mmap_min_addr=65536, and for good in /etc/sysctl.d"
	remedyMaxMapCount  = "as root: sysctl -w vm.max_map_count=65530 or more, and for good in /etc/sysctl.d"
	remedyOvercommit   = "as root: sysctl -w vm.overcommit_memory=0, or a larger vm.overcommit_ratio"
	remedyAddressSpace = "ulimit -v unlimited, or no RLIMIT_AS in process.rlimits; limit memory by --memory instead"
	remedySELinux      = "allow it in the policy (classes memprotect and process: mmap_zero, execmem), or setsebool deny_execmem off"
	remedyRandomize    = "let the seccomp filter allow personality(2) with ADDR_NO_RANDOMIZE (0x40000) where winbox runs"
	remedyPtrace       = "as root: sysctl -w kernel.yama.ptrace_scope=1, or run winbox maps as root"
	remedyLegacy       = "as root: sysctl -w vm.legacy_va_layout=0, and for good in /etc/sysctl.d; or a runtime of winbox runtime build, which hands nothing back"
	remedyIA32         = "boot without ia32_emulation=off, on a kernel with CONFIG_IA32_EMULATION; or a runtime that needs none: winbox runtime build --wow64 new"
	remedyHardened     = "a kernel that lets programs make memory executable (no PaX MPROTECT, no seccomp filter on mmap); programs that make code while they run need it"
	remedyForbidden    = "leave the filter or container that winbox runs in, or allow there what it names"
)

// neededSpace is how much address space a plan for x86-64 reserves, and some
// more for the program itself, in bytes.
const neededSpace = 24 << 30

// usualBase is where 32-bit programs, and some 64-bit ones, are linked.
const usualBase = 0x400000

const addressSpace = "address space"

// Checks says of each fact whether Windows programs can have their addresses.
func (h *Host) Checks() []diagnosis.Check {
	var all []diagnosis.Check
	add := func(name string, status diagnosis.Status, found, remedy string) {
		if status == diagnosis.OK {
			remedy = ""
		}
		all = append(all, diagnosis.Check{Area: addressSpace, Name: name, Status: status, Found: found, Remedy: remedy})
	}
	status := func(fail, warn bool) diagnosis.Status {
		switch {
		case fail:
			return diagnosis.Fail
		case warn:
			return diagnosis.Warn
		}
		return diagnosis.OK
	}
	found := fmt.Sprintf("%d: programs have everything from %#x on", h.MmapMinAddr, max(h.MmapMinAddr, granularity))
	if h.MmapMinAddr > granularity {
		found = fmt.Sprintf("%d: nothing below %#x can be had, and programs that are linked there do not run", h.MmapMinAddr, h.MmapMinAddr)
	}
	add("vm.mmap_min_addr", status(h.MmapMinAddr > usualBase, h.MmapMinAddr > granularity), found, remedyMmapMinAddr)
	add("vm.max_map_count", status(h.MaxMapCount < 1000, h.MaxMapCount < 65530), fmt.Sprintf("%d mappings in a process; a small program has 200", h.MaxMapCount), remedyMaxMapCount)
	found = fmt.Sprintf("%d: reservations cost nothing", h.Overcommit)
	if h.Overcommit == 2 {
		found = "2: what programs commit counts against CommitLimit at once, used or not; reservations do not"
	}
	add("vm.overcommit_memory", status(false, h.Overcommit == 2), found, remedyOvercommit)
	found = "0: native libraries from above"
	if h.Legacy {
		found = "1: native libraries from below; in 32-bit processes of a Wine that is not built by winbox, late ones come among programs' memory"
	}
	add("vm.legacy_va_layout", status(false, h.Legacy), found, remedyLegacy)
	found = "unlimited"
	if h.AddressSpace != math.MaxUint64 {
		found = fmt.Sprintf("%s; reservations take up to %s", FormatSize(h.AddressSpace), FormatSize(neededSpace))
	}
	add("RLIMIT_AS", status(h.AddressSpace < neededSpace, h.AddressSpace != math.MaxUint64), found, remedyAddressSpace)
	found = "4 levels"
	if h.FiveLevel {
		found = "5 levels; addresses above 47 bits are given only to who asks for them, which nobody does"
	}
	add("page tables", diagnosis.OK, found, "")
	if h.SELinux != "" {
		enforced := h.SELinux == "enforcing"
		found = h.SELinux
		if h.DenyExecMem {
			found += ", deny_execmem is on"
		}
		add("SELinux", status(false, enforced && h.DenyExecMem), found, remedySELinux)
	}
	add("kernel.yama.ptrace_scope", status(false, h.PtraceScope >= 2), fmt.Sprintf("%d: %s", h.PtraceScope,
		map[bool]string{true: "winbox maps needs root, or does not work at all (3)", false: "winbox maps works"}[h.PtraceScope >= 2]), remedyPtrace)
	return all
}

// Probed are the outcomes of trying, nil where it has worked.
type Probed struct {
	// Reserve is the preloader's attempt to take the ranges, Personality that to
	// switch randomisation off, ExecMemory that to make memory executable, and
	// IA32 that to run a 32-bit program.
	Reserve, Personality, ExecMemory, IA32 error
}

// Checks says what the outcomes mean.
func (p *Probed) Checks() []diagnosis.Check {
	var all []diagnosis.Check
	for _, c := range []struct {
		name, works string
		err         error
		status      diagnosis.Status
		remedy      string
	}{
		{"reserving", "the preloader takes its ranges", p.Reserve, diagnosis.Fail, remedyForbidden},
		{"personality", "randomisation can be switched off", p.Personality, diagnosis.Fail, remedyRandomize},
		{"executable memory", "programs can make code", p.ExecMemory, diagnosis.Warn, remedyHardened},
		{"IA32 emulation", "the kernel runs 32-bit programs", p.IA32, diagnosis.Warn, remedyIA32},
	} {
		check := diagnosis.Check{Area: addressSpace, Name: c.name, Status: diagnosis.OK, Found: c.works}
		if c.err != nil {
			check.Status, check.Found, check.Remedy = c.status, c.err.Error(), c.remedy
		}
		all = append(all, check)
	}
	return all
}
