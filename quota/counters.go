// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"

	"golang.org/x/sys/unix"
)

// CountersPath is the file of the counters in the container.
const CountersPath = CountersDir + "/counters"

// The file of the counters (library/commit.h): 16 numbers of 32 bits, then 4 for each process. Sizes are in pages.
const (
	maxSlots      = 1024
	headerNumbers = 16
	slotNumbers   = 4
	slotBusy      = 1<<32 - 1
	pageSize      = 4096

	// CountersSize is the size of the file. Beside it, in CountersDirSize, is the exit code of the last process that another
	// one has ended (library/end.c), both in bytes.
	CountersDirSize = CountersSize + pageSize
	CountersSize    = (4*headerNumbers + 4*slotNumbers*maxSlots + pageSize - 1) / pageSize * pageSize
)

// Counters are what the processes of a container have committed. They are the container's word: a program can write
// anything there.
type Counters struct {
	// Commit is the commit charge of all processes, with what stands for the memory that is not counted; Sections is what
	// sections of the paging file have in use, and Peak the most that Commit has been. In bytes.
	Commit, Sections, Peak uint64
	// Failures counts commits that were refused.
	Failures uint32
	// Processes are those that count. One that was killed may be among them for a while.
	Processes []ProcessCounters
}

// ProcessCounters are those of one process.
type ProcessCounters struct {
	// PID is the process id in the container.
	PID int
	// Commit is what the process has committed, in bytes, and Failures how many of its commits were refused.
	Commit   uint64
	Failures uint32
}

// ReadCounters reads the counters of a container by its root directory, such as /proc/PID/root.
//
// # Errors
//
// Those of [OpenCounters].
func ReadCounters(root string) (*Counters, error) {
	f, err := OpenCounters(root)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Read()
}

// A CountersFile is open, and can be read when the container is gone.
type CountersFile struct{ fd int }

// OpenCounters opens the counters of a container by its root directory.
//
// # Errors
//
// Wraps [fs.ErrNotExist] when no program of the container has counted yet.
func OpenCounters(root string) (*CountersFile, error) {
	dir, err := HoldCounters(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Open()
}

// A CountersFolder is where the programs of a container make the file of their counters. It stays when the container is gone.
type CountersFolder struct{ fd int }

// HoldCounters opens the folder of a container by its root directory. The container need not have counted.
//
// # Errors
//
// Wraps [fs.ErrNotExist] for a container that counts nothing, and one that is gone.
func HoldCounters(root string) (*CountersFolder, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("counters of commit: %s: %w", root, err)
	}
	defer unix.Close(dir)
	fd, err := openWithin(dir, CountersDir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("counters of commit: %s: %w", path.Join(root, CountersDir), err)
	}
	return &CountersFolder{fd}, nil
}

// openWithin opens what is the container's to choose, within a folder of it.
func openWithin(dir int, name string, flags uint64) (int, error) {
	return unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS,
	})
}

// Open opens the counters.
//
// # Errors
//
// Wraps [fs.ErrNotExist] when no program of the container has counted.
func (d *CountersFolder) Open() (*CountersFile, error) {
	// A FIFO must not stop us, and a device not be read.
	fd, err := openWithin(d.fd, path.Base(CountersPath), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("counters of commit: %s: %w", CountersPath, err)
	}
	var status unix.Stat_t
	if err = unix.Fstat(fd, &status); err == nil && status.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("no regular file")
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("counters of commit: %w", err)
	}
	return &CountersFile{fd}, nil
}

// Close closes it.
func (d *CountersFolder) Close() error { return unix.Close(d.fd) }

// Read reads what has been counted until now.
func (f *CountersFile) Read() (*Counters, error) {
	b := make([]byte, CountersSize)
	n, err := unix.Pread(f.fd, b, 0)
	if err != nil {
		return nil, fmt.Errorf("counters of commit: %w", err)
	}
	return parseCounters(b[:n])
}

// Close closes it.
func (f *CountersFile) Close() error { return unix.Close(f.fd) }

// parseCounters reads the file.
func parseCounters(b []byte) (*Counters, error) {
	if len(b) < CountersSize {
		return nil, fmt.Errorf("counters of commit: %w", io.ErrUnexpectedEOF)
	}
	number := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	// What is charged can be below zero for a moment.
	pages := func(i int) uint64 { return uint64(max(0, int32(number(i)))) * pageSize }
	c := &Counters{Commit: pages(2) + pages(3), Sections: pages(3), Peak: pages(4), Failures: number(5)}
	for i := range min(maxSlots, int(number(1))) {
		at := headerNumbers + slotNumbers*i
		if pid := number(at); pid != 0 && pid != slotBusy {
			c.Processes = append(c.Processes, ProcessCounters{int(pid), pages(at + 2), number(at + 3)})
		}
	}
	return c, nil
}
