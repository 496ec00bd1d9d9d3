package seccomp

import (
	"fmt"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// String lists the program for people, an instruction a line: position, operation, and where a jump
// leads as positions ("? if it holds : if not").
func (f *Filter) String() string {
	var listing strings.Builder
	for i, instruction := range f.Program {
		fmt.Fprintf(&listing, "%4d  %s\n", i, describe(i, instruction))
	}
	return listing.String()
}

// jumpNames are the conditional jumps that the compiler uses.
var jumpNames = map[uint16]string{
	unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:  "jeq",
	unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:  "jge",
	unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:  "jgt",
	unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K: "jset",
}

// describe puts the instruction at a position into words.
func describe(position int, instruction bpf.RawInstruction) string {
	next := position + 1
	if name, ok := jumpNames[instruction.Op]; ok {
		return fmt.Sprintf("%-4s %#x ? %d : %d", name, instruction.K, next+int(instruction.Jt), next+int(instruction.Jf))
	}
	switch instruction.Op {
	case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
		return "load " + describeWord(instruction.K)
	case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
		return fmt.Sprintf("and  %#x", instruction.K)
	case unix.BPF_JMP | unix.BPF_JA:
		return fmt.Sprintf("jump %d", next+int(instruction.K))
	case unix.BPF_RET | unix.BPF_K:
		return "ret  " + describeReturn(instruction.K)
	}
	return fmt.Sprintf("%#x %d %d %#x", instruction.Op, instruction.Jt, instruction.Jf, instruction.K)
}

// describeWord names a word of struct seccomp_data.
func describeWord(offset uint32) string {
	switch {
	case offset == offsetNumber:
		return "number"
	case offset == offsetArch:
		return "arch"
	case offset%8 == 0:
		return fmt.Sprintf("arg%d.low", (offset-offsetArguments)/8)
	}
	return fmt.Sprintf("arg%d.high", (offset-offsetArguments)/8)
}

// describeReturn names an action.
func describeReturn(value uint32) string {
	data := value & unix.SECCOMP_RET_DATA
	switch value & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_KILL_PROCESS:
		return "KILL_PROCESS"
	case unix.SECCOMP_RET_KILL_THREAD:
		return "KILL_THREAD"
	case unix.SECCOMP_RET_TRAP:
		return "TRAP"
	case unix.SECCOMP_RET_ERRNO:
		if name := unix.ErrnoName(unix.Errno(data)); name != "" {
			return fmt.Sprintf("ERRNO %s", name)
		}
		return fmt.Sprintf("ERRNO %d", data)
	case unix.SECCOMP_RET_USER_NOTIF:
		return "USER_NOTIF"
	case unix.SECCOMP_RET_TRACE:
		return fmt.Sprintf("TRACE %d", data)
	case unix.SECCOMP_RET_LOG:
		return "LOG"
	case unix.SECCOMP_RET_ALLOW:
		return "ALLOW"
	}
	return fmt.Sprintf("%#x", value)
}
