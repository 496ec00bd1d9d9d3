// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestLimitsFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "limits")
	want := Limits{Memory: 1 << 40, Commit: 2, ProcessCommit: 3, CPUQuota: 4, CPUPeriod: 5, MemoryAndSwap: 6, Asked: NoCommitLimit}
	for range 2 { // made, and written over
		if err := want.Write(name); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadLimits(name); err != nil || *got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		want.Memory--
	}
}

func TestApply(t *testing.T) {
	n, none, u := func(i int64) *int64 { return &i }, (*specs.LinuxResources)(nil), func(i uint64) *uint64 { return &i }
	const swap = 30
	for _, test := range []struct {
		name string
		res  *specs.LinuxResources
		want Limits
	}{
		{"none", none, Limits{Memory: 10, Commit: 10 + swap, CPUQuota: 20, CPUPeriod: 30}},
		{"empty", &specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}}, Limits{Memory: 10, Commit: 10 + swap, CPUQuota: 20, CPUPeriod: 30}},
		{"lifted", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: n(-1)}, CPU: &specs.LinuxCPU{Quota: n(-1)}}, Limits{CPUPeriod: 30}},
		{"changed", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: n(40)}, CPU: &specs.LinuxCPU{Quota: n(50), Period: u(60)}}, Limits{Memory: 40, Commit: 40 + swap, CPUQuota: 50, CPUPeriod: 60}},
		{"some swap", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: n(40), Swap: n(60)}}, Limits{Memory: 40, MemoryAndSwap: 60, Commit: 60, CPUQuota: 20, CPUPeriod: 30}},
		{"more swap than there is", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: n(40), Swap: n(100)}}, Limits{Memory: 40, MemoryAndSwap: 100, Commit: 70, CPUQuota: 20, CPUPeriod: 30}},
		{"no swap", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: n(40), Swap: n(40)}}, Limits{Memory: 40, MemoryAndSwap: 40, Commit: 40, CPUQuota: 20, CPUPeriod: 30}},
	} {
		got := Limits{Memory: 10, CPUQuota: 20, CPUPeriod: 30}
		if got.apply(test.res, swap); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
	got := Limits{}
	if got.Apply(&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: n(50000)}}); got.CPUPeriod != 100000 {
		t.Errorf("without a period: got %+v", got)
	}
}

// TestLibraryFile checks what the dynamic linker is given: a library that needs no other, with code that nobody can write to.
func TestLibraryFile(t *testing.T) {
	for machine, class := range map[string]elf.Class{"amd64": elf.ELFCLASS64, "386": elf.ELFCLASS32} {
		data, err := LibraryFile(machine)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if libraries, err := f.ImportedLibraries(); f.Class != class || err != nil || len(libraries) != 0 {
			t.Errorf("%s: class %v, needs %v, %v", machine, f.Class, libraries, err)
		}
		symbols, err := f.DynamicSymbols()
		if err != nil {
			t.Error(err)
		}
		for _, s := range symbols {
			if s.Section == elf.SHN_UNDEF && elf.ST_BIND(s.Info) != elf.STB_WEAK {
				t.Errorf("%s: cannot be loaded without %s", machine, s.Name)
			}
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W != 0 && p.Flags&elf.PF_X != 0 {
				t.Errorf("%s: a segment is both writable and executable", machine)
			}
		}
	}
	if _, err := LibraryFile("arm64"); err == nil {
		t.Error("there is one for arm64")
	}
}

func TestAskedCommit(t *testing.T) {
	limit := int64(100)
	res := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	for asked, want := range map[uint64]uint64{NoCommitLimit: 0, 70: 70, 700: 700} {
		l := Limits{Asked: asked}
		if l.Apply(res); l.Commit != want {
			t.Errorf("asked for %d: %d", asked, l.Commit)
		}
	}
	for _, bad := range []string{"", "x", "-5m", "1m", "1000t", "0"} {
		if n, err := ParseCommit(bad); err == nil {
			t.Errorf("%q is %d", bad, n)
		}
	}
	for text, want := range map[string]uint64{"16m": 16 << 20, "1gb": 1 << 30, "off": NoCommitLimit, "33554432": 32 << 20} {
		if n, err := ParseCommit(text); err != nil || n != want {
			t.Errorf("%q is %d, %v", text, n, err)
		}
	}
}

// counters is a file with one process.
func counters() []byte {
	b := make([]byte, CountersSize)
	for i, n := range []uint32{1, 2, 10, 5, 20, 3} {
		binary.LittleEndian.PutUint32(b[4*i:], n)
	}
	for i, n := range []uint32{7, 1234, 8, 1} {
		binary.LittleEndian.PutUint32(b[4*(headerNumbers+slotNumbers+i):], n)
	}
	return b
}

func TestParseCounters(t *testing.T) {
	got, err := parseCounters(counters())
	want := &Counters{Commit: 15 << 12, Sections: 5 << 12, Peak: 20 << 12, Failures: 3, Processes: []ProcessCounters{{7, 8 << 12, 1}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := parseCounters(counters()[:100]); err == nil {
		t.Error("half a file was read")
	}
}

func FuzzParseCounters(f *testing.F) {
	f.Add(counters())
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseCounters(b); err == nil && len(c.Processes) > maxSlots {
			t.Errorf("%d processes", len(c.Processes))
		}
	})
}

// TestReadCounters reads them of a folder that a hostile program has prepared.
func TestReadCounters(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, CountersDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, CountersPath)
	if _, err := ReadCounters(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	for name, make := range map[string]func() error{
		"fifo":   func() error { return syscall.Mkfifo(file, 0o644) },
		"link":   func() error { return os.Symlink("/etc/passwd", file) },
		"folder": func() error { return os.Mkdir(file, 0o755) },
		"short":  func() error { return os.WriteFile(file, []byte("x"), 0o644) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if c, err := ReadCounters(root); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, counters(), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadCounters(root); err != nil || len(c.Processes) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}
