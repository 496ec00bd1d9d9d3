package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Hierarchy is one mounted cgroup tree and a group's place in it.
type Hierarchy struct {
	// Controllers are the names as in /proc/self/cgroup: "memory", or "cpu" and
	// "cpuacct" for a shared mount, or "name=systemd". Empty for cgroup2.
	Controllers []string
	// Unified is true for cgroup2: the whole of a v2 host, or the mount beside
	// the v1 ones on a hybrid host.
	Unified bool
	// MountPoint is the directory where the tree is mounted.
	MountPoint string
	// Path is the group's place below MountPoint; it begins with a slash.
	Path string
}

func (h *Hierarchy) dir() string { return h.MountPoint + h.Path }

// OwnDir returns the directory of this process's own group, in which a container
// stays whose caller may not make another. It is empty when that group lies
// outside of what is mounted (cgroup_namespaces(7)).
func (h *Hierarchy) OwnDir() (string, error) {
	self, err := readFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find this process's own cgroup: %w", err)
	}
	return h.ownDir(string(self)), nil
}

func (h *Hierarchy) ownDir(self string) string {
	for line := range strings.Lines(self) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) == 3 && fields[1] == strings.Join(h.Controllers, ",") && !slices.Contains(strings.Split(fields[2], "/"), "..") {
			return filepath.Join(h.MountPoint, fields[2])
		}
	}
	return ""
}

// v1Hierarchies finds the hierarchies of a legacy or hybrid host, without Path.
// It asks the kernel once; the result is for cloning.
var v1Hierarchies = sync.OnceValues(func() ([]Hierarchy, error) {
	self, err := readFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	return parseHierarchies(string(self), func(name string) (string, bool) {
		dir := filepath.Join(mountRoot, name)
		kind := fsType(dir)
		return dir, kind == unix.CGROUP_SUPER_MAGIC || kind == unix.CGROUP2_SUPER_MAGIC
	})
})

// parseHierarchies reads the text of /proc/self/cgroup (cgroups(7)). mounted
// says where a name's directory is and whether a cgroup tree is mounted there.
//
// A hierarchy counts only if each of its controllers can be reached by its own
// name (for shared mounts that is a link, which all distributions make): so
// everybody else looks for it, engines above all.
func parseHierarchies(self string, mounted func(name string) (dir string, ok bool)) ([]Hierarchy, error) {
	var found []Hierarchy
	for line := range strings.Lines(self) {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("list cgroup hierarchies: /proc/self/cgroup has the line %q", line)
		}
		if fields[1] == "" {
			if dir, ok := mounted("unified"); ok {
				found = append(found, Hierarchy{Unified: true, MountPoint: dir})
			}
			continue
		}
		h := Hierarchy{Controllers: strings.Split(fields[1], ",")}
		reachable := true
		for _, name := range h.Controllers {
			dir, ok := mounted(strings.TrimPrefix(name, "name="))
			reachable = reachable && ok
			h.MountPoint = dir
		}
		if len(h.Controllers) > 1 {
			if dir, ok := mounted(fields[1]); ok {
				h.MountPoint = dir
			}
		}
		if reachable {
			found = append(found, h)
		}
	}
	return found, nil
}

// Mounts returns what a container needs to be given a view of its own group: on
// v1 every hierarchy, on v2 the one mount.
func (g *Group) Mounts() []Hierarchy {
	mounts := slices.Clone(g.hierarchies)
	for i := range mounts {
		mounts[i].Controllers = slices.Clone(mounts[i].Controllers)
	}
	return mounts
}

// hierarchy returns the v1 hierarchy that has the controller, or nil.
func (g *Group) hierarchy(controller string) *Hierarchy {
	for i := range g.hierarchies {
		if slices.Contains(g.hierarchies[i].Controllers, controller) {
			return &g.hierarchies[i]
		}
	}
	return nil
}

// unified returns the cgroup2 hierarchy, or nil on a legacy host.
func (g *Group) unified() *Hierarchy {
	for i := range g.hierarchies {
		if g.hierarchies[i].Unified {
			return &g.hierarchies[i]
		}
	}
	return nil
}

// control returns the hierarchy that processes are listed, killed and frozen
// through. On a hybrid host that is cgroup2: its freezer cannot be outrun by
// fork, its frozen tasks can be killed, and it kills in one write.
func (g *Group) control() *Hierarchy {
	if u := g.unified(); u != nil {
		return u
	}
	for _, name := range []string{"freezer", "devices"} {
		if h := g.hierarchy(name); h != nil {
			return h
		}
	}
	return &g.hierarchies[0]
}
