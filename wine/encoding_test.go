package wine

import (
	"encoding/binary"
	"testing"
)

// fakeLocales is a table of locales: n of them, of a size each.
func fakeLocales(n, size int) []byte {
	const start, first = 0x20, 0x48
	file := make([]byte, start+first+n*size)
	le := binary.LittleEndian
	le.PutUint32(file[16:], start)
	copy(file[start+12:], "NSDS")
	le.PutUint16(file[start+32:], uint16(n))
	le.PutUint16(file[start+34:], uint16(size))
	le.PutUint32(file[start+36:], first)
	return file
}

func TestSetCodePages(t *testing.T) {
	const n, size = 3, 0x120
	file := fakeLocales(n, size)
	if err := setCodePages(file, 932); err != nil {
		t.Fatal(err)
	}
	want := fakeLocales(n, size)
	for i := range n {
		at := 0x20 + 0x48 + i*size
		copy(want[at+0x6e:], "\xa4\x03\xa4\x03")
	}
	if string(file) != string(want) {
		t.Errorf("% x\nwant\n% x", file, want)
	}
	for cut := range len(file) {
		if err := setCodePages(file[:cut:cut], 932); err == nil {
			t.Fatalf("no error for the first %d of %d bytes", cut, len(file))
		}
	}
	for name, bad := range map[string][]byte{"no locales": fakeLocales(0, size), "small locales": fakeLocales(n, 0x70), "other magic": append(make([]byte, 20), file[20:]...)} {
		if err := setCodePages(bad, 932); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzSetCodePages(f *testing.F) {
	f.Add(fakeLocales(2, 0x120))
	f.Add(fakeLocales(0, 0))
	f.Add([]byte("NSDS"))
	f.Fuzz(func(t *testing.T, file []byte) {
		setCodePages(file, 1252)
	})
}

func TestEncoding(t *testing.T) {
	for text, want := range map[Encoding]uint16{"": 65001, "utf-8": 65001, "cp1252": 1252, "cp65001": 65001, "utf-16": 65001} {
		if got, err := text.codePage(); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []Encoding{"UTF8", "1252", "cp", "cp0", "cp-1", "cp65536", "cp1252 ", "latin1"} {
		if got, err := text.codePage(); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}
