// Package resctrl puts containers into the groups of the resctrl file system,
// which share out caches and memory bandwidth (runtime-spec, config-linux.md,
// "IntelRdt"; Linux, Documentation/filesystems/resctrl.rst). It does not mount
// that file system, which an administrator does on processors that have it.
//
// A group is a directory: the kernel fills it with files when it is made, and
// takes it away as a whole with rmdir(2). Processes begin in the group of their
// parent; a thread is moved by its number being written to a group's tasks.
// How many groups there can be is a matter of the processor, and few.
package resctrl
