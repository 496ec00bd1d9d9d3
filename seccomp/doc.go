// Package seccomp compiles the seccomp section of an OCI configuration into a classic BPF program that
// seccomp(2) loads, and holds winbox's own default profile.
//
// It is for the x86-64 kernel: one filter covers x86-64, i386 and, when listed, x32 calls. It does not
// load filters, read configuration files, or know of containers. It needs no libseccomp and no cgo.
//
// Traps:
//   - Calls of an architecture that the profile does not list kill the process: a profile with
//     SCMP_ARCH_X86_64 alone ends every 32-bit program at its first call. x86-64 itself is always covered.
//   - Arguments are compared as 64 bits. The kernel cuts an int argument to 32, so a rule for one should
//     be SCMP_CMP_MASKED_EQ with the mask 0xffffffff; "socket, arg 0 > 40" also lets 1<<32|38 through.
//   - socketcall(2) and ipc(2) of i386 hide arguments behind a pointer, which no filter can follow: a
//     condition on socket(2) does not bind a 32-bit call unless the profile refuses socketcall.
//   - The filter is kept by execve(2): what loads it must be able to make every call up to the execve.
//   - The kernel answers calls that a filter allows by number alone from a bitmap (Linux 5.11 and later);
//     the first condition on a call's arguments takes it off that fast path, in both ABIs separately.
package seccomp

//go:generate go run ./internal/gensyscalls
