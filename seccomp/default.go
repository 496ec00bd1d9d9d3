package seccomp

import (
	"math"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Default returns winbox's own profile, for containers that run Windows programs with Wine and for
// ordinary Linux programs beside them. The caller owns the result and may change it: take
// SCMP_ARCH_X86 from the architectures for a container without 32-bit programs.
//
//   - What an unprivileged program can do within its own container is allowed. What needs a capability,
//     or reaches objects that no namespace separates (keyrings, io_uring, BPF), is refused with EPERM.
//   - All else, and so every call that is newer than this list, gets ENOSYS: the C library then takes the
//     way that it has for older kernels.
//   - clone3(2) gets ENOSYS as well, since a filter cannot read its flags; clone(2) is allowed but for
//     new namespaces.
//   - It relies on rules for one call being tried in order, see [Compile].
func Default() *specs.LinuxSeccomp {
	enosys := uint(unix.ENOSYS)
	return &specs.LinuxSeccomp{
		DefaultAction:   specs.ActErrno,
		DefaultErrnoRet: &enosys,
		Architectures:   []specs.Arch{specs.ArchX86_64, specs.ArchX86},
		Syscalls: slices.Concat(
			[]specs.LinuxSyscall{
				{Names: slices.Concat(defaultAllowed...), Action: specs.ActAllow},
				refuse(unix.EPERM, slices.Concat(defaultPrivileged...)...),
				refuse(unix.ENOSYS, "clone3"),
			},
			defaultClone(),
			defaultPersonality(),
			defaultSocket(),
			defaultIoctl(),
			defaultUserfaultfd(),
		),
	}
}

// refuse is a rule without conditions.
func refuse(errno unix.Errno, names ...string) specs.LinuxSyscall {
	value := uint(errno)
	return specs.LinuxSyscall{Names: names, Action: specs.ActErrno, ErrnoRet: &value}
}

// bitsAre is the condition that a 32-bit argument has a value in the bits of a mask. The kernel cuts int
// arguments to 32 bits, so no more may be compared.
func bitsAre(index uint, mask, value uint32) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpMaskedEqual, Value: uint64(mask), ValueTwo: uint64(value)}
}

// anything is a condition that always holds. Rules without conditions come before all that have one; a
// rule with this one comes where it stands.
var anything = specs.LinuxSeccompArg{Index: 0, Op: specs.OpGreaterEqual, Value: 0}

// when is a rule that allows a call under one condition.
func when(name string, condition specs.LinuxSeccompArg) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{condition}}
}

// otherwise is a rule that refuses a call when those before it do not allow it.
func otherwise(name string, errno unix.Errno) specs.LinuxSyscall {
	return refuseWhen(name, anything, errno)
}

// refuseWhen is a rule that refuses a call under one condition.
func refuseWhen(name string, condition specs.LinuxSeccompArg, errno unix.Errno) specs.LinuxSyscall {
	rule := refuse(errno, name)
	rule.Args = []specs.LinuxSeccompArg{condition}
	return rule
}

// defaultClone refuses new namespaces: inside a new user namespace a program has all capabilities, and
// with them all of the kernel that this profile is to keep away. EPERM is what programs expect.
func defaultClone() []specs.LinuxSyscall {
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	return []specs.LinuxSyscall{
		when("clone", bitsAre(0, namespaces, 0)),
		otherwise("clone", unix.EPERM),
	}
}

// defaultPersonality allows a query, and the flags that move or number things differently for the
// process itself: 32-bit machine name, 2.6 kernel version, no randomisation, old memory layout and
// smaller address spaces. Windows containers run with ADDR_NO_RANDOMIZE, so that a program that takes its
// personality and adds a flag passes it back. Not READ_IMPLIES_EXEC and MMAP_PAGE_ZERO, which undo
// protections, nor other systems' personalities, which lead into code that few people use or review.
func defaultPersonality() []specs.LinuxSyscall {
	const (
		query        = 0xffffffff
		perLinux32   = 0x0008
		uname26      = 0x0020000
		noRandomize  = 0x0040000
		compatLayout = 0x0200000
		limit32bit   = 0x0800000
		limit3GB     = 0x8000000
		harmless     = perLinux32 | uname26 | noRandomize | compatLayout | limit32bit | limit3GB
	)
	return []specs.LinuxSyscall{
		when("personality", bitsAre(0, ^uint32(harmless), 0)),
		when("personality", bitsAre(0, math.MaxUint32, query)),
		otherwise("personality", unix.EPERM),
	}
}

// defaultSocket allows the families that programs use: local, IPv4, IPv6, netlink (interface lists), and
// packet, which asks for CAP_NET_RAW itself. Others load kernel modules on demand (AF_ALG, AF_TIPC,
// AF_BLUETOOTH, ...) or reach the hypervisor (AF_VSOCK). EAFNOSUPPORT is the answer of a kernel without
// them. It does not bind 32-bit programs: socketcall(2) must be allowed, since Debian's i386 C library
// makes all socket calls through it.
func defaultSocket() []specs.LinuxSyscall {
	var rules []specs.LinuxSyscall
	for _, family := range []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET} {
		rules = append(rules, when("socket", bitsAre(0, math.MaxUint32, family)))
	}
	return append(rules, otherwise("socket", unix.EAFNOSUPPORT))
}

// defaultIoctl refuses to type into the terminal (TIOCSTI) and to paste on the console (TIOCLINUX): a
// program started from a shell could run commands outside its container.
func defaultIoctl() []specs.LinuxSyscall {
	const tioclinux = 0x541c
	return []specs.LinuxSyscall{
		refuseWhen("ioctl", bitsAre(1, math.MaxUint32, unix.TIOCSTI), unix.EPERM),
		refuseWhen("ioctl", bitsAre(1, math.MaxUint32, tioclinux), unix.EPERM),
		when("ioctl", anything),
	}
}

// defaultUserfaultfd allows it for faults of user space alone, with which Wine watches writes to memory.
// Stopping the kernel in the middle of a copy is what exploits want it for.
func defaultUserfaultfd() []specs.LinuxSyscall {
	const userModeOnly = 1 // UFFD_USER_MODE_ONLY
	return []specs.LinuxSyscall{
		when("userfaultfd", bitsAre(0, userModeOnly, userModeOnly)),
		otherwise("userfaultfd", unix.EPERM),
	}
}

// defaultAllowed are the calls that are allowed whatever their arguments, by topic.
var defaultAllowed = [][]string{
	{ // Files and directories. mknod is for pipes; devices need a capability of their own.
		"_llseek", "access", "chdir", "chmod", "chown", "chown32", "close", "close_range", "copy_file_range",
		"creat", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate",
		"fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl", "fcntl64",
		"fdatasync", "file_getattr", "file_setattr", "flock", "fstat", "fstat64", "fstatat64", "fstatfs",
		"fstatfs64", "fsync", "ftruncate", "ftruncate64", "futimesat", "getcwd", "getdents", "getdents64",
		"lchown", "lchown32", "link", "linkat", "lseek", "lstat", "lstat64", "mkdir", "mkdirat", "mknod",
		"mknodat", "newfstatat", "oldfstat", "oldlstat", "oldstat", "open", "openat", "openat2", "pread64",
		"preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readdir", "readlink",
		"readlinkat", "readv", "rename", "renameat", "renameat2", "rmdir", "sendfile", "sendfile64", "splice",
		"stat", "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync", "sync_file_range",
		"syncfs", "tee", "truncate", "truncate64", "umask", "unlink", "unlinkat", "utime", "utimensat",
		"utimensat_time64", "utimes", "vmsplice", "write", "writev",
		// Mounts can be looked at, as in /proc/self/mountinfo.
		"listmount", "statmount",
		// A handle is harmless without open_by_handle_at, and udev and glibc's fts ask for one to tell
		// mounts apart.
		"name_to_handle_at",
	},
	{ // Extended attributes
		"fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr",
		"listxattr", "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat",
		"setxattr", "setxattrat",
	},
	{ // Events and asynchronous input and output
		"_newselect", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
		"epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "fanotify_mark", "inotify_add_watch",
		"inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents",
		"io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit", "ioprio_get", "ioprio_set", "pipe",
		"pipe2", "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64", "select", "signalfd",
		"signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
		"timerfd_settime64",
	},
	{ // Sockets, but for socket itself. socketcall stands for all of them on i386.
		"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv",
		"recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto",
		"setsockopt", "shutdown", "socketcall", "socketpair",
	},
	{ // Memory. Wine lays out whole address spaces with it.
		"brk", "cachestat", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret",
		"mincore", "mlock", "mlock2", "mlockall", "mmap", "mmap2", "mprotect", "mremap", "mseal", "msync",
		"munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "process_mrelease",
		"remap_file_pages",
	},
	{ // Segments of x86: Wine's 16-bit and 32-bit code has its thread block in %fs through an LDT or
		// GDT entry, its 64-bit code in %gs.
		"arch_prctl", "get_thread_area", "modify_ldt", "set_thread_area",
	},
	{ // Processes and threads
		"execve", "execveat", "exit", "exit_group", "fork", "futex", "futex_requeue", "futex_time64",
		"futex_wait", "futex_waitv", "futex_wake", "get_robust_list", "getpgid", "getpgrp", "getpid",
		"getppid", "getpriority", "getsid", "gettid", "nice", "pidfd_open", "pidfd_send_signal", "prctl",
		"restart_syscall", "rseq", "rseq_slice_yield", "set_robust_list", "set_tid_address", "setpgid",
		"setpriority", "setsid", "vfork", "wait4", "waitid", "waitpid",
	},
	{ // Other processes' memory and registers: the wineserver serves ReadProcessMemory,
		// WriteProcessMemory and GetThreadContext with them. The kernel checks that the caller may trace
		// the other (ptrace(2), "Ptrace access mode checking"); since Linux 4.8 a tracer cannot get
		// round a filter.
		"process_vm_readv", "process_vm_writev", "ptrace",
	},
	{ // Scheduling
		"getcpu", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
		"sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
		"sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
	},
	{ // Signals. rt_sigreturn and friends are what every handler ends with; the uprobe calls are
		// made by probes that the host has put into a program.
		"alarm", "getitimer", "kill", "pause", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
		"rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
		"rt_tgsigqueueinfo", "setitimer", "sgetmask", "sigaction", "sigaltstack", "signal", "sigpending",
		"sigprocmask", "sigreturn", "sigsuspend", "ssetmask", "tgkill", "tkill", "uprobe", "uretprobe",
	},
	{ // Identity. The kernel refuses what needs a capability; capset can only give up.
		"capget", "capset", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
		"getgroups32", "getresgid", "getresgid32", "getresuid", "getresuid32", "getuid", "getuid32",
		"setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32",
		"setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid",
		"setreuid32", "setuid", "setuid32",
	},
	{ // Time. adjtimex and clock_adjtime are also how to read.
		"adjtimex", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
		"clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "gettimeofday", "nanosleep", "time",
		"timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64",
		"timer_settime", "timer_settime64", "times",
	},
	{ // Limits and the machine
		"getrandom", "getrlimit", "getrusage", "olduname", "oldolduname", "prlimit64", "setrlimit", "sysinfo",
		"ugetrlimit", "uname",
	},
	{ // System V and POSIX messages, semaphores and shared memory; ipc stands for the former on i386.
		"ipc", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64",
		"mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl",
		"semget", "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
	},
	{ // Sandboxes that a program builds for itself; they only take away.
		"landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp",
	},
}

// defaultPrivileged are the calls that are refused with EPERM.
var defaultPrivileged = [][]string{
	// CAP_SYS_ADMIN: mounts, namespaces, host name, quotas, file system events of others
	{
		"fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr",
		"move_mount", "open_tree", "open_tree_attr", "pivot_root", "quotactl", "quotactl_fd", "setdomainname",
		"sethostname", "setns", "swapoff", "swapon", "umount", "umount2", "unshare",
	},
	// CAP_SYS_MODULE, CAP_SYS_BOOT, CAP_SYS_PACCT, CAP_SYSLOG, CAP_SYS_CHROOT, CAP_SYS_TTY_CONFIG
	{
		"acct", "chroot", "create_module", "delete_module", "finit_module", "init_module", "kexec_file_load",
		"kexec_load", "reboot", "syslog", "vhangup",
	},
	// CAP_SYS_TIME, CAP_SYS_RAWIO
	{"clock_settime", "clock_settime64", "ioperm", "iopl", "settimeofday", "stime"},
	// CAP_SYS_NICE: memory of other nodes and processes
	{
		"get_mempolicy", "mbind", "migrate_pages", "move_pages", "process_madvise", "set_mempolicy",
		"set_mempolicy_home_node",
	},
	// CAP_SYS_PTRACE: what is open in other processes
	{"kcmp", "pidfd_getfd"},
	// CAP_DAC_READ_SEARCH: opens any file of a file system, also outside the container's root
	{"open_by_handle_at"},
	// CAP_BPF, CAP_PERFMON: code in the kernel, and what it counts
	{"bpf", "perf_event_open"},
	// Not separated by any namespace
	{"add_key", "keyctl", "request_key"},
	// Runs operations that no filter sees
	{"io_uring_enter", "io_uring_register", "io_uring_setup"},
}
