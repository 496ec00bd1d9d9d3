package test

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"testing"
)

// TestExceptions lets programs of each machine crash in each way: standard error says which exception, where, and in which
// module, in one line; standard output stays the program's; the exit code is the exception's.
func TestExceptions(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		writeFile(t, b.dir, "crash.exe", []byte(readFile(t, m.build(t, "crash.exe", "crash", "-Wno-infinite-recursion"))))
		own := `at 0x[0-9a-f]+ in crash\.exe\+0x[0-9a-f]+`
		tests := []struct {
			how  string
			code uint32
			says string
		}{
			{"write", 0xC0000005, `winbox: crash\.exe: access violation \(0xC0000005\) ` + own + ` writing 0x10`},
			{"read", 0xC0000005, `winbox: crash\.exe: access violation \(0xC0000005\) ` + own + ` reading 0x1234`},
			{"execute", 0xC0000005, `winbox: crash\.exe: access violation \(0xC0000005\) at 0x20 executing 0x20`},
			{"divide", 0xC0000094, `winbox: crash\.exe: integer division by zero \(0xC0000094\) ` + own},
			{"illegal", 0xC000001D, `winbox: crash\.exe: illegal instruction \(0xC000001D\) ` + own},
			{"throw", 0xE06D7363, `winbox: crash\.exe: unhandled C\+\+ exception \(0xE06D7363\) at 0x[0-9a-f]+ in kernelbase\.dll\+0x[0-9a-f]+`},
			{"fail", 0xC0000409, `winbox: crash\.exe: stack buffer overrun \(0xC0000409\) ` + own},
			{"overflow", 0xC00000FD, `winbox: crash\.exe: stack overflow \(0xC00000FD\) ` + own},
		}
		crash := func(boot, how, says string, code uint32) {
			status := filepath.Join(b.dir, "status.json")
			c := b.run("--boot", boot, "--status-file", status, "crash.exe", how)
			var got struct{ WindowsExitCode *uint32 }
			if err := json.Unmarshal([]byte(readFile(t, status)), &got); err != nil {
				t.Fatal(err)
			}
			if got.WindowsExitCode == nil || *got.WindowsExitCode != code {
				t.Errorf("%s: exit code %v in Windows, want %#x", how, readFile(t, status), code)
			}
			if !regexp.MustCompile(`^`+says+`\n$`).MatchString(c.err.String()) || c.out.Len() > 0 {
				t.Errorf("%s: standard output %q, error %q, want the line %s", how, c.out.String(), c.err.String(), says)
			}
		}
		for _, test := range tests {
			crash("minimal", test.how, test.says, test.code)
		}
		crash("full", tests[0].how, tests[0].says, tests[0].code)
		// Without what prints the line, there is Wine's own.
		c := b.run("crash.exe", "alone")
		if !regexp.MustCompile(`^wine: Unhandled page fault [^\n]*\n[^\n]*Couldn't start debugger`).MatchString(c.err.String()) {
			t.Errorf("alone: exit code %d, error %q", c.code(), c.err.String())
		}
	})
}
