package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"winbox/sandbox"
)

func runCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "make a container, run its program and remove the container",
		Description: `The program runs in the foreground: it has the caller's streams, or with
process.terminal a terminal that is connected to them; signals are passed on.
The exit code is the program's, 128 + N after signal N.

    winbox run --bundle ./box box1`,
		ArgsUsage: "ID",
		Flags: append(createFlags(),
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return when the program runs"},
			&cli.BoolFlag{Name: "keep", Usage: "do not remove the container when its program has ended"},
		),
		Action: func(c *cli.Context) error {
			opt, err := g.bundleOptions(c)
			if err != nil {
				return err
			}
			if c.Bool("print-program") {
				opt.Start = true
				return printProgram(c, opt)
			}
			if err := checkTerminal(c, opt.Bundle.Spec.Process, c.Bool("detach")); err != nil {
				return fmt.Errorf("run failed: %w", err)
			}
			if c.Bool("detach") {
				opt.Start = true
				ct, err := sandbox.Create(opt)
				if err != nil {
					return fmt.Errorf("run failed: %w", err)
				}
				return ct.ForwardReady(true)
			}
			opt.Signals = sandbox.CatchSignals()
			res, err := sandbox.Run(c.Context, opt, c.Bool("keep"), nil)
			if err != nil {
				return fmt.Errorf("run failed: %w", err)
			}
			if res.ExitCode != 0 {
				return &exitError{code: res.ExitCode}
			}
			return nil
		},
	}
}
