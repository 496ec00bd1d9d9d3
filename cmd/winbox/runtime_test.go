package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestRuntimeErrors checks what the command says to what it cannot do.
func TestRuntimeErrors(t *testing.T) {
	t.Setenv("WINBOX_DATA", t.TempDir())
	for _, test := range []struct{ args, want string }{
		{"runtime", "what to do"},
		{"runtime make", `"make" is none of build, install, ls, prune, rm and verify`},
		{"runtime rm", "takes 1 to 100 names, not 0"},
		{"runtime build a b", "takes 0 to 1 names, not 2"},
		{"runtime ls --wow64 new", "has no flag --wow64"},
		{"runtime rm --replace a", "has no flag --replace"},
		{"runtime ls -f xml", "neither table nor json"},
		{"runtime build --wow64 both", `32-bit programs by "both"`},
		{"runtime build host", "runtime name"},
		{"runtime build --from /nonexistent a", "no such file"},
		{"runtime rm none", "no such runtime: none"},
		{"runtime verify ../x", "no such runtime: ../x"},
		{"launch --runtime none cmd", "no such runtime: none"},
		{"inspect --runtime none /nonexistent", "no such runtime: none"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"winbox"}, strings.Fields(test.args)...), nil, &stdout, &stderr)
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if code == 0 || stdout.Len() > 0 || !strings.Contains(lines[len(lines)-1], test.want) {
			t.Errorf("winbox %s: exit code %d, output %q, error %q", test.args, code, stdout.String(), stderr.String())
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"winbox", "runtime", "ls", "--format", "json"}, nil, &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "[") {
		t.Errorf("exit code %d, output %q, error %q", code, stdout.String(), stderr.String())
	}
}
