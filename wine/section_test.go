package wine

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/internal/specfields"
)

// TestWindowsResources checks what the limits of the section windows come to on a host with four processors, alone and beside
// those of the section linux.
func TestWindowsResources(t *testing.T) {
	type (
		w = specs.WindowsResources
		l = specs.LinuxResources
	)
	memory := func(n uint64) *specs.WindowsMemoryResources { return &specs.WindowsMemoryResources{Limit: &n} }
	cpu := func(c specs.WindowsCPUResources) w { return w{CPU: &c} }
	quota := func(quota int64, period uint64) l { return l{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}} }
	shares := func(n uint64) l { return l{CPU: &specs.LinuxCPU{Shares: &n}} }
	limit := func(limit, swap int64) l { return l{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &swap}} }
	mask := func(list ...specs.WindowsCPUGroupAffinity) w { return cpu(specs.WindowsCPUResources{Affinity: list}) }
	for _, test := range []struct {
		name    string
		windows w
		linux   l
		want    l
		warning string
		err     string
	}{
		{name: "nothing"},
		{name: "zeroes", windows: w{Memory: memory(0), CPU: &specs.WindowsCPUResources{Count: new(uint64(0)), Shares: new(uint16(0)), Maximum: new(uint16(0))}}, want: l{CPU: &specs.LinuxCPU{}}},
		{name: "memory", windows: w{Memory: memory(1 << 30)}, want: limit(1<<30, 1<<30)},
		{name: "memory, the same", windows: w{Memory: memory(1 << 30)}, linux: limit(1<<30, 1<<30), want: limit(1<<30, 1<<30)},
		{name: "memory, Linux stricter", windows: w{Memory: memory(1 << 30)}, linux: limit(1<<20, 1<<20), want: limit(1<<20, 1<<20), warning: "linux.resources.memory.limit asks for 1048576, the section windows for 1073741824: 1048576 counts"},
		{name: "memory, Windows stricter", windows: w{Memory: memory(1 << 20)}, linux: limit(1<<30, 2<<30), want: limit(1<<20, 1<<20), warning: "1048576 counts"},
		{name: "memory, Linux unlimited", windows: w{Memory: memory(1 << 20)}, linux: limit(-1, -1), want: limit(1<<20, 1<<20)},
		{name: "swap is committed memory", windows: w{Memory: memory(3 << 20)}, linux: limit(1<<20, 5<<20), want: limit(1<<20, 3<<20), warning: "linux.resources.memory.swap"},
		{name: "memory beyond 63 bits", windows: w{Memory: memory(math.MaxUint64)}, err: "windows.resources.memory.limit: "},
		{name: "count", windows: cpu(specs.WindowsCPUResources{Count: new(uint64(2))}), want: quota(200000, 100000)},
		{name: "count beyond what there is", windows: cpu(specs.WindowsCPUResources{Count: new(uint64(64))}), want: quota(400000, 100000), warning: "64 are more processors than there are; 4 count"},
		{name: "maximum", windows: cpu(specs.WindowsCPUResources{Maximum: new(uint16(5000))}), want: quota(200000, 100000)},
		{name: "all", windows: cpu(specs.WindowsCPUResources{Maximum: new(uint16(10000))}), want: quota(400000, 100000)},
		{name: "little", windows: cpu(specs.WindowsCPUResources{Maximum: new(uint16(10))}), want: quota(4000, 1000000)},
		{name: "less than the kernel has", windows: cpu(specs.WindowsCPUResources{Maximum: new(uint16(1))}), err: "windows.resources.cpu.maximum: 0.0004 of a processor"},
		{name: "maximum beyond", windows: cpu(specs.WindowsCPUResources{Maximum: new(uint16(10001))}), err: "windows.resources.cpu.maximum: 10001 is not between"},
		{name: "count and maximum", windows: cpu(specs.WindowsCPUResources{Count: new(uint64(3)), Maximum: new(uint16(5000))}), want: quota(200000, 100000), warning: "the stricter, 2 processors, counts"},
		{name: "quota, Linux stricter", windows: cpu(specs.WindowsCPUResources{Count: new(uint64(1))}), linux: quota(25000, 50000), want: quota(25000, 50000), warning: "asks for 0.5 processors, the section windows for 1 processors: 0.5 counts"},
		{name: "quota, Windows stricter", windows: cpu(specs.WindowsCPUResources{Count: new(uint64(1))}), linux: quota(150000, 50000), want: quota(100000, 100000), warning: "1 counts"},
		{name: "shares", windows: cpu(specs.WindowsCPUResources{Shares: new(uint16(5000))}), want: shares(1024)},
		{name: "most shares", windows: cpu(specs.WindowsCPUResources{Shares: new(uint16(10000))}), want: shares(2048)},
		{name: "fewest shares", windows: cpu(specs.WindowsCPUResources{Shares: new(uint16(1))}), want: shares(2)},
		{name: "shares beyond", windows: cpu(specs.WindowsCPUResources{Shares: new(uint16(10001))}), err: "windows.resources.cpu.shares: 10001"},
		{name: "shares, Linux stricter", windows: cpu(specs.WindowsCPUResources{Shares: new(uint16(5000))}), linux: shares(512), want: shares(512), warning: "512 counts"},
		{name: "affinity", windows: mask(specs.WindowsCPUGroupAffinity{Mask: 0b1011}), want: l{CPU: &specs.LinuxCPU{Cpus: "0-1,3"}}},
		{name: "affinity and cpus", windows: mask(specs.WindowsCPUGroupAffinity{Mask: 0b1011}), linux: l{CPU: &specs.LinuxCPU{Cpus: "1-2"}}, want: l{CPU: &specs.LinuxCPU{Cpus: "1"}}, warning: "linux.resources.cpu.cpus asks for 1-2, the section windows for 0-1,3: 1 counts"},
		{name: "affinity apart from cpus", windows: mask(specs.WindowsCPUGroupAffinity{Mask: 1}), linux: l{CPU: &specs.LinuxCPU{Cpus: "1"}}, err: "no processor in common"},
		{name: "affinity without processors", windows: mask(specs.WindowsCPUGroupAffinity{}), err: "windows.resources.cpu.affinity[0].mask"},
		{name: "affinity to none", windows: mask(specs.WindowsCPUGroupAffinity{Mask: 1}, specs.WindowsCPUGroupAffinity{Mask: 16}), err: "affinity[1]: group 0 has no processor 4 here (the processors are 0-3)"},
		{name: "affinity in a group that is not there", windows: mask(specs.WindowsCPUGroupAffinity{Mask: 1, Group: math.MaxUint32}), err: "affinity[0]: group 4294967295"},
	} {
		t.Run(test.name, func(t *testing.T) {
			linux := test.linux
			spec := &specs.Spec{Windows: &specs.Windows{Resources: &test.windows}, Linux: &specs.Linux{Resources: &linux}}
			s, err := readWindows(spec, []int{0, 1, 2, 3})
			switch {
			case test.err != "":
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*spec.Linux.Resources, test.want) {
				t.Errorf("memory %+v, cpu %+v; want %+v, %+v", spec.Linux.Resources.Memory, spec.Linux.Resources.CPU, test.want.Memory, test.want.CPU)
			}
			if warnings := strings.Join(s.warnings, "\n"); !strings.Contains(warnings, test.warning) || (test.warning == "") != (warnings == "") {
				t.Errorf("warnings %q, want %q", warnings, test.warning)
			}
			if !reflect.DeepEqual(linux, test.linux) {
				t.Error("the caller's section has been changed")
			}
		})
	}
}

// text is a section as JSON.
func text(t *testing.T, section any) string {
	t.Helper()
	data, err := json.Marshal(section)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestEveryWindowsField changes each field of the section windows: something else must be asked of Linux, or be refused or
// warned of.
func TestEveryWindowsField(t *testing.T) {
	elsewhere := map[string]string{
		"devices.idType":                   "windows.devices is refused as a whole",
		"hyperv.utilityVMPath":             "windows.hyperv is refused as a whole",
		"resources.storage.sandboxSize":    "TestWindowsStorage",
		"network.allowUnqualifiedDNSQuery": "a resolver of Linux always does", // resolv.conf(5)
	}
	all := func() *specs.Windows {
		return &specs.Windows{
			Resources: &specs.WindowsResources{
				Memory:  &specs.WindowsMemoryResources{Limit: new(uint64(1 << 30))},
				CPU:     &specs.WindowsCPUResources{Count: new(uint64(2)), Shares: new(uint16(100)), Maximum: new(uint16(5000)), Affinity: []specs.WindowsCPUGroupAffinity{{Mask: 2, Group: 0}}},
				Storage: &specs.WindowsStorageResources{Iops: new(uint64(1000)), Bps: new(uint64(1 << 20)), SandboxSize: new(uint64(1))},
			},
		}
	}
	result := func(w *specs.Windows) string {
		var b strings.Builder
		spec := &specs.Spec{Windows: w, Linux: &specs.Linux{}}
		s, err := readWindows(spec, []int{0, 1, 2, 3})
		if err == nil && spec.Linux.Resources != nil {
			err = s.storage(spec, "/")
			b.WriteString(text(t, spec.Linux.Resources))
		}
		if err != nil {
			b.WriteString(err.Error())
		}
		return b.String() + strings.Join(s.warnings, "\n")
	}
	before := result(all())
	for _, path := range specfields.List(reflect.TypeFor[specs.Windows]()) {
		if elsewhere[path] != "" {
			continue
		}
		w := all()
		switch top, _, _ := strings.Cut(path, "."); top { // those that are refused are not in the sample
		case "devices":
			w.Devices = []specs.WindowsDevice{{}}
		case "hyperv":
			w.HyperV = &specs.WindowsHyperV{}
		case "network":
			w.Network = &specs.WindowsNetwork{}
		case "credentialSpec":
			w.CredentialSpec = map[string]any{}
		case "layerFolders":
			w.LayerFolders = []string{`C:\layer`}
		}
		if err := specfields.Change(w, path); err != nil && w.CredentialSpec == nil {
			t.Errorf("%s: %v", path, err)
		}
		if result(w) == before {
			t.Errorf("windows.%s has no effect and is not refused", path)
		}
	}
}

// TestWindowsStorage limits the disk of a folder.
func TestWindowsStorage(t *testing.T) {
	spec := func(s specs.WindowsStorageResources, block *specs.LinuxBlockIO) (*windowsSection, *specs.Spec) {
		spec := &specs.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{BlockIO: block}}, Windows: &specs.Windows{Resources: &specs.WindowsResources{Storage: &s}}}
		section, err := readWindows(spec, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		return section, spec
	}
	t.Run("no disk", func(t *testing.T) {
		s, on := spec(specs.WindowsStorageResources{Iops: new(uint64(100))}, nil)
		if err := s.storage(on, "/proc"); err == nil || !strings.Contains(err.Error(), "windows.resources.storage.iops: drive C: lies in /proc, on no disk") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("size", func(t *testing.T) {
		var st unix.Statfs_t
		if err := unix.Statfs("/", &st); err != nil {
			t.Fatal(err)
		}
		s, on := spec(specs.WindowsStorageResources{SandboxSize: new(uint64(1 << 20))}, nil)
		if err := s.storage(on, "/not/there"); err != nil {
			t.Error(err)
		}
		s, on = spec(specs.WindowsStorageResources{SandboxSize: new(uint64(st.Blocks)*uint64(st.Bsize) + 1)}, nil)
		if err := s.storage(on, "/"); err == nil || !strings.Contains(err.Error(), "windows.resources.storage.sandboxSize: ") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("rates", func(t *testing.T) {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		major, minor, err := blockDevice(dir)
		if err != nil {
			t.Skip(err)
		}
		device := specs.LinuxBlockIODevice{Major: major, Minor: minor}
		s, on := spec(specs.WindowsStorageResources{Iops: new(uint64(100)), Bps: new(uint64(1 << 20))}, &specs.LinuxBlockIO{
			ThrottleReadIOPSDevice: []specs.LinuxThrottleDevice{{LinuxBlockIODevice: device, Rate: 50}},
			ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{{LinuxBlockIODevice: device, Rate: 2 << 20}},
		})
		if err := s.storage(on, dir+"/not/yet"); err != nil {
			t.Fatal(err)
		}
		rate := func(n uint64) []specs.LinuxThrottleDevice {
			return []specs.LinuxThrottleDevice{{LinuxBlockIODevice: device, Rate: n}}
		}
		want := specs.LinuxBlockIO{ThrottleReadIOPSDevice: rate(50), ThrottleWriteIOPSDevice: rate(100), ThrottleReadBpsDevice: rate(1 << 20), ThrottleWriteBpsDevice: rate(1 << 20)}
		if got := *on.Linux.Resources.BlockIO; !reflect.DeepEqual(got, want) || len(s.warnings) != 2 {
			t.Errorf("%+v, warnings %q; want %+v", got, s.warnings, want)
		}
	})
}

// TestWindowsAlone gives a configuration without a section linux what a container needs.
func TestWindowsAlone(t *testing.T) {
	b := bundleWith(t, []string{"/app/a.exe"}, "app/a.exe")
	b.Spec.Linux, b.Spec.Mounts = nil, []specs.Mount{{Destination: `D:\data`, Source: "/srv"}, {Destination: "/dev/shm", Type: "tmpfs"}}
	b.Spec.Windows = &specs.Windows{LayerFolders: []string{`C:\layer`}}
	w, err := Recognize(b)
	if err != nil || w == nil {
		t.Fatalf("%v, %v", w, err)
	}
	defer w.Close()
	places := map[string]int{}
	for _, m := range w.spec.Mounts {
		places[m.Destination]++
	}
	if b.Spec.Linux != nil || w.spec.Linux == nil || len(w.spec.Linux.Namespaces) < 6 || places["/proc"] != 1 || places["/dev/shm"] != 1 || places[`D:\data`] != 1 {
		t.Errorf("section linux %+v, mounts %v", w.spec.Linux, places)
	}
}

// TestSplitLine splits command lines; those of Microsoft's own table ("main function and command-line arguments") are among them.
func TestSplitLine(t *testing.T) {
	for line, want := range map[string][]string{
		``:                           nil,
		`  `:                         nil,
		`a`:                          {"a"},
		`  a  b	c `:                  {"a", "b", "c"},
		`"C:\Program Files\a.exe" b`: {`C:\Program Files\a.exe`, "b"},
		`C:\"Program Files"\a.exe`:   {`C:\Program Files\a.exe`},
		`"C:\a\" b`:                  {`C:\a\`, "b"}, // no escape in a program's name
		`p "abc" d e`:                {"p", "abc", "d", "e"},
		`p a\\b d"e f"g h`:           {"p", `a\\b`, "de fg", "h"},
		`p a\\\"b c d`:               {"p", `a\"b`, "c", "d"},
		`p a\\\\"b c" d e`:           {"p", `a\\b c`, "d", "e"},
		`p a"b"" c d`:                {"p", `ab" c d`},
		`p "" x`:                     {"p", "", "x"},
		`p "a \" b" \`:               {"p", `a " b`, `\`},
		`cmd /c "echo "a b""`:        {"cmd", "/c", "echo a", "b"},
		`"open`:                      {"open"},
		`p "open`:                    {"p", "open"},
	} {
		if got := splitLine(line); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// FuzzSplitLine checks that no command line is too odd.
func FuzzSplitLine(f *testing.F) {
	f.Add(`a "b\\" c`)
	f.Fuzz(func(t *testing.T, line string) {
		for i, arg := range splitLine(line) {
			if len(arg) > len(line) {
				t.Errorf("argument %d of %q: %q", i, line, arg)
			}
		}
	})
}

// TestParseList reads lists of processors and writes them.
func TestParseList(t *testing.T) {
	for text, want := range map[string]string{"0": "0", "0-3": "0-3", "3,1,0": "0-1,3", "0-1,1-2": "0-2", " 4 , 6-7": "4,6-7"} {
		if list, err := parseList(text); err != nil || formatList(list) != want {
			t.Errorf("%q: %v, %v; want %s", text, list, err, want)
		}
	}
	for _, text := range []string{"", "a", "-1", "3-1", "0-", "1,,2", "0-99999999"} {
		if list, err := parseList(text); err == nil {
			t.Errorf("%q: %v", text, list)
		}
	}
}

// TestWindowsUser checks names of process.user.username.
func TestWindowsUser(t *testing.T) {
	for name, want := range map[string]string{
		"ContainerAdministrator": "ContainerAdministrator", `User Manager\ContainerUser`: "ContainerUser", "Jürgen": "Jürgen",
		"..": "", `a/b`: "", `DOMAIN\`: "", "Public": "", "a*": "", "x ": "", "\xff": "", strings.Repeat("x", 256): "",
	} {
		got, err := windowsUser(nil, specs.User{Username: name})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", name, got, err, want)
		}
	}
}
