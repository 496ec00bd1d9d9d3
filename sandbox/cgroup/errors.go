package cgroup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotDelegated says that the caller may not manage this part of the
	// cgroup tree, as is usual for a rootless caller without a delegated
	// sub-tree. A caller whose container asks for no limits may go on without a
	// group.
	ErrNotDelegated = errors.New("no permission to manage this cgroup; as an ordinary user, run inside a delegated sub-tree (cgroup v2, for example `systemd-run --user --scope -p Delegate=yes`)")

	// ErrUnsupported says that the kernel, or its version of cgroups, has no
	// means to enforce a limit. It is wrapped in a [LimitError].
	ErrUnsupported = errors.New("not supported here")

	// ErrFrozen says that the group is frozen: a process started in it would
	// stop before it began.
	ErrFrozen = errors.New("the cgroup is frozen; resume the container first")
)

// LimitError is a limit that could not be put in force.
type LimitError struct {
	// Field is the name in config.json, such as "linux.resources.memory.limit".
	Field string
	// File is the cgroup file that would hold the limit; a full path where the
	// group has that controller, else the bare name. It is empty when no
	// file of this cgroup version stands for the field.
	File string
	// Err is what the kernel said, or wraps [ErrUnsupported].
	Err error
}

func (e *LimitError) Error() string {
	if e.File == "" {
		return fmt.Sprintf("%s: %v", e.Field, e.Err)
	}
	return fmt.Sprintf("%s: write %s: %v", e.Field, e.File, e.Err)
}

func (e *LimitError) Unwrap() error { return e.Err }

// NotEmptyError says that a group exists already and has processes, so that it
// cannot become a new container's.
type NotEmptyError struct {
	// Dir is the directory of the group in one hierarchy.
	Dir string
	// Pids are the processes in it and below.
	Pids []int
}

// Error uses runc's words, which engines show to their users.
func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("container's cgroup is not empty: %d process(es) found in %s", len(e.Pids), e.Dir)
}

// permission reports whether err is one of the ways in which the kernel says
// that a cgroup is not the caller's to change. A container's own view of
// cgroups is often mounted read-only, hence EROFS.
func permission(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)
}
