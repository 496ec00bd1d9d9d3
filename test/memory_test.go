package test

import (
	"regexp"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	allocate := b.program("allocate")
	t.Run("past", func(t *testing.T) {
		c := b.run("--memory", "64m", "--commit", "off", allocate, "256")
		line := c.wantLine(137)
		if want := regexp.MustCompile(`^winbox: out of memory: limit 64 MiB, container allocate-[0-9a-f]+: raise --memory$`); !want.MatchString(line) {
			t.Errorf("standard error %q, want %s", line, want)
		}
	})
	t.Run("below", func(t *testing.T) {
		b.run("--memory", "64m", allocate, "20").want(0, "20 MiB\n")
	})
	t.Run("none", func(t *testing.T) {
		b.run(allocate, "256").want(0, "256 MiB\n")
	})
}
