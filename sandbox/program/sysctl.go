package program

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ipcSysctls belong to the ipc namespace (namespaces(7), ipc_namespaces(7)),
// as does everything below fs.mqueue.
var ipcSysctls = []string{
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
	"kernel.shm_rmid_forced",
}

// openProc opens the host's /proc, once, for files of it to be written to: by
// their path they could be something else, after a mount namespace has been
// joined whose processes mount what they like.
func (c *compiler) openProc() Register {
	if c.proc == 0 {
		c.proc = c.register("proc")
		c.call("openat", "open the host's /proc", cwdFD(), "/proc", openFlags(unix.O_PATH|unix.O_DIRECTORY), 0).into(c.proc)
		kind, isProc := c.filesystemType(c.proc, "look what file system it is"), c.label()
		c.special(OpFail, "fail", "it is a proc file system", named(uint64(unix.EEXIST), "EEXIST"), kind, procMagic).tolerate(unix.EEXIST).failed(isProc)
		c.special(OpFail, "fail", "write to /proc: it is not a proc file system", named(uint64(unix.EPERM), "EPERM"))
		c.place(isProc)
	}
	return c.proc
}

// writeProc writes a text to a file below the host's /proc.
func (c *compiler) writeProc(file, text, note string) {
	proc, fd := c.openProc(), c.register("file")
	c.openBelow(proc, inProc, file, note, unix.O_WRONLY).into(fd)
	c.call("write", note, fd, text, len(text))
	c.closeFrom(fd)
}

// sysctls writes kernel parameters through the host's /proc: it shows the
// namespaces of whoever opens a file, and the image has no hand in it.
func (c *compiler) sysctls() error {
	for _, key := range slices.Sorted(maps.Keys(c.spec.Linux.Sysctl)) {
		value := c.spec.Linux.Sysctl[key]
		name := dotted(key)
		if err := c.checkSysctl(name); err != nil {
			return fmt.Errorf("linux.sysctl[%q]: %w", key, err)
		}
		c.writeProc("sys/"+undotted(key), value, "set "+name+" to "+value)
	}
	return nil
}

// dotted is a sysctl name in the form kernel.shmmax. Like sysctl(8), both
// separators are taken; the first one that occurs is the separator.
func dotted(key string) string {
	if strings.IndexByte(key, '/') >= 0 && (!strings.Contains(key, ".") || strings.IndexByte(key, '/') < strings.IndexByte(key, '.')) {
		return strings.Map(swapSeparators, key)
	}
	return key
}

// undotted is a sysctl name as a path below /proc/sys.
func undotted(key string) string { return strings.Map(swapSeparators, dotted(key)) }

func swapSeparators(r rune) rune {
	switch r {
	case '.':
		return '/'
	case '/':
		return '.'
	}
	return r
}

// checkSysctl lets through what belongs to a namespace of the container's own;
// everything else would change the host.
func (c *compiler) checkSysctl(name string) error {
	if slices.Contains(strings.Split(undotted(name), "/"), "..") {
		return fmt.Errorf("it leads out of /proc/sys")
	}
	need := 0
	kind := ""
	switch {
	case slices.Contains(ipcSysctls, name) || strings.HasPrefix(name, "fs.mqueue."):
		need, kind = unix.CLONE_NEWIPC, "an ipc"
	case strings.HasPrefix(name, "net."):
		need, kind = unix.CLONE_NEWNET, "a network"
	case name == "kernel.domainname":
		need, kind = unix.CLONE_NEWUTS, "a uts"
	case name == "kernel.hostname":
		return fmt.Errorf("use the field hostname")
	default:
		return fmt.Errorf("it does not belong to a namespace, and would change the host")
	}
	if !c.ns.Has(need) {
		return fmt.Errorf("it needs %s namespace of the container's own", kind)
	}
	return nil
}
