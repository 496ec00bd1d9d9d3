package prelink

import (
	"cmp"
	"slices"

	"winbox/preload"
	"winbox/preload/pe"
)

// Image is what Assign has to know of a program or library.
type Image struct {
	// Base and Size are what its headers say, in bytes; both may be absurd.
	Base, Size uint64
	// Movable says that it can get another base.
	Movable bool
	// Settled says that it had its base from an earlier run: it stays, and
	// others move, when there is a choice.
	Settled bool
}

// Placement is what Assign has decided on one image.
type Placement struct {
	// Base is where it is to be; 0 when it has to move and there is no room.
	Base uint64
	// Obstacle is the index of an image that keeps it from its old base, or -1.
	Obstacle int
}

// Assign gives each movable image of one machine a base at which it is inside
// the zones and overlaps no other image. Images that cannot move keep theirs,
// even where these overlap. An image that can stay does, so that a second run
// changes nothing; the others go as high as possible in the first zone with
// room. The result has the order of images.
func Assign(zones []preload.Range, images []Image) []Placement {
	a := &assigner{zones: zones}
	result := make([]Placement, len(images))
	order := make([]int, len(images))
	for i := range order {
		order[i] = i
	}
	rank := func(i int) int {
		switch im := &images[i]; {
		case !im.Movable:
			return 0
		case im.Settled:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(rank(i), rank(j)) })

	var moving []int
	for _, i := range order {
		im := &images[i]
		want, ok := placeOf(im.Base, im.Size)
		result[i] = Placement{Base: im.Base, Obstacle: -1}
		switch {
		case !im.Movable:
			if ok {
				a.block(want, i)
			}
		case !ok || !a.inZone(want):
			moving = append(moving, i)
		default:
			if result[i].Obstacle = a.overlapping(want); result[i].Obstacle >= 0 {
				moving = append(moving, i)
			} else {
				a.take(want, i)
			}
		}
	}
	for _, i := range moving {
		result[i].Base = 0
		if place, ok := a.find(images[i].Size); ok {
			a.take(place, i)
			result[i].Base = place.Start
		}
	}
	return result
}

// placeOf is the address space that an image takes; false when there is no such place.
func placeOf(base, size uint64) (preload.Range, bool) {
	end := base + size + pe.Granularity - 1
	if size == 0 || size > 1<<32 || base%pe.Granularity != 0 || end < base {
		return preload.Range{}, false
	}
	return preload.Range{Start: base, End: end &^ (pe.Granularity - 1)}, true
}

// assigner keeps the places that are taken.
type assigner struct {
	zones []preload.Range
	// taken ascend and do not overlap.
	taken []owned
}

// owned is the place of the image with that index.
type owned struct {
	preload.Range
	image int
}

func (a *assigner) inZone(r preload.Range) bool {
	return slices.ContainsFunc(a.zones, func(zone preload.Range) bool { return zone.Contains(r) })
}

// after is the index of the first taken place that ends after address.
func (a *assigner) after(address uint64) int {
	i, _ := slices.BinarySearchFunc(a.taken, address, func(o owned, address uint64) int {
		if o.End <= address {
			return -1
		}
		return 1
	})
	return i
}

// overlapping is the image that has a part of r, or -1.
func (a *assigner) overlapping(r preload.Range) int {
	if i := a.after(r.Start); i < len(a.taken) && a.taken[i].Overlaps(r) {
		return a.taken[i].image
	}
	return -1
}

func (a *assigner) take(r preload.Range, image int) {
	a.taken = slices.Insert(a.taken, a.after(r.Start), owned{r, image})
}

// block takes what is still free of r, which may overlap places that are taken.
func (a *assigner) block(r preload.Range, image int) {
	for !r.Empty() {
		i, free := a.after(r.Start), r
		if i < len(a.taken) {
			free.End = min(free.End, a.taken[i].Start)
		}
		if free.Empty() {
			r.Start = a.taken[i].End
			continue
		}
		a.take(free, image)
		r.Start = free.End
	}
}

// find is the highest free place of that size in the first zone that has one.
func (a *assigner) find(size uint64) (preload.Range, bool) {
	place, ok := placeOf(0, size)
	if !ok {
		return preload.Range{}, false
	}
	size = place.End
	for _, zone := range a.zones {
		i, _ := slices.BinarySearchFunc(a.taken, zone.End, func(o owned, end uint64) int { return cmp.Compare(o.Start, end) })
		end := zone.End
		for i--; ; i-- {
			start := zone.Start // of the gap that ends at end
			if i >= 0 {
				start = max(start, a.taken[i].End)
			}
			if start < end && end-start >= size {
				return preload.Range{Start: end - size, End: end}, true
			}
			if i < 0 || a.taken[i].Start <= zone.Start {
				break
			}
			end = a.taken[i].Start
		}
	}
	return preload.Range{}, false
}
