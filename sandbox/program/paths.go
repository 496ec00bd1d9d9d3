package program

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// resolve is how every path of the container is looked up: below the root
// whatever its links say, and through no link that the kernel makes up, such
// as /proc/self/fd/3 (openat2(2)).
const (
	resolve     = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	resolveText = "RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS"
	openHowSize = 24 // sizeof(struct open_how)
)

// openInRoot opens a path of the container.
func (c *compiler) openInRoot(p, note string, flags int) step {
	value := uint64(flags | unix.O_CLOEXEC)
	how := c.record("{"+openFlagText(value)+", "+resolveText+"}", value, uint64(0), uint64(resolve))
	return c.call("openat2", note, c.root, c.str(relative(p)), how, openHowSize)
}

// relative is a container path as openat2 takes it below the root's descriptor.
func relative(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	if p == "" {
		return "."
	}
	return p
}

// makeDir opens a directory of the container, making it and what is missing
// above it, and returns its register.
//
// Each level is opened anew from the root, since a level may be a symbolic
// link, which only the look-up from the root confines.
func (c *compiler) makeDir(p, note string) Register {
	dir := c.register("dir")
	done := c.label()
	c.openInRoot(p, "find "+p+" to "+note, unix.O_PATH|unix.O_DIRECTORY).into(dir).tolerate(unix.ENOENT).ok(done)
	parent := c.root
	rel := relative(p)
	for i := 0; i <= len(rel); i++ {
		if i < len(rel) && rel[i] != '/' {
			continue
		}
		level := rel[:i]
		next := c.label()
		if i < len(rel) {
			c.openInRoot(level, "find /"+level, unix.O_PATH|unix.O_DIRECTORY).into(dir).tolerate(unix.ENOENT).ok(next)
		}
		c.call("mkdirat", "make /"+level, parent, path.Base(level), mode(0o755)).tolerate(unix.EEXIST)
		c.openInRoot(level, "open /"+level, unix.O_PATH|unix.O_DIRECTORY).into(dir)
		c.place(next)
		parent = dir
	}
	c.place(done)
	return dir
}

// makeFile opens a file of the container that is to be mounted on, making an
// empty one where there is none.
func (c *compiler) makeFile(p, note string) Register {
	file := c.register("file")
	done := c.label()
	c.openInRoot(p, "find "+p+" to "+note, unix.O_PATH).into(file).tolerate(unix.ENOENT).ok(done)
	parent := c.makeDir(path.Dir(path.Clean("/"+p)), note)
	c.call("mknodat", "make "+p, parent, path.Base(p), mode(unix.S_IFREG|0o644), 0).tolerate(unix.EEXIST)
	c.openInRoot(p, "open "+p, unix.O_PATH).into(file)
	c.place(done)
	return file
}
