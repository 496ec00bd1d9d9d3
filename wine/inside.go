package wine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/quota"
)

// A fat image brings runtime and template along, and winbox itself: `winbox init` is its entry point, under a container
// runtime that knows nothing of Windows programs. It can mount nothing. So where winbox's own containers have mounts, those
// of fat images have links, and drive C: is a copy of the template's prefix that lasts as long as the container.

// imageDir is where a fat image has its template, with the preloaders and libraries that are a container's own elsewhere.
const imageDir = "/usr/lib/winbox"

// imageRecord is where it has the record of its runtime, if the runtime has one.
const imageRecord = imageDir + "/runtime.json"

// insideScratch is the [Scratch] in the container.
const insideScratch Scratch = runDir + "/container"

// InImage gives the template of the fat image that the caller runs in.
//
// # Errors
//
// It is none.
func InImage() (*Template, error) { return inImage("/") }

func inImage(root string) (*Template, error) {
	r := inFiles(hostFiles(root))
	if r == nil || !isFolder(filepath.Join(root, imageDir, "prefix")) {
		return nil, fmt.Errorf("this container's image has no Wine with a prefix in %s: make it with "+
			"`winbox image pack --with-runtime`, or of such an image", imageDir)
	}
	r.root = root
	data, err := os.ReadFile(filepath.Join(root, imageRecord))
	if errors.Is(err, fs.ErrNotExist) {
		return &Template{Runtime: r, Dir: filepath.Join(root, imageDir)}, nil
	}
	var record Record
	if err == nil {
		err = json.Unmarshal(data, &record)
	}
	if err != nil {
		return nil, fmt.Errorf("read the image's %s: %w", imageRecord, err)
	}
	r.adopt(&record)
	return &Template{Runtime: r, Dir: filepath.Join(root, imageDir)}, nil
}

// Inside prepares the container that the caller runs in, of a fat image, for a Windows program: p, with annotations as a
// bundle has them. It gives what [Bundle.Container] would, of which the process, Stops, Resize and Linger are left to do, and
// a file that must stay open as long as the program runs.
//
// # Errors
//
// The program cannot be run; another one runs in the container already; an annotation asks for what only a container of winbox's own can have; the file system is
// read-only, or belongs to somebody else.
func Inside(t *Template, p *specs.Process, annotations map[string]string) (c *Container, hold *os.File, err error) {
	for _, name := range []string{annotationPrefix, annotationDisplay, annotationVNC, annotationRuntime} {
		if value := annotations[name]; value != "" && value != string(DisplayNone) {
			return nil, nil, fmt.Errorf("annotations: %s: needs winbox on the node: "+
				"an image with a runtime cannot carry it out by itself", name)
		}
	}
	set := map[string]string{annotationHandler: string(handlerWindows)}
	for name, value := range annotations {
		set[name] = value
	}
	mounts, err := ownMounts()
	if err != nil {
		return nil, nil, err
	}
	limits, memory := ownLimits()
	spec := &specs.Spec{
		Root: &specs.Root{Path: "/"}, Process: p, Mounts: mounts, Annotations: set, Linux: &specs.Linux{Resources: limits},
	}
	b, err := Recognize(&oci.Bundle{Dir: "/", Spec: spec})
	if err != nil {
		return nil, nil, err
	}
	defer b.Close()
	b.inside = true
	if hold, err = insideScratch.claim(); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			hold.Close()
		}
	}()
	if err := insideScratch.renew(t); err != nil {
		return nil, nil, err
	}
	if c, err = b.Container(t, insideScratch); err != nil {
		return nil, nil, err
	}
	if err := c.Prepare(); err != nil {
		return nil, nil, err
	}
	if memory != "" {
		err = linkTo(memory, quota.MemoryFiles)
	}
	return c, hold, errors.Join(err, linkMounts(c.Spec.Mounts))
}

// claim takes the container for one program: another would take its plan of the address space away.
func (s Scratch) claim() (*os.File, error) {
	err := os.MkdirAll(s.Prefix(), 0o755)
	if err == nil {
		if err = unix.Access(s.Prefix(), unix.W_OK); err != nil {
			err = &fs.PathError{Op: "write to", Path: s.Prefix(), Err: err}
		}
	}
	if err != nil {
		return nil, unwritable(err)
	}
	lock, err := os.Open(string(s))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("a Windows program runs in this container already, and an image with a runtime has one: %w", err)
	}
	return lock, nil
}

// RunHere is a [Runner] without a container, for a place where none can be made, such as a step of a build: it runs the Wine
// that the container would see where that lies, and finds its own parts beside it. The libraries that it needs must be
// installed, and nobody else may run Wine meanwhile.
func RunHere(ctx context.Context, spec *specs.Spec) (exitCode int, err error) {
	p := spec.Process
	lies := make(map[string]string) // where what the container has at a place lies
	for _, m := range spec.Mounts {
		lies[m.Destination] = m.Source
		switch {
		case m.Destination == prefixDir:
			if err := linkTo(m.Source, m.Destination); err != nil {
				return 0, err
			}
			defer os.Remove(prefixDir)
		case m.Destination == serverMount(p.User.UID, p.User.GID).Destination:
			if err := errors.Join(os.MkdirAll(m.Destination, 0o755), os.Chmod(m.Destination, 0o700)); err != nil {
				return 0, err
			}
			defer os.RemoveAll(m.Destination)
		}
	}
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, cmp.Or(lies[args[0]], args[0]), args[1:]...)
		cmd.Env, cmd.Dir = p.Env, p.Cwd
		return cmd.Run()
	}
	err = run(p.Args...)
	exit := (*exec.ExitError)(nil)
	if errors.As(err, &exit) && exit.Exited() {
		exitCode, err = exit.ExitCode(), nil
	}
	if err != nil {
		return 0, err
	}
	// Wait for the server, which writes the registry when its last client has gone.
	for _, setting := range p.Env {
		if server, ok := strings.CutPrefix(setting, "WINESERVER="); ok {
			err = run(server, "-w")
		}
	}
	return exitCode, err
}

// renew removes what an earlier start of the container has left, but for the prefix; at the first it makes that. The
// image's own prefix is taken where it can be written to: of what is changed, the container runtime makes the copies.
func (s Scratch) renew(t *Template) error {
	entries, err := os.ReadDir(string(s))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if at := filepath.Join(string(s), entry.Name()); at != s.Prefix() {
			if err := os.RemoveAll(at); err != nil {
				return unwritable(err)
			}
		}
	}
	if isFolder(s.copy()) {
		return nil
	}
	var st unix.Stat_t
	own := unix.Stat(t.Prefix(), &st) == nil && st.Uid == uint32(os.Geteuid())
	if own && unix.Access(t.Prefix(), unix.W_OK) == nil {
		return os.Symlink(t.Prefix(), s.copy())
	}
	draft := s.copy() + ".new" // perhaps of a start that was killed
	if err := errors.Join(os.RemoveAll(draft), os.Mkdir(draft, 0o755)); err != nil {
		return unwritable(err)
	}
	top, err := os.OpenRoot(draft)
	if err != nil {
		return err
	}
	defer top.Close()
	if err := copyTree(t.Prefix(), top, Owner{os.Geteuid(), os.Getegid()}); err != nil {
		return fmt.Errorf("make the container's prefix: %w", err)
	}
	return os.Rename(draft, s.copy())
}

// unwritable says what to do about a file system that cannot be written to.
func unwritable(err error) error {
	why := "with a read-only root file system, it needs a tmpfs on /run, of mode 1777"
	if errors.Is(err, fs.ErrPermission) {
		why = "another user has run a program before, in this container or in a step that its image was built with; " +
			"or /run is a mount that only another can write to, without mode 1777"
	}
	return fmt.Errorf("user %d cannot %w: %s", os.Geteuid(), err, why)
}

// linkMounts makes links of what would be bind mounts, and folders of what would be file systems of their own. Of the files
// of the scratch folder that are the same in all containers, the image's own are taken: a tmpfs may forbid to execute its own.
func linkMounts(mounts []specs.Mount) error {
	for _, m := range mounts {
		source := m.Source
		if own := path.Join(imageDir, path.Base(source)); path.Dir(source) == string(insideScratch) && isFile(own) {
			source = own
		}
		var err error
		switch {
		case source == m.Destination: // it is mounted
		case !within(m.Destination, runDir) && isOwnFile(m.Destination): // the image's preloader
		case m.Type == "tmpfs":
			err = os.MkdirAll(m.Destination, 0o755)
			if err == nil && slices.Contains(m.Options, "mode=700") {
				err = os.Chmod(m.Destination, 0o700)
			}
		default:
			err = linkTo(source, m.Destination)
		}
		if err != nil {
			return unwritable(err)
		}
	}
	return nil
}

// isOwnFile tells whether there is a file, and no link.
func isOwnFile(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode().IsRegular()
}

// linkTo makes a link, in the place of what is there, unless that is it.
func linkTo(target, at string) error {
	if to, err := os.Readlink(at); err == nil && to == target {
		return nil
	}
	if err := os.MkdirAll(path.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, at)
}

// ownMounts are the mounts of this container that are for the program: see shown.volumes. They are as in a bundle, but that
// each has its own place as its source.
func ownMounts() ([]specs.Mount, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the container's mounts: %w", err)
	}
	var list []specs.Mount
	for _, info := range infos {
		at := info.Mountpoint
		if at == "/" || slices.ContainsFunc(kernelFolders, func(dir string) bool { return within(at, dir) }) {
			continue
		}
		m := specs.Mount{Destination: at, Type: "bind", Source: at, Options: []string{"rbind"}}
		if slices.Contains(strings.Split(info.Options, ","), "ro") {
			m.Options = append(m.Options, "ro")
		}
		list = append(list, m)
	}
	return list, nil
}

// ownLimits are the limits of the container's control group as far as it sees them, and the folder of the memory
// controller's files, if it has one. On cgroup v1, the kernel writes no limit as a number that is greater than any memory.
func ownLimits() (res *specs.LinuxResources, memory string) {
	const group = "/sys/fs/cgroup"
	number := func(name string) *int64 {
		data, err := os.ReadFile(path.Join(group, name))
		if err != nil {
			return nil
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		if err != nil || n <= 0 || n > 1<<60 {
			return nil // "max", or -1
		}
		return &n
	}
	m, cpu := &specs.LinuxMemory{}, &specs.LinuxCPU{}
	res = &specs.LinuxResources{Memory: m, CPU: cpu}
	setPeriod := func(n *int64) {
		if n != nil && cpu.Quota != nil {
			period := uint64(*n)
			cpu.Period = &period
		}
	}
	if isFile(group + "/memory.max") {
		memory = group
		if m.Limit = number("memory.max"); m.Limit != nil {
			if swap := number("memory.swap.max"); swap != nil {
				both := *m.Limit + *swap
				m.Swap = &both
			}
		}
		if data, err := os.ReadFile(group + "/cpu.max"); err == nil { // "QUOTA PERIOD", or "max PERIOD"
			var quota, period int64
			if n, _ := fmt.Sscan(string(data), &quota, &period); n == 2 {
				cpu.Quota = &quota
				setPeriod(&period)
			}
		}
		return res, memory
	}
	if isFile(group + "/memory/memory.limit_in_bytes") {
		memory = group + "/memory"
	}
	m.Limit, m.Swap = number("memory/memory.limit_in_bytes"), number("memory/memory.memsw.limit_in_bytes")
	cpu.Quota = number("cpu/cpu.cfs_quota_us")
	setPeriod(number("cpu/cpu.cfs_period_us"))
	return res, memory
}
