package preload_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/pe/petest"
)

// fakeProcess is a process made of a memory map, the PE files in it and some memory.
type fakeProcess struct {
	maps    []preload.Mapping
	images  map[string]petest.Image // by the name of the file
	memory  map[uint64][]byte       // by address
	private map[uint64]uint64       // by the start of the range
	facts   preload.ProcessFacts
}

func (p *fakeProcess) Facts() preload.ProcessFacts { return p.facts }

func (p *fakeProcess) Mappings() ([]preload.Mapping, error) { return p.maps, nil }

func (p *fakeProcess) Image(m preload.Mapping) (*pe.Image, io.Closer, error) {
	im, ok := p.images[m.Path[strings.LastIndexByte(m.Path, '/')+1:]]
	if !ok {
		return nil, nil, errors.New("no PE file")
	}
	b := im.Bytes()
	img, err := pe.Open(bytes.NewReader(b), int64(len(b)))
	return img, io.NopCloser(nil), err
}

func (p *fakeProcess) Private(r preload.Range) (uint64, error) {
	if p.memory[r.Start] != nil {
		return 4096, nil
	}
	return p.private[r.Start], nil
}

func (p *fakeProcess) ReadAt(b []byte, at int64) (int, error) {
	for start, memory := range p.memory {
		if off := uint64(at) - start; off < uint64(len(memory)) {
			if n := copy(b, memory[off:]); n == len(b) {
				return n, nil
			}
		}
	}
	return 0, io.ErrUnexpectedEOF
}

// put64 writes words into memory, by offset.
func put64(size int, words map[int]uint64) []byte {
	b := make([]byte, size)
	for at, value := range words {
		binary.LittleEndian.PutUint64(b[at:], value)
	}
	return b
}

func put32(size int, words map[int]uint32) []byte {
	b := make([]byte, size)
	for at, value := range words {
		binary.LittleEndian.PutUint32(b[at:], value)
	}
	return b
}

func readMaps(t *testing.T, text string) []preload.Mapping {
	t.Helper()
	maps, err := preload.ParseMaps(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return maps
}

// wine8 is a program linked at 0x400000 in Wine 8, of which the blocks have been added.
func wine8(t *testing.T) *fakeProcess {
	t.Helper()
	text, err := os.ReadFile("testdata/wine8-preloader.maps")
	if err != nil {
		t.Fatal(err)
	}
	dll := func(base uint64, size uint32) petest.Image {
		return petest.Image{Base: base, SizeOfImage: size, Characteristics: uint16(pe.DLL), DLLCharacteristics: uint16(pe.DynamicBase)}
	}
	moved := dll(0x10000000, 0x337000)
	moved.Relocations = []uint32{0x1000, 0x1008, 0x2000}
	return &fakeProcess{
		maps: readMaps(t, string(text)),
		images: map[string]petest.Image{
			"p400.exe":       {Base: 0x400000, SizeOfImage: 0x3d000},
			"kernelbase.dll": dll(0x7b000000, 0x5e5000),
			"kernel32.dll":   dll(0x7b600000, 0x195000),
			"ntdll.dll":      dll(0x170000000, 0x1f1000),
			"msvcrt.dll":     moved,
		},
		memory: map[uint64][]byte{
			0x7ffc0000: put64(0x2000, map[int]uint64{0x08: 0x840000, 0x10: 0x442000, 0x30: 0x7ffc0000, 0x48: 0x24, 0x60: 0x7ffd0000, 0x1478: 0x440000}),
			0x7ffd0000: put64(0x1000, map[int]uint64{0x10: 0x400000, 0x30: 0x940000}),
			0x940000:   put32(0x1000, map[int]uint32{0x10: 0xffeeffee}),
		},
		private: map[uint64]uint64{0x228280000: 5 << 12, 0x440000: 6 << 12},
	}
}

func surveyText(s *preload.Survey) string {
	var b strings.Builder
	for _, f := range s.Findings {
		fmt.Fprintf(&b, "%-30s %s: %s %s\n", f.Region.Range, f.Region.Name, f.Verdict, f.Detail)
	}
	for _, p := range s.Parts {
		fmt.Fprintf(&b, "%-30s %s %s %s: %s %s\n", p.Range, p.Kind, p.Name, strings.Join(p.Access(), ","), p.Verdict, p.Detail)
	}
	return b.String()
}

func TestSurveyWine8(t *testing.T) {
	l, err := preload.Plan(image(t, petest.Image{Base: 0x400000, SizeOfImage: 0x3d000, StackReserve: 4 << 20}), preload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := preload.Look(wine8(t), l, "P400.exe", nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Broken() != 0 {
		t.Errorf("%d promises broken", s.Broken())
	}
	golden(t, "survey-wine8.txt", surveyText(s))
	golden(t, "survey-wine8.svg", string(s.SVG("p400.exe")))
}

// TestSurveyBroken breaks one thing at a time.
func TestSurveyBroken(t *testing.T) {
	plan := petest.Image{Base: 0x400000, SizeOfImage: 0x3d000, StackReserve: 4 << 20}
	narrow := petest.Image{Machine: i386, Base: 0x400000, SizeOfImage: 0x3d000}
	for _, tt := range []struct {
		name  string
		plan  petest.Image
		spoil func(p *fakeProcess)
		want  string
	}{
		{"small stack", petest.Image{Base: 0x400000, SizeOfImage: 0x3d000, StackReserve: 64 << 20}, func(*fakeProcess) {},
			"main thread's stack: the program asks for 64 MiB"},
		{"native library", plan, func(p *fakeProcess) {
			for i := range p.maps {
				if p.maps[i].Range.Start == 0x01480000 {
					p.maps[i].Path, p.maps[i].Inode = "/usr/lib/libevil.so", 7
				}
			}
		}, "low memory: native code: /usr/lib/libevil.so at 1480000-7b000000 (---p)\nsystem libraries: native code: /usr/lib/libevil.so at 1480000-7b000000 (---p)"},
		{"heap above the limit", narrow, func(p *fakeProcess) {
			p.maps = slices.DeleteFunc(p.maps, func(m preload.Mapping) bool { return m.Range.End > 0x100000000 })
			p.maps = append(p.maps, readMaps(t, "90000000-90010000 rw-p 00000000 00:00 0\n")...)
			p.memory = map[uint64][]byte{
				0x7ffd0000: put32(0x2000, map[int]uint32{0x04: 0x840000, 0x08: 0x442000, 0x18: 0x7ffd0000, 0x24: 0x24, 0x30: 0x7ffdf000, 0xe0c: 0x440000}),
				0x7ffdf000: put32(0x1000, map[int]uint32{0x08: 0x400000, 0x18: 0x90000000}),
				0x90000000: put32(0x1000, map[int]uint32{0x08: 0xffeeffee}),
			}
		}, "process heap: ends above 0x7fff0000, the limit of this program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := preload.Plan(image(t, tt.plan), preload.Options{})
			if err != nil {
				t.Fatal(err)
			}
			p := wine8(t)
			tt.spoil(p)
			s, err := preload.Look(p, l, "p400.exe", nil)
			if err != nil {
				t.Fatal(err)
			}
			var broken []string
			for _, f := range s.Findings {
				// A 32-bit process has other reservations, which this one is without.
				if f.Verdict == preload.Broken && l.Machine == pe.MachineAMD64 {
					broken = append(broken, f.Region.Name+": "+f.Detail)
				}
			}
			for _, part := range s.Parts {
				if part.Verdict == preload.Broken {
					broken = append(broken, part.Name+": "+part.Detail)
				}
			}
			if got := strings.Join(broken, "\n"); got != tt.want || s.Broken() == 0 {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestSurveyCollision has two libraries that want the same base: the second has moved.
func TestSurveyCollision(t *testing.T) {
	l, err := preload.Plan(image(t, petest.Image{Base: 0x400000, SizeOfImage: 0x3d000}), preload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := wine8(t)
	p.maps = append(p.maps, readMaps(t, "700000000000-700000010000 r--p 00000000 08:01 5 /app/second.dll\n")...)
	slices.SortFunc(p.maps, func(a, b preload.Mapping) int { return int(a.Range.Start>>12) - int(b.Range.Start>>12) })
	p.images["second.dll"] = petest.Image{Base: 0x7b600000, SizeOfImage: 0x10000, Characteristics: uint16(pe.DLL), Relocations: []uint32{0x1000}}
	p.private[0x700000000000] = 4096
	s, err := preload.Look(p, l, "p400.exe", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range s.Parts {
		if part.Name == "second.dll" {
			if want := "wants 0x7b600000, where kernel32.dll is; 1 page relocated, 4 KiB private"; part.Verdict != preload.Moved || part.Detail != want {
				t.Errorf("%s: %s, want %s", part.Verdict, part.Detail, want)
			}
			return
		}
	}
	t.Error("second.dll was not found")
}

// TestSurveySelf looks at a process that is not Windows at all.
func TestSurveySelf(t *testing.T) {
	p, err := preload.OpenProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, _, _, err := preload.MainImage(p); !errors.Is(err, preload.ErrNotWindows) {
		t.Errorf("%v, want %v", err, preload.ErrNotWindows)
	}
	maps, err := p.Mappings()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		if m.Path == "[stack]" {
			if n, err := p.Private(m.Range); err != nil || n == 0 || n > m.Range.Size() {
				t.Errorf("%d bytes of the stack are private (%v)", n, err)
			}
		}
	}
	if start, err := p.Start(); err != nil || start == 0 {
		t.Errorf("started at %d (%v)", start, err)
	}
}

// FuzzSurvey gives a process arbitrary memory where its blocks are looked for.
func FuzzSurvey(f *testing.F) {
	l, err := preload.Plan(fuzzImage(), preload.Options{})
	if err != nil {
		f.Fatal(err)
	}
	const maps = "00010000-00400000 rw-p 00000000 00:00 0\n00400000-00401000 r--p 00000000 08:01 42 /app/a.exe\n" +
		"00401000-7ffc0000 rw-p 00000000 00:00 0\n7ffc0000-7ffe0000 rw-p 00000000 00:00 0\n7ffe0000-7ffe1000 r--s 00000000 00:01 7 /x\n"
	f.Add([]byte(maps+"7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]\n"), put64(0x2000, map[int]uint64{0x08: 0x840000, 0x10: 0x442000, 0x30: 0x7ffc0000, 0x60: 0x7ffc1000, 0x1478: 0x440000, 0x1030: 0x7ffc1000}))
	f.Add([]byte(maps), put32(0x2000, map[int]uint32{0x04: 0x840000, 0x08: 0x442000, 0x18: 0x7ffc0000, 0x30: 0x7ffc1000, 0xe0c: 0x440000, 0x1018: 0x500000}))
	f.Fuzz(func(t *testing.T, text, memory []byte) {
		maps, err := preload.ParseMaps(bytes.NewReader(text))
		if err != nil {
			return
		}
		p := &fakeProcess{maps: maps, images: map[string]petest.Image{"a.exe": {Base: 0x400000, SizeOfImage: 0x7fff0000}}, memory: map[uint64][]byte{0x7ffc0000: memory}}
		s, err := preload.Look(p, l, "a.exe", nil)
		if err != nil {
			t.Fatal(err)
		}
		last := uint64(0)
		for _, part := range s.Parts {
			if part.Range.Empty() || part.Range.Start < last || len(part.Mappings) == 0 || part.Kind == "" || part.Region >= len(l.Regions) {
				t.Fatalf("after %#x: %+v", last, part)
			}
			last = part.Range.End
		}
	})
}

func TestPlanText(t *testing.T) {
	for _, im := range []petest.Image{{}, {Machine: i386}, {Machine: i386, Base: 0x90000000, Relocations: []uint32{0x1000}}} {
		want, err := preload.Plan(image(t, im), preload.Options{MmapMinAddr: 1 << 17, NewWoW64: im.Machine == i386, KeepsReserved: true, Legacy: true, SmallestStack: 1 << 16,
			Loader: preload.Range{Start: 0x7d000000, End: 0x7d005000}, Reserve: []preload.Range{{Start: 0x500000000, End: 0x500010000}}})
		if err != nil {
			t.Fatal(err)
		}
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got preload.Layout
		if err := got.UnmarshalText(text); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		again, err := got.MarshalText()
		if err != nil || string(again) != string(text) || !slices.Equal(got.Regions, want.Regions) || got.Moved != want.Moved || got.StackSize != want.StackSize {
			t.Errorf("%v\n%s\n%s", err, text, again)
		}
		if b, err := got.Again(image(t, im)); err != nil || !slices.Equal(b.Regions, want.Regions) {
			t.Errorf("planned again: %v", err)
		}
	}
}

func FuzzPlanText(f *testing.F) {
	l, err := preload.Plan(fuzzImage(), preload.Options{})
	if err != nil {
		f.Fatal(err)
	}
	text, err := l.MarshalText()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var l preload.Layout
		if l.UnmarshalText(text) == nil {
			preload.Audit(&l, nil, "a.exe")
			l.Reservations()
		}
	})
}
