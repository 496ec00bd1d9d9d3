// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"bytes"
	_ "embed"
	"fmt"
)

// LayoutPath is where the preloader for a machine looks for its plan.
func LayoutPath(machine string) string { return "/run/winbox/layout." + machine }

// SharedDir is where the container must have a file system for the memory that
// its processes share: writable for the program, and of a limited size.
const SharedDir = "/run/winbox/shared"

// The zones that the preloaders keep for themselves: their own pages, the Wine
// loader and the ELF interpreter when these can be moved, and the process heap
// (brk). A plan should leave them alone; preloader-*.ld says why they are where
// they are.
const (
	ZoneStartAMD64 = 0x400000000000
	ZoneEndAMD64   = 0x400100000000
	ZoneStartI386  = 0x7c000000
	ZoneEndI386    = 0x7f000000
)

//go:embed preloader-amd64
var preloaderAMD64 []byte

//go:embed preloader-i386
var preloaderI386 []byte

// MachineError says that there is no preloader for a machine.
type MachineError struct {
	// Machine as it was asked for.
	Machine string
}

func (e *MachineError) Error() string {
	return fmt.Sprintf("no preloader for machine %q: this build has amd64 and 386", e.Machine)
}

// Preloader returns the ELF file of the preloader for a machine, which has
// the name that Go gives it (GOARCH). The caller gets a copy.
//
// # Errors
//
// A [*MachineError] if there is no preloader for the machine.
func Preloader(machine string) ([]byte, error) {
	switch machine {
	case "amd64":
		return bytes.Clone(preloaderAMD64), nil
	case "386":
		return bytes.Clone(preloaderI386), nil
	}
	return nil, &MachineError{Machine: machine}
}
