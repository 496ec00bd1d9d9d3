package jsontree

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
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
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // a float64 would round large integers
	var tree any
	if err := d.Decode(&tree); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("unexpected end of JSON input")
		}
		return fmt.Errorf("not valid JSON: %w", err)
	}
	if rest := bytes.TrimLeft(data[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("not valid JSON: invalid character %q after top-level value", rest[0])
	}
	return assign(reflect.ValueOf(v).Elem(), tree, nil)
}

// path is where in the value the tree is being moved to, from the inside out.
type path struct {
	outer *path
	name  string // of a field or key
	index int    // in a list, when there is no name
}

func (p *path) String() string {
	switch {
	case p == nil:
		return ""
	case p.name == "":
		return p.outer.String() + "[" + strconv.Itoa(p.index) + "]"
	case p.outer == nil:
		return p.name
	}
	return p.outer.String() + "." + p.name
}

// assign moves tree into v. null leaves v as it is, as with encoding/json.
func assign(v reflect.Value, tree any, at *path) error {
	if tree == nil {
		return nil
	}
	mismatch := func() error { return &TypeError{Field: at.String(), Value: kind(tree), Type: v.Type()} }
	if v.Type().PkgPath() != "" { // of a type with a name, which may have methods
		if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
			s, ok := tree.(string)
			if !ok {
				return mismatch()
			}
			if err := text.UnmarshalText([]byte(s)); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			return nil
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if err := assign(p.Elem(), tree, at); err != nil {
			return err
		}
		v.Set(p)
	case reflect.Interface:
		v.Set(reflect.ValueOf(tree))
	case reflect.Struct:
		object, ok := tree.(map[string]any)
		if !ok {
			return mismatch()
		}
		return assignFields(v, object, at)
	case reflect.Map:
		object, ok := tree.(map[string]any)
		if !ok {
			return mismatch()
		}
		m := reflect.MakeMapWithSize(v.Type(), len(object))
		for key, value := range object {
			element := reflect.New(v.Type().Elem()).Elem()
			if err := assign(element, value, &path{outer: at, name: key}); err != nil {
				return err
			}
			m.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), element)
		}
		v.Set(m)
	case reflect.Slice:
		list, ok := tree.([]any)
		if !ok {
			return mismatch()
		}
		s := reflect.MakeSlice(v.Type(), len(list), len(list))
		for i, value := range list {
			if err := assign(s.Index(i), value, &path{outer: at, index: i}); err != nil {
				return err
			}
		}
		v.Set(s)
	case reflect.String:
		s, ok := tree.(string)
		if !ok {
			return mismatch()
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := tree.(bool)
		if !ok {
			return mismatch()
		}
		v.SetBool(b)
	default:
		number, ok := tree.(json.Number)
		if !ok || !assignNumber(v, string(number)) {
			return mismatch()
		}
	}
	return nil
}

// assignFields moves an object into a struct. Fields of a struct that is
// embedded belong to the outer object.
func assignFields(v reflect.Value, object map[string]any, at *path) error {
	for i, f := range fieldsOf(v.Type()) {
		if f.embedded {
			if err := assignFields(v.Field(i), object, at); err != nil {
				return err
			}
			continue
		}
		value, ok := object[f.name]
		if !ok {
			continue
		}
		if err := assign(v.Field(i), value, &path{outer: at, name: f.name}); err != nil {
			return err
		}
	}
	return nil
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

// kind names a value of the tree.
func kind(tree any) string {
	switch t := tree.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "bool"
	case json.Number:
		return "number " + string(t)
	}
	return "null"
}
