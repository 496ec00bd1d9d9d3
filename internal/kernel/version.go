// Package kernel tells of what version the running kernel is.
package kernel

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Since tells whether the kernel is of that version or newer (uname(2)).
func Since(major, minor int) (bool, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false, fmt.Errorf("uname: %w", err)
	}
	return AtLeast(unix.ByteSliceToString(name.Release[:]), major, minor), nil
}

// AtLeast compares a release such as "6.12.117-cloud-amd64".
func AtLeast(release string, major, minor int) bool {
	first, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	a, err := strconv.Atoi(first)
	b, errMinor := strconv.Atoi(rest[:end])
	return err == nil && errMinor == nil && (a > major || a == major && b >= minor)
}
