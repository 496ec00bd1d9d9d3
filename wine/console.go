package wine

import (
	"crypto/rand"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// consoleName is the variable by which the program of [Runtime.Resize] finds the processes of a terminal's console.
const consoleName = "WINBOX_CONSOLE"

// Resize gives the program, with its arguments, that tells the console of a process with a terminal what size that has
// (boot/resize.c); the size, such as 00080x00025, is to be its last argument. Wine's console host asks for it only once, when it
// starts. The process gets a variable by which it is found, in an environment of its own.
//
// # Errors
//
// One of [Runtime.Loader].
func (r *Runtime) Resize(p *specs.Process) ([]string, error) {
	if !p.Terminal {
		return nil, nil
	}
	loader, preloader, err := r.Loader(AMD64)
	if err != nil {
		return nil, err
	}
	name := rand.Text()
	p.Env = append(slices.Clone(p.Env), consoleName+"="+name)
	return []string{preloader, loader, stopPath(AMD64), "resize", name}, nil
}
