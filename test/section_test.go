package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestWindowsSection runs bundles with the section windows and Windows' own fields of the process.
func TestWindowsSection(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("line")
	writeFile(t, b.dir, "data/file.txt", []byte("content\r\n"))
	alone := func(change func(*specs.Spec)) func(*specs.Spec) {
		bare := b.bare("line.exe")
		return func(s *specs.Spec) {
			bare(s)
			if change != nil {
				change(s)
			}
		}
	}
	for _, test := range []struct {
		name   string
		change func(*specs.Spec)
		args   []string
		out    []string
		code   int
		err    string
	}{
		{name: "command line as it is", change: alone(func(s *specs.Spec) { s.Process.CommandLine = `C:\app\line.exe  a "b c"d \"e  ""  f"g` }),
			out: []string{`line=C:\app\line.exe  a "b c"d \"e  ""  f"g`, "[a]", "[b cd]", `["e]`, "[]", "[fg]"}},
		{name: "the program quoted, and arguments unused", change: alone(func(s *specs.Spec) { s.Process.CommandLine = `"C:\app\line.exe"` }), args: []string{"/no/such"},
			out: []string{`line="C:\app\line.exe"`}},
		{name: "Windows' own by name", change: alone(func(s *specs.Spec) { s.Process.CommandLine = `cmd /c echo "a  b" ^& c` }), out: []string{`"a  b" & c`}},
		{name: "no such program", change: alone(func(s *specs.Spec) { s.Process.CommandLine = `C:\app\none.exe` }), code: 1, err: `exec: "C:\\app\\none.exe"`},
		{name: "user", change: alone(func(s *specs.Spec) { s.Process.User.Username = "ContainerAdministrator" }), args: []string{"/app/line.exe"},
			out: []string{`user=ContainerAdministrator profile=C:\users\ContainerAdministrator 1 folder=`}},
		{name: "bad user", change: alone(func(s *specs.Spec) { s.Process.User.Username = "../x" }), args: []string{"/app/line.exe"}, code: 1, err: "process.user.username: "},
		{name: "no section linux, paths of Windows", change: alone(func(s *specs.Spec) {
			s.Linux, s.Windows, s.Process.Cwd = nil, &specs.Windows{LayerFolders: []string{`C:\layer`}}, `E:\`
			s.Mounts = []specs.Mount{{Destination: `E:\`, Source: filepath.Join(b.dir, "data")}}
			s.Process.CommandLine = `cmd /c cd & type file.txt`
		}), out: []string{`E:\`, "content"}, err: "windows.layerFolders: not used"},
		{name: "the stricter limit counts", change: alone(func(s *specs.Spec) {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(1 << 30))}
			s.Windows = &specs.Windows{Resources: &specs.WindowsResources{Memory: &specs.WindowsMemoryResources{Limit: new(uint64(256 << 20))}}}
		}), args: []string{"/app/line.exe"}, out: []string{"user="}, err: "linux.resources.memory.limit asks for 1073741824, the section windows for 268435456: 268435456 counts"},
		{name: "Hyper-V", change: alone(func(s *specs.Spec) { s.Windows = &specs.Windows{HyperV: &specs.WindowsHyperV{}} }), args: []string{"/app/line.exe"}, code: 1, err: "windows.hyperv: "},
		{name: "a Linux program", change: func(s *specs.Spec) { s.Windows = &specs.Windows{} }, args: []string{"/bin/sh", "-c", "echo linux"}, out: []string{"linux"}, err: "windows: no effect"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := *b
			b.t = t
			c := b.call("run", "--bundle", b.bundle(test.change, test.args...), b.id(strings.ReplaceAll(strings.ReplaceAll(test.name, " ", "-"), "'", "")[:4])).wait()
			for _, line := range test.out {
				if !strings.Contains("\n"+c.text(), "\n"+line) {
					t.Errorf("output %q, want the line %q", c.text(), line)
				}
			}
			if c.code() != test.code || !strings.Contains(c.err.String(), test.err) || test.err == "" && c.err.Len() > 0 || strings.Contains(c.text(), "a variable is left") {
				t.Errorf("exit code %d, output %q, error %q; want %d, %q", c.code(), c.text(), c.err.String(), test.code, test.err)
			}
		})
	}
}

// TestWindowsSectionLimits reads what the section windows has come to from the control group, and has exec take a command
// line, too.
func TestWindowsSectionLimits(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	wait := b.program("wait")
	b.program("line")
	bare := b.bare(wait)
	dir := b.bundle(func(s *specs.Spec) {
		bare(s)
		s.Linux.Resources = nil
		s.Windows = &specs.Windows{Resources: &specs.WindowsResources{
			Memory: &specs.WindowsMemoryResources{Limit: new(uint64(512 << 20))},
			CPU: &specs.WindowsCPUResources{
				Count: new(uint64(1)), Shares: new(uint16(2500)), Affinity: []specs.WindowsCPUGroupAffinity{{Mask: 1}},
			},
		}}
	}, "/app/"+wait)
	id := b.id("limits")
	c := b.call("run", "--detach", "--bundle", dir, id)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	c.Stdin, c.Stdout, c.Stderr = null, null, null
	if c.wait(); c.code() != 0 {
		t.Fatalf("exit code %d", c.code())
	}
	defer b.call("delete", "--force", id).wait()
	stats := b.call("events", "--stats", id).wait()
	var event struct {
		Data struct {
			Memory struct {
				Usage, Swap struct{ Limit uint64 }
			}
			CPUSet struct{ CPUs []int }
		}
	}
	if err := json.Unmarshal(stats.out.Bytes(), &event); err != nil {
		t.Fatal(err)
	}
	if d := event.Data; d.Memory.Usage.Limit != 512<<20 || len(d.CPUSet.CPUs) != 1 || d.CPUSet.CPUs[0] != 0 {
		t.Errorf("%+v", d)
	}
	for file, want := range map[string]string{"cpu.shares": "512\n", "cpu.cfs_quota_us": "100000\n", "cpu.cfs_period_us": "100000\n"} {
		if text := readFile(t, filepath.Join("/sys/fs/cgroup/cpu/winbox-"+id, file)); text != want {
			t.Errorf("%s: %q, want %q", file, text, want)
		}
	}
	process := writeFile(t, b.dir, "process.json", []byte(`{"commandLine": "cmd  /c  echo \"x  y\"", "cwd": "/", "env": ["PATH=/bin"]}`))
	c = b.call("exec", "--process", process, id).wait()
	c.want(0, "\"x  y\"\n")
}
