package sizes

import "testing"

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1b": 1, "1k": 1 << 10, "1KB": 1 << 10, "1Ki": 1 << 10, "512m": 512 << 20, "1.5g": 3 << 29, "1gb": 1 << 30, "1Gi": 1 << 30, "1gi": 1 << 30,
		"1GiB": 1 << 30, "1g": 1 << 30, "2T": 2 << 40,
	} {
		if n, err := Parse(text); n != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"", "-1", "-5m", "much", "i", "1x", "1gg", "1ii", "0x10", "NaN", "99999999999999g", "9223372036854775807", "1m1"} {
		if n, err := Parse(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}
