package wine

import (
	_ "embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// stopAMD64 and stopI386 ask the main program to stop (boot/stop.c).
//
//go:embed boot/stop-amd64.exe
var stopAMD64 []byte

//go:embed boot/stop-386.exe
var stopI386 []byte

// Stop says what becomes of a signal that asks a program to stop.
type Stop string

const (
	// StopDefault is, for a program with the console subsystem, the event that .NET takes for the signal: Ctrl-C for
	// SIGINT, Ctrl-Break for SIGQUIT, the closing of the console for SIGHUP, and for SIGTERM the shutdown of the system,
	// which is what Docker makes of a stop on Windows. Others have their windows closed.
	StopDefault      Stop = ""
	StopCtrlC        Stop = "ctrl-c"
	StopCtrlBreak    Stop = "ctrl-break"
	StopCtrlClose    Stop = "ctrl-close"
	StopCtrlShutdown Stop = "ctrl-shutdown"
	// StopCloseWindows sends WM_CLOSE, and when that is not enough ends the session.
	StopCloseWindows Stop = "wm-close"
	// StopKill leaves the program the signal itself.
	StopKill Stop = "kill"
)

var stops = []Stop{StopCtrlC, StopCtrlBreak, StopCtrlClose, StopCtrlShutdown, StopCloseWindows, StopKill}

// check refuses an unknown value.
func (s Stop) check() error {
	if s == StopDefault || slices.Contains(stops, s) {
		return nil
	}
	names := make([]string, len(stops))
	for i, known := range stops {
		names[i] = string(known)
	}
	return fmt.Errorf("%q is none of %s", string(s), strings.Join(names, ", "))
}

// stopSignals are the signals that ask to stop, and the console event that .NET takes for each (PosixSignalRegistration).
var stopSignals = map[unix.Signal]Stop{
	unix.SIGINT: StopCtrlC, unix.SIGQUIT: StopCtrlBreak, unix.SIGHUP: StopCtrlClose, unix.SIGTERM: StopCtrlShutdown,
}

// Stops are the programs, with their arguments, that ask a program to stop when its container gets a signal.
//
// # Errors
//
// An unknown value of s, or one of [Runtime.Loader].
func (r *Runtime) Stops(program *Image, s Stop) (map[unix.Signal][]string, error) {
	if err := s.check(); err != nil || s == StopKill {
		return nil, err
	}
	// By the new WoW64, the first process is a 64-bit one also of a 32-bit program.
	machine := program.Layout.Process.Arch()
	loader, preloader, err := r.Loader(machine)
	if err != nil {
		return nil, err
	}
	list := make(map[unix.Signal][]string, len(stopSignals))
	for signal, how := range stopSignals {
		switch {
		case s != StopDefault:
			how = s
		case !program.console:
			how = StopCloseWindows
		}
		list[signal] = []string{preloader, loader, stopPath(machine), string(how)}
	}
	return list, nil
}

// stopFile is the name of the program that stops those of a machine, in the template and in containers.
func stopFile(machine string) string { return "stop." + machine + ".exe" }

// stopPath is where a container has it.
func stopPath(machine string) string { return path.Join(runDir, stopFile(machine)) }

// installStops puts the programs into the template, from where containers mount them: not into the prefix, which belongs
// to the program.
func (t *Template) installStops() error {
	for machine, program := range map[string][]byte{AMD64: stopAMD64, I386: stopI386} {
		file := filepath.Join(t.Dir, stopFile(machine))
		if err := os.WriteFile(file, program, 0o644); err != nil {
			return err
		}
		if err := os.Chmod(file, 0o644); err != nil { // whatever the umask
			return err
		}
	}
	return nil
}

// stopMounts are the mounts of the programs for the machines of the container's Wine.
func (t *Template) stopMounts() []specs.Mount {
	mounts := []specs.Mount{bindFile(filepath.Join(t.Dir, stopFile(AMD64)), stopPath(AMD64))}
	if t.Runtime.Supports(I386) == nil {
		mounts = append(mounts, bindFile(filepath.Join(t.Dir, stopFile(I386)), stopPath(I386)))
	}
	return mounts
}
