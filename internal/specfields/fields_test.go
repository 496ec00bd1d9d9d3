package specfields

import (
	"reflect"
	"slices"
	"testing"
)

type inner struct {
	Number *int16            `json:"number,omitempty"`
	Words  []string          `json:"words"`
	Notes  map[string]string `json:"notes"`
}

type outer struct {
	inner
	Flag    bool             `json:"flag"`
	List    []inner          `json:"list"`
	ByName  map[string]inner `json:"byName"`
	Pointer *inner           `json:"pointer"`
	Windows string           `json:"windows" platform:"windows"`
	Both    string           `json:"both" platform:"linux,windows"`
}

func TestFields(t *testing.T) {
	paths := List(reflect.TypeFor[outer]())
	want := []string{
		"number", "words", "notes", "flag", "list.number", "list.words", "list.notes", "byName.number", "byName.words", "byName.notes",
		"pointer.number", "pointer.words", "pointer.notes", "both",
	}
	if !slices.Equal(paths, want) {
		t.Errorf("fields %q, want %q", paths, want)
	}
	sample := func() outer {
		return outer{List: []inner{{}, {}}, ByName: map[string]inner{"b": {}, "a": {Words: []string{"one"}}}, Pointer: &inner{}}
	}
	for _, path := range paths {
		v := sample()
		if err := Change(&v, path); err != nil {
			t.Error(err)
		}
		if reflect.DeepEqual(v, sample()) {
			t.Errorf("%s: nothing has changed", path)
		}
	}
	v := sample()
	if err := Change(&v, "byName.words"); err != nil || !slices.Equal(v.ByName["a"].Words, []string{"one", "x"}) {
		t.Errorf("%+v, error %v", v, err)
	}
	for _, path := range []string{"list.number", "byName.number", "pointer.number", "windows.more", "none"} {
		if err := Change(&outer{}, path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}
