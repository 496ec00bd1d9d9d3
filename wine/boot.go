package wine

import (
	_ "embed"
	"fmt"
)

// bootAMD64 is the small boot program, which takes the place of Wine's wineboot.exe (boot/wineboot.c).
//
//go:embed boot/wineboot-amd64.exe
var bootAMD64 []byte

// bcryptAMD64 is bcryptprimitives.dll for a Wine before 9, which lacks it (boot/bcryptprimitives.c).
//
//go:embed boot/bcryptprimitives-amd64.dll
var bcryptAMD64 []byte

// bcryptI386 is the same for its 32-bit part.
//
//go:embed boot/bcryptprimitives-386.dll
var bcryptI386 []byte

// Boot says how much of Windows is started before the program.
type Boot string

const (
	// BootMinimal starts the wineserver and the program, nothing else. It is the default.
	BootMinimal Boot = "minimal"
	// BootFull starts what stock Wine starts: services, plug and play, explorer.
	BootFull Boot = "full"
)

// The stock boot is chosen by an environment variable, which wins over the template's registry: Wine's own wineboot.exe
// (`b` for builtin) in place of ours.
const (
	overrides = "WINEDLLOVERRIDES"
	fullBoot  = "wineboot.exe=b"
)

// check refuses an unknown profile; the empty one is [BootMinimal].
func (b Boot) check() error {
	switch b {
	case "", BootMinimal, BootFull:
		return nil
	}
	return fmt.Errorf("boot profile %q: want %s or %s", string(b), BootMinimal, BootFull)
}
