package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/internal/leanjson"
	"winbox/oci"
	"winbox/sandbox/cgroup"
	"winbox/sandbox/resctrl"
)

// Errors that engines recognise by their text, which is runc's.
var (
	ErrNotExist     = errors.New("container does not exist")
	ErrExist        = errors.New("container with given ID already exists")
	ErrNotRunning   = errors.New("container not running")
	ErrNotPaused    = errors.New("container not paused")
	ErrPaused       = errors.New("container paused")
	ErrInvalidID    = errors.New("invalid container ID format")
	ErrStartRunning = errors.New("cannot start an already running container")
	ErrStartStopped = errors.New("cannot start a container that has stopped")
	ErrStartPaused  = errors.New("cannot start a container in the paused state")
)

// errOtherVersion comes of a state file that only the winbox that wrote it understands.
var errOtherVersion = errors.New("written by another version of winbox")

// stateVersion is raised when the state file changes in a way that an older
// winbox would misread.
const stateVersion = 1

// Files in a container's state directory.
const (
	stateFile   = "state.json"
	startSocket = "start.sock" // there while the container waits for its start
)

// record is the content of the state file.
type record struct {
	Version     int               `json:"version"`
	ID          string            `json:"id"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	PID         int               `json:"pid"` // 0 until the init ELF runs
	StartTime   uint64            `json:"startTime"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Cgroup      *cgroup.State     `json:"cgroup,omitempty"`
	Resctrl     *resctrl.Group    `json:"resctrl,omitempty"`
	// Namespaces are the clone flags of those that are not the host's.
	Namespaces int `json:"namespaces,omitempty"`
	// SharedPID tells that killing process 1 does not end the others.
	SharedPID bool `json:"sharedPID,omitempty"`
	// StartSteps are the notes of the program's instructions from number
	// StartIndex on: those that `start` may have to explain.
	StartIndex int      `json:"startIndex,omitempty"`
	StartSteps []string `json:"startSteps,omitempty"`
	// Hooks tells that the configuration has hooks.
	Hooks bool `json:"hooks,omitempty"`
	// Windows tells that process 1 is the init ELF (see [Options]).
	Windows bool `json:"windows,omitempty"`
	// RootBelow is the id of the host's mount on which the root file system is
	// mounted when there is no mount namespace; 0: it is not.
	RootBelow int `json:"rootBelow,omitempty"`
	// NoNewKeyring tells that the container has the caller's session keyring, and
	// that what is executed in it is to have no other.
	NoNewKeyring bool `json:"noNewKeyring,omitempty"`
	// Scratch are directories that live as long as the container.
	Scratch []string `json:"scratch,omitempty"`
	// MountPoints are those of [absentMountPoints], which go with the container.
	MountPoints []string `json:"mountPoints,omitempty"`
}

// Container is one container and its state directory. A Container from
// [Create] or [Load] may be used by one goroutine at a time.
type Container struct {
	dir  string
	rec  record
	spec *specs.Spec // once it has been read
	// seccomp is the profile in it, as in [oci.Bundle].
	seccomp []byte

	// notify takes the program's report that it is ready, for the manager.
	notify  *net.UnixConn
	manager string
}

// idCharacters may be in an ID, as with runc.
const idCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-."

// checkID refuses what could not be, or should not be, a directory's name.
func checkID(id string) error {
	if id == "" {
		return errors.New("container id cannot be empty")
	}
	if len(id) > 255 || id == "." || id == ".." || strings.Trim(id, idCharacters) != "" {
		return fmt.Errorf("%w: %.80q", ErrInvalidID, id)
	}
	return nil
}

// lock locks a state directory until the returned file is closed (flock(2)).
// The directory may have been removed while waiting: then it is as if it had
// never been there.
func lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotExist
	} else if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	var locked, now unix.Stat_t
	if unix.Fstat(int(f.Fd()), &locked) != nil || unix.Stat(dir, &now) != nil || locked.Ino != now.Ino || locked.Dev != now.Dev {
		f.Close()
		return nil, ErrNotExist
	}
	return f, nil
}

// Load finds the container id below the state root.
//
// # Errors
//
// [ErrNotExist], [ErrInvalidID], or a state file that cannot be read.
func Load(root, id string) (*Container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	c := &Container{dir: filepath.Join(root, id)}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Container) read() error {
	data, err := os.ReadFile(filepath.Join(c.dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return ErrNotExist
	} else if err != nil {
		return err
	}
	err = leanjson.Unmarshal(data, &c.rec)
	if errors.As(err, new(*leanjson.TypeError)) {
		// In another version it may be of another type.
		var other struct {
			Version int `json:"version"`
		}
		if leanjson.Unmarshal(data, &other) == nil && other.Version != stateVersion {
			c.rec, err = record{Version: other.Version}, nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(c.dir, stateFile), err)
	}
	if c.rec.Version != stateVersion {
		return fmt.Errorf("%s: %w (format %d, this one has %d)", filepath.Join(c.dir, stateFile), errOtherVersion, c.rec.Version, stateVersion)
	}
	return nil
}

// save writes the state file as a whole or not at all.
func (c *Container) save() error {
	data, err := leanjson.Marshal(&c.rec)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(c.dir, stateFile), data, 0o600)
}

// writeFile replaces a file by way of a rename, so that readers see the old or
// the new content.
func writeFile(path string, data []byte, perm os.FileMode) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

// linkFile leaves a file that is whole or not there. Until it is whole the file has
// no name (open(2), O_TMPFILE): one that winbox is killed over would stay.
func linkFile(name string, data []byte, perm os.FileMode) error {
	fd, err := unix.Open(filepath.Dir(name), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, uint32(perm))
	if err == unix.EOPNOTSUPP { // not every file system can do it
		return writeFile(name, data, perm)
	} else if err != nil {
		return &os.PathError{Op: "write", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	for {
		err := unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
		if err == nil {
			return nil
		}
		info, statErr := os.Lstat(name)
		if err != unix.EEXIST || statErr == nil && info.Mode().Type()&^os.ModeSymlink != 0 {
			return &os.PathError{Op: "write", Path: name, Err: err}
		}
		if err := unix.Unlink(name); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "replace", Path: name, Err: err}
		}
	}
}

// ID is the container's name.
func (c *Container) ID() string { return c.rec.ID }

// Windows tells that the container was made with [Options.Windows].
func (c *Container) Windows() bool { return c.rec.Windows }

// Scratch are the directories of [Options.Scratch].
func (c *Container) Scratch() []string { return slices.Clone(c.rec.Scratch) }

// PID is the container's first process, as the host numbers it.
func (c *Container) PID() int { return c.rec.PID }

// Status tells where in its life the container is.
func (c *Container) Status() oci.Status {
	if c.rec.PID == 0 {
		return oci.Creating
	}
	if !alive(c.rec.PID, c.rec.StartTime) {
		return oci.Stopped
	}
	if g := c.Group(); g != nil {
		if frozen, err := g.Frozen(); err == nil && frozen {
			return oci.Paused
		}
	}
	if c.waits() {
		return oci.Created
	}
	return oci.Running
}

// waits tells whether the init ELF still listens for the start. The socket's
// file alone does not: a `start` that was killed has left it behind. The
// kernel looks for the listener before it compares the types of the two
// sockets, so that an attempt with the wrong one disturbs nobody (unix(7):
// EPROTOTYPE, else ECONNREFUSED).
func (c *Container) waits() bool {
	if _, err := os.Lstat(filepath.Join(c.dir, startSocket)); err != nil {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	addr, done, err := startAddress(c.dir)
	if err != nil {
		return true
	}
	defer done()
	return unix.Connect(fd, addr) == unix.EPROTOTYPE
}

// State is what the runtime spec tells of a container.
func (c *Container) State() oci.State {
	s := oci.NewState()
	s.ID, s.Bundle, s.Rootfs, s.Created = c.rec.ID, c.rec.Bundle, c.rec.Rootfs, c.rec.Created
	s.Annotations, s.Owner = c.rec.Annotations, c.owner()
	s.Status = c.Status()
	if s.Status != oci.Stopped {
		s.PID = c.rec.PID
	}
	return s
}

// Group is the container's control group, or nil when it has none.
func (c *Container) Group() *cgroup.Group {
	if c.rec.Cgroup == nil {
		return nil
	}
	g, err := cgroup.Load(*c.rec.Cgroup)
	if err != nil {
		return nil
	}
	return g
}

// alive tells whether the process is there, has not ended, and is the one
// that was started then.
func alive(pid int, startTime uint64) bool {
	state, start, err := processStat(pid)
	return err == nil && start == startTime && state != 'Z' && state != 'X'
}

// processStat reads the state letter and the start time, in clock ticks after
// boot, of a process (proc_pid_stat(5), fields 3 and 22).
func processStat(pid int) (state byte, start uint64, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The second field is the program's name in parentheses and may hold anything.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("process %d: no name in stat", pid)
	}
	fields := bytes.Fields(data[end+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("process %d: only %d fields in stat", pid, len(fields)+2)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return fields[0][0], start, err
}
