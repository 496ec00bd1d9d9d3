package prelink_test

import (
	"reflect"
	"testing"

	"winbox/preload"
	"winbox/preload/prelink"
)

const mib = 1 << 20

// zones are two of 1 MiB and 2 MiB.
var zones = []preload.Range{{Start: 0x30000000, End: 0x30000000 + mib}, {Start: 0x10000000, End: 0x10000000 + 2*mib}}

func TestAssign(t *testing.T) {
	type image = prelink.Image
	type placement = prelink.Placement
	movable := func(base, size uint64) image { return image{Base: base, Size: size, Movable: true} }
	for name, tt := range map[string]struct {
		images []image
		want   []placement
	}{
		"nothing":            {nil, []placement{}},
		"alone in a zone":    {[]image{movable(0x10000000, mib)}, []placement{{0x10000000, -1}}},
		"alone outside":      {[]image{movable(0x180000000, 1)}, []placement{{0x300f0000, -1}}},
		"over a zone's end":  {[]image{movable(0x300f0000, 0x20000)}, []placement{{0x300e0000, -1}}},
		"base not aligned":   {[]image{movable(0x10001000, 1)}, []placement{{0x300f0000, -1}}},
		"base near the top":  {[]image{movable(0xffffffffffff0000, mib)}, []placement{{0x30000000, -1}}},
		"size 0":             {[]image{movable(0x10000000, 0)}, []placement{{0, -1}}},
		"size of 16 EiB":     {[]image{movable(0x10000000, 1<<64-1)}, []placement{{0, -1}}},
		"two of one base":    {[]image{movable(0x10000000, 0x20000), movable(0x10000000, 0x10000)}, []placement{{0x10000000, -1}, {0x300f0000, 0}}},
		"part of one":        {[]image{movable(0x10010000, 0x20000), movable(0x10000000, 0x10001)}, []placement{{0x10010000, -1}, {0x300e0000, 0}}},
		"touching":           {[]image{movable(0x10010000, 0x20000), movable(0x10000000, 0x10000)}, []placement{{0x10010000, -1}, {0x10000000, -1}}},
		"first zone is full": {[]image{movable(0, mib), movable(0, 0x10000), movable(0, 2*mib)}, []placement{{0x30000000, -1}, {0x101f0000, -1}, {0, -1}}},
		"too large for the first": {[]image{movable(0, mib+1), movable(0, mib)}, []placement{
			{0x100f0000, -1}, {0x30000000, -1}}},
		"one that cannot move comes first": {[]image{movable(0x10000000, 0x10000), {Base: 0x10000000, Size: 0x10000}}, []placement{{0x300f0000, 1}, {0x10000000, -1}}},
		"those that cannot move may overlap": {[]image{{Base: 0x30080000, Size: 0x20000}, {Base: 0x30000000, Size: 0xf0000}, movable(0, 0x10000), movable(0x30080000, 1), movable(0x300a0000, 1)}, []placement{
			{0x30080000, -1}, {0x30000000, -1}, {0x300f0000, -1}, {0x101f0000, 0}, {0x101e0000, 1}}},
		"one that cannot move takes all": {[]image{{Size: 1 << 32}, movable(0x10000000, 1)}, []placement{{0, -1}, {0, 0}}},
		"absurd ones that cannot move":   {[]image{{Base: 0xffffffffffff0000, Size: 1 << 32}, {Base: 7, Size: 1 << 63}, movable(0x10000000, 1)}, []placement{{0xffffffffffff0000, -1}, {7, -1}, {0x10000000, -1}}},
		"settled stays":                  {[]image{movable(0x10000000, 1), {Base: 0x10000000, Size: 1, Movable: true, Settled: true}}, []placement{{0x300f0000, 1}, {0x10000000, -1}}},
		"gap between two":                {[]image{movable(0x30000000, 0x40000), movable(0x30050000, 0xb0000), movable(0, 0x10000)}, []placement{{0x30000000, -1}, {0x30050000, -1}, {0x30040000, -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := prelink.Assign(zones, tt.images)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %#x\nwant %#x", got, tt.want)
			}
			checkPlacements(t, tt.images, got)
		})
	}
}

// checkPlacements holds placements to what Assign promises.
func checkPlacements(t *testing.T, images []prelink.Image, placements []prelink.Placement) {
	t.Helper()
	again := append([]prelink.Image(nil), images...)
	place := func(i int) preload.Range {
		return preload.Range{Start: placements[i].Base, End: placements[i].Base + images[i].Size}
	}
	for i, im := range images {
		p := placements[i]
		if p.Obstacle >= len(images) || p.Obstacle == i {
			t.Errorf("image %d: obstacle %d", i, p.Obstacle)
		}
		if !im.Movable {
			if p.Base != im.Base {
				t.Errorf("image %d moved to %#x", i, p.Base)
			}
			continue
		}
		if p.Base == 0 {
			continue
		}
		again[i].Base, again[i].Settled = p.Base, true
		if p.Base%0x10000 != 0 || !zones[0].Contains(place(i)) && !zones[1].Contains(place(i)) {
			t.Errorf("image %d at %s", i, place(i))
		}
		for j := range images {
			absurd := images[j].Size > 1<<32 || images[j].Base%0x10000 != 0
			if homeless := images[j].Movable && placements[j].Base == 0; i != j && place(i).Overlaps(place(j)) && !absurd && !homeless {
				t.Errorf("images %d and %d: %s, %s", i, j, place(i), place(j))
			}
		}
	}
	for i, p := range prelink.Assign(zones, again) {
		if p.Base != placements[i].Base {
			t.Errorf("a second time, image %d goes from %#x to %#x", i, placements[i].Base, p.Base)
		}
	}
}

func FuzzAssign(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 0, 1, 2, 0, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		var images []prelink.Image
		for ; len(b) >= 3 && len(images) < 200; b = b[3:] {
			im := prelink.Image{Base: uint64(b[0]) << 16, Size: uint64(b[1]) << (b[2] >> 2 & 63), Movable: b[2]&1 != 0, Settled: b[2]&2 != 0}
			switch {
			case b[2]&0x80 != 0:
				im.Base += zones[0].Start
			case b[2]&0x40 != 0:
				im.Base += zones[1].Start
			case b[2]&0x20 != 0:
				im.Base <<= 40
			}
			images = append(images, im)
		}
		placements := prelink.Assign(zones, images)
		if len(placements) != len(images) {
			t.Fatal(len(placements))
		}
		checkPlacements(t, images, placements)
	})
}
