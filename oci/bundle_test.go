package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const minimal = `{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/"}, "linux": {}}`

func TestDecode(t *testing.T) {
	tests := []struct {
		name, text string
		err        string // empty: it is accepted
	}{
		{"minimal", minimal, ""},
		{"newest version", strings.Replace(minimal, "1.0.2", "1.3.0", 1), ""},
		{"later minor version", strings.Replace(minimal, "1.0.2", "1.99.0", 1), ""},
		{"version in the making", strings.Replace(minimal, "1.0.2", "1.0.2-dev", 1), ""},
		{"unknown fields", strings.Replace(minimal, `"linux": {}`, `"linux": {"strange": [1]}, "stranger": {"a": null}`, 1), ""},
		{"white space", "\n\t " + minimal + "\n", ""},
		{"empty", "", "not valid JSON: unexpected end of JSON input"},
		{"cut off", minimal[:40], "not valid JSON: unexpected end of JSON input"},
		{"not JSON", "root: rootfs", "not valid JSON: invalid character 'r'"},
		{"more behind it", minimal + "{}", "not valid JSON: invalid character '{' after top-level value"},
		{"null", "null", `ociVersion: "" is not supported`},
		{"array", "[]", "the whole: JSON type array where the specification wants specs.Spec"},
		{"wrong type", strings.Replace(minimal, `["/bin/true"]`, `"/bin/true"`, 1), "process.args: JSON type string where the specification wants []string"},
		{"wrong type inside", strings.Replace(minimal, `"linux": {}`, `"linux": {"resources": {"memory": {"limit": "1g"}}}`, 1), "linux.resources.memory.limit: JSON type string where the specification wants int64"},
		{"number out of range", strings.Replace(minimal, `"cwd"`, `"user": {"uid": -1}, "cwd"`, 1), "process.user.uid: JSON type number -1 where the specification wants uint32"},
		{"no version", strings.Replace(minimal, "ociVersion", "version", 1), `ociVersion: "" is not supported`},
		{"version 2", strings.Replace(minimal, "1.0.2", "2.0.0", 1), `ociVersion: "2.0.0" is not supported (winbox implements 1.0 to `},
		{"version 0", strings.Replace(minimal, "1.0.2", "0.5.0", 1), `ociVersion: "0.5.0" is not supported`},
		{"version is a word", strings.Replace(minimal, "1.0.2", "one", 1), `ociVersion: "one" is not supported`},
		{"no root", strings.Replace(minimal, `"root"`, `"toor"`, 1), "root.path: missing"},
		{"no root path", strings.Replace(minimal, `"path"`, `"htap"`, 1), "root.path: missing"},
		{"no process", strings.Replace(minimal, `"process"`, `"ssecorp"`, 1), "process: missing"},
		{"no arguments", strings.Replace(minimal, `["/bin/true"]`, `[]`, 1), "process.args: empty"},
		{"empty argument", strings.Replace(minimal, `"/bin/true"`, `""`, 1), "process.args: empty"},
		{"zero byte in an argument", strings.Replace(minimal, `"/bin/true"`, `"a", "b\u0000c"`, 1), "process.args[1]: contains a zero byte"},
		{"zero byte in the environment", strings.Replace(minimal, `"cwd"`, `"env": ["A=\u0000"], "cwd"`, 1), "process.env[0]: contains a zero byte"},
		{"relative cwd", strings.Replace(minimal, `"cwd": "/"`, `"cwd": "tmp"`, 1), `process.cwd: "tmp" is not an absolute path`},
		{"no cwd", strings.Replace(minimal, `"cwd"`, `"dwc"`, 1), `process.cwd: "" is not an absolute path`},
		{"no linux", strings.Replace(minimal, `"linux"`, `"xunil"`, 1), "linux: missing"},
		{"large", minimal + strings.Repeat(" ", maxConfig-len(minimal)), ""},
		{"too large", minimal + strings.Repeat(" ", maxConfig-len(minimal)+1), "larger than 8388608 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec, err := Decode(strings.NewReader(test.text))
			if test.err == "" {
				if err != nil || spec.Root.Path != "rootfs" || spec.Process.Args[0] != "/bin/true" {
					t.Errorf("spec %+v, error %v", spec, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want one with %q", err, test.err)
			}
		})
	}
}

// TestDecodeEndless checks that reading ends although the input does not.
func TestDecodeEndless(t *testing.T) {
	f, err := os.Open("/dev/zero")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	if _, err := Decode(f); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("error %v", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	if _, err := Load(dir); err == nil || err.Error() != fmt.Sprintf("JSON specification file %s not found (is %s an OCI bundle?)", file, dir) {
		t.Errorf("no config.json: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "missing")); err == nil || !strings.Contains(err.Error(), "not found (is ") {
		t.Errorf("no bundle: %v", err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"ociVersion": 1}`)
	if _, err := Load(dir); err == nil || err.Error() != file+": ociVersion: JSON type number 1 where the specification wants string" {
		t.Errorf("wrong type: %v", err)
	}
	write(minimal)
	b, err := Load(dir)
	if err != nil || b.Dir != dir {
		t.Fatalf("bundle %+v, error %v", b, err)
	}
	t.Chdir(filepath.Dir(dir))
	if b, err := Load(filepath.Base(dir)); err != nil || b.Dir != dir {
		t.Errorf("relative: bundle %+v, error %v", b, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("config.json is a directory: %v", err)
	}
}

const withSeccomp = `{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/"}, "linux":
	{"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a", "}"], "action": "SCMP_ACT_KILL"}]}, "cgroupsPath": "x"}}`

func TestCutSeccomp(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(withSeccomp), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Load(dir)
	if err != nil || !strings.HasPrefix(string(b.Seccomp), `{"defaultAction"`) || b.Spec.Linux.CgroupsPath != "x" {
		t.Fatalf("%+v, %v", b, err)
	}
	if s := b.Spec.Linux.Seccomp; s == nil || s.DefaultAction != "" || len(s.Syscalls) > 0 {
		t.Errorf("in its place there is %+v", s)
	}
	for _, text := range []string{
		minimal,
		strings.Replace(minimal, `"linux": {}`, `"linux": {"seccomp": null}`, 1),
		strings.Replace(minimal, `"linux": {}`, `"linux": {"seccomp": 1}`, 1),
		strings.Replace(minimal, `"linux": {}`, `"linux": {"seccomp": {}, "seccomp": {}}`, 1),
	} {
		if rest, section := CutSeccomp([]byte(text)); section != nil || string(rest) != text {
			t.Errorf("%s: %s is cut, %s left", text, section, rest)
		}
	}
}

// checkCut checks that a configuration means the same in two pieces, of which err
// is what there is to say against the whole.
func checkCut(t *testing.T, data []byte, whole *specs.Spec, err error) {
	rest, section := CutSeccomp(data)
	if section == nil {
		return
	}
	if again := PasteSeccomp(rest, section); string(again) != string(data) {
		t.Errorf("%q becomes %q", data, again)
	}
	spec, restErr := decodeSpec(rest)
	seccomp, sectionErr := DecodeSeccomp(section)
	if (err == nil) != (restErr == nil && sectionErr == nil) {
		t.Fatalf("whole: %v, in pieces: %v and %v", err, restErr, sectionErr)
	}
	if err != nil {
		return
	}
	spec.Linux.Seccomp = seccomp
	if !reflect.DeepEqual(spec, whole) {
		t.Errorf("whole: %+v, in pieces: %+v", whole, spec)
	}
}

// FuzzDecode checks that whatever is accepted has what every container needs,
// and means the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(strings.Replace(minimal, `"linux": {}`, `"linux": {"namespaces": [{"type": "pid"}], "resources": {"memory": {"limit": 1}}}, "mounts": [{"destination": "/proc"}]`, 1)))
	f.Add([]byte(`{"ociVersion": "2.0.0"}`))
	f.Add([]byte(`[{}]`))
	f.Add([]byte(withSeccomp))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := Decode(strings.NewReader(string(data)))
		checkCut(t, data, spec, err)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("the error takes more than a line: %q", err)
			}
			return
		}
		if spec.Root.Path == "" || len(spec.Process.Args) == 0 || !filepath.IsAbs(spec.Process.Cwd) || spec.Linux == nil {
			t.Errorf("accepted: %+v", spec)
		}
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(strings.NewReader(string(text))); err != nil {
			t.Errorf("accepted only once: %v", err)
		}
	})
}

func TestVersionAtLeast(t *testing.T) {
	for version, want := range map[string]bool{
		"1.0.0": false, "1.0.2-dev": false, "1.2.1": false, "1.2.1+dev": false, "1.3.0": true, "1.3.0-rc.1": true, "1.3": true, "1.3-dev": true,
		"1.10.0": true, "1.99.0": true, "1": true, "1.x": true, "": true, "0.9.0": false, "2.0.0": true,
	} {
		if got := VersionAtLeast(version, 1, 3); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
