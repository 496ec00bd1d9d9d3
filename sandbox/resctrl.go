package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
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

// UpdateResctrl sets the container's shares of caches and of memory bandwidth, each a
// line of the file schemata of resctrl; an empty one stays as it is. A container
// without a class gets one by its name, and its first process is moved there, as with
// runc.
//
// # Errors
//
// [ErrNotRunning], or one that names the field of linux.intelRdt or the file.
func (c *Container) UpdateResctrl(l3Cache, memoryBandwidth string) error {
	locked, err := c.lockAndRead()
	if err != nil {
		return err
	}
	defer locked.Close()
	if c.Status() == oci.Stopped {
		return ErrNotRunning
	}
	rdt := &specs.LinuxIntelRdt{L3CacheSchema: l3Cache, MemBwSchema: memoryBandwidth}
	if c.rec.Resctrl != nil {
		if err := c.rec.Resctrl.Update(rdt); err != nil {
			return fmt.Errorf("linux.intelRdt: %w", err)
		}
		return nil
	}
	if c.rec.Resctrl, err = planResctrl(c.rec.ID, &specs.Linux{IntelRdt: rdt}); err != nil {
		return err
	}
	// Noted first, so that it goes with the container whatever happens.
	if err := c.save(); err != nil {
		return err
	}
	err = c.joinResctrl(rdt)
	if err != nil {
		err = errors.Join(err, c.rec.Resctrl.Delete())
		c.rec.Resctrl = nil
	}
	return errors.Join(err, c.save())
}

// joinResctrl makes the class that is noted and moves the first process there.
func (c *Container) joinResctrl(rdt *specs.LinuxIntelRdt) error {
	if err := c.rec.Resctrl.Create(rdt); err != nil {
		return fmt.Errorf("linux.intelRdt: %w", err)
	}
	tasks, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(c.rec.PID), "task"))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err == nil {
			err = c.enterResctrl(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
