package program

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rootfs makes a mount of the root file system and opens it: everything until
// enterRoot works relative to its descriptor.
func (c *compiler) rootfs() error {
	if c.spec.Root == nil || c.spec.Root.Path == "" {
		return errors.New("root.path: empty")
	}
	rootfs := c.absolute(c.spec.Root.Path)
	if isDir, err := c.opt.Host.IsDir(rootfs); err == nil && !isDir && c.ns.Join[unix.CLONE_NEWNS] == "" {
		return fmt.Errorf("root.path: %s is not a directory", rootfs)
	}
	c.root = c.register("root")
	if !c.ns.Has(unix.CLONE_NEWNS) && !c.rootMounted {
		c.call("openat", "open the root file system "+rootfs, cwdFD(), rootfs, openFlags(unix.O_PATH|unix.O_DIRECTORY), 0).into(c.root)
		return nil
	}
	if c.ns.Has(unix.CLONE_NEWNS) {
		if err := c.separateMounts(); err != nil {
			return err
		}
	}
	if c.rootMounted && rootfs == "/" {
		return errors.New("linux.namespaces: mounts in the root of the host need a mount namespace")
	}
	what := "mount the root file system " + rootfs
	c.call("open_tree", what, cwdFD(), rootfs,
		named(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE, "OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_RECURSIVE")).into(c.root)
	c.call("move_mount", what, c.root, "", cwdFD(), rootfs,
		named(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS, "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_SYMLINKS"))
	if c.rootMounted {
		c.setAttr(fdOperand(c.root), true, attr{}, unix.MS_PRIVATE, "keep the container's mounts from spreading")
	}
	return nil
}

// MountsOnHost tells that a container has mounts but no mount namespace, new or
// joined. They are made among the host's then, below a mount of the root file
// system on itself; whoever removes the container has to unmount that.
func MountsOnHost(spec *specs.Spec, ns Namespaces) bool {
	l := spec.Linux
	return !ns.Has(unix.CLONE_NEWNS) && l != nil && spec.Root != nil &&
		(len(spec.Mounts) > 0 || spec.Root.Readonly || len(l.MaskedPaths)+len(l.ReadonlyPaths) > 0 || l.RootfsPropagation != "")
}

// separateMounts keeps the mounts of the container's mount namespace from spreading to the host.
func (c *compiler) separateMounts() error {
	if name := c.spec.Linux.RootfsPropagation; name != "" {
		if _, ok := propagationOptions[name]; !ok {
			return fmt.Errorf("linux.rootfsPropagation: %q is not a propagation type", name)
		}
	}
	prop := c.rootPropagation()
	top := c.openTop()
	c.setAttr(fdOperand(top), prop.recursive, attr{}, prop.kind, "keep mounts from spreading to the host")
	c.closeFrom(top)
	if c.opt.Host.RootParent != "" {
		// The root file system would be mounted on the host as well, and
		// pivot_root refuses a root on a shared mount (pivot_root(2)).
		parent := c.register("parent")
		c.call("openat", "open "+c.opt.Host.RootParent, cwdFD(), c.opt.Host.RootParent, openFlags(unix.O_PATH), 0).into(parent)
		c.setAttr(fdOperand(parent), false, attr{}, unix.MS_PRIVATE, "make the mount that holds the root file system private")
		c.closeFrom(parent)
	}
	return nil
}

// rootPropagation is how the mounts of the new namespace and those of the host
// depend on each other during the set-up.
func (c *compiler) rootPropagation() propagation {
	prop, ok := propagationOptions[c.spec.Linux.RootfsPropagation]
	if !ok || prop.kind == unix.MS_UNBINDABLE {
		// The root file system has to be bound first; it gets its propagation in enterRoot.
		return propagation{unix.MS_SLAVE, true}
	}
	return prop
}

// openTop opens the root of the host.
func (c *compiler) openTop() Register {
	top := c.register("top")
	c.call("openat", "open the root of the host", cwdFD(), "/", openFlags(unix.O_PATH|unix.O_DIRECTORY), 0).into(top)
	return top
}

// protectedPaths hides and write-protects paths of the kernel's file systems,
// and then the root file system itself when it is to be read-only.
func (c *compiler) protectedPaths() error {
	for i, p := range c.spec.Linux.ReadonlyPaths {
		if !path.IsAbs(p) {
			return fmt.Errorf("linux.readonlyPaths[%d]: %q is not absolute", i, p)
		}
		c.readonlyPath(p)
	}
	for i, p := range c.spec.Linux.MaskedPaths {
		if !path.IsAbs(p) {
			return fmt.Errorf("linux.maskedPaths[%d]: %q is not absolute", i, p)
		}
		c.maskPath(p)
	}
	if c.spec.Root.Readonly {
		c.setAttr(fdOperand(c.root), false, attr{set: unix.MOUNT_ATTR_RDONLY}, 0, "make the root file system read-only")
	}
	return nil
}

// openProtected opens a path that is to be hidden or protected: in the mount of
// the kernel's file system that it lies in, if it does.
func (c *compiler) openProtected(p, note string, flags int) step {
	p = path.Clean(p)
	for _, k := range slices.Backward(c.kernel) {
		if below(p, k.dest) {
			return c.openBelow(k.root, inRoot, strings.TrimPrefix(p, k.dest), note, flags)
		}
	}
	return c.openInRoot(p, note, flags)
}

func (c *compiler) readonlyPath(p string) {
	// Another mount comes to lie over the whole: what is below is in there from now on.
	c.kernel = slices.DeleteFunc(c.kernel, func(k kernelMount) bool { return k.dest == path.Clean(p) || below(k.dest, path.Clean(p)) })

	what := "make " + p + " read-only"
	skip := c.label()
	fd := c.register("path")
	c.openProtected(p, "find "+p+" to make it read-only", unix.O_PATH).into(fd).tolerate(unix.ENOENT, unix.ENOTDIR).failed(skip)
	tree := c.cloneTree(fdOperand(fd), "", true, what)
	c.setAttr(fdOperand(tree), true, attr{set: unix.MOUNT_ATTR_RDONLY}, 0, what)
	c.attach(tree, fd, what)
	c.closeFrom(fd)
	c.place(skip)
}

// maskPath hides a path: a directory under an empty tmpfs, a file under the
// host's /dev/null.
func (c *compiler) maskPath(p string) {
	what := "mask " + p
	if c.devnull == 0 {
		c.devnull = c.register("devnull")
		c.call("openat", "open the host's /dev/null", cwdFD(), "/dev/null", openFlags(unix.O_PATH), 0).into(c.devnull)
		if c.opt.Host.CloneDetached {
			c.empty = c.emptyDirectory("make an empty directory to mask with")
		}
	}
	file, end, skip := c.label(), c.label(), c.label()
	fd := c.register("path")
	find := "find " + p + " to mask it"
	c.openProtected(p, find, unix.O_PATH|unix.O_DIRECTORY).into(fd).tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES).failed(file)
	var empty Register
	if c.opt.Host.CloneDetached {
		empty = c.cloneTree(fdOperand(c.empty), "", false, what)
	} else {
		empty = c.emptyDirectory(what)
	}
	c.attach(empty, fd, what).ok(end)
	c.place(file)
	c.openProtected(p, find, unix.O_PATH).into(fd).tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES).failed(skip)
	c.attach(c.cloneTree(fdOperand(c.devnull), "", false, what), fd, what)
	c.place(end)
	c.closeFrom(fd)
	c.place(skip)
}

// emptyDirectory makes a detached mount of a read-only tmpfs.
func (c *compiler) emptyDirectory(note string) Register {
	_, mnt := c.newFilesystem("tmpfs", "tmpfs", []string{"nr_blocks=1", "nr_inodes=1"}, attr{set: unix.MOUNT_ATTR_RDONLY}, note)
	return mnt
}

// enterRoot makes the root file system the root of the process and lets go of
// the host's (pivot_root(2), `pivot_root(".", ".")`).
func (c *compiler) enterRoot() error {
	c.call("fchdir", "enter the root file system", c.root)
	switch {
	case !c.ns.Has(unix.CLONE_NEWNS):
		c.call("chroot", "make the root file system the root", ".")
	case c.opt.NoPivot:
		c.call("move_mount", "move the root file system to /", c.root, "", cwdFD(), "/", named(unix.MOVE_MOUNT_F_EMPTY_PATH, "MOVE_MOUNT_F_EMPTY_PATH"))
		c.call("chroot", "make the root file system the root", ".")
	default:
		old := c.openTop()
		c.call("pivot_root", "make the root file system the root", ".", ".")
		// The old root lies on top of the new one now, where only a descriptor
		// from before leads. It must not pass the unmounting on to the host.
		c.setAttr(fdOperand(old), true, attr{}, unix.MS_SLAVE, "keep the unmounting from spreading to the host")
		c.call("fchdir", "enter the old root", old)
		c.call("umount2", "unmount the old root", ".", named(unix.MNT_DETACH, "MNT_DETACH"))
	}
	c.call("chdir", "leave no directory of the host open", "/")
	c.closeFrom(c.root)
	if name := c.spec.Linux.RootfsPropagation; name != "" {
		prop, ok := propagationOptions[name]
		if !ok {
			return fmt.Errorf("linux.rootfsPropagation: %q is not a propagation type", name)
		}
		c.setAttr(cwdFD(), prop.recursive, attr{}, prop.kind, "set propagation of the root file system")
	}
	return nil
}
