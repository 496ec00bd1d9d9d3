package leanjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// TypeError is a value that does not fit where it stands.
type TypeError struct {
	Field string // as in process.args[1]; empty for the whole
	Value string // what was found: "string", "number -1" …
	Type  reflect.Type
}

func (e *TypeError) Error() string {
	field := e.Field
	if field == "" {
		field = "the whole"
	}
	return fmt.Sprintf("%s: JSON type %s where the specification wants %s", field, e.Value, e.Type)
}

// Unmarshal reads one JSON value into what v points to. Unknown keys are passed
// over.
//
// # Errors
//
// A [TypeError], or what encoding/json says of text that is not JSON.
func Unmarshal(data []byte, v any) error {
	d := decoder{data: data}
	err := d.value(reflect.ValueOf(v).Elem())
	if err == nil && d.next() != 0 {
		err = errSyntax
	}
	if err != nil && !json.Valid(data) {
		return explain(data) // also when a value that does not fit came first
	}
	return err
}

// errSyntax is text that is not JSON. The library knows better what is wrong with it.
var errSyntax = errors.New("not valid JSON")

// explain says why a text is not JSON, in the library's words.
func explain(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	var tree any
	if err := d.Decode(&tree); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("unexpected end of JSON input")
		}
		return fmt.Errorf("%w: %w", errSyntax, err)
	}
	if rest := bytes.TrimLeft(data[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("%w: invalid character %q after top-level value", errSyntax, rest[0])
	}
	return errSyntax
}

// decoder steps through JSON text.
type decoder struct {
	data []byte
	at   int
	path []step
}

// step is a field or key that leads into the value, or an index, when name is empty.
type step struct {
	name  string
	index int
}

// maxDepth is how deep values may be nested, as with encoding/json.
const maxDepth = 10000

// where is the path of the value that is being read, as in a TypeError.
func (d *decoder) where() string {
	var b strings.Builder
	for _, s := range d.path {
		switch {
		case s.name == "":
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case b.Len() == 0:
			b.WriteString(s.name)
		default:
			b.WriteString("." + s.name)
		}
	}
	return b.String()
}

// mismatch is the error of a value that is found where v is to be.
func (d *decoder) mismatch(v reflect.Value, found string) error {
	return &TypeError{Field: d.where(), Value: found, Type: v.Type()}
}

// next is the next byte that is not white space, 0 at the end.
func (d *decoder) next() byte {
	for ; d.at < len(d.data); d.at++ {
		switch c := d.data[d.at]; c {
		case ' ', '\t', '\r', '\n':
		case 0:
			return 1 // which nothing begins with either
		default:
			return c
		}
	}
	return 0
}

// value reads the value that begins here into v, or steps over it if v is the zero
// Value. null leaves v as it is, as with encoding/json.
func (d *decoder) value(v reflect.Value) error {
	c := d.next()
	if c == 'n' {
		return d.word("null")
	}
	if v.IsValid() {
		if v.Kind() == reflect.Pointer {
			p := reflect.New(v.Type().Elem())
			if err := d.value(p.Elem()); err != nil {
				return err
			}
			v.Set(p)
			return nil
		}
		if v.Kind() == reflect.Interface {
			return d.any(v)
		}
		if v.Type().PkgPath() != "" { // of a type with a name, which may have methods
			if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
				return d.text(v, text)
			}
		}
	}
	switch {
	case c == '{':
		return d.object(v)
	case c == '[':
		return d.list(v)
	case c == '"':
		s, err := d.str()
		switch {
		case err != nil || !v.IsValid():
			return err
		case v.Kind() != reflect.String:
			return d.mismatch(v, "string")
		}
		v.SetString(s)
		return nil
	case c == 't':
		return d.bool(v, "true")
	case c == 'f':
		return d.bool(v, "false")
	}
	number, err := d.number()
	if err == nil && v.IsValid() && !assignNumber(v, string(number)) {
		err = d.mismatch(v, "number "+string(number))
	}
	return err
}

func (d *decoder) bool(v reflect.Value, word string) error {
	if err := d.word(word); err != nil || !v.IsValid() {
		return err
	}
	if v.Kind() != reflect.Bool {
		return d.mismatch(v, "bool")
	}
	v.SetBool(word == "true")
	return nil
}

// text reads a string for a type that reads strings itself.
func (d *decoder) text(v reflect.Value, to encoding.TextUnmarshaler) error {
	switch d.next() {
	case '"':
	case '{':
		return d.mismatch(v, "object")
	case '[':
		return d.mismatch(v, "array")
	case 't', 'f':
		return d.mismatch(v, "bool")
	default:
		number, err := d.number()
		if err == nil {
			err = d.mismatch(v, "number "+string(number))
		}
		return err
	}
	s, err := d.str()
	if err != nil {
		return err
	}
	if err := to.UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("%s: %w", d.where(), err)
	}
	return nil
}

// any reads a value of any type.
func (d *decoder) any(v reflect.Value) error {
	start := d.at
	if err := d.value(reflect.Value{}); err != nil {
		return err
	}
	library := json.NewDecoder(bytes.NewReader(d.data[start:d.at]))
	library.UseNumber() // a float64 would round large integers
	var tree any
	if err := library.Decode(&tree); err != nil {
		return errSyntax
	}
	v.Set(reflect.ValueOf(tree))
	return nil
}

// object reads an object into a struct or a map.
func (d *decoder) object(v reflect.Value) error {
	isMap := v.Kind() == reflect.Map
	switch {
	case isMap:
		v.Set(reflect.MakeMap(v.Type()))
	case v.IsValid() && v.Kind() != reflect.Struct:
		return d.mismatch(v, "object")
	}
	return d.each('}', func(int) error {
		if d.next() != '"' {
			return errSyntax
		}
		key, err := d.str()
		if err != nil {
			return err
		}
		if d.next() != ':' {
			return errSyntax
		}
		d.at++
		d.path[len(d.path)-1].name = key
		switch {
		case isMap:
			element := reflect.New(v.Type().Elem()).Elem()
			if err := d.value(element); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), element)
			return nil
		case v.IsValid():
			return d.value(fieldNamed(v, key))
		}
		return d.value(v)
	})
}

// fieldNamed is the field of a struct for a key, ready to be set; the zero Value if
// there is none.
func fieldNamed(v reflect.Value, key string) reflect.Value {
	for i, f := range fieldsOf(v.Type()) {
		if f.embedded {
			if found := fieldNamed(v.Field(i), key); found.IsValid() {
				return found
			}
		} else if f.name == key {
			found := v.Field(i)
			if found.Kind() == reflect.Struct {
				found.SetZero() // of a key that occurs twice, the last counts
			}
			return found
		}
	}
	return reflect.Value{}
}

// list reads a list into a slice.
func (d *decoder) list(v reflect.Value) error {
	if !v.IsValid() {
		return d.each(']', func(int) error { return d.value(v) })
	}
	if v.Kind() != reflect.Slice {
		return d.mismatch(v, "array")
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	return d.each(']', func(i int) error {
		v.Grow(1)
		v.SetLen(i + 1)
		v.Index(i).SetZero()
		d.path[len(d.path)-1] = step{index: i}
		return d.value(v.Index(i))
	})
}

// each reads what is in an object or a list, with commas between, up to its end.
func (d *decoder) each(end byte, element func(i int) error) error {
	d.at++
	if len(d.path) == maxDepth {
		return errSyntax
	}
	d.path = append(d.path, step{})
	more := d.next() != end
	for i := 0; more; i++ {
		if err := element(i); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.at++
		case end:
			more = false
		default:
			return errSyntax
		}
	}
	d.at++
	d.path = d.path[:len(d.path)-1]
	return nil
}

// word reads a word of the language.
func (d *decoder) word(word string) error {
	if !bytes.HasPrefix(d.data[d.at:], []byte(word)) {
		return errSyntax
	}
	d.at += len(word)
	return nil
}

// str reads the string that begins here; one of more than ASCII, or that is written
// so, through the library.
func (d *decoder) str() (string, error) {
	start, plain, short := d.at, true, true
	for d.at++; d.at < len(d.data); d.at++ {
		switch c := d.data[d.at]; {
		case c == '"':
			d.at++
			if plain {
				return string(d.data[start+1 : d.at-1]), nil
			}
			if short {
				return unescape(d.data[start+1 : d.at-1]), nil
			}
			var s string
			if json.Unmarshal(d.data[start:d.at], &s) != nil {
				return "", errSyntax
			}
			return s, nil
		case c == '\\':
			plain = false
			d.at++
			short = short && d.at < len(d.data) && strings.IndexByte(shortEscapes, d.data[d.at]) >= 0
		case c < ' ':
			return "", errSyntax
		case c >= 0x80:
			plain, short = false, false
		}
	}
	return "", errSyntax
}

// shortEscapes are the letters of escapes of two characters (RFC 8259, section 7), and
// escaped what they stand for, in the same order.
const (
	shortEscapes = `"\/bfnrt`
	escaped      = "\"\\/\b\f\n\r\t"
)

// unescape gives the content of a string that has short escapes only.
func unescape(text []byte) string {
	s := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			i++
			c = escaped[strings.IndexByte(shortEscapes, text[i])]
		}
		s = append(s, c)
	}
	return string(s)
}

// number reads the text of a number (RFC 8259, section 6).
func (d *decoder) number() ([]byte, error) {
	start := d.at
	digits := func() bool {
		first := d.at
		for d.at < len(d.data) && '0' <= d.data[d.at] && d.data[d.at] <= '9' {
			d.at++
		}
		return d.at > first
	}
	skip := func(any string) bool {
		found := d.at < len(d.data) && strings.IndexByte(any, d.data[d.at]) >= 0
		if found {
			d.at++
		}
		return found
	}
	skip("-")
	if !skip("0") && !digits() || skip(".") && !digits() {
		return nil, errSyntax
	}
	if skip("eE") {
		skip("+-")
		if !digits() {
			return nil, errSyntax
		}
	}
	return d.data[start:d.at], nil
}

func assignNumber(v reflect.Value, text string) bool {
	switch {
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(n)
		return err == nil
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		v.SetUint(n)
		return err == nil
	case v.CanFloat():
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		v.SetFloat(n)
		return err == nil
	}
	return false
}
