package wine

import (
	"encoding/binary"
	"slices"
	"testing"
)

// iconGroup makes a group of images of a width, a depth and a number each.
func iconGroup(images ...[3]int) []byte {
	data := []byte{0, 0, 1, 0, byte(len(images)), 0}
	for _, image := range images {
		entry := make([]byte, 14)
		entry[0] = byte(image[0]) // 256 is 0
		binary.LittleEndian.PutUint16(entry[6:], uint16(image[1]))
		binary.LittleEndian.PutUint16(entry[12:], uint16(image[2]))
		data = append(data, entry...)
	}
	return data
}

// TestFewIcons takes images out of icons and checks which are left, in the groups and beside them.
func TestFewIcons(t *testing.T) {
	for name, test := range map[string]struct {
		group, want [][3]int
	}{
		"sizes and depths":   {[][3]int{{256, 32, 1}, {48, 32, 2}, {32, 4, 3}, {32, 32, 4}, {16, 8, 5}, {16, 4, 6}}, [][3]int{{32, 32, 4}, {16, 8, 5}}},
		"nothing to take":    {[][3]int{{32, 32, 1}, {16, 32, 2}}, [][3]int{{32, 32, 1}, {16, 32, 2}}},
		"only large":         {[][3]int{{256, 32, 1}}, [][3]int{{256, 32, 1}}},
		"large and larger":   {[][3]int{{64, 8, 1}, {256, 32, 2}, {64, 32, 3}}, [][3]int{{64, 32, 3}}},
		"two of a kind":      {[][3]int{{16, 32, 1}, {16, 32, 2}}, [][3]int{{16, 32, 1}}},
		"no images":          {nil, nil},
		"same image, listed": {[][3]int{{48, 32, 1}, {32, 32, 1}}, [][3]int{{32, 32, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := &resource{data: iconGroup(test.group...)}
			images := []*resource{{id: 77}} // of no group
			for _, image := range test.group {
				if !slices.ContainsFunc(images, func(n *resource) bool { return n.id == uint32(image[2]) }) {
					images = append(images, &resource{id: uint32(image[2])})
				}
			}
			tree := []*resource{{id: resourceIcon, children: images}, {id: resourceGroupIcon, children: []*resource{{children: []*resource{leaf}}}}}
			before := len(images)
			tree, went := fewIcons(tree, false)
			if want := iconGroup(test.want...); !slices.Equal(leaf.data, want) {
				t.Errorf("group % x, want % x", leaf.data, want)
			}
			kept := map[uint32]bool{77: true}
			for _, image := range test.want {
				kept[uint32(image[2])] = true
			}
			after := tree[0].children
			for _, n := range after {
				if !kept[n.id] {
					t.Errorf("image %d is still there", n.id)
				}
			}
			if len(after) != len(kept) || went != (len(after) < before) {
				t.Errorf("%d images of %d, want %d; went: %t", len(after), before, len(kept), went)
			}
		})
	}
	for name, data := range map[string][]byte{"empty": {}, "cut off": iconGroup([3]int{16, 4, 1}, [3]int{16, 8, 2})[:30]} {
		if few, before, _ := fewImages(data); !slices.Equal(few, data) || before != nil {
			t.Errorf("%s: % x, %v", name, few, before)
		}
	}
}
