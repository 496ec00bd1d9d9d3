package initelf

import (
	_ "embed" // for the ELF
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

//go:embed init-amd64
var amd64 []byte

// Open makes a sealed memory file of the init ELF, ready to be executed
// through /proc/self/fd.
//
// # Errors
//
// There is no init ELF for this machine, or memfd_create(2) fails.
func Open() (*os.File, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("container init: not built for %s; winbox runs on amd64", runtime.GOARCH)
	}
	return Sealed("winbox-init", amd64)
}

// Sealed makes a memory file of data that can no longer be changed.
func Sealed(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL {
		// MFD_EXEC is of Linux 6.3; before, every memfd is executable.
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("make memory file %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, fmt.Errorf("write memory file %s: %w", name, err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal memory file %s: %w", name, err)
	}
	return f, nil
}
