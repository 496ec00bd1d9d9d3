package program

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"winbox/oci"
)

// FuzzCompile compiles whatever the bundle reader accepts. What comes out can be encoded and printed, and leads nowhere
// but to its own instructions; what is refused is refused in one line.
func FuzzCompile(f *testing.F) {
	const minimal = `{"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/"}, "linux": {}}`
	f.Add([]byte(minimal), false)
	whole, err := os.ReadFile("testdata/default-config.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, true)
	for _, linux := range []string{
		`{"namespaces": [{"type": "user"}, {"type": "mount"}, {"type": "time"}], "uidMappings": [{"hostID": 1, "size": 1}], "timeOffsets": {"boottime": {"secs": 5}}}`,
		`{"namespaces": [{"type": "mount", "path": "/x"}, {"type": "pid", "path": "/y"}], "sysctl": {"net.ipv4.ip_forward": "1"}}`,
		`{"namespaces": [{"type": "mount"}], "maskedPaths": ["/proc/kcore", "/"], "readonlyPaths": ["/proc", "/proc/sys"], "rootfsPropagation": "rshared"}`,
		`{"devices": [{"path": "/dev/x/y", "type": "b", "major": -1, "minor": 300}, {"path": "/dev/null", "type": "p"}]}`,
		`{"personality": {"domain": "LINUX32"}, "resources": {"devices": [{"allow": true}]}}`,
	} {
		f.Add([]byte(strings.Replace(minimal, `"linux": {}`, `"linux": `+linux, 1)), true)
	}
	for _, mounts := range []string{
		`[{"destination": "/proc", "type": "proc"}, {"destination": "/proc/x", "type": "tmpfs"}, {"destination": "/sys", "type": "sysfs"}]`,
		`[{"destination": "/a//../b/", "type": "tmpfs", "options": ["ro", "tmpcopyup", "size=1", "rshared"]}, {"destination": "/b", "options": ["remount", "rro"]}]`,
		`[{"destination": "/x", "type": "bind", "source": "rel", "options": ["rbind", "idmap"]}, {"destination": "/c", "type": "cgroup"}]`,
	} {
		f.Add([]byte(strings.Replace(minimal, `"linux": {}`, `"linux": {"namespaces": [{"type": "mount"}]}, "mounts": `+mounts, 1)), false)
	}
	f.Add([]byte(strings.Replace(minimal, `"cwd": "/"`, `"cwd": "/a/b", "terminal": true, "user": {"uid": 4294967295, "additionalGids": [1]}, "rlimits": [{"type": "RLIMIT_CPU"}], "capabilities": {"bounding": ["CAP_KILL", "x"]}`, 1)), true)
	f.Fuzz(func(t *testing.T, data []byte, start bool) {
		spec, err := oci.Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		opt := testOptions()
		if start {
			opt.Listen = -1
		}
		p, err := Compile(spec, opt)
		if err != nil {
			if err.Error() == "" || len(err.Error()) > len(data)*8+1000 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			return
		}
		for i, in := range p.Instructions {
			if in.OnOK <= i || in.OnOK > len(p.Instructions) || in.OnErr <= i || in.OnErr > len(p.Instructions) || len(in.Tolerate) > 4 || len(in.Args) > 6 {
				t.Errorf("instruction %d: %+v", i, in)
			}
			if in.Dst < 0 || int(in.Dst) >= len(p.Registers) {
				t.Errorf("instruction %d: register %d of %d", i, in.Dst, len(p.Registers))
			}
		}
		if last := p.Instructions[len(p.Instructions)-1]; last.Op != OpSupervise && last.Number != unix.SYS_EXECVE {
			t.Errorf("the program ends with %s", last.Name)
		}
		if _, err := p.Encode(); err != nil && !strings.Contains(err.Error(), "too") && !strings.Contains(err.Error(), "more") {
			t.Errorf("encode: %v", err)
		}
		if err := p.Print(new(bytes.Buffer)); err != nil {
			t.Errorf("print: %v", err)
		}
	})
}
