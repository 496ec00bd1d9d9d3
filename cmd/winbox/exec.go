package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"winbox/internal/jsontree"
	"winbox/sandbox"
)

// exitExecFailed is runc's exit code for an exec that could not be made.
const exitExecFailed = 255

func execCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run another process in a container",
		ArgsUsage: "ID [COMMAND [ARGUMENT...]]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "file with the process as JSON, as in config.json"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give it a terminal"},
			&cli.StringFlag{Name: "cwd", Usage: "its current directory"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "further environment variable NAME=VALUE"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "UID[:GID] to run as"},
			&cli.StringSliceFlag{Name: "additional-gids", Aliases: []string{"g"}, Usage: "further group"},
			&cli.StringSliceFlag{Name: "cap", Aliases: []string{"c"}, Usage: "further capability"},
			&cli.BoolFlag{Name: "no-new-privs", Usage: "let no execve give it privileges"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return when it runs"},
			&cli.StringFlag{Name: "pid-file", Usage: "file to write its process id to"},
			&cli.StringFlag{Name: "console-socket", Usage: "AF_UNIX socket that receives the master of its terminal"},
			&cli.IntFlag{Name: "preserve-fds", Usage: "number of descriptors, from 3 on, that it inherits"},
			&cli.BoolFlag{Name: "ignore-paused", Usage: "do so in a paused container too"},
		},
		Action: func(c *cli.Context) error {
			code, err := g.exec(c)
			if err != nil {
				return &exitError{code: exitExecFailed, err: fmt.Errorf("exec failed: %w", err)}
			}
			if code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
}

func (g *globals) exec(c *cli.Context) (int, error) {
	if c.NArg() == 0 {
		return 0, errors.New("the container's ID is needed")
	}
	ct, err := sandbox.Load(g.root, c.Args().First())
	if err != nil {
		return 0, err
	}
	process, err := execProcess(c, ct)
	if err != nil {
		return 0, err
	}
	preserve, err := preserved(c)
	if err != nil {
		return 0, err
	}
	opt := sandbox.ExecOptions{
		Process: process, Preserve: preserve, PIDFile: c.String("pid-file"), IgnorePaused: c.Bool("ignore-paused"),
		Console: consoleSocket(c), Log: g.log,
	}
	if c.Bool("detach") {
		_, err := ct.Exec(opt)
		return 0, err
	}
	opt.Signals = sandbox.CatchSignals()
	return ct.RunExec(c.Context, opt)
}

// execProcess is the process of --process, or the container's own with what
// the other flags change.
func execProcess(c *cli.Context, ct *sandbox.Container) (*specs.Process, error) {
	var p specs.Process
	if file := c.String("process"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--process: %w", err)
		}
		if err := jsontree.Unmarshal(data, &p); err != nil {
			return nil, fmt.Errorf("--process: %s: %w", file, err)
		}
		return &p, nil
	}
	spec, err := ct.Spec()
	if err != nil {
		return nil, err
	}
	p = *spec.Process
	p.Args = c.Args().Tail()
	if len(p.Args) == 0 {
		return nil, errors.New("what is to be run? (exec ID COMMAND, or --process FILE)")
	}
	p.Terminal = c.Bool("tty")
	if cwd := c.String("cwd"); cwd != "" {
		p.Cwd = cwd
	}
	p.Env = append(append([]string{}, p.Env...), c.StringSlice("env")...)
	if c.Bool("no-new-privs") {
		p.NoNewPrivileges = true
	}
	if user := c.String("user"); user != "" {
		if p.User, err = parseUser(user); err != nil {
			return nil, err
		}
	}
	for _, text := range c.StringSlice("additional-gids") {
		gid, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("--additional-gids: %q is not a number of 32 bits", text)
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(gid))
	}
	if more := c.StringSlice("cap"); len(more) > 0 {
		p.Capabilities = addCapabilities(p.Capabilities, more)
	}
	return &p, nil
}

// parseUser reads UID[:GID]; names would have to be looked up in files of the image.
func parseUser(s string) (specs.User, error) {
	uid, gid, hasGid := strings.Cut(s, ":")
	var user specs.User
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return user, fmt.Errorf("--user: %q is not a number", uid)
	}
	user.UID = uint32(n)
	if hasGid {
		if n, err = strconv.ParseUint(gid, 10, 32); err != nil {
			return user, fmt.Errorf("--user: group %q is not a number", gid)
		}
		user.GID = uint32(n)
	}
	return user, nil
}

// addCapabilities gives capabilities in the sets that make them count.
func addCapabilities(have *specs.LinuxCapabilities, more []string) *specs.LinuxCapabilities {
	var caps specs.LinuxCapabilities
	if have != nil {
		caps = *have
	}
	for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted} {
		*set = append(append([]string{}, *set...), more...)
	}
	return &caps
}
