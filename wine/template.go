package wine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// templateFormat goes into the digest: raise it when what Prepare makes changes.
const templateFormat = 24

// A Runner runs one container to its end and returns the exit code of its main process. When that process has ended
// it must give the wineserver the chance to write the registry: wait for it, or end it with SIGTERM, never SIGKILL.
type Runner func(ctx context.Context, spec *specs.Spec) (exitCode int, err error)

// Progress is told of each step of a long piece of work, and how many of how many are done. It may be nil.
type Progress func(step string, done, total int)

// A Template is what all containers of a runtime share, read-only.
type Template struct {
	// Runtime is the Wine that the template was made with.
	Runtime *Runtime
	// Dir holds `root`, the skeleton root file system, `prefix`, and files that are mounted over Wine's.
	Dir string
	// Hold keeps template and runtime from being removed until the folder of a container says that they are used:
	// [Scratch.Make] closes it. It may be nil.
	Hold *Hold
}

// Root is the skeleton of a container's root file system: empty directories, files and symbolic links to mount on.
func (t *Template) Root() string { return filepath.Join(t.Dir, "root") }

// Prefix is the prefix template.
func (t *Template) Prefix() string { return filepath.Join(t.Dir, "prefix") }

func (t *Template) driveC() string { return filepath.Join(t.Prefix(), "drive_c") }

// The steps of Prepare, in the words that Progress gets.
var prepareSteps = []string{"making the root file system", "booting Wine once", "linking the DLLs", "setting up the registry", "finishing"}

// Prepare gives the template of a runtime below dataRoot, and makes it when there is none. When there is one, it costs
// one system call.
//
// Making takes seconds and a container without a network, which run runs. Any number of callers may come at once: one
// makes it, the others wait. A template appears under its name only when it is whole: what a killed caller left is
// removed by the next one.
func (r *Runtime) Prepare(ctx context.Context, dataRoot string, run Runner, progress Progress) (*Template, error) {
	templates := filepath.Join(dataRoot, "templates")
	t := &Template{Runtime: r, Dir: filepath.Join(templates, "wine-"+r.Version+"-"+r.Digest)}
	if isFolder(t.Dir) {
		return t, nil
	}
	if err := os.MkdirAll(templates, 0o755); err != nil {
		return nil, fmt.Errorf("prepare Wine %s: %w", r.Version, err)
	}
	unlock, err := lock(ctx, filepath.Join(templates, "."+filepath.Base(t.Dir)+".lock"))
	if err != nil {
		return nil, fmt.Errorf("prepare Wine %s: %w", r.Version, err)
	}
	defer unlock()
	if isFolder(t.Dir) { // somebody else made it while this one waited
		return t, nil
	}
	if err := t.make(ctx, run, progress); err != nil {
		return nil, fmt.Errorf("prepare Wine %s in %s: %w", r.Version, t.Dir, err)
	}
	return t, nil
}

// make makes the template beside its name and renames it. The caller holds the lock.
func (t *Template) make(ctx context.Context, run Runner, progress Progress) (err error) {
	step := func(n int) {
		if progress == nil {
			return
		}
		if n == len(prepareSteps) {
			progress("ready", n, n)
			return
		}
		progress(prepareSteps[n], n, len(prepareSteps))
	}
	// The name is a new one each time: the container of a killed caller may still write to the old draft.
	templates, pattern := filepath.Dir(t.Dir), ".new-"+filepath.Base(t.Dir)+"-*"
	old, err := filepath.Glob(filepath.Join(templates, pattern))
	if err != nil {
		return err
	}
	for _, dir := range old {
		if err := removeTree(dir); err != nil && progress != nil {
			progress("leaving "+dir+": "+err.Error(), 0, len(prepareSteps))
		}
	}
	dir, err := os.MkdirTemp(templates, pattern)
	if err != nil {
		return err
	}
	draft := &Template{Runtime: t.Runtime, Dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeTree(draft.Dir))
		}
	}()

	step(0)
	if err := os.Chmod(draft.Dir, 0o755); err != nil {
		return err
	}
	if err := draft.makeRoot(); err != nil {
		return err
	}
	if err := os.Mkdir(draft.Prefix(), 0o755); err != nil {
		return err
	}
	step(1)
	if err := draft.boot(ctx, run, quietSetup); err != nil {
		return err
	}
	self := Owner{os.Geteuid(), os.Getegid()}
	prefix, err := os.OpenRoot(draft.Prefix())
	if err != nil {
		return err
	}
	defer prefix.Close()
	if err := replaceFile(prefix, bootProgram, bootAMD64, self); err != nil {
		return err
	}
	// A second time by our boot program: what it puts into the registry for this host, no container has to.
	if err := draft.boot(ctx, run, ownBoot); err != nil {
		return err
	}
	step(2)
	if err := draft.trim(); err != nil {
		return err
	}
	for _, l := range draft.moduleLinks() {
		if err := os.Symlink(l.to, filepath.Join(draft.Dir, l.at)); err != nil {
			return err
		}
	}
	if err := t.Runtime.linkBuiltins(prefix, self); err != nil {
		return err
	}
	if err := t.Runtime.linkFonts(prefix, self); err != nil {
		return err
	}
	if err := errors.Join(t.Runtime.install(prefix, self), draft.installStops()); err != nil {
		return err
	}
	step(3)
	if err := errors.Join(draft.editRegistry(), draft.makeLocales(), draft.makeKernelbase(), os.WriteFile(draft.pipes(), pipesAMD64, 0o644)); err != nil {
		return err
	}
	step(4)
	if err := syncTree(draft.Dir); err != nil {
		return err
	}
	if err := os.Rename(draft.Dir, t.Dir); err != nil {
		return err
	}
	step(5)
	return nil
}

// boot boots Wine once in the new prefix.
func (t *Template) boot(ctx context.Context, run Runner, overriding string) error {
	code, err := run(ctx, t.makeSpec(overriding))
	if err != nil {
		return fmt.Errorf("boot Wine: %w", err)
	}
	if code != 0 {
		var disk unix.Statfs_t
		if err := unix.Statfs(t.Dir, &disk); err == nil && disk.Bavail*uint64(disk.Bsize) < 16<<20 {
			return errors.New("boot Wine: the file system is full: for a moment, Wine needs some 800 MiB there")
		}
		return fmt.Errorf("boot Wine: wineboot ended with exit code %d", code)
	}
	return nil
}

// lock takes an exclusive lock on a file, waiting as long as ctx lasts. The file stays: to remove it would let two
// callers lock two files of one name.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case err != unix.EWOULDBLOCK && err != unix.EINTR:
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for the lock %s: %w", name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// syncTree writes the file system of a directory to disk, so that a template that has its name is whole even after a
// loss of power.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// removeTree removes a directory, unless something is mounted below it: to follow a mount would delete what it shows.
func removeTree(dir string) error {
	var top syscall.Stat_t
	if err := syscall.Lstat(dir, &top); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(name, &st); err != nil {
			return err
		}
		if st.Dev != top.Dev {
			return fmt.Errorf("%s is a mount point: unmount it first", name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return os.RemoveAll(dir)
}

// cleanLines joins lines to the text of a small file.
func cleanLines(lines ...string) []byte { return []byte(strings.Join(lines, "\n") + "\n") }
