package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"winbox/wine"
)

// vncClients is how many VNC clients are served at a time; more have to wait.
const vncClients = 16

// relay passes VNC clients of the host on to the display's server in a container,
// as long as the launch lasts. The container gets neither a socket of the host's
// network, by which it could reach more of that, nor the folder of the socket.
type relay struct {
	listener net.Listener
}

// listenVNC makes the socket at an address of --vnc: a path, for the user alone,
// or an address of this host's own and a port.
func listenVNC(ctx context.Context, address string) (*relay, error) {
	network := "unix"
	if !strings.Contains(address, "/") {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("--vnc: %q is neither the path of a socket, with a slash, nor 127.0.0.1:PORT: there is no password, so that nobody else may get there", address)
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
		return nil, fmt.Errorf("--vnc: %s exists: remove it, or choose another name", address)
	}
	if err != nil {
		return nil, fmt.Errorf("--vnc: %w", err)
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
		return fmt.Errorf("--vnc: %w", err)
	}
	return nil
}
