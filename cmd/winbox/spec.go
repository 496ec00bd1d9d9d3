package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"winbox/oci"
)

func specCommand(*globals) *cli.Command {
	return &cli.Command{
		Name:  "spec",
		Usage: "write a config.json to begin with",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "directory to write it to (default: the current one)"},
			&cli.BoolFlag{Name: "rootless", Usage: "one that the calling user can run without privileges"},
			&cli.StringFlag{Name: "windows", Usage: "one that runs a Windows `PROGRAM` (not supported yet; see `winbox launch`)"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return errors.New("spec: takes no arguments")
			}
			if c.IsSet("windows") {
				return errors.New("--windows: this version of winbox does not run Windows programs from a bundle yet; use `winbox launch PROGRAM`")
			}
			spec := oci.NewSpec()
			if c.Bool("rootless") {
				oci.Rootless(spec, uint32(os.Geteuid()), uint32(os.Getegid()))
			}
			data, err := json.MarshalIndent(spec, "", "\t")
			if err != nil {
				return err
			}
			return writeNew(filepath.Join(c.String("bundle"), "config.json"), append(data, '\n'))
		},
	}
}

// writeNew makes a file that is not there yet.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("file %s exists; remove it first", path)
	} else if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
