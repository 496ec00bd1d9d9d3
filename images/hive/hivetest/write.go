// Package hivetest writes registry hives for tests, by the specification that package hive names.
package hivetest

import (
	"encoding/binary"
	"unicode/utf16"

	"winbox/images/hive"
)

// A Key is a key of a hive with all below it.
type Key struct {
	Name   string
	Values []hive.Value
	Keys   []Key
	Gone   bool
}

// Text is the data of a string value.
func Text(s string) []byte {
	var data []byte
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		data = binary.LittleEndian.AppendUint16(data, u)
	}
	return data
}

const none = 0xffffffff

// Write writes a hive. Lists of up to two keys are of the kind lh, longer ones of several of the kind li.
func Write(root Key) []byte {
	w := &writer{cells: make([]byte, 32)}
	security := w.cell(append([]byte("sk\x00\x00"), make([]byte, 16)...))
	at := w.key(root, none, security, true)
	for len(w.cells)%4096 != 0 {
		w.cells = append(w.cells, 0)
	}
	if w.used < len(w.cells) { // what is left is a free cell
		binary.LittleEndian.PutUint32(w.cells[w.used:], uint32(len(w.cells)-w.used))
	}
	le := binary.LittleEndian
	copy(w.cells, "hbin")
	le.PutUint32(w.cells[8:], uint32(len(w.cells)))
	head := make([]byte, 4096)
	copy(head, "regf")
	for field, value := range map[int]uint32{4: 1, 8: 1, 20: 1, 24: 5, 32: 1, 36: at, 40: uint32(len(w.cells)), 44: 1} {
		le.PutUint32(head[field:], value)
	}
	Seal(head)
	return append(head, w.cells...)
}

// Seal sets the checksum of a hive.
func Seal(file []byte) {
	var sum uint32
	for i := 0; i < 508; i += 4 {
		sum ^= binary.LittleEndian.Uint32(file[i:])
	}
	binary.LittleEndian.PutUint32(file[508:], sum)
}

type writer struct {
	cells []byte
	used  int
}

// cell adds a cell and gives its offset.
func (w *writer) cell(data []byte) uint32 {
	at := len(w.cells)
	size := (4 + len(data) + 7) &^ 7
	w.cells = binary.LittleEndian.AppendUint32(w.cells, uint32(-int32(size)))
	w.cells = append(append(w.cells, data...), make([]byte, size-4-len(data))...)
	w.used = len(w.cells)
	return uint32(at)
}

// name gives a name as it is kept, and whether in bytes.
func name(s string) (data []byte, compressed bool) {
	for _, r := range s {
		if r > 0xff {
			text := Text(s)
			return text[:len(text)-2], false
		}
		data = append(data, byte(r))
	}
	return data, true
}

func (w *writer) list(kind string, items []uint32, width int) uint32 {
	list := binary.LittleEndian.AppendUint16([]byte(kind), uint16(len(items)))
	for _, at := range items {
		list = append(binary.LittleEndian.AppendUint32(list, at), make([]byte, width-4)...)
	}
	return w.cell(list)
}

func (w *writer) key(k Key, parent, security uint32, root bool) uint32 {
	le := binary.LittleEndian
	text, compressed := name(k.Name)
	node := make([]byte, 76, 76+len(text))
	copy(node, "nk")
	flags := uint16(0)
	if compressed {
		flags |= 0x20
	}
	if root {
		flags |= 0xc
	}
	le.PutUint16(node[2:], flags)
	if k.Gone {
		node[13] = 1
	}
	for field, value := range map[int]uint32{16: parent, 20: uint32(len(k.Keys)), 28: none, 32: none, 36: uint32(len(k.Values)), 40: none, 44: security, 48: none} {
		le.PutUint32(node[field:], value)
	}
	le.PutUint16(node[72:], uint16(len(text)))
	at := w.cell(append(node, text...))
	var values, keys []uint32
	for _, v := range k.Values {
		values = append(values, w.value(v))
	}
	for _, below := range k.Keys {
		keys = append(keys, w.key(below, at, security, false))
	}
	set := func(field int, to uint32) { le.PutUint32(w.cells[int(at)+4+field:], to) }
	if len(values) > 0 {
		var list []byte
		for _, v := range values {
			list = le.AppendUint32(list, v)
		}
		set(40, w.cell(list))
	}
	switch {
	case len(keys) > 2:
		var lists []uint32
		for len(keys) > 0 {
			n := min(2, len(keys))
			lists = append(lists, w.list("li", keys[:n], 4))
			keys = keys[n:]
		}
		set(28, w.list("ri", lists, 4))
	case len(keys) > 0:
		set(28, w.list("lh", keys, 8))
	}
	return at
}

func (w *writer) value(v hive.Value) uint32 {
	le := binary.LittleEndian
	text, compressed := name(v.Name)
	record := make([]byte, 20, 20+len(text))
	copy(record, "vk")
	le.PutUint16(record[2:], uint16(len(text)))
	size, at := uint32(len(v.Data)), uint32(none)
	switch {
	case len(v.Data) <= 4:
		var field [4]byte
		copy(field[:], v.Data)
		size, at = size|1<<31, le.Uint32(field[:])
	case len(v.Data) <= 16344:
		at = w.cell(v.Data)
	default:
		var list []byte
		parts := uint16(0)
		for rest := v.Data; len(rest) > 0; parts++ {
			n := min(16344, len(rest))
			list = le.AppendUint32(list, w.cell(rest[:n]))
			rest = rest[n:]
		}
		at = w.cell(le.AppendUint32(le.AppendUint16([]byte("db"), parts), w.cell(list)))
	}
	le.PutUint32(record[4:], size)
	le.PutUint32(record[8:], at)
	le.PutUint32(record[12:], v.Type)
	flags := uint16(0)
	if compressed {
		flags |= 1
	}
	if v.Gone {
		flags |= 2
	}
	le.PutUint16(record[16:], flags)
	return w.cell(append(record, text...))
}
