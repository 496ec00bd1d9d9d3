package sandbox

import (
	"fmt"
	"slices"

	"winbox/sandbox/cgroup"
)

// Processes are the container's processes, as the host numbers them, in
// ascending order; nil when it has stopped.
//
// # Errors
//
// [NoGroupError]: without a control group nobody keeps account of them.
func (c *Container) Processes() ([]int, error) {
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
