package program

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// users checks what the caller's rights and the mappings of a new user namespace
// allow, so that create and not start says so. Of a namespace that is joined,
// only the kernel knows the mappings.
func (c *compiler) users() error {
	if !c.ns.Has(unix.CLONE_NEWUSER) && c.opt.Host.Permitted>>unix.CAP_SYS_ADMIN&1 == 0 {
		return errors.New("linux.namespaces: rootless container requires user namespaces: add one, with linux.uidMappings and linux.gidMappings (as `winbox spec --rootless` does; `winbox launch` has --rootless)")
	}
	if c.ns.New&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	l, user := c.spec.Linux, c.spec.Process.User
	if len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0 {
		return errors.New("linux.uidMappings and linux.gidMappings: a new user namespace needs both")
	}
	for _, id := range []struct {
		field, maps string
		id          uint32
		in          []specs.LinuxIDMapping
	}{{"uid", "uidMappings", user.UID, l.UIDMappings}, {"gid", "gidMappings", user.GID, l.GIDMappings}} {
		if !mapped(id.id, id.in) {
			return fmt.Errorf("process.user.%s: %d is not in linux.%s", id.field, id.id, id.maps)
		}
	}
	if c.opt.Host.NoSetgroups && len(user.AdditionalGids) > 0 {
		return errors.New("process.user.additionalGids: cannot set any additional groups in a rootless container whose only group is the caller's; map more, which newgidmap(1) does for the groups in /etc/subgid")
	}
	for _, gid := range user.AdditionalGids {
		if !mapped(gid, l.GIDMappings) {
			return fmt.Errorf("process.user.additionalGids: %d is not in linux.gidMappings", gid)
		}
	}
	for i, m := range l.Devices {
		// The kernel would take it for "do not change".
		if m.Type == "p" && (m.UID != nil && !mapped(*m.UID, l.UIDMappings) || m.GID != nil && !mapped(*m.GID, l.GIDMappings)) {
			return fmt.Errorf("linux.devices[%d]: its owner is not in the mappings of the user namespace", i)
		}
	}
	return nil
}

// mapped tells whether an id of the container is somebody outside.
func mapped(id uint32, maps []specs.LinuxIDMapping) bool {
	for _, m := range maps {
		if id >= m.ContainerID && uint64(id) < uint64(m.ContainerID)+uint64(m.Size) {
			return true
		}
	}
	return false
}

// mappedOptions refuses a file system's options uid= and gid= with an id that a
// new user namespace does not have: the kernel would only say that the value is
// wrong.
func (c *compiler) mappedOptions(m *specs.Mount, data []string) error {
	if c.ns.New&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	for _, option := range data {
		key, value, _ := strings.Cut(option, "=")
		maps, field := c.spec.Linux.UIDMappings, "linux.uidMappings"
		switch key {
		case "uid":
		case "gid":
			maps, field = c.spec.Linux.GIDMappings, "linux.gidMappings"
		default:
			continue
		}
		if id, err := strconv.ParseUint(value, 10, 32); err == nil && !mapped(uint32(id), maps) {
			return fmt.Errorf("options: %s=%d: it is not in %s; leave the option of %s out", key, id, field, path.Clean(m.Destination))
		}
	}
	return nil
}
