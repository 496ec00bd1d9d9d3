package seccomp

import (
	"errors"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Actions lists the actions that [Compile] takes, sorted.
func Actions() []string {
	names := []string{string(specs.ActErrno), string(specs.ActTrace)}
	return sortedNames(names, plainActions)
}

// Operators lists the operators that [Compile] takes, sorted.
func Operators() []string { return sortedNames(nil, operators) }

// Architectures lists the architectures that a profile may name, sorted; of
// most of them no call can come on this machine.
func Architectures() []string {
	var foreign []string
	for _, name := range foreignArches {
		foreign = append(foreign, string(name))
	}
	return sortedNames(foreign, archNames)
}

// Flags lists the flags that a profile may have, sorted.
func Flags() []string { return sortedNames(nil, flagBits) }

// SupportedFlags lists those of them that the running kernel takes, sorted. It
// asks with a filter that cannot be read: a kernel that knows the flags says
// EFAULT, another EINVAL (seccomp(2), SECCOMP_SET_MODE_FILTER).
func SupportedFlags() []string {
	return slices.DeleteFunc(Flags(), func(name string) bool {
		bits := flagBits[specs.LinuxSeccompFlag(name)]
		if bits == unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV {
			bits |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER // refused without
		}
		_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(bits), 0)
		return !errors.Is(errno, unix.EFAULT)
	})
}

// sortedNames adds the keys of a table to names and sorts them.
func sortedNames[K ~string, V any](names []string, table map[K]V) []string {
	for name := range table {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}
