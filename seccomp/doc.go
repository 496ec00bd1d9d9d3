// Package seccomp compiles the seccomp section of an OCI configuration into a classic BPF program for
// seccomp(2), and holds winbox's own default profile. One filter covers the x86-64, i386 and x32 calls of
// an x86-64 kernel. It does not load filters, read files, or know of containers, and needs no libseccomp.
//
// Traps:
//   - A call of an architecture that the profile does not list kills the process: with SCMP_ARCH_X86_64
//     alone, every 32-bit program dies at its first call. x86-64 itself is always covered.
//   - Arguments are compared as 64 bits, but the kernel cuts an int to 32: "socket, argument 0 > 40" lets
//     1<<32|38 through. Use SCMP_CMP_MASKED_EQ with the mask 0xffffffff.
//   - socketcall(2) and ipc(2) of i386 keep their arguments behind a pointer, where no filter can look: a
//     condition on socket(2) does not bind 32-bit programs unless the profile refuses socketcall.
//   - A filter stays through execve(2): it must allow all that its loader still does, execve included.
//   - Linux 5.11 and later remember which numbers a filter always allows and do not run it for them; a
//     condition on a call's arguments takes that call off the fast path.
package seccomp

//go:generate go run ./internal/gensyscalls
