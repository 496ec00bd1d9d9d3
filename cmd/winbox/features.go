package main

import (
	"encoding/json"
	"errors"

	"github.com/urfave/cli/v2"

	"winbox/oci"
	"winbox/sandbox"
	"winbox/sandbox/program"
	"winbox/wine"
)

// systemdProperties is what annotations begin with that set properties of a
// container's scope (package sandbox/cgroup).
const systemdProperties = "org.systemd.property."

func featuresCommand(*globals) *cli.Command {
	return &cli.Command{
		Name:  "features",
		Usage: "print what of the runtime specification is supported, as JSON",
		Description: `What engines ask before they use a runtime: namespaces, mount options, seccomp
and more, as in features.md of the OCI runtime specification.`,
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return errors.New("features: takes no arguments")
			}
			out := json.NewEncoder(c.App.Writer)
			out.SetIndent("", "  ")
			annotations := append(wine.Annotations(), systemdProperties)
			return out.Encode(oci.NewFeatures(version, annotations, program.MountOptions(), sandbox.Features()))
		},
	}
}
