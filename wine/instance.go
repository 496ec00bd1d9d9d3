package wine

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/internal/kernel"
)

// openPrefix gives the mounts of the program's prefix: the template below an overlay whose upper layer lies in the
// scratch folder, or a persistent prefix. prepare makes what they refer to, with the links of the drives. above says how
// the overlay is made, if there is one.
func (t *Template) openPrefix(opt Options, d *drives) (mounts []specs.Mount, above *Overlay, prepare func() error, err error) {
	if opt.Prefix != nil {
		return append([]specs.Mount{persistentMount(opt.Prefix.Dir)}, t.builtinMounts()...), nil, func() error {
			if err := linkDrives(opt.Prefix.root, d); err != nil {
				return fmt.Errorf("prefix %s: %w", opt.Prefix.Dir, err)
			}
			if err := opt.Prefix.setDisplay(opt.Display, opt.owner()); err != nil {
				return fmt.Errorf("prefix %s: set its display: %w", opt.Prefix.Dir, err)
			}
			return nil
		}, nil
	}
	layers, lean := t.mapLayers(opt.MapOwners, opt.owner())
	mount, above, err := t.overlay(opt.Scratch, opt.Rootless, opt.Lean, layers, lean)
	if opt.ReadOnly {
		above.protect(t, opt.Memory)
	}
	return []specs.Mount{mount}, above, func() error {
		upper, err := t.makeUpper(opt.Scratch, opt.owner(), layers != nil)
		if err != nil {
			return fmt.Errorf("scratch folder: %w", err)
		}
		defer upper.Close()
		if err := linkDrives(upper, d); err != nil {
			return fmt.Errorf("scratch folder: %w", err)
		}
		if err := t.writeRegistry(upper, opt.Display, opt.owner()); err != nil {
			return fmt.Errorf("scratch folder: %w", err)
		}
		return nil
	}, err
}

// overlay is the mount of a prefix that has the template below, and below that the runtime's folders of PE files, which
// the template's links lead to: a program that overwrites one of them changes a copy. Above are the folders of
// [Template.makeUpper]. userNS tells that it is made in a user namespace, lean that the prefix may be a lean one. layers and
// ofLean are those of [Template.mapLayers].
func (t *Template) overlay(scratch string, userNS, lean bool, layers []*os.File, ofLean int) (specs.Mount, *Overlay, error) {
	above := new(Overlay)
	if !filepath.IsAbs(scratch) {
		return specs.Mount{}, above, fmt.Errorf("scratch folder %q: want an absolute path", scratch)
	}
	// Not at the price of options that the kernel lacks.
	lower := t.lowerLayers(lean)
	if len(lowerOptions(lower)) > 1 && !layersOneByOne() {
		lower = t.lowerLayers(false)
	}
	for _, dir := range append([]string{scratch}, lower...) {
		if strings.ContainsAny(dir, `:,\`) { // they separate and escape in the options of an overlay
			return specs.Mount{}, above, fmt.Errorf("folder %s: an overlay cannot use a path with a colon, a comma or a backslash", dir)
		}
	}
	options := []string{"nosuid", "nodev"}
	if layers == nil {
		options = append(options, lowerOptions(lower)...)
	} else {
		if !lean {
			for _, f := range layers[:ofLean] {
				f.Close()
			}
			layers = layers[ofLean:]
		}
		above.Lower = layers
	}
	options = append(options, "upperdir="+filepath.Join(scratch, "upper"), "workdir="+filepath.Join(scratch, "work"))
	if userNS {
		options = append(options, "userxattr")
	}
	return specs.Mount{Destination: prefixDir, Type: "overlay", Source: "overlay", Options: options}, above, nil
}

// lowerOptions are the options of an overlay for its lower layers. fsconfig(2) takes values of less than 256 bytes; that
// layers can be given one by one, Linux 6.7 learned.
func lowerOptions(dirs []string) []string {
	all := strings.Join(dirs, ":")
	if len(all) < 256 {
		return []string{"lowerdir=" + all}
	}
	var options []string
	for _, dir := range dirs {
		options = append(options, "lowerdir+="+dir)
	}
	return options
}

// layersOneByOne says whether the kernel takes the layers of an overlay one by one.
func layersOneByOne() bool {
	ok, err := kernel.Since(6, 7)
	return ok && err == nil
}

// makeUpper makes the upper layer of a prefix for a user and gives it. mapped says that the layers below belong to that user.
func (t *Template) makeUpper(scratch string, owner Owner, mapped bool) (*os.Root, error) {
	var under unix.Statfs_t
	if err := unix.Statfs(scratch, &under); err == nil && under.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return nil, fmt.Errorf("%s lies on an overlay, which cannot carry another, that of drive C:; name a folder on another file system in WINBOX_DATA", scratch)
	}
	upper := filepath.Join(scratch, "upper")
	for _, dir := range []string{upper, filepath.Join(scratch, "work"), filepath.Join(upper, "dosdevices")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if owner.self() {
		return os.OpenRoot(upper)
	}
	if !mapped {
		// The template's folders belong to whoever made it: give the program folders of its own above them.
		if err := copyFolders(t.driveC(), filepath.Join(upper, "drive_c")); err != nil {
			return nil, err
		}
	}
	// The upper layer's top counts as the prefix, which Wine refuses when it is not its user's.
	if err := chownTree(scratch, owner.UID, owner.GID); err != nil {
		return nil, err
	}
	return os.OpenRoot(upper)
}

// linkDrives makes the links of the drives of a prefix that exist and removes those of drives that do not. C: stays.
func linkDrives(prefix *os.Root, d *drives) error {
	entries, err := fs.ReadDir(prefix.FS(), "dosdevices")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != "c:" {
			if err := prefix.RemoveAll(path.Join("dosdevices", entry.Name())); err != nil {
				return err
			}
		}
	}
	for _, letter := range d.letters() {
		name, to := driveLink(letter)
		if err := prefix.Symlink(to, path.Join("dosdevices", name)); err != nil {
			return err
		}
	}
	return nil
}

// owner is who the program is on the host.
func (opt *Options) owner() Owner {
	if opt.Rootless {
		return Owner{os.Geteuid(), os.Getegid()}
	}
	return Owner{opt.UID, opt.GID}
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
