package wine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/preload/pe"
)

// runDir is where a container has what winbox gives it: the prefix, the layout and the drives. It lies on a tmpfs, so
// that mount points can be made in it.
const runDir = "/run/winbox"

// prefixDir is where a container has its prefix.
const prefixDir = runDir + "/prefix"

// neverUpdate is the content of .update-timestamp: any other would be compared with the time of wine.inf, and Wine's own
// boot would update the prefix.
var neverUpdate = []byte("disable\n")

// trim takes out of a fresh prefix what belongs to this boot or this host: the name of the server's directory, serial
// ports, drive Z:, and the links from the user's folders to the Linux home.
func (t *Template) trim() error {
	prefix := t.Prefix()
	if err := os.Remove(filepath.Join(prefix, "wineserver")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(prefix, ".update-timestamp"), neverUpdate, 0o644); err != nil {
		return err
	}
	devices, err := os.ReadDir(filepath.Join(prefix, "dosdevices"))
	if err != nil {
		return fmt.Errorf("the boot made no prefix: %w", err)
	}
	for _, d := range devices {
		if d.Name() != "c:" {
			if err := os.Remove(filepath.Join(prefix, "dosdevices", d.Name())); err != nil {
				return err
			}
		}
	}
	// TEMP of the programs (see baseEnvironment); Wine 10 makes another one.
	if err := os.MkdirAll(filepath.Join(t.driveC(), "users", User, "Temp"), 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(filepath.Join(t.driveC(), "users"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() != fs.ModeSymlink {
			return err
		}
		if err := os.Remove(name); err != nil {
			return err
		}
		return os.Mkdir(name, 0o755)
	})
}

// builtinSignature stands in the DOS stub of each of Wine's own PE files, which a prefix holds copies of.
var (
	builtinSignature = []byte("Wine builtin DLL\x00")
	builtinOffset    = int64(0x40)
)

// moduleLinks are links in the template's folder to those that hold the runtime's folders of PE files. In a prefix these
// lie at the top, under the names that they have. The links are there because they are short: see [lowerOptions].
func (t *Template) moduleLinks() []link {
	r := t.Runtime
	links := []link{{"wine64", filepath.Join(r.root, path.Dir(r.WindowsDir))}}
	if r.Windows32Dir != "" && path.Dir(r.Windows32Dir) != path.Dir(r.WindowsDir) {
		links = append(links, link{"wine32", filepath.Join(r.root, path.Dir(r.Windows32Dir))})
	}
	return links
}

// modules are the paths of the links.
func (t *Template) modules() []string {
	var list []string
	for _, l := range t.moduleLinks() {
		list = append(list, filepath.Join(t.Dir, l.at))
	}
	return list
}

// inPrefix is where a container has a folder of PE files of the runtime's, beside drive C:.
func inPrefix(dir string) string { return path.Join(prefixDir, path.Base(dir)) }

// builtinMounts mount the runtime's PE files where the links of a prefix lead that is no overlay.
func (t *Template) builtinMounts() []specs.Mount {
	var mounts []specs.Mount
	for _, dir := range []string{t.Runtime.WindowsDir, t.Runtime.Windows32Dir} {
		if dir != "" {
			mounts = append(mounts, bindFile(filepath.Join(t.Runtime.root, dir), inPrefix(dir)))
		}
	}
	return mounts
}

// linkBuiltins replaces the copies of Wine's own PE files and code pages, some 700 MB, by links to the originals. Wine
// loads them the same way. Links to the originals of another runtime are made to lead to this one's.
func (r *Runtime) linkBuiltins(prefix *os.Root, owner Owner) error {
	pages := filepath.Join(r.DataDir, "nls")
	all := make(map[string]map[string]original) // by the last name of the folder
	for dir, at := range map[string]string{r.WindowsDir: inPrefix(r.WindowsDir), r.Windows32Dir: inPrefix(r.Windows32Dir), pages: pages} {
		if dir == "" {
			continue
		}
		found, err := originals(filepath.Join(r.root, dir), at)
		if err != nil {
			return err
		}
		all[path.Base(dir)] = found
	}
	return walkPrefix(prefix, "drive_c", func(name string, entry fs.DirEntry) error {
		var from original
		switch {
		case entry.Type() == fs.ModeSymlink:
			to, err := prefix.Readlink(name)
			if err != nil {
				return err
			}
			folder := path.Base(path.Dir(to))
			if folder != windows64 && folder != windows32 && folder != "nls" || !path.IsAbs(to) {
				return nil
			}
			if from = all[folder][strings.ToLower(entry.Name())]; from.path == to {
				return nil
			}
		case entry.Type().IsRegular():
			info, err := entry.Info()
			if err != nil {
				return err
			}
			folder := "nls"
			if !strings.EqualFold(path.Ext(name), ".nls") {
				machine, err := builtin(prefix, name)
				if err != nil || machine == 0 {
					return err
				}
				if folder = windows64; machine == pe.MachineI386 {
					folder = windows32
				}
			}
			if from = all[folder][strings.ToLower(entry.Name())]; from.path == "" || info.Size() != from.size {
				return nil
			}
		default:
			return nil
		}
		if err := prefix.Remove(name); err != nil || from.path == "" { // this Wine does not have it any more
			return err
		}
		if err := prefix.Symlink(from.path, name); err != nil {
			return err
		}
		return chown(prefix, name, owner)
	})
}

// The last names of Wine's folders of PE files.
const windows64, windows32 = "x86_64-windows", "i386-windows"

// linkFonts puts Wine's own fonts where Windows has its: Wine 8 of Debian's looks nowhere else, and without a font there
// is no text in any window. The scalable ones have the bitmaps of small sizes in them, for which there are others.
func (r *Runtime) linkFonts(prefix *os.Root, owner Owner) error {
	const at = "drive_c/windows/Fonts"
	switch err := prefix.Mkdir(at, 0o755); {
	case errors.Is(err, fs.ErrExist):
	case err != nil:
		return err
	default:
		if err := chown(prefix, at, owner); err != nil {
			return err
		}
	}
	fonts, err := filepath.Glob(filepath.Join(r.root, r.fontDir(), "*.ttf"))
	if err != nil {
		return err
	}
	for _, font := range fonts {
		name := filepath.Base(font)
		if err := prefix.Symlink(path.Join(r.fontDir(), name), path.Join(at, name)); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := chown(prefix, path.Join(at, name), owner); err != nil {
			return err
		}
	}
	return nil
}

// An original is one of the runtime's own files, which a prefix may have a copy of.
type original struct {
	path string // in the container
	size int64
}

// originals lists the files of a folder by their names in lower case; the container has the folder elsewhere.
func originals(dir, at string) (map[string]original, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := make(map[string]original, len(entries))
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		found[strings.ToLower(entry.Name())] = original{path.Join(at, entry.Name()), info.Size()}
	}
	return found, nil
}

// builtin gives the machine of a file that carries Wine's signature, and 0 for any other.
func builtin(prefix *os.Root, name string) (pe.Machine, error) {
	f, err := prefix.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var head [0x200]byte
	n, _ := f.ReadAt(head[:], 0) // what is missing is zero
	if n < 0x40 || !bytes.HasPrefix(head[builtinOffset:], builtinSignature) {
		return 0, nil
	}
	if at := int(binary.LittleEndian.Uint32(head[0x3c:])); at >= 0 && at < len(head)-6 && binary.LittleEndian.Uint16(head[at+4:]) == uint16(pe.MachineI386) {
		return pe.MachineI386, nil
	}
	return pe.MachineAMD64, nil
}

// bootProgram is where a prefix has the boot program, and bootPath the name that Windows programs have for it.
const (
	bootProgram = "drive_c/windows/system32/wineboot.exe"
	bootPath    = `C:\windows\system32\wineboot.exe`
)

// install puts winbox's own files into a prefix.
func (r *Runtime) install(prefix *os.Root, owner Owner) error {
	const windows, system32 = "drive_c/windows", "drive_c/windows/system32"
	for name, program := range map[string][]byte{
		bootProgram:                      bootAMD64,
		system32 + "/explorer.exe":       explorerAMD64,
		system32 + "/winbox-volumes.exe": volumesAMD64,
		path.Join(windows, path.Base(strings.ReplaceAll(crashProgram, `\`, "/"))): crashAMD64,
	} {
		if err := replaceFile(prefix, name, program, owner); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		from, to string
		dll      []byte
	}{
		{r.WindowsDir, system32, bcryptAMD64},
		{r.Windows32Dir, windows + "/syswow64", bcryptI386},
	} {
		const name = "bcryptprimitives.dll"
		if part.from == "" || isFile(filepath.Join(r.root, part.from, name)) { // Wine 9 and later have their own
			continue
		}
		if err := replaceFile(prefix, path.Join(part.to, name), part.dll, owner); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file anew, so that a link of its name is replaced and not followed.
func replaceFile(prefix *os.Root, name string, data []byte, owner Owner) error {
	if err := prefix.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := prefix.WriteFile(name, data, 0o644); err != nil {
		return err
	}
	return chown(prefix, name, owner)
}

// registryEdits are winbox's settings, by the file that they are in.
var registryEdits = map[string]func(*registry){"system.reg": editSystem, "user.reg": editUser}

// editRegistry makes the settings of the template: see [editSystem] and [editUser].
func (t *Template) editRegistry() error {
	for name, edit := range registryEdits {
		file := filepath.Join(t.Prefix(), name)
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("the boot left no registry (the wineserver must be waited for, not killed): %w", err)
		}
		r, err := parseRegistry(data)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		edit(r)
		if err := os.WriteFile(file, r.Bytes(), 0o644); err != nil {
			return err
		}
		if name == "system.reg" {
			if err := t.writeLean(r); err != nil {
				return err
			}
		}
	}
	return nil
}
