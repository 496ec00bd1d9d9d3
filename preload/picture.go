package preload

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// pictureFill is how each state looks, at the left edge of a region.
var pictureFill = map[State]string{
	StateUnmapped: "╳", StateReserved: "░", StateFixed: "█", StateForecast: "▒", StateNative: "n", StateFree: " ", StateFilled: "╱",
}

// Picture draws the plan for a terminal: high addresses on top, the axis at the
// left, a box for each region, not to scale. It is made of plain UTF-8 box
// characters, without colour; every line is at most 100 columns wide.
func (l *Layout) Picture() string {
	const inner = 60
	axis := 0
	for _, r := range l.Regions {
		axis = max(axis, len(fmt.Sprintf("%#x", r.Range.End)))
	}
	var b strings.Builder
	rule := func(addr uint64, left, right string) {
		fmt.Fprintf(&b, "%*s %s%s%s\n", axis, fmt.Sprintf("%#x", addr), left, strings.Repeat("─", inner), right)
	}
	regions := slices.Clone(l.Regions)
	slices.Reverse(regions)
	rule(regions[0].Range.End, "┌", "┐")
	for i, r := range regions {
		fill := strings.Repeat(pictureFill[r.State], 3)
		size := FormatSize(r.Range.Size())
		gap := inner - 6 - utf8.RuneCountInString(r.Name) - len(size)
		fmt.Fprintf(&b, "%*s │%s %s%s%s │\n", axis, "", fill, r.Name, strings.Repeat(" ", max(gap, 1)), size+" ")
		if i < len(regions)-1 {
			rule(r.Range.Start, "├", "┤")
		} else {
			rule(r.Range.Start, "└", "┘")
		}
	}
	fmt.Fprintf(&b, "%*s  █ at this address  ▒ forecast  ░ reserved  n native code\n", axis, "")
	fmt.Fprintf(&b, "%*s  ╳ never mapped  ╱ filled up after start; not to scale\n", axis, "")
	return b.String()
}
