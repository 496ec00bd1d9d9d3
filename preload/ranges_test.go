package preload_test

import (
	"fmt"
	"reflect"
	"testing"

	"winbox/preload"
)

func TestParseRanges(t *testing.T) {
	tests := []struct {
		in, want, err string
	}{
		{"", "[]", ""},
		{" ", "[]", ""},
		{"10000000-18000000", "[10000000-18000000]", ""},
		{"0x20000-0x30000, 10000-20000,50000-60000", "[10000-30000 50000-60000]", ""},
		{"7fffffff0000-7fffffff1000", "[7fffffff0000-7fffffff1000]", ""},
		{"10000", "", `range "10000": want START-END in hexadecimal, such as 10000000-18000000`},
		{"10000-2000x", "", `range "10000-2000x": want START-END in hexadecimal, such as 10000000-18000000`},
		{"10000-20000,", "", `range "": want START-END in hexadecimal, such as 10000000-18000000`},
		{"20000-10000", "", `range "20000-10000": the end is not after the start`},
		{"10001-20000", "", `range "10001-20000": not a multiple of the page size, 0x1000`},
		{"10000-fffffffffffffffff", "", `range "10000-fffffffffffffffff": want START-END in hexadecimal, such as 10000000-18000000`},
	}
	for _, tt := range tests {
		got, err := preload.ParseRanges(tt.in)
		switch {
		case tt.err == "" && (err != nil || fmt.Sprint(got) != tt.want):
			t.Errorf("%q: got %v, %v; want %s", tt.in, got, err, tt.want)
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%q: got error %v; want %s", tt.in, err, tt.err)
		}
	}
}

func FuzzParseRanges(f *testing.F) {
	f.Add("10000-20000,0x30000-40000")
	f.Fuzz(func(t *testing.T, s string) {
		ranges, err := preload.ParseRanges(s)
		if err != nil {
			return
		}
		for i, r := range ranges {
			if r.Empty() || i > 0 && r.Start <= ranges[i-1].End {
				t.Errorf("%q: %v", s, ranges)
			}
		}
	})
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 64 << 10: "64 KiB", 3 << 19: "1.5 MiB", 1<<20 - 1: "1 MiB",
		1<<47 - 4096: "128 TiB", 1<<64 - 1: "16 EiB",
	} {
		if got := preload.FormatSize(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestUnmarshalStubErrors(t *testing.T) {
	good := "WBLAYT02" + "\x00\x00\xff\xff\xff\x7f\x00\x00" + "\x01\x00\x00\x00" + "\x00\x00\x00\x00" +
		"\x00\x00\x01\x00\x00\x00\x00\x00" + "\x00\x00\x02\x00\x00\x00\x00\x00"
	limit, ranges, err := preload.UnmarshalStub([]byte(good))
	if err != nil || limit != 0x7fffffff0000 || !reflect.DeepEqual(ranges, []preload.StubRange{{Range: preload.Range{Start: 0x10000, End: 0x20000}}}) {
		t.Fatal(limit, ranges, err)
	}
	change := func(off int, v byte) string { return good[:off] + string([]byte{v}) + good[off+1:] }
	for in, want := range map[string]string{
		"":                      "layout: does not start with WBLAYT02",
		change(7, '1'):          "layout: does not start with WBLAYT02",
		change(8, 1):            "layout: limit 0x7fffffff0001 is not the address of a page",
		change(16, 2):           "layout: 40 bytes do not hold 2 ranges",
		change(20, 2):           "layout: unknown flags 0x2",
		change(24, 6):           "layout: range 10000-20000 is of the unknown kind 6",
		change(25, 1):           "layout: range 10000-20000 is of the unknown kind 256",
		change(32, 1):           "layout: range 10000-20001 is empty, unaligned or out of order",
		change(34, 1):           "layout: range 10000-10000 is empty, unaligned or out of order",
		change(38, 1):           "layout: range 10000-1000000020000 is above the limit 0x7fffffff0000",
		good + good[24:]:        "layout: 56 bytes do not hold 1 ranges",
		good[:len(good)-1]:      "layout: 39 bytes do not hold 1 ranges",
		string(make([]byte, 9)): "layout: does not start with WBLAYT02",
	} {
		if _, _, err := preload.UnmarshalStub([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func FuzzUnmarshalStub(f *testing.F) {
	f.Add([]byte("WBLAYT02\x00\x00\xff\xff\xff\x7f\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		limit, ranges, err := preload.UnmarshalStub(b)
		if err != nil {
			return
		}
		last := uint64(0)
		for _, r := range ranges {
			if r.Range.Start < last || r.Range.Empty() || r.Take == preload.TakeReserve && r.Range.End > limit {
				t.Errorf("limit %#x, ranges %v", limit, ranges)
			}
			last = r.Range.End
		}
	})
}
