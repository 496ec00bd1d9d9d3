package main

import (
	"runtime/debug"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

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
