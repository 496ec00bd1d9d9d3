package program

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// An Overlay says of a mount of type overlay what its options cannot.
type Overlay struct {
	// Lower are the numbers of descriptors of detached mounts that are the lower layers, the uppermost first. None
	// leave that to the option lowerdir.
	Lower []int
	// Memory has the upper layer in a tmpfs, which gets a copy of the directory that the option upperdir names;
	// MemorySize is the size of the tmpfs in bytes, 0 for the kernel's default, half of the machine's memory.
	Memory     bool
	MemorySize int64
	// ReadOnly are directories of the overlay, with slashes, that are read-only when all mounts are made; what is
	// mounted below them stays as it is. Writable are directories below those that are not.
	ReadOnly, Writable []string
	// Views are directories of the overlay, and the paths of the container where they are shown read-only as well.
	Views map[string]string
}

// layers makes what the options of the overlay at dest are to refer to, and gives the options. done adds what is to be
// done when the overlay is there, and before it is attached to target.
func (c *compiler) layers(o Overlay, data []string, target Register, dest string) (options []string, done func()) {
	var mounts []Register
	options = slices.Clone(data)
	var lower []string
	for _, number := range o.Lower {
		mnt := c.register("layer")
		c.special(OpLoad, "load", "take a layer of "+dest, c.record(fmt.Sprintf("{%d}", number), uint32(number)), named(0xffffffff, "~0")).into(mnt)
		mounts = append(mounts, mnt)
		lower = append(lower, fmt.Sprintf("/proc/self/fd/%d", number))
	}
	if len(lower) > 0 {
		options = slices.DeleteFunc(options, func(s string) bool { return strings.HasPrefix(s, "lowerdir") })
		options = append([]string{"lowerdir=" + strings.Join(lower, ":")}, options...)
	}
	if o.Memory {
		mounts = append(mounts, c.memoryLayer(o, options, dest))
		for i, option := range options {
			for _, name := range []string{"upper", "work"} {
				if strings.HasPrefix(option, name+"dir=") {
					options[i] = name + "dir=" + name // of the current directory
				}
			}
		}
	}
	if c.opt.Host.CloneDetached && !c.ns.Has(unix.CLONE_NEWUSER) {
		return options, func() {}
	}
	// The kernel is too old for layers that are attached nowhere, or they are the runtime's, over which a user namespace
	// has no say.
	for _, mnt := range mounts {
		c.attach(mnt, target, "attach a layer of "+dest+" for a moment")
	}
	return options, func() {
		for _, mnt := range slices.Backward(mounts) {
			c.call("fchdir", "enter a layer of "+dest, mnt)
			c.call("umount2", "unmount a layer of "+dest+", which the overlay has a clone of", ".", named(unix.MNT_DETACH, "MNT_DETACH"))
		}
	}
}

// memoryLayer makes a tmpfs with the directories upper and work, fills it, and makes it the current directory.
func (c *compiler) memoryLayer(o Overlay, options []string, dest string) Register {
	what := "keep what is changed on " + dest + " in memory"
	data := []string{"mode=755"}
	if o.MemorySize > 0 {
		data = append(data, fmt.Sprintf("size=%d", o.MemorySize))
	}
	_, mnt := c.newFilesystem("tmpfs", "tmpfs", data, attr{set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}, what)
	c.call("fchdir", "enter the tmpfs", mnt)
	for _, option := range options {
		from, ok := strings.CutPrefix(option, "upperdir=")
		if !ok {
			continue
		}
		c.call("mkdirat", what, cwdFD(), "upper", mode(0o755))
		c.call("mkdirat", what, cwdFD(), "work", mode(0o755))
		source, upper := c.register("from"), c.register("upper")
		c.call("openat", "open "+from, cwdFD(), from, openFlags(unix.O_RDONLY|unix.O_DIRECTORY), 0).into(source)
		c.call("openat", "open the upper layer", cwdFD(), "upper", openFlags(unix.O_RDONLY|unix.O_DIRECTORY), 0).into(upper)
		c.sendFiles(ReportCopyUp, "have "+from+" copied into the tmpfs", source, upper)
		c.await("wait until it is copied")
		c.closeFrom(source)
	}
	return mnt
}

// protectOverlays makes parts of overlays read-only, when all that is to be mounted on them is.
func (c *compiler) protectOverlays() error {
	for i, m := range c.spec.Mounts {
		if o, ok := c.opt.Overlays[i]; ok {
			c.protectOverlay(&m, o)
		}
	}
	return nil
}

func (c *compiler) protectOverlay(m *specs.Mount, o Overlay) {
	type part struct {
		tree Register
		dest string
		note string
	}
	var parts []part
	first := c.register("dir")
	// All are cloned before one is attached: else the writable ones would be parts of the read-only ones. With what is
	// mounted below.
	clone := func(dir, dest, note string, change attr) {
		p := part{dest: dest, note: note}
		at := first
		if len(parts) > 0 {
			at = c.register("dir")
		}
		c.openInRoot(path.Join(path.Clean(m.Destination), dir), note, unix.O_PATH|unix.O_DIRECTORY).into(at)
		p.tree = c.cloneTree(fdOperand(at), "", true, note)
		if !change.empty() {
			c.setAttr(fdOperand(p.tree), false, change, 0, note)
		}
		parts = append(parts, p)
	}
	readOnly := attr{set: unix.MOUNT_ATTR_RDONLY}
	for _, dir := range o.ReadOnly {
		clone(dir, path.Join(m.Destination, dir), "keep "+dir+" of "+m.Destination+" read-only", readOnly)
	}
	for _, dir := range o.Writable {
		clone(dir, path.Join(m.Destination, dir), "keep "+dir+" of "+m.Destination+" writable", attr{})
	}
	for _, dir := range slices.Sorted(maps.Keys(o.Views)) {
		clone(dir, o.Views[dir], "show "+dir+" of "+m.Destination+" read-only on "+o.Views[dir], readOnly)
	}
	for _, p := range parts {
		c.attach(p.tree, c.makeDir(p.dest, p.note), p.note)
	}
	if len(parts) > 0 {
		c.closeFrom(first)
	}
}
