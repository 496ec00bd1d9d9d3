package x11

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// entry is one of an authority file.
func entry(family uint16, fields ...string) []byte {
	data := binary.BigEndian.AppendUint16(nil, family)
	for _, field := range fields {
		data = append(binary.BigEndian.AppendUint16(data, uint16(len(field))), field...)
	}
	return data
}

func TestFindCookie(t *testing.T) {
	file := slices.Concat(
		entry(0, "\x7f\x00\x00\x01", "0", CookieName, "internet"),
		entry(familyLocal, "other", "0", CookieName, "other"),
		entry(familyLocal, "here", "1", CookieName, "one"),
		entry(familyLocal, "here", "0", "XDM-AUTHORIZATION-1", "xdm"),
		entry(familyLocal, "here", "0", CookieName, "zero"),
		entry(familyWild, "", "7", CookieName, "wild"),
	)
	for number, want := range map[string]string{"0": "zero", "1": "one", "7": "wild", "2": "", "": ""} {
		if got, err := FindCookie(file, "here", number); string(got) != want || err != nil {
			t.Errorf("display %q: %q, %v; want %q", number, got, err, want)
		}
	}
	for cut := range len(file) {
		if _, err := FindCookie(file[:cut], "nowhere", "99"); err == nil && !slices.Contains(ends(file), cut) {
			t.Errorf("no error for the first %d bytes", cut)
		}
	}
	if got, err := FindCookie(Authority([]byte("secret"), "5"), "anything", "5"); string(got) != "secret" || err != nil {
		t.Errorf("what Authority makes: %q, %v", got, err)
	}
	if got, err := FindCookie(entry(familyLocal, "here", "", CookieName, "any"), "here", "3"); string(got) != "any" || err != nil {
		t.Errorf("an entry for all numbers: %q, %v", got, err)
	}
}

// ends are the places between the entries of a file.
func ends(file []byte) []int {
	list := []int{0}
	for at := 0; at < len(file); {
		at += 2
		for range 4 {
			at += 2 + int(binary.BigEndian.Uint16(file[at:]))
		}
		list = append(list, at)
	}
	return list
}

// FuzzFindCookie: a cookie is part of the file that it was found in.
func FuzzFindCookie(f *testing.F) {
	f.Add(entry(familyLocal, "here", "0", CookieName, "zero"))
	f.Add(Authority([]byte("secret"), "0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cookie, err := FindCookie(data, "here", "0")
		if err != nil && cookie != nil || !bytes.Contains(data, cookie) {
			t.Errorf("%q, %v", cookie, err)
		}
	})
}
