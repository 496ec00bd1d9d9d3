package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"winbox/sandbox"
	"winbox/wine"
)

// vncClients is how many VNC clients are served at a time; more have to wait.
const vncClients = 16

// relay passes VNC clients of the host on to the display's server in a container,
// as long as the launch, or the command vnc, lasts. The container gets neither a socket of the host's
// network, by which it could reach more of that, nor the folder of the socket.
type relay struct {
	listener net.Listener
}

func vncCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "vnc",
		Usage: "let VNC clients see and use a container's virtual display",
		Description: `ADDRESS is the path of a socket to be made, with a slash, or 127.0.0.1:PORT, where
every user of this host gets in. The container has been launched with --vnc, or
made with the annotations io.winbox.display=virtual and io.winbox.vnc=true. The
command ends with the container, or when it is interrupted.

    podman run --annotation io.winbox.display=virtual \
      --annotation io.winbox.vnc=true ...
    winbox vnc 4f1d... ./screen`,
		ArgsUsage: "ID ADDRESS",
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return errors.New("vnc: two arguments are needed, the container's ID and the address to listen at")
			}
			ct, err := sandbox.Load(g.root, c.Args().First())
			if err != nil {
				return fmt.Errorf("vnc: %w", err)
			}
			if err := shareVNC(c.Context, ct, c.Args().Get(1)); err != nil {
				return fmt.Errorf("vnc: container %s: %w", ct.ID(), err)
			}
			return nil
		},
	}
}

// shareVNC lets VNC clients in at an address until the container ends or the caller is interrupted.
func shareVNC(ctx context.Context, ct *sandbox.Container, address string) error {
	display, err := wine.DisplayOf(ct.State().Annotations)
	if err != nil {
		return err
	}
	if !display.VNC || !ct.Windows() || len(ct.Scratch()) == 0 {
		return errors.New("has no display for VNC (annotations io.winbox.display=virtual and io.winbox.vnc=true)")
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	r, err := listenVNC(ctx, address)
	if err != nil {
		return err
	}
	go r.serve(ctx, wine.Scratch(ct.Scratch()[0]))
	return errors.Join(ct.AwaitEnd(ctx), r.close())
}

// listenVNC makes the socket at an address for VNC clients: a path, for the user alone,
// or an address of this host's own and a port.
func listenVNC(ctx context.Context, address string) (*relay, error) {
	network := "unix"
	if !strings.Contains(address, "/") {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("%q is neither the path of a socket, with a slash, nor 127.0.0.1:PORT: there is no password, so that nobody else may get there", address)
		}
		network = "tcp"
	}
	var config net.ListenConfig
	if network == "unix" {
		// The file gets the socket's mode (unix(7)).
		config.Control = func(_, _ string, conn syscall.RawConn) (err error) {
			return errors.Join(conn.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
		}
	}
	listener, err := config.Listen(ctx, network, address)
	if errors.Is(err, unix.EADDRINUSE) && network == "unix" {
		return nil, fmt.Errorf("%s exists: remove it, or choose another name", address)
	}
	if err != nil {
		return nil, err
	}
	return &relay{listener: listener}, nil
}

// serve passes clients on until the relay is closed.
func (r *relay) serve(ctx context.Context, scratch wine.Scratch) {
	free := make(chan struct{}, vncClients)
	for {
		free <- struct{}{}
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { <-free }()
			defer client.Close()
			server, err := scratch.DialVNC(ctx)
			if err != nil {
				return // the container is about to end
			}
			defer server.Close()
			go func() {
				io.Copy(server, client)
				server.Close()
			}()
			io.Copy(client, server)
		}()
	}
}

// close ends it; what is still connected ends with the display's server. The file of a socket is removed.
func (r *relay) close() error {
	if err := r.listener.Close(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
