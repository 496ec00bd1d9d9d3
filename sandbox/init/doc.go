// Package initelf holds the init ELF: the freestanding program, a few KiB,
// that builds a container from inside and runs as its first process. init.c
// says what it does, sandbox/program what it is told to do.
//
// It is handed out as a sealed memory file (memfd_create(2), F_ADD_SEALS in
// fcntl(2)), so that what a container sees under /proc/PID/exe is a copy that
// nobody can write to, and never a file of the host (CVE-2019-5736).
//
// Trap: the committed ELF is what runs. After a change of init.c run
// `make stubs` and commit both; CI compares.
package initelf
