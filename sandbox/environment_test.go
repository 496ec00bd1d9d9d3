package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
)

func TestEnvironment(t *testing.T) {
	const passwd = "# comment\nroot:x:0:0:root:/root:/bin/sh\nshort:x:7\nuser:x:1000:1000::/home/user:/bin/sh\nempty:x:8:8:::\n+:::::/nis:\nother:x:1000:1:::\n"
	tests := []struct {
		name string
		env  []string
		uid  uint32
		want []string
	}{
		{"home of root", []string{"A=1"}, 0, []string{"A=1", "HOME=/root"}},
		{"home of a user", nil, 1000, []string{"HOME=/home/user"}},
		{"unknown user", nil, 9, []string{"HOME=/"}},
		{"no home", nil, 8, []string{"HOME=/"}},
		{"line too short", nil, 7, []string{"HOME=/"}},
		{"given", []string{"HOME=/x", "A=1"}, 0, []string{"HOME=/x", "A=1"}},
		{"given empty", []string{"HOME=", "A=1"}, 0, []string{"A=1", "HOME=/root"}},
		{"given twice, last empty", []string{"HOME=/x", "HOME="}, 0, []string{"HOME=/root"}},
		{"twice", []string{"A=1", "B=2", "A=3"}, 0, []string{"B=2", "A=3", "HOME=/root"}},
		{"without a value", []string{"A", "A=1", "A"}, 0, []string{"A", "HOME=/root"}},
	}
	root := t.TempDir()
	open := func() (*oci.Files, error) { return oci.OpenFiles(root) }
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &specs.Process{Env: slices.Clone(test.env), User: specs.User{UID: test.uid}}
			if got := withEnvironment(p, open).Env; !slices.Equal(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
			if !slices.Equal(p.Env, test.env) {
				t.Errorf("the process itself has changed: %q", p.Env)
			}
		})
	}
}

// TestHomeUnreadable has in the place of /etc/passwd what must not be read, or waited for.
func TestHomeUnreadable(t *testing.T) {
	tests := map[string]func(file string) error{
		"missing":     func(string) error { return nil },
		"kernel's":    func(file string) error { return os.Symlink("/proc/kmsg", file) },
		"of the host": func(file string) error { return os.Symlink("/etc/passwd", file) },
		"pipe":        func(file string) error { return unix.Mkfifo(file, 0o644) },
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			b := sleeper(t)
			if err := make(b.path("etc/passwd")); err != nil {
				t.Fatal(err)
			}
			c := b.begin()
			if out, code := b.exec(c, "echo $HOME"); out != "/\n" || code != 0 {
				t.Errorf("exit code %d, output %q; want /", code, out)
			}
		})
	}
}
