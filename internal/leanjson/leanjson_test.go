package leanjson

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

type inner struct {
	Major int64 `json:"major"`
}

type outer struct {
	inner
	Text    string            `json:"text"`
	Maybe   *bool             `json:"maybe,omitempty"`
	List    []inner           `json:"list,omitempty"`
	Words   map[string]string `json:"words"`
	Small   int8              `json:"small,omitempty"`
	Large   uint64            `json:"large"`
	Real    float64           `json:"real,omitempty"`
	Any     any               `json:"any,omitempty"`
	Time    time.Time         `json:"time"`
	Nothing []string          `json:"nothing"`
}

var texts = []string{
	`{}`,
	`null`,
	`{"text": "a\u00e4\ud83d\ude00\n", "major": -3, "maybe": false, "unknown": [{}]}`,
	`{"list": [{"major": 1}, {"major": 9223372036854775807}, {}], "words": {"a": "b", "": "c"}, "small": -128, "large": 18446744073709551615}`,
	`{"real": 1.5e3, "time": "2026-11-22T08:23:10.179161853Z", "nothing": [], "words": {}}`,
	`{"list": null, "maybe": null, "text": null, "large": null}`,
	`{"text": "\"\\\/\b\f\n\r\t", "words": {"\"a\"\\": "\tb", "c": "\\u0041\u0041", "<": "&\u007f"}}`,
	` { "unknown" : [ 1 , -0.5E+3 , { "a" : [ ] , "b" : "\"\\" } , true , null ] , "text" : "\u00e4ä\n" , "any" : { "x" : [ false , "y" ] } } `,
}

// TestAsLibrary compares with encoding/json, in both directions.
func TestAsLibrary(t *testing.T) {
	for _, text := range texts {
		var got, want outer
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if err := Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, the library has %+v", text, got, want)
		}
		data, err := Marshal(&got)
		if err != nil {
			t.Fatal(err)
		}
		var again outer
		if err := json.Unmarshal(data, &again); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: written as %s: %v", text, data, err)
		}
		sameText(t, data, &got)
	}
}

// TestEmbeddedPointer checks that the fields of what is embedded by a pointer are
// written, unless that is nil.
func TestEmbeddedPointer(t *testing.T) {
	type whole struct {
		*Embedded
		Text string `json:"text"`
	}
	for _, v := range []whole{{Text: "a"}, {Embedded: &Embedded{Major: 5}, Text: "b"}} {
		data, err := Marshal(&v)
		if err != nil {
			t.Fatal(err)
		}
		sameText(t, data, &v)
	}
}

// Embedded is exported, as the library wants it of what is embedded by a pointer.
type Embedded struct {
	Major int64 `json:"major"`
}

// sameText checks that data is what the library writes, but for the order of keys.
func sameText(t *testing.T, data []byte, v any) {
	t.Helper()
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal(data, &a) != nil || json.Unmarshal(want, &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("written: %s, the library writes %s", data, want)
	}
}

// TestTwice checks that of a key that occurs twice the last counts, with all of it.
func TestTwice(t *testing.T) {
	type whole struct {
		Outer outer `json:"outer"`
	}
	text := `{"outer": {"text": "a", "large": 1}, "outer": {"large": 2, "list": [{"major": 1}, {"major": 2}], "list": [{}], "words": {"a": "b"}, "words": {"c": "d"}}}`
	var got whole
	want := whole{outer{Large: 2, List: []inner{{}}, Words: map[string]string{"c": "d"}}}
	if err := Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAny checks that numbers without a type stay as they are.
func TestAny(t *testing.T) {
	const text = `{"a":[12345678901234567890,-0.50,"1"]}`
	var v any
	if err := Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	if data, err := Marshal(v); err != nil || string(data) != text {
		t.Errorf("%s, %v", data, err)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct{ text, err string }{
		{``, "not valid JSON: unexpected end of JSON input"},
		{`{"text": "a`, "not valid JSON: unexpected end of JSON input"},
		{`{} {}`, `not valid JSON: invalid character '{' after top-level value`},
		{`{"text" 1}`, `not valid JSON: invalid character '1' after object key`},
		{`[]`, "the whole: JSON type array where the specification wants leanjson.outer"},
		{`{"text": 1}`, "text: JSON type number 1 where the specification wants string"},
		{`{"text": true}`, "text: JSON type bool where the specification wants string"},
		{`{"maybe": "no"}`, "maybe: JSON type string where the specification wants bool"},
		{`{"list": [{}, {"major": {}}]}`, "list[1].major: JSON type object where the specification wants int64"},
		{`{"list": {}}`, "list: JSON type object where the specification wants []leanjson.inner"},
		{`{"words": {"a": 1}}`, "words.a: JSON type number 1 where the specification wants string"},
		{`{"words": []}`, "words: JSON type array where the specification wants map[string]string"},
		{`{"small": 128}`, "small: JSON type number 128 where the specification wants int8"},
		{`{"small": 1.5}`, "small: JSON type number 1.5 where the specification wants int8"},
		{`{"large": -1}`, "large: JSON type number -1 where the specification wants uint64"},
		{`{"time": 5}`, "time: JSON type number 5 where the specification wants time.Time"},
		{`{"time": "yesterday"}`, "time: "},
		{strings.Repeat(`[`, 20000), "not valid JSON: "},
		{`{"text": 1, "list": [}`, "not valid JSON: "},
		{`{"unknown": ` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `}`, "not valid JSON: invalid character '[' exceeded max depth"},
		{`{"text": "a\x"}`, "not valid JSON: invalid character 'x' in string escape code"},
		{`{"text": "a` + "\n" + `"}`, `not valid JSON: invalid character '\n' in string literal`},
		{`{"small": 01}`, "not valid JSON: invalid character '1' after object key:value pair"},
		{`{"small": 1.}`, "not valid JSON: invalid character '}' after decimal point in numeric literal"},
		{`{"list": [{},]}`, "not valid JSON: invalid character ']' looking for beginning of value"},
		{`{"text": "a",}`, "not valid JSON: invalid character '}' looking for beginning of object key string"},
		{`{"maybe": truth}`, "not valid JSON: invalid character 't' in literal true"},
	}
	for _, test := range tests {
		var v outer
		if err := Unmarshal([]byte(test.text), &v); err == nil || !strings.HasPrefix(err.Error(), test.err) {
			t.Errorf("%.40s: error %v, want %q", test.text, err, test.err)
		}
	}
}

// FuzzUnmarshal checks, on the type that matters most, that what is accepted is
// what the library reads in what is written of it.
func FuzzUnmarshal(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"ociVersion": "1.0.2", "process": {"args": ["a"], "rlimits": [{"type": "A", "hard": 1, "soft": 1}]},
		"linux": {"resources": {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]}}, "sysctl": {"a": "b"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var nothing struct{}
		if err := Unmarshal(data, &nothing); err == nil != json.Valid(data) && !errors.As(err, new(*TypeError)) {
			t.Fatalf("%q: %v", data, err)
		}
		var spec, again specs.Spec
		if err := Unmarshal(data, &spec); err != nil {
			if json.Valid(data) && strings.Contains(err.Error(), "not valid JSON") {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatalf("%q is accepted", data)
		}
		written, err := Marshal(&spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		sameText(t, written, &again)
	})
}
