package program

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CompileInside makes the program that supervises a process in a container that somebody else has made, and in which the
// caller is already: as its process 1 if first is set, otherwise as the parent of its own children only. Of the process,
// the arguments, the variables and the current directory count; of opt, what [OpSupervise] uses and NoRandomize.
//
// What a container's own filter refuses is left out: randomisation stays on, or the exit code has eight bits only.
func CompileInside(p *specs.Process, first bool, opt Options) (*Program, error) {
	// Errors are for nobody to read: no descriptor has this number.
	opt.Supervise, opt.Control = true, -1
	c := newCompiler(&specs.Spec{Process: p}, opt, Namespaces{})
	c.joins = !first
	c.call("close_range", "let the program inherit nothing else", 3, named(0xffffffff, "~0"), named(unix.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC"))
	c.call("chdir", fmt.Sprintf("enter the working directory %s", p.Cwd), p.Cwd)
	if opt.NoRandomize {
		c.call("personality", "switch address-space randomisation off", named(addrNoRandomize, "PER_LINUX|ADDR_NO_RANDOMIZE")).
			tolerate(unix.EPERM, unix.EACCES, unix.ENOSYS)
	}
	c.call("prctl", "gain no privileges", named(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"), 1, 0, 0, 0)
	p.NoNewPrivileges = true // what execute goes by
	return c.carryOut(c.execute)
}
