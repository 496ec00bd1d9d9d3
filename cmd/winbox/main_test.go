package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/cgroup"
)

// commandVariable makes the test program be winbox instead of running the tests.
const commandVariable = "WINBOX_COMMAND_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(commandVariable) != "" {
		if err := becomeUser(); err != nil {
			fmt.Fprintln(os.Stderr, "become an ordinary user:", err)
			os.Exit(99)
		}
		os.Unsetenv(commandVariable)
		main()
	}
	if text := os.Getenv(reportVariable); text != "" {
		report(text)
	}
	os.Exit(m.Run())
}

// process is winbox as a process of its own, for what concerns descriptors,
// signals and terminals.
func (c command) process(args ...string) *exec.Cmd {
	c.t.Helper()
	// One that hangs is to fail its test, not to stop all of them.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	c.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"--root", c.root}, args...)...)
	cmd.Env = append(os.Environ(), commandVariable+"=1")
	return cmd
}

// winbox runs a command line and gives its exit code and what it wrote.
func winbox(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errors bytes.Buffer
	code = run(append([]string{"winbox"}, args...), strings.NewReader(stdin), &out, &errors)
	return code, out.String(), errors.String()
}

// box is a running container for a test.
type box struct {
	command
	id  string
	pid int
}

// newBox runs a shell script in a container, which is gone at the end of the
// test; other programs of the script are busybox's (`busybox sleep 1`).
func newBox(t *testing.T, script string, res *specs.LinuxResources) *box {
	t.Helper()
	if _, err := cgroup.DetectMode(); err != nil {
		t.Skip(err)
	}
	c, bundle := busyboxBundle(t, "sh", "-c", script)
	loaded, err := oci.Load(bundle)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Spec.Process.Env = []string{"PATH=/bin"}
	loaded.Spec.Linux.Resources = res
	data, err := json.Marshal(loaded.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	b := &box{command: c, id: testID()}
	c.succeed("run", "--detach", "--bundle", bundle, b.id)
	b.pid = b.stateOf().PID
	t.Cleanup(func() {
		c.succeed("delete", "--force", b.id)
		unix.Wait4(b.pid, nil, 0, nil)
	})
	return b
}

func (b *box) stateOf() oci.State {
	b.t.Helper()
	var s oci.State
	if err := json.Unmarshal([]byte(b.succeed("state", b.id)), &s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// stop kills the container's process and waits until it has ended.
func (b *box) stop() {
	b.t.Helper()
	b.succeed("kill", b.id, "KILL")
	if _, err := unix.Wait4(b.pid, nil, 0, nil); err != nil {
		b.t.Fatal(err)
	}
}

// TestCommandLine checks what needs no container: messages, exit codes, and
// the ways to write a flag.
func TestCommandLine(t *testing.T) {
	empty := t.TempDir()
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string // exactly
		stderr string // a part
	}{
		{"list as JSON", []string{"--root", empty, "list", "--format", "json"}, 0, "null\n", ""},
		{"list as a table", []string{"--root=" + empty, "list"}, 0, "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n", ""},
		{"single dashes", []string{"-root", empty, "-log-format=json", "list", "-format=json"}, 0, "null\n", ""},
		{"short flags", []string{"--root", empty, "list", "-q", "-f", "json"}, 0, "", ""},
		{"list of a missing root", []string{"--root", empty + "/none", "list"}, 1, "", "open " + empty + "/none: no such file or directory"},
		{"list in another format", []string{"--root", empty, "list", "-f", "yaml"}, 1, "", "invalid format option"},
		{"list with an argument", []string{"--root", empty, "list", "x"}, 1, "", "takes no arguments"},
		{"ps without ID", []string{"ps"}, 1, "", "the container's ID is needed"},
		{"ps in another format", []string{"ps", "--format=x", "a"}, 1, "", "invalid format option"},
		{"ps of nothing", []string{"--root", empty, "ps", "a"}, 1, "", "container does not exist"},
		{"pause of nothing", []string{"--root", empty, "pause", "a"}, 1, "", "container does not exist"},
		{"resume of nothing", []string{"--root", empty, "resume", "a"}, 1, "", "container does not exist"},
		{"update of nothing", []string{"--root", empty, "update", "--memory", "1g", "a"}, 1, "", "container does not exist"},
		{"events of nothing", []string{"--root", empty, "events", "--stats", "a"}, 1, "", "container does not exist"},
		{"bad ID", []string{"--root", empty, "pause", "../a"}, 1, "", "invalid container ID format"},
		{"no ID", []string{"resume"}, 1, "", "exactly one argument"},
		{"systemd", []string{"--systemd-cgroup", "--root", empty, "list", "-q"}, 0, "", ""},
		{"features with an argument", []string{"features", "x"}, 1, "", "takes no arguments"},
		{"unknown global flag", []string{"--strange"}, 1, "", "flag provided but not defined: -strange (see winbox --help)"},
		{"unknown flag", []string{"state", "--strange"}, 1, "", "flag provided but not defined: -strange (see winbox state --help)"},
		{"short flags in one", []string{"--root", empty, "list", "-qf", "json"}, 0, "", ""},
		{"short flags in one that are not there", []string{"list", "-qx"}, 1, "", "flag provided but not defined: -qx"},
		{"exec without ID", []string{"exec"}, 1, "", "exec: the container's ID is needed"},
		{"exec of nothing", []string{"--root", empty, "exec", "a", "true"}, 255, "", "exec failed: container does not exist"},
		// podman asks this way whether there is checkpointing.
		{"checkpoint", []string{"checkpoint", "--help"}, 1, "", "checkpoint: winbox cannot save and restore"},
		// And this way whether containers can be restored into pods; what it looks for is "needs an argument".
		{"restore", []string{"restore", "--lsm-mount-context"}, 1, "", "restore: winbox cannot save and restore"},
		{"obsolete global flag", []string{"--criu", "/usr/sbin/criu", "--root", empty, "list", "-q"}, 0, "", ""},
		{"version", []string{"--version"}, 0, "winbox version " + versionLines() + "\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := winbox("", test.args...)
			if code != test.code || stdout != test.stdout {
				t.Errorf("exit code %d, output %q; want %d and %q", code, stdout, test.code, test.stdout)
			}
			if !strings.Contains(stderr, test.stderr) || test.stderr == "" && stderr != "" {
				t.Errorf("error %q, want %q", stderr, test.stderr)
			}
		})
	}
}
