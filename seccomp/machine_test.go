package seccomp

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// call is struct seccomp_data (linux/seccomp.h) without the instruction pointer.
type call struct {
	arch   uint32
	number uint32
	args   [6]uint64
}

func (c call) String() string {
	return fmt.Sprintf("arch %#x call %d (%#x) args %#x", c.arch, int32(c.number), c.number, c.args)
}

// bytes lays the structure out as x86-64 does.
func (c call) bytes() []byte {
	data := binary.LittleEndian.AppendUint32(nil, c.number)
	data = binary.LittleEndian.AppendUint32(data, c.arch)
	data = binary.LittleEndian.AppendUint64(data, 0)
	for _, arg := range c.args {
		data = binary.LittleEndian.AppendUint64(data, arg)
	}
	return data
}

// verify checks a program as the kernel does before it takes one (bpf_check_classic in net/core/filter.c,
// seccomp_check_filter in kernel/seccomp.c).
func verify(program []bpf.RawInstruction) error {
	if len(program) == 0 || len(program) > unix.BPF_MAXINSNS {
		return fmt.Errorf("%d instructions", len(program))
	}
	for i, instruction := range program {
		left := len(program) - i - 1
		ok := false
		switch instruction.Op {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			ok = instruction.K%4 == 0 && instruction.K < 64
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, unix.BPF_RET | unix.BPF_K:
			ok = true
		case unix.BPF_JMP | unix.BPF_JA:
			ok = uint64(instruction.K) < uint64(left)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K,
			unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			ok = int(instruction.Jt) < left && int(instruction.Jf) < left
		}
		if !ok {
			return fmt.Errorf("bad instruction %d: %s", i, describe(i, instruction))
		}
	}
	if last := program[len(program)-1]; last.Op != unix.BPF_RET|unix.BPF_K {
		return fmt.Errorf("the last instruction is %s", describe(len(program)-1, last))
	}
	return nil
}

// run interprets a verified program and also returns how many instructions it took.
func run(program []bpf.RawInstruction, data []byte) (value uint32, steps int) {
	accumulator := uint32(math.MaxUint32)
	for i := 0; ; i++ {
		steps++
		instruction := program[i]
		jump := func(holds bool) {
			if holds {
				i += int(instruction.Jt)
			} else {
				i += int(instruction.Jf)
			}
		}
		switch instruction.Op {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			accumulator = binary.LittleEndian.Uint32(data[instruction.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			accumulator &= instruction.K
		case unix.BPF_RET | unix.BPF_K:
			return instruction.K, steps
		case unix.BPF_JMP | unix.BPF_JA:
			i += int(instruction.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(accumulator == instruction.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(accumulator >= instruction.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump(accumulator > instruction.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(accumulator&instruction.K != 0)
		default:
			panic(describe(i, instruction))
		}
	}
}
