package program

import (
	"fmt"
	"hash/fnv"
	"os"
	"path"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// devices makes the device nodes and links of /dev. When /dev is a bind mount
// of the host's, it is left as it is.
func (c *compiler) devices() error {
	l := c.spec.Linux
	ownDev := c.ownDev()
	var list []specs.LinuxDevice
	if ownDev {
		list = defaultDevices()
	}
	for i, d := range l.Devices {
		if err := checkDevice(&d); err != nil {
			return fmt.Errorf("linux.devices[%d]: %w", i, err)
		}
		list = slices.DeleteFunc(list, func(have specs.LinuxDevice) bool { return have.Path == path.Clean(d.Path) })
		d.Path = path.Clean(d.Path)
		list = append(list, d)
	}
	if c.opt.Host.UserNamespace || c.ns.Has(unix.CLONE_NEWUSER) {
		// Pipes are no devices: anybody may make them.
		var pipes []specs.LinuxDevice
		for i := range list {
			if list[i].Type == "p" {
				pipes = append(pipes, list[i])
			} else {
				c.hostDevice(&list[i])
			}
		}
		list = pipes
	}
	c.deviceNodes(list)
	if !ownDev {
		return nil
	}
	dev := c.makeDirBy(noLinks, "/dev", "link the standard streams there")
	for _, link := range [][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
		{"pts/ptmx", "ptmx"},
	} {
		c.call("symlinkat", "link /dev/"+link[1], link[0], dev, link[1]).tolerate(unix.EEXIST)
	}
	c.closeFrom(dev)
	return nil
}

// ownDev tells whether /dev is the container's to fill.
func (c *compiler) ownDev() bool {
	own := true
	for i := range c.spec.Mounts {
		m := &c.spec.Mounts[i]
		if path.Clean("/"+m.Destination) == "/dev" {
			own = m.Type != "bind" && !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind")
		}
	}
	return own
}

// defaultDevices are those that every container has (config-linux.md, "Default Devices").
func defaultDevices() []specs.LinuxDevice {
	perm := func(m os.FileMode) *os.FileMode { return &m }
	list := []specs.LinuxDevice{
		{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
		{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
		{Path: "/dev/full", Type: "c", Major: 1, Minor: 7},
		{Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
		{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9},
		{Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
	}
	for i := range list {
		list[i].FileMode = perm(0o666)
	}
	return list
}

var deviceTypes = map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}

func checkDevice(d *specs.LinuxDevice) error {
	if !path.IsAbs(d.Path) || path.Clean(d.Path) == "/" {
		return fmt.Errorf("path: %q is not absolute", d.Path)
	}
	if deviceTypes[d.Type] == 0 {
		return fmt.Errorf("type: %q is none of c, u, b and p", d.Type)
	}
	return nil
}

// hostDevice mounts the host's device of that name, in a user namespace, where
// nodes cannot be made.
func (c *compiler) hostDevice(d *specs.LinuxDevice) {
	what := "mount the host's " + d.Path
	tree := c.cloneTree(cwdFD(), d.Path, false, what)
	c.attach(tree, c.makeFileBy(noLinks, d.Path, "mount the host's on it"), what)
	c.closeFrom(tree)
}

// deviceNodes makes nodes; those of one directory that follow each other share
// its descriptor.
func (c *compiler) deviceNodes(list []specs.LinuxDevice) {
	var dir Register
	in := ""
	for i := range list {
		if p := path.Dir(list[i].Path); p != in {
			if in != "" {
				c.closeFrom(dir)
			}
			dir, in = c.makeDirBy(noLinks, p, "make devices in it"), p
		}
		c.deviceNode(&list[i], dir)
	}
	if in != "" {
		c.closeFrom(dir)
	}
}

// draftName is a name for a file that is to be called name: one of the
// container's own, and no longer than file names may be.
func (c *compiler) draftName(name string) string {
	h := fnv.New64a()
	h.Write([]byte(c.opt.ID + "/" + name))
	return fmt.Sprintf(".winbox-%016x", h.Sum64())
}

func (c *compiler) deviceNode(d *specs.LinuxDevice, dir Register) {
	what := "make " + d.Path
	perm := uint32(0o666)
	if d.FileMode != nil {
		perm = uint32(*d.FileMode) & 0o7777
	}
	name := path.Base(d.Path)
	dev := named(unix.Mkdev(uint32(d.Major), uint32(d.Minor)), "makedev("+strconv.FormatInt(d.Major, 10)+", "+strconv.FormatInt(d.Minor, 10)+")")
	node := mode(deviceTypes[d.Type] | perm)
	made := c.label()
	c.call("mknodat", what, dir, name, node, dev).tolerate(unix.EEXIST).ok(made)
	// What the image has under this name may be anything; only on a read-only file system it stays, as with runc. It is
	// replaced in one step: the root file system may be that of another container, too, which would make a file of the
	// name as soon as there is none.
	draft := c.draftName(name)
	c.call("unlinkat", "remove what a killed set-up has left", dir, draft, 0).tolerate(unix.ENOENT, unix.EROFS)
	c.call("mknodat", what, dir, draft, node, dev).tolerate(unix.EROFS).failed(made)
	c.call("renameat", "replace the image's "+d.Path, dir, draft, dir, name)
	c.place(made)
	uid, gid := 0, 0
	if d.UID != nil {
		uid = int(*d.UID)
	}
	if d.GID != nil {
		gid = int(*d.GID)
	}
	if uid != 0 || gid != 0 {
		c.call("fchownat", "set the owner of "+d.Path, dir, name, uid, gid, named(unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"))
	}
}
