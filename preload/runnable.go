package preload

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"winbox/preload/pe"
)

// Exit codes for a program that could not be started, as shells have them
// (POSIX, Shell Command Language, "Exit Status for Commands").
const (
	// ExitNotRunnable: the file is there but is not a program to run.
	ExitNotRunnable = 126
	// ExitNotFound: there is no such file.
	ExitNotFound = 127
)

// ExitCode returns the exit code for an error of pe.OpenFile, Runnable or Plan:
// ExitNotFound for a missing file, ExitNotRunnable for all others.
func ExitCode(err error) int {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return ExitNotFound
	}
	return ExitNotRunnable
}

// MachineError says that a program is built for a processor that an x86-64 host
// does not run.
type MachineError struct {
	// Machine is the program's.
	Machine pe.Machine
}

func (e *MachineError) Error() string {
	return fmt.Sprintf("built for %s; this host runs x86-64 and 32-bit x86 programs", e.Machine)
}

// KindError says that an image for this machine is not a program that can be
// started. Its message is a sentence for the user.
type KindError struct {
	// Problem says what it is instead, or what it needs.
	Problem string
}

func (e *KindError) Error() string { return e.Problem }

// Runnable reports why img cannot be started on this host; nil when nothing in
// its headers says so. mono says whether the runtime has Mono, which .NET
// programs need. It reads the .NET header if there is one, nothing else.
//
// # Errors
//
// A *MachineError, a *KindError for libraries, drivers, firmware and .NET
// programs, or an error of pe.Image.CLR.
func Runnable(img *pe.Image, mono bool) error {
	if img.Machine != pe.MachineAMD64 && img.Machine != pe.MachineI386 {
		return &MachineError{Machine: img.Machine}
	}
	if img.IsDLL() {
		return &KindError{"a library (DLL), not a program"}
	}
	switch img.Subsystem {
	case pe.SubsystemWindowsGUI, pe.SubsystemWindowsCUI:
	case pe.SubsystemNative:
		return &KindError{"a driver or system program (native subsystem), which needs the Windows kernel"}
	default:
		return &KindError{fmt.Sprintf("a program for the subsystem %q, not for Windows", img.Subsystem)}
	}
	clr, err := img.CLR()
	switch {
	case err != nil:
		return err
	case clr == nil || mono:
		return nil
	case clr.Only():
		return &KindError{"a .NET-only program: needs Mono, which this runtime does not have"}
	}
	return &KindError{"a program of .NET and native code: needs Mono, which this runtime does not have"}
}
