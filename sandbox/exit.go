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

// exitRecordSize is the size of the record in it: the status of wait4(2), the
// argument of exit_group(2), whether that is known, and zero; 32 bits each.
const exitRecordSize = 16

// openExitRecord makes the file that the init ELF writes to.
func openExitRecord(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, exitFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make exit record: %w", err)
	}
	return f, nil
}

// ExitCode is what a Windows container's main process passed to ExitProcess,
// all 32 bits. ok is false as long as it runs, when it was killed, and when the
// kernel does not tell (seccomp_unotify(2) is refused in some sandboxes).
func (c *Container) ExitCode() (code uint32, ok bool) {
	data, err := os.ReadFile(filepath.Join(c.dir, exitFile))
	if err != nil || len(data) != exitRecordSize {
		return 0, false
	}
	return binary.LittleEndian.Uint32(data[4:]), binary.LittleEndian.Uint32(data[8:]) == 1
}
