package program

import (
	"fmt"
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

// unsupportedOptions are refused rather than ignored.
var unsupportedOptions = []string{"mand"}

// mountOptions is the meaning of the options of one mount.
type mountOptions struct {
	bind, recursiveBind bool
	remount             bool
	idmap               bool // show files with other owners
	recursiveIDMap      bool
	users               int  // descriptor of the user namespace with the mappings
	copyUp              bool // fill a tmpfs with what it hides
	one, tree           attr // changes of the mount, and of it and all below it
	propagation         []propagation
	// data are the options of the file system, with those of its superblock.
	data []string
}

// IDMappings are the mappings of an id-mapped mount (config.md, "Mounts"): its
// own, or those of the container's user namespace. ok is false for any other mount.
func IDMappings(m *specs.Mount, linux *specs.Linux) (uids, gids []specs.LinuxIDMapping, ok bool) {
	switch {
	case len(m.UIDMappings)+len(m.GIDMappings) > 0:
		return m.UIDMappings, m.GIDMappings, true
	case slices.Contains(m.Options, "idmap") || slices.Contains(m.Options, "ridmap"):
		return linux.UIDMappings, linux.GIDMappings, true
	}
	return nil, nil, false
}

// parseMountOptions sorts the options of a mount.
//
// # Errors
//
// An option that winbox does not support.
func parseMountOptions(m *specs.Mount) (mountOptions, error) {
	var o mountOptions
	o.bind = m.Type == "bind"
	for _, name := range m.Options {
		recursive, isRecursive := attrOptions[strings.TrimPrefix(name, "r")]
		isRecursive = isRecursive && strings.HasPrefix(name, "r")
		single, isSingle := attrOptions[name]
		prop, isPropagation := propagationOptions[name]
		switch {
		case slices.Contains(ignoredOptions, name):
		case slices.Contains(unsupportedOptions, name):
			return o, fmt.Errorf("option %q is not supported by this version of winbox", name)
		case name == "bind":
			o.bind = true
		case name == "rbind":
			o.bind, o.recursiveBind = true, true
		case name == "idmap":
			o.idmap = true
		case name == "ridmap":
			o.idmap, o.recursiveIDMap = true, true
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
	return o, nil
}
