package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"winbox/preload"
	"winbox/sandbox"
	"winbox/wine"
)

func initCommand(*globals) *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "run a Windows program as the first process of a container that has its own Wine",
		ArgsUsage: "PROGRAM [ARGUMENT...]",
		Description: `The entry point of an image made by winbox image pack --with-runtime, under any
container runtime; nothing of winbox is needed on the node. PROGRAM is a file of
the container, or a Windows path. The exit code is the program's; 125 for a
failure of winbox, 127 when there is no such program.

    ENTRYPOINT ["winbox", "init", "/app/app.exe"]`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: strings.TrimLeft(wine.AnnotationFlag, "-"), Usage: "what a bundle's annotation would ask for, `NAME=VALUE`, such as io.winbox.boot=auto"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return &exitError{code: exitFailed, err: errors.New("init: which program? (winbox init [flags] PROGRAM [ARGUMENT...])")}
			}
			err := becomeInit(c)
			if errors.Is(err, fs.ErrNotExist) {
				return &exitError{code: preload.ExitNotFound, err: err}
			}
			return &exitError{code: exitFailed, err: err}
		},
	}
}

// becomeInit returns only with an error.
func becomeInit(c *cli.Context) error {
	annotations := make(map[string]string)
	for _, setting := range c.StringSlice("annotation") {
		name, value, ok := strings.Cut(setting, "=")
		if !ok || name == "" {
			return fmt.Errorf("--annotation %q: want NAME=VALUE", setting)
		}
		annotations[name] = value
	}
	template, err := wine.InImage()
	if err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	p := &specs.Process{
		Args: c.Args().Slice(), Env: os.Environ(), Cwd: cwd, Terminal: hasTerminal(),
		User: specs.User{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())},
	}
	container, hold, err := wine.Inside(template, p, annotations)
	if err != nil {
		return err
	}
	return sandbox.Become(sandbox.InsideOptions{
		Process: container.Spec.Process, Stops: container.Stops, Resize: container.Resize, Linger: container.Linger, StopGrace: registryGrace, Hold: hold,
	})
}
