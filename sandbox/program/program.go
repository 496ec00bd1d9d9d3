package program

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Op says what an [Instruction] does. The numbers are shared with
// sandbox/init/init.c.
type Op uint32

const (
	// OpSyscall makes the system call Number with the operands Args.
	OpSyscall Op = iota
	// OpClone forks into new namespaces (Args[0]: clone flags). The parent
	// reports the child's process id and exits; the child goes on.
	OpClone
	// OpStore writes register Args[1] as 32 bits to the data at Args[0].
	OpStore
	// OpLoad reads 32 bits of data at Args[0], masked by Args[1], into Dst.
	OpLoad
	// OpChannel makes the descriptor Args[0] the one that errors are reported to.
	OpChannel
	// OpFail ends the program with the errno Args[0], if there is no Args[1]
	// and Args[2] or they are equal.
	OpFail
	// OpSupervise forks and executes Args[0] (argv; its first string is the
	// path) with Args[1] (envp), and stays as process 1: it reaps every child,
	// passes signals on and, when the main process has ended, exits with the
	// status that stands for its exit code. How it goes about it is the data at
	// Args[2]: see (*compiler).supervision. Args[3] is the descriptor that tells of exit codes, Args[4] that
	// of the exit record, Args[5] one to keep open; 0 is none.
	OpSupervise
	// OpFork forks: the parent goes on at OnOK, the child at OnErr.
	OpFork
)

// Register holds the result of an instruction. The zero value is none.
type Register int

// OperandKind says how an [Operand] becomes a value.
type OperandKind uint8

const (
	Immediate  OperandKind = iota // the value itself
	DataOffset                    // the address of Program.Data plus the value
	FromReg                       // the content of the register
)

// Operand is one argument of an instruction.
type Operand struct {
	Kind  OperandKind
	Value uint64
	Text  string // how it is printed; empty: as a number
}

// Instruction is one step of a [Program].
type Instruction struct {
	Op     Op
	Number uint32 // system call number (OpSyscall)
	Name   string // its name, for printing
	Dst    Register
	Args   []Operand
	// Tolerate lists the errnos (at most four) that do not end the program:
	// it goes on at OnErr.
	Tolerate []unix.Errno
	// OnOK and OnErr are absolute indices of the instruction that follows
	// success and a tolerated error.
	OnOK, OnErr int
	// NonZero makes the result 0 an error, for a read from a peer that is gone.
	NonZero bool
	// Note says in plain words what the step is for: "mount tmpfs on /dev".
	Note string
}

// Program is the set-up of a container as a list of instructions.
type Program struct {
	Instructions []Instruction
	// Data holds strings and structures; Relocations are the offsets of the
	// 64-bit words in it that hold an offset into Data and become pointers.
	Data        []byte
	Relocations []uint32
	// Registers names the registers, for printing; Registers[0] is unused.
	Registers []string
	// Control is the number of the descriptor that the program reports to.
	Control int
	// Warnings says what the spec asks for and this host lets be left out.
	Warnings []string
}

// Report kinds: what the init ELF sends as [Report].
const (
	ReportError    = 1 // Value is the errno of instruction Index
	ReportPID      = 2 // Value is the process id of the child of OpClone
	ReportCreated  = 3 // the container is built and waits for its start
	ReportWarning  = 4 // instruction Index failed and was tolerated
	ReportConsole  = 5 // carries the console's master descriptor (SCM_RIGHTS)
	ReportHooks    = 6 // the mounts are made: hooks can run
	ReportListener = 8 // carries the listener of a seccomp filter that notifies
	ReportCopyUp   = 7 // carries a directory and the tmpfs to copy it into; the program waits
)

// ReportSize is the size of an encoded report in bytes: kind and index as
// 32-bit, value as 64-bit little-endian integers.
const ReportSize = 16

// Error is a failed instruction.
type Error struct {
	Index int
	Call  string
	Note  string
	Errno unix.Errno
}

// Error says what failed on what, and what to do where that is known.
func (e *Error) Error() string {
	if (e.Errno == unix.ENOENT || e.Errno == unix.ENOTDIR) && strings.HasSuffix(e.Note, notInPath) {
		return e.Note
	}
	if e.Call == "read" && e.Errno == unix.ECONNRESET { // see notReady
		return e.Note
	}
	text := fmt.Sprintf("%s: %s", e.Note, e.Errno.Error())
	if hint := hints[hintKey{e.Call, e.Errno}]; hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// Unwrap gives the errno to errors.Is.
func (e *Error) Unwrap() error { return e.Errno }

type hintKey struct {
	call  string
	errno unix.Errno
}

const ownNamespace = "in a user namespace, sysfs needs a network namespace of the container's own, proc a pid namespace, mqueue an ipc namespace; else bind-mount the host's"

// hints name the remedy for failures that a user can do something about.
// The kernel versions are those of the man pages.
var hints = map[hintKey]string{
	{"openat2", unix.ENOSYS}:       "winbox needs Linux 5.12 or newer",
	{"mount_setattr", unix.ENOSYS}: "winbox needs Linux 5.12 or newer",
	{"open_tree", unix.ENOSYS}:     "winbox needs Linux 5.12 or newer",
	{"fsopen", unix.ENOSYS}:        "winbox needs Linux 5.12 or newer",
	{"fsopen", unix.ENODEV}:        "the kernel does not have this file system",
	{"fsopen", unix.EPERM}:         ownNamespace,
	{"fsconfig", unix.EPERM}:       ownNamespace,
	{"fsmount", unix.EPERM}:        "parts of the host's own are hidden by mounts on them: then a user namespace gets no fresh one",
	{"open_tree", unix.EPERM}:      "it needs CAP_SYS_ADMIN in the mount namespace's user namespace",
	{"open_tree", unix.EINVAL}:     "in a user namespace, what has other mounts on it can only be shared with them: rbind",
	{"mount_setattr", unix.EPERM}:  "a flag that the host locked cannot be taken off in a user namespace",
	{"fsconfig", unix.EINVAL}:      "the file system does not take this option or value",
	{"openat2", unix.ELOOP}:        "the path goes through too many symbolic links, one of the kernel's, or one where none may be",
	{"move_mount", unix.EINVAL}:    "not a directory? A directory can only be mounted on a directory, a file on a file",
	{"prlimit64", unix.EPERM}:      "raising a hard limit needs CAP_SYS_RESOURCE",
	{"setresuid", unix.EINVAL}:     "the container's user namespace does not have this id",
	{"setresgid", unix.EINVAL}:     "the container's user namespace does not have this id",
	{"setgroups", unix.EINVAL}:     "the container's user namespace does not have these ids",
	{"setgroups", unix.EPERM}:      "a rootless container whose only group is the caller's cannot have others",
	{"clone", unix.EPERM}:          "user namespaces may be switched off on this host",
	{"clone", unix.ENOSPC}:         "the limit of namespaces is reached: see /proc/sys/user",
	{"setns", unix.EINVAL}:         "the file is not a namespace of this kind",
}

// Failure makes the error of instruction index.
func (p *Program) Failure(index int, errno unix.Errno) error {
	if index < 0 || index >= len(p.Instructions) {
		return fmt.Errorf("container init: unknown instruction %d: %w", index, errno)
	}
	in := &p.Instructions[index]
	return &Error{Index: index, Call: in.Name, Note: in.Note, Errno: errno}
}

// AfterStart gives the notes of the instructions that follow the start of a
// container, and the index of the first of them.
func (p *Program) AfterStart() (first int, notes []string) {
	for i := range p.Instructions {
		if first > 0 {
			notes = append(notes, p.Instructions[i].Note)
		} else if p.Instructions[i].Op == OpChannel {
			first = i + 1
		}
	}
	return first, notes
}
