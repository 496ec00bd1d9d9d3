package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadOnly launches with everything read-only: what a program writes on drive C: is in memory, counts for the
// container's limit, and cannot have more than half of it.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		make  func(*testing.T) *box
		flags []string
	}{
		{"root", newBox, nil},
		{"rootless", newUserBox, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := test.make(t)
			b.run(append(test.flags, "cmd", "/c", "exit 0")...) // says that it makes the template
			writeFile(t, b.dir, "big", make([]byte, 20<<20))
			out := newDir(t)
			if err := os.Chmod(out, 0o777); err != nil {
				t.Fatal(err)
			}
			flags := append(test.flags, "--read-only")
			writeFile(t, b.dir, "write.cmd", []byte("@echo off\r\n"+
				"for %%f in (C:\\new.txt C:\\windows\\system32\\new.dll C:\\data\\new.txt D:\\new.txt) do (\r\necho x>%%f\r\nif exist %%f echo wrote %%f\r\n)\r\n"+
				"echo kept>%TEMP%\\a.txt\r\ntype %TEMP%\\a.txt\r\n"+
				"reg add HKLM\\Software\\New /v v /d 1 /f >nul\r\nreg query HKLM\\Software\\New /v v >nul\r\nif not errorlevel 1 echo registry\r\n"))
			c := b.run(append(flags, "--mount", out+`:C:\data:ro`, "cmd", "/c", "write.cmd")...)
			if c.code() != 0 || c.text() != "kept\nregistry\n" || strings.Count(c.err.String(), "Access denied.") != 4 {
				t.Errorf("exit code %d, output %q, standard error %q", c.code(), c.text(), c.err.String())
			}
			for _, dir := range []string{out, b.dir} {
				if _, err := os.Stat(filepath.Join(dir, "new.txt")); err == nil {
					t.Errorf("%s has a new file", dir)
				}
			}
			if test.name == "rootless" {
				return // no limits without a delegated part of the control groups
			}
			c = b.launch(append(flags, "--memory", "64m", "cmd", "/c", `copy D:\big %TEMP%\one >nul& copy D:\big %TEMP%\two >nul& if errorlevel 1 echo full& echo ready& pause& exit 0`)...)
			stdin := c.follow()
			if line := c.line(); !strings.Contains(line, "full") {
				t.Errorf("a second file of 20 MiB with a limit of 64: %q", line)
			}
			c.line()
			id, _ := b.container()
			if used := cgroupFile(t, id, "memory.usage_in_bytes", "memory.current"); len(used) < len("20000000") {
				t.Errorf("with 20 MiB in TEMP, the container uses %s bytes", used)
			}
			stdin.Close()
			if c.wait(); c.code() != 0 || !strings.Contains(c.err.String(), "Disk full.") {
				t.Errorf("exit code %d, standard error %q", c.code(), c.err.String())
			}
		})
	}
}
