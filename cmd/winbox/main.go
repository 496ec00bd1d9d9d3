// winbox does its work in system calls and hardly in parallel: that the Go
// runtime looks at its control group for a share of processors, and keeps
// looking, would only cost start-up time.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command winbox runs Windows programs in isolated Linux containers: an OCI
// runtime and a launcher. This package holds flags, printing and exit codes;
// everything else is done by the packages it imports.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
)

// version is set by the linker (see Makefile).
var version = "0.1.0-dev"

func main() {
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// exitError carries an exit code through the command line library; an empty
// message prints nothing, for when the program itself has said what was wrong.
type exitError struct {
	code    int
	message string
	cause   error // goes to the log, unlike message
}

func (e *exitError) Error() string {
	if e.cause != nil {
		return e.cause.Error()
	}
	return e.message
}

// run is main without the process: it executes args and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	g := &globals{stderr: stderr}
	app := &cli.App{
		Name:            "winbox",
		Usage:           "run Windows programs in isolated Linux containers",
		Version:         version,
		Reader:          stdin,
		Writer:          stdout,
		ErrWriter:       stderr,
		HideHelpCommand: true,
		// Exit codes are decided below, not by the library.
		ExitErrHandler: func(*cli.Context, error) {},
		Flags:          g.flags(),
		Before:         g.open,
		Commands: []*cli.Command{
			launchCommand(g),
			inspectCommand(),
			createCommand(g),
			startCommand(g),
			runCommand(g),
			execCommand(g),
			stateCommand(g),
			killCommand(g),
			deleteCommand(g),
		},
	}
	err := app.Run(args)
	defer g.close()
	if err == nil {
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.cause != nil {
			g.fail(exit.cause)
		}
		if exit.message != "" {
			fmt.Fprintln(stderr, "winbox: "+exit.message)
		}
		return exit.code
	}
	g.fail(err)
	return 1
}
