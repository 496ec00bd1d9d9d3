// Package jsontree reads and writes JSON as encoding/json does, but quickly
// where a type is large and used once.
//
// encoding/json prepares encoders for every field that can be reached from a
// type before it reads the first byte: 1 ms for the runtime specification's
// types, in a process that lives for 10. Here the library reads into a tree of
// map[string]any, for which it prepares nothing, and only the fields that occur
// are moved from there. What is written is written field by field.
//
// It is not for types with methods for JSON, nor for keys that differ from the
// tag in upper and lower case: those are unknown, as they are to every runtime
// that is not written in Go.
package jsontree
