package leanjson

import (
	"reflect"
	"strings"
	"sync"
)

// field is what JSON has to know of a field of a struct.
type field struct {
	name      string
	omitEmpty bool
	embedded  bool // its fields belong to the outer object
}

// fields are those of the types that have occurred, as []field by reflect.Type.
var fields sync.Map

func fieldsOf(t reflect.Type) []field {
	if known, ok := fields.Load(t); ok {
		return known.([]field)
	}
	list := make([]field, t.NumField())
	for i := range list {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		list[i] = field{name: name, omitEmpty: options == "omitempty", embedded: f.Anonymous}
	}
	fields.Store(t, list)
	return list
}
