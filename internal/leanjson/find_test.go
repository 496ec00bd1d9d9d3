package leanjson

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestFind(t *testing.T) {
	for _, test := range []struct{ text, want string }{ // want empty: it is not found
		{`{"a": {"b": {"c": [1, "}"]}}}`, `{"c": [1, "}"]}`},
		{` { "x" : [ { } , "\"{" , -1e5 ] , "a" : { "y":{"b":1} , "b" : 17 } } `, `17`},
		{`{"a":{"b":17}}`, `17`},
		{`{"a":{"b":"x\\"}}`, `"x\\"`},
		{`{"a":{"b":null,"c":2}}`, `null`},
		{`{"a": {"c": {"b": 1}}, "b": 2}`, ""},
		{`{"a": {}}`, ""},
		{`{}`, ""},
		{``, ""},
		{`[]`, ""},
		{`{"a": [{"b": 1}]}`, ""},
		{`{"a": {"b": 1}, "a": {"b": 2}}`, ""},
		{`{"a": {"b": 1, "b": 2}}`, ""},
		{`{"a": {"b": 1}, "a": 2}`, ""},
		{`{"a": 2, "a": {"b": 1}}`, ""},
		{`{"a": {"b": 1}, "\u0061": {"b": 2}}`, ""},
		{`{"a": {"b": [1}`, ""},
		{`{"a": {"b": "1}}`, ""},
		{`{"a": {"b": 1}`, ""},
		{`{"a": {"b": `, ""},
		{`{"a": {"b": "\`, ""},
	} {
		start, end, ok := Find([]byte(test.text), "a", "b")
		if ok != (test.want != "") || ok && test.text[start:end] != test.want {
			t.Errorf("%s: %d to %d, %v", test.text, start, end, ok)
		}
	}
}

// FuzzFind checks against encoding/json: the library sees what is put in the place of what is found, and takes that for a
// value if it takes the whole for one.
func FuzzFind(f *testing.F) {
	for _, text := range []string{
		`{"a":{"b":{"c":[1,"}",{}]},"x":null},"y":[]}`, `{"a":{"b":1},"a":{"b":2}}`, `{"a":{"b":"\\\""}}`, ` {"a" : { "b" : [[]] } , "a\n":1} `, `{"a":{"b":1]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start, end, ok := Find(data, "a", "b")
		if !ok {
			return
		}
		changed := slices.Concat(data[:start], []byte(`"the place"`), data[end:])
		var tree map[string]any
		if err := json.Unmarshal(changed, &tree); err != nil {
			if json.Valid(data) {
				t.Fatalf("%q becomes %q: %v", data, changed, err)
			}
			return
		}
		if a, _ := tree["a"].(map[string]any); a["b"] != "the place" {
			t.Fatalf("%q becomes %q, which is %v", data, changed, tree)
		}
		if json.Valid(data[start:end]) != json.Valid(data) {
			t.Fatalf("%q: %q is valid and the whole is not, or the reverse", data, data[start:end])
		}
	})
}
