package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox"
)

// createFlags are those of create and run.
func createFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "`DIR` of the OCI bundle (default: the current one)"},
		&cli.StringFlag{Name: "pid-file", Usage: "`FILE` to write the process id to"},
		&cli.StringFlag{Name: "console-socket", Usage: "AF_UNIX `SOCKET` that receives the master of the container's terminal"},
		&cli.StringFlag{Name: "pidfd-socket", Usage: "AF_UNIX `SOCKET` that receives a pidfd of the container's first process"},
		&cli.IntFlag{Name: "preserve-fds", Usage: "`N` descriptors, from 3 on and behind those of LISTEN_FDS, that the container inherits"},
		&cli.BoolFlag{Name: "no-pivot", Usage: "use chroot instead of pivot_root, for a root that is an initramfs"},
		&cli.BoolFlag{Name: "no-new-keyring", Usage: "leave the container the caller's session keyring"},
		&cli.BoolFlag{Name: "no-subreaper", Usage: "accepted for compatibility: winbox never takes over orphaned processes"},
		&cli.BoolFlag{Name: "print-program", Usage: "print the system calls that would build the container, and make none of them"},
	}
}

func createCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "create",
		Usage: "make a container; `start` runs its program",
		Description: `Everything is made but the last steps: limits, identity, capabilities, the
system call filter and the program, which "winbox start" takes. When it fails,
nothing is left behind. A program with a terminal (process.terminal) needs
--console-socket.

    winbox create --bundle ./box --pid-file /run/box1.pid box1
    winbox start box1`,
		ArgsUsage: "ID",
		Flags:     createFlags(),
		Action: func(c *cli.Context) error {
			opt, err := g.bundleOptions(c)
			if err != nil {
				return err
			}
			if c.Bool("print-program") {
				return printProgram(c, opt)
			}
			if err := checkTerminal(c, opt.Bundle.Spec.Process, true); err != nil {
				return fmt.Errorf("create failed: %w", err)
			}
			if _, err := sandbox.Create(opt); err != nil {
				return fmt.Errorf("create failed: %w", err)
			}
			return nil
		},
	}
}

// bundleOptions reads the flags of create and run.
func (g *globals) bundleOptions(c *cli.Context) (sandbox.Options, error) {
	var opt sandbox.Options
	id, err := containerID(c)
	if err != nil {
		return opt, err
	}
	dir := c.String("bundle")
	if dir == "" {
		dir = "."
	}
	bundle, err := oci.Load(dir)
	if err != nil {
		return opt, err
	}
	preserve, err := preserved(c)
	if err != nil {
		return opt, err
	}
	if n := listenFDs(); n > 0 {
		// sd_listen_fds(3); the process id is that in a pid namespace of its own.
		preserve += n
		p := bundle.Spec.Process
		p.Env = append(p.Env, "LISTEN_FDS="+strconv.Itoa(n), "LISTEN_PID=1")
	}
	opt = sandbox.Options{
		Root: g.root, ID: id, Bundle: bundle, Preserve: preserve, Console: consoleSocket(c), PIDFD: pidfdSocket(c, "standard"),
		PIDFile: c.String("pid-file"), Notify: os.Getenv("NOTIFY_SOCKET"), NoPivot: c.Bool("no-pivot"), NoNewKeyring: c.Bool("no-new-keyring"), Rootless: g.rootless || g.nested, Systemd: g.systemd, Log: g.log,
	}
	return opt, g.windows(c.Context, &opt)
}

// listenFDs is the number of sockets that systemd has passed to this process,
// as descriptors from 3 on (sd_listen_fds(3)).
func listenFDs() int {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return n
}

// preserved is the number of descriptors of --preserve-fds, which must be open;
// they follow those of LISTEN_FDS.
func preserved(c *cli.Context) (int, error) {
	n := c.Int("preserve-fds")
	if n < 0 || n > 1024 {
		return 0, fmt.Errorf("--preserve-fds: %d is not between 0 and 1024", n)
	}
	first := 3
	if c.Command.Name != "exec" {
		first += listenFDs()
	}
	for fd := first; fd < first+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return 0, fmt.Errorf("--preserve-fds: descriptor %d is not open", fd)
		}
	}
	return n, nil
}

// checkTerminal checks that somebody takes the process's terminal, if it has
// one, and has runc's words for it: a command that stays gives it the caller's,
// one that returns needs --console-socket.
func checkTerminal(c *cli.Context, p *specs.Process, detach bool) error {
	switch socket := c.String("console-socket") != ""; {
	case p == nil:
		return nil // refused with better words later
	case detach && p.Terminal && !socket:
		return errors.New("cannot allocate tty if runc will detach without setting console socket")
	case socket && (!detach || !p.Terminal):
		return errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	return nil
}

// consoleSocket is what takes the terminal with --console-socket; nil without.
func consoleSocket(c *cli.Context) func(*os.File) error {
	socket := c.String("console-socket")
	if socket == "" {
		return nil
	}
	return func(master *os.File) error {
		defer master.Close()
		return sendFile(socket, "/dev/ptmx", master)
	}
}

// pidfdSocket is what takes a pidfd of the process with --pidfd-socket; nil
// without. name is the message that runc sends it with.
func pidfdSocket(c *cli.Context, name string) func(*os.File) error {
	socket := c.String("pidfd-socket")
	if socket == "" {
		return nil
	}
	return func(pidfd *os.File) error {
		if err := sendFile(socket, name, pidfd); err != nil {
			return fmt.Errorf("--pidfd-socket: %w", err)
		}
		return nil
	}
}

// containerID is the one argument that names the container.
func containerID(c *cli.Context) (string, error) {
	if c.NArg() != 1 {
		return "", fmt.Errorf("%s: exactly one argument is needed, the container's ID", c.Command.Name)
	}
	return c.Args().First(), nil
}

// sendFile sends a descriptor, with a name that is never empty, to the AF_UNIX
// socket at path (unix(7), SCM_RIGHTS).
func sendFile(path, name string, file *os.File) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, _, err = conn.WriteMsgUnix([]byte(name), unix.UnixRights(int(file.Fd())), nil)
	return err
}
