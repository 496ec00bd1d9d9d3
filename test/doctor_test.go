package test

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestDoctor examines this host, which runs Windows programs, and then with an address space that is too small.
func TestDoctor(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	if c := b.call("doctor").wait(); c.code() != 0 || !strings.Contains(c.text(), " 0 failed\n") || c.err.Len() > 0 {
		t.Errorf("exit code %d\n%s%s", c.code(), c.text(), c.err.String())
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -v 4000000; exec "$@"`, "sh", b.winbox, "--root", b.root, "doctor", "--json")
	cmd.Env = append(cmd.Environ(), b.env...)
	out, err := cmd.Output()
	var found struct {
		OK     bool
		Checks []struct{ Name, Status, Remedy string }
	}
	if jsonErr := json.Unmarshal(out, &found); jsonErr != nil || err == nil || cmd.ProcessState.ExitCode() != 1 || found.OK {
		t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	failed := map[string]bool{}
	for _, c := range found.Checks {
		if c.Status == "fail" {
			failed[c.Name] = c.Remedy != ""
		}
	}
	if !failed["RLIMIT_AS"] || !failed["reserving"] || len(failed) != 2 {
		t.Errorf("failed: %v", failed)
	}

	// Alone, without the program that unpacks images.
	alone := *b
	alone.winbox = writeFile(t, newDir(t), "winbox", []byte(readFile(t, b.winbox)))
	for box, want := range map[*box]string{b: "ok +images +/", &alone: "warn +images +the program winbox-images"} {
		if c := box.call("doctor").wait(); !regexp.MustCompile(`(?m)^  ` + want).MatchString(c.text()) {
			t.Errorf("no line %q:\n%s", want, c.text())
		}
	}
}
