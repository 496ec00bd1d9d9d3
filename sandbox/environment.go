package sandbox

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxPasswd is how much of a container's /etc/passwd is read, in bytes.
const maxPasswd = 1 << 20

// withEnvironment is the process with the environment that runc would give it:
// of a variable that is there twice the last value counts, and an empty or
// missing HOME is the user's home directory. Docker and containerd rely on it.
// root is a path to the container's root.
func withEnvironment(p *specs.Process, root string) *specs.Process {
	seen := make(map[string]bool, len(p.Env))
	var env []string
	home := false
	for _, variable := range slices.Backward(p.Env) {
		name, value, _ := strings.Cut(variable, "=")
		if seen[name] {
			continue
		}
		seen[name] = true
		if name == "HOME" {
			home = value != ""
			if !home {
				continue
			}
		}
		env = append(env, variable)
	}
	slices.Reverse(env)
	if !home {
		env = append(env, "HOME="+homeOf(p.User.UID, root))
	}
	changed := *p
	changed.Env = env
	return &changed
}

// homeOf is a user's home directory by the container's /etc/passwd (passwd(5)),
// or / when it does not tell.
func homeOf(uid uint32, root string) string {
	data, err := readInRoot(root, "etc/passwd", maxPasswd)
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 6 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if id, err := strconv.ParseUint(fields[2], 10, 32); err == nil && uint32(id) == uid && fields[5] != "" {
			return fields[5]
		}
	}
	return "/"
}

// readInRoot reads the beginning of a regular file below a container's root,
// where the container's symbolic links lead nowhere else. Others than regular
// files are not opened: a device may act on it, and a pipe wait.
func readInRoot(root, name string, limit int64) ([]byte, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	found, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(found)
	var st unix.Stat_t
	if err := unix.Fstat(found, &st); err != nil {
		return nil, err
	}
	// Files of proc(5), some of which wait for something to read, have no size.
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 {
		return nil, unix.EINVAL
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(found), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
