package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestBecome checks that what starts a program in a loader's stead does not stay, and that nobody takes the program for it
// afterwards: there are process 1, the wineserver and the program, which lives longer than the server leaves a process that
// has hung up, and ends by itself.
func TestBecome(t *testing.T) {
	t.Parallel()
	const windowsPath = `C:\app\stay.exe`
	for name, start := range map[string]func(t *testing.T) (*box, *call){
		"32-bit, new WoW64": func(t *testing.T) (*box, *call) {
			b := newRuntimeBox(t, "new")
			return b, b.launch(machines[1].build(t, "stay.exe", "stay"))
		},
		"command line": func(t *testing.T) (*box, *call) {
			b := newBox(t)
			b.program("stay")
			bare := b.bare("stay.exe")
			bundle := b.bundle(func(s *specs.Spec) {
				bare(s)
				s.Process.CommandLine = windowsPath + " x"
			})
			return b, b.call("run", "--bundle", bundle, b.id("line"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, c := start(t)
			stdin := c.follow()
			c.line()
			await(t, "process 1, the wineserver and the program alone", func() bool {
				var names []string
				for _, pid := range b.processes() {
					line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // fails for one that has ended
					path, _, _ := strings.Cut(strings.ReplaceAll(string(line), `\`, "/"), "\x00")
					name, _, _ := strings.Cut(filepath.Base(path), " ")
					names = append(names, name)
				}
				slices.Sort(names)
				return slices.Equal(names, []string{"stay.exe", "winbox-init", "wineserver64"})
			})
			stdin.Close()
			if out := c.rest(); out != "" || c.code() != 44 {
				t.Errorf("exit code %d, output %q, error %q", c.code(), out, c.err.String())
			}
		})
	}
}

// TestBecomeTerminal types Ctrl-C to a 32-bit program of the new WoW64, which is of the console's process group as others are.
func TestBecomeTerminal(t *testing.T) {
	t.Parallel()
	b := newRuntimeBox(t, "new")
	checkConsole(t, b.launch(machines[1].build(t, "console.exe", "console")))
}
