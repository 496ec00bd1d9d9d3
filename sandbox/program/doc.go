// Package program compiles an OCI bundle into the list of system calls that
// builds its container, encodes the list for the init ELF (package init) and
// prints it in the manner of strace.
//
// Compile is a pure function of the spec and of the facts in [Options]: it
// opens no file and makes no call, so that a container's whole set-up can be
// tested and read without root. What it returns is carried out later, in the
// new namespaces, by a program of a few KiB without any runtime.
//
// Traps: a path that lies inside the root file system is only ever resolved by
// openat2 with RESOLVE_IN_ROOT, relative to the root's descriptor, never
// joined with the root's path; files of the host's /proc are opened before
// pivot_root, because the container's /proc belongs to the image. Descriptor
// numbers are known only when the list runs, so results live in registers.
package program
