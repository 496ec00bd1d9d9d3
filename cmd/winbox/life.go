package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"winbox/internal/leanjson"
	"winbox/oci"
	"winbox/sandbox"
)

func startCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "start",
		Usage: "run the program of a created container",
		Description: `Returns when the program has been executed; under a service manager that waits
for it (NOTIFY_SOCKET), when it has reported that it is ready. An error of the
last steps, such as a file that the user may not execute, is an error of start.`,
		ArgsUsage: "ID",
		Action: g.onContainer(func(_ *cli.Context, ct *sandbox.Container) error {
			if err := ct.ListenNotify(os.Getenv("NOTIFY_SOCKET")); err != nil {
				return err
			}
			if err := ct.Start(); err != nil {
				return err
			}
			return ct.ForwardReady(true)
		}),
	}
}

func stateCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "state",
		Usage: "print the state of a container as JSON",
		Description: `The state as the OCI runtime specification has it. The status is creating,
created, running, paused or stopped; pid is 0 when stopped. A Windows container
that has stopped has exitCode, its exit status, and windowsExitCode, all 32 bits
of what the program ended with; null when it was killed.`,
		ArgsUsage: "ID",
		Action: g.onContainer(func(c *cli.Context, ct *sandbox.Container) error {
			var state struct {
				oci.State
				*sandbox.Exit // its fields are left out when it is nil
			}
			// The exit code is written before the container stops.
			if state.State = ct.State(); state.Status == oci.Stopped {
				state.Exit = ct.Exit()
			}
			compact, err := leanjson.Marshal(&state)
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := json.Indent(&text, append(compact, '\n'), "", "  "); err != nil {
				return err
			}
			_, err = c.App.Writer.Write(text.Bytes())
			return err
		}),
	}
}

func killCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "kill",
		Usage: "send a signal to a container's first process",
		Description: `SIGNAL is a number or a name, with or without SIG; TERM if it is left out. A
process 1 of its own pid namespace does not get signals that it has no handler
for, other than KILL.

    winbox kill box1 KILL`,
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
		Name:  "delete",
		Usage: "remove a container that has stopped",
		Description: `Its control group and state are removed. With --force it is killed first, and
it is no error if there is no such container.`,
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
