package main

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestStart checks that winbox's own packages prepare next to nothing before main: each command pays for that, and most
// live for 2 ms. A regular expression or a table at package level belongs into a function, or into sync.OnceValue.
func TestStart(t *testing.T) {
	const most = 8 << 10 // bytes; a small regular expression takes 10,000
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// init winbox/oci @1.2 ms, 0.003 ms clock, 240 bytes, 2 allocs
	seen := false
	for _, m := range regexp.MustCompile(`(?m)^init (\S+) @.* (\d+) bytes,`).FindAllStringSubmatch(string(out), -1) {
		if !strings.HasPrefix(m[1], "winbox/") {
			continue
		}
		seen = true
		if n, err := strconv.Atoi(m[2]); err != nil || n > most {
			t.Errorf("package %s allocates %s bytes before main", m[1], m[2])
		}
	}
	if !seen {
		t.Errorf("no package of winbox in %s", out)
	}
}
