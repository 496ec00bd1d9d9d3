package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
)

// A service that reports when it is ready (sd_notify(3)) does so on a socket of
// its own: that of the host would take any message from it. The socket is in
// the state directory, in a folder that the container sees as /run/notify; it is
// bound by whoever lets the program run.
const (
	notifyDir    = "notify"
	notifySocket = "notify.sock"
	notifyPlace  = "/run/notify"
)

// barrierTimeout is how long systemd has to take the message.
const barrierTimeout = 30 * time.Second

// offerNotify gives the container its folder.
func (n *creation) offerNotify() error {
	if n.opt.Notify == "" {
		return nil
	}
	if err := os.Mkdir(filepath.Join(n.dir, notifyDir), 0o755); err != nil {
		return fmt.Errorf("notification: %w", err)
	}
	spec, process := *n.opt.Bundle.Spec, *n.opt.Bundle.Spec.Process
	process.Env = append(slices.Clone(process.Env), "NOTIFY_SOCKET="+filepath.Join(notifyPlace, notifySocket))
	spec.Process = &process
	spec.Mounts = append(slices.Clone(spec.Mounts), specs.Mount{
		Destination: notifyPlace, Type: "bind", Source: filepath.Join(n.dir, notifyDir), Options: []string{"bind", "nosuid", "nodev", "noexec", "ro"},
	})
	n.opt.Bundle = &oci.Bundle{Dir: n.opt.Bundle.Dir, Spec: &spec, Seccomp: n.opt.Bundle.Seccomp}
	if n.opt.Start {
		return n.ListenNotify(n.opt.Notify)
	}
	return nil
}

// ListenNotify is for before [Container.Start]: if the container was made to
// report that it is ready, [Container.ForwardReady] will tell so to the socket of
// the service manager (NOTIFY_SOCKET).
func (c *Container) ListenNotify(manager string) error {
	dir, err := os.Open(filepath.Join(c.dir, notifyDir))
	if manager == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer dir.Close()
	// By way of the directory's descriptor, as a socket's path is limited to 107 bytes.
	name := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), notifySocket)
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // of a start that was cut off
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notification: %w", err)
	}
	if err := os.Chmod(name, 0o666); err != nil {
		conn.Close()
		return fmt.Errorf("notification: %w", err)
	}
	c.notify, c.manager = conn, manager
	return nil
}

// ForwardReady waits until the container reports that it is ready, or has ended,
// and passes the report on and nothing else, with the id of the process when
// that is to be the service's main one. It returns at once when nobody listens.
func (c *Container) ForwardReady(mainPID bool) error {
	if c.notify == nil {
		return nil
	}
	process, err := c.process()
	if err != nil {
		return c.notify.Close() // it has ended
	}
	return c.forwardReady(process, mainPID)
}

// forwardReady closes process, some time.
func (c *Container) forwardReady(process *os.File, mainPID bool) error {
	defer c.notify.Close()
	// The end of the process ends the wait.
	go func() {
		defer process.Close()
		_, _ = pollFDs([]unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}, -1)
		c.notify.SetReadDeadline(time.Now())
	}()
	message := make([]byte, 4096)
	for {
		n, err := c.notify.Read(message)
		if err != nil {
			return nil
		}
		if slices.ContainsFunc(bytes.Split(message[:n], []byte("\n")), func(line []byte) bool { return string(line) == "READY=1" }) {
			break
		}
	}
	text := "READY=1"
	if mainPID {
		text += "\nMAINPID=" + strconv.Itoa(c.rec.PID)
	}
	return tellManager(c.manager, text)
}

// tellManager sends a message and waits until it has been read: systemd looks up
// the process that sent it (sd_notify_barrier(3)).
func tellManager(manager, text string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	defer unix.Close(fd)
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	defer read.Close()
	to := &unix.SockaddrUnix{Name: manager} // "@" begins an abstract name, here as there
	err = unix.Sendto(fd, []byte(text), unix.MSG_NOSIGNAL, to)
	if err == nil {
		err = unix.Sendmsg(fd, []byte("BARRIER=1"), unix.UnixRights(int(write.Fd())), to, unix.MSG_NOSIGNAL)
	}
	write.Close()
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET %s: %w", manager, err)
	}
	read.SetReadDeadline(time.Now().Add(barrierTimeout))
	read.Read(make([]byte, 1)) // the end: the manager has closed its descriptor
	return nil
}
