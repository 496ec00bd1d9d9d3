package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"winbox/sandbox/cgroup"
)

// Processes are the container's processes, as the host numbers them, in
// ascending order; nil when it has stopped. Without a control group, they are
// those of the container's own pid namespace, and not of others below that.
//
// # Errors
//
// [NoGroupError]: without either, nobody keeps account of them.
func (c *Container) Processes() ([]int, error) {
	if c.rec.Cgroup == nil && !c.rec.SharedPID {
		return c.inPIDNamespace()
	}
	g, err := c.needGroup("its processes cannot be listed")
	if err != nil {
		return nil, err
	}
	pids, err := g.Pids()
	if err != nil {
		return nil, fmt.Errorf("list the processes of container %s: %w", c.rec.ID, err)
	}
	slices.Sort(pids)
	return pids, nil
}

// inPIDNamespace lists the processes that are in the pid namespace of process 1.
func (c *Container) inPIDNamespace() ([]int, error) {
	process, err := c.process()
	if errors.Is(err, ErrNotRunning) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer process.Close() // as long as it is open, the number is nobody else's
	own, err := pidNamespace(c.rec.PID)
	if errors.Is(err, fs.ErrPermission) {
		// An init that stays lets nobody look at it, but at the program that it waits for.
		own, err = pidNamespaceOfChild(c.rec.PID)
	}
	if err != nil {
		return nil, fmt.Errorf("list the processes of container %s: %w", c.rec.ID, err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// Those of other users cannot be looked at, nor those that have ended.
		if other, err := pidNamespace(pid); err == nil && other == own {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// pidNamespace names the pid namespace of a process.
func pidNamespace(pid int) (string, error) { return os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)) }

// pidNamespaceOfChild names the pid namespace that the first child of a process is in.
func pidNamespaceOfChild(pid int) (string, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(children), " ")
	child, err := strconv.Atoi(first)
	if err != nil {
		return "", fmt.Errorf("process %d has no children", pid)
	}
	return pidNamespace(child)
}

// NoGroupError says that something needs the container's control group and
// that it was made without one.
type NoGroupError struct {
	ID string
	// Consequence says what cannot be done.
	Consequence string
}

func (e *NoGroupError) Error() string {
	return fmt.Sprintf("container %s has no control group, so %s; make it where winbox may manage control groups (as root, or in a delegated part of cgroup v2)", e.ID, e.Consequence)
}

// needGroup is the container's control group for what cannot do without.
func (c *Container) needGroup(consequence string) (*cgroup.Group, error) {
	if c.rec.Cgroup == nil {
		return nil, &NoGroupError{ID: c.rec.ID, Consequence: consequence}
	}
	return cgroup.Load(*c.rec.Cgroup)
}
