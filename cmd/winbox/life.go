package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"winbox/sandbox"
)

func startCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "run the program of a created container",
		ArgsUsage: "ID",
		Action: g.onContainer(func(_ *cli.Context, ct *sandbox.Container) error {
			return ct.Start()
		}),
	}
}

func stateCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "state",
		Usage:     "print the state of a container as JSON",
		ArgsUsage: "ID",
		Action: g.onContainer(func(c *cli.Context, ct *sandbox.Container) error {
			out := json.NewEncoder(c.App.Writer)
			out.SetIndent("", "  ")
			return out.Encode(ct.State())
		}),
	}
}

func killCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "kill",
		Usage:     "send a signal to a container's first process",
		ArgsUsage: "ID [SIGNAL]",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "send it to all its processes"}},
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 || c.NArg() > 2 {
				return errors.New("kill: the container's ID is needed, and a signal may follow")
			}
			sig, err := parseSignal(c.Args().Get(1))
			if err != nil {
				return err
			}
			ct, err := sandbox.Load(g.root, c.Args().First())
			if err != nil {
				return err
			}
			if c.Bool("all") {
				return ct.SignalAll(sig)
			}
			return ct.Signal(sig)
		},
	}
}

func deleteCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "delete",
		Usage:     "remove a container that has stopped",
		ArgsUsage: "ID",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "kill it first if it runs; it need not exist"}},
		Action: func(c *cli.Context) error {
			id, err := containerID(c)
			if err != nil {
				return err
			}
			err = sandbox.Delete(g.root, id, c.Bool("force"))
			if errors.Is(err, sandbox.ErrNotExist) && c.Bool("force") {
				return nil
			}
			return err
		},
	}
}

// onContainer makes an action of what is to be done with the container named
// by the only argument.
func (g *globals) onContainer(do func(*cli.Context, *sandbox.Container) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		id, err := containerID(c)
		if err != nil {
			return err
		}
		ct, err := sandbox.Load(g.root, id)
		if err != nil {
			return err
		}
		return do(c, ct)
	}
}

// parseSignal takes a number or a name with or without SIG; empty is SIGTERM.
// 0 is no signal: kill(2) then only looks whether there is somebody.
func parseSignal(s string) (unix.Signal, error) {
	if s == "" {
		return unix.SIGTERM, nil
	}
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}
