// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

// Numbers of calls and flags that package syscall lacks or does not name
// (memfd_create(2), personality(2)), on x86-64.
const (
	sysMemfdCreate   = 319
	memfdCloexec     = 1
	addrNoRandomize  = 0x40000
	personalityQuery = 0xffffffff
)

// usualReserve has the preloader take 12 GiB from 4 GiB on besides its built-in
// ranges, as plans for 64-bit programs do.
const usualReserve = "WINEPRELOADRESERVE=100000000-400000000"

// ErrNoEmulation says that the kernel does not run 32-bit programs.
var ErrNoEmulation = errors.New("the kernel does not run 32-bit programs")

// Probe tries the preloader for a machine out: whether the kernel runs it and,
// for amd64 where there is a program to load (/bin/true), whether it gets the
// ranges that most plans have. Nothing is left behind.
//
// # Errors
//
// [ErrNoEmulation], or what the preloader says.
func Probe(machine string) error {
	elf, err := Preloader(machine)
	if err != nil {
		return err
	}
	file, err := memoryFile(elf)
	if err != nil {
		return err
	}
	defer file.Close()
	args := []string{"preloader"}
	if machine == "amd64" {
		for _, program := range []string{"/bin/true", "/usr/bin/true"} {
			if info, err := os.Stat(program); err == nil && info.Mode().IsRegular() {
				args = append(args, program)
				break
			}
		}
	}
	var said bytes.Buffer
	cmd := exec.Cmd{Path: fmt.Sprintf("/proc/self/fd/%d", file.Fd()), Args: args, Env: []string{usualReserve}, Stderr: &said}
	restore, err := noRandomization()
	if err == nil {
		defer restore()
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return ErrNoEmulation
	case len(args) == 1 && errors.As(err, &exit) && strings.Contains(said.String(), "usage:"):
		return nil // it has run, which is all that was asked
	case errors.As(err, &exit) && said.Len() > 0:
		return errors.New(strings.TrimSpace(said.String()))
	}
	return err
}

// Personality tries whether a process may switch the randomisation of its addresses off.
func Personality() error {
	restore, err := noRandomization()
	if err != nil {
		return fmt.Errorf("personality: %w", err)
	}
	restore()
	return nil
}

// noRandomization changes the personality of this thread, from which those that
// it starts have theirs, until restore is called by the same goroutine.
func noRandomization() (restore func(), err error) {
	runtime.LockOSThread()
	old, _, errno := syscall.RawSyscall(syscall.SYS_PERSONALITY, personalityQuery, 0, 0)
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(syscall.SYS_PERSONALITY, old|addrNoRandomize, 0, 0)
	}
	if errno != 0 {
		runtime.UnlockOSThread()
		return nil, errno
	}
	return func() {
		// A thread that could not be set back is not used again: it ends with its goroutine, which stays locked to it.
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PERSONALITY, old, 0, 0); errno == 0 {
			runtime.UnlockOSThread()
		}
	}, nil
}

// memoryFile makes a file without a name, that can be executed wherever /tmp is mounted noexec.
func memoryFile(content []byte) (*os.File, error) {
	name := []byte("preloader\x00")
	fd, _, errno := syscall.Syscall(sysMemfdCreate, uintptr(unsafe.Pointer(&name[0])), memfdCloexec, 0)
	if errno != 0 {
		return nil, fmt.Errorf("memfd_create: %w", errno)
	}
	file := os.NewFile(fd, "preloader")
	if _, err := file.Write(content); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// ExecMemory tries whether memory can be made executable that has been written to.
func ExecMemory() error {
	b, err := syscall.Mmap(-1, 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer syscall.Munmap(b)
	b[0] = 0xc3 // ret
	if err := syscall.Mprotect(b, syscall.PROT_READ|syscall.PROT_EXEC); err != nil {
		return fmt.Errorf("mprotect(PROT_EXEC) of memory that was written to: %w", err)
	}
	return nil
}
