package preload_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winbox/internal/diagnosis"
	"winbox/preload"
	"winbox/preload/pe/petest"
)

// fakeRoot makes files below a new folder.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestHostChecks has one setting at a time that keeps ranges from being had.
func TestHostChecks(t *testing.T) {
	const limits = "Limit                     Soft Limit           Hard Limit           Units     \nMax address space         "
	for _, tt := range []struct {
		file, text, name string
		status           diagnosis.Status
		remedy           string
	}{
		{"proc/sys/vm/mmap_min_addr", "65536", "vm.mmap_min_addr", diagnosis.OK, ""},
		{"proc/sys/vm/mmap_min_addr", "131072", "vm.mmap_min_addr", diagnosis.Warn, "sysctl -w vm.mmap_min_addr=65536"},
		{"proc/sys/vm/mmap_min_addr", "8388608", "vm.mmap_min_addr", diagnosis.Fail, "sysctl -w vm.mmap_min_addr=65536"},
		{"proc/sys/vm/max_map_count", "5000", "vm.max_map_count", diagnosis.Warn, "sysctl -w vm.max_map_count"},
		{"proc/sys/vm/max_map_count", "500", "vm.max_map_count", diagnosis.Fail, "sysctl -w vm.max_map_count"},
		{"proc/sys/vm/overcommit_memory", "1", "vm.overcommit_memory", diagnosis.OK, ""},
		{"proc/sys/vm/overcommit_memory", "2", "vm.overcommit_memory", diagnosis.Warn, "sysctl -w vm.overcommit_memory=0"},
		{"proc/sys/vm/legacy_va_layout", "1", "vm.legacy_va_layout", diagnosis.Warn, "sysctl -w vm.legacy_va_layout=0"},
		{"proc/self/limits", limits + "unlimited            unlimited            bytes", "RLIMIT_AS", diagnosis.OK, ""},
		{"proc/self/limits", limits + "4294967296           unlimited            bytes", "RLIMIT_AS", diagnosis.Fail, "ulimit -v unlimited"},
		{"proc/self/limits", limits + "137438953472         unlimited            bytes", "RLIMIT_AS", diagnosis.Warn, "ulimit -v unlimited"},
		{"proc/cpuinfo", "processor : 0\nflags\t\t: fpu la57 rdpid", "page tables", diagnosis.OK, ""},
		{"sys/fs/selinux/enforce", "1", "SELinux", diagnosis.OK, ""},
		{"proc/sys/kernel/yama/ptrace_scope", "1", "kernel.yama.ptrace_scope", diagnosis.OK, ""},
		{"proc/sys/kernel/yama/ptrace_scope", "2", "kernel.yama.ptrace_scope", diagnosis.Warn, "ptrace_scope=1"},
		{"proc/sys/vm/mmap_min_addr", "nonsense", "vm.mmap_min_addr", diagnosis.OK, ""},
	} {
		host := preload.ReadHost(fakeRoot(t, map[string]string{tt.file: tt.text}))
		found := false
		for _, c := range host.Checks() {
			if c.Name != tt.name {
				if c.Status != diagnosis.OK {
					t.Errorf("%s=%s: also %+v", tt.file, tt.text, c)
				}
				continue
			}
			found = true
			if c.Status != tt.status || c.Found == "" || !strings.Contains(c.Remedy, tt.remedy) || (c.Remedy == "") != (tt.status == diagnosis.OK) {
				t.Errorf("%s=%s: %+v, want %s and %q", tt.file, tt.text, c, tt.status, tt.remedy)
			}
		}
		if !found {
			t.Errorf("%s=%s: nothing about %s", tt.file, tt.text, tt.name)
		}
	}
	host := preload.ReadHost(fakeRoot(t, map[string]string{"sys/fs/selinux/enforce": "1", "sys/fs/selinux/booleans/deny_execmem": "1 1"}))
	for _, c := range host.Checks() {
		if c.Name == "SELinux" && (c.Status != diagnosis.Warn || !strings.Contains(c.Remedy, "execmem")) {
			t.Errorf("%+v", c)
		}
	}
}

func TestProbed(t *testing.T) {
	works := preload.Probed{}
	for _, c := range works.Checks() {
		if c.Status != diagnosis.OK || c.Remedy != "" || c.Found == "" {
			t.Errorf("%+v", c)
		}
	}
	err := errors.New("does not work")
	fails := preload.Probed{Reserve: err, Personality: err, ExecMemory: err, IA32: err}
	want := map[string]diagnosis.Status{"reserving": diagnosis.Fail, "personality": diagnosis.Fail, "executable memory": diagnosis.Warn, "IA32 emulation": diagnosis.Warn}
	for _, c := range fails.Checks() {
		if c.Status != want[c.Name] || c.Remedy == "" || c.Found != "does not work" {
			t.Errorf("%+v", c)
		}
	}
}

// TestCauses names what has broken a plan.
func TestCauses(t *testing.T) {
	l, err := preload.Plan(image(t, petest.Image{Base: 0x400000, SizeOfImage: 0x3d000, StackReserve: 4 << 20}), preload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	whole := preload.ReadHost(t.TempDir())
	small, low := whole, whole
	small.MaxMapCount, low.MmapMinAddr = 150, 1<<20
	const noRandomize = 0x40000
	for _, tt := range []struct {
		name  string
		host  preload.Host
		facts preload.ProcessFacts
		holes bool
		want  string
	}{
		{"nothing is broken", whole, preload.ProcessFacts{}, false, ""},
		{"no preloader", whole, preload.ProcessFacts{Personality: noRandomize, AddressSpace: math.MaxUint64}, true, "preloader"},
		{"randomised", whole, preload.ProcessFacts{AddressSpace: math.MaxUint64}, true, "preloader randomisation"},
		{"many mappings", small, preload.ProcessFacts{Personality: noRandomize, AddressSpace: math.MaxUint64}, true, "preloader vm.max_map_count"},
		{"minimum", low, preload.ProcessFacts{Personality: noRandomize, AddressSpace: math.MaxUint64}, true, "preloader vm.mmap_min_addr"},
		{"limit", whole, preload.ProcessFacts{Personality: noRandomize, AddressSpace: 1 << 30}, true, "preloader RLIMIT_AS"},
	} {
		p := wine8(t)
		p.facts = tt.facts
		if tt.holes {
			p.maps = p.maps[2:]
		}
		s, err := preload.Look(p, l, "p400.exe", nil)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range s.Causes(tt.host) {
			names = append(names, c.Name)
			if c.Found == "" || c.Remedy == "" {
				t.Errorf("%+v", c)
			}
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
