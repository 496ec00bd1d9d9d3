package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// exitFile, in the state directory, is where the init ELF leaves the exit code
// of a Windows container's main process.
const exitFile = "exit"

// exitRecordSize is the size of the record in it: the exit status of process 1,
// the argument of exit_group(2), whether that is known, and zero; 32 bits each.
const exitRecordSize = 16

// openExitRecord makes the file that the init ELF writes to.
func openExitRecord(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, exitFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make exit record: %w", err)
	}
	return f, nil
}

// Exit is how a Windows container has ended.
type Exit struct {
	// Code is the exit status of process 1, as engines see it.
	Code int `json:"exitCode"`
	// WindowsCode is what the main process passed to ExitProcess, all 32 bits; nil
	// when it was killed, and when the kernel does not tell (seccomp_unotify(2) is
	// refused in some sandboxes).
	WindowsCode *uint32 `json:"windowsExitCode"`
}

// Exit tells how a Windows container has ended; nil as long as it runs, and for others.
func (c *Container) Exit() *Exit {
	f, err := os.Open(filepath.Join(c.dir, exitFile))
	if err != nil {
		return nil
	}
	defer f.Close()
	return readExit(f)
}

// readExit reads the exit record, once it is written; a nil file is that of
// a container that leaves none.
func readExit(f *os.File) *Exit {
	var data [exitRecordSize]byte
	if _, err := f.ReadAt(data[:], 0); err != nil {
		return nil
	}
	e := &Exit{Code: int(binary.LittleEndian.Uint32(data[:]))}
	if binary.LittleEndian.Uint32(data[8:]) == 1 {
		code := binary.LittleEndian.Uint32(data[4:])
		e.WindowsCode = &code
	}
	return e
}
