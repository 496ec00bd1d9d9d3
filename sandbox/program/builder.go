package program

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// builder collects the instructions of a program.
type builder struct {
	p       Program
	strings map[string]uint64 // offsets of strings already in the data
	labels  []int             // label → index of an instruction, -1 until placed
	okJumps map[int]label
	onErrs  map[int]label
	err     error // the first string that cannot be given to the kernel
}

// label is a place in the list that instructions before it jump to.
type label int

func newBuilder(control int) *builder {
	return &builder{
		// Most programs have less than 200 instructions and a few KiB of data.
		p:       Program{Registers: []string{""}, Control: control, Instructions: make([]Instruction, 0, 192), Data: make([]byte, 0, 8192)},
		strings: map[string]uint64{},
		okJumps: map[int]label{},
		onErrs:  map[int]label{},
	}
}

func (b *builder) register(name string) Register {
	b.p.Registers = append(b.p.Registers, name)
	return Register(len(b.p.Registers) - 1)
}

func (b *builder) label() label {
	b.labels = append(b.labels, -1)
	return label(len(b.labels) - 1)
}

// place makes l stand for the instruction that comes next.
func (b *builder) place(l label) { b.labels[l] = len(b.p.Instructions) }

// step is the instruction just added, to be refined.
type step struct {
	b     *builder
	index int
}

func (s step) instruction() *Instruction { return &s.b.p.Instructions[s.index] }

// into stores the result in r.
func (s step) into(r Register) step { s.instruction().Dst = r; return s }

// tolerate goes on after these errors.
func (s step) tolerate(errs ...unix.Errno) step {
	s.instruction().Tolerate = append(s.instruction().Tolerate, errs...)
	return s
}

// ok jumps to l after success.
func (s step) ok(l label) step { s.b.okJumps[s.index] = l; return s }

// failed jumps to l after a tolerated error.
func (s step) failed(l label) step { s.b.onErrs[s.index] = l; return s }

// nonZero makes the result 0 an error.
func (s step) nonZero() step { s.instruction().NonZero = true; return s }

func (b *builder) add(in Instruction) step {
	b.p.Instructions = append(b.p.Instructions, in)
	return step{b, len(b.p.Instructions) - 1}
}

// call adds a system call. args may be an Operand, a Register, an int, or a
// string, which becomes a pointer to its zero-terminated copy.
func (b *builder) call(name, note string, args ...any) step {
	number, ok := number(name)
	if !ok {
		panic("program: no number for system call " + name)
	}
	return b.add(Instruction{Op: OpSyscall, Number: number, Name: name, Note: note, Args: b.operands(args)})
}

// special adds an instruction that is not a system call.
func (b *builder) special(op Op, name, note string, args ...any) step {
	return b.add(Instruction{Op: op, Name: name, Note: note, Args: b.operands(args)})
}

func (b *builder) operands(args []any) []Operand {
	out := make([]Operand, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case Operand:
			out[i] = v
		case Register:
			out[i] = Operand{Kind: FromReg, Value: uint64(v)}
		case int:
			out[i] = Operand{Value: uint64(int64(v))}
		case string:
			out[i] = b.str(v)
		default:
			panic(fmt.Sprintf("program: operand of type %T", arg))
		}
	}
	return out
}

// str puts a zero-terminated string into the data, once.
func (b *builder) str(s string) Operand {
	if strings.ContainsRune(s, 0) && b.err == nil {
		b.err = fmt.Errorf("%q contains a zero byte", s)
	}
	off, ok := b.strings[s]
	if !ok {
		off = uint64(len(b.p.Data))
		b.p.Data = append(append(b.p.Data, s...), 0)
		b.strings[s] = off
	}
	return Operand{Kind: DataOffset, Value: off, Text: strconv.Quote(s)}
}

// align makes the data end at a multiple of eight bytes.
func (b *builder) align() uint64 {
	for len(b.p.Data)%8 != 0 {
		b.p.Data = append(b.p.Data, 0)
	}
	return uint64(len(b.p.Data))
}

// bytes puts a block into the data, aligned to eight bytes; text is how it is printed.
func (b *builder) bytes(block []byte, text string) Operand {
	off := b.align()
	b.p.Data = append(b.p.Data, block...)
	return Operand{Kind: DataOffset, Value: off, Text: text}
}

// record puts the fields of a C structure into the data: fixed-size integers
// in declaration order, which must leave no padding.
func (b *builder) record(text string, fields ...any) Operand {
	var buf bytes.Buffer
	for _, f := range fields {
		if err := binary.Write(&buf, binary.LittleEndian, f); err != nil {
			panic(fmt.Sprintf("program: record field %T: %v", f, err))
		}
	}
	return b.bytes(buf.Bytes(), text)
}

// pointer writes at the data offset at the address of target.
func (b *builder) pointer(at uint64, target Operand) {
	binary.LittleEndian.PutUint64(b.p.Data[at:], target.Value)
	b.p.Relocations = append(b.p.Relocations, uint32(at))
}

// vector puts a zero-ended array of pointers to strings into the data.
func (b *builder) vector(list []string) Operand {
	pointers := make([]Operand, len(list))
	quoted := make([]string, len(list))
	for i, s := range list {
		pointers[i] = b.str(s)
		quoted[i] = strconv.Quote(s)
	}
	array := b.bytes(make([]byte, 8*(len(list)+1)), "["+strings.Join(quoted, ", ")+"]")
	for i, ptr := range pointers {
		b.pointer(array.Value+uint64(8*i), ptr)
	}
	return array
}

// at is the operand n bytes into a block of data.
func (o Operand) at(n uint64) Operand {
	return Operand{Kind: DataOffset, Value: o.Value + n}
}

// named is a number that prints as text.
func named(value uint64, text string) Operand { return Operand{Value: value, Text: text} }

// report adds the sending of a report to the control descriptor.
func (b *builder) report(kind, index int, note string) step {
	rec := b.record(fmt.Sprintf("{kind=%d}", kind), uint32(kind), uint32(index), uint64(0))
	// MSG_NOSIGNAL: whoever asked for the container may be gone.
	return b.call("sendto", note, b.p.Control, rec, ReportSize, named(unix.MSG_NOSIGNAL, "MSG_NOSIGNAL"), 0, 0)
}

// finish resolves the labels.
func (b *builder) finish() (*Program, error) {
	if b.err != nil {
		return nil, b.err
	}
	for i := range b.p.Instructions {
		in := &b.p.Instructions[i]
		in.OnOK, in.OnErr = i+1, i+1
		if l, ok := b.okJumps[i]; ok {
			in.OnOK = b.target(l)
		}
		if l, ok := b.onErrs[i]; ok {
			in.OnErr = b.target(l)
		}
	}
	return &b.p, nil
}

func (b *builder) target(l label) int {
	if b.labels[l] < 0 {
		panic("program: label never placed")
	}
	return b.labels[l]
}
