package cgroup

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/cgroups/v3"
	"github.com/moby/sys/userns"
)

// Resolve returns the place of a container's group in the cgroup tree, for
// [Create], from linux.cgroupsPath (runtime-spec, config-linux.md) and the
// container's id.
//
// An absolute path counts from the mount point. A relative one counts from a
// base; an empty one is "winbox-<id>" below that base. The base is the root of
// the tree, as with crun, or, on v2 without root's rights, the parent of the
// caller's own group, as with runc: the caller's own group has processes in it,
// and such a group cannot hand controllers to children.
//
// The default is one level deep because a parent of winbox's own would either
// stay behind or have to be made and removed with every container.
func Resolve(cgroupsPath, id string) (string, error) {
	base := "/"
	if !path.IsAbs(cgroupsPath) {
		mode, err := DetectMode()
		if err != nil {
			return "", err
		}
		if mode == V2 && (os.Geteuid() != 0 || userns.RunningInUserNS()) {
			_, own, err := cgroups.ParseCgroupFileUnified("/proc/self/cgroup")
			if err != nil {
				return "", fmt.Errorf("find this process's own cgroup: %w", err)
			}
			base = path.Dir(path.Join("/", own))
		}
	}
	return resolve(base, cgroupsPath, id)
}

func resolve(base, cgroupsPath, id string) (string, error) {
	if cgroupsPath == "" {
		if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\x00\n") {
			return "", fmt.Errorf("linux.cgroupsPath is empty and the container id %q cannot name a cgroup", id)
		}
		return path.Join(base, "winbox-"+id), nil
	}
	place := cgroupsPath
	if !path.IsAbs(place) {
		place = base + "/" + place
	}
	if err := checkPath(place); err != nil {
		return "", fmt.Errorf("linux.cgroupsPath %q %w", cgroupsPath, err)
	}
	place = path.Clean(place)
	if place == path.Clean(base) || place == "/" {
		return "", fmt.Errorf("linux.cgroupsPath %q is a group that others are in: name one below it", cgroupsPath)
	}
	return place, nil
}

// checkPath refuses what would leave the tree or could not be written down in
// /proc/PID/cgroup.
func checkPath(place string) error {
	switch {
	case !path.IsAbs(place):
		return fmt.Errorf("must begin with a slash here")
	case slices.Contains(strings.Split(place, "/"), ".."):
		return fmt.Errorf(`must not have ".." in it`)
	case strings.ContainsAny(place, "\x00\n"):
		return fmt.Errorf("must not have a line end or NUL in it")
	case strings.HasPrefix(path.Clean(place)+"/", mountRoot+"/"):
		return fmt.Errorf("counts from the cgroup mount point: leave %s out", mountRoot)
	}
	return nil
}
