package jsontree

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Marshal writes v as JSON. The keys of an object are sorted.
func Marshal(v any) ([]byte, error) {
	t, err := tree(reflect.ValueOf(v))
	if err != nil {
		return nil, err
	}
	return json.Marshal(t)
}

// tree makes of a value what encoding/json needs no preparation for.
func tree(v reflect.Value) (any, error) {
	if v.IsValid() && v.Type().PkgPath() != "" {
		if text, ok := v.Interface().(encoding.TextMarshaler); ok {
			s, err := text.MarshalText()
			return string(s), err
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil, nil
		}
		return tree(v.Elem())
	case reflect.Struct:
		object := make(map[string]any, v.NumField())
		return object, addFields(object, v)
	case reflect.Map:
		if v.IsNil() {
			return nil, nil
		}
		object := make(map[string]any, v.Len())
		for iter := v.MapRange(); iter.Next(); {
			value, err := tree(iter.Value())
			if err != nil {
				return nil, err
			}
			object[iter.Key().String()] = value
		}
		return object, nil
	case reflect.Slice:
		if v.IsNil() {
			return nil, nil
		}
		list := make([]any, v.Len())
		for i := range list {
			var err error
			if list[i], err = tree(v.Index(i)); err != nil {
				return nil, err
			}
		}
		return list, nil
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return v.Bool(), nil
	}
	switch {
	case v.CanInt():
		return v.Int(), nil
	case v.CanUint():
		return v.Uint(), nil
	case v.CanFloat():
		return v.Float(), nil
	}
	return nil, fmt.Errorf("%s cannot be JSON", v.Type())
}

func addFields(object map[string]any, v reflect.Value) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			if err := addFields(object, v.Field(i)); err != nil {
				return err
			}
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if options == "omitempty" && empty(v.Field(i)) {
			continue
		}
		value, err := tree(v.Field(i))
		if err != nil {
			return err
		}
		object[name] = value
	}
	return nil
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
