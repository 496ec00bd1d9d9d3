package main

import (
	"fmt"
	"net"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox"
)

// createFlags are those of create and run.
func createFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "directory of the OCI bundle (default: the current one)"},
		&cli.StringFlag{Name: "pid-file", Usage: "file to write the process id to"},
		&cli.StringFlag{Name: "console-socket", Usage: "AF_UNIX socket that receives the master of the container's terminal"},
		&cli.IntFlag{Name: "preserve-fds", Usage: "number of descriptors, from 3 on, that the container inherits"},
		&cli.BoolFlag{Name: "no-pivot", Usage: "use chroot instead of pivot_root, for a root that is an initramfs"},
		&cli.BoolFlag{Name: "no-new-keyring", Usage: "leave the container the caller's session keyring"},
		&cli.BoolFlag{Name: "print-program", Usage: "print the system calls that would build the container, and make none of them"},
	}
}

func createCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a container; `start` runs its program",
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
	opt = sandbox.Options{
		Root: g.root, ID: id, Bundle: bundle, Preserve: preserve, Console: consoleSocket(c), PIDFile: c.String("pid-file"),
		NoPivot: c.Bool("no-pivot"), NoNewKeyring: c.Bool("no-new-keyring"), Rootless: g.rootless, Systemd: g.systemd, Log: g.log,
	}
	return opt, nil
}

// preserved is the number of descriptors of --preserve-fds, which must be open.
func preserved(c *cli.Context) (int, error) {
	n := c.Int("preserve-fds")
	if n < 0 || n > 1024 {
		return 0, fmt.Errorf("--preserve-fds: %d is not between 0 and 1024", n)
	}
	for fd := range n {
		if _, err := unix.FcntlInt(uintptr(3+fd), unix.F_GETFD, 0); err != nil {
			return 0, fmt.Errorf("--preserve-fds: descriptor %d is not open", 3+fd)
		}
	}
	return n, nil
}

// consoleSocket is what takes the terminal with --console-socket; nil without.
func consoleSocket(c *cli.Context) func(*os.File) error {
	socket := c.String("console-socket")
	if socket == "" {
		return nil
	}
	return func(master *os.File) error { return sendConsole(socket, master) }
}

// containerID is the one argument that names the container.
func containerID(c *cli.Context) (string, error) {
	if c.NArg() != 1 {
		return "", fmt.Errorf("%s: exactly one argument is needed, the container's ID", c.Command.Name)
	}
	return c.Args().First(), nil
}

// sendConsole sends the master of a terminal to the AF_UNIX socket at path
// (unix(7), SCM_RIGHTS), as engines expect it of --console-socket.
func sendConsole(path string, master *os.File) error {
	defer master.Close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, _, err = conn.WriteMsgUnix([]byte("/dev/ptmx"), unix.UnixRights(int(master.Fd())), nil)
	return err
}

// printProgram prints what create would do.
func printProgram(c *cli.Context, opt sandbox.Options) error {
	p, err := sandbox.Compile(opt)
	if err != nil {
		return err
	}
	return p.Print(c.App.Writer)
}
