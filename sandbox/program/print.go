package program

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Print writes the program in the manner of strace, a line an instruction:
// its index, the call with its operands, where its result goes (%name), which
// errors are tolerated and where it goes on then, and the note.
func (p *Program) Print(w io.Writer) error {
	out := bufio.NewWriter(w)
	for i := range p.Instructions {
		in := &p.Instructions[i]
		line := in.Name + "(" + p.arguments(in) + ")"
		if in.Dst != 0 {
			line += " = %" + p.Registers[in.Dst]
		}
		fmt.Fprintf(out, "%4d  %s%s  # %s\n", i, line, in.branches(i), in.Note)
	}
	return out.Flush()
}

func (p *Program) arguments(in *Instruction) string {
	texts := make([]string, len(in.Args))
	for i, arg := range in.Args {
		switch {
		case arg.Text != "":
			texts[i] = arg.Text
		case arg.Kind == FromReg:
			texts[i] = "%" + p.Registers[arg.Value]
		case arg.Kind == DataOffset:
			texts[i] = "&" + strconv.FormatUint(arg.Value, 10)
		default:
			texts[i] = strconv.FormatInt(int64(arg.Value), 10)
		}
	}
	return strings.Join(texts, ", ")
}

// branches says where the program goes on when not simply at the next line.
func (in *Instruction) branches(index int) string {
	var parts []string
	if len(in.Tolerate) > 0 {
		names := make([]string, len(in.Tolerate))
		for i, e := range in.Tolerate {
			names[i] = unix.ErrnoName(e)
		}
		part := strings.Join(names, "|") + " ok"
		if in.OnErr != index+1 {
			part += " → " + strconv.Itoa(in.OnErr)
		}
		parts = append(parts, part)
	}
	if in.Op == OpFork {
		parts = append(parts, "child → "+strconv.Itoa(in.OnErr))
	}
	if in.OnOK != index+1 {
		parts = append(parts, "done → "+strconv.Itoa(in.OnOK))
	}
	if len(parts) == 0 {
		return ""
	}
	return " [" + strings.Join(parts, ", ") + "]"
}
