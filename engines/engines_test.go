package engines

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

const runtime = "/usr/local/bin/winbox"

// apply does a set-up below dest.
func apply(t *testing.T, dest, engine string, remove bool) *Change {
	t.Helper()
	c, err := Plan(Options{Engine: engine, Runtime: runtime, Remove: remove, Dest: dest})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(); err != nil {
		t.Fatal(err)
	}
	return c
}

func write1(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// TestNewFiles checks what is written where nothing was, that it is written once, and that nothing of it stays.
func TestNewFiles(t *testing.T) {
	for engine, want := range map[string]struct{ file, path string }{
		"podman":     {"containers/containers.conf.d/winbox.conf", "engine.runtimes.winbox.0"},
		"containerd": {"containerd/config.toml", "plugins.io!containerd!grpc!v1!cri.containerd.runtimes.winbox.options.BinaryName"},
		"crio":       {"crio/crio.conf.d/10-winbox.conf", "crio.runtime.runtimes.winbox.runtime_path"},
		"docker":     {"docker/daemon.json", "runtimes.winbox.path"},
		"nomad":      {"nomad.d/winbox.hcl", ""},
	} {
		dest := t.TempDir()
		c := apply(t, dest, engine, false)
		if path := filepath.Join(dest, "etc", want.file); c.Path != path || c.Next != "" {
			t.Errorf("%s: %q, then %q", engine, c.Path, c.Next)
		}
		text, err := os.ReadFile(c.Path)
		if err != nil || !bytes.Equal(text, c.New) {
			t.Errorf("%s: %v, %q", engine, err, text)
		}
		var settings any = map[string]any{}
		switch filepath.Ext(c.Path) {
		case ".json":
			err = json.Unmarshal(text, &settings)
		case ".hcl":
			if !strings.Contains(string(text), `"winbox"]`) {
				t.Errorf("%s: %s", engine, text)
			}
		default:
			m := map[string]any{}
			err = toml.Unmarshal(text, &m)
			settings = m
		}
		if err != nil {
			t.Errorf("%s: %v", engine, err)
		}
		for _, name := range strings.Split(want.path, ".") {
			switch s := settings.(type) {
			case map[string]any:
				settings = s[strings.ReplaceAll(name, "!", ".")]
			case []any:
				settings = s[0]
			}
		}
		if want.path != "" && settings != runtime {
			t.Errorf("%s: %s is %v", engine, want.path, settings)
		}
		if again := apply(t, dest, engine, false); !again.Nothing() {
			t.Errorf("%s: the second time: %s", engine, again.New)
		}
		apply(t, dest, engine, true)
		if again := apply(t, dest, engine, true); !again.Nothing() {
			t.Errorf("%s: the second removal: %s", engine, again.New)
		}
		filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				t.Errorf("%s: %s is left (%v)", engine, path, err)
			}
			return nil
		})
	}
}

// TestKept checks that the rest of existing files stays, with owner and mode, and that removal gives back what was
// there.
func TestKept(t *testing.T) {
	const cri = `plugins."io.containerd.grpc.v1.cri".containerd`
	for name, test := range map[string]struct{ engine, file, old, added, after string }{
		"lines": {"docker", "docker/daemon.json", "{\n  \"debug\": true,\n  \"log-opts\": {\"max-size\": \"1m\"}\n}\n",
			",\n  \"runtimes\": {\n    \"winbox\": {\n      \"path\": \"" + runtime + "\"\n    }\n  }", ""},
		"tabs and no end of line": {"docker", "docker/daemon.json", "{\n\t\"debug\": true\n}",
			",\n\t\"runtimes\": {\n\t\t\"winbox\": {\n\t\t\t\"path\": \"" + runtime + "\"\n\t\t}\n\t}", ""},
		"one line":                {"docker", "docker/daemon.json", `{"debug":true}`, `, "runtimes": {"winbox": {"path": "` + runtime + `"}}`, ""},
		"Windows' ends of lines":  {"docker", "docker/daemon.json", "{\r\n  \"debug\": true\r\n}\r\n", ",\r\n  \"runtimes\": {\r\n    \"winbox\": {", ""},
		"empty":                   {"docker", "docker/daemon.json", "{}", "\n    \"runtimes\": {\n        \"winbox\": {\n            \"path\": \"" + runtime + "\"\n        }\n    }\n", ""},
		"another runtime":         {"docker", "docker/daemon.json", "{\"runtimes\": {\n  \"nvidia\": {\"path\": \"x\"}\n}, \"z\": 1}\n", ",\n  \"winbox\": {\n", ""},
		"another runtime, inline": {"docker", "docker/daemon.json", "{\"runtimes\": {\"nvidia\": {\"path\": \"x\"}}}\n", `, "winbox": {"path": "` + runtime + `"}`, ""},
		"escaped names":           {"docker", "docker/daemon.json", `{"r\u0075ntimes": {"a": {"path": "}\"{"}}, "b": [1, {"c": "\\"}]}`, `, "winbox": {`, ""},
		"other tables": {"containerd", "containerd/config.toml",
			"version = 2 # as it is\n\n[" + cri + ".runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n  [" + cri + ".runtimes.runc.options]\n    SystemdCgroup = true\n",
			"    BinaryName = \"" + runtime + "\"\n    SystemdCgroup = true\n", ""},
		"no runtimes": {"containerd", "containerd/config.toml", "version = 2\n[grpc]\naddress = \"/x\"\n", "\n[" + cri + ".runtimes.runc]\n", ""},
		"version 3":   {"containerd", "containerd/config.toml", "version = 3\n", "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.winbox]\n", ""},
		"comments":    {"containerd", "containerd/config.toml", "# nothing\n", "\nversion = 2\n", ""},
		"no end of line": {"containerd", "containerd/config.toml", "version = 2\nroot = \"/x\"", "\n[" + cri + ".runtimes.winbox]\n",
			"version = 2\nroot = \"/x\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dest := t.TempDir()
			path := filepath.Join(dest, "etc", test.file)
			write1(t, path, test.old)
			if os.Geteuid() == 0 {
				if err := os.Chown(path, 1, 2); err != nil {
					t.Fatal(err)
				}
			}
			c := apply(t, dest, test.engine, false)
			text := string(c.New)
			if !strings.Contains(text, test.added) {
				t.Errorf("%s\nis without\n%s", text, test.added)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if owner := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o640 || os.Geteuid() == 0 && (owner.Uid != 1 || owner.Gid != 2) {
				t.Errorf("mode %v, owner %d:%d", info.Mode(), owner.Uid, owner.Gid)
			}
			if again := apply(t, dest, test.engine, false); !again.Nothing() {
				t.Errorf("the second time:\n%s", again.New)
			}
			// Another winbox takes the place of the first.
			moved, err := Plan(Options{Engine: test.engine, Runtime: "/opt/winbox", Dest: dest})
			if want := strings.ReplaceAll(text, runtime, "/opt/winbox"); err != nil || string(moved.New) != want {
				t.Errorf("%v\n%s\nwant\n%s", err, moved.New, want)
			}
			want := test.old
			if test.after != "" {
				want = test.after
			}
			if c := apply(t, dest, test.engine, true); string(c.New) != want || c.New == nil {
				t.Errorf("removal leaves\n%q\nwant\n%q", c.New, want)
			}
			if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) != 1 {
				t.Errorf("%v, %v", list, err)
			}
		})
	}
}

// TestRefused checks that files that are not as they should be are left alone.
func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		engine, file, old, want string
		remove                  bool
	}{
		"malformed":          {"docker", "docker/daemon.json", "{\n  \"debug\": true,\n}\n", "line 3: invalid character", false},
		"comment":            {"docker", "docker/daemon.json", "{} // x\n", "it is not JSON: line 1", false},
		"truncated":          {"docker", "docker/daemon.json", `{"a": `, "unexpected end of JSON input", false},
		"a list":             {"docker", "docker/daemon.json", "[]\n", "it is not a JSON object", false},
		"runtimes":           {"docker", "docker/daemon.json", `{"runtimes": ["runc"]}`, `"runtimes" is not a JSON object`, false},
		"twice":              {"docker", "docker/daemon.json", `{"runtimes": {}, "Runtimes": {}}`, `"runtimes" is there twice`, false},
		"another kind":       {"docker", "docker/daemon.json", `{"runtimes": {"winbox": {"runtimeType": "x"}}}`, `has no "path"`, false},
		"default":            {"docker", "docker/daemon.json", `{"default-runtime": "winbox", "runtimes": {"winbox": {"path": "/x"}}}`, "change that first", true},
		"malformed TOML":     {"containerd", "containerd/config.toml", "version = 2\n[plugins\n", "it is not TOML: line 2", false},
		"malformed, removal": {"containerd", "containerd/config.toml", "version = 2\n[plugins\n", "it is not TOML: line 2", true},
		"version 1":          {"containerd", "containerd/config.toml", "disabled_plugins = [\"cri\"]\n", "not of version 2 or newer", false},
		"a hand's": {"containerd", "containerd/config.toml", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.winbox]\n  runtime_type = \"x\"\n",
			"not entered by winbox setup", false},
		"inline tables": {"containerd", "containerd/config.toml", "version = 2\nplugins = {\"io.containerd.grpc.v1.cri\" = {containerd = {runtimes = {runc = {}}}}}\n",
			"enter winbox by hand", false},
		"half": {"containerd", "containerd/config.toml", begin + "version = 2\n", "is missing", true},
		"default runtime": {"containerd", "containerd/config.toml", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"winbox\"\n\n" + begin + end,
			"change that first", true},
		"somebody's drop-in": {"podman", "containers/containers.conf.d/winbox.conf", "[engine]\n", "not written by winbox", false},
		"the same, removal":  {"crio", "crio/crio.conf.d/10-winbox.conf", "[crio]\n", "not written by winbox", true},
		"nomad's plugin":     {"nomad", "nomad.d/nomad.hcl", "client {}\nplugin \"docker\" {\n  config {}\n}\n", "nomad.hcl configures the plugin", false},
		"large":              {"docker", "docker/daemon.json", "{}" + strings.Repeat(" ", largest), "no configuration file", false},
	} {
		t.Run(name, func(t *testing.T) {
			dest := t.TempDir()
			path := filepath.Join(dest, "etc", test.file)
			write1(t, path, test.old)
			c, err := Plan(Options{Engine: test.engine, Runtime: runtime, Remove: test.remove, Dest: dest})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v (%v), want one with %q", err, c, test.want)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != test.old {
				t.Errorf("%v, %q", err, text)
			}
		})
	}
}

// TestPlaces checks files that are no files, folders that cannot be written to, and paths of runtimes.
func TestPlaces(t *testing.T) {
	dest := t.TempDir()
	write1(t, filepath.Join(dest, "real"), "{}")
	folder := filepath.Join(dest, "etc/docker")
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.Symlink("../../real", filepath.Join(folder, "daemon.json"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Plan(Options{Engine: "docker", Runtime: runtime, Dest: dest}); err == nil || !strings.Contains(err.Error(), "symbolic link to ../../real") {
		t.Errorf("a link: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dest, "etc/containerd/config.toml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Plan(Options{Engine: "containerd", Runtime: runtime, Dest: dest}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	write1(t, filepath.Join(dest, "etc/crio"), "a file")
	if _, err := Plan(Options{Engine: "crio", Runtime: runtime, Dest: dest}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	c, err := Plan(Options{Engine: "podman", Runtime: runtime, Dest: "/proc/self/fdinfo"})
	if err == nil {
		err = c.Apply()
	}
	if err == nil || !strings.Contains(err.Error(), "/proc/self/fdinfo") {
		t.Errorf("a folder that takes nothing: %v", err)
	}
	for _, bad := range []string{"", "winbox", "/a/../b", "/a\"b", "/a\nb", "/${x}", "/a\xff"} {
		if _, err := Plan(Options{Engine: "docker", Runtime: bad, Dest: t.TempDir()}); err == nil {
			t.Errorf("the runtime %q is taken", bad)
		}
	}
	if _, err := Plan(Options{Engine: "rkt", Runtime: runtime}); err == nil || !strings.Contains(err.Error(), "none of containerd, crio, docker, nomad, podman") {
		t.Errorf("an engine that is none: %v", err)
	}
	home := t.TempDir()
	c, err = Plan(Options{Engine: "docker", Runtime: runtime, User: home})
	if err != nil || c.Path != home+"/docker/daemon.json" || c.Next != "systemctl --user reload docker" {
		t.Errorf("a user's: %+v, %v", c, err)
	}
	if _, err := Plan(Options{Engine: "crio", Runtime: runtime, User: home}); err == nil || !strings.Contains(err.Error(), "as root") {
		t.Errorf("a user's of crio: %v", err)
	}
}

// TestChanged checks that a file is not written over when it has changed since, and that what a kill has left does not
// matter.
func TestChanged(t *testing.T) {
	dest := t.TempDir()
	path := filepath.Join(dest, "etc/docker/daemon.json")
	write1(t, path, "{}")
	write1(t, filepath.Join(filepath.Dir(path), ".daemon.json.winbox"), "hal")
	c, err := Plan(Options{Engine: "docker", Runtime: runtime, Dest: dest})
	if err != nil {
		t.Fatal(err)
	}
	write1(t, path, "{ }")
	if err := c.Apply(); err == nil || !strings.Contains(err.Error(), "changed by somebody else") {
		t.Error(err)
	}
	apply(t, dest, "docker", false)
	if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestKilled kills a process that writes over and over, at any moment: the file is always the old or the new one.
func TestKilled(t *testing.T) {
	const dest = "WINBOX_TEST_DEST"
	if dir := os.Getenv(dest); dir != "" {
		for {
			for _, remove := range []bool{false, true} {
				if c, err := Plan(Options{Engine: "docker", Runtime: runtime, Remove: remove, Dest: dir}); err != nil {
					t.Fatal(err)
				} else if err := c.Apply(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "etc/docker/daemon.json")
	old := "{\"debug\": true, \"x\": \"" + strings.Repeat("y", 1<<16) + "\"}\n"
	write1(t, path, old)
	c, err := Plan(Options{Engine: "docker", Runtime: runtime, Dest: dir})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for range 20 {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestKilled$")
		cmd.Env = append(os.Environ(), dest+"="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Killed once it is at it.
		info, err := os.Stat(path)
		for now := info; err == nil && os.SameFile(now, info); now, err = os.Stat(path) {
		}
		cmd.Process.Kill()
		cmd.Wait()
		text, err := os.ReadFile(path)
		if err != nil || string(text) != old && !bytes.Equal(text, c.New) {
			t.Fatalf("%v, %d bytes", err, len(text))
		}
		if !slices.Contains(seen, string(text)) {
			seen = append(seen, string(text))
		}
	}
	apply(t, dir, "docker", true)
	if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) > 2 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestNomadPlugin checks where a section on docker is seen.
func TestNomadPlugin(t *testing.T) {
	for text, want := range map[string]bool{
		"plugin \"docker\" {\n}":                         true,
		"plugin docker {}":                               true,
		"plugin\n\"docker\"\n{":                          true,
		"# plugin \"docker\" {\n":                        false,
		"// plugin \"docker\" {\n":                       false,
		"/* plugin \"docker\" {\n*/":                     false,
		"a = \"/srv/*\"\nplugin \"docker\" {}\n# */":     true,
		"a = \"#\" /* x */ plugin \"docker\" {}":         true,
		"plugin \"nomad-driver-podman\" {}":              false,
		`{"plugin": [{"docker": [{"config": {}}]}]}`:     true,
		`{"plugin": {"docker": {"config": {}}}}`:         true,
		`{"plugin": {"raw_exec": {"config": {}}}}`:       false,
		"client { options { \"driver.docker\" = \"1\" }": false,
	} {
		if got := dockerPlugin([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// FuzzDocker adds winbox to objects, and checks that nothing else changes and that it can be taken out again.
func FuzzDocker(f *testing.F) {
	for _, seed := range []string{"{}", "{\n  \"a\": [1]\n}", `{"runtimes": {"x": {"path": "y"}}, "b": null}`, `{"runtimes": {"winbox": {"path": "z", "runtimeArgs": ["-"]}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, old []byte) {
		text, err := addDocker(&file{text: old, runtime: runtime})
		if err != nil || len(bytes.TrimSpace(old)) == 0 {
			return
		}
		parse := func(text []byte) (m map[string]any, runtimes map[string]any) {
			if err := json.Unmarshal(text, &m); err != nil {
				t.Fatalf("%v\n%q\n%q", err, old, text)
			}
			for name := range m {
				if r, ok := m[name].(map[string]any); ok && strings.EqualFold(name, "runtimes") {
					runtimes = r
				}
			}
			return m, runtimes
		}
		was, wasRuntimes := parse(old)
		now, runtimes := parse(text)
		for name := range runtimes {
			if entry, ok := runtimes[name].(map[string]any); ok && strings.EqualFold(name, Name) {
				found := false
				for key := range entry {
					found = found || strings.EqualFold(key, "path") && entry[key] == runtime
				}
				if !found {
					t.Fatalf("%q\n%q", old, text)
				}
				delete(runtimes, name)
			}
		}
		for name := range wasRuntimes {
			if strings.EqualFold(name, Name) {
				delete(wasRuntimes, name)
			}
		}
		if len(wasRuntimes) == 0 && len(runtimes) == 0 {
			for _, m := range []map[string]any{was, now} {
				for name := range m {
					if strings.EqualFold(name, "runtimes") {
						delete(m, name)
					}
				}
			}
		}
		if !reflect.DeepEqual(was, now) {
			t.Fatalf("%q\n%q", old, text)
		}
		again, err := addDocker(&file{text: text, runtime: runtime})
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("%v\n%q\n%q", err, text, again)
		}
		if gone, err := removeDocker(&file{text: text, runtime: runtime}); err == nil && gone != nil {
			parse(gone)
			if d, err := readDocker(gone); err != nil || d.path != "" {
				t.Fatalf("%v\n%q", err, gone)
			}
		}
	})
}

// FuzzContainerd does the same with TOML.
func FuzzContainerd(f *testing.F) {
	for _, seed := range []string{"version = 2\n", "version = 3\nroot = 'x'", "# c\n", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, old []byte) {
		text, err := addContainerd(&file{text: old, runtime: runtime})
		if err != nil {
			return
		}
		c, err := readContainerd(text)
		if err != nil || c.binary() != runtime {
			t.Fatalf("%v\n%q\n%q", err, old, text)
		}
		again, err := addContainerd(&file{text: text, runtime: runtime})
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("%v\n%q\n%q", err, text, again)
		}
		if bytes.Contains(old, []byte(begin)) || bytes.Equal(old, text) {
			return
		}
		if gone, err := removeContainerd(&file{text: text, runtime: runtime}); err == nil && string(gone) != string(old) && string(gone) != string(old)+"\n" {
			t.Fatalf("%q\n%q", old, gone)
		}
	})
}
