// Package leanjson reads and writes JSON as encoding/json does, but quickly where
// a type is large and used once.
//
// encoding/json prepares encoders for every field that can be reached from a type
// before it reads the first byte: 1 ms for the runtime specification's types, in a
// process that lives for 10. Here, only the fields that occur are looked at, and a
// configuration takes 0.03 ms. The library has its say about strings with escapes
// and about what is wrong with text that is not JSON.
//
// It is not for types with methods for JSON, nor for keys that differ from the
// tag in upper and lower case: those are unknown, as they are to every runtime
// that is not written in Go.
package leanjson
