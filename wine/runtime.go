package wine

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Machine names, as Go spells them.
const (
	AMD64 = "amd64"
	I386  = "386"
)

// A Runtime is an installed Wine. Its paths are those that the container sees; for the host's own Wine they are the
// host's paths too.
type Runtime struct {
	// Name says which installation it is: "host" for the distribution's, "opt-wine-stable" and so on for WineHQ's, or what
	// the store calls it.
	Name string
	// Version is what wine.inf says, such as "8.0".
	Version string
	// Loader64 is the 64-bit Wine loader, Loader32 the i386 one or empty.
	Loader64, Loader32 string
	// Preloader64 and Preloader32 are where the loaders look for their preloader when they start a child process. The
	// files need not exist: the container mounts its own there.
	Preloader64, Preloader32 string
	// Server is the wineserver binary. Debian's `wineserver` is a shell script around it, which a container without a
	// shell cannot run.
	Server string
	// UnixDir, WindowsDir and Windows32Dir hold Wine's ELF modules and its 64-bit and 32-bit PE modules.
	// Windows32Dir is empty where there is no 32-bit part.
	UnixDir, WindowsDir, Windows32Dir string
	// DataDir is Wine's share folder: NLS tables, fonts, wine.inf.
	DataDir string
	// Libraries are the folders that the dynamic linker of the loaders searches.
	Libraries []string
	// Interpreters are the symbolic links or files at the paths that ELF files name as their interpreter, each with
	// what it leads to in one of Libraries.
	Interpreters map[string]string
	// Digest tells this state of the installation from any other, and what winbox adds to it: a template is for one digest.
	Digest string

	files files  // where the files are looked up
	root  string // the folder that they are in: "/" for the host's Wine
	built bool   // it is one of a store's
	// keepsReserved says that its 32-bit ntdll was changed as [Record.KeepsReserved] says.
	keepsReserved bool
	// smallestStack is [Record.SmallestStack].
	smallestStack uint64
}

// layout is one way in which distributions lay Wine out, relative to the root.
type layout struct {
	name                                    string
	loader64, server                        []string
	loader32                                string
	unixDir, windowsDir, windows32, dataDir []string
}

// hostName is the name of the Wine that the distribution has installed.
const hostName = "host"

// layouts, most specific first. Debian and Ubuntu: packages wine64, libwine; Fedora: wine-core; Arch: wine;
// /opt: the packages of dl.winehq.org.
func layouts() []layout {
	ls := []layout{
		{
			name:       hostName,
			loader64:   []string{"/usr/lib/wine/wine64", "/usr/lib/wine/wine"},
			loader32:   "/usr/lib/wine/wine",
			server:     []string{"/usr/lib/wine/wineserver64", "/usr/lib/wine/wineserver32"},
			unixDir:    []string{"/usr/lib/x86_64-linux-gnu/wine/x86_64-unix"},
			windowsDir: []string{"/usr/lib/x86_64-linux-gnu/wine/x86_64-windows"},
			windows32:  []string{"/usr/lib/i386-linux-gnu/wine/i386-windows", "/usr/lib/x86_64-linux-gnu/wine/i386-windows"},
			dataDir:    []string{"/usr/share/wine"},
		},
		{
			name:       hostName,
			loader64:   []string{"/usr/bin/wine64", "/usr/bin/wine"},
			loader32:   "/usr/bin/wine32",
			server:     []string{"/usr/bin/wineserver64", "/usr/bin/wineserver"},
			unixDir:    []string{"/usr/lib64/wine/x86_64-unix", "/usr/lib/wine/x86_64-unix"},
			windowsDir: []string{"/usr/lib64/wine/x86_64-windows", "/usr/lib/wine/x86_64-windows"},
			windows32:  []string{"/usr/lib/wine/i386-windows", "/usr/lib32/wine/i386-windows", "/usr/lib64/wine/i386-windows"},
			dataDir:    []string{"/usr/share/wine"},
		},
	}
	for _, branch := range []string{"stable", "devel", "staging"} {
		opt := "/opt/wine-" + branch
		ls = append(ls, layout{
			name:       "opt-wine-" + branch,
			loader64:   []string{opt + "/bin/wine64", opt + "/bin/wine"},
			loader32:   opt + "/bin/wine",
			server:     []string{opt + "/bin/wineserver"},
			unixDir:    []string{opt + "/lib64/wine/x86_64-unix", opt + "/lib/wine/x86_64-unix"},
			windowsDir: []string{opt + "/lib64/wine/x86_64-windows", opt + "/lib/wine/x86_64-windows"},
			windows32:  []string{opt + "/lib/wine/i386-windows", opt + "/lib64/wine/i386-windows"},
			dataDir:    []string{opt + "/share/wine"},
		})
	}
	return ls
}

// Host finds the host's Wine by looking where distributions put it. It starts nothing and takes well under a
// millisecond.
//
// # Errors
//
// [ErrNoWine], with the command that installs it on this distribution, when there is none.
func Host() (*Runtime, error) { return hostAt("/") }

func hostAt(root string) (*Runtime, error) {
	for _, l := range layouts() {
		if r := l.find(hostFiles(root)); r != nil {
			r.root = root
			var err error
			r.Digest, err = r.digest()
			if err != nil {
				return nil, err
			}
			return r, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoWine, installHint(root, AMD64))
}

// ErrNoWine says that no Wine with a 64-bit part was found.
var ErrNoWine = errors.New("no 64-bit Wine found on this host")

// files is where a Wine is looked for: the host's root directory, or the root file system of a container, as
// [oci.Files] shows it.
type files interface {
	// Open opens a regular file and gives its path without links.
	Open(name string) (file *os.File, resolved string, err error)
}

// hostFiles is a directory of the host as root.
type hostFiles string

func (root hostFiles) Open(name string) (*os.File, string, error) {
	file, err := os.Open(filepath.Join(string(root), name))
	return file, name, err
}

// hasFile says whether there is a regular file with something in it: an empty one is what a mount has left.
func hasFile(in files, name string) bool {
	f, _, err := in.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}

// inFiles finds the Wine of a container's root file system; nil when it has none.
func inFiles(in files) *Runtime {
	for _, l := range layouts() {
		if r := l.find(in); r != nil {
			return r
		}
	}
	return nil
}

// find gives the runtime that a layout describes, or nil.
func (l layout) find(root files) *Runtime {
	r := &Runtime{
		Name:       l.name,
		Loader64:   firstELF(root, l.loader64, elfClass64),
		Server:     firstELF(root, l.server, 0),
		UnixDir:    firstHaving(root, l.unixDir, "ntdll.so"),
		WindowsDir: firstHaving(root, l.windowsDir, "ntdll.dll"),
		DataDir:    firstHaving(root, l.dataDir, "wine.inf"),
		files:      root,
	}
	if r.Loader64 == "" || r.Server == "" || r.UnixDir == "" || r.WindowsDir == "" || r.DataDir == "" {
		return nil
	}
	r.Preloader64 = preloaderOf(r.Loader64)
	// A folder i386-windows alone proves nothing (Debian's libz-mingw-w64 puts a DLL there): ntdll.dll does.
	r.Windows32Dir = firstHaving(root, l.windows32, "ntdll.dll")
	if r.Windows32Dir != "" {
		if p := firstELF(root, []string{l.loader32}, elfClass32); p != "" {
			r.Loader32, r.Preloader32 = p, preloaderOf(p)
		}
	}
	r.Version = infVersion(root, path.Join(r.DataDir, "wine.inf"))
	r.findLibraries()
	return r
}

// preloaderOf gives the file that Wine's ntdll.so executes to start a child: beside the loader, named after whether
// the loader's name ends in 64 (Wine 8; Wine 10 appends "-preloader", which comes to the same).
func preloaderOf(loader string) string {
	name := "wine-preloader"
	if strings.HasSuffix(loader, "64") {
		name = "wine64-preloader"
	}
	return path.Join(path.Dir(loader), name)
}

// libraryDirs are where dynamic linkers look by default: multiarch (Debian), then lib64 (Fedora, SUSE) and lib (Arch).
// On Debian /usr/lib64 holds nothing but the interpreter's link, and /usr/lib far too much.
var libraryDirs = []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"}

// interpreters are the paths that x86 ELF files name (System V ABI supplements).
var interpreters = []string{"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux.so.2"}

func (r *Runtime) findLibraries() {
	for _, dir := range libraryDirs {
		if hasFile(r.files, path.Join(dir, "libc.so.6")) {
			r.Libraries = append(r.Libraries, dir)
			break
		}
	}
	if r.Loader32 != "" {
		for _, dir := range []string{"/usr/lib/i386-linux-gnu", "/usr/lib32", "/usr/lib"} {
			if firstELF(r.files, []string{dir + "/libc.so.6"}, elfClass32) != "" {
				r.Libraries = append(r.Libraries, dir)
				break
			}
		}
	}
	r.Interpreters = make(map[string]string)
	for _, link := range interpreters {
		for _, dir := range r.Libraries {
			target := path.Join(dir, path.Base(link))
			if hasFile(r.files, target) {
				r.Interpreters[link] = target
				break
			}
		}
	}
}

// Supports says whether the runtime can run programs for this machine ([AMD64] or [I386]); the error explains what to
// install.
func (r *Runtime) Supports(machine string) error {
	switch {
	case machine == AMD64:
		return nil
	case machine != I386:
		return fmt.Errorf("programs for machine %q cannot run: Wine runs %s and %s programs only", machine, AMD64, I386)
	case r.WoW64() != WoW64None:
		return nil
	}
	e := &No32BitError{Runtime: r.Name, Version: r.Version, Lacks: "has no 32-bit part"}
	if r.Windows32Dir != "" {
		e.Lacks = "needs its i386 loader for 32-bit programs, which is missing"
	}
	if !r.built {
		e.Hint = ", or " + installHint(r.root, I386)
	}
	return e
}

// A No32BitError says that a runtime cannot run 32-bit programs.
type No32BitError struct {
	// Runtime is its name, Version that of its Wine.
	Runtime, Version string
	// Lacks is what it does not have, and Hint another way to get it than to build a runtime.
	Lacks, Hint string
}

func (e *No32BitError) Error() string {
	return fmt.Sprintf("a 32-bit program, and the runtime %s (Wine %s) %s: build one that runs it with `winbox runtime build`%s", e.Runtime, e.Version, e.Lacks, e.Hint)
}

// Loader gives the ELF loader for a machine and the path of its preloader. A loader of another machine does not run the
// program by itself: see [Runtime.command].
func (r *Runtime) Loader(machine string) (loader, preloader string, err error) {
	if err := r.Supports(machine); err != nil {
		return "", "", err
	}
	if machine == I386 && r.Loader32 != "" {
		return r.Loader32, r.Preloader32, nil
	}
	return r.Loader64, r.Preloader64, nil
}

// newWoW64 says whether the 64-bit part alone can run 32-bit programs: Wine 9 and later.
func (r *Runtime) newWoW64() bool { return r.major() >= 9 }

// major is the first number of the version, 0 when there is none.
func (r *Runtime) major() int {
	var major int
	fmt.Sscanf(r.Version, "%d", &major) // 0 when it is no number, which is what is wanted
	return major
}

// digest covers what changes when a package is updated: version, paths, and size and time of the key files. Contents
// are not read: it is computed at each start.
func (r *Runtime) digest() (string, error) {
	h := new(bytes.Buffer)
	fmt.Fprintf(h, "version %s\n", r.Version)
	for _, p := range []string{
		r.Loader64, r.Loader32, r.Server, r.UnixDir, r.WindowsDir, r.Windows32Dir,
		path.Join(r.UnixDir, "ntdll.so"), path.Join(r.WindowsDir, "ntdll.dll"), path.Join(r.WindowsDir, "kernel32.dll"),
		path.Join(r.DataDir, "wine.inf"),
	} {
		if p == "" {
			continue
		}
		info, err := os.Stat(filepath.Join(r.root, p))
		if err != nil {
			return "", fmt.Errorf("identify Wine %s: %w", r.Version, err)
		}
		size := info.Size()
		if info.IsDir() {
			size = 0 // the size of a directory is the file system's business
		}
		fmt.Fprintf(h, "%s %d %d\n", p, size, info.ModTime().UnixNano())
	}
	if isFile(filepath.Join(r.root, r.fontDir(), "tahoma.ttf")) { // they may come later
		h.WriteString("fonts\n")
	}
	return templateDigest(h.Bytes()), nil
}

// fontDir has Wine's own fonts, where they are installed (Debian: the package fonts-wine).
func (r *Runtime) fontDir() string { return path.Join(r.DataDir, "fonts") }

// templateDigest adds what a template has of winbox's own to what identifies a Wine.
func templateDigest(wine []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "template %d\n", templateFormat)
	for _, blob := range [][]byte{wine, bootAMD64, explorerAMD64, volumesAMD64, crashAMD64, pipesAMD64, bcryptAMD64, bcryptI386, stopAMD64, stopI386} {
		sum := sha256.Sum256(blob)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// infVersion reads the version from the head of wine.inf (";; Version: Wine 8.0"), which costs less than to run Wine.
func infVersion(root files, name string) string {
	f, _, err := root.Open(name)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for n := 0; n < 10 && sc.Scan(); n++ {
		if v, ok := strings.CutPrefix(sc.Text(), ";; Version: Wine "); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// ELF file classes (EI_CLASS of the ELF header); 0 matches either.
const (
	elfClass32 = 1
	elfClass64 = 2
)

// firstELF gives the first of the paths that is an ELF file of the class: a shell wrapper of that name does not count.
func firstELF(root files, paths []string, class byte) string {
	for _, p := range paths {
		if p == "" {
			continue
		}
		f, _, err := root.Open(p)
		if err != nil {
			continue
		}
		var head [5]byte
		n, _ := f.Read(head[:])
		f.Close()
		if n == len(head) && string(head[:4]) == "\x7fELF" && (class == 0 || head[4] == class) {
			return p
		}
	}
	return ""
}

// firstHaving gives the first of the folders that holds a regular file of this name.
func firstHaving(root files, dirs []string, name string) string {
	for _, dir := range dirs {
		if hasFile(root, path.Join(dir, name)) {
			return dir
		}
	}
	return ""
}
