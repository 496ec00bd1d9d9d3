package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/sandbox/cgroup/systemd"
)

// Group is the control group of one container, in every hierarchy of the host.
type Group struct {
	mode        Mode
	path        string
	hierarchies []Hierarchy // never empty
	warnings    []string
	killed      bool   // see State.Killed
	scope       *scope // nil when systemd has nothing to do with it
}

// State is what [Load] needs to find a group again. It is made for JSON.
type State struct {
	Mode Mode   `json:"mode"`
	Path string `json:"path"`
	// Killed says that somebody may have written to the group's cgroup.kill. On
	// Linux 6.14, and stable kernels with the same change ("cgroup: fix race
	// between fork and cgroup.kill"), whatever is cloned into such a group
	// later is killed at birth: clone compares the group's count of kills
	// with that of the parent's group. [Group.Start] then takes another way.
	Killed bool `json:"killed,omitempty"`
	// Systemd is the scope that systemd keeps for the group, if it does.
	Systemd *systemd.Unit `json:"systemd,omitempty"`
}

// State returns what to store.
func (g *Group) State() State {
	s := State{Mode: g.mode, Path: g.path, Killed: g.killed}
	if g.scope != nil {
		s.Systemd = &g.scope.unit
	}
	return s
}

// Mode returns the cgroup version that holds the group's limits.
func (g *Group) Mode() Mode { return g.mode }

// Path returns the group's place below the mount point of each hierarchy.
func (g *Group) Path() string { return g.path }

// Warnings returns what Create and Update could not do to the letter but need
// not fail for, one sentence each.
func (g *Group) Warnings() []string { return slices.Clone(g.warnings) }

// newGroup finds the hierarchies that a group at path is in.
func newGroup(mode Mode, place string) (*Group, error) {
	if err := checkPath(place); err != nil {
		return nil, fmt.Errorf("cgroup path %q %w", place, err)
	}
	place = path.Clean(place)
	if place == "/" {
		return nil, fmt.Errorf("the root cgroup cannot be a container's")
	}
	g := &Group{mode: mode, path: place}
	if mode == V2 {
		g.hierarchies = []Hierarchy{{Unified: true, MountPoint: mountRoot}}
	} else {
		found, err := v1Hierarchies()
		if err != nil {
			return nil, err
		}
		g.hierarchies = slices.Clone(found)
	}
	for i := range g.hierarchies {
		g.hierarchies[i].Path = place
	}
	return g, nil
}

// Create makes a group at path (from [Resolve]) in every hierarchy and puts the
// limits in force before anyone is in it. res may be nil. A group that exists
// and has no processes is taken over, as runc does, and its limits are kept
// where res says nothing.
//
// On v2 all controllers that the parents can give are enabled, and
// memory.oom.group is set: out of memory, the container dies as one. v1 cannot
// do that; see [Group.OOMFiles].
//
// # Errors
//
// [ErrNotDelegated], a [NotEmptyError], [ErrFrozen], or a [LimitError]. What was
// made is removed.
func Create(place string, res *specs.LinuxResources) (*Group, error) {
	mode, err := DetectMode()
	if err != nil {
		return nil, err
	}
	g, err := newGroup(mode, place)
	if err != nil {
		return nil, err
	}
	if res == nil {
		res = &specs.LinuxResources{}
	}
	var made []string
	if err := g.create(res, &made); err != nil {
		for _, dir := range slices.Backward(made) {
			_ = unix.Rmdir(dir) // the first error is the one to report
		}
		return nil, fmt.Errorf("create cgroup %s: %w", g.path, err)
	}
	return g, nil
}

func (g *Group) create(res *specs.LinuxResources, made *[]string) error {
	for i := range g.hierarchies {
		h := &g.hierarchies[i]
		existed, err := makeDir(h.dir(), h.MountPoint, made)
		if err != nil {
			if permission(err) {
				return fmt.Errorf("%w: %w", ErrNotDelegated, err)
			}
			return err
		}
		if existed {
			if err := checkUnused(h); err != nil {
				return err
			}
			g.killed = g.killed || h.Unified
		}
		if slices.Contains(h.Controllers, "cpuset") {
			if err := inheritCpuset(h.dir(), h.MountPoint); err != nil {
				return err
			}
		}
	}
	return g.equip(res)
}

// equip gives a group that has been made what it is to have.
func (g *Group) equip(res *specs.LinuxResources) error {
	if g.mode == V2 {
		enableControllers(g.unified(), nil)
		all := true
		if err := g.write(&step{field: "memory", file: "memory.oom.group", optional: true,
			v2: &cgroup2.Resources{Memory: &cgroup2.Memory{OOMGroup: &all}}}); err != nil {
			return err
		}
	}
	return g.apply(res)
}

// hugetlbOnUnified reports whether huge page limits are asked for and, on a
// hybrid host, their controller is on the cgroup2 mount.
func (g *Group) hugetlbOnUnified(res *specs.LinuxResources) bool {
	if len(res.HugepageLimits) == 0 || g.hierarchy("hugetlb") != nil || g.unified() == nil {
		return false
	}
	available, err := readFile(g.unified().MountPoint + "/cgroup.controllers")
	return err == nil && contains(string(available), "hugetlb")
}

// makeDir makes a group's directory, and its parents up to the mount point
// where they are missing, and notes what it made.
func makeDir(dir, mountPoint string, made *[]string) (existed bool, err error) {
	err = unix.Mkdir(dir, 0o755)
	if errors.Is(err, unix.ENOENT) && path.Dir(dir) != mountPoint {
		if _, err := makeDir(path.Dir(dir), mountPoint, made); err != nil {
			return false, err
		}
		err = unix.Mkdir(dir, 0o755)
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return true, nil
	case err != nil:
		return false, &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	*made = append(*made, dir)
	return false, nil
}

// checkUnused refuses a directory that belongs to something alive.
func checkUnused(h *Hierarchy) error {
	pids, err := appendPids(nil, h.dir())
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		return &NotEmptyError{Dir: h.dir(), Pids: pids}
	}
	if frozen, err := h.frozen(); err != nil || frozen {
		return errors.Join(err, ErrFrozen)
	}
	return nil
}

// inheritCpuset fills in the processors and memory nodes of a new v1 cpuset: a
// process cannot join while they are empty (ENOSPC; admin-guide/cgroup-v1/cpusets).
// Parents that an engine made in passing may be empty too.
func inheritCpuset(dir, mountPoint string) error {
	for _, file := range []string{"/cpuset.cpus", "/cpuset.mems"} {
		if err := inheritFile(dir, mountPoint, file); err != nil {
			return err
		}
	}
	return nil
}

func inheritFile(dir, mountPoint, file string) error {
	own, err := readFile(dir + file)
	if err != nil || strings.TrimSpace(string(own)) != "" || dir == mountPoint {
		return err
	}
	parent := path.Dir(dir)
	if err := inheritFile(parent, mountPoint, file); err != nil {
		return err
	}
	value, err := readFile(parent + file)
	if err != nil {
		return err
	}
	return writeFile(dir+file, string(value))
}

// enableControllers lets the group's parents hand controllers down to it: all
// that they have, or those named. One that cannot be enabled is no error until a
// limit needs it; then its file is missing.
//
// The library's ToggleControllers writes all at once, so that one refused
// controller keeps the others off, and says so even when all were on.
func enableControllers(h *Hierarchy, only []string) {
	dir := h.MountPoint
	for _, name := range strings.Split(h.Path, "/")[1:] {
		available, _ := readFile(dir + "/cgroup.controllers")
		enabled, _ := readFile(dir + "/cgroup.subtree_control")
		var missing []string
		for c := range strings.FieldsSeq(string(available)) {
			if !contains(string(enabled), c) && (only == nil || slices.Contains(only, c)) {
				missing = append(missing, "+"+c)
			}
		}
		if len(missing) > 0 && writeFile(dir+"/cgroup.subtree_control", strings.Join(missing, " ")) != nil {
			for _, c := range missing {
				_ = writeFile(dir+"/cgroup.subtree_control", c)
			}
		}
		dir += "/" + name
	}
}

// Load returns the group of a stored state. It does not check that the group
// still exists; Delete, Pids and Kill take a missing group for an empty one.
func Load(s State) (*Group, error) {
	mode, err := DetectMode()
	if err != nil {
		return nil, err
	}
	if mode != s.Mode {
		return nil, fmt.Errorf("cgroup %s was made on a host with cgroup %v; this one has %v", s.Path, s.Mode, mode)
	}
	g, err := newGroup(mode, s.Path)
	if err != nil {
		return nil, err
	}
	g.killed = s.Killed
	if s.Systemd != nil {
		g.scope = &scope{unit: *s.Systemd}
	}
	return g, nil
}

// deleteTimeout bounds how long Delete waits for killed processes to be gone. A
// big one takes a while to give its memory back.
const deleteTimeout = 10 * time.Second

// Delete removes the group and the groups that the container made in it. It
// waits some seconds for processes that are on their way out. A missing group is
// fine.
//
// A scope is stopped first. When systemd cannot be reached then, the group is
// removed all the same: systemd forgets a scope that has no process left.
func (g *Group) Delete() error {
	if err := g.remove(g.stopScope()); err != nil {
		return fmt.Errorf("delete cgroup %s: %w", g.path, err)
	}
	return nil
}

func (g *Group) remove(stopped error) error {
	var last error
	gone := await(deleteTimeout, func() bool {
		last = nil
		for i := range g.hierarchies {
			if err := removeTree(g.hierarchies[i].dir()); err != nil {
				last = err
			}
		}
		return !errors.Is(last, unix.EBUSY)
	})
	if !gone {
		pids, _ := g.Pids()
		return errors.Join(stopped, fmt.Errorf("%w after %v; processes left: %v", last, deleteTimeout, pids))
	}
	if last != nil {
		return errors.Join(stopped, last)
	}
	return nil
}

// removeTree removes a cgroup directory. Only rmdir(2) works there, and only
// from the bottom up; the usual case has nothing below and takes one call.
func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY):
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	children, readErr := childDirs(dir)
	if readErr != nil {
		return readErr
	}
	for _, child := range children {
		if err := removeTree(child); err != nil {
			return err
		}
	}
	if len(children) > 0 {
		if err = unix.Rmdir(dir); err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
	}
	return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
}

// childDirs returns the groups directly below dir. A missing dir has none.
func childDirs(dir string) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		return nil, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	// cgroupfs keeps link counts as disk file systems do, which saves listing
	// the dozens of files of a group without children.
	if st.Nlink == 2 {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, dir+"/"+e.Name())
		}
	}
	return dirs, nil
}

// await calls done, with growing pauses, until it is true or the time is over.
func await(timeout time.Duration, done func() bool) bool {
	deadline := time.Now().Add(timeout)
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
}
