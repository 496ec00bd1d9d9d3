package preload_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/pe/petest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (rewrite with -update); got\n%s", path, got)
	}
}

func image(t *testing.T, im petest.Image) *pe.Image {
	t.Helper()
	b := im.Bytes()
	img, err := pe.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

const (
	i386 = 0x14c
	laa  = uint16(pe.LargeAddressAware)
)

var plans = []struct {
	name string
	im   petest.Image
	opt  preload.Options
}{
	{"amd64", petest.Image{}, preload.Options{}},
	{"amd64-low-base", petest.Image{Base: 0x400000, StackReserve: 64 << 20}, preload.Options{}},
	{"amd64-requested", petest.Image{}, preload.Options{
		MmapMinAddr: 0x20000, Loader: preload.Range{Start: 0x7d000000, End: 0x7d005000},
		Reserve: []preload.Range{{Start: 0x200000, End: 0x300000}, {Start: 0x7e000000, End: 0x90000000}}}},
	{"i386", petest.Image{Machine: i386}, preload.Options{}},
	{"i386-large-address-aware", petest.Image{Machine: i386, Characteristics: laa}, preload.Options{}},
	{"amd64-new-wow64", petest.Image{}, preload.Options{NewWoW64: true, SharedHeap: 1 << 20}},
	{"i386-no-shared-heap", petest.Image{Machine: i386}, preload.Options{SharedHeap: preload.NoSharedHeap}},
	{"i386-new-wow64", petest.Image{Machine: i386, Characteristics: laa}, preload.Options{NewWoW64: true}},
}

func TestPlanPictures(t *testing.T) {
	for _, tt := range plans {
		t.Run(tt.name, func(t *testing.T) {
			l, err := preload.Plan(image(t, tt.im), tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			checkLayout(t, l)
			picture := l.Picture()
			for line := range strings.Lines(picture) {
				if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 100 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			var reserved strings.Builder
			for _, r := range l.StubRanges() {
				fmt.Fprintf(&reserved, "%s %s\n", []string{"reserve", "fill", "clear", "pool", "share", "stack"}[r.Take], r.Range)
			}
			golden(t, tt.name+".txt", picture+"\nfor the preloader:\n"+reserved.String())
		})
	}
}

// checkLayout holds a layout to what its documentation promises.
func checkLayout(t *testing.T, l *preload.Layout) {
	t.Helper()
	at := uint64(0)
	for _, r := range l.Regions {
		if r.Range.Start != at || r.Range.Empty() || r.Range.Start%4096 != 0 || r.Range.End%4096 != 0 {
			t.Errorf("%s at %s: gap, overlap or part of a page after %#x", r.Name, r.Range, at)
		}
		if r.Name == "" || r.Kind == "" || r.State == "" {
			t.Errorf("region without a name, kind or state: %+v", r)
		}
		at = r.Range.End
	}
	if l.Image().Range.Empty() || l.Image().Range.End > l.ProgramLimit || l.ProgramLimit > l.Limit || l.Limit > at {
		t.Errorf("image %s, program limit %#x, limit %#x, end %#x", l.Image().Range, l.ProgramLimit, l.Limit, at)
	}
	b, err := l.MarshalStub()
	if err != nil {
		t.Error(err)
	}
	limit, ranges, err := preload.UnmarshalStub(b)
	if err != nil || limit != l.Limit || !reflect.DeepEqual(ranges, l.StubRanges()) || len(b) > 4096 {
		t.Errorf("limit %#x, ranges %v, error %v", limit, ranges, err)
	}
}

// reserved reports whether the preloader takes all of start to end.
func reserved(l *preload.Layout, start, end uint64) bool {
	for _, r := range l.Reservations() {
		if r.Contains(preload.Range{Start: start, End: end}) {
			return true
		}
	}
	return false
}

func TestReservations(t *testing.T) {
	for _, tt := range plans {
		t.Run(tt.name, func(t *testing.T) {
			img := image(t, tt.im)
			l, err := preload.Plan(img, tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			base, size := img.ImageBase, uint64(img.SizeOfImage)
			if l.Moved != "" || l.Image().Range.Start != base || !reserved(l, base, base+size) {
				t.Errorf("image at %s, moved %q", l.Image().Range, l.Moved)
			}
			if !reserved(l, 0x20000, 0x68000000) || !reserved(l, 0x7ffe0000, 0x7ffe1000) || !reserved(l, 0x7b000000, 0x7c000000) {
				t.Errorf("low memory, shared user data or system libraries not reserved: %v", l.Reservations())
			}
			for _, r := range l.Reservations() {
				if r.Overlaps(preload.Range{Start: 0x7d000000, End: 0x7d005000}) {
					t.Errorf("%s holds the native loader", r)
				}
				if r.Start < 0x10000 || r.End > l.Limit {
					t.Errorf("%s lies in the lowest 64 KiB or above the limit", r)
				}
			}
			if shared := reserved(l, 0x80000000, 0x81000000); shared != (img.Machine == pe.MachineI386 && tt.opt.SharedHeap == 0 || tt.opt.NewWoW64 || len(tt.opt.Reserve) > 0) {
				t.Errorf("shared heap reserved: %v", shared)
			}
		})
	}
}

func TestPlanStack(t *testing.T) {
	tests := []struct {
		reserve, commit, smallest, want uint64
	}{
		{64 << 10, 4096, 0, 1 << 20}, {1 << 20, 4096, 0, 1 << 20}, {64 << 20, 4096, 0, 64 << 20}, {512 << 20, 4096, 0, 512 << 20},
		{1 << 20, 3<<20 + 1, 0, 3<<20 + 64<<10}, {6 << 30, 4096, 0, 6 << 30}, {1 << 40, 4096, 0, 1 << 40},
		{1, 1, 64 << 10, 64 << 10}, {64 << 10, 4096, 64 << 10, 64 << 10}, {64<<10 + 1, 4096, 64 << 10, 128 << 10}, {4096, 1 << 20, 64 << 10, 1 << 20},
	}
	for _, tt := range tests {
		l, err := preload.Plan(image(t, petest.Image{StackReserve: tt.reserve, StackCommit: tt.commit}), preload.Options{SmallestStack: tt.smallest})
		if err != nil {
			t.Error(err)
			continue
		}
		checkLayout(t, l)
		if l.StackSize != tt.want {
			t.Errorf("stack of %#x, %#x: planned %#x, want %#x", tt.reserve, tt.commit, l.StackSize, tt.want)
		}
	}
}

// TestPlanHandedBack says what an engine hands back in a 32-bit process, and when that is where the kernel searches first.
func TestPlanHandedBack(t *testing.T) {
	for name, tt := range map[string]struct {
		im            petest.Image
		opt           preload.Options
		back, exposed bool
	}{
		"32 bits":             {petest.Image{Machine: i386}, preload.Options{}, true, false},
		"legacy":              {petest.Image{Machine: i386}, preload.Options{Legacy: true}, true, true},
		"legacy, aware":       {petest.Image{Machine: i386, Characteristics: laa}, preload.Options{Legacy: true}, true, true},
		"legacy, kept":        {petest.Image{Machine: i386}, preload.Options{Legacy: true, KeepsReserved: true}, false, false},
		"legacy, kept, aware": {petest.Image{Machine: i386, Characteristics: laa}, preload.Options{Legacy: true, KeepsReserved: true}, false, false},
		"legacy, new WoW64":   {petest.Image{Machine: i386}, preload.Options{Legacy: true, NewWoW64: true}, false, false},
		"legacy, 64 bits":     {petest.Image{}, preload.Options{Legacy: true}, false, false},
	} {
		l, err := preload.Plan(image(t, tt.im), tt.opt)
		if err != nil {
			t.Fatal(err)
		}
		back := slices.ContainsFunc(l.Regions, func(r preload.Region) bool { return r.HandedBack })
		if exposed := strings.Contains(l.Exposed, "sysctl -w vm.legacy_va_layout=0"); back != tt.back || exposed != tt.exposed {
			t.Errorf("%s: handed back: %v, exposed: %q", name, back, l.Exposed)
		}
	}
}

func TestPlanErrors(t *testing.T) {
	reserve := func(start, end uint64) preload.Options {
		return preload.Options{Reserve: []preload.Range{{Start: start, End: end}}}
	}
	many := preload.Options{}
	for i := range uint64(300) {
		many.Reserve = append(many.Reserve, preload.Range{Start: 0x500000000 + i*0x20000, End: 0x500010000 + i*0x20000})
	}
	tests := []struct {
		name string
		im   petest.Image
		opt  preload.Options
		want string
	}{
		{"ARM64", petest.Image{Machine: 0xaa64}, preload.Options{}, "built for ARM64; this host runs x86-64 and 32-bit x86 programs"},
		{"base not aligned", petest.Image{Base: 0x140001000}, preload.Options{}, "malformed: the image base 0x140001000 is not a multiple of 64 KiB"},
		{"base not aligned, relocations", petest.Image{Base: 0x401000, Relocations: []uint32{0x1000}}, preload.Options{}, "malformed: the image base 0x401000 is not a multiple of 64 KiB"},
		{"huge image", petest.Image{SizeOfImage: 0xfffff000}, preload.Options{}, "malformed: the image wants 4 GiB of address space, at most 2 GiB are possible"},
		{"base past the limit", petest.Image{Base: 0x7fffffff0000}, preload.Options{}, "the program must be at 0x7fffffff0000 and has no relocations, but its end is above 0x7fffffff0000, the limit of such programs"},
		{"base near the end of 64 bits", petest.Image{Base: 0xffffffffffff0000, SizeOfImage: 0x100000}, preload.Options{}, "the program must be at 0xffffffffffff0000 and has no relocations, but its end is above 0x7fffffff0000, the limit of such programs"},
		{"32-bit above 2 GiB", petest.Image{Machine: i386, Base: 0x90000000}, preload.Options{}, "the program must be at 0x90000000 and has no relocations, but its end is above 0x7fff0000, the limit of such programs"},
		{"base zero", petest.Image{BaseZero: true}, preload.Options{}, "the program must be at 0x0 and has no relocations, but the lowest 64 KiB stay unmapped, so that null pointers fault"},
		{"below mmap_min_addr", petest.Image{Base: 0x10000}, preload.Options{MmapMinAddr: 0x20000}, "the program must be at 0x10000 and has no relocations, but this host maps nothing below 0x20000 (as root: sysctl -w vm.mmap_min_addr=65536, and for good in /etc/sysctl.d)"},
		{"on shared user data", petest.Image{Base: 0x7ffd0000, SizeOfImage: 0x20000}, preload.Options{}, "the program must be at 0x7ffd0000 and has no relocations, but the shared user data is there (7ffe0000-7fff0000)"},
		{"on the shared heap", petest.Image{Machine: i386, Characteristics: laa, Base: 0x80000000}, preload.Options{}, "the program must be at 0x80000000 and has no relocations, but the shared heap is there (80000000-81000000)"},
		{"on the loader", petest.Image{Base: 0x7d000000}, preload.Options{Loader: preload.Range{Start: 0x7d000000, End: 0x7d005000}}, "the program must be at 0x7d000000 and has no relocations, but the native loader is there (7d000000-7d005000)"},
		{"on the native stack", petest.Image{Base: 0x7fffffd00000}, preload.Options{}, "the program must be at 0x7fffffd00000 and has no relocations, but the native stack is there (7ffffdff0000-7fffffff0000)"},
		{"stack too large", petest.Image{Machine: i386, StackReserve: 0x7f000000}, preload.Options{}, "the stack of 2 GiB that the program asks for fits nowhere below 0x7fff0000"},
		{"stack of 16 EiB", petest.Image{StackReserve: 1<<64 - 1}, preload.Options{}, "the stack of 16 EiB that the program asks for fits nowhere below 0x7fffffff0000"},
		{"mmap_min_addr absurd", petest.Image{}, preload.Options{MmapMinAddr: 1 << 63}, "vm.mmap_min_addr is 9223372036854775808: no address is left for the program (as root: sysctl -w vm.mmap_min_addr=65536, and for good in /etc/sysctl.d)"},
		{"shared heap too large", petest.Image{Machine: i386}, preload.Options{SharedHeap: 2 << 30}, "a shared heap of 2 GiB does not fit: at most 512 MiB are possible"},
		{"reserve below 64 KiB", petest.Image{}, reserve(0x1000, 0x2000), "the range 1000-2000 to reserve starts below 0x10000, where nothing may be mapped"},
		{"reserve above the limit", petest.Image{}, reserve(0x7fffff000000, 0x7ffffffff000), "the range 7fffff000000-7ffffffff000 to reserve ends above 0x7fffffff0000, the limit of Windows programs"},
		{"reserve the loader", petest.Image{}, preload.Options{Loader: preload.Range{Start: 0x7d000000, End: 0x7d005000}, Reserve: []preload.Range{{Start: 0x7c000000, End: 0x7e000000}}}, "the range 7c000000-7e000000 to reserve holds the native loader (7d000000-7d005000)"},
		{"reserve the preloader", petest.Image{}, reserve(0x400000000000, 0x400000001000), "the range 400000000000-400000001000 to reserve holds the preloader (400000000000-400100000000)"},
		{"reserve part of a page", petest.Image{}, reserve(0x10800, 0x20000), "the range 10800-20000 to reserve is empty or not a multiple of the page size"},
		{"reserve too many", petest.Image{}, many, "612 separate ranges to reserve, at most 254 are possible"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := preload.Plan(image(t, tt.im), tt.opt)
			if err == nil || err.Error() != tt.want {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			var machine *preload.MachineError
			var layout *preload.LayoutError
			if !errors.As(err, &machine) && !errors.As(err, &layout) {
				t.Errorf("%T is neither a MachineError nor a LayoutError", err)
			}
		})
	}
}

// TestPlanMoves has bases that cannot be had, with relocations.
func TestPlanMoves(t *testing.T) {
	for _, tt := range []struct {
		machine uint16
		base    uint64
		moved   string
	}{
		{0, 0xffffffffffff0000, "its end is above 0x7fffffff0000, the limit of such programs"},
		{0, 0x7ffe0000, "the shared user data is there (7ffe0000-7fff0000)"},
		{i386, 0xf0000000, "its end is above 0x7fff0000, the limit of such programs"},
	} {
		img := image(t, petest.Image{Machine: tt.machine, Base: tt.base, Relocations: []uint32{0x1000}})
		l, err := preload.Plan(img, preload.Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		checkLayout(t, l)
		if l.Moved != tt.moved || l.Image().State != preload.StateForecast || !reserved(l, l.Image().Range.Start, l.Image().Range.End) {
			t.Errorf("moved %q to %+v", l.Moved, l.Image())
		}
	}
}

// TestPlanChildren: what a program starts for the other machine finds the same
// places, whatever it is.
func TestPlanChildren(t *testing.T) {
	for _, tt := range plans {
		img := image(t, tt.im)
		own, err := preload.Plan(img, tt.opt)
		if err != nil {
			t.Fatal(err)
		}
		l, err := preload.PlanChildren(own.Process, tt.opt)
		if err != nil {
			t.Fatal(err)
		}
		if l.Process != own.Process || l.Limit != own.Limit || l.Image() != (preload.Region{}) {
			t.Errorf("%s: limit %#x, image %+v", tt.name, l.Limit, l.Image())
		}
		for _, r := range l.StubRanges() {
			if r.Take == preload.TakeReserve && !reserved(own, r.Range.Start, r.Range.End) {
				t.Errorf("%s: %s is for the children only", tt.name, r.Range)
			}
		}
		if _, err := l.MarshalStub(); err != nil {
			t.Error(err)
		}
	}
	var machine *preload.MachineError
	if _, err := preload.PlanChildren(pe.MachineARM64, preload.Options{}); !errors.As(err, &machine) {
		t.Errorf("ARM64: %v", err)
	}
}

func TestPlanLargeImage(t *testing.T) {
	// A program of 1.5 GiB fits in the low 2 GiB: over the whole low memory,
	// but not over the native loader.
	img := image(t, petest.Image{Machine: i386, SizeOfImage: 0x60000000})
	l, err := preload.Plan(img, preload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkLayout(t, l)
	if !reserved(l, 0x400000, 0x60400000) {
		t.Error(l.Reservations())
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(petest.Image{}.Bytes(), uint64(0), "", false)
	f.Add(petest.Image{Machine: i386}.Bytes(), uint64(4096), "10000000-20000000,0x7c000000-0x7d000000", true)
	f.Add(petest.Image{Base: 0x7ffe0000, Relocations: []uint32{0x1000}}.Bytes(), uint64(65536), "80000000-90000000", false)
	f.Fuzz(func(t *testing.T, b []byte, low uint64, reserve string, wow64 bool) {
		img, err := pe.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		opt := preload.Options{MmapMinAddr: low, NewWoW64: wow64}
		if opt.Reserve, err = preload.ParseRanges(reserve); err != nil {
			opt.Reserve = nil
		}
		l, err := preload.Plan(img, opt)
		if err != nil {
			return
		}
		checkLayout(t, l)
		l.Picture()
	})
}
