package main

import (
	"encoding/json"
	"errors"

	"github.com/urfave/cli/v2"

	"winbox/oci"
	"winbox/sandbox"
	"winbox/sandbox/program"
)

func featuresCommand(*globals) *cli.Command {
	return &cli.Command{
		Name:  "features",
		Usage: "print what of the runtime specification is supported, as JSON",
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return errors.New("features: takes no arguments")
			}
			out := json.NewEncoder(c.App.Writer)
			out.SetIndent("", "  ")
			return out.Encode(oci.NewFeatures(version, program.MountOptions(), sandbox.Features()))
		},
	}
}
