package program

import (
	"errors"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Target is a container that exists, to be joined.
type Target struct {
	// PidFD is the number, in the init ELF, of a descriptor of the container's
	// first process (pidfd_open(2)).
	PidFD int
	// RootFD is that of its root directory.
	RootFD int
	// Namespaces are the clone flags of the namespaces that are not the host's.
	Namespaces int
}

// CompileExec makes the program that runs another process in a container:
// spec is the container's, with the process to run in the place of its own.
//
// # Errors
//
// As [Compile].
func CompileExec(spec *specs.Spec, target Target, opt Options) (*Program, error) {
	if spec.Process == nil || len(spec.Process.Args) == 0 {
		return nil, errors.New("process.args: empty")
	}
	opt.Listen = -1
	c := newJoin(spec, target, opt)
	return c.carryOut(
		c.checkLabels,
		c.oomScore,
		func() error { return c.join(target) },
		c.confine,
		c.console,
		c.findExecutable,
		c.execAffinity,
		c.memoryPolicy,
		c.scheduling,
		c.limits,
		c.personality,
		c.waitForStart,
		c.narrowLimits,
		c.identity,
		c.execute,
	)
}

// CompileHook makes the program that runs a hook of the runtime spec in the
// namespaces of a container, with the rights of its set-up.
func CompileHook(hook *specs.Hook, target Target, opt Options) (*Program, error) {
	args := hook.Args
	if len(args) == 0 {
		args = []string{hook.Path}
	}
	c := newJoin(&specs.Spec{Linux: &specs.Linux{}}, target, opt)
	if err := c.join(target); err != nil {
		return nil, err
	}
	c.call("close_range", "let the hook inherit nothing else", 3, named(0xffffffff, "~0"), named(unix.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC"))
	c.call("execve", "hook "+hook.Path, hook.Path, c.vector(args), c.vector(hook.Env))
	return c.finish()
}

// CompileIdle makes a program that does nothing until the runtime lets go of
// it: it keeps a user namespace alive that is to be opened.
func CompileIdle(control int) (*Program, error) {
	c := newCompiler(&specs.Spec{}, Options{Control: control}, Namespaces{})
	c.await("wait until the namespace has been opened")
	c.special(OpFail, "fail", "end", named(uint64(unix.ECANCELED), "ECANCELED"))
	return c.finish()
}

func newJoin(spec *specs.Spec, target Target, opt Options) *compiler {
	c := newCompiler(spec, opt, Namespaces{New: target.Namespaces})
	c.joins = true
	return c
}

// join enters the namespaces of a container, all in one call (setns(2) with a
// pidfd, Linux 5.8), and its pid namespace by a clone.
func (c *compiler) join(target Target) error {
	c.call("umask", "modes are given in full below", 0)
	if c.labelled() {
		c.openProc() // not the container's
	}
	c.keyring()
	// Before the container's processes can see this one.
	c.hide()
	if target.Namespaces != 0 {
		var names []string
		for _, known := range namespaceFlags {
			if target.Namespaces&known.flag != 0 {
				names = append(names, known.text)
			}
		}
		c.call("setns", "join the container's namespaces", target.PidFD, named(uint64(target.Namespaces), strings.Join(names, "|")))
	}
	c.clone(0)
	c.await("wait until the runtime knows this process") // else its reports could come first
	c.session()
	if target.Namespaces&unix.CLONE_NEWUSER != 0 {
		c.becomeMappedRoot()
	}
	// setns has gone to the root of the mount namespace. That is the host's when
	// winbox itself was started in a changed root, and when the container's is
	// only changed to, without a mount namespace of its own.
	c.call("fchdir", "go to the container's root", target.RootFD)
	c.call("chroot", "make it the root", ".")
	c.root = c.register("root")
	c.call("openat", "open the container's root", cwdFD(), "/", openFlags(unix.O_PATH|unix.O_DIRECTORY), 0).into(c.root)
	return nil
}
