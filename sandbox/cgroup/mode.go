package cgroup

import (
	"fmt"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// mountRoot is where every distribution mounts cgroups: the cgroup2 tree itself,
// or a tmpfs with one directory for each v1 hierarchy (file-hierarchy(7)). It
// is not looked up in mountinfo, which takes as long as the host has mounts.
const mountRoot = "/sys/fs/cgroup"

// Mode tells which version of cgroups holds the controllers.
type Mode int

const (
	// V1 is legacy or hybrid: controllers have v1 hierarchies. A cgroup2 mount
	// at /sys/fs/cgroup/unified, when there is one, is used for killing,
	// freezing and listing processes.
	V1 Mode = 1
	// V2 is the unified hierarchy at /sys/fs/cgroup.
	V2 Mode = 2
)

func (m Mode) String() string {
	switch m {
	case V1:
		return "v1"
	case V2:
		return "v2"
	}
	return fmt.Sprintf("cgroup mode %d", int(m))
}

// MarshalText writes "v1" or "v2".
func (m Mode) MarshalText() ([]byte, error) {
	if m != V1 && m != V2 {
		return nil, fmt.Errorf("%v is neither v1 nor v2", m)
	}
	return []byte(m.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (m *Mode) UnmarshalText(text []byte) error {
	switch string(text) {
	case "v1":
		*m = V1
	case "v2":
		*m = V2
	default:
		return fmt.Errorf("cgroup mode %q: want v1 or v2", text)
	}
	return nil
}

// DetectMode returns the mode of this host. It asks the kernel once.
//
// The library's Mode is not used because it cannot tell v1 from a tmpfs with
// nothing mounted below it.
func DetectMode() (Mode, error) { return detectMode() }

var detectMode = sync.OnceValues(func() (Mode, error) {
	switch fsType(mountRoot) {
	case unix.CGROUP2_SUPER_MAGIC:
		return V2, nil
	case unix.TMPFS_MAGIC:
		hierarchies, err := v1Hierarchies()
		if err != nil {
			return 0, err
		}
		for _, h := range hierarchies {
			if !h.Unified {
				return V1, nil
			}
		}
	}
	return 0, fmt.Errorf("no cgroup hierarchy at %s: mount one (`mount -t cgroup2 cgroup2 %[1]s`)", mountRoot)
})

// fsType returns the magic number of the file system that holds path, or 0.
func fsType(path string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Clean(path), &st); err != nil {
		return 0
	}
	return st.Type
}
