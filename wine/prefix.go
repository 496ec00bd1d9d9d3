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

	"winbox/preload/pe"
)

// runDir is where a container has what winbox gives it: the prefix, the layout and the drives. It lies on a tmpfs, so
// that mount points can be made in it.
const runDir = "/run/winbox"

// prefixDir is where a container has its prefix.
const prefixDir = runDir + "/prefix"

// trim takes out of a fresh prefix what belongs to this boot or this host: the name of the server's directory, serial
// ports, drive Z:, and the links from the user's folders to the Linux home.
func (t *Template) trim() error {
	prefix := t.Prefix()
	if err := os.Remove(filepath.Join(prefix, "wineserver")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Any other content would be compared with the time of wine.inf, and Wine's own boot would update the prefix.
	if err := os.WriteFile(filepath.Join(prefix, ".update-timestamp"), []byte("disable\n"), 0o644); err != nil {
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

// linkBuiltins replaces the copies of Wine's own PE files and code pages, some 700 MB, by links to the originals, which
// every container sees at the same place. Wine loads them the same way.
func (t *Template) linkBuiltins() error {
	r := t.Runtime
	pages := filepath.Join(r.DataDir, "nls")
	originals64, err := originals(r.root, r.WindowsDir, pages)
	if err != nil {
		return err
	}
	originals32, err := originals(r.root, r.Windows32Dir, pages)
	if err != nil {
		return err
	}
	return filepath.WalkDir(t.driveC(), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		candidates := originals64
		if !strings.EqualFold(filepath.Ext(name), ".nls") {
			ok, is32Bit, err := builtin(name)
			if err != nil || !ok {
				return err
			}
			if is32Bit {
				candidates = originals32
			}
		}
		from, ok := candidates[strings.ToLower(entry.Name())]
		if !ok || info.Size() != from.size {
			return nil
		}
		if err := os.Remove(name); err != nil {
			return err
		}
		return os.Symlink(from.path, name)
	})
}

// linkFonts puts Wine's own fonts where Windows has its: Wine 8 of Debian's looks nowhere else, and without a font there
// is no text in any window. The scalable ones have the bitmaps of small sizes in them, for which there are others.
func (t *Template) linkFonts() error {
	at := filepath.Join(t.driveC(), "windows", "Fonts")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	fonts, err := filepath.Glob(filepath.Join(t.Runtime.root, t.Runtime.fontDir(), "*.ttf"))
	if err != nil {
		return err
	}
	for _, font := range fonts {
		name := filepath.Base(font)
		if err := os.Symlink(path.Join(t.Runtime.fontDir(), name), filepath.Join(at, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// An original is one of the runtime's own files, which a prefix may have a copy of.
type original struct {
	path string
	size int64
}

// originals lists the files of some folders by their names in lower case. An empty folder name is left out.
func originals(root string, dirs ...string) (map[string]original, error) {
	found := make(map[string]original)
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil {
				return nil, err
			}
			found[strings.ToLower(entry.Name())] = original{filepath.Join(dir, entry.Name()), info.Size()}
		}
	}
	return found, nil
}

// builtin says whether a file carries Wine's signature, and whether it is for 32-bit programs.
func builtin(name string) (ok, is32Bit bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	var head [0x200]byte
	n, _ := f.ReadAt(head[:], 0) // what is missing is zero
	if n < 0x40 || !bytes.HasPrefix(head[builtinOffset:], builtinSignature) {
		return false, false, nil
	}
	at := int(binary.LittleEndian.Uint32(head[0x3c:]))
	return true, at >= 0 && at < len(head)-6 && binary.LittleEndian.Uint16(head[at+4:]) == uint16(pe.MachineI386), nil
}

// install puts winbox's own files into the prefix.
func (t *Template) install() error {
	system32 := filepath.Join(t.driveC(), "windows", "system32")
	for name, program := range map[string][]byte{"wineboot.exe": bootAMD64, "explorer.exe": explorerAMD64} {
		if err := replaceFile(filepath.Join(system32, name), program); err != nil {
			return err
		}
	}
	if err := replaceFile(filepath.Join(t.driveC(), "windows", path.Base(strings.ReplaceAll(crashProgram, `\`, "/"))), crashAMD64); err != nil {
		return err
	}
	for _, part := range []struct {
		from, to string
		dll      []byte
	}{
		{t.Runtime.WindowsDir, system32, bcryptAMD64},
		{t.Runtime.Windows32Dir, filepath.Join(t.driveC(), "windows", "syswow64"), bcryptI386},
	} {
		const name = "bcryptprimitives.dll"
		if part.from == "" || isFile(filepath.Join(t.Runtime.root, part.from, name)) { // Wine 9 and later have their own
			continue
		}
		if err := replaceFile(filepath.Join(part.to, name), part.dll); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file anew, so that a link of its name is replaced and not followed.
func replaceFile(name string, data []byte) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// editRegistry makes the settings of the template: see [editSystem] and [editUser].
func (t *Template) editRegistry() error {
	for name, edit := range map[string]func(*registry){"system.reg": editSystem, "user.reg": editUser} {
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
	}
	return nil
}
