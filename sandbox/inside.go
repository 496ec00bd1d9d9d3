package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	initelf "winbox/sandbox/init"
	"winbox/sandbox/program"
)

// InsideOptions say how a Windows program is supervised in a container that somebody else has made.
type InsideOptions struct {
	// Process is the program: its arguments, its variables and its current directory. Who it runs as is the caller.
	Process *specs.Process
	// Stops, Resize and Linger are those of [Options].
	Stops  map[unix.Signal][]string
	Resize []string
	Linger bool
	// StopGrace is how long what outlives the program has to end by itself, once it has got SIGTERM.
	StopGrace time.Duration
	// Hold is kept open as long as the supervisor lives.
	Hold *os.File
}

// Become makes the calling process the supervisor of a Windows program, in the container that it is in: it returns only
// when that fails. The supervisor is what process 1 of a container of winbox's own is, the init ELF.
//
// Who is not process 1 does not know which processes are the container's. It looks after its own children and what they
// have left behind, and waits for these.
func Become(opt InsideOptions) error {
	first := os.Getpid() == 1
	po := program.Options{Stops: opt.Stops, Resize: opt.Resize, Linger: opt.Linger, StopGrace: int(opt.StopGrace.Milliseconds()), NoRandomize: true}
	if !first {
		po.Linger, po.StopGrace = true, 0
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("look after orphans: %w", err)
		}
	}
	if opt.Hold != nil {
		po.Hold = int(opt.Hold.Fd())
	}
	var err error
	if po.ExitFilter, po.ExitFilterFlags, err = compileFilter(exitProfile); err != nil {
		return err
	}
	compiled, err := program.CompileInside(opt.Process, first, po)
	if err != nil {
		return err
	}
	encoded, err := compiled.Encode()
	if err != nil {
		return err
	}
	elf, err := initelf.Open()
	if err != nil {
		return err
	}
	defer elf.Close()
	prog, err := initelf.Sealed("winbox-program", encoded)
	if err != nil {
		return err
	}
	defer prog.Close()
	for _, f := range []*os.File{prog, opt.Hold} {
		if f == nil {
			continue
		}
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	argv := []string{"winbox-init", strconv.Itoa(int(prog.Fd()))}
	return fmt.Errorf("execute the supervisor: %w", unix.Exec("/proc/self/fd/"+strconv.Itoa(int(elf.Fd())), argv, nil))
}
