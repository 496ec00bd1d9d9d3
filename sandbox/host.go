package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"winbox/internal/kernel"
	"winbox/sandbox/program"
)

// hostFacts reads what the compiler needs to know of the host.
func hostFacts() (program.Host, error) {
	host := program.Host{UserNamespace: userns.RunningInUserNS(), IsDir: isDir}
	data, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return host, fmt.Errorf("%w (is /proc mounted?)", err)
	}
	if host.LastCap, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		return host, fmt.Errorf("/proc/sys/kernel/cap_last_cap: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return host, fmt.Errorf("capget: %w", err)
	}
	host.Permitted = uint64(sets[0].Permitted) | uint64(sets[1].Permitted)<<32
	host.CloneDetached, err = kernel.Since(6, 15)
	return host, err
}

func isDir(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		// Without the name of the call: it is the source that is wrong.
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			return false, fmt.Errorf("%s: %w", path, pathErr.Err)
		}
		return false, err
	}
	return info.IsDir(), nil
}

// mountPointOf is the mount point that path lies on.
func mountPointOf(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return "", err
	}
	longest := "/"
	for _, m := range mounts {
		if len(m.Mountpoint) > len(longest) {
			longest = m.Mountpoint
		}
	}
	return longest, nil
}
