package sandbox

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/sandbox/resctrl"
)

// planResctrl finds the container's place in the resctrl file system, if
// linux.intelRdt asks for one.
func planResctrl(id string, linux *specs.Linux) (*resctrl.Group, error) {
	if linux == nil || linux.IntelRdt == nil {
		return nil, nil
	}
	root, err := resctrl.Mounted()
	if err == nil {
		var g *resctrl.Group
		if g, err = resctrl.Plan(root, id, linux.IntelRdt); err == nil {
			return g, nil
		}
	}
	return nil, fmt.Errorf("linux.intelRdt: %w", err)
}

// makeResctrl makes the groups that were planned.
func (n *creation) makeResctrl() error {
	if n.rec.Resctrl == nil {
		return nil
	}
	if err := n.rec.Resctrl.Create(n.opt.Bundle.Spec.Linux.IntelRdt); err != nil {
		return fmt.Errorf("linux.intelRdt: %w", err)
	}
	return nil
}

// enterResctrl moves a process of the container there, before it has children.
func (c *Container) enterResctrl(pid int) error {
	if c.rec.Resctrl == nil {
		return nil
	}
	if err := c.rec.Resctrl.Add(pid); err != nil {
		return fmt.Errorf("linux.intelRdt: %w", err)
	}
	return nil
}
