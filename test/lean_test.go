package test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLeanRegistry compares what a program finds in the registry when its prefix is a lean one with what it finds in a whole
// one: at once, and from the first thing that it asks for.
func TestLeanRegistry(t *testing.T) {
	t.Parallel()
	for kind, open := range map[string]func(*testing.T) *box{
		"host": newBox,
		"i386": func(t *testing.T) *box { return newRuntimeBox(t, "i386") },
		"new":  func(t *testing.T) *box { return newRuntimeBox(t, "new") },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			b.program("registry")
			// A large program is not examined: see wine.Lean.
			writeFile(t, b.dir, "large.exe", []byte(readFile(t, filepath.Join(b.dir, "registry.exe"))+strings.Repeat("\x00", 2<<20)))
			zone := []string{"-e", "TZ=UTC0"}
			ask := func(arguments ...string) {
				t.Helper()
				lean := b.run(append(append(zone, "registry.exe"), arguments...)...)
				whole := b.run(append(append(zone, "large.exe"), arguments...)...)
				if lean.code() != 1 || whole.code() != 0 || lean.text() != whole.text() || strings.Contains(lean.text(), "\n0 zones") {
					t.Errorf("lean: exit code %d\n%s%s\nwhole: exit code %d\n%s%s", lean.code(), lean.text(), lean.err.String(), whole.code(), whole.text(), whole.err.String())
				}
			}
			ask()
			ask("parent")
			for _, key := range []string{`SOFTWARE\Class~es`, `Software\Microsoft\Crypto~graphy\OID\EncodingType 0`, `software\classes\mime\database`,
				`Software\Microsoft\Windows\CurrentVersion\Tele~phony`, `SOFTWARE\Microsoft\Windows NT\CurrentVersion\Time~ Zones`,
				`SOFTWARE\Microsoft\Windows NT\CurrentVersion\Time~ Zones\UTC`, `Software\Microsoft\Windows\CurrentVersion`,
				`Software\Microsoft\Windows\CurrentVersion\Explorer`, `Software\Microsoft\Crypto~graphy`} {
				if kind == "host" {
					ask("key", key)
				}
			}
			if c := b.run("-e", "TZ=CET-1", "registry.exe"); c.code() != 0 {
				t.Errorf("%s: the prefix is lean, but the time zone is not one of its own", c)
			}
		})
	}
}

// TestLeanStays looks at what makes a lean registry a whole one: another program that is not small, and neither time nor a
// second start of a small one.
func TestLeanStays(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("wait")
	b.program("exit")
	b.program("registry")
	writeFile(t, b.dir, "large.exe", []byte(readFile(t, filepath.Join(b.dir, "registry.exe"))+strings.Repeat("\x00", 2<<20)))
	first := b.launch("wait.exe")
	first.follow()
	if first.line() != "waiting" {
		t.Fatal("not waiting")
	}
	b.booted()
	id, pid := b.container()
	lean := func() bool {
		_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root/run/winbox/prefix/load-registry"))
		return err == nil
	}
	if c := b.call("exec", id, `D:\exit.exe`, "7").wait(); c.code() != 7 || !lean() {
		t.Errorf("%s: exit code %d, the registry is lean: %v", c, c.code(), lean())
	}
	const all = "Greenwich Standard Time\n139 zones\n"
	if c := b.call("exec", id, `D:\large.exe`, "child").wait(); c.code() != 1 || !strings.HasPrefix(c.text(), all) || !strings.HasSuffix(c.text(), "\n139 zones\n") || lean() {
		t.Errorf("%s: exit code %d, the registry is lean: %v\n%s", c, c.code(), lean(), c.text())
	}
	b.call("kill", id, "KILL").wait()
	first.wait()
}
