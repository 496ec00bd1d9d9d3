package preload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"winbox/preload/pe"
)

// Report is what the preloader leaves in a process about its own work. It lies
// in the process's memory, so that the program may have changed it: it informs,
// it proves nothing.
type Report struct {
	// Filled says whether the second stage is over, which starts when the
	// dynamic linker is done.
	Filled bool
	// Limit is the plan's, as in Layout.
	Limit uint64
	// SharedHeap is where the container's shared heap is mapped; empty when it
	// is not.
	SharedHeap Range
	// Reserve is the first stage: the ranges of the plan, taken before any other
	// native code runs.
	Reserve StageReport
	// Fill is the second stage: the holes above the limit.
	Fill StageReport
}

// StageReport is one stage of the preloader's work.
type StageReport struct {
	// Holes is the number of unmapped ranges that were found and taken. In an
	// empty address space every range of a plan is one.
	Holes uint64
	// Calls is the number of mmap calls that it took to find and take them.
	Calls uint64
	// Bytes is how much was taken.
	Bytes uint64
	// Time is how long the stage took; 0 when the container has no clock.
	Time time.Duration
}

// ReportSize is the length of the preloader's report, in bytes.
const ReportSize = 104

// Form of the report, all numbers little-endian: magic, u32 stages that are
// over (0 to 2), u32 0, u64 limit, u64 start and end of the shared heap, then
// for each stage u64 holes, calls, bytes, nanoseconds. preload/stub has it at
// the head of its writable segment.
const (
	reportMagic  = "WBREPT01"
	reportAMD64  = preloaderAMD64 + 0x10108000
	reportI386   = 0x7c408000
	maxStageTime = 1 << 50 // 13 days, in nanoseconds
)

// ReportAddress is where the report lies in a process of the machine
// (Layout.Process); 0 for a machine without a preloader. Read ReportSize bytes
// there, from /proc/PID/mem.
func ReportAddress(process pe.Machine) uint64 {
	switch process {
	case pe.MachineAMD64:
		return reportAMD64
	case pe.MachineI386:
		return reportI386
	}
	return 0
}

// ParseReport decodes a report. Its input is hostile: the program may have
// written anything there.
//
// # Errors
//
// A message, when there is no report (the process did not come through the
// preloader, or its first stage is not over) or numbers that cannot be true.
func ParseReport(b []byte) (*Report, error) {
	le := binary.LittleEndian
	if len(b) != ReportSize || string(b[:len(reportMagic)]) != reportMagic {
		return nil, errors.New("preloader's report: does not start with " + reportMagic)
	}
	stages, zero := le.Uint32(b[8:]), le.Uint32(b[12:])
	if stages < 1 || stages > 2 || zero != 0 {
		return nil, fmt.Errorf("preloader's report: %d stages", stages)
	}
	r := &Report{
		Filled:     stages == 2,
		Limit:      le.Uint64(b[16:]),
		SharedHeap: Range{le.Uint64(b[24:]), le.Uint64(b[32:])},
	}
	if r.Limit == 0 || r.Limit > topAMD64 || r.Limit%pageSize != 0 {
		return nil, fmt.Errorf("preloader's report: limit %#x", r.Limit)
	}
	if h := r.SharedHeap; h != (Range{}) && (h.Empty() || h.End > topAMD64 || (h.Start|h.End)%pageSize != 0) {
		return nil, fmt.Errorf("preloader's report: shared heap at %s", h)
	}
	for i, stage := range []*StageReport{&r.Reserve, &r.Fill} {
		numbers := b[40+32*i:]
		nanoseconds := le.Uint64(numbers[24:])
		*stage = StageReport{le.Uint64(numbers), le.Uint64(numbers[8:]), le.Uint64(numbers[16:]), time.Duration(nanoseconds)}
		if stage.Bytes > topAMD64 || stage.Bytes%pageSize != 0 || stage.Holes > stage.Bytes/pageSize ||
			stage.Calls < stage.Holes || nanoseconds > maxStageTime {
			return nil, fmt.Errorf("preloader's report: stage %d took %d holes of %d bytes by %d calls in %d ns",
				i+1, stage.Holes, stage.Bytes, stage.Calls, nanoseconds)
		}
	}
	return r, nil
}
