package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/moby/sys/userns"
	"github.com/urfave/cli/v2"
)

// globals are the flags before the command, which are runc's, and what follows from them.
type globals struct {
	stderr io.Writer
	// application makes the whole command line, of which only a part runs.
	application func() *cli.App

	log      *slog.Logger
	handler  *logHandler
	logFile  *os.File
	failed   bool
	root     string
	dataRoot string
	rootless bool
	// nested tells of root in a user namespace, as which podman runs an ordinary user's containers: such a root need not
	// be able to make control groups.
	nested  bool
	systemd bool
	// noSandbox has templates made without a container.
	noSandbox bool
}

func (g *globals) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "root", Usage: "`DIR` for the state of containers (default: /run/winbox, rootless $XDG_RUNTIME_DIR/winbox)"},
		&cli.StringFlag{Name: "log", Usage: "`FILE` to append errors and warnings to (default: standard error)"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT` of the log: text or json"},
		&cli.BoolFlag{Name: "debug", Usage: "log more"},
		&cli.BoolFlag{Name: "systemd-cgroup", Usage: "have systemd keep the control groups of containers that are made; linux.cgroupsPath is slice:prefix:name"},
		&cli.StringFlag{Name: "criu", Hidden: true, Usage: "ignored: there is no checkpointing"},
		&cli.StringFlag{Name: "rootless", Value: "auto", Usage: "do without root's privileges: `MODE` is true, false or auto"},
	}
}

// open reads the global flags and opens the log.
func (g *globals) open(c *cli.Context) error {
	switch mode := c.String("rootless"); mode {
	case "auto", "":
		g.rootless = os.Geteuid() != 0
		g.nested = !g.rootless && userns.RunningInUserNS()
	default:
		var err error
		if g.rootless, err = strconv.ParseBool(mode); err != nil {
			return fmt.Errorf("--rootless: %q is none of true, false and auto", mode)
		}
	}
	var err error
	own := ownPlaces(os.Geteuid(), g.rootless, g.nested, os.LookupEnv)
	if g.root, err = directory(c.String("root"), own, "XDG_RUNTIME_DIR", filepath.Join(os.TempDir(), "winbox-"+strconv.Itoa(os.Getuid())), "/run/winbox"); err != nil {
		return fmt.Errorf("--root: %w", err)
	}
	home, _ := os.UserHomeDir()
	if g.dataRoot, err = directory(os.Getenv("WINBOX_DATA"), own, "XDG_DATA_HOME", filepath.Join(home, ".local/share/winbox"), "/var/lib/winbox"); err != nil {
		return fmt.Errorf("WINBOX_DATA: %w", err)
	}
	handler := &logHandler{out: g.stderr, level: slog.LevelWarn}
	if name := c.String("log"); name != "" {
		if g.logFile, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
			return fmt.Errorf("--log: %w", err)
		}
		handler.out = g.logFile
	}
	switch format := c.String("log-format"); format {
	case "text", "":
	case "json":
		handler.json = true
	default:
		return fmt.Errorf("--log-format: %q is neither text nor json", format)
	}
	if c.Bool("debug") {
		handler.level = slog.LevelDebug
	}
	handler.hold = handler.json && g.logFile != nil
	g.handler, g.log = handler, slog.New(handler)
	slog.SetDefault(g.log)
	g.systemd = c.Bool("systemd-cgroup")
	return nil
}

// ownPlaces tells whether winbox keeps its things in the caller's own places,
// not in root's. The root of a user namespace has own ones when the environment
// names them and does not say that it is root's, which is how runc decides too.
func ownPlaces(euid int, rootless, nested bool, lookup func(string) (string, bool)) bool {
	if euid != 0 {
		return rootless
	}
	dir, _ := lookup("XDG_RUNTIME_DIR")
	user, known := lookup("USER")
	return nested && dir != "" && (!known || user != "root")
}

// directory picks where winbox keeps things: what the user says, else the
// place for root, else an own one below the directory of the environment variable.
func directory(given string, own bool, variable, fallback, system string) (string, error) {
	switch {
	case given != "":
		return filepath.Abs(given)
	case !own:
		return system, nil
	case os.Getenv(variable) != "":
		return filepath.Join(os.Getenv(variable), "winbox"), nil
	}
	return fallback, nil
}

// fail reports an error that ends a command: to the log, and always to
// standard error, where engines look as well.
func (g *globals) fail(err error) {
	g.failed = true
	if g.log == nil {
		fmt.Fprintln(g.stderr, "winbox: "+err.Error())
		return
	}
	if g.logFile != nil || g.handler.json {
		g.log.Error(err.Error())
	}
	if g.logFile != nil || !g.handler.json {
		fmt.Fprintln(g.stderr, "winbox: "+err.Error())
	}
}

func (g *globals) close() {
	if g.logFile == nil {
		return
	}
	if g.failed {
		g.handler.release(g.stderr)
	} else {
		g.handler.release(g.logFile)
	}
	g.logFile.Close()
}
