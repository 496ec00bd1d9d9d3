package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Filter is a compiled profile: all that seccomp(2) needs to be told.
type Filter struct {
	// Program is the filter, at most 4096 instructions.
	Program []bpf.RawInstruction

	// Flags is the second argument of seccomp(SECCOMP_SET_MODE_FILTER): SECCOMP_FILTER_FLAG_* from the
	// profile's flags, and SECCOMP_FILTER_FLAG_NEW_LISTENER if Notify is set. Zero means that
	// prctl(PR_SET_SECCOMP) would do as well.
	Flags uint

	// Notify says that a rule has the action SCMP_ACT_NOTIFY: loading the filter returns a descriptor
	// that must be sent to the agent that listens at ListenerPath, with ListenerMetadata, as
	// config-linux.md ("The Container Process State") says. Without it both are empty.
	Notify           bool
	ListenerPath     string
	ListenerMetadata string

	// Skipped lists the names in the profile's rules that no architecture of this filter has, sorted.
	// Their rules have no effect: profiles are written for many kernels and machines.
	Skipped []string
}

// Compile translates a profile. The result is the same for the same profile on every machine.
//
// It follows what runc makes of a profile through libseccomp:
//   - Several conditions in one rule must all hold; but if two of them look at the same argument, each
//     stands alone and one is enough.
//   - Of several rules for one call, the first that has no conditions decides, wherever it stands.
//     Otherwise the first one whose conditions hold does, in the profile's order (libseccomp tries them in
//     an order of its own; it matters only where rules overlap and disagree).
//   - A rule whose action is also the default action is dropped.
//   - A call newer than every call that the profile names gets ENOSYS rather than the default action,
//     unless that is allow, log or trace: programs take ENOSYS for an old kernel and fall back, while
//     EPERM breaks them. "Newer" is a greater number, for each architecture by itself.
//   - SCMP_ACT_KILL kills the thread. A call of an architecture that is not listed kills the process
//     (libseccomp's default is the thread, which leaves a broken process behind).
//   - SCMP_ACT_NOTIFY is refused as default action and for write(2), as the one who loads the filter
//     could not report the listener any more.
//   - On i386, a rule for a call that socketcall(2) or ipc(2) can also make holds there too, with its
//     conditions dropped, unless a rule without conditions names the multiplexer itself.
//   - Arguments of x86-64 and x32 are compared as 64 bits (libseccomp cuts those of x32 to 32).
//   - Arguments of i386 have 32 bits. A value that is a 32-bit number, zero- or sign-extended, is
//     compared as that; any other is equal to none and above all of them.
//
// # Errors
//
// An error names the field, such as linux.seccomp.syscalls[3].args[0]. Unknown system calls are not an
// error, see [Filter.Skipped]; unknown actions, operators, flags and architectures are.
func Compile(cfg *specs.LinuxSeccomp) (*Filter, error) {
	if cfg == nil {
		return nil, errors.New("linux.seccomp: no profile to compile")
	}
	profile, err := parseProfile(cfg)
	if err != nil {
		return nil, err
	}
	instructions := assemble(profile)
	if len(instructions) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("linux.seccomp: the filter needs %d instructions and the kernel takes %d (BPF_MAXINSNS): drop conditions on arguments or merge rules", len(instructions), unix.BPF_MAXINSNS)
	}
	filter := &Filter{Flags: profile.flags, Skipped: profile.skipped}
	if filter.Program, err = bpf.Assemble(instructions); err != nil {
		return nil, fmt.Errorf("linux.seccomp: assembling the filter: %w", err)
	}
	if profile.notify {
		filter.Notify = true
		filter.ListenerPath = cfg.ListenerPath
		filter.ListenerMetadata = cfg.ListenerMetadata
	}
	return filter, nil
}

// Bytes returns the program as an array of struct sock_filter in the host's byte order
// (linux/filter.h), eight bytes an instruction: what the filter member of struct sock_fprog points to.
func (f *Filter) Bytes() []byte {
	const size = 8
	program := make([]byte, 0, size*len(f.Program))
	for _, instruction := range f.Program {
		program = binary.NativeEndian.AppendUint16(program, instruction.Op)
		program = append(program, instruction.Jt, instruction.Jf)
		program = binary.NativeEndian.AppendUint32(program, instruction.K)
	}
	return program
}
