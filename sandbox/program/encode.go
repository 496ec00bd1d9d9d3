package program

import (
	"encoding/binary"
	"fmt"
)

// The encoded form, read by sandbox/init/init.c (all little-endian):
//
//	header      magic[8], control, instructions, registers, relocations,
//	            data bytes, 0 (six 32-bit words)
//	instruction op, number (32 bits); dst, flags, next-on-ok, next-on-error
//	            (16 bits); four tolerated errnos (16 bits); six operand kinds
//	            and two zero bytes; six operands (64 bits)
//	registers   64 bits each
//	relocations 32-bit offsets into the data, padded to eight bytes
//	data
const (
	magic           = "WBPROG01"
	headerSize      = 32
	instructionSize = 80

	flagNonZero = 1

	// maxEncoded bounds what a hostile bundle can make winbox build.
	maxEncoded = 16 << 20
)

// Encode gives the program as the init ELF reads it.
//
// # Errors
//
// A program of more than 65,535 instructions or 16 MiB is refused.
func (p *Program) Encode() ([]byte, error) {
	if len(p.Instructions) > 0xffff || len(p.Registers) > 0xffff {
		return nil, fmt.Errorf("container set-up takes %d steps, more than 65535: the bundle has too many mounts or devices", len(p.Instructions))
	}
	relocs := (4*len(p.Relocations) + 7) &^ 7
	size := headerSize + instructionSize*len(p.Instructions) + 8*len(p.Registers) + relocs + len(p.Data)
	if size > maxEncoded {
		return nil, fmt.Errorf("container set-up takes %d bytes, more than %d: arguments or environment are too long", size, maxEncoded)
	}
	le := binary.LittleEndian
	out := make([]byte, 0, size)
	out = append(out, magic...)
	for _, word := range []int{p.Control, len(p.Instructions), len(p.Registers), len(p.Relocations), len(p.Data), 0} {
		out = le.AppendUint32(out, uint32(word))
	}
	for i := range p.Instructions {
		out = p.Instructions[i].encode(out)
	}
	out = append(out, make([]byte, 8*len(p.Registers))...)
	for _, off := range p.Relocations {
		out = le.AppendUint32(out, off)
	}
	out = append(out, make([]byte, relocs-4*len(p.Relocations))...)
	return append(out, p.Data...), nil
}

func (in *Instruction) encode(out []byte) []byte {
	le := binary.LittleEndian
	out = le.AppendUint32(out, uint32(in.Op))
	out = le.AppendUint32(out, in.Number)
	flags := 0
	if in.NonZero {
		flags |= flagNonZero
	}
	for _, half := range []int{int(in.Dst), flags, in.OnOK, in.OnErr} {
		out = le.AppendUint16(out, uint16(half))
	}
	var errnos [4]uint16
	for i, e := range in.Tolerate {
		errnos[i] = uint16(e)
	}
	for _, e := range errnos {
		out = le.AppendUint16(out, e)
	}
	var kinds [8]byte
	var values [6]uint64
	for i, arg := range in.Args {
		kinds[i], values[i] = byte(arg.Kind), arg.Value
	}
	out = append(out, kinds[:]...)
	for _, v := range values {
		out = le.AppendUint64(out, v)
	}
	return out
}
