package main

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestFilterTable(t *testing.T) {
	const table = "UID   PID  CMD\nroot    1  init\nroot   12  sleep 1\nroot  112  x 12\n"
	tests := []struct {
		name, table string
		pids        []int
		want, fails string
	}{
		{"two", table, []int{12, 112}, "UID   PID  CMD\nroot   12  sleep 1\nroot  112  x 12\n", ""},
		{"none", table, nil, "UID   PID  CMD\n", ""},
		{"no last newline", strings.TrimSpace(table), []int{112}, "UID   PID  CMD\nroot  112  x 12", ""},
		{"no title", "COMMAND\nsh\n", []int{1}, "", "leave out the column PID"},
		{"no number", "PID\nx\n", []int{1}, "PID\n", "no process id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := filterTable(&out, test.table, test.pids)
			if out.String() != test.want {
				t.Errorf("%q, want %q", out.String(), test.want)
			}
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
		})
	}
}

// TestPs counts the processes of a container, by both formats.
func TestPs(t *testing.T) {
	b := newBox(t, "busybox sleep 1000 & busybox sleep 1000; exit", nil)
	var pids []int
	for end := time.Now().Add(time.Minute); len(pids) != 3; time.Sleep(time.Millisecond) {
		if err := json.Unmarshal([]byte(b.succeed("ps", "--format", "json", b.id)), &pids); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("processes %v, want the shell and two others", pids)
		}
	}
	if pids[0] != b.stateOf().PID {
		t.Errorf("processes %v, the first is %d", pids, b.stateOf().PID)
	}
	for _, args := range [][]string{{"ps", b.id}, {"ps", b.id, "-o", "pid,ppid,comm"}, {"ps", b.id, "aux"}} {
		lines := strings.Split(strings.TrimSpace(b.succeed(args...)), "\n")
		if len(lines) != 4 || !strings.Contains(lines[0], "PID") {
			t.Errorf("%v: %q", args, lines)
		}
		for i, pid := range pids {
			if i+1 < len(lines) && !strings.Contains(lines[i+1], strconv.Itoa(pid)) {
				t.Errorf("%v: no %d in %q", args, pid, lines[i+1])
			}
		}
	}
	b.stop()
	// The others end a moment later.
	for end := time.Now().Add(time.Minute); b.succeed("ps", "-f", "json", b.id) != "null\n"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("processes of a stopped container remain")
		}
	}
}
