// winbox does its work in system calls and hardly in parallel: that the Go
// runtime looks at its control group for a share of processors, and keeps
// looking, would only cost start-up time.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// version is set by the linker (see Makefile).
var version = "0.1.0-dev"

func main() {
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// exitError carries an exit code through the command line library; without an
// error in it nothing is printed, for when the program itself has said what was wrong.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// run is main without the process: it executes args and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	g := &globals{stderr: stderr}
	// The whole of it, for those who describe it.
	g.application = func() *cli.App { return g.newApp(commandsFor(g, nil)) }
	app := g.newApp(commandsFor(g, args[1:]))
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	args = flagsFirst(app, args)
	if !wantsHelp(args) {
		leaveOut(app, args)
	}
	err := app.Run(args)
	defer g.close()
	if err == nil {
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			g.fail(exit.err)
		}
		return exit.code
	}
	g.fail(err)
	return 1
}

// newApp is the command line with some of the commands.
func (g *globals) newApp(commands []*cli.Command) *cli.App {
	app := &cli.App{
		Name:    "winbox",
		Usage:   "run Windows programs in isolated Linux containers",
		Version: version,
		Description: `winbox launch runs one Windows program in a sandbox of its own. The other
commands are those of an OCI runtime: with runc's flags, output and exit codes,
for container engines such as podman, containerd and docker. A bundle is a folder
with a config.json and a root file system; an ID names a container.

    winbox launch ./app.exe
    winbox run --bundle ./box box1`,
		// -it is -i -t, as with crun.
		UseShortOptionHandling: true,
		// Environment variables may hold commas.
		DisableSliceFlagSeparator: true,
		// Exit codes are decided below, not by the library.
		ExitErrHandler: func(*cli.Context, error) {},
		Flags:          g.flags(),
		Before:         g.open,
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return fmt.Errorf("unknown command %q (see winbox --help)", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Commands: commands,
	}
	app.OnUsageError = usageError
	for _, c := range app.Commands {
		c.OnUsageError, c.HideHelpCommand = usageError, true
	}
	return app
}

// commands are all there are, in the order of the help.
var commands = []struct {
	name string
	make func(*globals) *cli.Command
}{
	{"launch", launchCommand},
	{"inspect", inspectCommand},
	{"image", imageCommand},
	{"runtime", runtimeCommand},
	{"setup", setupCommand},
	{"maps", mapsCommand},
	{"screenshot", screenshotCommand},
	{"vnc", vncCommand},
	{"doctor", doctorCommand},
	{"create", createCommand},
	{"start", startCommand},
	{"run", runCommand},
	{"exec", execCommand},
	{"state", stateCommand},
	{"kill", killCommand},
	{"delete", deleteCommand},
	{"list", listCommand},
	{"ps", psCommand},
	{"pause", pauseCommand},
	{"resume", resumeCommand},
	{"update", updateCommand},
	{"events", eventsCommand},
	{"stats", statsCommand},
	{"spec", specCommand},
	{"features", featuresCommand},
	{"init", initCommand},
	{"completion", completionCommand},
	{"man", manCommand},
	{"checkpoint", unsupported("checkpoint")},
	{"restore", unsupported("restore")},
}

// commandsFor makes the commands that args may mean: the one that runs is named
// there. To make and set up all of them takes a good part of a short command's
// time; the help has all.
func commandsFor(g *globals, args []string) []*cli.Command {
	help := wantsHelp(args)
	var named, all []*cli.Command
	for _, c := range commands {
		if slices.Contains(args, c.name) && !help {
			named = append(named, c.make(g))
		}
	}
	if len(named) > 0 {
		return named
	}
	for _, c := range commands {
		all = append(all, c.make(g))
	}
	return all
}

// wantsHelp tells whether some argument may ask for the help, which shows everything.
func wantsHelp(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return arg == "help" || strings.HasSuffix(arg, "-help") || isFlag(arg) && arg[1] != '-' && strings.Contains(arg, "h") // of -qh
	})
}

// leaveOut takes the flags away that args do not name: the library sets up and asks
// each flag several times over, with a regular expression, which is 0.3 ms for those
// of exec. Flags with a default have to stay. The library's own, for help and version,
// go as well.
func leaveOut(app *cli.App, args []string) {
	unnamed := func(f cli.Flag) bool {
		if d, ok := f.(cli.DocGenerationFlag); !ok || d.TakesValue() && d.GetValue() != "" && d.GetValue() != "0" {
			return false
		}
		return !slices.ContainsFunc(args, func(arg string) bool {
			name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			return isFlag(arg) && slices.ContainsFunc(f.Names(), func(n string) bool {
				return n == name || len(n) == 1 && strings.Contains(name, n) // of -it
			})
		})
	}
	app.Flags = slices.DeleteFunc(app.Flags, unnamed)
	app.HideHelp, app.HideVersion = true, unnamed(cli.VersionFlag)
	for _, c := range app.Commands {
		c.Flags, c.HideHelp = slices.DeleteFunc(c.Flags, unnamed), true
	}
}

// usageError says what is wrong with the flags, in one line and without the
// whole help.
func usageError(c *cli.Context, err error, isCommand bool) error {
	name := c.App.Name
	if isCommand {
		name += " " + c.Command.Name
	}
	err = fmt.Errorf("%w (see %s --help)", err, name)
	if isCommand && c.Command.Name == "launch" { // whose other codes are the program's
		return &exitError{code: exitFailed, err: err}
	}
	return err
}
