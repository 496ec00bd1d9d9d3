package program

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Options is what [Compile] needs to know beside the spec: how the container
// is to be started, and facts of the host.
type Options struct {
	ID     string
	Bundle string // absolute; relative bind sources and the root are below it

	// Control and Listen are descriptor numbers in the init ELF: the socket
	// to the runtime, and the listening socket that `start` connects to (-1:
	// start at once). Descriptors from 3 to 2+Preserve are the program's.
	Control  int
	Listen   int
	Preserve int

	// Supervise keeps the init ELF as process 1 of the container, or as the parent
	// of a process that is executed in it ([CompileExec]). When the main
	// process has ended, it waits for those that outlive it if Linger is set, then
	// gives them StopGrace milliseconds after SIGTERM, and leaves the main one's
	// exit code in the file with the descriptor Status (0: nowhere), whole if
	// ExitFilter, which notifies of exit_group(2), can be loaded.
	Supervise bool
	Linger    bool
	StopGrace int
	Status    int
	// Stops are programs, with their arguments, that it executes when it gets a
	// signal, to ask the main process to stop. It passes other signals on, and
	// these, too, when the program fails.
	Stops map[unix.Signal][]string
	// Resize is a program, with its arguments, that it executes when the size of
	// the terminal has changed: with one more argument, such as 00080x00025.
	Resize []string
	// Hold is a descriptor that it keeps open to its end; 0: none.
	Hold            int
	ExitFilter      []byte
	ExitFilterFlags uint64
	// OOMEvent and OOMCount are the descriptors of [cgroup.Group.OOMFiles], by which
	// it ends the container when one of its processes was killed for want of memory;
	// 0: the kernel does that.
	OOMEvent, OOMCount int

	// Helpers are started before the main process of a supervised container.
	Helpers []Helper

	// MountFiles are the numbers of descriptors for id-mapped mounts (see
	// [IDMapping]), by the index of the mount: a bind mount as it is to be
	// attached, or the user namespace with the mappings of another one.
	MountFiles map[int]int
	// Overlays are further wishes for overlays, by the index of the mount.
	Overlays map[int]Overlay

	// Hooks makes the program wait, before it enters its root, until the
	// runtime has run the hooks that belong there.
	Hooks bool

	// NoRandomize switches address-space randomisation off (personality(2)).
	NoRandomize bool
	// NoPivot replaces pivot_root by chroot, for a root that is an initramfs.
	NoPivot bool
	// NoNewKeyring leaves the container the caller's session keyring.
	NoNewKeyring bool
	// Seccomp is a filter (array of struct sock_filter); SeccompFlags go to seccomp(2).
	Seccomp      []byte
	SeccompFlags uint64
	// MemoryFiles is where the container sees the files of its control group with
	// the memory controller, read-only; empty for nowhere. Of Host.Cgroups, it is
	// that with "memory" among its options, or the only one.
	MemoryFiles string
	// ChownStdio lists the standard descriptors to hand over to the process's user.
	ChownStdio []int

	Host Host
}

// Host holds facts of the host, read before compiling.
type Host struct {
	// LastCap is the highest capability of the kernel (/proc/sys/kernel/cap_last_cap).
	LastCap int
	// Permitted is the caller's permitted set: what it lacks it cannot give.
	Permitted uint64
	// UserNamespace tells that winbox itself runs in a user namespace, where
	// device nodes cannot be made.
	UserNamespace bool
	// NoSetgroups tells that the id mappings of a new user namespace are the
	// caller's own ids, which are written without privilege: setgroups(2) is
	// denied then (user_namespaces(7)).
	NoSetgroups bool
	// CloneDetached tells that the kernel can clone a mount that is not attached
	// anywhere, which Linux 6.15 learned. Without, each masked directory gets a
	// file system of its own.
	CloneDetached bool
	// AppArmor and SELinux tell whether these security modules are active.
	AppArmor, SELinux bool
	// IsDir tells whether the source of a bind mount is a directory.
	IsDir func(path string) (bool, error)
	// Cgroups is what a mount of type cgroup shows.
	Cgroups []CgroupMount
	// RootParent is the mount point that holds the root file system, where it may
	// still be shared with the host because of linux.rootfsPropagation.
	RootParent string
}

// CgroupMount is one hierarchy of control groups.
type CgroupMount struct {
	// Name is the directory in the container ("cpu,cpuacct"); empty on cgroup v2.
	Name string
	// Options are the mount options of the hierarchy ("cpu,cpuacct", "name=systemd").
	Options string
	// Path is the container's own group as a directory of the host.
	Path string
	// Otherwise is what is shown where Path is missing because the caller may not make groups; empty when that is an error.
	Otherwise string
}

// namespaceFlags are the namespace types of the runtime spec (config-linux.md,
// "Namespaces") in the order in which existing ones are joined: the user
// namespace first, as it owns the others; the mount namespace last but for
// those that need no path any more.
var namespaceFlags = []struct {
	kind specs.LinuxNamespaceType
	flag int
	text string
}{
	{specs.UserNamespace, unix.CLONE_NEWUSER, "CLONE_NEWUSER"},
	{specs.IPCNamespace, unix.CLONE_NEWIPC, "CLONE_NEWIPC"},
	{specs.UTSNamespace, unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
	{specs.NetworkNamespace, unix.CLONE_NEWNET, "CLONE_NEWNET"},
	{specs.PIDNamespace, unix.CLONE_NEWPID, "CLONE_NEWPID"},
	{specs.CgroupNamespace, unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
	{specs.TimeNamespace, unix.CLONE_NEWTIME, "CLONE_NEWTIME"},
	{specs.MountNamespace, unix.CLONE_NEWNS, "CLONE_NEWNS"},
}

// Namespaces says how the namespaces of a spec come about.
type Namespaces struct {
	// New are the clone flags of the new ones.
	New int
	// Join are the paths of the existing ones, by their clone flag.
	Join map[int]string
}

// Has tells whether the container has its own or a joined namespace of the kind.
func (n Namespaces) Has(flag int) bool { return n.New&flag != 0 || n.Join[flag] != "" }

// CloneByProgram tells that the new namespaces are made by the program and not
// by the clone that starts the init ELF: existing ones have to be joined
// first, a user namespace gets its mappings without an execve after it, which
// would take the capabilities away, or a time namespace gets its offsets before
// anybody is in it.
func (n Namespaces) CloneByProgram() bool {
	return len(n.Join) > 0 || n.New&(unix.CLONE_NEWUSER|unix.CLONE_NEWTIME) != 0
}

// CloneFlags are the namespaces made by a clone. The cgroup namespace is not
// among them, since its root is the group that the process is in at that time;
// nor is the time namespace, which unshare(2) makes for children.
func (n Namespaces) CloneFlags() int {
	flags := n.New &^ (unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME)
	if n.Nested() {
		flags &^= unix.CLONE_NEWPID
	}
	return flags
}

// OwnPID gives the container a pid namespace of its own, if need be inside the
// one that it is to join. Who supervises processes must be able to tell them
// from others, and none may outlive it; the others see them all the same.
func (n *Namespaces) OwnPID() { n.New |= unix.CLONE_NEWPID }

// Nested tells that a pid namespace is made inside one that is joined. That
// takes a second clone, by a process that is in the joined one already.
func (n Namespaces) Nested() bool {
	return n.New&unix.CLONE_NEWPID != 0 && n.Join[unix.CLONE_NEWPID] != ""
}

// ParseNamespaces reads linux.namespaces.
//
// # Errors
//
// A type that is unknown, listed twice, or not supported yet.
func ParseNamespaces(spec *specs.Spec) (Namespaces, error) {
	ns := Namespaces{Join: map[int]string{}}
	if spec.Linux == nil {
		return ns, nil
	}
next:
	for i, entry := range spec.Linux.Namespaces {
		for _, known := range namespaceFlags {
			if known.kind != entry.Type {
				continue
			}
			if ns.Has(known.flag) {
				return ns, fmt.Errorf("linux.namespaces[%d]: namespace %q is listed twice", i, entry.Type)
			}
			if entry.Path == "" {
				ns.New |= known.flag
			} else {
				ns.Join[known.flag] = entry.Path
			}
			continue next
		}
		return ns, fmt.Errorf("linux.namespaces[%d]: namespace %q is not supported", i, entry.Type)
	}
	return ns, nil
}

// compiler carries the state of one compilation.
type compiler struct {
	*builder
	spec *specs.Spec
	opt  Options
	ns   Namespaces
	root Register // the root file system's mount
	// rootMounted tells that the root is mounted although there is no mount namespace: see MountsOnHost.
	rootMounted bool
	// channel is the socket to whoever waits for the program to get on.
	channel Operand
	// exits is what tells of exit codes; 0 is none.
	exits Operand
	// joins tells that the program joins a container that exists.
	joins bool
	// proc is the host's, while files of it are written to.
	proc Register
	// kernel are the mounts of proc and sysfs, in their order.
	kernel []kernelMount
	// devnull and empty are made when the first masked path needs them: the
	// host's /dev/null, and an empty read-only tmpfs.
	devnull, empty Register
}

func newCompiler(spec *specs.Spec, opt Options, ns Namespaces) *compiler {
	return &compiler{builder: newBuilder(opt.Control), spec: spec, opt: opt, ns: ns, channel: Operand{Value: uint64(opt.Control)}}
}

// Compile makes the program that builds the container of spec and executes its
// process.
//
// # Errors
//
// Every error names the field of config.json that cannot be carried out.
func Compile(spec *specs.Spec, opt Options) (*Program, error) {
	ns, err := ParseNamespaces(spec)
	if err != nil {
		return nil, err
	}
	if spec.Process == nil || len(spec.Process.Args) == 0 {
		return nil, errors.New("process.args: empty")
	}
	if spec.Linux == nil {
		return nil, errors.New("linux: the section is missing")
	}
	if opt.Supervise {
		ns.OwnPID()
	}
	c := newCompiler(spec, opt, ns)
	c.rootMounted = MountsOnHost(spec, ns)
	return c.carryOut(
		c.check,
		c.users,
		c.oomScore, // in a user namespace the file would not be the process's own any more
		c.namespaces,
		c.network,
		c.names,
		c.sysctls,
		c.confine,
		c.rootfs,
		c.mounts,
		c.protectOverlays,
		c.devices,
		c.console,
		c.protectedPaths,
		c.hooks,
		c.enterRoot,
		c.findExecutable,
		c.execAffinity,
		c.memoryPolicy,
		c.scheduling,
		c.limits,
		c.personality,
		c.waitForStart,
		c.narrowLimits,
		c.helpers,
		c.identity,
		c.execute,
	)
}

// carryOut compiles phase after phase.
func (c *compiler) carryOut(phases ...func() error) (*Program, error) {
	for _, phase := range phases {
		if err := phase(); err != nil {
			return nil, err
		}
	}
	return c.finish()
}

// check refuses what does not go together, before anything of it is carried out.
func (c *compiler) check() error {
	l := c.spec.Linux
	for clock := range l.TimeOffsets {
		if clock != "monotonic" && clock != "boottime" {
			return fmt.Errorf("linux.timeOffsets: there is no clock %q", clock)
		}
		if c.ns.New&unix.CLONE_NEWTIME == 0 {
			return errors.New("linux.timeOffsets: they need a new time namespace")
		}
	}
	if len(l.NetDevices) > 0 && !c.ns.Has(unix.CLONE_NEWNET) {
		return errors.New("linux.netDevices: they need a network namespace of the container's own")
	}
	return c.checkLabels()
}

const atFdcwd = uint64(1<<64 - 100) // AT_FDCWD, -100 (fcntl.h)

func cwdFD() Operand { return named(atFdcwd, "AT_FDCWD") }

// namespaces joins and makes the namespaces, and waits until the runtime has
// put the process into its control groups and written the id mappings.
func (c *compiler) namespaces() error {
	c.call("umask", "modes are given in full below", 0)
	if c.labelled() || len(c.ns.Join) > 0 && len(c.spec.Linux.Sysctl)+len(c.spec.Linux.TimeOffsets) > 0 {
		c.openProc()
	}
	if c.ns.CloneByProgram() {
		c.joinAndClone()
	}
	c.session()
	c.await("wait for control groups and id mappings")
	if c.ns.Has(unix.CLONE_NEWUSER) {
		c.becomeMappedRoot()
	}
	c.keyring()
	c.hide()
	if c.ns.New&unix.CLONE_NEWCGROUP != 0 {
		c.call("unshare", "new cgroup namespace", named(unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"))
	}
	return nil
}

// session leads a session of its own, to which a terminal can belong
// (setsid(2)); whoever is the first of a process group already, is refused and
// has one.
func (c *compiler) session() {
	c.call("setsid", "leave the session of the caller").tolerate(unix.EPERM)
}

// keyring gives the container a session keyring of its own: else the keys of
// the caller's session would be the container's (session-keyring(7)). Not
// every kernel has keys.
func (c *compiler) keyring() {
	if c.opt.NoNewKeyring {
		return
	}
	label := ""
	if c.spec.Process != nil {
		label = c.spec.Process.SelinuxLabel
	}
	c.labelKeys(label)
	c.call("keyctl", "have a session keyring of its own", named(unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"), "_ses."+c.opt.ID).
		tolerate(unix.ENOSYS, unix.EPERM, unix.EDQUOT)
	c.labelKeys("")
}

// hide keeps other processes from looking into the set-up; execve makes the
// program's own process readable again (PR_SET_DUMPABLE(2const)).
func (c *compiler) hide() {
	c.call("prctl", "no other process may trace the set-up", named(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), 0, 0, 0, 0)
}

// await waits for a byte from the runtime.
func (c *compiler) await(note string) {
	c.call("recvfrom", note, c.opt.Control, c.bytes(make([]byte, 8), "&go"), 1, 0, 0, 0).nonZero()
}

// hooks lets the runtime run the hooks that see the mounts but not yet the new
// root (config.md, "createRuntime Hooks" and "createContainer Hooks").
func (c *compiler) hooks() error {
	if c.opt.Hooks {
		c.report(ReportHooks, 0, "report that hooks can run")
		c.await("wait until the hooks have run")
	}
	return nil
}

func (c *compiler) joinAndClone() {
	type joined struct {
		fd   Register
		flag Operand
		note string
	}
	var join []joined
	// All are opened first: after joining the mount namespace the paths may
	// mean something else.
	for _, known := range namespaceFlags {
		path := c.ns.Join[known.flag]
		if path == "" {
			continue
		}
		fd := c.register(string(known.kind) + "ns")
		c.call("openat", fmt.Sprintf("open %s namespace %s", known.kind, path), cwdFD(), path, openFlags(unix.O_RDONLY), 0).into(fd)
		join = append(join, joined{fd, named(uint64(known.flag), known.text), fmt.Sprintf("join %s namespace %s", known.kind, path)})
	}
	for _, j := range join {
		c.call("setns", j.note, j.fd, j.flag)
	}
	c.clone(c.ns.CloneFlags() &^ c.timeNamespace())
	if c.ns.Nested() {
		c.clone(unix.CLONE_NEWPID)
		// The number that clone(2) has returned in there means nothing to the runtime; who sends this does.
		c.report(ReportPID, 0, "report from the inner pid namespace")
	}
}

// timeNamespace makes a time namespace for the child to come and sets its
// clocks (time_namespaces(7)). A new user namespace is made with it, to which it
// belongs then: without root's rights it could not be made otherwise.
func (c *compiler) timeNamespace() (made int) {
	if c.ns.New&unix.CLONE_NEWTIME == 0 {
		return 0
	}
	if c.ns.New&unix.CLONE_NEWUSER != 0 {
		made = unix.CLONE_NEWUSER
		c.call("unshare", "new user namespace, and in it a new time namespace for the child", named(unix.CLONE_NEWUSER|unix.CLONE_NEWTIME, "CLONE_NEWUSER|CLONE_NEWTIME"))
	} else {
		c.call("unshare", "new time namespace for the child", named(unix.CLONE_NEWTIME, "CLONE_NEWTIME"))
	}
	for _, clock := range slices.Sorted(maps.Keys(c.spec.Linux.TimeOffsets)) {
		offset := c.spec.Linux.TimeOffsets[clock]
		line := fmt.Sprintf("%s %d %d\n", clock, offset.Secs, offset.Nanosecs)
		c.writeProc("self/timens_offsets", line, fmt.Sprintf("set the %s clock %d s and %d ns off", clock, offset.Secs, offset.Nanosecs))
	}
	return made
}

// clone goes on in a child, in new namespaces of these flags.
func (c *compiler) clone(flags int) {
	text := ""
	for _, known := range namespaceFlags {
		if flags&known.flag != 0 {
			text += known.text + "|"
		}
	}
	// CLONE_PARENT: the runtime, not this process, gets to wait for the child.
	c.special(OpClone, "clone", "enter the new namespaces",
		named(uint64(flags|unix.CLONE_PARENT|int(unix.SIGCHLD)), text+"CLONE_PARENT|SIGCHLD"))
}

// becomeMappedRoot takes user and group 0 of the user namespace where they are
// mapped: files are to be made by ids that exist there. What a joined
// namespace maps, only the kernel knows (EINVAL: not this).
func (c *compiler) becomeMappedRoot() {
	c.call("setresgid", "become group 0 of the user namespace", 0, 0, 0).tolerate(unix.EINVAL)
	c.call("setresuid", "become user 0 of the user namespace", 0, 0, 0).tolerate(unix.EINVAL)
}

// network brings the loopback interface of a new network namespace up
// (netdevice(7)); an address it has by itself.
func (c *compiler) network() error {
	if c.ns.New&unix.CLONE_NEWNET == 0 {
		return nil
	}
	sock := c.register("sock")
	c.call("socket", "open a socket to configure loopback", named(unix.AF_INET, "AF_INET"), named(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, "SOCK_DGRAM|SOCK_CLOEXEC"), 0).into(sock)
	var name [unix.IFNAMSIZ]byte
	copy(name[:], "lo")
	request := c.record(`{ifr_name="lo", ifr_flags=IFF_UP|IFF_RUNNING}`, name, uint16(unix.IFF_UP|unix.IFF_RUNNING), [22]byte{})
	c.call("ioctl", "bring loopback up", sock, named(unix.SIOCSIFFLAGS, "SIOCSIFFLAGS"), request)
	c.closeFrom(sock)
	return nil
}

// names sets host and domain name.
func (c *compiler) names() error {
	for _, n := range []struct{ call, field, value string }{
		{"sethostname", "hostname", c.spec.Hostname},
		{"setdomainname", "domainname", c.spec.Domainname},
	} {
		if n.value == "" {
			continue
		}
		if !c.ns.Has(unix.CLONE_NEWUTS) {
			return fmt.Errorf("%s: %q needs a uts namespace of the container's own", n.field, n.value)
		}
		if len(n.value) > 64 {
			return fmt.Errorf("%s: longer than 64 bytes", n.field)
		}
		c.call(n.call, "set "+n.field+" "+n.value, n.value, len(n.value))
	}
	return nil
}

// oomScore sets oom_score_adj; lowering it below the caller's own needs
// CAP_SYS_RESOURCE, and without it the container runs with a warning.
func (c *compiler) oomScore() error {
	adj := c.spec.Process.OOMScoreAdj
	if adj == nil {
		return nil
	}
	if *adj < -1000 || *adj > 1000 {
		return fmt.Errorf("process.oomScoreAdj: %d is not between -1000 and 1000", *adj)
	}
	fd := c.register("oom")
	c.call("openat", "open oom_score_adj", cwdFD(), "/proc/self/oom_score_adj", openFlags(unix.O_WRONLY), 0).into(fd)
	value := strconv.Itoa(*adj)
	done := c.label()
	note := "set oom_score_adj to " + value
	index := c.call("write", note, fd, value, len(value)).tolerate(unix.EACCES, unix.EPERM).ok(done).index
	c.report(ReportWarning, index, "warn that oom_score_adj stays").tolerate(unix.EPIPE)
	c.place(done)
	c.closeFrom(fd)
	return nil
}

// closeFrom closes descriptor r and all that were opened after it.
func (c *compiler) closeFrom(r Register) {
	c.call("close_range", "close what is no longer needed", r, named(0xffffffff, "~0"), 0)
}

// absolute makes a path of the bundle absolute.
func (c *compiler) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(c.opt.Bundle, path)
}
