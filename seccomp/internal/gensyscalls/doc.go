// Command gensyscalls writes the table of system call names and numbers that package seccomp resolves
// profiles with. Run it by `go generate ./seccomp`, after an update of golang.org/x/sys.
//
// The x86-64 and i386 numbers come from golang.org/x/sys/unix, which is as new as the newest kernel
// release. The x32 numbers come from the kernel's own header asm/unistd_x32.h (Debian package
// linux-libc-dev): calls 512 to 547 exist only there, and some x86-64 calls not at all. A call newer
// than that header has one number for both (the kernel promises it in
// arch/x86/entry/syscalls/syscall_64.tbl).
package main
