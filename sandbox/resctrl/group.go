package resctrl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Group is where a container is. It is made for JSON.
type Group struct {
	Root string `json:"root"` // mount point of the file system
	Dir  string `json:"dir"`  // the control group
	// Own tells that Dir is named after the container, was made for it and goes with it.
	Own bool `json:"own,omitempty"`
	// Monitor is the container's monitoring group; empty if it has none.
	Monitor string `json:"monitor,omitempty"`
}

// makeGroup and removeGroup are replaced by tests, which have no kernel that
// fills directories.
var (
	makeGroup   = func(dir string) error { return os.Mkdir(dir, 0o755) }
	removeGroup = unix.Rmdir
)

// Mounted is the place where the resctrl file system is mounted.
//
// # Errors
//
// It is not mounted.
func Mounted() (string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("resctrl"))
	if err != nil {
		return "", err
	}
	if len(mounts) == 0 {
		return "", errors.New("no resctrl file system is mounted (mount -t resctrl resctrl /sys/fs/resctrl, on a processor that has RDT)")
	}
	return mounts[0].Mountpoint, nil
}

// Plan finds the group of the container id, and makes nothing.
//
// # Errors
//
// A field that makes no sense, or a closID without a schema that does not exist.
func Plan(root, id string, rdt *specs.LinuxIntelRdt) (*Group, error) {
	if err := check(rdt); err != nil {
		return nil, err
	}
	g := &Group{Root: root}
	switch rdt.ClosID {
	case "":
		if id == "info" || id == "mon_groups" || id == "mon_data" {
			return nil, fmt.Errorf("closID: missing, and the container's name %q means something else there", id)
		}
		g.Dir = filepath.Join(root, id)
	case "/":
		g.Dir = root
	default:
		g.Dir = filepath.Join(root, rdt.ClosID)
	}
	exists, err := isDir(g.Dir)
	if err != nil {
		return nil, err
	}
	g.Own = rdt.ClosID == "" && !exists
	if rdt.ClosID != "" && !exists && len(lines(rdt)) == 0 {
		return nil, fmt.Errorf("closID: %s does not exist, and there is no schema to make it with", g.Dir)
	}
	if rdt.EnableMonitoring {
		g.Monitor = filepath.Join(g.Dir, "mon_groups", id)
	}
	return g, nil
}

func check(rdt *specs.LinuxIntelRdt) error {
	switch id := rdt.ClosID; {
	case id == "/":
	case id == ".", id == "..", strings.ContainsAny(id, "/\n\x00"), id == "info", id == "mon_groups", id == "mon_data":
		return fmt.Errorf("closID: %q cannot be the name of a class", id)
	}
	if strings.ContainsRune(rdt.MemBwSchema, '\n') || rdt.MemBwSchema != "" && !strings.HasPrefix(rdt.MemBwSchema, "MB:") {
		return fmt.Errorf("memBwSchema: %q is not a line of the resource MB", rdt.MemBwSchema)
	}
	for i, line := range rdt.Schemata {
		if strings.ContainsRune(line, '\n') {
			return fmt.Errorf("schemata[%d]: %q is more than one line", i, line)
		}
	}
	return nil
}

// lines are what is to be written to the file schemata, in the order of the specification.
func lines(rdt *specs.LinuxIntelRdt) []string {
	var list []string
	for _, schema := range append([]string{rdt.L3CacheSchema, rdt.MemBwSchema}, rdt.Schemata...) {
		if schema != "" {
			list = append(list, schema)
		}
	}
	return list
}

func isDir(dir string) (bool, error) {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.IsDir():
		return false, fmt.Errorf("%s is not a directory", dir)
	}
	return true, nil
}

// Create makes what there is not yet of the group and sets its shares. A class
// that exists is shared with others: the schemas of caches and bandwidth must be
// its own then, and only schemata is written.
//
// # Errors
//
// The kernel's, with what it has to say in info/last_cmd_status. What was made
// is left for [Group.Delete].
func (g *Group) Create(rdt *specs.LinuxIntelRdt) error {
	write := lines(rdt)
	switch err := makeGroup(g.Dir); {
	case errors.Is(err, fs.ErrExist):
		g.Own = false // no longer, if somebody has been quicker
		if rdt.ClosID == "" {
			break
		}
		if err := g.matches(rdt.L3CacheSchema, rdt.MemBwSchema); err != nil {
			return err
		}
		write = rdt.Schemata
	case err != nil:
		return g.explain(fmt.Errorf("make the group: %w", err))
	}
	if len(write) > 0 {
		if err := g.write(g.Dir, "schemata", strings.Join(write, "\n")+"\n"); err != nil {
			return err
		}
	}
	if g.Monitor == "" {
		return nil
	}
	if err := makeGroup(g.Monitor); err != nil {
		monitor := g.Monitor
		if errors.Is(err, fs.ErrExist) {
			g.Monitor = "" // somebody else's
		}
		return g.explain(fmt.Errorf("make the monitoring group %s: %w", monitor, err))
	}
	return nil
}

// Update sets the shares of caches and bandwidth that rdt names; others stay.
//
// # Errors
//
// As of [Plan] and [Group.Create].
func (g *Group) Update(rdt *specs.LinuxIntelRdt) error {
	if err := check(rdt); err != nil {
		return err
	}
	return g.write(g.Dir, "schemata", strings.Join(lines(rdt), "\n")+"\n")
}

// matches checks that a class has these schemas: each of their values is the
// one that its file has.
func (g *Group) matches(schemas ...string) error {
	data, err := os.ReadFile(filepath.Join(g.Dir, "schemata"))
	if err != nil {
		return err
	}
	have := values(string(data))
	for _, schema := range schemas {
		for key, want := range values(schema) {
			if have[key] != want {
				return fmt.Errorf("the class %s exists and has %q where %q is asked for", g.Dir, have[key], key+"="+want)
			}
		}
	}
	return nil
}

// values reads the lines of a file schemata, such as "L3:0=7ff;1=7ff", to
// {"L3:0": "7ff", "L3:1": "7ff"}.
func values(schemata string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(schemata) {
		resource, list, _ := strings.Cut(strings.TrimSpace(line), ":")
		for entry := range strings.SplitSeq(list, ";") {
			if domain, value, ok := strings.Cut(entry, "="); ok {
				value = strings.TrimLeft(strings.ToLower(strings.TrimSpace(value)), "0")
				found[resource+":"+strings.TrimSpace(domain)] = value
			}
		}
	}
	return found
}

// Add moves a process, which must have one thread only, into the group.
func (g *Group) Add(pid int) error {
	if err := g.write(g.Dir, "tasks", strconv.Itoa(pid)); err != nil {
		return err
	}
	if g.Monitor != "" {
		return g.write(g.Monitor, "tasks", strconv.Itoa(pid))
	}
	return nil
}

// Delete removes what Create made for this container alone; what is not there
// is no error.
func (g *Group) Delete() error {
	var errs []error
	if g.Monitor != "" {
		errs = append(errs, remove(g.Monitor))
	}
	if g.Own {
		errs = append(errs, remove(g.Dir))
	}
	return errors.Join(errs...)
}

func remove(dir string) error {
	if err := removeGroup(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// write writes to a file that the kernel has put there, at once, as its files want it.
func (g *Group) write(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return g.explain(fmt.Errorf("write %q: %w", strings.TrimSpace(text), err))
	}
	return nil
}

// explain adds what the kernel has to say about the last command that failed.
func (g *Group) explain(err error) error {
	status, readErr := os.ReadFile(filepath.Join(g.Root, "info/last_cmd_status"))
	if text := strings.TrimSpace(string(status)); readErr == nil && text != "" && text != "ok" {
		return fmt.Errorf("%w (%s)", err, text)
	}
	return err
}
