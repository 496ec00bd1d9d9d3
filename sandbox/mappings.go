package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/sandbox/program"
)

// writeMappings gives the user namespace of a process its ids
// (user_namespaces(7)). Without privilege, one's own id can be mapped alone;
// anything more is done by newuidmap(1) and newgidmap(1), which know the ids
// that /etc/subuid and /etc/subgid grant.
func writeMappings(pid int, uids, gids []specs.LinuxIDMapping) error {
	proc := "/proc/" + strconv.Itoa(pid)
	if os.Geteuid() != 0 && !onlyCaller(uids, gids) {
		if err := runMapper("newuidmap", pid, uids); err != nil {
			return err
		}
		return runMapper("newgidmap", pid, gids)
	}
	if os.Geteuid() != 0 {
		// Without it, the mapping of groups is refused (user_namespaces(7)).
		if err := os.WriteFile(proc+"/setgroups", []byte("deny"), 0); err != nil {
			return fmt.Errorf("write id mappings: %w", err)
		}
	}
	if err := os.WriteFile(proc+"/uid_map", []byte(mappingLines(uids)), 0); err != nil {
		return fmt.Errorf("linux.uidMappings: %w", err)
	}
	if err := os.WriteFile(proc+"/gid_map", []byte(mappingLines(gids)), 0); err != nil {
		return fmt.Errorf("linux.gidMappings: %w", err)
	}
	return nil
}

// onlyCaller tells whether nobody but the caller is mapped.
func onlyCaller(uids, gids []specs.LinuxIDMapping) bool {
	return onlyOwn(uids, os.Geteuid()) && onlyOwn(gids, os.Getegid())
}

func onlyOwn(maps []specs.LinuxIDMapping, id int) bool {
	return len(maps) == 1 && maps[0].Size == 1 && int(maps[0].HostID) == id
}

func mappingLines(maps []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range maps {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

func runMapper(tool string, pid int, maps []specs.LinuxIDMapping) error {
	args := append([]string{strconv.Itoa(pid)}, strings.Fields(mappingLines(maps))...)
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s (are ids granted in /etc/subuid and /etc/subgid? Debian package uidmap)", tool, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// openUserNamespace makes a user namespace with mappings, for an id-mapped mount.
func openUserNamespace(uids, gids []specs.LinuxIDMapping) (*os.File, error) {
	quiet, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer quiet.Close()
	idle, err := program.CompileIdle(3 + fdControl)
	if err != nil {
		return nil, err
	}
	encoded, err := idle.Encode()
	if err != nil {
		return nil, err
	}
	init, err := startInit(initOptions{stdio: [3]*os.File{quiet, quiet, quiet}, cloneFlags: unix.CLONE_NEWUSER}, encoded)
	if err != nil {
		return nil, err
	}
	defer init.kill()
	defer init.close()
	if err := writeMappings(init.pid, uids, gids); err != nil {
		return nil, err
	}
	return os.Open("/proc/" + strconv.Itoa(init.pid) + "/ns/user")
}
