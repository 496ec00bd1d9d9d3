package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
)

// The record of the build is read for --version only.
func init() {
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintf(c.App.Writer, "%s version %s\n", c.App.Name, versionLines()) }
}

// versionLines is what --version prints behind "winbox version ": the version,
// and lines `commit:` and `spec:` as runc and crun have them. Engines show the
// first line to their users and look for nothing more in it than "version".
func versionLines() string {
	lines := []string{version}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				lines = append(lines, "commit: "+s.Value)
			}
		}
	}
	return strings.Join(append(lines, "spec: "+specs.Version), "\n")
}
