// SPDX-License-Identifier: Apache-2.0

package stub

import (
	_ "embed"
	"fmt"
)

// LayoutPath is where a preloader looks for its plan.
const LayoutPath = "/run/winbox/layout"

// The zone that the preloader for amd64 keeps for itself: its own pages, the
// Wine loader and the ELF interpreter when these can be moved, and the
// process heap (brk). A plan should leave it alone; preloader-amd64.ld says
// why it is where it is.
const (
	ZoneStartAMD64 = 0x400000000000
	ZoneEndAMD64   = 0x400100000000
)

//go:embed preloader-amd64
var preloaderAMD64 []byte

// MachineError says that there is no preloader for a machine.
type MachineError struct {
	// Machine as it was asked for.
	Machine string
}

func (e *MachineError) Error() string {
	return fmt.Sprintf("no preloader for machine %q: this build has amd64", e.Machine)
}

// Preloader returns the ELF file of the preloader for a machine, which has
// the name that Go gives it (GOARCH). The caller gets a copy.
//
// # Errors
//
// A [*MachineError] if there is no preloader for the machine.
func Preloader(machine string) ([]byte, error) {
	if machine != "amd64" {
		return nil, &MachineError{Machine: machine}
	}
	return append([]byte(nil), preloaderAMD64...), nil
}
