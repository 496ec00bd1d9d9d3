package specfields

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// List names the fields of a type that hold no further ones.
func List(t reflect.Type) []string { return list(nil, "", t) }

func list(found []string, path string, t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return append(found, path)
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if platform := f.Tag.Get("platform"); platform != "" && !slices.Contains(strings.Split(platform, ","), "linux") {
			continue
		}
		below := path
		if !f.Anonymous {
			below = strings.TrimPrefix(path+"."+name(f), ".")
		}
		found = list(found, below, f.Type)
	}
	return found
}

func name(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// Change gives the field path of the value that v points to another value: in
// the first element of each list on the way, and in the element of each map
// whose key comes first.
//
// # Errors
//
// There is nothing on the way: an empty list, say.
func Change(v any, path string) error {
	if err := change(reflect.ValueOf(v).Elem(), strings.Split(path, ".")); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func change(v reflect.Value, path []string) error {
	if len(path) == 0 {
		return alter(v)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return fmt.Errorf("there is no %s", v.Type())
		}
		return change(v.Elem(), path)
	case reflect.Slice:
		if v.Len() == 0 {
			return fmt.Errorf("there is nothing in the %s", v.Type())
		}
		return change(v.Index(0), path)
	case reflect.Map:
		if v.Len() == 0 {
			return fmt.Errorf("there is nothing in the %s", v.Type())
		}
		key := slices.MinFunc(v.MapKeys(), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		element := reflect.New(v.Type().Elem()).Elem()
		element.Set(v.MapIndex(key))
		err := change(element, path)
		v.SetMapIndex(key, element)
		return err
	}
	if v.Kind() != reflect.Struct {
		return fmt.Errorf("a %s has no fields", v.Type())
	}
	field, ok := find(v, path[0])
	if !ok {
		return fmt.Errorf("%s has no such field", v.Type())
	}
	return change(field, path[1:])
}

// find finds a field by its name in JSON, in embedded structures too.
func find(v reflect.Value, want string) (reflect.Value, bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			if field, ok := find(v.Field(i), want); ok {
				return field, true
			}
		} else if name(f) == want {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// alter makes something else of a plain value, and adds to a list.
func alter(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		other := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			other.Elem().Set(v.Elem())
		}
		v.Set(other)
		return alter(other.Elem())
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Slice:
		more := reflect.New(v.Type().Elem()).Elem()
		if err := alter(more); err != nil {
			return err
		}
		longer := reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()+1), v)
		v.Set(reflect.Append(longer, more))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		if err := alter(value); err != nil {
			return err
		}
		longer := reflect.MakeMap(v.Type())
		for _, key := range v.MapKeys() {
			longer.SetMapIndex(key, v.MapIndex(key))
		}
		longer.SetMapIndex(reflect.ValueOf("x.y"), value)
		v.Set(longer)
	default:
		return fmt.Errorf("a %s cannot be altered", v.Type())
	}
	return nil
}
