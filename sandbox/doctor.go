package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"winbox/internal/diagnosis"
	"winbox/internal/kernel"
)

// Examination looks at what containers need of a host. The zero value of a field
// but Root stands for the real thing; tests put others in.
type Examination struct {
	// Root is where /proc, /sys and /etc are looked for; empty is "/".
	Root string
	// Rootless says that containers are to be made without root's privileges.
	Rootless bool
	// User is the caller's name and UID its number, for /etc/subuid.
	User string
	UID  int
	// Call makes a system call that cannot succeed, and gives its errno.
	Call func(name string) error
	// UserNamespace makes a user namespace.
	UserNamespace func() error
	// Writable tells whether files can be made in a directory.
	Writable func(dir string) bool
	// LookPath finds a program.
	LookPath func(name string) (string, error)
}

// neededCalls are the system calls that containers cannot be made without, and
// since when Linux has them.
var neededCalls = []struct{ name, since string }{
	{"openat2", "5.6"}, {"open_tree", "5.2"}, {"fsopen", "5.2"}, {"move_mount", "5.2"}, {"mount_setattr", "5.12"}, {"pidfd_open", "5.3"}, {"clone3", "5.3"},
}

// neededControllers are those that limits of launch and of engines need.
var neededControllers = []string{"memory", "cpu", "pids", "cpuset", "devices", "freezer"}

// Checks says of everything whether it is there, and what to do when it is not.
func (e Examination) Checks() []diagnosis.Check {
	if e.Root == "" {
		e.Root = "/"
	}
	if e.Call == nil {
		e.Call = probeCall
	}
	if e.UserNamespace == nil {
		e.UserNamespace = probeUserNamespace
	}
	if e.Writable == nil {
		e.Writable = func(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }
	}
	if e.LookPath == nil {
		e.LookPath = exec.LookPath
	}
	all := append(e.kernel(), e.userNamespaces()...)
	return append(all, e.cgroups()...)
}

func (e *Examination) read(name string) string {
	b, err := os.ReadFile(filepath.Join(e.Root, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// check makes one, whose remedy is left out when nothing is wrong.
func check(area, name string, status diagnosis.Status, found, remedy string) diagnosis.Check {
	if status == diagnosis.OK {
		remedy = ""
	}
	return diagnosis.Check{Area: area, Name: name, Status: status, Found: found, Remedy: remedy}
}

// failIf and warnIf turn a condition into a status.
func failIf(bad bool) diagnosis.Status {
	return map[bool]diagnosis.Status{true: diagnosis.Fail, false: diagnosis.OK}[bad]
}

func warnIf(bad bool) diagnosis.Status {
	return map[bool]diagnosis.Status{true: diagnosis.Warn, false: diagnosis.OK}[bad]
}

func (e *Examination) kernel() []diagnosis.Check {
	const area = "kernel"
	release := e.read("proc/sys/kernel/osrelease")
	all := []diagnosis.Check{check(area, "version", failIf(!kernel.AtLeast(release, 5, 12)), release, "Linux 5.12 or newer")}
	var missing, forbidden []string
	for _, c := range neededCalls {
		switch err := e.Call(c.name); {
		case errors.Is(err, unix.ENOSYS):
			missing = append(missing, c.name+" (Linux "+c.since+")")
		case errors.Is(err, unix.EPERM) && !e.Rootless: // ordinary users have the right in their own namespace only
			forbidden = append(forbidden, c.name)
		}
	}
	found, remedy := "all there", ""
	switch {
	case missing != nil:
		found, remedy = "missing: "+strings.Join(missing, ", "), "a newer kernel, or a seccomp filter around winbox that does not hide them"
	case forbidden != nil:
		found, remedy = "forbidden: "+strings.Join(forbidden, ", "), "run winbox with CAP_SYS_ADMIN, and outside of a container or seccomp filter that forbids mounts"
	}
	all = append(all, check(area, "mount calls", failIf(missing != nil || forbidden != nil), found, remedy))

	listed := strings.Fields(e.read("proc/filesystems"))
	overlay := slices.Contains(listed, "overlay")
	found = "overlay is there"
	if !overlay {
		found = "overlay is not loaded; drive C: of a Windows program is one"
	}
	all = append(all, check(area, "overlay", warnIf(!overlay), found, "as root: modprobe overlay; or CONFIG_OVERLAY_FS in the kernel"))

	err := e.Call("seccomp")
	all = append(all, check(area, "seccomp", failIf(err != nil), words(err, "filters are there"), "CONFIG_SECCOMP_FILTER in the kernel"))
	err = e.Call("seccomp notification")
	return append(all, check(area, "seccomp notification", warnIf(err != nil), words(err, "there"), "Linux 5.0 or newer; only profiles with SCMP_ACT_NOTIFY need it"))
}

// words says what an error says, or that all is well.
func words(err error, well string) string {
	if err != nil {
		return err.Error()
	}
	return well
}

// userNamespaces are needed by those who are not root, and by containers that ask for one.
func (e *Examination) userNamespaces() []diagnosis.Check {
	const area = "user namespaces"
	bad := func(condition bool) diagnosis.Status {
		if e.Rootless {
			return failIf(condition)
		}
		return warnIf(condition)
	}
	var all []diagnosis.Check
	if n := e.read("proc/sys/user/max_user_namespaces"); n != "" {
		all = append(all, check(area, "user.max_user_namespaces", bad(n == "0"), n, "as root: sysctl -w user.max_user_namespaces=15000"))
	}
	for _, c := range []struct{ name, file, off, remedy string }{
		{"kernel.unprivileged_userns_clone", "proc/sys/kernel/unprivileged_userns_clone", "0", "as root: sysctl -w kernel.unprivileged_userns_clone=1"},
		{"kernel.apparmor_restrict_unprivileged_userns", "proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
			"an AppArmor profile for winbox with `userns,`; or as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		if value := e.read(c.file); value != "" { // not every kernel has it
			status := diagnosis.OK // root may anyway
			if e.Rootless {
				status = failIf(value == c.off)
			}
			all = append(all, check(area, c.name, status, value, c.remedy))
		}
	}
	err := e.UserNamespace()
	all = append(all, check(area, "making one", bad(err != nil), words(err, "works"),
		"CONFIG_USER_NS in the kernel; outside of a container or seccomp filter that forbids it; the settings above"))
	if !e.Rootless {
		return all
	}
	for _, c := range []struct{ tool, file string }{{"newuidmap", "etc/subuid"}, {"newgidmap", "etc/subgid"}} {
		_, err := e.LookPath(c.tool)
		granted := e.subordinate(c.file)
		found := fmt.Sprintf("%d ids", granted)
		switch {
		case err != nil:
			found = "not installed; containers have the caller's own id only"
		case granted == 0:
			found = "no ids in /" + c.file + "; containers have the caller's own id only"
		}
		all = append(all, check(area, c.tool, warnIf(err != nil || granted == 0), found,
			fmt.Sprintf("Debian: apt-get install uidmap; as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", e.User)))
	}
	return all
}

// subordinate adds up the ids that a file such as /etc/subuid grants (subuid(5)).
func (e *Examination) subordinate(file string) uint64 {
	var sum uint64
	for line := range strings.Lines(e.read(file)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) != 3 || fields[0] != e.User && fields[0] != strconv.Itoa(e.UID) {
			continue
		}
		if n, err := strconv.ParseUint(fields[2], 10, 32); err == nil {
			sum += n
		}
	}
	return sum
}

// cgroups looks which version there is, and which controllers.
func (e *Examination) cgroups() []diagnosis.Check {
	const area = "control groups"
	var unified string
	var v1 []string
	for line := range strings.Lines(e.read("proc/self/mountinfo")) {
		before, after, _ := strings.Cut(line, " - ")
		fields, behind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(behind) < 3 {
			continue
		}
		switch behind[0] {
		case "cgroup2":
			unified = fields[4]
		case "cgroup":
			v1 = append(v1, strings.Split(behind[2], ",")...)
		}
	}
	mode, remedy := "none mounted", "mount them: as systemd does, or `mount -t cgroup2 none /sys/fs/cgroup`"
	var controllers []string
	if unified != "" {
		mode = "version 2"
		controllers = strings.Fields(e.read(filepath.Join(unified, "cgroup.controllers")))
		controllers = append(controllers, "devices", "freezer") // are a part of version 2 itself
	}
	if len(v1) > 0 {
		mode = map[bool]string{true: "hybrid: version 1, and 2 beside it", false: "version 1"}[unified != ""]
		if unified != "" {
			controllers = controllers[:len(controllers)-2]
		}
		controllers = append(controllers, v1...)
	}
	all := []diagnosis.Check{check(area, "version", map[bool]diagnosis.Status{true: warnIf(unified == "" && v1 == nil), false: failIf(unified == "" && v1 == nil)}[e.Rootless], mode, remedy)}
	if unified == "" && v1 == nil {
		return all
	}
	var missing []string
	for _, name := range neededControllers {
		if !slices.Contains(controllers, name) {
			missing = append(missing, name)
		}
	}
	found := "all that limits need"
	if missing != nil {
		found = "missing: " + strings.Join(missing, ", ") + "; limits of that kind are refused"
	}
	all = append(all, check(area, "controllers", warnIf(missing != nil), found, "boot without cgroup_disable=; with version 2, enable them in cgroup.subtree_control of the parents"))
	if !e.Rootless {
		return all
	}
	own, delegated := "", false
	for line := range strings.Lines(e.read("proc/self/cgroup")) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok && unified != "" {
			own = filepath.Join(unified, path)
			delegated = e.Writable(filepath.Join(e.Root, own))
		}
	}
	found = "delegated: " + own
	if !delegated {
		found = "not delegated to " + e.User + "; containers run without limits"
	}
	return append(all, check(area, "delegation", warnIf(!delegated), found, "version 2, and a delegated group: systemd-run --user --scope -p Delegate=yes winbox …"))
}

// probeCall makes a call with arguments that it must refuse, which does nothing:
// only ENOSYS and EPERM mean something. Those of seccomp ask what there is.
func probeCall(name string) error {
	none := ^uintptr(0)
	var errno syscall.Errno
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	switch name {
	case "openat2":
		_, _, errno = unix.Syscall6(unix.SYS_OPENAT2, none, 0, 0, 0, 0, 0)
	case "open_tree":
		_, _, errno = unix.Syscall(unix.SYS_OPEN_TREE, none, 0, unix.OPEN_TREE_CLONE|unix.AT_EMPTY_PATH)
	case "fsopen":
		_, _, errno = unix.Syscall(unix.SYS_FSOPEN, 0, 0, 0)
	case "move_mount":
		_, _, errno = unix.Syscall6(unix.SYS_MOVE_MOUNT, none, 0, none, 0, 0, 0)
	case "mount_setattr":
		_, _, errno = unix.Syscall6(unix.SYS_MOUNT_SETATTR, none, 0, 0, 0, 0, 0)
	case "pidfd_open":
		_, _, errno = unix.Syscall(unix.SYS_PIDFD_OPEN, 0, 0, 0)
	case "clone3":
		_, _, errno = unix.Syscall(unix.SYS_CLONE3, 0, 0, 0)
	case "seccomp notification":
		action = unix.SECCOMP_RET_USER_NOTIF
		fallthrough
	case "seccomp":
		if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
			return errno
		}
		return nil
	}
	return errno
}

// probeUserNamespace starts a program in a user namespace of its own: this one, which ends at once.
func probeUserNamespace() error {
	cmd := exec.Command("/proc/self/exe", "--version")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	return cmd.Run()
}
