package main

import (
	"errors"

	"github.com/urfave/cli/v2"
)

// unsupported makes a command of runc's that winbox does not have. Even its
// --help fails: podman takes a runtime for one that can make checkpoints when
// `checkpoint --help` succeeds.
func unsupported(name string) func(*globals) *cli.Command {
	return func(*globals) *cli.Command {
		return &cli.Command{
			Name: name, Usage: "not supported", Hidden: true, HideHelp: true, SkipFlagParsing: true,
			Action: func(*cli.Context) error {
				return errors.New(name + ": winbox cannot save and restore running containers (CRIU); use runc or crun for that")
			},
		}
	}
}
