package leanjson

import (
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// Marshal writes v as JSON. The keys of a map are sorted.
func Marshal(v any) ([]byte, error) {
	return appendValue(nil, reflect.ValueOf(v))
}

// appendValue writes a value as encoding/json does.
func appendValue(b []byte, v reflect.Value) ([]byte, error) {
	if v.IsValid() && v.Type().PkgPath() != "" && v.Type().Implements(textMarshaler) {
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		return appendString(b, string(text)), err
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return appendValue(b, v.Elem())
	case reflect.Struct:
		b, err := appendFields(append(b, '{'), v)
		return append(b, '}'), err
	case reflect.Map:
		return appendMap(b, v)
	case reflect.Slice:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		b = append(b, '[')
		var err error
		for i := range v.Len() {
			if b, err = appendValue(separate(b), v.Index(i)); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case reflect.String:
		if v.Type() == numberType {
			return append(b, v.String()...), nil
		}
		return appendString(b, v.String()), nil
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	}
	switch {
	case v.CanInt():
		return strconv.AppendInt(b, v.Int(), 10), nil
	case v.CanUint():
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case v.CanFloat():
		text, err := json.Marshal(v.Float())
		return append(b, text...), err
	}
	return nil, fmt.Errorf("%s cannot be JSON", v.Type())
}

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	numberType    = reflect.TypeFor[json.Number]()
)

// separate writes the comma in front of all but the first of an object or a list.
func separate(b []byte) []byte {
	if last := b[len(b)-1]; last != '{' && last != '[' {
		b = append(b, ',')
	}
	return b
}

func appendMap(b []byte, v reflect.Value) ([]byte, error) {
	if v.IsNil() {
		return append(b, "null"...), nil
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return cmp.Compare(x.String(), y.String()) })
	b = append(b, '{')
	var err error
	for _, key := range keys {
		b = append(appendString(separate(b), key.String()), ':')
		if b, err = appendValue(b, v.MapIndex(key)); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendFields(b []byte, v reflect.Value) ([]byte, error) {
	var err error
	for i, f := range fieldsOf(v.Type()) {
		switch {
		case f.embedded:
			if inner := reflect.Indirect(v.Field(i)); inner.IsValid() { // the fields of a nil pointer are left out
				b, err = appendFields(b, inner)
			}
		case f.omitEmpty && empty(v.Field(i)):
			continue
		default:
			b = append(appendString(separate(b), f.name), ':')
			b, err = appendValue(b, v.Field(i))
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// appendString writes a string; the library those that need more than a backslash,
// or may.
func appendString(b []byte, s string) []byte {
	start := len(b)
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= 0x7f || c == '<' || c == '>' || c == '&':
			text, _ := json.Marshal(s) // no string is refused
			return append(b[:start], text...)
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// empty is what omitempty leaves out.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}
