package wine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A program of a bundle and its files have Linux paths, and Windows programs need drives. What the program needs of the
// container's root is shown on one drive, by links in a folder of the prefix: the top-level folders of the program and of
// the current directory, and the volumes. Nothing else of the image is on a drive, unless the annotation io.winbox.drives
// puts it there.

// shown are the parts of a container's root that drives show.
type shown struct {
	// letter is the drive of what is shown by links; 0 when a drive of the annotation shows all.
	letter byte
	// view is the path in the container by which the drive shows its folder; empty for the folder itself.
	view string
	// writable says that a volume can be written to of those that it shows.
	writable bool
	// links are the absolute paths that it has, at the same places.
	links []string
	// given are the drives of the annotation.
	given []givenDrive
}

// givenDrive is a drive that the annotation io.winbox.drives asks for.
type givenDrive struct {
	letter byte
	path   string
}

// parseDrives reads the annotation io.winbox.drives: LETTER=PATH, separated by commas.
func parseDrives(s string) ([]givenDrive, error) {
	if s == "" {
		return nil, nil
	}
	var list []givenDrive
	for part := range strings.SplitSeq(s, ",") {
		letter, at, _ := strings.Cut(part, "=")
		letter = strings.ToLower(strings.TrimSuffix(letter, ":"))
		switch {
		case len(letter) != 1 || letter < "a" || letter > "z" || !path.IsAbs(at):
			return nil, fmt.Errorf("%q: want LETTER=PATH[,...], such as z=/", part)
		case letter == "c":
			return nil, fmt.Errorf("%q: drive C: is the prefix's own", part)
		case slices.ContainsFunc(list, func(d givenDrive) bool { return d.letter == letter[0] }):
			return nil, fmt.Errorf("%q: drive %s: is there twice", part, strings.ToUpper(letter))
		}
		list = append(list, givenDrive{letter[0], path.Clean(at)})
	}
	return list, nil
}

// choose settles which drive shows the root, once the letters of the mounts are known.
func (s *shown) choose(taken *drives) error {
	for _, d := range s.given {
		if taken.onDrive(d.letter) {
			return fmt.Errorf("annotations: %s: a mount has drive %c: already", annotationDrives, d.letter-0x20)
		}
		if d.path == "/" {
			return nil
		}
	}
	for c := byte('d'); c <= 'z'; c++ {
		if !taken.onDrive(c) && !slices.ContainsFunc(s.given, func(d givenDrive) bool { return d.letter == c }) {
			s.letter = c
			return nil
		}
	}
	return errors.New("no drive letter is left for the program's folder: mount fewer drives")
}

// base is the Linux path of the root of a drive that shows a part of the container's root, in the container.
func (s *shown) base(letter byte) (string, bool) {
	for _, d := range s.given {
		if d.letter == letter {
			return d.path, true
		}
	}
	return "/", letter == s.letter && letter != 0
}

// folder is where the links of the drive lie in a prefix.
func (s *shown) folder() string { return "drive_" + string(s.letter) }

// windows gives the path by which Windows knows an absolute path of the container.
func (s *shown) windows(name string) (string, error) {
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if err := checkName(part); name != "/" && (err != nil || strings.Contains(part, `\`)) {
			return "", fmt.Errorf("%q: a Windows program cannot have this path", name)
		}
	}
	letter, rel := s.letter, strings.TrimPrefix(name, "/")
	places := []givenDrive{{'c', path.Join(prefixDir, "drive_c")}}
	for c := byte('a'); c <= 'z'; c++ {
		places = append(places, givenDrive{c, path.Join(drivesDir, string(c))})
	}
	for _, d := range append(places, s.given...) {
		if within(name, d.path) && (d.path != "/" || letter == 0) {
			letter, rel = d.letter, strings.TrimPrefix(strings.TrimPrefix(name, d.path), "/")
			break
		}
	}
	return strings.ToUpper(string(letter)) + `:\` + windowsPath(rel), nil
}

// linux gives a path that leads to the same file, or to the same folder, and that begins with the root of a drive: Wine finds
// out by that which Windows path the current directory has.
func (s *shown) linux(name string) string {
	if s.letter == 0 || within(name, runDir) {
		return name
	}
	for _, d := range s.given {
		if within(name, d.path) {
			return name
		}
	}
	return path.Join(prefixDir, s.folder(), name)
}

// top shows the top-level folder of a path.
func (s *shown) top(name string) {
	if first, _, _ := strings.Cut(strings.TrimPrefix(path.Clean(name), "/"), "/"); first != "" {
		s.links = append(s.links, "/"+first)
	}
}

// kernelFolders hold what runtimes and engines mount for Linux programs.
var kernelFolders = []string{"/proc", "/sys", "/dev", "/run", "/etc"}

// volumes shows what is mounted for the program: bind mounts outside the folders of the kernel and the engine.
func (s *shown) volumes(mounts []specs.Mount) {
	for _, m := range mounts {
		at := path.Clean(m.Destination)
		bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
		if !bind || !path.IsAbs(at) || at == "/" || slices.ContainsFunc(kernelFolders, func(dir string) bool { return within(at, dir) }) {
			continue
		}
		s.links = append(s.links, at)
		s.writable = s.writable || !readOnlyMount(&m)
	}
}

// readOnlyMount says whether a mount's options make it read-only.
func readOnlyMount(m *specs.Mount) bool {
	return slices.Contains(m.Options, "ro") || slices.Contains(m.Options, "rro")
}

// make makes the drives in a prefix that belongs to a user of the host. What a persistent prefix has of an earlier container
// stays.
func (s *shown) make(prefix *os.Root, owner Owner) error {
	for _, d := range s.given {
		if err := prefix.Symlink(d.path, path.Join("dosdevices", string(d.letter)+":")); err != nil {
			return err
		}
	}
	if s.letter == 0 {
		return nil
	}
	to := s.view
	if to == "" {
		to = "../" + s.folder()
	}
	if err := prefix.Symlink(to, path.Join("dosdevices", string(s.letter)+":")); err != nil {
		return err
	}
	if err := makeOwn(prefix, s.folder(), owner); err != nil {
		return err
	}
	// The shorter path first: what lies below it is seen through its link.
	slices.Sort(s.links)
	var done []string
	for _, link := range s.links {
		if slices.ContainsFunc(done, func(have string) bool { return within(link, have) }) {
			continue
		}
		dir := s.folder()
		for part := range strings.SplitSeq(strings.TrimPrefix(path.Dir(link), "/"), "/") {
			if part == "" {
				continue
			}
			dir = path.Join(dir, part)
			if err := makeOwn(prefix, dir, owner); err != nil {
				return err
			}
		}
		if err := prefix.Symlink(link, path.Join(s.folder(), link)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		done = append(done, link)
	}
	return nil
}

// makeOwn makes a folder that belongs to a user, unless it is there.
func makeOwn(prefix *os.Root, dir string, owner Owner) error {
	if err := prefix.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return chown(prefix, dir, owner)
}
