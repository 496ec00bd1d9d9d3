// Package petest builds small PE images for tests, from a description in Go.
//
// It is not a linker: there is no code in the images, and they cannot run. It
// writes what it is told, right or wrong, so that tests can break one thing at a
// time. Layout of the file: headers, one .text section of zeros at RVA 0x1000,
// and one .rdata section at 0x2000 that holds every directory asked for.
package petest
