package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"winbox/internal/leanjson"
	"winbox/oci"
	"winbox/sandbox"
)

// exitExecFailed is runc's exit code for an exec that could not be made.
const exitExecFailed = 255

func execCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "exec",
		Usage: "run another process in a container",
		Description: `The process is like the container's own but for what the flags change, or that
of --process. Its current directory must be there. The exit code is the
process's, 128 + N after signal N, and 255 when it could not be made.

    winbox exec --tty --env TERM=xterm box1 sh
    winbox exec --user 1000:1000 --cwd /tmp box1 id`,
		ArgsUsage: "ID [COMMAND [ARGUMENT...]]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "`FILE` with the process as JSON, as in config.json"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give it a terminal"},
			&cli.StringFlag{Name: "cwd", Usage: "its current directory `DIR`, which must be there"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "further environment variable `NAME=VALUE`"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "`UID[:GID]` to run as"},
			&cli.StringSliceFlag{Name: "additional-gids", Aliases: []string{"g"}, Usage: "further group `GID`"},
			&cli.StringSliceFlag{Name: "cap", Aliases: []string{"c"}, Usage: "further capability `CAP`"},
			&cli.StringFlag{Name: "process-label", Usage: "SELinux `LABEL` to run with"},
			&cli.StringFlag{Name: "apparmor", Usage: "AppArmor `PROFILE` to run with"},
			&cli.StringSliceFlag{Name: "cgroup", Usage: "run it in an existing group below the container's, `[CONTROLLER[,CONTROLLER]:]PATH`"},
			&cli.BoolFlag{Name: "no-new-privs", Usage: "let no execve give it privileges"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return when it runs"},
			&cli.StringFlag{Name: "pid-file", Usage: "`FILE` to write its process id to"},
			&cli.StringFlag{Name: "console-socket", Usage: "AF_UNIX `SOCKET` that receives the master of its terminal"},
			&cli.StringFlag{Name: "pidfd-socket", Usage: "AF_UNIX `SOCKET` that receives a pidfd of it"},
			&cli.IntFlag{Name: "preserve-fds", Usage: "`N` descriptors, from 3 on, that it inherits"},
			&cli.BoolFlag{Name: "ignore-paused", Usage: "do so in a paused container too"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return errors.New("exec: the container's ID is needed")
			}
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
	var signals *sandbox.Signals
	if !c.Bool("detach") && c.String("process") == "" { // else it could be a pipe, for which winbox waits
		signals = sandbox.CatchSignals()
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
	if err := checkTerminal(c, process, c.Bool("detach")); err != nil {
		return 0, err
	}
	groups, err := subgroups(c.StringSlice("cgroup"))
	if err != nil {
		return 0, err
	}
	opt := sandbox.ExecOptions{
		Process: process, Preserve: preserve, PIDFile: c.String("pid-file"), IgnorePaused: c.Bool("ignore-paused"),
		Console: consoleSocket(c), PIDFD: pidfdSocket(c, "setns"), Subgroups: groups, Signals: signals, Log: g.log,
	}
	if err := windowsExec(ct, &opt); err != nil {
		return 0, err
	}
	if c.Bool("detach") {
		_, err := ct.Exec(opt)
		return 0, err
	}
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
		if err := leanjson.Unmarshal(data, &p); err != nil {
			return nil, fmt.Errorf("--process: %s: %w", file, err)
		}
		return &p, checkProcess(&p)
	}
	spec, err := ct.Spec()
	if err != nil {
		return nil, err
	}
	p = *spec.Process
	p.Args = c.Args().Tail()
	if len(p.Args) == 0 {
		return nil, errors.New("what is to be run? (exec ID COMMAND, or exec --process FILE ID)")
	}
	p.Terminal = c.Bool("tty")
	if cwd := c.String("cwd"); cwd != "" {
		p.Cwd = cwd
	}
	p.Env = append(append([]string{}, p.Env...), c.StringSlice("env")...)
	if c.Bool("no-new-privs") {
		p.NoNewPrivileges = true
	}
	if label := c.String("process-label"); label != "" {
		p.SelinuxLabel = label
	}
	if profile := c.String("apparmor"); profile != "" {
		p.ApparmorProfile = profile
	}
	if err := setUser(&p.User, c.String("user")); err != nil {
		return nil, err
	}
	p.User.AdditionalGids = slices.Clone(p.User.AdditionalGids)
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
	return &p, checkProcess(&p)
}

// checkProcess names what a process must have and lacks.
func checkProcess(p *specs.Process) error {
	switch {
	case len(p.Args) == 0 && p.CommandLine == "":
		return errors.New("process.args: empty")
	case !filepath.IsAbs(p.Cwd) && !oci.HasDrive(p.Cwd):
		return fmt.Errorf("process.cwd: %q is not an absolute path", p.Cwd)
	}
	return nil
}

// setUser reads UID[:GID]; without a group, the container's stays. Names would
// have to be looked up in files of the image.
func setUser(user *specs.User, text string) error {
	if text == "" {
		return nil
	}
	uid, gid, hasGid := strings.Cut(text, ":")
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return fmt.Errorf("--user: %q is not a number", uid)
	}
	user.UID = uint32(n)
	if hasGid {
		if n, err = strconv.ParseUint(gid, 10, 32); err != nil {
			return fmt.Errorf("--user: group %q is not a number", gid)
		}
		user.GID = uint32(n)
	}
	return nil
}

// subgroups reads the values of --cgroup: one path for all controllers, or
// paths for some of them, by the controller's name.
func subgroups(values []string) (map[string]string, error) {
	paths := map[string]string{}
	for _, value := range values {
		controllers, path, named := strings.Cut(value, ":")
		if !named {
			if len(values) > 1 {
				return nil, fmt.Errorf("--cgroup: %q names no controller; give each path as CONTROLLER:PATH", value)
			}
			return map[string]string{"": value}, nil
		}
		for name := range strings.SplitSeq(controllers, ",") {
			if _, again := paths[name]; name == "" || again {
				return nil, fmt.Errorf("--cgroup: %q: each controller must be named, and once", value)
			}
			paths[name] = path
		}
	}
	return paths, nil
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
