package wine

import (
	"encoding/binary"
	"slices"
)

// Types of resources: an image, and a group, which lists images of one icon in several sizes and depths of colour.
const (
	resourceIcon      = 3
	resourceGroupIcon = 14
)

// largestIcon is the width in pixels of an icon at 96 dots per inch (SM_CXICON). Wine scales what is wanted larger.
const largestIcon = 32

// fewIcons leaves of each icon one image for every width, that of most colours, and none that is wider than largestIcon
// unless the icon has no other. What a group no longer lists goes. went says whether anything has gone, here or before.
func fewIcons(tree []*resource, went bool) ([]*resource, bool) {
	at := slices.IndexFunc(tree, func(n *resource) bool { return n.name == nil && n.id == resourceIcon })
	groups := slices.IndexFunc(tree, func(n *resource) bool { return n.name == nil && n.id == resourceGroupIcon })
	if at < 0 || groups < 0 {
		return tree, went
	}
	listed, kept := make(map[uint32]bool), make(map[uint32]bool) // images by their numbers
	for _, group := range tree[groups].children {
		for _, language := range group.children {
			data, before, after := fewImages(language.data)
			language.data = data
			for _, id := range before {
				listed[id] = true
			}
			for _, id := range after {
				kept[id] = true
			}
		}
	}
	images := slices.DeleteFunc(tree[at].children, func(n *resource) bool {
		return n.name == nil && listed[n.id] && !kept[n.id]
	})
	went = went || len(images) < len(tree[at].children)
	tree[at].children = images
	return tree, went
}

// fewImages gives what fewIcons leaves of a group, and the numbers of the images that it listed and that it lists. What
// is no group stays as it is.
//
// A group is an ICONDIR: three words, of which the third is the count of entries of 14 bytes, which begin with the width
// (0 is 256) and have the depth in bits at 6 and the number at 12.
func fewImages(group []byte) (few []byte, before, after []uint32) {
	le := binary.LittleEndian
	const head, entry = 6, 14
	if len(group) < head {
		return group, nil, nil
	}
	count := int(le.Uint16(group[4:]))
	if count == 0 || len(group) < head+count*entry {
		return group, nil, nil
	}
	best := make(map[int][]byte) // by the width
	narrowest := 256
	for i := range count {
		e := group[head+i*entry:][:entry]
		width := (int(e[0])+255)%256 + 1
		before = append(before, uint32(le.Uint16(e[12:])))
		if have := best[width]; have == nil || le.Uint16(e[6:]) > le.Uint16(have[6:]) {
			best[width] = e
		}
		narrowest = min(narrowest, width)
	}
	few = append(few, group[:head]...)
	for i := range count { // in their order
		e := group[head+i*entry:][:entry]
		width := (int(e[0])+255)%256 + 1
		if &best[width][0] != &e[0] || width > max(largestIcon, narrowest) {
			continue
		}
		few = append(few, e...)
		after = append(after, uint32(le.Uint16(e[12:])))
	}
	le.PutUint16(few[4:], uint16(len(after)))
	return few, before, after
}
