package sandbox

import (
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
)

// maxPasswd is how much of a container's /etc/passwd is read, in bytes.
const maxPasswd = 1 << 20

// withEnvironment is the process with the environment that runc would give it:
// of a variable that is there twice the last value counts, and an empty or
// missing HOME is the user's home directory. Docker and containerd rely on it.
// open opens the container's file system; it is not called without need.
func withEnvironment(p *specs.Process, open func() (*oci.Files, error)) *specs.Process {
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
		env = append(env, "HOME="+homeOf(p.User.UID, open))
	}
	changed := *p
	changed.Env = env
	return &changed
}

// homeOf is a user's home directory by the container's /etc/passwd (passwd(5)),
// or / when it does not tell.
func homeOf(uid uint32, open func() (*oci.Files, error)) string {
	for line := range strings.Lines(string(passwd(open))) {
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

// passwd is the container's /etc/passwd, nil when it cannot be read.
func passwd(open func() (*oci.Files, error)) []byte {
	files, err := open()
	if err != nil {
		return nil
	}
	defer files.Close()
	f, _, err := files.Open("/etc/passwd")
	if err != nil {
		return nil
	}
	defer f.Close()
	// A link in a running container may lead to a file of proc(5) that waits for something to read. Those have no size.
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPasswd))
	if err != nil {
		return nil
	}
	return data
}
