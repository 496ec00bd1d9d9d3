package program

import "golang.org/x/sys/unix"

// number gives the number of a system call; programs are made of these. A table
// would be made at the start of every command.
func number(name string) (uint32, bool) {
	switch name {
	case "accept4":
		return unix.SYS_ACCEPT4, true
	case "capset":
		return unix.SYS_CAPSET, true
	case "chdir":
		return unix.SYS_CHDIR, true
	case "chroot":
		return unix.SYS_CHROOT, true
	case "close_range":
		return unix.SYS_CLOSE_RANGE, true
	case "dup3":
		return unix.SYS_DUP3, true
	case "execve":
		return unix.SYS_EXECVE, true
	case "faccessat":
		return unix.SYS_FACCESSAT, true
	case "fchdir":
		return unix.SYS_FCHDIR, true
	case "fchmodat":
		return unix.SYS_FCHMODAT, true
	case "fchown":
		return unix.SYS_FCHOWN, true
	case "fchownat":
		return unix.SYS_FCHOWNAT, true
	case "fsconfig":
		return unix.SYS_FSCONFIG, true
	case "fsetxattr":
		return unix.SYS_FSETXATTR, true
	case "fsmount":
		return unix.SYS_FSMOUNT, true
	case "fsopen":
		return unix.SYS_FSOPEN, true
	case "fspick":
		return unix.SYS_FSPICK, true
	case "fstat":
		return unix.SYS_FSTAT, true
	case "fstatfs":
		return unix.SYS_FSTATFS, true
	case "getcwd":
		return unix.SYS_GETCWD, true
	case "ioctl":
		return unix.SYS_IOCTL, true
	case "ioprio_set":
		return unix.SYS_IOPRIO_SET, true
	case "keyctl":
		return unix.SYS_KEYCTL, true
	case "mkdirat":
		return unix.SYS_MKDIRAT, true
	case "mknodat":
		return unix.SYS_MKNODAT, true
	case "mount_setattr":
		return unix.SYS_MOUNT_SETATTR, true
	case "move_mount":
		return unix.SYS_MOVE_MOUNT, true
	case "open_tree":
		return unix.SYS_OPEN_TREE, true
	case "openat":
		return unix.SYS_OPENAT, true
	case "openat2":
		return unix.SYS_OPENAT2, true
	case "personality":
		return unix.SYS_PERSONALITY, true
	case "pipe2":
		return unix.SYS_PIPE2, true
	case "pivot_root":
		return unix.SYS_PIVOT_ROOT, true
	case "prctl":
		return unix.SYS_PRCTL, true
	case "prlimit64":
		return unix.SYS_PRLIMIT64, true
	case "read":
		return unix.SYS_READ, true
	case "recvfrom":
		return unix.SYS_RECVFROM, true
	case "renameat":
		return unix.SYS_RENAMEAT, true
	case "sched_setaffinity":
		return unix.SYS_SCHED_SETAFFINITY, true
	case "sched_setattr":
		return unix.SYS_SCHED_SETATTR, true
	case "seccomp":
		return unix.SYS_SECCOMP, true
	case "sendmsg":
		return unix.SYS_SENDMSG, true
	case "sendto":
		return unix.SYS_SENDTO, true
	case "set_mempolicy":
		return unix.SYS_SET_MEMPOLICY, true
	case "setdomainname":
		return unix.SYS_SETDOMAINNAME, true
	case "setgroups":
		return unix.SYS_SETGROUPS, true
	case "sethostname":
		return unix.SYS_SETHOSTNAME, true
	case "setns":
		return unix.SYS_SETNS, true
	case "setresgid":
		return unix.SYS_SETRESGID, true
	case "setresuid":
		return unix.SYS_SETRESUID, true
	case "setsid":
		return unix.SYS_SETSID, true
	case "socket":
		return unix.SYS_SOCKET, true
	case "symlinkat":
		return unix.SYS_SYMLINKAT, true
	case "umask":
		return unix.SYS_UMASK, true
	case "umount2":
		return unix.SYS_UMOUNT2, true
	case "unlinkat":
		return unix.SYS_UNLINKAT, true
	case "unshare":
		return unix.SYS_UNSHARE, true
	case "write":
		return unix.SYS_WRITE, true
	}
	return 0, false
}
