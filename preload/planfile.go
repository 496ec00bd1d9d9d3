package preload

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"winbox/preload/pe"
)

// planMagic begins a plan that is kept; the number changes with the form.
const planMagic = "winbox plan 2"

// maxPlan bounds the size of a plan that is kept, in bytes.
const maxPlan = 1 << 20

// MarshalText writes a plan in full, for those who are to compare it with what
// has become of it: one line for each region.
func (l *Layout) MarshalText() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nmachine %x\nprocess %x\nlimit %x\nprogram-limit %x\nstack %x\nmmap-min-addr %x\naddress-limit %x\nloader %s\nnew-wow64 %t\nshared-heap %x\nkeeps-reserved %t\nlegacy %t\nsmallest-stack %x\nreserve %q\nmoved %q\n", planMagic,
		uint16(l.Machine), uint16(l.Process), l.Limit, l.ProgramLimit, l.StackSize, l.options.MmapMinAddr, l.options.AddressLimit, l.loader, l.options.NewWoW64, l.options.SharedHeap, l.options.KeepsReserved, l.options.Legacy, l.options.SmallestStack, formatRanges(l.options.Reserve), l.Moved)
	for _, r := range l.Regions {
		fmt.Fprintf(&b, "region %s %s %s %t %t %t %t %q\n", r.Range, r.Kind, r.State, r.reserved, r.engine, r.HandedBack, r.Pool, r.Name)
	}
	return b.Bytes(), nil
}

// UnmarshalText reads what MarshalText has written.
//
// # Errors
//
// Anything of another form, and regions that do not follow one another from 0 on.
func (l *Layout) UnmarshalText(text []byte) error {
	if len(text) > maxPlan || !strings.HasPrefix(string(text), planMagic+"\n") {
		return errors.New("plan: not one that this version of winbox has written")
	}
	*l = Layout{}
	var machine, process uint16
	var reserve string
	in := bytes.NewReader(text[len(planMagic)+1:])
	if _, err := fmt.Fscanf(in, "machine %x\nprocess %x\nlimit %x\nprogram-limit %x\nstack %x\nmmap-min-addr %x\naddress-limit %x\nloader %x-%x\nnew-wow64 %t\nshared-heap %x\nkeeps-reserved %t\nlegacy %t\nsmallest-stack %x\nreserve %q\nmoved %q\n",
		&machine, &process, &l.Limit, &l.ProgramLimit, &l.StackSize, &l.options.MmapMinAddr, &l.options.AddressLimit, &l.loader.Start, &l.loader.End, &l.options.NewWoW64, &l.options.SharedHeap, &l.options.KeepsReserved, &l.options.Legacy, &l.options.SmallestStack, &reserve, &l.Moved); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	var err error
	if l.options.Reserve, err = ParseRanges(reserve); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	l.Machine, l.Process = pe.Machine(machine), pe.Machine(process)
	l.options.Loader = l.loader
	for in.Len() > 0 {
		var r Region
		if _, err := fmt.Fscanf(in, "region %x-%x %s %s %t %t %t %t %q\n", &r.Range.Start, &r.Range.End, &r.Kind, &r.State, &r.reserved, &r.engine, &r.HandedBack, &r.Pool, &r.Name); err != nil {
			return fmt.Errorf("plan: region %d: %w", len(l.Regions), err)
		}
		last := uint64(0)
		if n := len(l.Regions); n > 0 {
			last = l.Regions[n-1].Range.End
		}
		if r.Range.Empty() || r.Range.Start != last {
			return fmt.Errorf("plan: region %d: %s does not follow %#x", len(l.Regions), r.Range, last)
		}
		l.Regions = append(l.Regions, r)
	}
	if len(l.Regions) == 0 {
		return errors.New("plan: no regions")
	}
	return nil
}

// Again plans for another program of the same process tree: with the facts that
// this plan was made with, for the program's own machine.
//
// # Errors
//
// Those of Plan.
func (l *Layout) Again(img *pe.Image) (*Layout, error) {
	opt := l.options
	if img.Machine != l.Machine {
		// Another loader, and nobody has noted where that is linked.
		opt.Loader, opt.AddressLimit = Range{}, 0
	}
	return Plan(img, opt)
}
