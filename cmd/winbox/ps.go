package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"winbox/sandbox"
)

func psCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "ps",
		Usage: "show the processes of a container",
		Description: `PS-OPTIONs are those of ps(1), -ef if there are none; rows of other processes are
left out. With --format json, the process ids as the host numbers them.

    winbox ps box1 -o pid,stat,args`,
		ArgsUsage: "ID [PS-OPTION...]",
		Flags:     []cli.Flag{formatFlag()},
		Action: func(c *cli.Context) error {
			asJSON, err := jsonWanted(c)
			if err != nil {
				return err
			}
			if c.NArg() == 0 {
				return errors.New("ps: the container's ID is needed, and options of ps(1) may follow")
			}
			ct, err := sandbox.Load(g.root, c.Args().First())
			if err != nil {
				return err
			}
			pids, err := ct.Processes()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.App.Writer).Encode(pids)
			}
			options := c.Args().Tail()
			if len(options) == 0 {
				options = []string{"-ef"}
			}
			table, err := exec.CommandContext(c.Context, "ps", options...).Output()
			if err != nil {
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					return fmt.Errorf("ps %s: %w: %s", strings.Join(options, " "), err, strings.TrimSpace(string(exit.Stderr)))
				}
				return fmt.Errorf("%w (install ps, or use --format json)", err)
			}
			return filterTable(c.App.Writer, string(table), pids)
		},
	}
}

// filterTable writes the title and the rows of these processes from what ps(1) says.
func filterTable(w io.Writer, table string, pids []int) error {
	column := -1
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if column < 0 {
			if column = slices.Index(fields, "PID"); column < 0 {
				return errors.New("ps: the options leave out the column PID")
			}
		} else {
			if len(fields) <= column {
				continue
			}
			pid, err := strconv.Atoi(fields[column])
			if err != nil {
				return fmt.Errorf("ps: no process id in the row %q", strings.TrimSpace(line))
			}
			if !slices.Contains(pids, pid) {
				continue
			}
		}
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	return nil
}
