package preload_test

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"winbox/preload"
	"winbox/preload/pe"
)

// encodeReport writes a report as the preloader does.
func encodeReport(stages uint64, numbers ...uint64) []byte {
	b := binary.LittleEndian.AppendUint64([]byte("WBREPT01"), stages)
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

var goodReport = encodeReport(2, 0xc0000000, 0x80000000, 0x81000000, 3, 4, 0x7000, 50000, 1, 9, 0x30000000, 7000)

func TestParseReport(t *testing.T) {
	got, err := preload.ParseReport(goodReport)
	want := &preload.Report{
		Filled: true, Limit: 0xc0000000, SharedHeap: preload.Range{Start: 0x80000000, End: 0x81000000},
		Reserve: preload.StageReport{Holes: 3, Calls: 4, Bytes: 0x7000, Time: 50 * time.Microsecond},
		Fill:    preload.StageReport{Holes: 1, Calls: 9, Bytes: 0x30000000, Time: 7 * time.Microsecond},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"zeroes":          make([]byte, preload.ReportSize),
		"short":           goodReport[:preload.ReportSize-1],
		"long":            append(goodReport[:preload.ReportSize:preload.ReportSize], 0),
		"no stage":        encodeReport(0, 0xc0000000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"three stages":    encodeReport(3, 0xc0000000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"flags":           encodeReport(2|1<<32, 0xc0000000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"no limit":        encodeReport(2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"limit in kernel": encodeReport(2, 1<<63, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"heap reversed":   encodeReport(2, 0xc0000000, 0x81000000, 0x80000000, 0, 0, 0, 0, 0, 0, 0, 0),
		"heap unaligned":  encodeReport(2, 0xc0000000, 0x80000001, 0x81000000, 0, 0, 0, 0, 0, 0, 0, 0),
		"bytes of kernel": encodeReport(2, 0xc0000000, 0, 0, 1, 1, 1<<60, 0, 0, 0, 0, 0),
		"holes of none":   encodeReport(2, 0xc0000000, 0, 0, 9, 9, 0x1000, 0, 0, 0, 0, 0),
		"no calls":        encodeReport(2, 0xc0000000, 0, 0, 0, 0, 0, 0, 1, 0, 0x1000, 0),
		"negative time":   encodeReport(2, 0xc0000000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1<<63),
	} {
		if got, err := preload.ParseReport(b); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
}

func TestReportAddress(t *testing.T) {
	for machine, want := range map[pe.Machine]uint64{
		pe.MachineAMD64: 0x400010108000, pe.MachineI386: 0x7c408000, pe.MachineARM64: 0,
	} {
		if got := preload.ReportAddress(machine); got != want {
			t.Errorf("%s: %#x, want %#x", machine, got, want)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(goodReport)
	f.Add([]byte("WBREPT01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := preload.ParseReport(b)
		if err == nil && (r.Reserve.Time < 0 || r.Fill.Time < 0 || r.SharedHeap.End < r.SharedHeap.Start) {
			t.Errorf("accepted %+v", r)
		}
	})
}
