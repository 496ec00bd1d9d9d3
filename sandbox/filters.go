package sandbox

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/seccomp"
)

// Compiled filters are kept in a directory of the state root, as engines send the
// same profile with every container: most of a configuration is the profile, which
// takes 0.4 ms to read and compile, and 0.03 to be found there.
// The directory belongs to no container and stays; its name cannot be a container's id.
const (
	filterDir  = "seccomp~cache"
	maxFilters = 64 // the oldest go when there are more
	// A profile with a longer text is compiled each time.
	maxProfileText = 1 << 18
)

// An entry of the cache is the instructions, as seccomp(2) takes them, between flags
// of eight bytes and a hash of all that and the key. It is named after its key.
const (
	filterFlagsSize = 8
	maxFilterSize   = filterFlagsSize + 8*unix.BPF_MAXINSNS + sha256.Size
)

// filterCache finds the filters of profiles. The zero value keeps nothing.
type filterCache struct {
	root string // the state root
	log  *slog.Logger
}

// filter gives the filter of a configuration, if it has a profile, as seccomp(2)
// takes it. section is as in [oci.Bundle].
func (c *filterCache) filter(spec *specs.Spec, section []byte) (program []byte, flags uint64, err error) {
	if section == nil || c.root == "" || len(section) > maxProfileText {
		profile, err := profileOf(spec, section)
		if profile == nil || err != nil {
			return nil, 0, err
		}
		return compileFilter(profile)
	}
	var from origin
	if err := from.read(); err != nil {
		return nil, 0, err
	}
	key := from.key(section)
	program, flags, err = c.read(key)
	if err == nil {
		return program, flags, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		c.log.Debug("a kept system call filter is not used: " + err.Error())
	}
	profile, err := oci.DecodeSeccomp(section)
	if err != nil {
		return nil, 0, err
	}
	if program, flags, err = compileFilter(profile); err != nil {
		return nil, 0, err
	}
	if err := c.write(key, program, flags); err != nil {
		c.log.Debug("a system call filter is not kept: " + err.Error())
	}
	return program, flags, nil
}

// profileOf is the profile of a configuration, or nil. section is as in [oci.Bundle].
func profileOf(spec *specs.Spec, section []byte) (*specs.LinuxSeccomp, error) {
	if section == nil {
		return spec.Linux.Seccomp, nil
	}
	return oci.DecodeSeccomp(section)
}

// compileFilter compiles a profile to what seccomp(2) takes.
func compileFilter(profile *specs.LinuxSeccomp) (program []byte, flags uint64, err error) {
	f, err := seccomp.Compile(profile)
	if err != nil {
		return nil, 0, err
	}
	return f.Bytes(), uint64(f.Flags), nil
}

// origin is what a filter follows from besides the profile: the kernel, and this
// program, which is known by its file. A new one has another number or time of change.
type origin struct {
	host unix.Utsname
	exe  unix.Stat_t
}

func (o *origin) read() error {
	if err := unix.Uname(&o.host); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	if err := unix.Stat("/proc/self/exe", &o.exe); err != nil {
		return fmt.Errorf("/proc/self/exe: %w", err)
	}
	return nil
}

// key names the filter of a profile.
func (o *origin) key(section []byte) [sha256.Size]byte {
	var text []byte
	for _, field := range [][65]byte{o.host.Release, o.host.Version, o.host.Machine} {
		text = append(text, field[:]...)
	}
	for _, n := range []uint64{o.exe.Dev, o.exe.Ino, uint64(o.exe.Size), uint64(o.exe.Ctim.Nano())} {
		text = binary.LittleEndian.AppendUint64(text, n)
	}
	return sha256.Sum256(append(text, section...))
}

// filterSum is the hash at the end of an entry.
func filterSum(key [sha256.Size]byte, content []byte) [sha256.Size]byte {
	return sha256.Sum256(slices.Concat(key[:], content))
}

// open opens the cache's directory.
func (c *filterCache) open() (fd int, err error) {
	fd, _, err = openOwn(unix.AT_FDCWD, filepath.Join(c.root, filterDir), unix.O_DIRECTORY)
	return fd, err
}

// openOwn opens a file or directory that nobody else can have changed.
func openOwn(dir int, name string, flags int) (fd int, size int64, err error) {
	// Without waiting for a pipe that somebody has put there.
	fd, err = unix.Openat(dir, name, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, 0, &os.PathError{Op: "open", Path: name, Err: err}
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0) {
		err = fmt.Errorf("it belongs to user %d and has mode %#o: others may have changed it", st.Uid, st.Mode&0o7777)
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("%s: %w", name, err)
	}
	return fd, st.Size, nil
}

// read reads an entry.
//
// # Errors
//
// [os.ErrNotExist]; another if it is there and not what was written.
func (c *filterCache) read(key [sha256.Size]byte) (program []byte, flags uint64, err error) {
	dir, err := c.open()
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(dir)
	name := hex.EncodeToString(key[:])
	fd, size, err := openOwn(dir, name, 0)
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(fd)
	if size < filterFlagsSize+sha256.Size || size > maxFilterSize {
		return nil, 0, fmt.Errorf("%s: not a filter: %d bytes", name, size)
	}
	data := make([]byte, size)
	if n, err := unix.Read(fd, data); err != nil || n < len(data) {
		return nil, 0, fmt.Errorf("read %s: %d of %d bytes: %w", name, n, size, err)
	}
	content, sum := data[:size-sha256.Size], data[size-sha256.Size:]
	if filterSum(key, content) != [sha256.Size]byte(sum) {
		return nil, 0, fmt.Errorf("%s: damaged", name)
	}
	return content[filterFlagsSize:], binary.LittleEndian.Uint64(content), nil
}

// write makes an entry, or replaces a useless one.
func (c *filterCache) write(key [sha256.Size]byte, program []byte, flags uint64) error {
	if err := os.Mkdir(filepath.Join(c.root, filterDir), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	dir, err := c.open()
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	path := filepath.Join("/proc/self/fd", strconv.Itoa(dir))
	if err := makeRoom(path); err != nil {
		return err
	}
	content := append(binary.LittleEndian.AppendUint64(nil, flags), program...)
	sum := filterSum(key, content)
	return linkFile(filepath.Join(path, hex.EncodeToString(key[:])), append(content, sum[:]...), 0o600)
}

// makeRoom removes the oldest entries of a full cache.
func makeRoom(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < maxFilters {
		return err
	}
	times := map[string]int64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			times[e.Name()] = info.ModTime().UnixNano()
		}
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(times[a.Name()], times[b.Name()]) })
	for _, e := range entries[:len(entries)-maxFilters+1] {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
