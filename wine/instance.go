package wine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// openPrefix gives the mount of the program's prefix: the template below an overlay whose upper layer lies in the
// scratch folder, or a persistent prefix. In both, dosdevices is made to fit the drives.
func (t *Template) openPrefix(opt Options, d *drives) (specs.Mount, error) {
	if opt.Prefix != "" {
		dir, err := filepath.Abs(opt.Prefix)
		if err != nil {
			return specs.Mount{}, fmt.Errorf("prefix %s: %w", opt.Prefix, err)
		}
		if err := t.instantiate(dir, opt); err != nil {
			return specs.Mount{}, fmt.Errorf("prefix %s: %w", opt.Prefix, err)
		}
		if err := linkDrives(filepath.Join(dir, "dosdevices"), d); err != nil {
			return specs.Mount{}, fmt.Errorf("prefix %s: %w", opt.Prefix, err)
		}
		if err := changeRegistry(dir, opt.Display, opt.foreign(), opt.UID, opt.GID); err != nil {
			return specs.Mount{}, fmt.Errorf("prefix %s: set its display: %w", opt.Prefix, err)
		}
		return specs.Mount{Destination: prefixDir, Type: "bind", Source: dir, Options: []string{"rbind", "nosuid", "nodev", "rprivate"}}, nil
	}
	mount, err := t.overlay(opt.Scratch, opt.Rootless)
	if err != nil {
		return specs.Mount{}, err
	}
	devices, err := t.makeUpper(opt.Scratch, opt.foreign(), opt.UID, opt.GID)
	if err != nil {
		return specs.Mount{}, fmt.Errorf("scratch folder: %w", err)
	}
	if err := linkDrives(devices, d); err != nil {
		return specs.Mount{}, fmt.Errorf("scratch folder: %w", err)
	}
	if err := t.writeRegistry(filepath.Dir(devices), opt.Display, opt.foreign(), opt.UID, opt.GID); err != nil {
		return specs.Mount{}, fmt.Errorf("scratch folder: %w", err)
	}
	return mount, nil
}

// overlay is the mount of a prefix that has the template below and the folders of [Template.makeUpper] above. userNS
// tells that it is made in a user namespace.
func (t *Template) overlay(scratch string, userNS bool) (specs.Mount, error) {
	if !filepath.IsAbs(scratch) {
		return specs.Mount{}, fmt.Errorf("scratch folder %q: want an absolute path", scratch)
	}
	for _, dir := range []string{scratch, t.Prefix()} {
		if strings.ContainsAny(dir, `:,\`) { // they separate and escape in the options of an overlay
			return specs.Mount{}, fmt.Errorf("folder %s: an overlay cannot use a path with a colon, a comma or a backslash", dir)
		}
	}
	options := []string{"nosuid", "nodev", "lowerdir=" + t.Prefix(), "upperdir=" + filepath.Join(scratch, "upper"), "workdir=" + filepath.Join(scratch, "work")}
	if userNS {
		options = append(options, "userxattr")
	}
	return specs.Mount{Destination: prefixDir, Type: "overlay", Source: "overlay", Options: options}, nil
}

// makeUpper makes the upper layer of a prefix, and gives its folder of drives. foreign says that the program is another
// user than the caller.
func (t *Template) makeUpper(scratch string, foreign bool, uid, gid int) (devices string, err error) {
	upper := filepath.Join(scratch, "upper")
	devices = filepath.Join(upper, "dosdevices")
	for _, dir := range []string{upper, filepath.Join(scratch, "work"), devices} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
	}
	if !foreign {
		return devices, nil
	}
	// The template's folders belong to whoever made it: give the program folders of its own above them. The upper
	// layer's top counts as the prefix, which Wine refuses when it is not its user's.
	if err := copyFolders(t.driveC(), filepath.Join(upper, "drive_c")); err != nil {
		return "", err
	}
	return devices, chownTree(scratch, uid, gid)
}

// linkDrives makes the links of the drives that exist and removes those of drives that do not. C: stays.
func linkDrives(devices string, d *drives) error {
	entries, err := os.ReadDir(devices)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != "c:" {
			if err := os.Remove(filepath.Join(devices, entry.Name())); err != nil {
				return err
			}
		}
	}
	for _, letter := range d.letters() {
		name, to := driveLink(letter)
		if err := os.Symlink(to, filepath.Join(devices, name)); err != nil {
			return err
		}
	}
	return nil
}

// instantiate makes a persistent prefix of the template, unless it is made. It appears under its name when it is
// whole; an empty folder of that name is replaced.
func (t *Template) instantiate(dir string, opt Options) error {
	if isFolder(filepath.Join(dir, "drive_c")) {
		return t.fits(dir)
	}
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return errors.New("is not empty, and not a prefix: choose a new folder")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent, base := filepath.Split(dir)
	draft, err := os.MkdirTemp(parent, "."+base+".new-")
	if err != nil {
		return err
	}
	err = errors.Join(copyTree(t.Prefix(), draft), os.WriteFile(filepath.Join(draft, madeWith), []byte(t.Runtime.kind()+"\n"), 0o644))
	if err != nil {
		return errors.Join(err, removeTree(draft))
	}
	if err := os.Chmod(draft, 0o755); err != nil {
		return errors.Join(err, removeTree(draft))
	}
	if opt.foreign() {
		if err := chownTree(draft, opt.UID, opt.GID); err != nil {
			return errors.Join(err, removeTree(draft))
		}
	}
	if err := unix.Rename(draft, dir); err != nil { // replaces an empty directory, which os.Rename does not
		return errors.Join(fmt.Errorf("rename %s: %w", draft, err), removeTree(draft))
	}
	return nil
}

// madeWith is the file of a persistent prefix that says which kind of Wine it is of.
const madeWith = ".winbox-runtime"

// kind is what a prefix fits: its registry is of a version, and its 32-bit DLLs are where that runtime has them. Within a
// major version, Wine's format does not change.
func (r *Runtime) kind() string { return fmt.Sprintf("wine %d, 32-bit: %s", r.major(), r.WoW64()) }

// fits refuses a persistent prefix that another kind of Wine has made. One from before prefixes said so is let through.
func (t *Template) fits(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, madeWith), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 100))
	if err != nil {
		return err
	}
	if made := strings.TrimSpace(string(text)); made != t.Runtime.kind() {
		return fmt.Errorf("was made with another runtime (%q) than %s (%q): choose that one with --runtime, or a new folder", made, t.Runtime.Name, t.Runtime.kind())
	}
	return nil
}

// copyTree copies folders, links and regular files into an existing folder; a prefix has nothing else.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == from {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case entry.IsDir():
			return os.Mkdir(target, 0o755)
		case entry.Type() == fs.ModeSymlink:
			link, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case entry.Type().IsRegular():
			return copyFile(name, target)
		}
		return fmt.Errorf("%s: neither a file nor a folder nor a link", name)
	})
}

// foreign says whether the program runs as somebody else than the caller. In a user namespace it never does.
func (opt *Options) foreign() bool {
	return !opt.Rootless && (opt.UID != os.Geteuid() || opt.GID != os.Getegid())
}

// copyFolders makes the folders of one tree in another, without what is in them.
func copyFolders(from, to string) error {
	return filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return os.Mkdir(filepath.Join(to, strings.TrimPrefix(name, from)), 0o755)
	})
}

// chownTree gives a tree to a user; symbolic links are not followed.
func chownTree(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, uid, gid)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// ErrPrefixInUse says that another container has a persistent prefix.
var ErrPrefixInUse = errors.New("prefix in use by another container")

// LockPrefix takes a persistent prefix for one container. Close the file when the container is gone; the lock goes with
// the last process that has the file open. It lies beside the prefix, as dir + ".lock": the prefix may not exist yet.
func LockPrefix(dir string) (*os.File, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("prefix %s: %w", dir, err)
	}
	f, err := os.OpenFile(abs+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("prefix %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("prefix %s: %w", dir, ErrPrefixInUse)
		}
		return nil, fmt.Errorf("lock prefix %s: %w", dir, err)
	}
	return f, nil
}
