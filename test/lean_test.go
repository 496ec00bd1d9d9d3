package test

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLeanRegistry compares what a program finds in the registry when its prefix is a lean one, a moment after the start,
// with what it finds in a whole one.
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
			lean, whole := b.run(append(zone, "registry.exe")...), b.run(append(zone, "large.exe")...)
			if lean.code() != 1 || whole.code() != 0 || lean.text() != whole.text() || strings.Contains(lean.text(), "\n0 zones") {
				t.Errorf("lean: exit code %d\n%s%s\nwhole: exit code %d\n%s%s", lean.code(), lean.text(), lean.err.String(), whole.code(), whole.text(), whole.err.String())
			}
			if c := b.run("-e", "TZ=CET-1", "registry.exe"); c.code() != 0 {
				t.Errorf("%s: the prefix is lean, but the time zone is not one of its own", c)
			}
		})
	}
}
