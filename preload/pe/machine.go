package pe

import "fmt"

// Machine is the processor an image is built for (PE Format, "Machine Types").
type Machine uint16

// Machines that winbox has something to say about.
const (
	MachineI386    Machine = 0x014c
	MachineARMNT   Machine = 0x01c4
	MachineIA64    Machine = 0x0200
	MachineRISCV64 Machine = 0x5064
	MachineAMD64   Machine = 0x8664
	MachineARM64   Machine = 0xaa64
)

// String names the machine as people do: "x86-64", "ARM64"; an unknown one is
// "machine 0x1234".
func (m Machine) String() string {
	switch m {
	case MachineI386:
		return "x86"
	case MachineARMNT:
		return "ARM"
	case MachineIA64:
		return "Itanium"
	case MachineRISCV64:
		return "RISC-V 64"
	case MachineAMD64:
		return "x86-64"
	case MachineARM64:
		return "ARM64"
	}
	return fmt.Sprintf("machine %#04x", uint16(m))
}

// Subsystem is the environment an image needs (PE Format, "Windows Subsystem").
type Subsystem uint16

// Subsystems of the specification that are still met.
const (
	SubsystemUnknown        Subsystem = 0
	SubsystemNative         Subsystem = 1
	SubsystemWindowsGUI     Subsystem = 2
	SubsystemWindowsCUI     Subsystem = 3
	SubsystemPOSIX          Subsystem = 7
	SubsystemWindowsCE      Subsystem = 9
	SubsystemEFIApplication Subsystem = 10
	SubsystemEFIBootDriver  Subsystem = 11
	SubsystemEFIRuntime     Subsystem = 12
	SubsystemEFIROM         Subsystem = 13
	SubsystemXbox           Subsystem = 14
	SubsystemBoot           Subsystem = 16
)

// String names the subsystem in one or two words.
func (s Subsystem) String() string {
	switch s {
	case SubsystemUnknown:
		return "unknown"
	case SubsystemNative:
		return "native"
	case SubsystemWindowsGUI:
		return "gui"
	case SubsystemWindowsCUI:
		return "console"
	case SubsystemPOSIX:
		return "posix"
	case SubsystemWindowsCE:
		return "windows-ce"
	case SubsystemEFIApplication, SubsystemEFIBootDriver, SubsystemEFIRuntime, SubsystemEFIROM:
		return "efi"
	case SubsystemXbox:
		return "xbox"
	case SubsystemBoot:
		return "boot"
	}
	return fmt.Sprintf("subsystem %d", uint16(s))
}

// Characteristics are the flags of the COFF header (PE Format, "Characteristics").
type Characteristics uint16

// The flags that matter to a loader.
const (
	RelocsStripped    Characteristics = 0x0001
	ExecutableImage   Characteristics = 0x0002
	LargeAddressAware Characteristics = 0x0020
	DLL               Characteristics = 0x2000
)

// DLLCharacteristics are the flags of the optional header, which hold for
// programs too (PE Format, "DLL Characteristics").
type DLLCharacteristics uint16

// The flags that matter to a loader.
const (
	HighEntropyVA  DLLCharacteristics = 0x0020
	DynamicBase    DLLCharacteristics = 0x0040
	ForceIntegrity DLLCharacteristics = 0x0080
	NXCompat       DLLCharacteristics = 0x0100
	NoSEH          DLLCharacteristics = 0x0400
	AppContainer   DLLCharacteristics = 0x1000
	GuardCF        DLLCharacteristics = 0x4000
)

// Arch names the machine as Go does (GOARCH): "amd64", "386"; empty for one
// that Go does not know.
func (m Machine) Arch() string {
	switch m {
	case MachineI386:
		return "386"
	case MachineARMNT:
		return "arm"
	case MachineRISCV64:
		return "riscv64"
	case MachineAMD64:
		return "amd64"
	case MachineARM64:
		return "arm64"
	}
	return ""
}
