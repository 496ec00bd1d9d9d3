package preload_test

import (
	"slices"
	"testing"

	"winbox/preload"
	"winbox/preload/pe"
)

// TestLibraryRanges holds the ranges for libraries to every plan: nothing native may get into them.
func TestLibraryRanges(t *testing.T) {
	for _, tt := range plans {
		img := image(t, tt.im)
		l, err := preload.Plan(img, tt.opt)
		if err != nil {
			t.Fatal(err)
		}
		ranges := preload.LibraryRanges(img.Machine)
		if len(ranges) == 0 {
			t.Errorf("%s: none", tt.name)
		}
		for _, own := range preload.EngineRanges(img.Machine) {
			if slices.ContainsFunc(ranges, own.Overlaps) {
				t.Errorf("%s: %s is for an application's libraries, too", tt.name, own)
			}
			ranges = append(ranges, own)
		}
		for _, r := range ranges {
			if !reserved(l, r.Start, r.End) || r.Start%pe.Granularity != 0 || r.End%pe.Granularity != 0 {
				t.Errorf("%s: %s is not reserved: %v", tt.name, r, l.Reservations())
			}
		}
	}
	if preload.LibraryRanges(pe.MachineARM64) != nil || preload.EngineRanges(pe.MachineARM64) != nil {
		t.Error("ranges for a machine that does not run")
	}
}
