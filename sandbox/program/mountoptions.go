package program

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// attr is a change of mount attributes (mount_setattr(2)).
type attr struct{ set, clear uint64 }

func (a attr) empty() bool { return a.set|a.clear == 0 }

// merge makes b the later change of the two.
func (a attr) merge(b attr) attr {
	return attr{set: a.set&^b.clear&^b.set | b.set, clear: a.clear&^b.set | b.clear}
}

// attrOptions are the options of the runtime spec (config.md, "Linux mount
// options") that change attributes of one mount; with an `r` before the name,
// of the mount and all below it.
var attrOptions = map[string]attr{
	"ro":            {set: unix.MOUNT_ATTR_RDONLY},
	"rw":            {clear: unix.MOUNT_ATTR_RDONLY},
	"nosuid":        {set: unix.MOUNT_ATTR_NOSUID},
	"suid":          {clear: unix.MOUNT_ATTR_NOSUID},
	"nodev":         {set: unix.MOUNT_ATTR_NODEV},
	"dev":           {clear: unix.MOUNT_ATTR_NODEV},
	"noexec":        {set: unix.MOUNT_ATTR_NOEXEC},
	"exec":          {clear: unix.MOUNT_ATTR_NOEXEC},
	"nodiratime":    {set: unix.MOUNT_ATTR_NODIRATIME},
	"diratime":      {clear: unix.MOUNT_ATTR_NODIRATIME},
	"nosymfollow":   {set: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"symfollow":     {clear: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"noatime":       {set: unix.MOUNT_ATTR_NOATIME, clear: unix.MOUNT_ATTR__ATIME},
	"atime":         {clear: unix.MOUNT_ATTR__ATIME},
	"relatime":      {clear: unix.MOUNT_ATTR__ATIME},
	"norelatime":    {clear: unix.MOUNT_ATTR__ATIME},
	"strictatime":   {set: unix.MOUNT_ATTR_STRICTATIME, clear: unix.MOUNT_ATTR__ATIME},
	"nostrictatime": {clear: unix.MOUNT_ATTR__ATIME},
}

// propagationOptions change how mounts below are passed on (mount_namespaces(7)).
var propagationOptions = map[string]propagation{
	"shared":      {unix.MS_SHARED, false},
	"rshared":     {unix.MS_SHARED, true},
	"slave":       {unix.MS_SLAVE, false},
	"rslave":      {unix.MS_SLAVE, true},
	"private":     {unix.MS_PRIVATE, false},
	"rprivate":    {unix.MS_PRIVATE, true},
	"unbindable":  {unix.MS_UNBINDABLE, false},
	"runbindable": {unix.MS_UNBINDABLE, true},
}

type propagation struct {
	kind      uint64
	recursive bool
}

// ignoredOptions have no effect today: `silent` and `loud` concern kernel
// messages, the others are defaults.
var ignoredOptions = []string{"defaults", "silent", "loud", "nomand", "noiversion"}

// mountOptions is the meaning of the options of one mount.
type mountOptions struct {
	bind, recursiveBind bool
	remount             bool
	idmap               bool // show files with other owners
	file                int  // descriptor of what it takes (see Options.MountFiles)
	copyUp              bool // fill a tmpfs with what it hides
	one, tree           attr // changes of the mount, and of it and all below it
	propagation         []propagation
	// data are the options of the file system, with those of its superblock.
	data []string
}

// IDMapping says whose ids the owners of files on an id-mapped mount become.
type IDMapping struct {
	UIDs, GIDs []specs.LinuxIDMapping
	// Join is the path of a user namespace that has the mappings, instead.
	Join string
	// Recursive maps the mounts below as well.
	Recursive bool
}

// FindIDMapping reads the mapping of an id-mapped mount (config.md, "Mounts"):
// its own, or that of the container's user namespace. ok is false for any other mount.
func FindIDMapping(m *specs.Mount, spec *specs.Spec) (mapping IDMapping, ok bool) {
	mapping = IDMapping{UIDs: m.UIDMappings, GIDs: m.GIDMappings, Recursive: slices.Contains(m.Options, "ridmap")}
	switch {
	case len(m.UIDMappings)+len(m.GIDMappings) > 0:
		return mapping, true
	case !mapping.Recursive && !slices.Contains(m.Options, "idmap") || spec.Linux == nil:
		return mapping, false
	}
	mapping.UIDs, mapping.GIDs = spec.Linux.UIDMappings, spec.Linux.GIDMappings
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.UserNamespace {
			mapping.Join = ns.Path
		}
	}
	return mapping, true
}

// parseMountOptions sorts the options of a mount.
func parseMountOptions(m *specs.Mount) mountOptions {
	var o mountOptions
	o.bind = m.Type == "bind"
	for _, name := range m.Options {
		recursive, isRecursive := attrOptions[strings.TrimPrefix(name, "r")]
		isRecursive = isRecursive && strings.HasPrefix(name, "r")
		single, isSingle := attrOptions[name]
		prop, isPropagation := propagationOptions[name]
		switch {
		case slices.Contains(ignoredOptions, name):
		case name == "bind":
			o.bind = true
		case name == "rbind":
			o.bind, o.recursiveBind = true, true
		case name == "idmap", name == "ridmap": // see FindIDMapping
		case name == "tmpcopyup":
			o.copyUp = true
		case name == "remount":
			o.remount = true
		case isSingle:
			o.one = o.one.merge(single)
		case isRecursive:
			o.tree = o.tree.merge(recursive)
		case isPropagation:
			o.propagation = append(o.propagation, prop)
		default:
			o.data = append(o.data, name)
		}
	}
	return o
}
