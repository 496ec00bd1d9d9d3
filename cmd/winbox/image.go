package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"winbox/preload/prelink"
)

func imageCommand(*globals) *cli.Command {
	return &cli.Command{
		Name:      "image",
		Usage:     "prelink the libraries of an application",
		ArgsUsage: "prelink DIR",
		Description: `prelink rewrites the libraries (DLLs) in DIR and the folders below it, so that no
loader has to change them: none has a base that another library or a program of
DIR has, and all can be mapped from their files. Their memory is then shared by
all containers that have the same files. A library that is signed, or is .NET's,
Wine's or Windows' own is left alone; one without relocations keeps its base.

A second time, nothing changes. A container that runs meanwhile keeps the files
it has opened. Each file is replaced as a whole or not at all; exit code 1 when
one could not be read or replaced. With --json, addresses are strings of
hexadecimal digits with 0x.

    winbox image prelink --dry-run ./app`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "prelink: only say what would be done"},
			&cli.BoolFlag{Name: "drop-signatures", Usage: "prelink: rewrite signed files too, which are not signed then"},
			&cli.BoolFlag{Name: "programs", Usage: "prelink: rewrite programs (EXEs) too, at the bases they have"},
			&cli.BoolFlag{Name: "json", Usage: "prelink: print JSON"},
		},
		Action: func(c *cli.Context) error {
			switch verb := c.Args().First(); {
			case verb == "":
				return errors.New("image: what to do? (winbox image prelink DIR)")
			case verb != "prelink":
				return fmt.Errorf("image: %q is not prelink", verb)
			case c.NArg() != 2:
				return errors.New("image prelink: needs one folder: winbox image prelink [--dry-run] DIR")
			}
			opt := prelink.Options{DryRun: c.Bool("dry-run"), DropSignatures: c.Bool("drop-signatures"), Programs: c.Bool("programs")}
			return prelinkFolder(c.App.Writer, c.Args().Get(1), opt, c.Bool("json"))
		},
	}
}

// prelinked is one element of the output of "winbox image prelink --json". Its
// field names are stable.
type prelinked struct {
	File string `json:"file"`
	// Links are further names of the file.
	Links []string `json:"links"`
	// Machine is empty and the addresses are 0x0 for a file that is no PE image.
	Machine string         `json:"machine"`
	OldBase address        `json:"old_base"`
	NewBase address        `json:"new_base"`
	Size    uint64         `json:"image_size"`
	Action  prelink.Action `json:"action"`
	Reason  string         `json:"reason"`
}

// prelinkFolder prelinks and prints what became of each library.
func prelinkFolder(w io.Writer, dir string, opt prelink.Options, asJSON bool) error {
	files, err := prelink.Folder(dir, opt)
	if err != nil {
		return fmt.Errorf("image prelink: %w", err)
	}
	count := map[prelink.Action]int{}
	list := []prelinked{}
	for _, f := range files {
		count[f.Action]++
		p := prelinked{File: f.Path, Links: append([]string{}, f.Links...), OldBase: address(f.OldBase), NewBase: address(f.NewBase),
			Size: f.ImageSize, Action: f.Action, Reason: f.Reason}
		if f.Machine != 0 {
			p.Machine = f.Machine.String()
		}
		list = append(list, p)
	}
	if asJSON {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		err = out.Encode(list)
	} else {
		err = printPrelinked(w, list)
		if err == nil {
			_, err = fmt.Fprintf(w, "%d moved, %d aligned, %d kept, %d left alone, %d failed\n",
				count[prelink.Moved], count[prelink.Aligned], count[prelink.Kept], count[prelink.LeftAlone], count[prelink.Failed])
		}
	}
	if n := count[prelink.Failed]; err == nil && n > 0 {
		err = fmt.Errorf("image prelink: %s could not be read or replaced", plural(n, "file"))
	}
	return err
}

func printPrelinked(w io.Writer, list []prelinked) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "OLD BASE\tNEW BASE\tACTION\tFILE\tREASON")
	for _, p := range list {
		from, to := p.OldBase.String(), p.NewBase.String()
		if p.Machine == "" {
			from = "-"
		}
		if p.Machine == "" || p.NewBase == p.OldBase {
			to = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", from, to, p.Action, clean(p.File), clean(p.Reason))
		for _, link := range p.Links {
			fmt.Fprintf(t, "\t\t\t%s\tthe same file\n", clean(link))
		}
	}
	return t.Flush()
}
