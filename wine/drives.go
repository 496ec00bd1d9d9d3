package wine

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// drivesDir is where the container mounts what drive letters other than C: lead to.
const drivesDir = runDir + "/drives"

// A Mount shares a file or folder of the host with the program.
type Mount struct {
	// Source is a path on the host.
	Source string
	// Target is where the program finds it: a drive `E:`, a folder or file on one (`E:\x`, `C:\data`), or an absolute
	// Linux path below /run or /tmp.
	Target string
	// ReadOnly mounts it read-only.
	ReadOnly bool
}

// A target is a drive with a path on it, or a Linux path. The patterns are not compiled at the start of every winbox.
var (
	driveMount  = pattern(`^(.+):([A-Za-z]:(?:[\\/].*)?)$`)
	linuxMount  = pattern(`^(.+):(/.*)$`)
	driveTarget = pattern(`^([A-Za-z]):(?:[\\/](.*))?$`)
)

func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// ParseMount reads SRC:DST[:ro|:rw], as `--mount` takes it.
func ParseMount(s string) (Mount, error) {
	var m Mount
	rest := s
	if cut, ok := strings.CutSuffix(rest, ":ro"); ok {
		m.ReadOnly, rest = true, cut
	} else if cut, ok := strings.CutSuffix(rest, ":rw"); ok {
		rest = cut
	}
	// The drive goes first: `src:E:/x` is a drive, not the Linux path /x.
	match := driveMount().FindStringSubmatch(rest)
	if match == nil {
		match = linuxMount().FindStringSubmatch(rest)
	}
	if match == nil {
		return Mount{}, fmt.Errorf(`mount %q: want SOURCE:TARGET[:ro], with a target such as E:, E:\folder, C:\data or /run/x`, s)
	}
	m.Source, m.Target = match[1], match[2]
	if _, err := parseTarget(m.Target); err != nil {
		return Mount{}, fmt.Errorf("mount %q: %w", s, err)
	}
	return m, nil
}

// Share is the mount of a bundle that shares a file or folder of the host. A home directory, or the root directory, needs
// shareHome.
func (m Mount) Share(shareHome bool) (specs.Mount, error) {
	if _, err := parseTarget(m.Target); err != nil {
		return specs.Mount{}, fmt.Errorf("mount %s: %w", m.Source, err)
	}
	source, err := shareable(m.Source, shareHome)
	options := []string{"rbind", "rnosuid", "rnodev", "rprivate"}
	if m.ReadOnly {
		options = append(options, "rro")
	}
	return specs.Mount{Destination: m.Target, Type: "bind", Source: source, Options: options}, err
}

// target is a parsed Mount.Target.
type target struct {
	drive byte     // lower case, or 0 for a Linux path
	parts []string // below the drive
	linux string   // the Linux path
}

func (t target) String() string {
	if t.drive == 0 {
		return t.linux
	}
	return strings.ToUpper(string(t.drive)) + `:\` + strings.Join(t.parts, `\`)
}

// parseTarget checks a target by itself: letters and names, not what else is mounted.
func parseTarget(s string) (target, error) {
	if strings.HasPrefix(s, "/") {
		clean := path.Clean(s)
		if !strings.HasPrefix(clean, "/run/") && !strings.HasPrefix(clean, "/tmp/") || within(clean, runDir) || within(clean, "/run/user") {
			return target{}, fmt.Errorf("target %s: a Linux path must lie below /run or /tmp (not /run/user or /run/winbox): all else is read-only and shared", s)
		}
		return target{linux: clean}, nil
	}
	match := driveTarget().FindStringSubmatch(s)
	if match == nil {
		return target{}, fmt.Errorf(`target %q is neither a drive (E:), a path on one (E:\folder) nor an absolute Linux path`, s)
	}
	t := target{drive: match[1][0] | 0x20}
	for _, part := range strings.FieldsFunc(match[2], func(c rune) bool { return c == '\\' || c == '/' }) {
		if err := checkName(part); err != nil {
			return target{}, fmt.Errorf("target %q: %w", s, err)
		}
		t.parts = append(t.parts, part)
	}
	return t, nil
}

// checkName refuses what Windows refuses as a file name (Microsoft, "Naming Files, Paths, and Namespaces").
func checkName(name string) error {
	switch {
	case name == "." || name == "..":
		return fmt.Errorf("%q is no name for a mount point: write the path out", name)
	case strings.ContainsAny(name, `<>:"|?*`) || strings.ContainsFunc(name, func(c rune) bool { return c < 32 }):
		return fmt.Errorf(`%q is no Windows file name: it has one of < > : " | ? * or a control character`, name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("%q is no Windows file name: it ends with a dot or a blank", name)
	}
	return nil
}

// ErrSharesHome says that a folder to share is a home directory, or holds some.
var ErrSharesHome = errors.New("refused without --share-home")

// shareable resolves the symbolic links of a path that is to be shared, and refuses the root directory and home
// directories as a whole: one wrong program could then read or destroy everything a user has.
func shareable(name string, shareHome bool) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", fmt.Errorf("share %s: %w", name, err)
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("share %s: %w", name, err)
	}
	if shareHome {
		return resolved, nil
	}
	for _, home := range homes() {
		if within(home, resolved) {
			what := "is a home directory"
			switch {
			case resolved == "/":
				what = "is the whole file system"
			case resolved != home:
				what = "holds home directories"
			}
			return "", fmt.Errorf("share %s: %w: it %s; change to a folder of its own", name, ErrSharesHome, what)
		}
	}
	if path.Dir(resolved) == "/home" {
		return "", fmt.Errorf("share %s: %w: it is a home directory; change to a folder of its own", name, ErrSharesHome)
	}
	return resolved, nil
}

// homes are the home directories known without a look at the user database: the caller's, root's, and the place of
// the others.
func homes() []string {
	list := []string{"/root", "/home"}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) && filepath.Clean(home) != "/" {
		list = append(list, filepath.Clean(home))
		if resolved, err := filepath.EvalSymlinks(home); err == nil && resolved != "/" {
			list = append(list, resolved)
		}
	}
	return list
}

// within says whether the clean absolute path p is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// drives collects what is shared, and where.
type drives struct {
	mounts []driveMountPoint
	used   [26]bool // letters with a mount of their own
	seen   map[string]string
}

// driveMountPoint is one bind mount.
type driveMountPoint struct {
	source   string // resolved host path
	target   target
	readOnly bool
	folder   bool
}

// add adds a share, resolved before.
func (d *drives) add(source string, t target, readOnly bool) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("share %s: %w", source, err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return fmt.Errorf("share %s: neither a folder nor a regular file", source)
	}
	if t.drive == 'c' && len(t.parts) == 0 {
		return errors.New(`drive C: is the prefix's own: mount onto a folder of it, such as C:\data`)
	}
	if t.drive != 0 && len(t.parts) == 0 {
		if !info.IsDir() {
			return fmt.Errorf(`share %s: a drive must be a folder; mount a file onto a path such as %s%s`, source, t, filepath.Base(source))
		}
		d.used[t.drive-'a'] = true
	}
	if d.seen == nil {
		d.seen = make(map[string]string)
	}
	folded := strings.ToLower(t.String())
	if other, clash := d.seen[folded]; clash {
		return fmt.Errorf("share %s: %s is taken by %s already", source, t, other)
	}
	d.seen[folded] = source
	d.mounts = append(d.mounts, driveMountPoint{source, t, readOnly, info.IsDir()})
	return nil
}

// free gives the first letter from E on that nothing uses, for the program's folder.
func (d *drives) free() (byte, error) {
	for c := byte('e'); c <= 'z'; c++ {
		if !d.used[c-'a'] && !d.onDrive(c) {
			return c, nil
		}
	}
	return 0, errors.New("no drive letter is left for the program's folder: mount fewer drives")
}

// onDrive says whether anything is mounted on a drive or below it.
func (d *drives) onDrive(c byte) bool {
	for _, m := range d.mounts {
		if m.target.drive == c {
			return true
		}
	}
	return false
}

// letters are the drives that exist, in order, C: apart.
func (d *drives) letters() []byte {
	var list []byte
	for c := byte('a'); c <= 'z'; c++ {
		if c != 'c' && d.onDrive(c) {
			list = append(list, c)
		}
	}
	return list
}

// linuxPath gives the path in the container at which a Windows path lies. Names are matched without case against what
// the template has of drive C:, as a Windows program would find them.
func linuxPath(t target, driveC string) string {
	switch t.drive {
	case 0:
		return t.linux
	case 'c':
		return path.Join(prefixDir, "drive_c", matchCase(driveC, t.parts))
	}
	return path.Join(drivesDir, string(t.drive), path.Join(t.parts...))
}

// matchCase gives the parts as the folder spells them; from the first that is missing, as they are.
func matchCase(dir string, parts []string) string {
	found := make([]string, 0, len(parts))
	for i, part := range parts {
		name, ok := lookUp(filepath.Join(dir, path.Join(found...)), part)
		if !ok {
			return path.Join(append(found, parts[i:]...)...)
		}
		found = append(found, name)
	}
	return path.Join(found...)
}

// lookUp finds a name in a folder: exactly, or else without regard to case.
func lookUp(dir, name string) (string, bool) {
	if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
		return name, true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", false
	}
	for _, entry := range entries {
		if strings.EqualFold(entry.Name(), name) {
			return entry.Name(), true
		}
	}
	return "", false
}
