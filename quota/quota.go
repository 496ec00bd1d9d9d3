// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"

	"golang.org/x/sys/unix"
	"winbox/internal/sizes"
)

// LimitsPath is where the library looks for the limits, CountersDir where it makes the file of the counters, and
// MemoryFiles where it looks for the files of the memory control group.
const (
	LimitsPath  = "/run/winbox/limits"
	CountersDir = "/run/winbox/quota"
	MemoryFiles = "/run/winbox/memory"
)

// Library is where the preloader of a machine looks for the library (preload/stub/preloader.c).
func Library(machine string) string { return "/run/winbox/quota." + machine + ".so" }

//go:embed library/library-amd64.so
var libraryAMD64 []byte

//go:embed library/library-i386.so
var libraryI386 []byte

// LibraryFile returns the library for a machine, which has the name that Go gives it (GOARCH). The caller gets a copy.
//
// # Errors
//
// There is none for the machine.
func LibraryFile(machine string) ([]byte, error) {
	switch machine {
	case "amd64":
		return bytes.Clone(libraryAMD64), nil
	case "386":
		return bytes.Clone(libraryI386), nil
	}
	return nil, fmt.Errorf("no library for machine %q: this build has amd64 and 386", machine)
}

// Limits are what the programs of a container are told, and what they can commit. Zero is no limit.
type Limits struct {
	// Memory is the container's physical memory, in bytes.
	Memory uint64
	// Commit is what all its processes can commit together, ProcessCommit what each of them can, in bytes.
	Commit, ProcessCommit uint64
	// CPUQuota is the processor time that the container gets in CPUPeriod, in microseconds.
	CPUQuota, CPUPeriod uint64
	// MemoryAndSwap is the limit of both together, in bytes.
	MemoryAndSwap uint64
	// Asked is the commit limit that somebody has asked for; 0 for that of memory and swap, [NoCommitLimit] for none.
	Asked uint64
}

// NoCommitLimit is the commit limit of those who want none, and nothing to be counted.
const NoCommitLimit = 1<<64 - 1

const (
	// smallestCommit is what a small program of one process needs, with the wineserver: docs/quotas.md.
	smallestCommit = 16 << 20
	// LargestCommit is what x86-64 processes can address, in bytes.
	LargestCommit = 1 << 47
)

// ParseCommit reads a commit limit: bytes with or without a unit, or off.
//
// # Errors
//
// A sentence that quotes what is no size, or is too much or too little.
func ParseCommit(s string) (uint64, error) {
	if s == "off" {
		return NoCommitLimit, nil
	}
	size, err := sizes.Parse(s)
	switch {
	case err != nil || size < 0:
		return 0, fmt.Errorf("%q is neither a size such as 512m nor off", s)
	case size < smallestCommit:
		return 0, fmt.Errorf("%s is too little: Windows programs need %s to start", s, units.BytesSize(smallestCommit))
	case size > LargestCommit:
		return 0, fmt.Errorf("%s is too much: a process can address %s", s, units.BytesSize(LargestCommit))
	}
	return uint64(size), nil
}

// The file of the limits: numbers, little-endian, in a page of zeroes.
const (
	limitsMagic = 0x3130544f55514257 // "WBQUOT01"
	limitsSize  = 4096
)

// Write writes the file of the limits, in place if it is there: processes have mapped it.
func (l *Limits) Write(name string) error {
	page := make([]byte, 0, limitsSize)
	for _, n := range []uint64{limitsMagic, l.Memory, l.Commit, l.ProcessCommit, l.CPUQuota, l.CPUPeriod, l.MemoryAndSwap, l.Asked} {
		page = binary.LittleEndian.AppendUint64(page, n)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(page[:limitsSize], 0)
	return errors.Join(err, f.Chmod(0o644), f.Close()) // whatever the umask
}

// ReadLimits reads what [Limits.Write] has written.
//
// # Errors
//
// Wraps [fs.ErrNotExist] when there is no such file; it is none of limits.
func ReadLimits(name string) (*Limits, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(data) < 64 || binary.LittleEndian.Uint64(data) != limitsMagic {
		return nil, fmt.Errorf("%s: no file of limits", name)
	}
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(data[8*i:]) }
	return &Limits{n(1), n(2), n(3), n(4), n(5), n(6), n(7)}, nil
}

// Apply takes over what a section of limits says; what it does not name stays. It may be nil. In the section, -1 is no
// limit, and 0 none that is named. Of swap, no more counts than the machine has: podman and docker give each container
// that has a memory limit as much swap again, be there any or not.
func (l *Limits) Apply(res *specs.LinuxResources) { l.apply(res, hostSwap()) }

func (l *Limits) apply(res *specs.LinuxResources, swap uint64) {
	if res == nil {
		res = &specs.LinuxResources{}
	}
	if m := res.Memory; m != nil {
		if m.Limit != nil && *m.Limit != 0 {
			l.Memory = uint64(max(0, *m.Limit))
		}
		if m.Swap != nil && *m.Swap != 0 {
			l.MemoryAndSwap = uint64(max(0, *m.Swap))
		}
	}
	if c := res.CPU; c != nil {
		if c.Period != nil && *c.Period != 0 {
			l.CPUPeriod = *c.Period
		}
		if c.Quota != nil && *c.Quota != 0 {
			l.CPUQuota = uint64(max(0, *c.Quota))
		}
		if l.CPUQuota != 0 && l.CPUPeriod == 0 {
			l.CPUPeriod = 100000 // the kernel's own
		}
	}
	switch {
	case l.Asked == NoCommitLimit:
		l.Commit = 0
	case l.Asked != 0:
		l.Commit = l.Asked
	case l.Memory == 0:
		l.Commit = 0
	case l.MemoryAndSwap != 0:
		l.Commit = l.Memory + min(swap, l.MemoryAndSwap-min(l.Memory, l.MemoryAndSwap))
	default:
		l.Commit = l.Memory + swap
	}
}

// hostSwap is the swap space of the machine, in bytes.
func hostSwap() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return uint64(info.Totalswap) * uint64(info.Unit)
}
