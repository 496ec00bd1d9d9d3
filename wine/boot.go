package wine

import (
	_ "embed"
	"fmt"
	"strings"
)

// bootAMD64 is the small boot program, which takes the place of Wine's wineboot.exe (boot/wineboot.c).
//
//go:embed boot/wineboot-amd64.exe
var bootAMD64 []byte

// explorerAMD64 is started where Wine starts its explorer.exe, and starts that unless a console only asks
// (boot/explorer.c).
//
//go:embed boot/explorer-amd64.exe
var explorerAMD64 []byte

// crashAMD64 is what Wine starts for a program that has crashed (boot/crash.c).
//
//go:embed boot/crash-amd64.exe
var crashAMD64 []byte

// crashProgram is where a prefix has it: not in system32, which a 32-bit program has another one of.
const crashProgram = `C:\windows\winbox-crash.exe`

// volumesAMD64 answers for the drives when it is started (boot/volumes.c).
//
//go:embed boot/volumes-amd64.exe
var volumesAMD64 []byte

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
	// BootAuto starts as much as BootMinimal, and the services the moment that somebody asks for one (boot/auto.c).
	BootAuto Boot = "auto"
	// BootFull starts what stock Wine starts: services, plug and play, explorer.
	BootFull Boot = "full"
)

// The profile is chosen by environment variables. The stock boot is Wine's own wineboot.exe (`b` for builtin) in place
// of ours, by a variable that wins over the template's registry; ours reads the other one.
const (
	overrides   = "WINEDLLOVERRIDES"
	fullBoot    = "wineboot.exe=b"
	ownBoot     = "wineboot.exe=n"
	bootProfile = "WINBOX_BOOT"
)

// keepRegistry is the variable that has the boot program save the registry soon after it changes (boot/keep.c).
// Wine's own boot knows nothing of it.
const keepRegistry = "WINBOX_KEEP"

// choose sets the variables that make a process of the container boot Wine so.
func (b Boot) choose(env map[string]string) {
	delete(env, bootProfile)
	switch b {
	case BootFull:
		env[overrides] = strings.Trim(env[overrides]+";"+fullBoot, ";")
	case BootAuto:
		env[bootProfile] = string(BootAuto)
	}
}

// chosenBoot is the profile that a process with these variables has been given.
func chosenBoot(env []string) Boot {
	for _, setting := range env {
		switch name, value, _ := strings.Cut(setting, "="); {
		case name == overrides && strings.HasSuffix(value, fullBoot):
			return BootFull
		case name == bootProfile:
			return Boot(value)
		}
	}
	return BootMinimal
}

// minimal says that nobody but winbox answers for drivers.
func (b Boot) minimal() bool { return b == "" || b == BootMinimal }

// check refuses an unknown profile; the empty one is [BootMinimal].
func (b Boot) check() error {
	switch b {
	case "", BootMinimal, BootAuto, BootFull:
		return nil
	}
	return fmt.Errorf("boot profile %q: want %s, %s or %s", string(b), BootMinimal, BootAuto, BootFull)
}
