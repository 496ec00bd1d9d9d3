package program

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Sizes and commands of the mount system calls (linux/mount.h).
const (
	mountAttrSize = 32 // sizeof(struct mount_attr)

	fsconfigSetFlag     = 0
	fsconfigSetString   = 1
	fsconfigCreate      = 6
	fsconfigReconfigure = 7
	fspickCloexec       = 1
	fspickEmptyPath     = 8
)

// procExceptions may be mounted on although they lie in /proc: files that
// programs such as lxcfs replace by the container's own view. Anything else
// there could hide what security modules rely on (CVE-2019-16884).
var procExceptions = []string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/slabinfo", "/proc/stat", "/proc/swaps",
	"/proc/uptime", "/proc/net/dev", "/proc/sys/crypto/fips_enabled", "/proc/sys/kernel/ns_last_pid",
}

// mounts carries out the mounts of the spec in their order.
func (c *compiler) mounts() error {
	for i := range c.spec.Mounts {
		if err := c.mount(i, &c.spec.Mounts[i]); err != nil {
			return fmt.Errorf("mounts[%d] (%s): %w", i, c.spec.Mounts[i].Destination, err)
		}
	}
	c.memoryFiles()
	return nil
}

func (c *compiler) mount(index int, m *specs.Mount) error {
	if m.Destination == "" {
		return fmt.Errorf("destination: empty")
	}
	if !path.IsAbs(m.Destination) {
		return fmt.Errorf("destination: not an absolute path")
	}
	dest := path.Clean(m.Destination)
	if dest == "/" {
		return fmt.Errorf("destination: the root itself cannot be mounted on")
	}
	if strings.HasPrefix(dest, "/proc/") && !slices.Contains(procExceptions, dest) {
		return fmt.Errorf("destination: it is inside /proc, where nothing may be mounted")
	}
	o := parseMountOptions(m)
	if !o.remount {
		// What is mounted over is not what is to be protected any more.
		c.kernel = slices.DeleteFunc(c.kernel, func(k kernelMount) bool { return k.dest == dest || below(k.dest, dest) })
	}
	if idMapping, ok := FindIDMapping(m, c.spec); ok {
		switch {
		case o.remount:
			return fmt.Errorf("uidMappings: a mount that is there cannot be id-mapped any more")
		case !o.bind && c.ns.Has(unix.CLONE_NEWUSER):
			// The file system belongs to the container's user namespace, whose root
			// has no say over another one.
			return fmt.Errorf("uidMappings: in a container with a user namespace, only bind mounts can be id-mapped")
		case idMapping.Join == "" && (len(idMapping.UIDs) == 0 || len(idMapping.GIDs) == 0):
			return fmt.Errorf("uidMappings: an id-mapped mount needs mappings of both users and groups, its own or the container's")
		}
		o.idmap = true
		o.file = c.opt.MountFiles[index]
	}
	if o.bind {
		c.bindOptions(index, &o)
	}
	if slices.Contains(o.data, "mand") {
		c.warn("mounts[%d] (%s): option mand has no effect: Linux has no mandatory locks any more", index, dest)
	}
	switch {
	case o.remount:
		c.remount(dest, o)
		return nil
	case o.bind:
		return c.bind(m, dest, o)
	case m.Type == "cgroup" || m.Type == "cgroup2":
		if len(o.data) > 0 {
			return fmt.Errorf("option %q: a mount of control groups has no options of the file system's", o.data[0])
		}
		c.cgroupMount(dest, o)
		return nil
	case m.Type == "":
		return fmt.Errorf("type: empty, and neither bind nor rbind is among the options")
	}
	if o.copyUp && m.Type != "tmpfs" {
		return fmt.Errorf("option \"tmpcopyup\" is for tmpfs only")
	}
	if err := c.mappedOptions(m, o.data); err != nil {
		return err
	}
	c.filesystem(index, m, dest, o)
	return nil
}

// bindOptions takes out the options that a bind mount cannot have, because
// they are its file system's. They are often given all the same, and runtimes
// pass over them: a warning says so.
func (c *compiler) bindOptions(index int, o *mountOptions) {
	for _, name := range o.data {
		c.warn("mounts[%d] (%s): option %s left out: it is for file systems, not for bind mounts", index, c.spec.Mounts[index].Destination, name)
	}
	o.data = nil
}

// remount changes the attributes of what is mounted on dest, and, with options
// of the file system, that (fspick(2)).
func (c *compiler) remount(dest string, o mountOptions) {
	fd := c.register("mnt")
	c.openInRoot(dest, "find "+dest+" to remount it", unix.O_PATH).into(fd)
	c.attributes(fd, dest, o)
	if len(o.data) > 0 {
		fs := c.register("fs")
		what := "remount " + dest
		c.call("fspick", what, fd, "", named(fspickEmptyPath|fspickCloexec, "FSPICK_EMPTY_PATH|FSPICK_CLOEXEC")).into(fs)
		c.configure(fs, o.data, what)
		c.call("fsconfig", what, fs, named(fsconfigReconfigure, "FSCONFIG_CMD_RECONFIGURE"), 0, 0, 0)
	}
	c.propagate(fd, dest, o)
	c.closeFrom(fd)
}

// bind mounts a file or directory of the host (open_tree(2), move_mount(2)).
// A clone is changed before it is attached, so that there is no moment in
// which the container could use it with the wrong attributes.
func (c *compiler) bind(m *specs.Mount, dest string, o mountOptions) error {
	if m.Source == "" {
		return fmt.Errorf("source: empty")
	}
	source := c.absolute(m.Source)
	isDir, err := c.opt.Host.IsDir(source)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	what := fmt.Sprintf("mount %s on %s", source, dest)
	var tree Register
	if o.idmap {
		tree = c.mappedTree(dest, o)
	} else {
		tree = c.cloneTree(cwdFD(), source, o.recursiveBind, what)
	}
	c.attributes(tree, dest, o)
	var target Register
	if isDir {
		target = c.makeDir(dest, "mount "+source+" on it")
	} else {
		target = c.makeFile(dest, "mount "+source+" on it")
	}
	c.notInProc(target, dest)
	c.attach(tree, target, what)
	c.propagate(tree, dest, o)
	if o.idmap {
		c.closeFrom(target)
	} else {
		c.closeFrom(tree)
	}
	return nil
}

// mappedTree is a clone that the runtime has made, since mapping the owners of
// files needs privilege over the file system. It has been cloned from the host's
// mounts, and must not spread there what is mounted in it.
func (c *compiler) mappedTree(dest string, o mountOptions) Register {
	tree := c.register("tree")
	c.special(OpLoad, "load", "take the mount for "+dest+", with the owners of files mapped", c.record(fmt.Sprintf("{%d}", o.file), uint32(o.file)), named(0xffffffff, "~0")).into(tree)
	if c.ns.Has(unix.CLONE_NEWNS) {
		c.setAttr(fdOperand(tree), true, attr{}, c.rootPropagation().kind, "keep mounts from spreading to the host")
	}
	return tree
}

// cloneTree makes a detached copy of a mount, or of part of one.
func (c *compiler) cloneTree(dir Operand, source string, recursive bool, note string) Register {
	tree := c.register("tree")
	c.openTree(dir, source, recursive, note).into(tree)
	return tree
}

// openTree is the system call of cloneTree.
func (c *compiler) openTree(dir Operand, source string, recursive bool, note string) step {
	flags := uint64(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	text := "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"
	if recursive {
		flags |= unix.AT_RECURSIVE
		text += "|AT_RECURSIVE"
	}
	if source == "" {
		flags |= unix.AT_EMPTY_PATH
		text += "|AT_EMPTY_PATH"
	}
	return c.call("open_tree", note, dir, source, named(flags, text))
}

// attach puts a detached mount on a file or directory of the container.
func (c *compiler) attach(tree, target Register, note string) step {
	return c.call("move_mount", note, tree, "", target, "",
		named(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH, "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH"))
}

// setAttr calls mount_setattr(2) on the mount at fd.
func (c *compiler) setAttr(fd Operand, recursive bool, a attr, propagation uint64, note string) step {
	flags, text := uint64(unix.AT_EMPTY_PATH), "AT_EMPTY_PATH"
	if recursive {
		flags |= unix.AT_RECURSIVE
		text += "|AT_RECURSIVE"
	}
	var fields []string
	if a.set != 0 {
		fields = append(fields, "set="+mountAttrText(a.set))
	}
	if a.clear != 0 {
		fields = append(fields, "clr="+mountAttrText(a.clear))
	}
	if propagation != 0 {
		fields = append(fields, "propagation="+flagText(propagation, propagationNames, "0"))
	}
	rec := c.record("{"+strings.Join(fields, ", ")+"}", a.set, a.clear, propagation, uint64(0))
	return c.call("mount_setattr", note, fd, "", named(flags, text), rec, mountAttrSize)
}

func fdOperand(r Register) Operand { return Operand{Kind: FromReg, Value: uint64(r)} }

// attributes applies the attribute options to a mount and what is below it.
func (c *compiler) attributes(fd Register, dest string, o mountOptions) {
	if !o.one.empty() {
		c.setAttr(fdOperand(fd), false, o.one, 0, "set attributes of "+dest)
	}
	if !o.tree.empty() {
		c.setAttr(fdOperand(fd), true, o.tree, 0, "set attributes of "+dest+" and all mounts below it")
	}
}

// idMap makes a detached mount show other owners (mount_setattr(2), "ID-mapped
// mounts").
func (c *compiler) idMap(mnt Register, dest string, o mountOptions) {
	rec := c.record(fmt.Sprintf("{set=MOUNT_ATTR_IDMAP, userns_fd=%d}", o.file), uint64(unix.MOUNT_ATTR_IDMAP), uint64(0), uint64(0), uint64(o.file))
	c.call("mount_setattr", "map the owners of files on "+dest, mnt, "", named(unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"), rec, mountAttrSize)
}

func (c *compiler) propagate(fd Register, dest string, o mountOptions) {
	for _, p := range o.propagation {
		c.setAttr(fdOperand(fd), p.recursive, attr{}, p.kind, "set propagation of "+dest)
	}
}

// filesystem mounts a file system of its own type (fsopen(2), fsconfig(2),
// fsmount(2)).
func (c *compiler) filesystem(index int, m *specs.Mount, dest string, o mountOptions) {
	what := fmt.Sprintf("mount %s on %s", m.Type, dest)
	by := inRoot
	if m.Type == "proc" || m.Type == "sysfs" {
		by = noLinks // masked and read-only paths are below them
	}
	keepMode := m.Type == "tmpfs" && !slices.ContainsFunc(o.data, func(s string) bool { return strings.HasPrefix(s, "mode=") })
	var stat Operand
	var found func(Register)
	if keepMode {
		// On a directory that is new, engines expect the mode that a tmpfs has by itself (tmpfs(5)).
		room := make([]byte, statSize)
		binary.LittleEndian.PutUint32(room[statModeOffset:], 0o1777)
		stat = c.bytes(room, "&stat")
		found = func(dir Register) { c.call("fstat", "read the mode of "+dest, dir, stat) }
	}
	target := c.makeDirUnless(by, dest, "mount "+m.Type+" on it", found)
	if m.Type != "proc" {
		c.notInProc(target, dest)
	}
	source := m.Source
	if source == "" {
		source = m.Type
	}
	// Mode and content can only be given to a tmpfs that is writable.
	a := o.one
	if keepMode || o.copyUp {
		a.set &^= unix.MOUNT_ATTR_RDONLY
	}
	data, done := o.data, func() {}
	if overlay, ok := c.opt.Overlays[index]; ok {
		data, done = c.layers(overlay, data, target, dest)
	}
	fs, mnt := c.newFilesystem(m.Type, source, data, a, what)
	done()
	if m.Type == "mqueue" {
		c.labelTop(mnt, dest)
	}
	if keepMode {
		perm := c.register("mode")
		c.special(OpLoad, "load", "take st_mode", stat.at(statModeOffset), mode(0o7777)).into(perm)
		c.call("fchmodat", "give the tmpfs the mode of "+dest, mnt, ".", perm)
	}
	if o.copyUp {
		c.sendFiles(ReportCopyUp, "have the content of "+dest+" copied into the tmpfs", target, mnt)
		c.await("wait until it is copied")
	}
	if o.idmap {
		c.idMap(mnt, dest, o)
	}
	if a != o.one {
		c.setAttr(fdOperand(mnt), false, attr{set: unix.MOUNT_ATTR_RDONLY}, 0, "make "+dest+" read-only")
	}
	c.attach(mnt, target, what)
	if !o.tree.empty() {
		c.setAttr(fdOperand(mnt), true, o.tree, 0, "set attributes of "+dest)
	}
	c.propagate(mnt, dest, o)
	if by == noLinks {
		// Kept open under the lowest number, so that all above can be closed.
		c.call("dup3", "keep "+dest+" at hand", mnt, target, named(unix.O_CLOEXEC, "O_CLOEXEC"))
		c.kernel = append(c.kernel, kernelMount{dest, target})
		c.closeFrom(fs)
		return
	}
	c.closeFrom(target)
}

// kernelMount is a mount of proc or sysfs, kept open for the paths in it that
// are to be hidden or protected: by their whole path, another container that
// shares the root file system could have something else found, by renaming the
// folder that is mounted on.
type kernelMount struct {
	dest string
	root Register
}

// below tells whether p lies below directory dir; nothing lies below itself.
func below(p, dir string) bool { return strings.HasPrefix(p, dir+"/") }

// notInProc makes sure that a destination that does not look so does not lie in
// /proc all the same, by way of a link in the image.
func (c *compiler) notInProc(target Register, dest string) {
	if slices.Contains(procExceptions, dest) {
		return
	}
	kind := c.filesystemType(target, "look what file system "+dest+" is on")
	c.special(OpFail, "fail", "mount on "+dest+": it leads into /proc, where nothing may be mounted", named(uint64(unix.EPERM), "EPERM"), kind, procMagic)
}

// configure gives options to a file system in the making (fsconfig(2)).
func (c *compiler) configure(fs Register, options []string, note string) {
	for _, option := range options {
		why := note
		if !strings.HasPrefix(option, "source=") {
			why += ": option " + option
		}
		if key, value, ok := strings.Cut(option, "="); ok {
			c.call("fsconfig", why, fs, named(fsconfigSetString, "FSCONFIG_SET_STRING"), key, value, 0)
		} else {
			c.call("fsconfig", why, fs, named(fsconfigSetFlag, "FSCONFIG_SET_FLAG"), option, 0, 0)
		}
	}
}

// newFilesystem makes a detached mount of a new superblock; fs is what it is made of.
func (c *compiler) newFilesystem(kind, source string, data []string, a attr, note string) (fs, mnt Register) {
	fs = c.register("fs")
	c.call("fsopen", note, kind, named(unix.FSOPEN_CLOEXEC, "FSOPEN_CLOEXEC")).into(fs)
	c.configure(fs, append([]string{"source=" + source}, c.mountLabel(kind, data)...), note)
	c.call("fsconfig", note, fs, named(fsconfigCreate, "FSCONFIG_CMD_CREATE"), 0, 0, 0)
	mnt = c.register("mnt")
	c.call("fsmount", note, fs, named(unix.FSMOUNT_CLOEXEC, "FSMOUNT_CLOEXEC"), named(a.set, mountAttrText(a.set))).into(mnt)
	return fs, mnt
}

// struct stat of x86-64 (asm/stat.h).
const statSize, statModeOffset = 144, 24

// cgroupMount shows the container its own control groups: on v2 the one
// hierarchy, on v1 a tmpfs with a directory for each (config-linux.md,
// "Control groups"; cgroups(7)).
func (c *compiler) cgroupMount(dest string, o mountOptions) {
	if len(c.opt.Host.Cgroups) == 1 && c.opt.Host.Cgroups[0].Name == "" {
		target := c.makeDir(dest, "mount cgroup2 on it")
		c.notInProc(target, dest)
		c.cgroupHierarchy(c.opt.Host.Cgroups[0], target, dest, o)
		c.closeFrom(target)
		return
	}
	what := "mount tmpfs on " + dest + " for the control groups"
	target := c.makeDir(dest, what)
	c.notInProc(target, dest)
	later := o.one
	top := attr{set: later.set &^ unix.MOUNT_ATTR_RDONLY}
	_, mnt := c.newFilesystem("tmpfs", "tmpfs", []string{"mode=755"}, top, what)
	c.attach(mnt, target, what)
	for _, h := range c.opt.Host.Cgroups {
		sub := path.Join(dest, h.Name)
		c.call("mkdirat", "make "+sub, mnt, h.Name, mode(0o755))
		dir := c.register("dir")
		c.call("openat", "open "+sub, mnt, h.Name, openFlags(unix.O_PATH|unix.O_DIRECTORY), 0).into(dir)
		c.cgroupHierarchy(h, dir, sub, o)
		c.closeFrom(dir)
		if names := strings.Split(h.Name, ","); len(names) > 1 {
			for _, name := range names {
				c.call("symlinkat", "link "+path.Join(dest, name), h.Name, mnt, name)
			}
		}
	}
	if later.set&unix.MOUNT_ATTR_RDONLY != 0 {
		c.setAttr(fdOperand(mnt), false, attr{set: unix.MOUNT_ATTR_RDONLY}, 0, "make "+dest+" read-only")
	}
	c.propagate(mnt, dest, o)
	c.closeFrom(target)
}

// memoryFiles shows a Windows container what it uses of its memory.
func (c *compiler) memoryFiles() {
	dest := c.opt.MemoryFiles
	i := slices.IndexFunc(c.opt.Host.Cgroups, func(h CgroupMount) bool {
		return h.Name == "" || slices.Contains(strings.Split(h.Options, ","), "memory")
	})
	if dest == "" || i < 0 {
		return
	}
	h, what := c.opt.Host.Cgroups[i], "show the files of the memory control group on "+dest
	target := c.makeDir(dest, what)
	tree := c.ownGroup(h, what)
	c.setAttr(fdOperand(tree), false, attr{set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}, 0, "make "+dest+" read-only")
	c.attach(tree, target, what)
	c.closeFrom(target)
}

// ownGroup clones the directory of the container's group in a hierarchy.
func (c *compiler) ownGroup(h CgroupMount, note string) Register {
	tree, cloned := c.register("tree"), c.label()
	own := c.openTree(cwdFD(), h.Path, false, note).into(tree)
	if h.Otherwise != "" {
		own.tolerate(unix.ENOENT).ok(cloned)
		c.openTree(cwdFD(), h.Otherwise, false, note).into(tree)
	}
	c.place(cloned)
	return tree
}

// cgroupHierarchy mounts one hierarchy on target: a mount of its own where a
// cgroup namespace confines it to the container's group, else that group's directory.
func (c *compiler) cgroupHierarchy(h CgroupMount, target Register, dest string, o mountOptions) {
	what := "mount cgroup on " + dest
	if !c.ns.Has(unix.CLONE_NEWCGROUP) {
		tree := c.ownGroup(h, what)
		c.attributes(tree, dest, o)
		c.attach(tree, target, what)
		return
	}
	// On a hybrid host the v2 hierarchy is among the others and has no options.
	kind, data := "cgroup2", []string(nil)
	if h.Options != "" {
		kind, data = "cgroup", strings.Split(h.Options, ",")
		if strings.HasPrefix(h.Options, "name=") {
			data = append([]string{"none"}, data...)
		}
	}
	_, mnt := c.newFilesystem(kind, "cgroup", data, o.one, what)
	c.attach(mnt, target, what)
}
