package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/seccomp"
)

func specCommand(*globals) *cli.Command {
	return &cli.Command{
		Name:  "spec",
		Usage: "write a config.json to begin with",
		Description: `The file is never written over. Its program is sh, with a terminal.

    winbox spec --bundle ./box`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "`DIR` to write it to (default: the current one)"},
			&cli.BoolFlag{Name: "rootless", Usage: "one that the calling user can run without privileges"},
			&cli.StringFlag{Name: "windows", Usage: "one that runs the Windows `PROGRAM`: its path in the rootfs, such as app.exe or C:\\app\\app.exe"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return errors.New("spec: takes no arguments")
			}
			spec := oci.NewSpec()
			if c.IsSet("windows") {
				if err := runWindows(spec, c.String("windows")); err != nil {
					return err
				}
			}
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

// runWindows changes a configuration from [oci.NewSpec] into one that runs a
// Windows program, with the filter of system calls that `launch` has. On a
// terminal, Wine's console would draw what the program writes: it gets the caller's streams.
func runWindows(spec *specs.Spec, program string) error {
	switch {
	case program == "":
		return errors.New("--windows: which program?")
	case !oci.HasDrive(program):
		program = path.Join("/", program)
	}
	p := spec.Process
	p.Args, p.Terminal = []string{program}, false
	// Windows programs expect to write to drive C:.
	spec.Root.Readonly = false
	p.Env = slices.DeleteFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "TERM=") })
	spec.Linux.Seccomp = seccomp.Default()
	return nil
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
