// Package sizes reads sizes of memory as container engines do.
package sizes

import (
	"fmt"
	"strings"

	"github.com/docker/go-units"
)

// Parse reads a number of bytes, with or without a unit that counts in powers of two: 1g, 1gb, 1GiB, and Kubernetes' 1Gi.
//
// # Errors
//
// It is no such number, below zero, or more than 63 bits hold.
func Parse(s string) (int64, error) {
	text := s
	if strings.HasSuffix(strings.ToLower(text), "i") {
		text += "B"
	}
	n, err := units.RAMInBytes(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a size such as 512m", s)
	case n < 0: // the conversion of a float that is too large
		return 0, fmt.Errorf("%s is more than there can be", s)
	}
	return n, nil
}
