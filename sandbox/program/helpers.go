package program

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A Helper is a server that the main process of a supervised container needs:
// it is started before that, as the same user, with the same rights and the same
// system call filter, and ends with the container. Its first byte on standard
// output says that it is ready; the main process is not started before. Standard
// output is a pipe of which it has the other end as standard input, so that what it
// writes later does not end it. Standard error is /dev/null.
type Helper struct {
	// Name is what messages call it, such as "the display server".
	Name string
	// Root is the directory of the container that is the helper's root.
	Root string
	// Args and Env are its command line, beginning with a path below Root, and its environment.
	Args, Env []string
}

// helpers starts what has to be there before the main process. It comes when the
// container has been started and still has its privileges: each helper gives
// them up by itself. The filter that tells of exit codes is not loaded yet, to
// which nobody answers before the container is supervised.
func (c *compiler) helpers() error {
	for i := range c.opt.Helpers {
		if err := c.helper(&c.opt.Helpers[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) helper(h *Helper) error {
	if c.opt.SeccompFlags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
		return fmt.Errorf("linux.seccomp: a filter that notifies cannot be combined with %s", h.Name)
	}
	if c.opt.Linger {
		return fmt.Errorf("a container that waits for all its processes would wait for %s for ever: leave out linger, or the display", h.Name)
	}
	pipe := c.record("&pipe", int32(0), int32(0))
	read, write := c.register("read"), c.register("write")
	c.call("pipe2", "make a pipe on which "+h.Name+" says that it is ready", pipe, named(unix.O_CLOEXEC, "O_CLOEXEC"))
	all := named(0xffffffff, "~0")
	c.special(OpLoad, "load", "take its ends", pipe, all).into(read)
	c.special(OpLoad, "load", "take its ends", pipe.at(4), all).into(write)
	child, started := c.label(), c.label()
	c.special(OpFork, "fork", "start "+h.Name).failed(child)
	c.call("close_range", "leave it the end to write", write, write, 0)
	c.call("read", notReady(h.Name), read, c.bytes(make([]byte, 8), "&ready"), 1).nonZero()
	c.call("close_range", "go on without the pipe", read, read, 0).ok(started)

	c.place(child)
	if err := c.become(h, read, write); err != nil {
		return err
	}
	c.place(started)
	return nil
}

// notReady is the note of the call that fails when a helper has ended early.
func notReady(name string) string {
	return name + " ended before it was ready (perhaps for want of memory)"
}

// become turns the forked process into the helper, with the two ends of its pipe.
func (c *compiler) become(h *Helper, input, output Register) error {
	// Of a session of its own, a helper gets no signal from the program's terminal.
	c.call("setsid", "leave the session of the container")
	null := c.register("null")
	c.call("openat", "open /dev/null for "+h.Name, cwdFD(), "/dev/null", openFlags(unix.O_RDWR), 0).into(null)
	for fd, file := range []Register{input, output, null} {
		c.call("dup3", "make it standard "+[]string{"input", "output", "error"}[fd], file, fd, 0)
	}
	c.call("chroot", "make "+h.Root+" the root of "+h.Name, h.Root)
	c.call("chdir", "leave no other directory open", "/")
	// As for the main process, whose warnings are enough; but its descriptors and its exit code are not for the helper.
	warnings, opt := c.p.Warnings, c.opt
	c.opt.ChownStdio, c.opt.Preserve, c.opt.ExitFilter = nil, 0, nil
	if err := c.identity(); err != nil {
		return err
	}
	c.p.Warnings, c.opt = warnings, opt
	if c.spec.Process.NoNewPrivileges {
		c.seccomp()
	}
	c.call("execve", fmt.Sprintf("exec: %q", h.Args[0]), h.Args[0], c.vector(h.Args), c.vector(h.Env))
	return nil
}
