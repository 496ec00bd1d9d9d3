package sandbox

import (
	"errors"
	"log/slog"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// List finds the containers below a state root, in the order of their names. One
// whose state cannot be read is left out with a warning; one that is just being
// made or removed without.
//
// # Errors
//
// The root cannot be read, or does not exist ([os.ErrNotExist]).
func List(root string) ([]*Container, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var list []*Container
	for _, entry := range entries {
		if !entry.IsDir() || checkID(entry.Name()) != nil {
			continue
		}
		c, err := Load(root, entry.Name())
		switch {
		case err == nil:
			list = append(list, c)
		case !errors.Is(err, ErrNotExist):
			slog.Warn("container " + entry.Name() + " left out: " + err.Error())
		}
	}
	return list, nil
}

// owner is the name of the user to whom the container's state belongs, or
// `#UID` when the user has none, as with runc.
func (c *Container) owner() string {
	var st unix.Stat_t
	if unix.Stat(c.dir, &st) != nil {
		return ""
	}
	uid := strconv.FormatUint(uint64(st.Uid), 10)
	u, err := user.LookupId(uid)
	if err != nil {
		return "#" + uid
	}
	return u.Username
}
