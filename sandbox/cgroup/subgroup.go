package cgroup

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3"
	"golang.org/x/sys/unix"
)

// Sub returns the group with other places in the tree: groups below it that
// exist already, for a process to be started there. paths has one path with an
// empty name, for all controllers, or the paths of some controllers by name,
// which only v1 can tell apart; the others stay.
//
// # Errors
//
// A path that leads out of the group, a controller that the group does not
// have, or a group that does not exist ([os.ErrNotExist]).
func (g *Group) Sub(paths map[string]string) (*Group, error) {
	sub := *g
	sub.hierarchies = slices.Clone(g.hierarchies)
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		below := paths[name]
		if slices.Contains(strings.Split(below, "/"), "..") || strings.ContainsAny(below, "\x00\n") {
			return nil, fmt.Errorf("%s is not a sub cgroup path", below)
		}
		if name != "" && g.mode == V2 {
			return nil, fmt.Errorf("controller %s: cgroup v2 has one tree for all controllers; name the path only", name)
		}
		found := false
		for i := range sub.hierarchies {
			h := &sub.hierarchies[i]
			if name != "" && !slices.Contains(h.Controllers, name) {
				continue
			}
			there := *h
			there.Path = path.Join(h.Path, below)
			if info, err := os.Stat(there.dir()); err != nil || !info.IsDir() {
				if name == "" && h.Unified && g.mode != V2 {
					continue // the controllers are elsewhere: nobody makes groups here
				}
				if err == nil {
					err = unix.ENOTDIR
				}
				return nil, fmt.Errorf("sub cgroup %s: %w", below, err)
			}
			*h, found = there, true
		}
		if !found {
			return nil, fmt.Errorf("sub cgroup %s: there is no controller %q", below, name)
		}
	}
	return &sub, nil
}

// Below returns the group of a process of a v2 group, which may be in one that
// was made below it.
//
// # Errors
//
// The process is gone, or is elsewhere, or the group is not of v2.
func (g *Group) Below(pid int) (*Group, error) {
	if g.mode != V2 {
		return nil, fmt.Errorf("cgroup %s: the groups of a process are many on cgroup v1", g.path)
	}
	_, at, err := cgroups.ParseCgroupFileUnified("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find the cgroup of process %d: %w", pid, err)
	}
	below, ok := strings.CutPrefix(at, g.unified().Path+"/")
	if !ok {
		return nil, fmt.Errorf("process %d is in cgroup %s, which is not below %s", pid, at, g.path)
	}
	return g.Sub(map[string]string{"": below})
}
