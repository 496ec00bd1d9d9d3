package test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestRuntimePrune removes what nobody needs, while a container runs and others are made.
func TestRuntimePrune(t *testing.T) {
	t.Parallel()
	b := newRuntimeBox(t, "i386")
	own := filepath.Join(b.dir, "data")
	b.env = []string{"WINBOX_DATA=" + own}
	b.runtime = ""
	c := b.call("runtime", "build", "mine", "--wow64", "none", "--from", filepath.Join(runtimesRoot(), "runtimes/i386/root"))
	if c.wait(); c.code() != 0 {
		t.Fatalf("%s: exit code %d\n%s", c, c.code(), c.err.String())
	}
	old := []string{"runtimes/.new-1/made/root/file", "templates/.new-wine-1/root/file", "templates/wine-8.0-0123456789abcdef/prefix/file"}
	for _, name := range old {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(own, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, own, name, make([]byte, 5<<20))
	}
	prune := func(flags ...string) string {
		t.Helper()
		p := b.call(append([]string{"runtime", "prune"}, flags...)...).wait()
		if p.code() != 0 {
			t.Errorf("%s: exit code %d, %s", p, p.code(), p.err.String())
		}
		return p.text() + p.err.String()
	}

	running := b.launch("--runtime", "mine", "cmd.exe", "/c", "echo ready& pause& ver")
	stdin := running.follow()
	running.line()
	for _, flags := range [][]string{{"--dry-run"}, nil} {
		said := prune(flags...)
		if strings.Count(said, "\n") != 2+len(old) || !strings.Contains(said, "15 MiB") || strings.Contains(said, "mine") {
			t.Errorf("prune %v says %s", flags, said)
		}
		for _, name := range old {
			if _, err := os.Stat(filepath.Join(own, name)); (err == nil) != (flags != nil) {
				t.Errorf("prune %v: %s: %v", flags, name, err)
			}
		}
	}
	if said := prune("--all"); said != "nothing to remove\n" {
		t.Errorf("beside a container it says %s", said)
	}
	together := func(flag string, judge func(c *call)) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 2 {
					judge(b.run("--runtime", "mine", "cmd.exe", "/c", "exit 7"))
				}
			})
			all.Go(func() { prune(flag) })
		}
		all.Wait()
	}
	together("--all", func(c *call) {
		if c.code() != 7 {
			t.Errorf("%s: exit code %d, %s", c, c.code(), c.err.String())
		}
	})
	stdin.Write([]byte("x"))
	stdin.Close()
	if running.wait(); running.code() != 0 {
		t.Errorf("the container that ran: exit code %d, %s%s", running.code(), running.text(), running.err.String())
	}
	// Without it the runtime goes at some time: a program is run, or there is none to run it on.
	together("--all", func(c *call) {
		if c.code() != 7 && !strings.Contains(c.wantLine(c.code()), "no such runtime") {
			t.Errorf("%s: exit code %d, %s", c, c.code(), c.err.String())
		}
	})
	prune("--all")
	for _, pattern := range []string{"runtimes/[^.]*", "runtimes/.new*", "templates/[^.]*", "templates/.new*", "containers/*"} {
		if left, err := filepath.Glob(filepath.Join(own, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}
