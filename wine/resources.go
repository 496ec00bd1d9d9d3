package wine

import (
	"encoding/binary"
	"errors"
	"sort"
)

// What of a resource directory is read at most; Wine's largest has a tenth of it.
const maxResources = 1 << 16

// A resource is one node of a PE file's resource directory: type, name and language are the levels, and below is the
// data. The places are those of Microsoft's "PE Format", "The .rsrc Section".
type resource struct {
	id       uint32 // or the offset of a name, with the highest bit
	name     []byte // of that: length and UTF-16
	children []*resource
	data     []byte
	codePage uint32
}

var errResources = errors.New("malformed resources")

// resourceReader reads the section at an address.
type resourceReader struct {
	section []byte
	rva     uint32
	left    int    // how many nodes it may still read
	data    uint64 // how many bytes of data the leaves have so far
}

// directory reads a directory of the section.
func (r *resourceReader) directory(at uint32, level int) ([]*resource, error) {
	le := binary.LittleEndian
	if level > 3 || uint64(at)+16 > uint64(len(r.section)) {
		return nil, errResources
	}
	count := uint64(le.Uint16(r.section[at+12:])) + uint64(le.Uint16(r.section[at+14:]))
	if r.left -= int(count); r.left < 0 || uint64(at)+16+8*count > uint64(len(r.section)) {
		return nil, errResources
	}
	var list []*resource
	for i := range count {
		entry := r.section[uint64(at)+16+8*i:]
		n := &resource{id: le.Uint32(entry)}
		to := le.Uint32(entry[4:])
		if n.id&(1<<31) != 0 {
			name := uint64(n.id &^ (1 << 31))
			if name+2 > uint64(len(r.section)) || name+2+2*uint64(le.Uint16(r.section[name:])) > uint64(len(r.section)) {
				return nil, errResources
			}
			n.name = r.section[name:][:2+2*int(le.Uint16(r.section[name:]))]
		}
		var err error
		if to&(1<<31) != 0 {
			n.children, err = r.directory(to&^(1<<31), level+1)
		} else {
			err = r.leaf(n, to)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// leaf reads where the data of a resource is.
func (r *resourceReader) leaf(n *resource, at uint32) error {
	le := binary.LittleEndian
	if uint64(at)+16 > uint64(len(r.section)) {
		return errResources
	}
	entry := r.section[at:]
	start, size := uint64(le.Uint32(entry))-uint64(r.rva), uint64(le.Uint32(entry[4:]))
	if start > uint64(len(r.section)) || size > uint64(len(r.section))-start {
		return errResources
	}
	if r.data += size; r.data > uint64(len(r.section)) { // data in common would become more when it is written
		return errResources
	}
	n.data, n.codePage = r.section[start:start+size], le.Uint32(entry[8:])
	return nil
}

// english leaves, of what there is in several languages, the English and the neutral one. What there is in others only
// stays. It says whether anything went.
func english(names []*resource) (went bool) {
	for _, name := range names {
		var kept []*resource
		for _, language := range name.children {
			if primary := language.id & 0x3ff; primary == 0 || primary == 9 { // LANG_NEUTRAL, LANG_ENGLISH
				kept = append(kept, language)
			}
		}
		if len(kept) > 0 && len(kept) < len(name.children) {
			name.children, went = kept, true
		}
	}
	return went
}

// writeResources lays a tree out as a section at an address: directories, names, entries, data.
func writeResources(tree []*resource, rva uint32) []byte {
	le := binary.LittleEndian
	type directory struct {
		at   int
		list []*resource
	}
	size := 0
	var directories []directory
	var leaves []*resource
	for queue := [][]*resource{tree}; len(queue) > 0; queue = queue[1:] {
		directories = append(directories, directory{size, queue[0]})
		size += 16 + 8*len(queue[0])
		for _, n := range queue[0] {
			if n.data == nil {
				queue = append(queue, n.children)
			} else {
				leaves = append(leaves, n)
			}
		}
	}
	out := make([]byte, size)
	name := func(n *resource) uint32 {
		if n.name == nil {
			return n.id
		}
		at := uint32(len(out))
		out = append(out, n.name...)
		return at | 1<<31
	}
	// Directories stand in the order in which they were met, so the next one is the next node's.
	next, entries := 1, make(map[*resource]int)
	parents := make(map[*resource]int) // where the directory names a leaf
	for _, d := range directories {
		named := sort.Search(len(d.list), func(i int) bool { return d.list[i].name == nil })
		le.PutUint16(out[d.at+12:], uint16(named))
		le.PutUint16(out[d.at+14:], uint16(len(d.list)-named))
		for i, n := range d.list {
			at := d.at + 16 + 8*i
			id := name(n) // which may move out
			le.PutUint32(out[at:], id)
			if n.data == nil {
				le.PutUint32(out[at+4:], uint32(directories[next].at)|1<<31)
				next++
				continue
			}
			parents[n] = at + 4
		}
	}
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	for _, n := range leaves {
		entries[n] = len(out)
		le.PutUint32(out[parents[n]:], uint32(len(out)))
		out = append(out, make([]byte, 16)...)
	}
	for _, n := range leaves {
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
		entry := out[entries[n]:]
		le.PutUint32(entry, rva+uint32(len(out)))
		le.PutUint32(entry[4:], uint32(len(n.data)))
		le.PutUint32(entry[8:], n.codePage)
		out = append(out, n.data...)
	}
	return out
}
