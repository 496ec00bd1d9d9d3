package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/cgroup"
)

// oomInterval is how often Watch looks whether the OOM killer has struck; the
// kernel's own notices differ between v1, which needs an eventfd, and v2.
const oomInterval = 200 * time.Millisecond

// Stats reads the counters of a container that has not stopped.
//
// # Errors
//
// The container has stopped, or has no control group ([NoGroupError]).
func (c *Container) Stats() (*cgroup.Details, error) {
	if c.Status() == oci.Stopped {
		return nil, c.notRunning()
	}
	g, err := c.needGroup("there are no statistics")
	if err != nil {
		return nil, err
	}
	return g.Details()
}

// notRunning is runc's error for a command that needs a running container and
// not only one that exists.
func (c *Container) notRunning() error {
	return fmt.Errorf("container with id %s is not running", c.rec.ID)
}

// Watch calls stats after each interval, and oom for each process that the OOM
// killer has taken, or once with nil when it is not known which, and look often, until the container's first process ends, ctx ends, or one of them fails. It
// gives how a Windows container has ended, if it has and was not killed as a whole.
//
// # Errors
//
// Those of [Container.Stats] at the begin, and that of stats or oom.
func (c *Container) Watch(ctx context.Context, interval time.Duration, stats func(*cgroup.Details) error, oom func(*OOMKill) error, look func() error) (*Exit, error) {
	if c.Status() == oci.Stopped {
		return nil, c.notRunning()
	}
	// Opened now: the container may be removed as soon as it has ended.
	record, err := os.Open(filepath.Join(c.dir, exitFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else if err == nil {
		defer record.Close()
	}
	g, err := c.needGroup("there are no events")
	if err != nil {
		return nil, err
	}
	fd, err := unix.PidfdOpen(c.rec.PID, 0)
	if err != nil || !alive(c.rec.PID, c.rec.StartTime) {
		if err == nil {
			unix.Close(fd)
		}
		return nil, c.notRunning()
	}
	defer unix.Close(fd)
	messages := openKernelLog()
	defer messages.close()
	kills, err := g.OOMKills()
	if err != nil {
		return nil, err
	}
	next := time.Now().Add(interval)
	for ctx.Err() == nil {
		ended, err := readable(fd, min(oomInterval, max(0, time.Until(next))))
		if err != nil {
			return nil, fmt.Errorf("wait for the end of container %s: %w", c.rec.ID, err)
		}
		now, err := g.OOMKills()
		if err != nil {
			return nil, err
		}
		// At the end the group may be gone before its count could be read: then the kernel's log tells.
		if now > kills || ended {
			known := messages.kills(g.Path())
			for i := range known {
				if err := oom(&known[i]); err != nil {
					return nil, err
				}
			}
			if now > kills && len(known) == 0 {
				if err := oom(nil); err != nil {
					return nil, err
				}
			}
			kills = now
		}
		if err := look(); err != nil {
			return nil, err
		}
		if ended {
			return readExit(record), nil
		}
		if time.Now().Before(next) {
			continue
		}
		next = next.Add(interval)
		details, err := g.Details()
		if err != nil {
			// The group may be gone although the process was there a moment ago.
			if !alive(c.rec.PID, c.rec.StartTime) {
				return readExit(record), nil
			}
			return nil, err
		}
		if err := stats(details); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// readable waits at most so long for a descriptor to become readable, as a
// pidfd does when its process ends (pidfd_open(2)).
func readable(fd int, wait time.Duration) (bool, error) {
	deadline := unix.NsecToTimespec(wait.Nanoseconds())
	list := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Ppoll(list, &deadline, nil)
	if err == unix.EINTR {
		return false, nil
	}
	return n == 1, err
}
