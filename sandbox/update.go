package sandbox

import (
	"log/slog"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
	"winbox/sandbox/cgroup"
)

// Update puts limits in force for a container that has not stopped; those that
// res does not name stay. Nothing of it is recorded: what counts is in the
// control group.
//
// The rules for devices stay as they are, as with runc: Kubernetes sends the
// container's first rules along with each update, and what others have allowed
// since would be lost.
//
// # Errors
//
// [ErrNotRunning], [NoGroupError], or a [cgroup.LimitError], which names the field.
func (c *Container) Update(res *specs.LinuxResources) error {
	return c.withGroup("limits cannot be enforced", func(g *cgroup.Group) error {
		if c.Status() == oci.Stopped {
			return ErrNotRunning
		}
		limits := *res
		limits.Devices = nil
		if err := g.Update(&limits); err != nil {
			return err
		}
		for _, w := range g.Warnings() {
			slog.Warn(w)
		}
		return nil
	})
}
