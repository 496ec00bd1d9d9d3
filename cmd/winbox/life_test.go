package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// command runs winbox with a state root of its own.
type command struct {
	t    *testing.T
	root string
}

// run gives exit code, standard output and standard error.
func (c command) run(args ...string) (int, string, string) {
	var stdout, stderr bytes.Buffer
	code := run(append([]string{"winbox", "--root", c.root}, args...), strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// succeed runs a command that must print nothing to standard error.
func (c command) succeed(args ...string) string {
	c.t.Helper()
	code, stdout, stderr := c.run(args...)
	if code != 0 || stderr != "" {
		c.t.Fatalf("winbox %q: exit code %d, %s", args, code, stderr)
	}
	return stdout
}

// fail runs a command that must fail with one line.
func (c command) fail(want string, args ...string) {
	c.t.Helper()
	code, stdout, stderr := c.run(args...)
	if code != 1 || stderr != "winbox: "+want+"\n" || stdout != "" {
		c.t.Errorf("winbox %q: exit code %d, output %q, error %q; want 1 and %q", args, code, stdout, stderr, want)
	}
}

func (c command) state(id string) (state map[string]any) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.succeed("state", id)), &state); err != nil {
		c.t.Fatal(err)
	}
	return state
}

// busyboxBundle makes a bundle whose program is args; its containers are gone
// when the test ends.
func busyboxBundle(t *testing.T, args ...string) (c command, bundle string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make namespaces and cgroups")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("needs a static busybox (Debian package busybox-static): %v", err)
	}
	bundle = t.TempDir()
	for _, dir := range []string{"bin", "proc", "dev"} {
		if err := os.MkdirAll(filepath.Join(bundle, "rootfs", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bundle, "rootfs/bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(&specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: append([]string{"/bin/busybox"}, args...), Cwd: "/"},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace},
		}},
		Annotations: map[string]string{"org.example.key": "value"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	c = command{t, filepath.Join(bundle, "state")}
	t.Cleanup(func() {
		entries, _ := os.ReadDir(c.root)
		for _, e := range entries {
			c.succeed("delete", "--force", e.Name())
		}
	})
	return c, bundle
}

func testID() string { return fmt.Sprintf("wbtest-cmd-%d-%d", os.Getpid(), time.Now().UnixNano()) }

func TestLifeCommands(t *testing.T) {
	c, bundle := busyboxBundle(t, "sleep", "1000")
	id, pidFile := testID(), filepath.Join(bundle, "pid")
	if out := c.succeed("create", "--bundle", bundle, "--pid-file", pidFile, id); out != "" {
		t.Errorf("create prints %q", out)
	}
	state := c.state(id)
	for key, want := range map[string]any{
		"ociVersion": specs.Version, "id": id, "status": "created", "bundle": bundle, "rootfs": filepath.Join(bundle, "rootfs"),
		"annotations": map[string]any{"org.example.key": "value"},
	} {
		if fmt.Sprint(state[key]) != fmt.Sprint(want) {
			t.Errorf("state: %s is %v, want %v", key, state[key], want)
		}
	}
	if data, err := os.ReadFile(pidFile); err != nil || string(data) != fmt.Sprint(state["pid"]) {
		t.Errorf("pid file: %q, %v; state says %v", data, err, state["pid"])
	}
	if text, _ := state["created"].(string); text == "" {
		t.Errorf("state: created is %v", state["created"])
	} else if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
		t.Errorf("state: created is %q: %v", text, err)
	}
	if _, ok := state["owner"]; !ok {
		t.Error("state: there is no owner")
	}
	c.fail("create failed: container with given ID already exists", "create", "--bundle", bundle, id)
	c.fail("run failed: container with given ID already exists", "run", "--bundle", bundle, id)
	c.succeed("start", id)
	if state := c.state(id); state["status"] != "running" {
		t.Errorf("status %v, want running", state["status"])
	}
	c.fail("cannot start an already running container", "start", id)
	c.fail("cannot delete container "+id+" that is not stopped: running", "delete", id)
	c.succeed("kill", id, "9")
	pid, err := strconv.Atoi(fmt.Sprint(state["pid"]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
	state = c.state(id)
	if state["status"] != "stopped" || state["pid"] != float64(0) {
		t.Errorf("state %v, want stopped without a pid", state)
	}
	c.fail("cannot start a container that has stopped", "start", id)
	c.fail("container not running", "kill", id)
	c.succeed("delete", id)
	for _, verb := range []string{"start", "state", "kill", "delete"} {
		c.fail("container does not exist", verb, id)
	}
	if out := c.succeed("delete", "--force", id); out != "" {
		t.Errorf("forced deletion of nothing prints %q", out)
	}
}

// TestSignals checks the names of signals that kill takes.
func TestSignals(t *testing.T) {
	for text, want := range map[string]unix.Signal{
		"": unix.SIGTERM, "9": unix.SIGKILL, "KILL": unix.SIGKILL, "SIGKILL": unix.SIGKILL, "sigusr1": unix.SIGUSR1, "int": unix.SIGINT, "0": 0, "64": 64,
	} {
		if got, err := parseSignal(text); err != nil || got != want {
			t.Errorf("%q: signal %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"65", "-9", "STRANGE", "SIG", "9.5"} {
		if got, err := parseSignal(text); err == nil {
			t.Errorf("%q: signal %d", text, got)
		}
	}
}

func TestDeleteForce(t *testing.T) {
	c, bundle := busyboxBundle(t, "sleep", "1000")
	for _, start := range []bool{false, true} {
		id := testID()
		c.succeed("create", "--bundle", bundle, id)
		if start {
			c.succeed("start", id)
		}
		c.succeed("delete", "--force", id)
		c.fail("container does not exist", "state", id)
	}
}

// TestRunCommand checks that run passes the exit code on and keeps what it is told to.
func TestRunCommand(t *testing.T) {
	c, bundle := busyboxBundle(t, "sh", "-c", "exit 42")
	id := testID()
	if code, stdout, stderr := c.run("run", "--bundle", bundle, id); code != 42 || stdout+stderr != "" {
		t.Errorf("exit code %d, output %q, error %q; want 42 and nothing", code, stdout, stderr)
	}
	c.fail("container does not exist", "state", id)
	t.Chdir(bundle)
	if code, _, stderr := c.run("run", "--keep", id); code != 42 {
		t.Errorf("exit code %d, %q; want 42", code, stderr)
	}
	if state := c.state(id); state["status"] != "stopped" {
		t.Errorf("status %v, want stopped", state["status"])
	}
	c.succeed("delete", id)
	c.succeed("run", "--detach", id)
	c.state(id)
}

func TestPrintProgram(t *testing.T) {
	c, bundle := busyboxBundle(t, "true")
	id := testID()
	for _, verb := range []string{"create", "run"} {
		out := c.succeed(verb, "--bundle", bundle, "--print-program", id)
		for _, want := range []string{`pivot_root(".", ".")`, `execve("/bin/busybox", ["/bin/busybox", "true"]`, "# mount proc on /proc"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing", verb, want)
			}
		}
		if waits := strings.Contains(out, "accept4("); waits != (verb == "create") {
			t.Errorf("%s: waiting for start is %v", verb, waits)
		}
	}
	c.fail("container does not exist", "state", id)
}

// TestUsage checks command lines that are wrong, and bundles.
func TestUsage(t *testing.T) {
	c := command{t, filepath.Join(t.TempDir(), "state")}
	empty := t.TempDir()
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "config.json"), []byte(`{"ociVersion": "1.0.0", "process": {"args": 1}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(bad, "config.json")
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"create"}, "create: exactly one argument is needed, the container's ID"},
		{[]string{"create", "a", "b"}, "create: exactly one argument is needed, the container's ID"},
		{[]string{"start"}, "start: exactly one argument is needed, the container's ID"},
		{[]string{"state", "a", "b"}, "state: exactly one argument is needed, the container's ID"},
		{[]string{"delete"}, "delete: exactly one argument is needed, the container's ID"},
		{[]string{"run"}, "run: exactly one argument is needed, the container's ID"},
		{[]string{"kill"}, "kill: the container's ID is needed, and a signal may follow"},
		{[]string{"kill", "a", "STRANGE"}, `unknown signal "STRANGE"`},
		{[]string{"state", "../x"}, `invalid container ID format: "../x"`},
		{[]string{"delete", "--force", ".."}, `invalid container ID format: ".."`},
		{[]string{"state", ""}, "container id cannot be empty"},
		{[]string{"create", "--bundle", empty, "a"}, "JSON specification file " + empty + "/config.json not found (is " + empty + " an OCI bundle?)"},
		{[]string{"create", "--bundle", bad, "a"}, file + ": process.args: JSON type number 1 where the specification wants []string"},
		{[]string{"--rootless", "maybe", "state", "a"}, `--rootless: "maybe" is none of true, false and auto`},
		{[]string{"--log-format", "xml", "state", "a"}, `--log-format: "xml" is neither text nor json`},
		{[]string{"--log", empty + "/missing/log", "state", "a"}, "--log: open " + empty + "/missing/log: no such file or directory"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) { command{t, c.root}.fail(test.want, test.args...) })
	}
	// What the library makes of these includes its help: the code is what counts.
	for _, args := range [][]string{{"create", "--strange", "a"}, {"--strange"}, {"create", "--preserve-fds", "x", "a"}} {
		if code, _, _ := c.run(args...); code == 0 {
			t.Errorf("winbox %q succeeds", args)
		}
	}
	if code, _, stderr := c.run("strange"); code == 0 || !strings.Contains(stderr, "strange") {
		t.Errorf("unknown command: exit code %d, %q", code, stderr)
	}
	if list, err := os.ReadDir(c.root); len(list) > 0 {
		t.Errorf("the state root holds %v, %v", list, err)
	}
}

func TestPreserveFDs(t *testing.T) {
	c, bundle := busyboxBundle(t, "true")
	c.fail("--preserve-fds: -1 is not between 0 and 1024", "create", "--bundle", bundle, "--preserve-fds", "-1", "a")
	c.fail("--preserve-fds: 2000 is not between 0 and 1024", "create", "--bundle", bundle, "--preserve-fds", "2000", "a")
	if code, _, stderr := c.run("create", "--bundle", bundle, "--preserve-fds", "1000", "a"); code != 1 || !strings.HasSuffix(stderr, " is not open\n") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
