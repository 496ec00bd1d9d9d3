package wine

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMakeChanges changes code that is there once, and nothing where it is not, or more than once.
func TestMakeChanges(t *testing.T) {
	one := change{"", "b8 .. 00 e8 .. ..", ".. .. .. 90 90 90"}
	two := change{"", "ba 01 e8", ".. 02 .."}
	for name, test := range map[string]struct {
		file    string
		changes []change
		made    bool
		want    string
	}{
		"both":              {"..\xb8\x07\x00\xe8\x01\x02.\xba\x01\xe8", []change{one, two}, true, "..\xb8\x07\x00\x90\x90\x90.\xba\x02\xe8"},
		"made before":       {"..\xb8\x07\x00\x90\x90\x90.\xba\x02\xe8", []change{one, two}, true, ""},
		"one made before":   {"\xb8\x07\x00\x90\x90\x90\xba\x01\xe8", []change{one, two}, true, "\xb8\x07\x00\x90\x90\x90\xba\x02\xe8"},
		"the second is not": {"..\xb8\x07\x00\xe8\x01\x02.\xba\x03\xe8", []change{one, two}, false, ""},
		"twice":             {"\xba\x01\xe8\xba\x01\xe8", []change{two}, false, ""},
		"there and made":    {"\xba\x01\xe8\xba\x02\xe8", []change{two}, false, ""},
		"cut off":           {"..\xb8\x07\x00\xe8\x01", []change{one}, false, ""},
		"empty":             {"", []change{one}, false, ""},
		"shorter":           {"\xba\x01", []change{two}, false, ""},
	} {
		file := filepath.Join(t.TempDir(), "code")
		if err := os.WriteFile(file, []byte(test.file), 0o644); err != nil {
			t.Fatal(err)
		}
		want := test.want
		if want == "" {
			want = test.file
		}
		for i := range test.changes {
			test.changes[i].file = file
		}
		if made, err := makeChanges(test.changes...); err != nil || made != test.made || readText(t, file) != want {
			t.Errorf("%s: %v, %v, and the file is %q, want %v and %q", name, made, err, readText(t, file), test.made, want)
		}
	}
	// Of two files, neither is changed when one of them cannot be.
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	if err := os.WriteFile(first, []byte("\xba\x01\xe8"), 0o644); err != nil {
		t.Fatal(err)
	}
	two.file, one.file = first, second
	if made, err := makeChanges(two, one); err == nil || made {
		t.Errorf("no file: %v, %v", made, err)
	}
	if err := os.WriteFile(second, []byte("none"), 0o644); err != nil {
		t.Fatal(err)
	}
	if made, err := makeChanges(two, one); err != nil || made || readText(t, first) != "\xba\x01\xe8" {
		t.Errorf("one of two: %v, %v, %q", made, err, readText(t, first))
	}
}
