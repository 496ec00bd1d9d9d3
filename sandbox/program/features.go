package program

import (
	"slices"
)

// superblockOptions go to the file system, and the kernel itself understands
// them for every type (fs/fs_context.c, vfs_parse_sb_flag).
var superblockOptions = []string{"async", "dirsync", "lazytime", "mand", "nolazytime", "sync"}

// singleOptions are the options of the runtime spec that are in no table.
var singleOptions = []string{"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"}

// MountOptions lists the mount options that [Compile] takes, sorted; those of
// single file systems, such as size= of tmpfs, are not among them.
func MountOptions() []string {
	names := slices.Concat(superblockOptions, singleOptions, ignoredOptions)
	for name := range attrOptions {
		names = append(names, name, "r"+name)
	}
	for name := range propagationOptions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// NamespaceTypes lists the types of namespaces that [Compile] takes, sorted.
func NamespaceTypes() []string {
	var names []string
	for _, known := range namespaceFlags {
		names = append(names, string(known.kind))
	}
	slices.Sort(names)
	return names
}

// Capabilities lists the capabilities that winbox knows, in the order of their numbers.
func Capabilities() []string { return slices.Clone(capabilityNames) }

// MemoryPolicyModes and MemoryPolicyFlags list the words of linux.memoryPolicy
// that [Compile] takes, sorted.
func MemoryPolicyModes() []string { return sortedKeys(memoryModes) }

// MemoryPolicyFlags is described with [MemoryPolicyModes].
func MemoryPolicyFlags() []string { return sortedKeys(memoryFlags) }

func sortedKeys[K ~string](m map[K]int) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}
