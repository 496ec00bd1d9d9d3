package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/cgroup"
	"winbox/sandbox/program"
)

// Start lets the program of a created container run.
//
// # Errors
//
// [ErrStartRunning], [ErrStartStopped], [ErrStartPaused], or what kept the program from being executed.
func (c *Container) Start() error {
	locked, err := c.lockAndRead()
	if err != nil {
		return err
	}
	defer locked.Close()
	switch c.Status() {
	case oci.Created:
	case oci.Stopped:
		return ErrStartStopped
	case oci.Paused:
		return ErrStartPaused
	default:
		return ErrStartRunning
	}
	spec := c.specWithHooks()
	if err := c.runHooksInside("startContainer", oci.Created, spec.Hooks.StartContainer); err != nil {
		return errors.Join(err, c.end())
	}
	if err := c.release(); err != nil {
		return err
	}
	if err := c.poststart(spec, slog.Default()); err != nil {
		return errors.Join(err, c.end())
	}
	return nil
}

// release lets the program of a created container go on, and waits until its
// process is executed.
func (c *Container) release() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	addr, done, err := startAddress(c.dir)
	if err != nil {
		unix.Close(fd)
		return err
	}
	err = unix.Connect(fd, addr)
	done()
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("connect to the container: %w", err)
	}
	conn, err := unixConn(fd)
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		m, err := receive(conn)
		switch {
		case errors.Is(err, io.EOF):
			return os.Remove(filepath.Join(c.dir, startSocket))
		case err != nil:
			return fmt.Errorf("start the program: %w", err)
		case m.kind == program.ReportListener && len(m.files) == 1:
			err := c.sendListener(m.files[0], c.rec.PID)
			m.closeFiles()
			if err != nil {
				return errors.Join(err, c.end())
			}
		default:
			if i := int(m.index) - c.rec.StartIndex; i >= 0 && i < len(c.rec.StartSteps) {
				return fmt.Errorf("%s: %w", c.rec.StartSteps[i], unix.Errno(m.value))
			}
			return fmt.Errorf("start the program: %w", unix.Errno(m.value))
		}
	}
}

// lockAndRead locks the container and reads its state anew.
func (c *Container) lockAndRead() (*os.File, error) {
	f, err := lock(c.dir)
	if err != nil {
		return nil, err
	}
	if err := c.read(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// AwaitEnd returns when the container's process has ended, or ctx has.
//
// # Errors
//
// [ErrNotRunning], of one that does not run.
func (c *Container) AwaitEnd(ctx context.Context) error {
	process, err := c.process()
	if err != nil {
		return err
	}
	defer process.Close()
	// A pidfd is ready to be read when the process has ended (pidfd_open(2)).
	for ctx.Err() == nil {
		if n, err := pollFDs([]unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}, 100); err != nil || n > 0 {
			return err
		}
	}
	return nil
}

// process opens the container's first process (pidfd_open(2)).
//
// # Errors
//
// [ErrNotRunning].
func (c *Container) process() (*os.File, error) {
	if c.rec.PID == 0 {
		return nil, ErrNotRunning
	}
	fd, err := unix.PidfdOpen(c.rec.PID, 0)
	if err != nil {
		return nil, ErrNotRunning
	}
	f := os.NewFile(uintptr(fd), "process 1")
	// The descriptor holds the process; now it is certain whether it is the one meant.
	if !alive(c.rec.PID, c.rec.StartTime) {
		f.Close()
		return nil, ErrNotRunning
	}
	return f, nil
}

// Signal sends a signal to the container's first process.
func (c *Container) Signal(sig unix.Signal) error {
	process, err := c.process()
	if err != nil {
		return err
	}
	defer process.Close()
	if err := unix.PidfdSendSignal(int(process.Fd()), sig, nil, 0); err != nil {
		if err == unix.ESRCH {
			return ErrNotRunning
		}
		return fmt.Errorf("signal container %s: %w", c.rec.ID, err)
	}
	return nil
}

// SignalAll sends a signal to every process of the container. Of a Windows
// container only SIGKILL goes to all: what another one is to the others, process
// 1 decides.
func (c *Container) SignalAll(sig unix.Signal) error {
	g := c.Group()
	if g == nil || c.rec.Windows && sig != unix.SIGKILL {
		return c.Signal(sig)
	}
	return g.Kill(sig)
}

// Delete removes the container id below the state root. It must have stopped,
// or not have been started; with force it may also run, or be half made.
//
// # Errors
//
// [ErrNotExist], or what could not be removed; the state stays then, so that
// another Delete can try again.
func Delete(root, id string, force bool) error {
	if err := checkID(id); err != nil {
		return err
	}
	return (&Container{dir: filepath.Join(root, id)}).Delete(force)
}

// Delete is [Delete] for a container at hand.
func (c *Container) Delete(force bool) error {
	locked, err := lock(c.dir)
	if err != nil {
		return err
	}
	defer locked.Close()
	if err := c.read(); err != nil {
		if !force {
			return err
		}
		return c.salvage(err)
	}
	if status := c.Status(); !force && status != oci.Stopped && status != oci.Created {
		return fmt.Errorf("cannot delete container %s that is not stopped: %s", c.rec.ID, status)
	}
	spec := c.specWithHooks()
	if err := c.end(); err != nil {
		return err
	}
	if err := c.remove(); err != nil {
		return err
	}
	c.poststop(spec, slog.Default())
	return nil
}

// salvage removes a container whose state cannot be read: with the processes in
// its control group, if there is one where its configuration puts it.
func (c *Container) salvage(unreadable error) error {
	if errors.Is(unreadable, ErrNotExist) {
		// A creation that was cut off before it had anything to record, and made nothing else.
		return c.forget()
	}
	slog.Warn("removing what can be found of the container: " + unreadable.Error())
	c.rec = record{} // half of it may have been read
	if spec, err := c.Spec(); err == nil {
		opt := Options{ID: filepath.Base(c.dir), Bundle: &oci.Bundle{Spec: spec}, Rootless: true}
		if g, err := findGroup(&opt); err == nil && g != nil {
			if err := g.Kill(unix.SIGKILL); err != nil {
				return err
			}
			if err := g.Delete(); err != nil {
				return err
			}
		}
	}
	return c.forget()
}

// end kills what is left of the container.
func (c *Container) end() error {
	if g := c.Group(); g != nil {
		// Even when process 1 has ended: another one, which an exec was just
		// making when the container was paused, would never end, and hold the group.
		frozen, err := g.Frozen()
		if err != nil {
			return err
		}
		if c.rec.SharedPID || frozen {
			if err := g.Kill(unix.SIGKILL); err != nil {
				return err
			}
		}
	}
	if err := c.Signal(unix.SIGKILL); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	for wait := time.Millisecond; alive(c.rec.PID, c.rec.StartTime); wait *= 2 {
		if wait > 4*time.Second {
			return fmt.Errorf("container %s: process %d does not end, although it was killed", c.rec.ID, c.rec.PID)
		}
		time.Sleep(wait)
	}
	return nil
}

// remove takes away what Create made; all its processes are gone.
func (c *Container) remove() error {
	// Else what is removed below could be files of the host.
	if err := c.unmountRoot(); err != nil {
		return err
	}
	removeMountPoints(c.rec.Rootfs, c.rec.MountPoints)
	var errs []error
	if c.rec.Cgroup != nil {
		if g, err := cgroup.Load(*c.rec.Cgroup); err == nil {
			errs = append(errs, g.Delete())
		}
	}
	if c.rec.Resctrl != nil {
		errs = append(errs, c.rec.Resctrl.Delete())
	}
	for _, dir := range c.rec.Scratch {
		errs = append(errs, removeScratch(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.forget()
}

// forget removes the state directory: first what it usually holds, which saves
// listing it.
func (c *Container) forget() error {
	for _, name := range []string{startSocket, exitFile, configFile, stateFile} {
		_ = unix.Unlink(filepath.Join(c.dir, name))
	}
	if unix.Rmdir(c.dir) == nil {
		return nil
	}
	return os.RemoveAll(c.dir)
}

// removeScratch removes a tree. overlayfs leaves a directory without any
// permission in its work directory, which only root can remove as it is.
func removeScratch(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || os.Geteuid() == 0 {
		return err
	}
	filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// Wait waits for the first process of a container that this process started
// ([Options.Start]) and returns its exit status.
func (c *Container) Wait() (unix.WaitStatus, error) { return wait(c.rec.PID) }
