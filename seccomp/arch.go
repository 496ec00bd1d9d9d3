package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// An arch is one of the system call tables that a process on an x86-64 kernel can use.
type arch int

const (
	archAMD64 arch = iota
	archI386
	archX32 // the audit architecture of archAMD64, with x32Bit set in the number
	archCount
)

// x32Bit marks the numbers of x32 calls (__X32_SYSCALL_BIT in asm/unistd.h).
const x32Bit = 1 << 30

// wide says whether the architecture's arguments have 64 bits.
func (a arch) wide() bool { return a != archI386 }

// archNames are the architectures that this machine can run, by their OCI names.
var archNames = map[specs.Arch]arch{
	specs.ArchX86_64: archAMD64,
	specs.ArchX86:    archI386,
	specs.ArchX32:    archX32,
}

// foreignArches are those that it cannot. Profiles may list them; no call ever comes from one.
var foreignArches = []specs.Arch{
	specs.ArchARM, specs.ArchAARCH64,
	specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32,
	specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
	specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE,
	specs.ArchS390, specs.ArchS390X,
	specs.ArchPARISC, specs.ArchPARISC64,
	specs.ArchRISCV64, specs.ArchLOONGARCH64,
	specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

// syscallNumbers is a row of syscallTable.
type syscallNumbers struct {
	name             string
	amd64, i386, x32 int16
}

// number returns the call's number on an architecture, or -1.
func (s *syscallNumbers) number(a arch) int {
	switch a {
	case archAMD64:
		return int(s.amd64)
	case archI386:
		return int(s.i386)
	default:
		return int(s.x32)
	}
}

// lookup finds a system call by its name, or returns nil.
func lookup(name string) *syscallNumbers {
	i, found := slices.BinarySearchFunc(syscallTable[:], name, func(row syscallNumbers, name string) int {
		switch {
		case row.name < name:
			return -1
		case row.name > name:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &syscallTable[i]
}
