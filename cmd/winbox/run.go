package main

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"winbox/preload"
	"winbox/sandbox"
)

func runCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "make a container, run its program and remove the container",
		Description: `The program runs in the foreground: it has the caller's streams, or with
process.terminal a terminal that is connected to them; signals are passed on.
The exit code is the program's, 128 + N after signal N. A line on standard error
says so when the kernel has killed for want of memory.

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
			if res.ExitCode == 0 {
				return nil
			}
			end := &exitError{code: res.ExitCode}
			if res.OOMKills > 0 {
				end.err = outOfMemory(opt.Bundle.Spec, opt.ID)
			}
			return end
		},
	}
}

// outOfMemory says what the kernel killed for, and what to do.
func outOfMemory(spec *specs.Spec, id string) error {
	if spec.Linux != nil && spec.Linux.Resources != nil {
		if m := spec.Linux.Resources.Memory; m != nil && m.Limit != nil && *m.Limit > 0 {
			return fmt.Errorf("out of memory: limit %s, container %s: raise linux.resources.memory.limit", preload.FormatSize(uint64(*m.Limit)), id)
		}
	}
	return fmt.Errorf("out of memory: container %s has no limit of its own: raise that of a group above it, or free memory of the host", id)
}
