// Package sandbox gives containers their life: it makes, starts, signals and
// removes them, and keeps what must be known of them on disk.
//
// [Create] compiles the bundle (package program), makes the control group
// (package cgroup), starts the init ELF (package initelf) in new namespaces
// and hands the program over. Nothing of winbox keeps running for a container:
// what the next command has to know is in the state directory.
//
// Traps: a container's state directory is its lock; every function that
// changes a container takes it. A process id in a state file may belong to
// someone else by now, so it counts only together with the process's start
// time. Whatever Create has made is removed again when it fails.
package sandbox
