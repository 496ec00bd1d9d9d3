package seccomp

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxErrno is the greatest errno that a system call can return (MAX_ERRNO in linux/err.h); the kernel
// cuts a filter's errno to it.
const maxErrno = 4095

// refuseENOSYS is what a filter returns for calls that are to look unknown to the kernel.
const refuseENOSYS = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

// parseAction returns the value that a filter returns for an action (seccomp(2), SECCOMP_RET_*). The low
// 16 bits of ERRNO are the errno, those of TRACE the message for the tracer; both are EPERM when not
// given, as config-linux.md says.
func parseAction(action specs.LinuxSeccompAction, errnoRet *uint) (uint32, error) {
	data := func(limit uint) (uint32, error) {
		if errnoRet == nil {
			return uint32(unix.EPERM), nil
		}
		if *errnoRet > limit {
			return 0, fmt.Errorf("errno %d of action %s is too great: the kernel takes at most %d", *errnoRet, action, limit)
		}
		return uint32(*errnoRet), nil
	}
	switch action {
	case specs.ActErrno:
		errno, err := data(maxErrno)
		return unix.SECCOMP_RET_ERRNO | errno, err
	case specs.ActTrace:
		message, err := data(unix.SECCOMP_RET_DATA)
		return unix.SECCOMP_RET_TRACE | message, err
	}
	value, ok := plainActions[action]
	if !ok {
		return 0, fmt.Errorf("unknown action %q: use one of the SCMP_ACT_ constants of the runtime specification", action)
	}
	if errnoRet != nil {
		return 0, fmt.Errorf("action %s cannot carry errno %d: remove it, or use %s", action, *errnoRet, specs.ActErrno)
	}
	return value, nil
}

// plainActions are the actions that carry no value.
var plainActions = map[specs.LinuxSeccompAction]uint32{
	specs.ActKill:        unix.SECCOMP_RET_KILL_THREAD,
	specs.ActKillThread:  unix.SECCOMP_RET_KILL_THREAD,
	specs.ActKillProcess: unix.SECCOMP_RET_KILL_PROCESS,
	specs.ActTrap:        unix.SECCOMP_RET_TRAP,
	specs.ActNotify:      unix.SECCOMP_RET_USER_NOTIF,
	specs.ActLog:         unix.SECCOMP_RET_LOG,
	specs.ActAllow:       unix.SECCOMP_RET_ALLOW,
}

// permits says whether an action lets a call happen. A tracer is taken to: it sees the call and decides.
func permits(action uint32) bool {
	switch action & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_TRACE:
		return true
	}
	return false
}
