// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"bytes"
	"debug/elf"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestLimitsFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "limits")
	want := Limits{Memory: 1 << 40, Commit: 2, ProcessCommit: 3, CPUQuota: 4, CPUPeriod: 5}
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
	for _, test := range []struct {
		name string
		res  *specs.LinuxResources
		want Limits
	}{
		{"none", none, Limits{Memory: 10, CPUQuota: 20, CPUPeriod: 30}},
		{"empty", &specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}}, Limits{Memory: 10, CPUQuota: 20, CPUPeriod: 30}},
		{"lifted", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: n(-1)}, CPU: &specs.LinuxCPU{Quota: n(-1)}}, Limits{CPUPeriod: 30}},
		{"changed", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: n(40)}, CPU: &specs.LinuxCPU{Quota: n(50), Period: u(60)}}, Limits{Memory: 40, CPUQuota: 50, CPUPeriod: 60}},
	} {
		got := Limits{Memory: 10, CPUQuota: 20, CPUPeriod: 30}
		if got.Apply(test.res); got != test.want {
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
