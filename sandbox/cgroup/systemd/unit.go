package systemd

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Unit is a scope: a unit around processes that somebody else has started.
type Unit struct {
	// Name is the unit's, such as "winbox-box1.scope".
	Name string `json:"name"`
	// Slice is the name of the unit that it lies in, such as "system.slice".
	Slice string `json:"slice"`
	// User says that it belongs to the caller's own service manager, not to the system's.
	User bool `json:"user,omitempty"`
}

// prefix is the one of scopes that the configuration does not name.
const prefix = "winbox"

// ParseUnit reads linux.cgroupsPath in the form that goes with a systemd cgroup
// driver, "slice:prefix:name". Empty, it stands for ":winbox:ID"; an empty
// slice is system.slice, for a user's manager user.slice.
func ParseUnit(cgroupsPath, id string, user bool) (Unit, error) {
	parts := []string{"", prefix, id}
	if cgroupsPath != "" {
		// The words are runc's.
		if parts = strings.Split(cgroupsPath, ":"); len(parts) != 3 {
			return Unit{}, fmt.Errorf("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got %q instead", cgroupsPath)
		}
	}
	u := Unit{Slice: parts[0], Name: parts[1] + "-" + parts[2] + ".scope", User: user}
	if u.Slice == "" {
		u.Slice = "system.slice"
		if user {
			u.Slice = "user.slice"
		}
	}
	if _, err := expandSlice(u.Slice); err != nil {
		return Unit{}, fmt.Errorf("linux.cgroupsPath %q: %w", cgroupsPath, err)
	}
	switch name := parts[2]; {
	case name == "":
		return Unit{}, fmt.Errorf("linux.cgroupsPath %q: the name of the scope is empty", cgroupsPath)
	case strings.HasSuffix(name, ".slice"):
		return Unit{}, fmt.Errorf("linux.cgroupsPath %q: a container cannot be a slice, only be in one", cgroupsPath)
	}
	if at := strings.IndexFunc(u.Name, func(r rune) bool { return !validInName(r) }); at >= 0 || len(u.Name) > 255 {
		return Unit{}, fmt.Errorf("%q cannot be the name of a systemd unit: those have letters, digits and : - _ . \\ @, at most 255", u.Name)
	}
	return u, nil
}

// validInName tells which characters systemd.unit(5) allows.
func validInName(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`:-_.\@`, r)
}

// Path is the unit's place below the manager's own control group.
func (u Unit) Path() string {
	slice, err := expandSlice(u.Slice)
	if err != nil {
		return "" // not from ParseUnit
	}
	name := u.Name
	// What could be taken for one of the kernel's files is escaped (systemd's
	// CGROUP_DELEGATION: "_" in front); these are all that the kernel names so.
	if first, _, _ := strings.Cut(name, "."); strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") || slices.Contains(kernelPrefixes, first) {
		name = "_" + name
	}
	return path.Join(slice, name)
}

// kernelPrefixes are what the names of files in a control group begin with.
var kernelPrefixes = []string{"cgroup", "cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids"}

// expandSlice returns where a slice lies: dashes in its name are steps down
// (systemd.slice(5)), so that a-b.slice is /a.slice/a-b.slice.
func expandSlice(name string) (string, error) {
	stem, ok := strings.CutSuffix(name, ".slice")
	switch {
	case !ok:
		return "", fmt.Errorf("%q is no slice: its name must end in .slice", name)
	case stem == "-":
		return "/", nil
	case strings.IndexFunc(name, func(r rune) bool { return !validInName(r) }) >= 0:
		return "", fmt.Errorf("%q cannot be the name of a slice", name)
	}
	place, parent := "/", ""
	for part := range strings.SplitSeq(stem, "-") {
		if part == "" {
			return "", fmt.Errorf("invalid slice name: %s", name)
		}
		parent += part
		place = path.Join(place, parent+".slice")
		parent += "-"
	}
	return place, nil
}
