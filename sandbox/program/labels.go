package program

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// labelXattr is the attribute that holds a file's SELinux label (xattr(7)).
const labelXattr = "security.selinux"

// checkLabels refuses the process's labels of a security module that is not
// active: the container would run unconfined. The texts are runc's. A label of
// files confines nobody, and is left out then.
func (c *compiler) checkLabels() error {
	p, l := c.spec.Process, c.spec.Linux
	switch {
	case p.ApparmorProfile != "" && !c.opt.Host.AppArmor:
		return errors.New("process.apparmorProfile: apparmor: config provided but apparmor not supported")
	case p.SelinuxLabel != "" && !c.opt.Host.SELinux:
		return errors.New("process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported")
	case strings.ContainsAny(p.ApparmorProfile, "\x00\n"):
		return fmt.Errorf("process.apparmorProfile: %q is not the name of a profile", p.ApparmorProfile)
	}
	if l.MountLabel != "" && !c.opt.Host.SELinux && !c.joins {
		c.warn("linux.mountLabel: left out: SELinux is disabled or not supported")
	}
	return nil
}

// fileLabel is the label of the container's files; empty without one.
func (c *compiler) fileLabel() string {
	if c.spec.Linux == nil || !c.opt.Host.SELinux {
		return ""
	}
	return c.spec.Linux.MountLabel
}

// labelled tells whether the process gets a label, which is written to the
// host's /proc.
func (c *compiler) labelled() bool {
	p := c.spec.Process
	return p != nil && p.ApparmorProfile+p.SelinuxLabel != ""
}

// attribute writes to an attribute of this very thread (proc_pid_attr(5)). It
// is opened right before the write, which the kernel refuses when the identity
// has changed in between. The first of the files that is there is taken.
func (c *compiler) attribute(note, value string, files ...string) {
	proc, fd, opened := c.openProc(), c.register("attr"), c.label()
	for i, file := range files {
		open := c.openBelow(proc, inProc, "thread-self/attr/"+file, note+": open `/proc/thread-self/attr/"+file+"`", unix.O_WRONLY).into(fd).ok(opened)
		if i < len(files)-1 {
			open.tolerate(unix.ENOENT)
		}
	}
	c.place(opened)
	c.call("write", note+": write `/proc/thread-self/attr/"+files[0]+"`", fd, value, len(value))
	c.call("close_range", "close the attribute", fd, fd, 0)
}

// confine has the next execve change the AppArmor profile (aa_change_onexec(3))
// and the SELinux domain (setexeccon(3)), which a fork passes on. Nothing else
// has to be written to the host's /proc after it.
func (c *compiler) confine() error {
	p := c.spec.Process
	if profile := p.ApparmorProfile; profile != "" {
		c.attribute("apparmor failed to apply profile "+profile, "exec "+profile, "apparmor/exec", "exec")
	}
	if p.SelinuxLabel != "" {
		c.attribute("set the SELinux label "+p.SelinuxLabel, p.SelinuxLabel, "exec")
	}
	if c.proc != 0 {
		c.call("close_range", "close the host's /proc", c.proc, c.proc, 0)
		c.proc = 0
	}
	return nil
}

// labelKeys gives the keys that the process makes a label, "" the default one
// (setkeycreatecon(3)): the session keyring must be the container's in the eyes
// of SELinux, too.
func (c *compiler) labelKeys(label string) {
	if c.spec.Process != nil && c.spec.Process.SelinuxLabel != "" {
		c.attribute("set the SELinux label of new keys", label, "keycreate")
	}
}

// labelFile gives an open file the label of linux.mountLabel, where the
// file system keeps labels.
func (c *compiler) labelFile(fd Register, name string) {
	if label := c.fileLabel(); label != "" {
		c.call("fsetxattr", "set the SELinux label of "+name, fd, labelXattr, label, len(label), 0).tolerate(unix.EOPNOTSUPP)
	}
}

// labelTop does so with the top directory of a mount that is attached nowhere yet.
func (c *compiler) labelTop(mnt Register, name string) {
	if c.fileLabel() != "" {
		top := c.register("top")
		c.call("openat", "open "+name, mnt, ".", openFlags(unix.O_DIRECTORY), 0).into(top)
		c.labelFile(top, name)
		c.call("close_range", "close "+name, top, top, 0)
	}
}

// unlabelled are the file systems whose files have labels of their own by the
// SELinux policy; for them, the kernel refuses the mount option.
var unlabelled = []string{"proc", "sysfs", "mqueue", "cgroup", "cgroup2"}

// mountLabel is linux.mountLabel as an option of a new file system (mount(8),
// "context=").
func (c *compiler) mountLabel(kind string, data []string) []string {
	given := slices.ContainsFunc(data, func(s string) bool { return strings.HasPrefix(s, "context=") })
	if c.fileLabel() == "" || given || slices.Contains(unlabelled, kind) {
		return data
	}
	return append(slices.Clone(data), "context="+c.fileLabel())
}

// procMagic is the type of the proc file system (statfs(2)).
var procMagic = named(unix.PROC_SUPER_MAGIC, "PROC_SUPER_MAGIC")

// filesystemType reads f_type of the file system that fd is on.
func (c *compiler) filesystemType(fd Register, note string) Register {
	const statfsSize = 120 // struct statfs of x86-64 (asm-generic/statfs.h); f_type comes first
	buf := c.bytes(make([]byte, statfsSize), "&statfs")
	c.call("fstatfs", note, fd, buf)
	kind := c.register("f_type")
	c.special(OpLoad, "load", "take f_type", buf, named(0xffffffff, "~0")).into(kind)
	return kind
}
