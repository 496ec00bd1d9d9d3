package program

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// capabilityNames in the order of their numbers (linux/capability.h).
var capabilityNames = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
	"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
	"CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD",
	"CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
	"CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// capSet reads a list of capability names. One that this kernel or the caller
// does not have is left out with a warning, as the runtime spec wants it
// (config.md, "capabilities").
func (c *compiler) capSet(field string, names []string) uint64 {
	var set uint64
next:
	for _, name := range names {
		for number, known := range capabilityNames {
			if known != name || number > c.opt.Host.LastCap {
				continue
			}
			if !c.ns.Has(unix.CLONE_NEWUSER) && c.opt.Host.Permitted>>number&1 == 0 {
				c.warn("process.capabilities.%s: %s left out: winbox does not have it itself", field, name)
				continue next
			}
			set |= 1 << number
			continue next
		}
		c.warn("process.capabilities.%s: %s left out: unknown to this kernel", field, name)
	}
	return set
}

func (c *compiler) warn(format string, args ...any) {
	c.p.Warnings = append(c.p.Warnings, fmt.Sprintf(format, args...))
}

// identity closes what the program is not to inherit and sets capabilities,
// groups, user and umask (capabilities(7)). After a filter is loaded only calls
// are made that cannot come before: a profile need not allow the others.
func (c *compiler) identity() error {
	p := c.spec.Process
	var lists specs.LinuxCapabilities
	if p.Capabilities != nil {
		lists = *p.Capabilities
	}
	bounding := c.capSet("bounding", lists.Bounding)
	effective := c.capSet("effective", lists.Effective)
	permitted := c.capSet("permitted", lists.Permitted)
	inheritable := c.capSet("inheritable", lists.Inheritable)
	ambient := c.capSet("ambient", lists.Ambient)
	// The kernel lets nothing else be ambient; `runc spec` itself asks for more.
	ambient &= permitted & inheritable
	for number := 0; number <= c.opt.Host.LastCap; number++ {
		if bounding>>number&1 == 0 {
			c.call("prctl", "drop "+capName(number)+" from the bounding set", named(unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"), named(uint64(number), capName(number)), 0, 0, 0)
		}
	}
	c.stdio()
	mask := uint32(0o022)
	if p.User.Umask != nil {
		mask = *p.User.Umask & 0o777
	}
	c.call("umask", fmt.Sprintf("set the umask to %03o", mask), mode(mask))
	c.call("prctl", "keep capabilities when the user changes", named(unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"), 1, 0, 0, 0)
	c.call("close_range", "let the program inherit nothing else", 3+c.opt.Preserve, named(0xffffffff, "~0"), named(unix.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC"))
	if !p.NoNewPrivileges {
		// Without no_new_privs a filter needs CAP_SYS_ADMIN (seccomp(2)).
		c.exitListener()
		c.seccomp()
	}
	if err := c.groups(); err != nil {
		return err
	}
	uid, gid := int(p.User.UID), int(p.User.GID)
	if p.User.UID == noChange {
		return fmt.Errorf("process.user.uid: %d is no user: the kernel takes it for \"as before\", which is root", p.User.UID)
	}
	if p.User.GID == noChange {
		return fmt.Errorf("process.user.gid: %d is no group: the kernel takes it for \"as before\", which is root's", p.User.GID)
	}
	c.call("setresgid", fmt.Sprintf("become group %d", gid), gid, gid, gid)
	c.call("setresuid", fmt.Sprintf("become user %d", uid), uid, uid, uid)
	c.capset(effective, permitted, inheritable)
	c.ambient(ambient)
	if p.NoNewPrivileges {
		c.call("prctl", "no execve may give privileges", named(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"), 1, 0, 0, 0)
	}
	return nil
}

// noChange is what setresuid(2) and setresgid(2) take for "leave it as it is".
const noChange = 1<<32 - 1

// groups sets the supplementary groups. In a user namespace whose setgroups
// file says "deny" the call fails, and there is nothing to give up.
func (c *compiler) groups() error {
	gids := c.spec.Process.User.AdditionalGids
	if len(gids) > 65536 { // NGROUPS_MAX (linux/limits.h)
		return fmt.Errorf("process.user.additionalGids: more than 65536")
	}
	if len(gids) == 0 {
		step := c.call("setgroups", "have no supplementary groups", 0, 0)
		if c.ns.Has(unix.CLONE_NEWUSER) || c.opt.Host.UserNamespace {
			step.tolerate(unix.EPERM)
		}
		return nil
	}
	raw := make([]byte, 0, 4*len(gids))
	for i, gid := range gids {
		if gid == noChange {
			return fmt.Errorf("process.user.additionalGids[%d]: %d is no group", i, gid)
		}
		raw = binary.LittleEndian.AppendUint32(raw, gid)
	}
	list := c.bytes(raw, strings.ReplaceAll(fmt.Sprint(gids), " ", ", "))
	c.call("setgroups", "set the supplementary groups", len(gids), list)
	return nil
}

// capset sets the three sets of the thread (capset(2), version 3: two words a set).
func (c *compiler) capset(effective, permitted, inheritable uint64) {
	header := c.record("{_LINUX_CAPABILITY_VERSION_3, 0}", uint32(unix.LINUX_CAPABILITY_VERSION_3), int32(0))
	lo, hi := func(s uint64) uint32 { return uint32(s) }, func(s uint64) uint32 { return uint32(s >> 32) }
	data := c.record(fmt.Sprintf("{effective=%#x, permitted=%#x, inheritable=%#x}", effective, permitted, inheritable),
		lo(effective), lo(permitted), lo(inheritable), hi(effective), hi(permitted), hi(inheritable))
	c.call("capset", "set effective, permitted and inheritable capabilities", header, data)
}

func (c *compiler) ambient(set uint64) {
	c.call("prctl", "clear the ambient capabilities", named(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"), named(unix.PR_CAP_AMBIENT_CLEAR_ALL, "PR_CAP_AMBIENT_CLEAR_ALL"), 0, 0, 0)
	for number := range capabilityNames {
		if set>>number&1 == 1 {
			c.call("prctl", "raise "+capName(number)+" in the ambient set", named(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"), named(unix.PR_CAP_AMBIENT_RAISE, "PR_CAP_AMBIENT_RAISE"), named(uint64(number), capName(number)), 0, 0)
		}
	}
}

func capName(number int) string {
	if number < len(capabilityNames) {
		return capabilityNames[number]
	}
	return fmt.Sprintf("capability %d", number)
}

// stdio hands pipes of the caller over to the user of the process, who could
// not open /dev/stdout otherwise.
func (c *compiler) stdio() {
	for _, fd := range c.opt.ChownStdio {
		c.call("fchown", fmt.Sprintf("give descriptor %d to the user", fd), fd, int(c.spec.Process.User.UID), -1).tolerate(unix.EPERM, unix.EINVAL, unix.EROFS)
	}
}
