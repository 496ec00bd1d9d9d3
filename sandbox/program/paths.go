package program

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// lookup says which links may be followed (openat2(2), struct open_how).
type lookup struct {
	resolve uint64
	text    string
}

var (
	// inRoot is how every path of the container is looked up: below the root
	// whatever its links say, and through no link that the kernel makes up,
	// such as /proc/self/fd/3.
	inRoot = lookup{unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS, "RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS"}
	// noLinks is for what must be where its path says, and not elsewhere in the
	// root or in a volume: the kernel's file systems, which security depends on, and devices.
	noLinks = lookup{unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS, "RESOLVE_IN_ROOT|RESOLVE_NO_SYMLINKS"}
	// inProc is for files of a /proc: those of nothing that is mounted inside it.
	inProc = lookup{unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS, "RESOLVE_BENEATH|RESOLVE_NO_XDEV|RESOLVE_NO_MAGICLINKS"}
)

// openInRoot opens a path of the container.
func (c *compiler) openInRoot(p, note string, flags int) step {
	return c.openBy(inRoot, p, note, flags)
}

func (c *compiler) openBy(by lookup, p, note string, flags int) step {
	return c.openBelow(c.root, by, p, note, flags)
}

// openBelow opens a path below a directory.
func (c *compiler) openBelow(below Register, by lookup, p, note string, flags int) step {
	const openHowSize = 24 // sizeof(struct open_how)
	value := uint64(flags | unix.O_CLOEXEC)
	perm, text := uint64(0), openFlagText(value)
	if flags&unix.O_CREAT != 0 {
		perm = 0o644
		text += ", 0644"
	}
	how := c.record("{"+text+", "+by.text+"}", value, perm, by.resolve)
	return c.call("openat2", note, below, c.str(relative(p)), how, openHowSize)
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
func (c *compiler) makeDir(p, note string) Register { return c.makeDirBy(inRoot, p, note) }

func (c *compiler) makeDirBy(by lookup, p, note string) Register {
	return c.makeDirUnless(by, p, note, nil)
}

// makeDirUnless is makeDirBy; found, if not nil, adds what is to be done only
// when the directory was there before.
func (c *compiler) makeDirUnless(by lookup, p, note string, found func(dir Register)) Register {
	const flags = unix.O_PATH | unix.O_DIRECTORY
	dir := c.register("dir")
	done := c.label()
	c.openBy(by, p, "find "+p+" to "+note, flags).into(dir).tolerate(unix.ENOENT).ok(done)
	parent := c.root
	rel := relative(p)
	for i := range len(rel) {
		if rel[i] != '/' {
			continue
		}
		level := c.register("level")
		next := c.label()
		c.openBy(by, rel[:i], "find /"+rel[:i], flags).into(level).tolerate(unix.ENOENT).ok(next)
		c.makeLevel(parent, rel[:i])
		c.openBy(by, rel[:i], "open /"+rel[:i], flags).into(level)
		c.place(next)
		c.closeLevel(parent)
		parent = level
	}
	c.makeLevel(parent, rel)
	c.closeLevel(parent)
	open := c.openBy(by, rel, "open /"+rel, flags).into(dir)
	if found == nil {
		c.place(done)
		return dir
	}
	made := c.label()
	open.ok(made)
	c.place(done)
	found(dir)
	c.place(made)
	return dir
}

func (c *compiler) makeLevel(parent Register, p string) {
	c.call("mkdirat", "make /"+p, parent, path.Base(p), mode(0o755)).tolerate(unix.EEXIST)
}

// closeLevel closes one directory: a bundle may have more of them to make than
// a process may have open files.
func (c *compiler) closeLevel(parent Register) {
	if parent != c.root {
		c.call("close_range", "close the directory above", parent, parent, 0)
	}
}

// makeFile opens a file of the container that is to be mounted on, making an
// empty one where there is none. A link to a file that is missing has its
// target made, as images have such links for /etc/resolv.conf; where not even
// the target's folder is there, the link itself is mounted on, which hides it.
// O_NONBLOCK, in case that another container makes something else of it in between.
func (c *compiler) makeFile(p, note string) Register { return c.makeFileBy(inRoot, p, note) }

func (c *compiler) makeFileBy(by lookup, p, note string) Register {
	file := c.register("file")
	done := c.label()
	c.openBy(by, p, "find "+p+" to "+note, unix.O_PATH).into(file).tolerate(unix.ENOENT).ok(done)
	c.makeDirBy(by, path.Dir(path.Clean("/"+p)), note)
	made := c.openBy(by, p, "make "+p, unix.O_CREAT|unix.O_NONBLOCK|unix.O_NOCTTY).into(file)
	if by == inRoot {
		made.tolerate(unix.ENOENT).ok(done)
		c.openBy(by, p, "open the link "+p, unix.O_PATH|unix.O_NOFOLLOW).into(file)
	}
	c.place(done)
	return file
}
