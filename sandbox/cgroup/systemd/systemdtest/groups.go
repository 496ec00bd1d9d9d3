package systemdtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mountRoot is where control groups are mounted.
const mountRoot = "/sys/fs/cgroup"

// UseGroups makes the manager keep control groups for its scopes: on v2 the one,
// on v1 those that systemd has controllers of. What it makes is gone at the end
// of the test.
func (m *Manager) UseGroups(t testing.TB) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(mountRoot, &st); err != nil {
		t.Skip(err)
	}
	roots := []string{mountRoot}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		roots = nil
		for _, name := range []string{"systemd", "unified", "memory", "cpu", "cpuacct", "blkio", "devices", "pids"} {
			if _, err := os.Stat(filepath.Join(mountRoot, name, "cgroup.procs")); err == nil {
				roots = append(roots, filepath.Join(mountRoot, name))
			}
		}
	}
	var made []string
	t.Cleanup(func() {
		for i := len(made) - 1; i >= 0; i-- {
			if err := unix.Rmdir(made[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				t.Errorf("systemdtest: remove %s: %v", made[i], err)
			}
		}
	})
	m.Started = func(u *Unit) error {
		pids, _ := u.Properties["PIDs"].([]uint32)
		if len(pids) == 0 {
			return fmt.Errorf("scope %s has no PIDs", u.Name)
		}
		for _, root := range roots {
			dir := root
			for name := range strings.SplitSeq(strings.TrimPrefix(place(u), "/"), "/") {
				dir += "/" + name
				switch err := os.Mkdir(dir, 0o755); {
				case err == nil:
					made = append(made, dir)
				case !errors.Is(err, fs.ErrExist):
					return err
				}
			}
			for _, pid := range pids {
				if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(int(pid))), 0); err != nil {
					return err
				}
			}
		}
		return nil
	}
	m.Stopped = func(u *Unit) {
		for _, root := range roots {
			_ = unix.Rmdir(root + place(u)) // what its owner has removed, or made below, is the owner's affair
		}
	}
}

// place is where the scope's group lies; the slices of tests have no dashes.
func place(u *Unit) string {
	slice, _ := u.Properties["Slice"].(string)
	if slice == "-.slice" {
		slice = ""
	}
	return path.Join("/", slice, u.Name)
}
