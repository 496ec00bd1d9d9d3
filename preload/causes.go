package preload

import (
	"fmt"
	"math"

	"winbox/internal/diagnosis"
)

// ProcessFacts are facts of a process that decide which addresses it can have.
type ProcessFacts struct {
	// Personality is that of personality(2).
	Personality uint64
	// AddressSpace is RLIMIT_AS, in bytes.
	AddressSpace uint64
}

// noRandomize is ADDR_NO_RANDOMIZE of personality(2).
const noRandomize = 0x40000

// Causes says what may have broken the promises of a plan, and what to do about
// it: nothing when none is broken.
func (s *Survey) Causes(h Host) []diagnosis.Check {
	if s.Broken() == 0 {
		return nil
	}
	var all []diagnosis.Check
	add := func(name, found, remedy string) {
		all = append(all, diagnosis.Check{Area: addressSpace, Name: name, Status: diagnosis.Fail, Found: found, Remedy: remedy})
	}
	if s.Report == nil {
		add("preloader", "the process has not come through winbox's preloader, which makes room for programs",
			"start programs by winbox launch, create, run or exec; a Wine loader that is executed directly reserves nothing")
	}
	if s.Facts.Personality&noRandomize == 0 {
		add("randomisation", "it is on in this process: native code may be anywhere", remedyRandomize)
	}
	mappings := 0
	for i := range s.Parts {
		mappings += len(s.Parts[i].Mappings)
	}
	if uint64(mappings)+100 > h.MaxMapCount {
		add("vm.max_map_count", fmt.Sprintf("the process has %d mappings of the %d it may have", mappings, h.MaxMapCount), remedyMaxMapCount)
	}
	for _, f := range s.Findings {
		if f.Verdict == Broken && f.Region.Range.Start < h.MmapMinAddr && f.Region.State != StateUnmapped {
			add("vm.mmap_min_addr", fmt.Sprintf("nothing below %#x can be had", h.MmapMinAddr), remedyMmapMinAddr)
			break
		}
	}
	if s.Facts.AddressSpace != math.MaxUint64 {
		add("RLIMIT_AS", fmt.Sprintf("the process may have %s of address space", FormatSize(s.Facts.AddressSpace)), remedyAddressSpace)
	}
	return all
}
