// Package hive reads registry hives, the binary files (regf) in which Windows keeps its registry, as they are in layers of
// Windows container images.
//
// The format is described by Maxim Suhanov, "Windows registry file format specification"; names of fields are from there.
package hive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

// MaxSize is the size of the largest hive that is read, in bytes.
const MaxSize = 64 << 20

// Hives are hostile: what they have at most. Windows allows 512 levels of keys.
const (
	maxDepth = 512
	maxKeys  = 500_000
	// maxData is that of all values together, in bytes: cells may be shared.
	maxData = 2 * MaxSize
)

// The header takes a page; offsets of cells count from behind it.
const headerSize = 4096

// none is an offset that leads to nothing.
const none = 0xffffffff

// A Key is a key of a hive.
type Key struct {
	// Path are the names of the key and those above it, without that of the root.
	Path []string
	// Gone tells that a hive of a layer removes the key of the layers below, with all below it. Anew tells that it removes
	// that, and has a key in its place.
	Gone, Anew bool
	// Link tells that it is a symbolic link to another key.
	Link   bool
	Values []Value
}

// A Value is a value of a key.
type Value struct {
	// Name is empty for the default value.
	Name string
	// Type is that of winnt.h, such as REG_SZ.
	Type uint32
	Data []byte
	// Gone tells that a hive of a layer removes the value of the layers below.
	Gone bool
}

// A Hive is a hive that has been opened.
type Hive struct {
	cells []byte
	root  uint32
	// Dirty tells that the last changes were not written, but to a log that is a file of its own.
	Dirty bool

	keys, data int
}

// Open reads the header of a hive.
//
// # Errors
//
// It is none, or damaged.
func Open(file []byte) (*Hive, error) {
	le := binary.LittleEndian
	if len(file) < headerSize || string(file[:4]) != "regf" {
		return nil, errors.New("not a registry hive")
	}
	var sum uint32
	for at := 0; at < 508; at += 4 {
		sum ^= le.Uint32(file[at:])
	}
	switch sum { // which are never written
	case 0xffffffff:
		sum = 0xfffffffe
	case 0:
		sum = 1
	}
	if sum != le.Uint32(file[508:]) {
		return nil, errors.New("a damaged registry hive: its checksum is wrong")
	}
	if major, minor, kind := le.Uint32(file[20:]), le.Uint32(file[24:]), le.Uint32(file[28:]); major != 1 || minor < 2 || minor > 6 || kind != 0 {
		return nil, fmt.Errorf("a registry hive of an unknown kind: version %d.%d, type %d", major, minor, kind)
	}
	size := le.Uint32(file[40:])
	if uint64(size) > uint64(len(file)-headerSize) {
		return nil, fmt.Errorf("a damaged registry hive: it has %d bytes, and should have %d", len(file), uint64(size)+headerSize)
	}
	return &Hive{cells: file[headerSize:][:size], root: le.Uint32(file[36:]), Dirty: le.Uint32(file[4:]) != le.Uint32(file[8:])}, nil
}

// Walk calls do for each key, those above before those below. The path is valid until do returns.
//
// # Errors
//
// The hive is damaged, or has more than a hive may have; what do says.
func (h *Hive) Walk(do func(Key) error) error {
	h.keys, h.data = 0, 0
	return h.walk(h.root, 0, make([]string, 0, maxDepth), do)
}

// cell gives the content of a cell.
func (h *Hive) cell(at uint32) ([]byte, error) {
	if uint64(at)+4 > uint64(len(h.cells)) || at%4 != 0 {
		return nil, fmt.Errorf("a damaged registry hive: no cell at %#x", at)
	}
	size := -int64(int32(binary.LittleEndian.Uint32(h.cells[at:]))) // of those in use, it is negative
	if size < 8 || size > int64(len(h.cells))-int64(at) {
		return nil, fmt.Errorf("a damaged registry hive: the cell at %#x has a size of %d", at, size)
	}
	return h.cells[at+4 : int64(at)+size], nil
}

// record gives a cell of a kind, of a least size.
func (h *Hive) record(at uint32, kind string, least int) ([]byte, error) {
	c, err := h.cell(at)
	if err == nil && (len(c) < least || string(c[:2]) != kind) {
		err = fmt.Errorf("a damaged registry hive: the cell at %#x is no %s", at, kind)
	}
	return c, err
}

// Flags and fields of a key node.
const (
	keyLink        = 0x10
	keyCompressed  = 0x20
	layerSemantics = 3 // of the byte behind the access bits
	isTombstone    = 1
	supersedeLocal = 2
	supersedeTree  = 3
)

func (h *Hive) walk(at uint32, depth int, path []string, do func(Key) error) error {
	if h.keys++; h.keys > maxKeys {
		return fmt.Errorf("a registry hive of more than %d keys", maxKeys)
	}
	if depth > maxDepth {
		return fmt.Errorf("a registry hive of more than %d levels", maxDepth)
	}
	le := binary.LittleEndian
	c, err := h.record(at, "nk", 76)
	if err != nil {
		return err
	}
	flags := le.Uint16(c[2:])
	if depth > 0 {
		name, err := text(c[76:], int(le.Uint16(c[72:])), flags&keyCompressed != 0)
		if err != nil {
			return err
		}
		path = append(path, name)
	}
	k := Key{Path: path, Link: flags&keyLink != 0}
	switch c[13] & layerSemantics {
	case isTombstone:
		k.Gone = true
	case supersedeLocal, supersedeTree:
		k.Anew = true
	}
	if n := le.Uint32(c[36:]); n > 0 && n != none {
		if k.Values, err = h.values(le.Uint32(c[40:]), n); err != nil {
			return err
		}
	}
	if err := do(k); err != nil {
		return err
	}
	if le.Uint32(c[20:]) == 0 {
		return nil
	}
	return h.subkeys(le.Uint32(c[28:]), true, func(at uint32) error { return h.walk(at, depth+1, path, do) })
}

// subkeys calls do for the elements of a list of keys, or of a list of such lists.
func (h *Hive) subkeys(at uint32, nested bool, do func(at uint32) error) error {
	c, err := h.cell(at)
	if err != nil {
		return err
	}
	kind, size := string(c[:2]), 4
	switch {
	case kind == "lf" || kind == "lh":
		size = 8
	case kind == "li" || kind == "ri" && nested:
	default:
		return fmt.Errorf("a damaged registry hive: the cell at %#x is no list of keys", at)
	}
	n := int(binary.LittleEndian.Uint16(c[2:]))
	if 4+n*size > len(c) {
		return fmt.Errorf("a damaged registry hive: the list at %#x is too long", at)
	}
	for i := range n {
		to := binary.LittleEndian.Uint32(c[4+i*size:])
		if kind == "ri" {
			// An empty list costs nothing else: it counts as a key.
			if h.keys++; h.keys > maxKeys {
				return fmt.Errorf("a registry hive of more than %d keys", maxKeys)
			}
			err = h.subkeys(to, false, do)
		} else {
			err = do(to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Flags of a value.
const (
	valueCompressed = 1
	valueTombstone  = 2
)

func (h *Hive) values(at, n uint32) ([]Value, error) {
	le := binary.LittleEndian
	list, err := h.cell(at)
	if err != nil {
		return nil, err
	}
	if uint64(n)*4 > uint64(len(list)) {
		return nil, fmt.Errorf("a damaged registry hive: the list of values at %#x is too short", at)
	}
	values := make([]Value, 0, min(n, 1024))
	for i := range n {
		c, err := h.record(le.Uint32(list[4*i:]), "vk", 20)
		if err != nil {
			return nil, err
		}
		flags := le.Uint16(c[16:])
		v := Value{Type: le.Uint32(c[12:]), Gone: flags&valueTombstone != 0}
		if v.Name, err = text(c[20:], int(le.Uint16(c[2:])), flags&valueCompressed != 0); err != nil {
			return nil, err
		}
		if !v.Gone {
			if v.Data, err = h.value(le.Uint32(c[4:]), c[8:12]); err != nil {
				return nil, err
			}
		}
		h.data += len(v.Data) + len(v.Name) + 64
		if h.data > maxData {
			return nil, fmt.Errorf("a registry hive with values of more than %d bytes", maxData)
		}
		values = append(values, v)
	}
	return values, nil
}

// inPlace is the bit of a size that says that the data is where its offset would be; segment is what a cell of data has at
// most, where it is more than one.
const (
	inPlace = 1 << 31
	segment = 16344
)

// value gives the data of a value.
func (h *Hive) value(size uint32, field []byte) ([]byte, error) {
	le := binary.LittleEndian
	if size&inPlace != 0 {
		if size &^= inPlace; size > 4 {
			return nil, fmt.Errorf("a damaged registry hive: %d bytes of data in a field of 4", size)
		}
		return append([]byte(nil), field[:size]...), nil
	}
	if size == 0 {
		return nil, nil
	}
	if size > MaxSize {
		return nil, fmt.Errorf("a damaged registry hive: a value of %d bytes", size)
	}
	c, err := h.cell(le.Uint32(field))
	if err != nil {
		return nil, err
	}
	if size <= segment || string(c[:2]) != "db" {
		if uint64(size) > uint64(len(c)) {
			return nil, fmt.Errorf("a damaged registry hive: a value of %d bytes in a cell of %d", size, len(c))
		}
		return append([]byte(nil), c[:size]...), nil
	}
	n := int(le.Uint16(c[2:]))
	if len(c) < 8 {
		return nil, errors.New("a damaged registry hive: a list of data that is cut off")
	}
	list, err := h.cell(le.Uint32(c[4:]))
	if err != nil {
		return nil, err
	}
	if n*4 > len(list) {
		return nil, errors.New("a damaged registry hive: a list of data that is too short")
	}
	var data []byte
	for i := 0; i < n && len(data) < int(size); i++ {
		part, err := h.cell(le.Uint32(list[4*i:]))
		if err != nil {
			return nil, err
		}
		data = append(data, part[:min(len(part), segment, int(size)-len(data))]...)
	}
	if len(data) != int(size) {
		return nil, fmt.Errorf("a damaged registry hive: a value of %d bytes has %d", size, len(data))
	}
	return data, nil
}

// text gives a name: of bytes of Latin-1, or of UTF-16.
func text(data []byte, size int, compressed bool) (string, error) {
	if size > len(data) {
		return "", fmt.Errorf("a damaged registry hive: a name of %d bytes in a cell with room for %d", size, len(data))
	}
	if !compressed {
		return Text(data[:size]), nil
	}
	name := make([]rune, size)
	for i, c := range data[:size] {
		name[i] = rune(c)
	}
	return string(name), nil
}

// Text reads UTF-16, little-endian; an odd byte at the end is passed over.
func Text(data []byte) string {
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	return string(utf16.Decode(units))
}
