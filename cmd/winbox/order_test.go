package main

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestFlagsFirst checks which arguments change places.
func TestFlagsFirst(t *testing.T) {
	g := &globals{}
	for line, want := range map[string]string{
		"":                                  "",
		"--root /x":                         "--root /x",
		"--root":                            "--root",
		"state box":                         "state -- box",
		"--root kill --debug delete box -f": "--root kill --debug delete -f -- box",
		"--root=/x delete --force box":      "--root=/x delete --force -- box",
		"update box --memory 5m --cpu-quota=-1 --memory-swap -1": "update --memory 5m --cpu-quota=-1 --memory-swap -1 -- box",
		"list -qf json":       "list -qf json --",
		"update -r - box":     "update -r - -- box",
		"update box --memory": "update --memory -- box",
		"kill box -- -9":      "kill -- box -9",
		"kill --all box KILL": "kill --all -- box KILL",
		"run box -b . -d":     "run -b . -d -- box",
		"delete -- -f":        "delete -- -f",
		"state box --help":    "state --help",
		"kill -a -h box 9":    "kill --help",
		"state box --strange": "state --strange -- box",
		"exec box sh -c true": "exec box sh -c true",
		"ps box -e -x":        "ps box -e -x",
		"launch cmd -f /c":    "launch cmd -f /c",
		"strange box -f":      "strange box -f",
	} {
		args := append([]string{"winbox"}, strings.Fields(line)...)
		app := &cli.App{Flags: g.flags(), Commands: commandsFor(g, nil)}
		if got := strings.Join(flagsFirst(app, args)[1:], " "); got != want {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
	}
}
