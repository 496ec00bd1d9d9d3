package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// TestCompletion asks the shells themselves what they offer.
func TestCompletion(t *testing.T) {
	c, bundle := busyboxBundle(t, "true")
	ids := []string{testID() + "-a", testID() + "-b"}
	for _, id := range ids {
		c.succeed("create", "--bundle", bundle, id)
	}
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The scripts call winbox by its name.
	if err := os.WriteFile(filepath.Join(dir, "winbox"), fmt.Appendf(nil, "#!/bin/sh\n%s=1 exec %s \"$@\"\n", commandVariable, exe), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "folder/inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	root := "--root " + c.root
	tests := []struct {
		line string
		want []string // all of it
	}{
		{"winbox cre", []string{"create"}},
		{"winbox --debug re", []string{"resume"}},
		{"winbox --log-format ", []string{"json", "text"}},
		{"winbox --log-format j", []string{"json"}},
		{"winbox list --format ", []string{"json", "table"}},
		{"winbox list -f ", []string{"json", "table"}},
		{"winbox --log-format json list --q", []string{"--quiet"}},
		{"winbox exec --c", []string{"--cap", "--cgroup", "--console-socket", "--cwd"}},
		{"winbox completion ", []string{"bash", "fish", "zsh"}},
		{"winbox " + root + " state ", ids},
		{"winbox " + root + " exec --tty ", ids},
		{"winbox " + root + " exec --user 1:1 --cwd /tmp ", ids},
		{"winbox " + root + " state wbtest-", ids},
		{"winbox " + root + " kill " + ids[0] + " US", []string{"USR1", "USR2"}},
		{"winbox create --bundle folder/", []string{"folder/inside"}},
	}
	scripts := map[string]struct {
		command []string
		equals  string // what is offered behind "--log-format="
	}{
		"bash": {[]string{"bash", "--norc"}, ""},
		"zsh":  {[]string{"zsh", "-f"}, ""},
		"fish": {[]string{"fish", "-N"}, "--log-format="},
	}
	for shell, s := range scripts {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				t.Skip(err)
			}
			script := filepath.Join(dir, "completion."+shell)
			if err := os.WriteFile(script, []byte(c.succeed("completion", shell)), 0o644); err != nil {
				t.Fatal(err)
			}
			driver, err := filepath.Abs("testdata/complete." + shell)
			if err != nil {
				t.Fatal(err)
			}
			args := append(s.command[1:], driver, script)
			for _, test := range tests {
				args = append(args, test.line)
			}
			args = append(args, "winbox --log-format=")
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, s.command[0], args...)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "TERM=dumb", "LC_ALL=C.UTF-8"}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil || stderr.Len() > 0 {
				t.Fatalf("%v: %s\n%s", err, &stderr, out)
			}
			offered, line := map[string][]string{}, ""
			for text := range strings.Lines(string(out)) {
				text = strings.TrimSuffix(text, "\n")
				if strings.HasPrefix(text, "[") {
					line = strings.Trim(text, "[]")
				} else {
					offered[line] = append(offered[line], text)
				}
			}
			check := func(line string, want []string) {
				t.Helper()
				var got []string
				for _, o := range offered[line] {
					// Some shells offer what is behind the last slash, some all of it.
					got = append(got, strings.TrimSuffix(strings.TrimPrefix(o, "folder/"), "/"))
				}
				slices.Sort(got)
				want = slices.Clone(want)
				for i := range want {
					want[i] = strings.TrimPrefix(want[i], "folder/")
				}
				if got = slices.Compact(got); !slices.Equal(got, want) {
					t.Errorf("%q: offered %q, want %q", line, got, want)
				}
			}
			for _, test := range tests {
				check(test.line, test.want)
			}
			check("winbox --log-format=", []string{s.equals + "json", s.equals + "text"})
		})
	}
}

// TestCompletionErrors checks what is not a shell.
func TestCompletionErrors(t *testing.T) {
	c := command{t, filepath.Join(t.TempDir(), "state")}
	for _, args := range [][]string{{"completion"}, {"completion", "sh"}, {"completion", "bash", "zsh"}} {
		c.fail("completion: which shell? bash, zsh or fish", args...)
	}
}

// TestSurface checks that what completion knows of flags and arguments is of
// flags and commands that exist, and that the help has a text for everything.
func TestSurface(t *testing.T) {
	g := &globals{}
	g.application = func() *cli.App { return g.newApp(commandsFor(g, nil)) }
	app := g.application()
	seen := map[string]bool{}
	describe := func(command string, flags []cli.Flag) {
		for _, o := range options(flags) {
			if o.usage == "" || len(o.names[0]) < 2 {
				t.Errorf("%s: flag %q has no text or no long name", command, o.names)
			}
			if choices(command, &o) != nil {
				seen[o.names[0]] = true
			}
		}
	}
	describe("", app.Flags)
	for _, c := range visible(app) {
		describe(c.Name, c.Flags)
		if c.Usage == "" || c.Description == "" {
			t.Errorf("%s: no usage or description", c.Name)
		}
		for line := range strings.Lines(c.Description) {
			if len(strings.TrimSuffix(line, "\n")) > 84 {
				t.Errorf("%s: a line of the description is longer than a terminal: %q", c.Name, line)
			}
		}
		if arguments(c.Name) != nil && c.ArgsUsage == "" {
			t.Errorf("%s: takes arguments that its usage does not show", c.Name)
		}
	}
	for _, name := range []string{"log-format", "format", "network", "boot", "rootless", "bundle", "pid-file", "console-socket", "windows"} {
		if !seen[name] {
			t.Errorf("nothing is known of the values of --%s", name)
		}
	}
}
