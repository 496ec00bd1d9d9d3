package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestManPages checks that the pages have everything and that the formatters
// find nothing wrong with them.
func TestManPages(t *testing.T) {
	c := command{t, filepath.Join(t.TempDir(), "state")}
	dir := t.TempDir()
	c.succeed("man", dir)
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, formatter := range [][]string{{"mandoc", "-T", "lint", "-W", "style"}, {"groff", "-man", "-ww", "-z", "-Tutf8"}} {
		if _, err := exec.LookPath(formatter[0]); err != nil {
			t.Skip(err)
		}
		if out, err := exec.Command(formatter[0], append(formatter[1:], pages...)...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", formatter[0], err, out)
		}
	}
	text := func(page string) string {
		cmd := exec.Command("mandoc", "-T", "ascii", filepath.Join(dir, page))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		// Bold and underlined letters are written twice.
		for i := strings.IndexByte(string(out), '\b'); i > 0; i = strings.IndexByte(string(out), '\b') {
			out = append(out[:i-1], out[i+1:]...)
		}
		return string(out)
	}
	main := text("winbox.1")
	for _, command := range commands {
		page := filepath.Join(dir, "winbox-"+command.name+".1")
		switch _, err := os.Stat(page); command.name {
		case "man", "checkpoint", "restore":
			if err == nil {
				t.Errorf("there is a page of %s", command.name)
			}
			continue
		default:
			if err != nil {
				t.Error(err)
				continue
			}
		}
		if !strings.Contains(main, "winbox-"+command.name+"(1)") {
			t.Errorf("winbox.1 does not name %s", command.name)
		}
		page = text(filepath.Base(page))
		for _, o := range options(command.make(&globals{}).Flags) {
			if !strings.Contains(page, strings.TrimSpace(strings.Join(o.dashed(), ", ")+" "+o.value)) {
				t.Errorf("winbox-%s.1 does not have the flag %q", command.name, o.names)
			}
		}
	}
	exec := text("winbox-exec.1")
	for _, want := range []string{
		"winbox-exec - run another process in a container", "winbox exec --tty --env TERM=xterm box1 sh", "128 + N after signal N", "--env, -e NAME=VALUE",
	} {
		if !strings.Contains(exec, want) {
			t.Errorf("%q is not in\n%s", want, exec)
		}
	}
}
