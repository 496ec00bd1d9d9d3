package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSetup enters winbox into the configuration of engines, below a folder and as a user, and takes it out again.
func TestSetup(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	dest := newDir(t)
	file := filepath.Join(dest, "etc/docker/daemon.json")
	writeFile(t, dest, "etc/docker/daemon.json", []byte("{\n  \"debug\": true\n}\n"))
	setup := func(code int, words ...string) (out, err string) {
		t.Helper()
		c := b.call(append([]string{"setup"}, words...)...).wait()
		if c.code() != code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", c, c.code(), code, c.text(), c.err.String())
		}
		return c.text(), c.err.String()
	}
	shown, where := setup(0, "docker", "--print", "--destdir", dest, "--runtime", "/usr/bin/winbox")
	if !strings.Contains(shown, `"path": "/usr/bin/winbox"`) || where != "would write "+file+"\nthen: docker run --runtime winbox IMAGE\n" {
		t.Errorf("%q, %q", shown, where)
	}
	if text := readFile(t, file); text == shown || strings.Contains(text, "winbox") {
		t.Errorf("--print has written %q", text)
	}
	setup(0, "docker", "--destdir", dest, "--runtime", "/usr/bin/winbox")
	if text := readFile(t, file); text != shown {
		t.Errorf("written %q, shown %q", text, shown)
	}
	if out, _ := setup(0, "--destdir", dest, "docker", "--runtime=/usr/bin/winbox"); out != "nothing to do: "+file+" has winbox\n" {
		t.Errorf("%q", out)
	}
	if shown, where := setup(0, "docker", "--remove", "--print", "--destdir", dest); shown != "{\n  \"debug\": true\n}\n" || !strings.HasPrefix(where, "would write ") {
		t.Errorf("%q, %q", shown, where)
	}
	if out, _ := setup(0, "docker", "--remove", "--destdir", dest); out != "wrote "+file+"\n" || readFile(t, file) != "{\n  \"debug\": true\n}\n" {
		t.Errorf("%q, %q", out, readFile(t, file))
	}
	if out, _ := setup(0, "kubernetes"); !strings.HasPrefix(out, "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\n") {
		t.Errorf("%q", out)
	}

	writeFile(t, dest, "etc/docker/daemon.json", []byte("{\n  \"debug\": true,\n}\n"))
	for want, words := range map[string][]string{
		"which engine? \"\" is none of podman":              nil,
		"which engine? \"rkt\" is none of podman":           {"rkt"},
		"takes one engine, not 2":                           {"podman", "docker"},
		file + ": it is not JSON: line 3":                   {"docker", "--destdir", dest},
		"/dev/null/etc/docker/daemon.json: not a directory": {"docker", "--destdir", "/dev/null"},
		"--destdir: which folder?":                          {"docker", "--destdir", ""},
		"\"winbox\" is not an absolute path":                {"docker", "--destdir", dest, "--runtime", "winbox"},
		"--runtime: exec: \"/nope\"":                        {"docker", "--print", "--runtime", "/nope"},
		"nothing was written: kubectl delete":               {"kubernetes", "--remove"},
	} {
		if _, err := setup(1, words...); !strings.Contains(err, want) || strings.Count(err, "\n") != 1 {
			t.Errorf("%q, want a line with %q", err, want)
		}
	}

	b = newUserBox(t)
	writeFile(t, filepath.Dir(b.winbox), "winbox-images", []byte(readFile(t, winbox+"-images")))
	b.env = append(b.env, "HOME="+b.dir, "XDG_CONFIG_HOME=")
	out, _ := setup(0, "podman")
	own := filepath.Join(b.dir, ".config/containers/containers.conf.d/winbox.conf")
	if want := "wrote " + own + "\nthen: podman --runtime winbox run IMAGE\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	if text := readFile(t, own); !strings.Contains(text, "winbox = [\""+b.winbox+"\"]") {
		t.Errorf("%s", text)
	}
	if _, err := setup(1, "crio"); !strings.Contains(err, "run this as root") {
		t.Errorf("%q", err)
	}
	setup(0, "podman", "--remove")
	if _, err := os.Stat(own); !os.IsNotExist(err) {
		t.Errorf("--remove: %v", err)
	}
}
