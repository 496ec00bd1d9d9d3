package test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// exits are exit codes of programs, or what the test program is to do instead; the exit status that stands for each; and
// the code as it is told with all its bits.
var exits = []struct {
	args   string
	status int
	code   uint32
}{
	{"0", 0, 0},
	{"1", 1, 1},
	{"255", 255, 255},
	{"256", 1, 256},
	{"0xC0000100", 1, 0xC0000100},
	{"300", 44, 300},
	{"3010", 194, 3010},
	{"0xC0000005", 139, 0xC0000005},
	{"0xC000013A", 130, 0xC000013A},
	{"0xC0000135", 127, 0xC0000135},
	{"0xFFFFFFFF", 255, 0xFFFFFFFF},
	{"crash", 139, 0xC0000005},
	{"divide", 136, 0xC0000094},
	{"failfast", 134, 0xC0000409},
	{"ended 0", 0, 0},
	{"ended 1", 1, 1},
	{"ended 256", 1, 256},
	{"ended 0xC0000005", 139, 0xC0000005},
}

// exitCodes are the fields in which an exit code is told.
type exitCodes struct {
	ExitCode        *int
	WindowsExitCode *uint32
}

func (e exitCodes) String() string {
	text, _ := json.Marshal(e)
	return string(text)
}

func (e exitCodes) is(status int, code uint32) bool {
	return e.ExitCode != nil && *e.ExitCode == status && e.WindowsExitCode != nil && *e.WindowsExitCode == code
}

// TestExitCodes checks exit codes by launch and its status file; on other machines than the first only those that are not
// the program's own.
func TestExitCodes(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		program := m.build(t, "exit.exe", "exit")
		for _, test := range exits {
			if m.kind != "" && test.code>>30 == 0 && !strings.HasPrefix(test.args, "ended") {
				continue
			}
			file := filepath.Join(b.dir, "status.json")
			c := b.run(append([]string{"--status-file", file, program}, strings.Fields(test.args)...)...)
			var told exitCodes
			if err := json.Unmarshal([]byte(readFile(t, file)), &told); err != nil {
				t.Fatal(err)
			}
			if c.code() != test.status || !told.is(test.status, test.code) {
				t.Errorf("%s: exit status %d, told %v; want %d and %#x", test.args, c.code(), told, test.status, test.code)
			}
		}
	})
}

// TestExitState checks exit codes of bundles by run, state and events.
func TestExitState(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("exit")
	for i, test := range exits {
		bundle, id := b.bundle(nil, append([]string{"/box/exit.exe"}, strings.Fields(test.args)...)...), b.id(fmt.Sprint("exit", i))
		if test.code < 300 || i%2 == 0 {
			if c := b.call("run", "--bundle", bundle, id).wait(); c.code() != test.status {
				t.Errorf("%s: run: exit status %d, want %d", test.args, c.code(), test.status)
			}
			continue
		}
		state := func() (status string, told exitCodes) {
			c := b.call("state", id).wait()
			if err := json.Unmarshal(c.out.Bytes(), &struct {
				*exitCodes
				Status *string
			}{&told, &status}); err != nil {
				t.Fatalf("state: %v: %s%s", err, c.out.String(), c.err.String())
			}
			return status, told
		}
		create := b.call("create", "--bundle", bundle, id)
		create.Stdout, create.Stderr = nil, nil
		if create.wait(); create.code() != 0 {
			t.Fatalf("create: exit code %d", create.code())
		}
		if status, told := state(); status != "created" || told != (exitCodes{}) {
			t.Errorf("%s: before the start, state says %s and %v", test.args, status, told)
		}
		events := b.call("events", "--interval", "10ms", id)
		events.follow()
		last := events.line()
		b.call("start", id).wait().want(0, "")
		for line := range events.lines {
			last = line
		}
		if want := fmt.Sprintf(`{"type":"exit","id":%q,"data":{"exitCode":%d,"windowsExitCode":%d}}`, id, test.status, test.code); last != want {
			t.Errorf("the last event is %s, want %s", last, want)
		}
		events.wait()
		if status, told := state(); status != "stopped" || !told.is(test.status, test.code) {
			t.Errorf("%s: state says %s and %v; want %d and %#x", test.args, status, told, test.status, test.code)
		}
		b.call("delete", id).wait().want(0, "")
	}
}
