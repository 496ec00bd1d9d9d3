package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"winbox/images/request"
)

// setupEngines are what can be set up.
var setupEngines = []string{"podman", "docker", "containerd", "crio", "nomad", "kubernetes"}

func setupCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "setup",
		Usage:     "enter winbox into the configuration of a container engine",
		ArgsUsage: strings.Join(setupEngines, "|"),
		Description: `Has the engine know winbox as a runtime of this name. As root the configuration
is the system's, else that of the user, for engines that run without root:

    podman      containers/containers.conf.d/winbox.conf, in /etc or ~/.config
    docker      docker/daemon.json, in /etc or ~/.config
    containerd  containerd/config.toml, in /etc or ~/.config
    crio        /etc/crio/crio.conf.d/10-winbox.conf
    nomad       /etc/nomad.d/winbox.hcl, for its docker driver
    kubernetes  nothing: prints a RuntimeClass, for kubectl apply -f -

The rest of a file stays as it is, and its owner and mode. A file that is not
as it should be, or is a symbolic link, is left alone, and the exit code is 1. To
do it twice does nothing. Engines are not told of it: what is to be done then is
printed. winbox stays where it is, since the path of the program is written down.

    winbox setup docker
    winbox setup podman --print`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "print", Usage: "change nothing: print what the file would hold, and on standard error where"},
			&cli.BoolFlag{Name: "remove", Usage: "take winbox out again"},
			&cli.StringFlag{Name: "runtime", DefaultText: "this one", Usage: "the `FILE` that engines are to run"},
			&cli.StringFlag{Name: "destdir", Usage: "write the system's configuration below `DIR` instead of /, for a package"},
		},
		Action: func(c *cli.Context) error {
			engine := c.Args().First()
			if !slices.Contains(setupEngines, engine) {
				return fmt.Errorf("setup: which engine? %q is none of %s", engine, strings.Join(setupEngines, ", "))
			}
			if c.NArg() > 1 {
				return fmt.Errorf("setup: takes one engine, not %d", c.NArg())
			}
			r := &request.Request{
				Verb: "setup", Args: []string{engine}, Remove: c.Bool("remove"), Print: c.Bool("print"), Runtime: c.String("runtime"),
			}
			var err error
			switch {
			case c.IsSet("destdir"):
				if r.Dest = c.String("destdir"); r.Dest == "" {
					return errors.New("--destdir: which folder? It is empty")
				}
			case os.Geteuid() != 0:
				if r.UserConfig, err = os.UserConfigDir(); err != nil {
					return fmt.Errorf("setup: where is your configuration? %w", err)
				}
			}
			switch {
			case r.Runtime == "":
				if r.Runtime, err = ownPath(); err != nil {
					return err
				}
			case r.Dest == "": // that of a package is not there yet
				if _, err := exec.LookPath(r.Runtime); err != nil {
					return fmt.Errorf("--runtime: %w", err)
				}
			}
			return g.images(c.Context, r, nil, c.App.Writer)
		},
	}
}

// ownPath is where winbox is, as it was called: a link there may stay when the version changes.
func ownPath() (string, error) {
	file, err := os.Executable()
	if err != nil {
		return "", err
	}
	called, err := exec.LookPath(os.Args[0])
	if err != nil {
		return file, nil
	}
	if called, err = filepath.Abs(called); err != nil {
		return file, nil
	}
	one, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if other, err := os.Stat(called); err == nil && os.SameFile(one, other) {
		return called, nil
	}
	return file, nil
}
