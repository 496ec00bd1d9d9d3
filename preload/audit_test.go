package preload_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/pe/petest"
)

// TestParseMapsSelf reads a real map: this process's.
func TestParseMapsSelf(t *testing.T) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	maps, err := preload.ParseMaps(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		if m.Path == "[stack]" && strings.HasPrefix(m.Perms, "rw") {
			return
		}
	}
	t.Errorf("%d mappings and no stack", len(maps))
}

func TestParseMaps(t *testing.T) {
	got, err := preload.ParseMaps(strings.NewReader(
		"00400000-00401000 r--p 00002000 08:01 42                         /app/with space.exe (deleted)\n" +
			"7ffe0000-7ffe1000 rw-p 00000000 00:00 0 \n" +
			"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"))
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	want := preload.Mapping{Range: preload.Range{Start: 0x400000, End: 0x401000}, Perms: "r--p", Offset: 0x2000, Device: "08:01", Inode: 42, Path: "/app/with space.exe (deleted)"}
	if got[0] != want || got[1].Path != "" || got[2].Path != "[vsyscall]" {
		t.Errorf("%+v", got)
	}
	for in, want := range map[string]string{
		"hello\n":                  "maps: line 1: 1 fields, want at least 5",
		"1000-2000 r--p 0 0:0 x\n": `maps: line 1: strconv.ParseUint: parsing "x": invalid syntax`,
		"2000-1000 r--p 0 0:0 0\n": `maps: line 1: "2000-1000 r--p 0 0:0 0" is no mapping`,
		"1000-2000 r--p 0 0:0 0\n0-1000 r--p 0 0:0 0\n": "maps: line 2: 0-1000 is not above the mapping before it",
		strings.Repeat("x", 40000):                      "maps: bufio.Scanner: token too long",
	} {
		if _, err := preload.ParseMaps(strings.NewReader(in)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func FuzzParseMaps(f *testing.F) {
	f.Add("00400000-00401000 r--p 00000000 08:01 42    /app/a.exe\n7ffe0000-7ffe1000 rw-p 00000000 00:00 0 \n")
	l, err := preload.Plan(fuzzImage(), preload.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		maps, err := preload.ParseMaps(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, f := range preload.Audit(l, maps, "a.exe") {
			if f.Verdict == "" || f.Detail == "" {
				t.Errorf("empty finding %+v", f)
			}
		}
	})
}

func fuzzImage() *pe.Image {
	b := petest.Image{Base: 0x400000}.Bytes()
	img, err := pe.Open(strings.NewReader(string(b)), int64(len(b)))
	if err != nil {
		panic(err)
	}
	return img
}

// TestAuditWine8 audits two maps of a program linked at 0x400000 without
// relocations, with a stack of 4 MiB, in Wine 8 with randomisation off: one
// started by preload/stub with the plan's own list, one without a preloader.
func TestAuditWine8(t *testing.T) {
	l, err := preload.Plan(image(t, petest.Image{Base: 0x400000, SizeOfImage: 0x3d000, StackReserve: 4 << 20}), preload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wine8-preloader", "wine8-alone"} {
		f, err := os.Open("testdata/" + name + ".maps")
		if err != nil {
			t.Fatal(err)
		}
		maps, err := preload.ParseMaps(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", auditText(preload.Audit(l, maps, "/home/me/P400.exe")))
	}
}

func auditText(findings []preload.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%-8s %-30s %s: %s\n", f.Verdict, f.Region.Range, f.Region.Name, f.Detail)
	}
	return b.String()
}

func TestAuditBroken(t *testing.T) {
	l, err := preload.Plan(image(t, petest.Image{Base: 0x400000}), preload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const exe = "00400000-00401000 r--p 00000000 08:01 42 /app/a.exe\n"
	const shared = "7ffe0000-7ffe1000 r--s 00000000 00:01 7 /tmp/shared (deleted)\n"
	tests := []struct {
		name, maps, want string
	}{
		{"good", exe + shared, ""},
		{"null page", "00000000-00001000 r--p 00000000 00:00 0 \n" + exe + shared, "lowest 64 KiB: mapped: memory at 0-1000 (r--p)"},
		{"image moved", shared + "140000000-140001000 r--p 00000000 08:01 42 /app/a.exe\n", "program: at 0x140000000 instead of 0x400000"},
		{"other image", "00400000-00401000 r--p 00000000 08:01 42 /app/b.exe\n" + shared, "program: a.exe is not mapped at 0x400000"},
		{"image from its second page", "00400000-00401000 r--p 00001000 08:01 42 /app/a.exe\n" + shared, "program: a.exe is not mapped at 0x400000"},
		{"library in the image", exe + "00402000-00403000 r-xp 00000000 08:01 43 /lib/libc.so.6\n" + shared, "program: native code in the image's range: /lib/libc.so.6 at 402000-403000"},
		{"library in low memory", exe + "10000000-10001000 r-xp 00000000 08:01 43 /lib/libz.so\n" + shared, "low memory: native code: /lib/libz.so at 10000000-10001000 (r-xp)"},
		{"native heap among DLLs", exe + shared + "170000000-170021000 rw-p 00000000 00:00 0 [heap]\n", "programs and libraries: native code: [heap] at 170000000-170021000 (rw-p)"},
		{"no shared user data", exe, "shared user data: nothing readable at 0x7ffe0000"},
		{"named memory is not native", exe + "10000000-10001000 rw-p 00000000 00:00 0 [anon:x]\n" + shared, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			maps, err := preload.ParseMaps(strings.NewReader(tt.maps))
			if err != nil {
				t.Fatal(err)
			}
			maps = fillHoles(l, maps)
			var broken []string
			for _, f := range preload.Audit(l, maps, "a.exe") {
				if f.Verdict == preload.Broken {
					broken = append(broken, f.Region.Name+": "+f.Detail)
				}
			}
			if got := strings.Join(broken, "\n"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// fillHoles adds what a preloader that works would have mapped: everything that
// is to be reserved or filled, around maps.
func fillHoles(l *preload.Layout, maps []preload.Mapping) []preload.Mapping {
	want := append(l.Reservations(), preload.Range{Start: 0x7fffffff0000, End: 0x7ffffffff000})
	var out []preload.Mapping
	for _, r := range want {
		for len(maps) > 0 && maps[0].Range.Start < r.End {
			m := maps[0]
			maps = maps[1:]
			if r.Start < m.Range.Start {
				out = append(out, preload.Mapping{Range: preload.Range{Start: r.Start, End: m.Range.Start}, Perms: "---p"})
			}
			out = append(out, m)
			r.Start = max(r.Start, m.Range.End)
		}
		if !r.Empty() {
			out = append(out, preload.Mapping{Range: r, Perms: "---p"})
		}
	}
	return out
}

func TestAuditHole(t *testing.T) {
	l, err := preload.Plan(image(t, petest.Image{Base: 0x400000}), preload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range preload.Audit(l, nil, "a.exe") {
		if held := f.Verdict == preload.Held; held != (f.Region.State == preload.StateUnmapped) {
			t.Errorf("of a process that maps nothing: %+v", f)
		}
	}
}

func TestRunnable(t *testing.T) {
	for _, tt := range []struct {
		im   petest.Image
		mono bool
		want string
	}{
		{petest.Image{}, false, ""},
		{petest.Image{Machine: i386, Subsystem: 2}, false, ""},
		{petest.Image{Machine: 0xaa64}, false, "built for ARM64; this host runs x86-64 and 32-bit x86 programs"},
		{petest.Image{Machine: 0x1c4}, false, "built for ARM; this host runs x86-64 and 32-bit x86 programs"},
		{petest.Image{Characteristics: uint16(pe.DLL)}, false, "a library (DLL), not a program"},
		{petest.Image{Subsystem: 1}, false, "a driver or system program (native subsystem), which needs the Windows kernel"},
		{petest.Image{Subsystem: 10}, false, `a program for the subsystem "efi", not for Windows`},
		{petest.Image{CLRFlags: pe.CLRILOnly}, false, "a .NET-only program: needs Mono, which this runtime does not have"},
		{petest.Image{CLRFlags: pe.CLRNativeEntryPoint}, false, "a program of .NET and native code: needs Mono, which this runtime does not have"},
		{petest.Image{CLRFlags: pe.CLRILOnly}, true, ""},
	} {
		err := preload.Runnable(image(t, tt.im), tt.mono)
		if got := fmt.Sprint(err); got != tt.want && (err != nil || tt.want != "") {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestExitCode(t *testing.T) {
	_, _, missing := pe.OpenFile(t.TempDir() + "/none.exe")
	_, _, directory := pe.OpenFile(t.TempDir())
	if a, b := preload.ExitCode(missing), preload.ExitCode(directory); a != 127 || b != 126 {
		t.Error(a, b)
	}
}
