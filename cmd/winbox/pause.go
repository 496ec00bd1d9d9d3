package main

import (
	"github.com/urfave/cli/v2"

	"winbox/sandbox"
)

func pauseCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "pause",
		Usage: "stop all processes of a container until `resume`",
		Description: `Freezes the control group of the container. In a paused container nothing can
be started but with "winbox exec --ignore-paused", which waits.`,
		ArgsUsage: "ID",
		Action:    g.onContainer(func(_ *cli.Context, ct *sandbox.Container) error { return ct.Pause() }),
	}
}

func resumeCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:        "resume",
		Usage:       "let a paused container run on",
		Description: `Thaws the control group that "winbox pause" has frozen.`,
		ArgsUsage:   "ID",
		Action:      g.onContainer(func(_ *cli.Context, ct *sandbox.Container) error { return ct.Resume() }),
	}
}
