package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// freezeTimeout bounds how long Freeze waits. A task in uninterruptible sleep
// holds it up.
const freezeTimeout = 2 * time.Second

// Freeze stops every process in the group and below, and returns when all have
// stopped. If some will not within two seconds, all run on and an error is
// returned.
//
// The library's Freeze waits for ever, and on v2 does not wait at all: it looks
// at what it wrote itself.
func (g *Group) Freeze() error {
	h := g.control()
	file, value := h.freezer(true)
	var err error
	stopped := await(freezeTimeout, func() bool {
		// v1 needs to be told again when a fork got away from it
		// (admin-guide/cgroup-v1/freezer-subsystem: FREEZING).
		if err = writeFile(file, value); err != nil {
			return true
		}
		var settled bool
		settled, err = h.settled()
		return settled || err != nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("freeze cgroup: %w", noFreezer(err))
	case !stopped:
		return errors.Join(fmt.Errorf("freeze cgroup %s: some processes have not stopped after %v", g.path, freezeTimeout), g.Thaw())
	}
	return nil
}

// Thaw lets a frozen group run on. One that is not frozen, or missing, is fine.
func (g *Group) Thaw() error {
	file, value := g.control().freezer(false)
	if err := writeFile(file, value); err != nil && !gone(err) {
		return fmt.Errorf("thaw cgroup: %w", err)
	}
	return nil
}

// Frozen reports whether the group itself has been told to freeze. A group that
// stands still because a parent is frozen is not. A missing one is not.
func (g *Group) Frozen() (bool, error) { return g.control().frozen() }

// freezer returns the file, and what to write, for the wanted state.
func (h *Hierarchy) freezer(frozen bool) (file, value string) {
	switch {
	case h.Unified && frozen:
		return h.dir() + "/cgroup.freeze", "1"
	case h.Unified:
		return h.dir() + "/cgroup.freeze", "0"
	case frozen:
		return h.dir() + "/freezer.state", "FROZEN"
	}
	return h.dir() + "/freezer.state", "THAWED"
}

// settled reports whether all tasks of a freezing group have stopped.
func (h *Hierarchy) settled() (bool, error) {
	if h.Unified {
		events, err := readFile(h.dir() + "/cgroup.events")
		return err == nil && strings.Contains(string(events), "frozen 1"), err
	}
	state, err := readFile(h.dir() + "/freezer.state")
	return strings.TrimSpace(string(state)) == "FROZEN", err
}

func (h *Hierarchy) frozen() (bool, error) {
	file := h.dir() + "/freezer.self_freezing"
	if h.Unified {
		file = h.dir() + "/cgroup.freeze"
	}
	state, err := readFile(file)
	if gone(err) { // or a hierarchy without a freezer
		return false, nil
	}
	return strings.TrimSpace(string(state)) == "1", err
}

// noFreezer explains a missing file.
func noFreezer(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w (either the group is gone or the host has no freezer)", err)
	}
	return err
}
