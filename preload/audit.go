package preload

import (
	"fmt"
	"strings"
)

// Verdict is what an audit found out about a region.
type Verdict string

// The verdicts. The values are stable.
const (
	// Held: the process is as planned.
	Held Verdict = "held"
	// Broken: it is not.
	Broken Verdict = "broken"
	// Unknown: the memory map does not show it.
	Unknown Verdict = "unknown"
)

// Finding is the outcome for one region of the plan.
type Finding struct {
	// Region is the part of the plan.
	Region Region
	// Verdict is whether it holds.
	Verdict Verdict
	// Detail says what is there, in one sentence.
	Detail string
}

// Audit compares the memory map of a live process, as ParseMaps returns it,
// with the plan: one finding for each region that promises something, in order
// of address. exe is the name of the program's file, whose directory and case
// do not matter.
//
// The image must start with the first page of its file; nothing may be in the
// lowest 64 KiB; no native code and no hole may be in reserved and fixed ranges.
// Forecasts, native and free regions promise nothing.
func Audit(l *Layout, maps []Mapping, exe string) []Finding {
	var findings []Finding
	for _, r := range l.Regions {
		var verdict Verdict
		var detail string
		inside := overlapping(maps, r.Range)
		switch {
		case r.Kind == KindImage:
			verdict, detail = auditImage(r, maps, inside, exe)
		case r.State == StateUnmapped:
			verdict, detail = auditUnmapped(inside)
		case r.Kind == KindSharedUserData:
			verdict, detail = auditSharedUserData(inside)
		case r.State == StateReserved || r.State == StateFixed:
			verdict, detail = auditReserved(r, inside)
		case r.State == StateFilled:
			verdict, detail = auditFilled(r, inside)
		default:
			continue
		}
		findings = append(findings, Finding{r, verdict, detail})
	}
	return findings
}

// overlapping returns the mappings that have a byte in r.
func overlapping(maps []Mapping, r Range) []Mapping {
	first := 0
	for first < len(maps) && maps[first].Range.End <= r.Start {
		first++
	}
	last := first
	for last < len(maps) && maps[last].Range.Start < r.End {
		last++
	}
	return maps[first:last]
}

func auditImage(r Region, maps, inside []Mapping, exe string) (Verdict, string) {
	isExe := func(m *Mapping) bool {
		return m.Inode != 0 && m.Offset == 0 && IsFile(m.file(), exe)
	}
	if r.State == StateForecast {
		for i := range maps {
			if isExe(&maps[i]) {
				return Unknown, fmt.Sprintf("planned away from its base, and at %#x", maps[i].Range.Start)
			}
		}
		return Unknown, "planned away from its base, and not found"
	}
	if len(inside) > 0 && inside[0].Range.Start == r.Range.Start && isExe(&inside[0]) {
		if m := firstNative(inside); m != nil {
			return Broken, fmt.Sprintf("native code in the image's range: %s at %s", m.Path, m.Range)
		}
		return Held, fmt.Sprintf("at its base %#x", r.Range.Start)
	}
	for i := range maps {
		if isExe(&maps[i]) {
			return Broken, fmt.Sprintf("at %#x instead of %#x", maps[i].Range.Start, r.Range.Start)
		}
	}
	return Broken, fmt.Sprintf("%s is not mapped at %#x", exe, r.Range.Start)
}

func auditUnmapped(inside []Mapping) (Verdict, string) {
	if len(inside) > 0 {
		return Broken, "mapped: " + inside[0].describe()
	}
	return Held, "nothing is mapped"
}

func auditSharedUserData(inside []Mapping) (Verdict, string) {
	for i := range inside {
		if m := &inside[i]; m.Range.Contains(Range{sharedUserData, sharedUserData + pageSize}) && m.Perms[0] == 'r' && !m.Native() {
			return Held, "readable at " + fmt.Sprintf("%#x", uint64(sharedUserData))
		}
	}
	return Broken, fmt.Sprintf("nothing readable at %#x", uint64(sharedUserData))
}

// auditReserved looks for native code in a range that was to be kept from it,
// and for holes that native code could still get.
func auditReserved(r Region, inside []Mapping) (Verdict, string) {
	if m := firstNative(inside); m != nil {
		return Broken, "native code: " + m.describe()
	}
	if free := r.Range.Size() - covered(r.Range, inside); free > 0 {
		if r.HandedBack {
			return Held, "no native code; " + FormatSize(free) + " handed back by the engine"
		}
		return Broken, FormatSize(free) + " not reserved"
	}
	return Held, "no native code and no hole"
}

func auditFilled(r Region, inside []Mapping) (Verdict, string) {
	if free := r.Range.Size() - covered(r.Range, inside); free > 0 {
		return Broken, FormatSize(free) + " not filled"
	}
	return Held, "no hole is left"
}

// IsFile compares the name of a mapped file with that of a program, whose
// directory and case do not matter.
func IsFile(name, exe string) bool {
	return strings.EqualFold(name, exe[strings.LastIndexByte(exe, '/')+1:])
}

func firstNative(maps []Mapping) *Mapping {
	for i := range maps {
		if maps[i].Native() {
			return &maps[i]
		}
	}
	return nil
}

// covered is how many bytes of r the mappings take.
func covered(r Range, maps []Mapping) uint64 {
	sum := uint64(0)
	for _, m := range maps {
		sum += m.Range.intersect(r).Size()
	}
	return sum
}

func (m *Mapping) describe() string {
	if m.Path == "" {
		return fmt.Sprintf("memory at %s (%s)", m.Range, m.Perms)
	}
	return fmt.Sprintf("%s at %s (%s)", m.Path, m.Range, m.Perms)
}
