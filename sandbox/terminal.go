package sandbox

import (
	"io"
	"os"
	"sync"

	"github.com/containerd/console"
)

// terminal connects the caller's terminal with that of a foreground container.
type terminal struct {
	master  console.Console
	current console.Console // the caller's, in raw mode; nil when it has none
	output  sync.WaitGroup
}

// take receives the container's terminal.
func (t *terminal) take(master *os.File) error {
	var err error
	t.master, err = console.ConsoleFromFile(master)
	return err
}

// start copies what is typed and what is written. Nothing is done when the
// container has no terminal.
func (t *terminal) start(stdio [3]*os.File) {
	if t.master == nil {
		return
	}
	if current, err := console.ConsoleFromFile(stdio[0]); err == nil {
		t.current = current
		t.resize()
		if err := current.SetRaw(); err != nil {
			t.current = nil
		}
	}
	t.output.Add(1)
	go func() {
		defer t.output.Done()
		io.Copy(stdio[1], t.master)
	}()
	go io.Copy(t.master, stdio[0])
}

// resize gives the container's terminal the size of the caller's.
func (t *terminal) resize() {
	if t.master != nil && t.current != nil {
		t.master.ResizeFrom(t.current)
	}
}

// finish waits for the last output; the read fails when the other side of the
// pseudo-terminal has no user left.
func (t *terminal) finish() {
	if t.master != nil {
		t.output.Wait()
	}
}

// close gives the caller its terminal back.
func (t *terminal) close() {
	if t.current != nil {
		t.current.Reset()
	}
	if t.master != nil {
		t.master.Close()
	}
}
