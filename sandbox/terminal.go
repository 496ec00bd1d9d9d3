package sandbox

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal connects the pseudo-terminal of a foreground process with the
// streams of the caller, which may be a terminal, all of them or some, or none.
type terminal struct {
	stdio  [3]*os.File
	screen *os.File // the caller's terminal, whose size counts; nil without one
	saved  *term.State
	master *os.File
	hangUp func() error // closes master, once
	keys   bool         // the program is going to read keys, not lines
	output sync.WaitGroup
}

// newTerminal looks for the caller's terminal; nothing is changed yet.
func newTerminal(stdio [3]*os.File) *terminal {
	t := &terminal{stdio: stdio}
	for _, f := range stdio {
		if term.IsTerminal(int(f.Fd())) {
			t.screen = f
			break
		}
	}
	return t
}

// sized is the process with the size of the caller's terminal, so that its own
// has that from the beginning.
func (t *terminal) sized(p *specs.Process) *specs.Process {
	size := t.size()
	if size == nil || size.Row == 0 || size.Col == 0 {
		return p
	}
	changed := *p
	changed.ConsoleSize = &specs.Box{Height: uint(size.Row), Width: uint(size.Col)}
	return &changed
}

// take receives the master of the process's terminal. It becomes one that can be
// closed while others read.
func (t *terminal) take(master *os.File) error {
	defer master.Close()
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return fmt.Errorf("terminal: %w", err)
	}
	t.master = os.NewFile(uintptr(fd), "terminal")
	t.hangUp = sync.OnceValue(t.master.Close)
	return nil
}

// attach begins to copy what is typed and what is written. Nothing is done when
// the process has no terminal.
func (t *terminal) attach() {
	if t.master == nil {
		return
	}
	t.resize()
	if t.keys {
		t.readKeys()
	}
	// Whose output only is a terminal keeps its keys, Ctrl-C above all.
	if fd := int(t.stdio[0].Fd()); term.IsTerminal(fd) {
		t.saved, _ = term.MakeRaw(fd)
	}
	t.output.Add(1)
	go t.show()
	go t.input()
}

// show copies the output. When nobody takes it any more, the terminal is hung
// up: a program that writes on would wait for ever.
func (t *terminal) show() {
	defer t.output.Done()
	buf := make([]byte, 32<<10)
	for {
		n, err := t.master.Read(buf)
		if n > 0 {
			if _, failed := t.stdio[1].Write(buf[:n]); failed != nil {
				t.hangUp()
				return
			}
		}
		if err != nil {
			return // EIO: nobody has the other side any more
		}
	}
}

// input copies the input. At its end, a terminal has gone away, or the program
// reads the end of it as it would have without a terminal of its own.
func (t *terminal) input() {
	buf := make([]byte, 4<<10)
	lineEnd := true
	for {
		n, err := t.stdio[0].Read(buf)
		if n > 0 {
			if _, failed := t.master.Write(buf[:n]); failed != nil {
				return
			}
			lineEnd = buf[n-1] == '\n' || buf[n-1] == '\r'
		}
		if err == nil {
			continue
		}
		if term.IsTerminal(int(t.stdio[0].Fd())) {
			return // it does not let this process read, being in the background
		}
		if t.saved != nil {
			t.hangUp()
			return
		}
		t.endInput(lineEnd)
		return
	}
}

// endInput types the character for the end of input (termios(3), VEOF) if the
// program reads lines; in the middle of one, the first only ends that.
func (t *terminal) endInput(lineEnd bool) {
	var settings *unix.Termios
	err := t.control(func(fd int) (err error) {
		settings, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	if err != nil || settings.Lflag&unix.ICANON == 0 {
		return
	}
	eof := []byte{settings.Cc[unix.VEOF], settings.Cc[unix.VEOF]}
	if lineEnd {
		eof = eof[:1]
	}
	t.master.Write(eof)
}

// readKeys makes the terminal hand over what is typed as it is, for a Windows
// console: Wine does so itself, but what is typed until then would be a line
// with an end that the console does not know.
func (t *terminal) readKeys() {
	t.control(func(fd int) error {
		settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		settings.Iflag &^= unix.ICRNL
		settings.Lflag &^= unix.ICANON | unix.ECHO
		return unix.IoctlSetTermios(fd, unix.TCSETS, settings)
	})
}

// size is that of the caller's terminal, or nil.
func (t *terminal) size() *unix.Winsize {
	if t.screen == nil {
		return nil
	}
	size, err := unix.IoctlGetWinsize(int(t.screen.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return nil
	}
	return size
}

// resize gives the process's terminal the size of the caller's.
func (t *terminal) resize() {
	if size := t.size(); size != nil && t.master != nil {
		t.control(func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
	}
}

// lost hangs up when the caller's terminal has gone away, after a SIGHUP.
func (t *terminal) lost() {
	if t.master != nil && t.screen != nil && !term.IsTerminal(int(t.screen.Fd())) {
		t.hangUp()
	}
}

// control does something with the master's descriptor; os.File.Fd would make it
// block.
func (t *terminal) control(do func(fd int) error) error {
	conn, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = do(int(fd)) })
	return errors.Join(err, failed)
}

// finish waits for the last output.
func (t *terminal) finish() { t.output.Wait() }

// close gives the caller its terminal back.
func (t *terminal) close() {
	if t.saved != nil {
		term.Restore(int(t.stdio[0].Fd()), t.saved)
	}
	if t.master != nil {
		t.hangUp()
	}
}
