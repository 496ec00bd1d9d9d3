package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"winbox/oci"
	"winbox/sandbox"
)

func listCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the containers",
		Description: `All containers below --root, as a table, as JSON or only their IDs.

    winbox list --format json`,
		Flags: []cli.Flag{
			formatFlag(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "only their IDs"},
		},
		Action: func(c *cli.Context) error {
			asJSON, err := jsonWanted(c)
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				return errors.New("list: takes no arguments")
			}
			list, err := sandbox.List(g.root)
			// Without a container yet, the usual directory need not be there.
			if err != nil && (!errors.Is(err, os.ErrNotExist) || c.IsSet("root")) {
				return err
			}
			switch {
			case c.Bool("quiet"):
				for _, ct := range list {
					fmt.Fprintln(c.App.Writer, ct.ID())
				}
				return nil
			case asJSON:
				return json.NewEncoder(c.App.Writer).Encode(states(list))
			}
			w := tabwriter.NewWriter(c.App.Writer, 12, 1, 3, ' ', 0)
			fmt.Fprintln(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER")
			for _, s := range states(list) {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.PID, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
			}
			return w.Flush()
		},
	}
}

// states is nil for none, which is `null` in JSON, as with runc.
func states(list []*sandbox.Container) []oci.State {
	var all []oci.State
	for _, ct := range list {
		all = append(all, ct.State())
	}
	return all
}

// formatFlag is that of list and ps.
func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "`FORMAT`: table or json"}
}

// jsonWanted reads it.
func jsonWanted(c *cli.Context) (bool, error) {
	switch format := c.String("format"); format {
	case "table", "json":
		return format == "json", nil
	default:
		return false, fmt.Errorf("invalid format option: --format %q is neither table nor json", format)
	}
}
