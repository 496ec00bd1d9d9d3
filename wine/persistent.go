package wine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A Persistent is a prefix that outlives its containers: a folder of the user's, locked for one container. What programs
// left in it is hostile: a link there must not lead anything of this package out of the folder.
type Persistent struct {
	// Dir is the folder, an absolute path.
	Dir string

	lock *os.File
	root *os.Root
	made bool // the folder, by OpenPersistent
}

// ErrPrefixInUse says that another container has a persistent prefix.
var ErrPrefixInUse = errors.New("prefix in use by another container")

// OpenPersistent takes a folder for one container, and makes it when it is missing. The lock is on the folder itself
// (flock(2)), and goes with the last process that has [Persistent.Hold] open.
func OpenPersistent(dir string) (*Persistent, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("prefix %s: %w", dir, err)
	}
	missing := os.Mkdir(abs, 0o755)
	if missing != nil && !errors.Is(missing, fs.ErrExist) {
		return nil, fmt.Errorf("prefix %s: %w", dir, missing)
	}
	f, err := os.OpenFile(abs, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("prefix %s: %w", dir, err)
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, fmt.Errorf("prefix %s: %w", dir, ErrPrefixInUse)
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("prefix %s: its file system cannot lock it for one container: %w", dir, err)
	}
	root, err := os.OpenRoot(abs)
	if err == nil && !sameFile(f, root) {
		err = errors.Join(errors.New("another folder is in its place now"), root.Close())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("prefix %s: %w", dir, err)
	}
	return &Persistent{Dir: abs, lock: f, root: root, made: missing == nil}, nil
}

func sameFile(f *os.File, root *os.Root) bool {
	a, err := f.Stat()
	b, err2 := root.Stat(".")
	return err == nil && err2 == nil && os.SameFile(a, b)
}

// Hold is the file that the lock is on.
func (p *Persistent) Hold() *os.File { return p.lock }

// Close gives the lock up, unless somebody else has the file open. A new folder goes if nothing has come into it.
func (p *Persistent) Close() error {
	if p.made {
		unix.Rmdir(p.Dir) // fails when there is something in it
	}
	return errors.Join(p.root.Close(), p.lock.Close())
}

// filled says whether there is a prefix in the folder.
func (p *Persistent) filled() bool { return isPrefix(p.Dir) }

// isPrefix says whether a folder of the host's has a whole prefix.
func isPrefix(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, unfinished))
	return errors.Is(err, fs.ErrNotExist) && isFolder(filepath.Join(dir, "drive_c"))
}

// An Owner is who a prefix belongs to: the user that its programs run as, by the caller's ids.
type Owner struct{ UID, GID int }

// self says that the owner is the caller.
func (o Owner) self() bool { return o.UID == os.Geteuid() && o.GID == os.Getegid() }

// Names of winbox's in a persistent prefix, beside those of Wine's.
const (
	// madeWith says which kind of Wine the prefix is of, and in a second line which template it fits.
	madeWith = ".winbox-runtime"
	// unfinished is there while the prefix is filled.
	unfinished = ".winbox-new"
	// backups has the last registry files that were found whole, and those of before each upgrade.
	backups = ".winbox-backup"
	// upgrading, a folder of backups, is there while a prefix is upgraded.
	upgrading = backups + "/upgrading"
)

var registryFiles = []string{"system.reg", userRegistry, "userdef.reg"}

// kind is what a prefix fits: its registry is of a version, and its 32-bit DLLs are where that runtime has them. Within a
// major version, Wine's format does not change.
func (r *Runtime) kind() string { return fmt.Sprintf("wine %d, 32-bit: %s", r.major(), r.WoW64()) }

// Fit makes the prefix fit a template: fills an empty one, mends the registry when a crash of the machine has cut it,
// and brings one that an older Wine has made up to date, with that Wine's registry kept in backups. What is interrupted
// is done again at the next call. warn is told what has been mended.
//
// # Errors
//
// A folder with something else in it; a prefix of another user; one of a newer Wine, or of one with 32-bit programs where
// this has none.
func (p *Persistent) Fit(ctx context.Context, t *Template, owner Owner, run Runner, progress Progress, warn func(string)) error {
	if err := p.fit(ctx, t, owner, run, progress, warn); err != nil {
		return fmt.Errorf("prefix %s: %w", p.Dir, err)
	}
	return nil
}

func (p *Persistent) fit(ctx context.Context, t *Template, owner Owner, run Runner, progress Progress, warn func(string)) error {
	kind, digest, err := p.readMade()
	if err != nil {
		return err
	}
	if kind == "" {
		made, err := p.adopt()
		if err != nil {
			return err
		}
		if !made {
			return p.fill(t, owner)
		}
		kind = t.Runtime.kind() // from before prefixes said so
	}
	info, err := p.root.Stat(".")
	if err != nil {
		return err
	}
	if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != owner.UID {
		return fmt.Errorf("belongs to user %d, and the program runs as %d: run it as that user, or give the folder and all in it to this one (chown -R)", uid, owner.UID)
	}
	if err := p.endUpgrade(owner); err != nil {
		return err
	}
	if err := p.checkRegistry(owner, warn); err != nil {
		return err
	}
	if kind != t.Runtime.kind() {
		if err := fits(kind, t.Runtime); err != nil {
			return err
		}
		if progress != nil {
			progress("upgrading the prefix "+p.Dir, 0, 1)
		}
		if err := p.upgrade(ctx, t, owner, run); err != nil {
			return fmt.Errorf("upgrade from %q to %q: %w", kind, t.Runtime.kind(), err)
		}
	}
	if kind != t.Runtime.kind() || digest != t.Runtime.Digest {
		if err := p.refresh(t, owner); err != nil {
			return err
		}
		if err := p.mark(t.Runtime, owner); err != nil {
			return err
		}
	}
	return p.endUpgrade(owner)
}

// readMade reads what the prefix was made with; nothing when it does not say.
func (p *Persistent) readMade() (kind, digest string, err error) {
	data, err := p.read(madeWith, maxMade)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	kind, digest, _ = strings.Cut(strings.TrimSpace(string(data)), "\n")
	if kind == "" {
		return "", "", fmt.Errorf("%s is empty: it says what the prefix was made with, such as %q", madeWith, "wine 8, 32-bit: none")
	}
	return kind, digest, nil
}

// mark writes what the prefix fits now.
func (p *Persistent) mark(r *Runtime, owner Owner) error {
	return p.replace(madeWith, cleanLines(r.kind(), r.Digest), owner, time.Time{})
}

// adopt says whether the folder is a prefix that does not say what it was made with. What was begun and not finished is
// removed.
func (p *Persistent) adopt() (made bool, err error) {
	if _, err := p.root.Lstat(unfinished); err == nil {
		for _, name := range append([]string{"drive_c", "dosdevices", ".update-timestamp", backups}, registryFiles...) {
			if err := p.root.RemoveAll(name); err != nil {
				return false, err
			}
		}
		return false, nil
	}
	entries, err := fs.ReadDir(p.root.FS(), ".")
	if err != nil {
		return false, err
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		if entry.Name() != "lost+found" { // the top of a file system of its own
			names = append(names, entry.Name())
		}
	}
	if slices.Contains(names, "drive_c") && slices.Contains(names, "system.reg") {
		return true, nil
	}
	if len(names) > 0 {
		return false, fmt.Errorf("is not empty, and not a prefix (it has %s): choose a new folder", names[0])
	}
	return false, nil
}

// fill copies the template. The prefix counts from the moment on when it is marked.
func (p *Persistent) fill(t *Template, owner Owner) error {
	if err := p.root.WriteFile(unfinished, nil, 0o600); err != nil {
		return err
	}
	if err := copyTree(t.Prefix(), p.root, owner); err != nil {
		return err
	}
	if !owner.self() {
		if err := p.root.Lchown(".", owner.UID, owner.GID); err != nil {
			return err
		}
	}
	if err := p.copyRegistry(".", backups, owner); err != nil {
		return err
	}
	if err := unix.Syncfs(int(p.lock.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := p.mark(t.Runtime, owner); err != nil {
		return err
	}
	return p.root.Remove(unfinished)
}

// fits says whether a runtime can take over what another has made.
func fits(made string, r *Runtime) error {
	var major int
	var how string
	if n, err := fmt.Sscanf(made, "wine %d, 32-bit: %s", &major, &how); err != nil || n != 2 {
		return fmt.Errorf("was made with a runtime that this version of winbox does not know (%q)", made)
	}
	switch {
	case major > r.major():
		return fmt.Errorf("was made with a newer runtime (%q) than %s (%q), and Wine cannot go back: choose that one, or a new folder", made, r.Name, r.kind())
	case how != string(WoW64None) && r.WoW64() == WoW64None:
		return fmt.Errorf("was made with a runtime that runs 32-bit programs (%q), which %s does not (%q): choose that one, or a new folder", made, r.Name, r.kind())
	}
	return nil
}

// upgrade has the runtime's own Wine bring the registry and the folders up to date, as it does for its users: by
// wine.inf, which leaves alone what programs have set. Should it fail or be killed, the registry of before comes back.
func (p *Persistent) upgrade(ctx context.Context, t *Template, owner Owner, run Runner) error {
	draft := backups + "/new"
	if err := errors.Join(p.root.RemoveAll(draft), p.copyRegistry(".", draft, owner)); err != nil {
		return err
	}
	made, err := p.read(madeWith, maxMade)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err = errors.Join(err, p.replace(draft+"/"+madeWith, made, owner, time.Time{})); err == nil {
		err = p.root.Rename(draft, upgrading)
	}
	if err != nil {
		return err
	}
	code, err := run(ctx, t.upgradeSpec(p.Dir, owner))
	if err == nil && code != 0 {
		err = fmt.Errorf("wineboot ended with exit code %d", code)
	}
	if err != nil {
		return errors.Join(err, p.endUpgrade(owner))
	}
	return nil
}

// endUpgrade gives the registry of before an upgrade its lasting name; or puts it back when the prefix still is of the
// Wine that it was.
func (p *Persistent) endUpgrade(owner Owner) error {
	before, err := p.read(upgrading+"/"+madeWith, maxMade)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := p.read(madeWith, maxMade)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if bytes.Equal(before, now) {
		if err := p.copyRegistry(upgrading, ".", owner); err != nil {
			return err
		}
		return p.root.RemoveAll(upgrading)
	}
	return p.root.Rename(upgrading, backups+"/before-upgrade-"+time.Now().UTC().Format("20060102-150405"))
}

// copyRegistry copies the registry files from one folder of the prefix to another.
func (p *Persistent) copyRegistry(from, to string, owner Owner) error {
	if err := p.mkdir(to, owner); err != nil {
		return err
	}
	for _, name := range registryFiles {
		if err := p.backUp(path.Join(from, name), path.Join(to, name), owner); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// upgradeSpec is the container in which Wine brings a prefix up to date.
func (t *Template) upgradeSpec(dir string, owner Owner) *specs.Spec {
	spec := t.base(Options{UID: owner.UID, GID: owner.GID, Rootless: os.Geteuid() != 0})
	spec.Mounts = append(spec.Mounts, persistentMount(dir))
	spec.Mounts = append(spec.Mounts, t.builtinMounts()...)
	env := t.Runtime.baseEnvironment("UTC0")
	env[overrides] = fullBoot + ";" + quietSetup
	spec.Process.Env = settings(env)
	spec.Process.Args = []string{t.Runtime.Loader64, "wineboot.exe", "--update"}
	spec.Process.Cwd = prefixDir
	return spec
}

// persistentMount mounts a persistent prefix.
func persistentMount(dir string) specs.Mount {
	return specs.Mount{Destination: prefixDir, Type: "bind", Source: dir, Options: []string{"rbind", "nosuid", "nodev", "rprivate"}}
}

// refresh replaces what the prefix has of another template: the links to Wine's own files, and winbox's programs and
// settings.
func (p *Persistent) refresh(t *Template, owner Owner) error {
	if err := t.Runtime.linkBuiltins(p.root, owner); err != nil {
		return err
	}
	// What this Wine has and the other had not. Of files that are there already, they are the user's.
	missing := func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if _, err := p.root.Lstat(name); err == nil {
			return nil
		}
		if err := copyEntry(t.Prefix(), name, entry, p.root, owner); err != nil {
			return err
		}
		return nil
	}
	if err := fs.WalkDir(os.DirFS(t.Prefix()), "drive_c/windows", missing); err != nil {
		return err
	}
	if err := p.replace(".update-timestamp", neverUpdate, owner, time.Time{}); err != nil {
		return err
	}
	for name, edit := range registryEdits {
		data, err := p.read(name, maxRegistry)
		if err != nil {
			return err
		}
		r, err := parseRegistry(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		edit(r)
		if err := p.replace(name, r.Bytes(), owner, time.Time{}); err != nil {
			return err
		}
	}
	return errors.Join(t.Runtime.linkFonts(p.root, owner), t.Runtime.install(p.root, owner))
}

// setDisplay makes the user's registry fit a display.
func (p *Persistent) setDisplay(d Display, owner Owner) error {
	data, err := p.read(userRegistry, maxRegistry)
	if err != nil {
		return err
	}
	if data, err = setDisplay(data, d); data == nil || err != nil {
		return err
	}
	return p.replace(userRegistry, data, owner, time.Time{})
}

// maxMade is more than the file madeWith ever has, in bytes.
const maxMade = 200

// maxRegistry is more than a registry file ever has.
const maxRegistry = 512 << 20

// checkRegistry looks whether the registry files are whole, and takes those that are not from the backup. Wine writes a
// registry file beside its name and renames it, which a kill cannot interrupt; but it does not write it to disk, so that
// after a loss of power there can be an empty file, or one of zeros.
func (p *Persistent) checkRegistry(owner Owner, warn func(string)) error {
	left, err := fs.Glob(p.root.FS(), "reg*.tmp") // of a wineserver that was killed
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := p.root.Remove(name); err != nil {
			return err
		}
	}
	if err := p.mkdir(backups, owner); err != nil {
		return err
	}
	for _, name := range registryFiles {
		backup := backups + "/" + name
		now, err := p.root.Lstat(name)
		before, noBackup := p.root.Lstat(backup)
		if err == nil && noBackup == nil && now.Size() == before.Size() && now.ModTime().Equal(before.ModTime()) {
			continue
		}
		if err == nil {
			if err = p.backUp(name, backup, owner); err == nil {
				continue
			}
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errDamaged) {
			return err
		}
		if noBackup != nil {
			if name == "userdef.reg" && errors.Is(err, fs.ErrNotExist) {
				continue // Wine makes it
			}
			return fmt.Errorf("%w, and there is no backup of it", err)
		}
		if err := p.backUp(backup, name, owner); err != nil {
			return err
		}
		warn(fmt.Sprintf("prefix %s: %v; the one of %s is back", p.Dir, err, before.ModTime().Format(time.RFC3339)))
	}
	return nil
}

// errDamaged says that a registry file is not whole.
var errDamaged = errors.New("is damaged")

// backUp copies a registry file if it is whole, with its time, so that the copy is there or not, also after a loss of
// power.
func (p *Persistent) backUp(from, to string, owner Owner) error {
	data, err := p.read(from, maxRegistry)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(data, []byte(registrySignature+"\n")) || !bytes.HasSuffix(data, []byte("\n")) || bytes.IndexByte(data, 0) >= 0 {
		return fmt.Errorf("the registry file %s %w", from, errDamaged)
	}
	info, err := p.root.Lstat(from)
	if err != nil {
		return err
	}
	return p.replace(to, data, owner, info.ModTime())
}

// read reads a regular file of the prefix.
func (p *Persistent) read(name string, limit int64) ([]byte, error) {
	// It may be a link or a pipe by now.
	f, err := p.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", name, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// replace puts a file in the place of another, so that there is the whole of one or of the other, also after a loss of
// power. A zero time is that of now.
func (p *Persistent) replace(name string, data []byte, owner Owner, changed time.Time) error {
	draft := name + ".new"
	if err := p.root.RemoveAll(draft); err != nil {
		return err
	}
	f, err := p.root.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && !owner.self() {
		err = f.Chown(owner.UID, owner.GID)
	}
	if err == nil && !changed.IsZero() {
		err = p.root.Chtimes(draft, changed, changed)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = p.root.Rename(draft, name)
	}
	if err != nil {
		return errors.Join(err, p.root.RemoveAll(draft))
	}
	return nil
}

// mkdir makes a folder unless there is one.
func (p *Persistent) mkdir(name string, owner Owner) error {
	if err := p.root.Mkdir(name, 0o755); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return chown(p.root, name, owner)
}

func chown(root *os.Root, name string, owner Owner) error {
	if owner.self() {
		return nil
	}
	return root.Lchown(name, owner.UID, owner.GID)
}

// copyTree copies folders, links and regular files into an existing folder; a prefix has nothing else.
func copyTree(from string, to *os.Root, owner Owner) error {
	return fs.WalkDir(os.DirFS(from), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		return copyEntry(from, name, entry, to, owner)
	})
}

// copyEntry copies one file, link or folder, the latter without its content.
func copyEntry(from, name string, entry fs.DirEntry, to *os.Root, owner Owner) error {
	source := filepath.Join(from, name)
	var err error
	switch {
	case entry.IsDir():
		err = to.Mkdir(name, 0o755)
	case entry.Type() == fs.ModeSymlink:
		var link string
		if link, err = os.Readlink(source); err == nil {
			err = to.Symlink(link, name)
		}
	case entry.Type().IsRegular():
		err = copyInto(source, to, name)
	default:
		err = fmt.Errorf("%s: neither a file nor a folder nor a link", source)
	}
	if err != nil {
		return err
	}
	return chown(to, name, owner)
}

func copyInto(from string, to *os.Root, name string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// walkPrefix walks a tree of which names may be anything. What has a name that is not UTF-8 is no file of Wine's.
func walkPrefix(root *os.Root, top string, visit func(name string, entry fs.DirEntry) error) error {
	return fs.WalkDir(root.FS(), top, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case !utf8.ValidString(name):
			return skip(entry)
		case err != nil:
			return err
		}
		return visit(name, entry)
	})
}

func skip(entry fs.DirEntry) error {
	if entry != nil && entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}
