package wine

import (
	_ "embed"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/preload/pe"
)

// pipesAMD64 runs a program with Windows pipes as standard streams (boot/pipes.c).
//
//go:embed boot/pipes-amd64.exe
var pipesAMD64 []byte

// pipesPath is where a container has it.
const pipesPath = runDir + "/pipes.exe"

// Pipes says what a program gets for a standard stream that is a Unix pipe or socket.
type Pipes string

const (
	// PipesAuto gives Windows pipes to programs that import [pipeFunction], and Unix ones to others. It is the default.
	PipesAuto Pipes = "auto"
	// PipesWindows gives Windows pipes: one more process copies between the two.
	PipesWindows Pipes = "windows"
	// PipesUnix gives the pipe as it is. To Wine it is a file, and calls for named pipes fail.
	PipesUnix Pipes = "unix"
)

// pipeFunction is what libuv calls for each standard stream that is a pipe. It fails for Unix pipes.
const pipeFunction = "SetNamedPipeHandleState"

// ParsePipes reads one of the names; an empty one is [PipesAuto].
//
// # Errors
//
// An unknown name.
func ParsePipes(name string) (Pipes, error) {
	switch p := Pipes(name); p {
	case "":
		return PipesAuto, nil
	case PipesAuto, PipesWindows, PipesUnix:
		return p, nil
	}
	return "", fmt.Errorf("%q is none of %s, %s and %s", name, PipesAuto, PipesWindows, PipesUnix)
}

// Bridged says whether a program is to have Windows pipes: one of the caller's standard streams, which it gets, must be a
// Unix pipe or socket.
func (p Pipes) Bridged(program *pe.Image) bool {
	if p == PipesUnix || !piped() {
		return false
	}
	return p == PipesWindows || asksForPipes(program)
}

// asksForPipes says whether a program imports [pipeFunction]. What is wrong with its imports is for Wine to say.
func asksForPipes(program *pe.Image) bool {
	imports, err := program.Imports()
	return err == nil && slices.ContainsFunc(imports, func(library pe.Import) bool {
		return slices.Contains(library.Functions, pipeFunction)
	})
}

// piped says whether one of the standard streams is a Unix pipe or socket.
func piped() bool {
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && (st.Mode&unix.S_IFMT == unix.S_IFIFO || st.Mode&unix.S_IFMT == unix.S_IFSOCK) {
			return true
		}
	}
	return false
}

// A Bridge is a process of its own that stands between the standard streams and the program, or starts it in its own place.
type Bridge struct {
	// Pipes makes it: see [Pipes.Bridged].
	Pipes bool
	// Encoding makes it when streams are not UTF-8 to the program.
	Encoding Encoding
	// Line makes it: the program has a command line of its own (commandline.go).
	Line bool
}

// Options of the bridge (boot/pipes.c): encodingOption goes before a code page's number. With becomeOption it copies nothing
// and becomes the program.
const (
	encodingOption = "-e"
	becomeOption   = "-x"
)

// arguments are those of the bridge that go before the program; nil when there is none. foreign says that the loader does not
// run the program by itself.
func (b Bridge) arguments(foreign bool) []string {
	if page := b.Encoding.converted(); page != 0 {
		return []string{pipesPath, encodingOption + strconv.Itoa(int(page))}
	}
	if b.Pipes {
		return []string{pipesPath}
	}
	if b.Line || foreign {
		return []string{pipesPath, becomeOption}
	}
	return nil
}

// command runs a program, by its name for Windows, in the container. A bridge may be of another machine than the program.
func (r *Runtime) command(machine, program string, bridge Bridge) ([]string, error) {
	arguments := bridge.arguments(machine == I386 && r.Loader32 == "")
	if arguments != nil {
		machine = AMD64
	}
	loader, preloader, err := r.Loader(machine)
	return append(append([]string{preloader, loader}, arguments...), program), err
}

// ProgramOf gives the program of a Windows container by the command of its process; it is empty for a command that is
// none of winbox's.
func ProgramOf(command []string) string {
	if len(command) > 3 && command[2] == pipesPath {
		command = command[1:]
		if len(command) > 3 && (strings.HasPrefix(command[2], encodingOption) || command[2] == becomeOption) {
			command = command[1:]
		}
	}
	if len(command) > 2 { // preloader, loader, program
		return command[2]
	}
	return ""
}

// pipes is the bridge among the template's files.
func (t *Template) pipes() string { return filepath.Join(t.Dir, "pipes.exe") }

// pipesMount is the mount of the bridge. Every container has it: programs that need it may be executed later.
func (t *Template) pipesMount() specs.Mount { return bindFile(t.pipes(), pipesPath) }
