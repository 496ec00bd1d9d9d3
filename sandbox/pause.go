package sandbox

import (
	"winbox/oci"
	"winbox/sandbox/cgroup"
)

// Pause stops all processes of the container until [Container.Resume].
//
// # Errors
//
// [ErrNotRunning], [ErrPaused], [NoGroupError], or processes that do not stop;
// all run on then.
func (c *Container) Pause() error {
	return c.withGroup("it cannot be paused", func(g *cgroup.Group) error {
		switch c.Status() {
		case oci.Created, oci.Running:
			return g.Freeze()
		case oci.Paused:
			return ErrPaused
		}
		return ErrNotRunning
	})
}

// Resume lets the processes of a paused container run on.
//
// # Errors
//
// [ErrNotPaused], [NoGroupError].
func (c *Container) Resume() error {
	return c.withGroup("it cannot be resumed", func(g *cgroup.Group) error {
		if c.Status() != oci.Paused {
			return ErrNotPaused
		}
		return g.Thaw()
	})
}

// withGroup locks the container and does something with its control group.
func (c *Container) withGroup(consequence string, do func(*cgroup.Group) error) error {
	locked, err := c.lockAndRead()
	if err != nil {
		return err
	}
	defer locked.Close()
	g, err := c.needGroup(consequence)
	if err != nil {
		return err
	}
	return do(g)
}
