package wine

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"winbox/preload/pe"
)

// WoW64 says how a runtime runs 32-bit programs.
type WoW64 string

const (
	// WoW64None is no 32-bit part at all.
	WoW64None WoW64 = "none"
	// WoW64I386 is an i386 Wine beside the 64-bit one: a 32-bit program is a 32-bit Linux process.
	WoW64I386 WoW64 = "i386"
	// WoW64New is Wine's new WoW64: 32-bit DLLs in the 64-bit Wine. A 32-bit program lives in the low 4 GiB of a 64-bit
	// process, and nothing of the runtime needs a kernel that runs 32-bit code of Linux.
	WoW64New WoW64 = "new"
)

func (w WoW64) check() error {
	switch w {
	case WoW64None, WoW64I386, WoW64New:
		return nil
	}
	return fmt.Errorf("32-bit programs by %q: want %s, %s or %s", string(w), WoW64I386, WoW64New, WoW64None)
}

// WoW64 tells how the runtime runs 32-bit programs.
func (r *Runtime) WoW64() WoW64 {
	switch {
	case r.Windows32Dir == "":
		return WoW64None
	case r.Loader32 != "":
		return WoW64I386
	case r.newWoW64():
		return WoW64New
	}
	return WoW64None
}

// unneededUnix are the ELF modules that a runtime does without: each asks for hardware, a sound server or a media
// library that no container has.
var unneededUnix = []string{
	"avicap32", "capi2032", "ctapi32", "gphoto2", "opencl", "qcap", "sane", "winealsa", "winebth", "winebus", "winedmo",
	"winegstreamer", "wineoss", "winepulse", "wineusb", "winewayland", "winscard", "wpcap",
	"winevulkan", // needs libvulkan.so.1 of a graphics driver; its DLL tells programs that there is no device
	"wineps",
}

// unneededPE are patterns of the PE modules that a runtime does without, unless all are asked for.
var unneededPE = []string{
	// Not part of Windows either: installers of games bring what they need of the DirectX SDK.
	"d3dx9_*", "d3dx10*", "d3dx11*", "d3dcompiler_3?.dll", "d3dcompiler_4[0-6].dll", "xactengine*", "xaudio2_[0-7].dll",
	"x3daudio*", "xapofx*",
	// Games over networks, DirectMusic, and Direct3D's retained mode.
	"dplay*", "dpn*", "dpv*", "dpwsock*", "dpmodem*", "dm*.dll", "dswave.dll", "dx8vb.dll", "dxdiag*", "d3drm.dll",
	"gameux.dll", "windows.gaming.*", "joy.cpl",
	// Of no use without Gecko, which a runtime does not have, or without a media library.
	"mshtml*", "ieframe.dll", "iexplore.exe", "inetcpl.cpl", "shdoclc.dll", "dhtmled.ocx", "hhctrl.ocx", "hh.exe",
	"winegstreamer*", "winedmo*", "wmp*", "wmvcore.dll", "wmadmod.dll", "wmvdecod.dll", "wmasf.dll", "mp3dmod.dll",
	"mf*srcsnk.dll", "mfh264enc.dll", "msmpeg2vdec.dll", "msauddecmft.dll", "l3codec*", "sapi.dll", "windows.media.*",
	// Hardware: scanners, cameras, telephones, Bluetooth, USB, game pads.
	"twain*", "gphoto2*", "sane*", "wia*", "sti.dll", "capi2032*", "ctapi32*", "winebth*", "winebus*", "wineusb*",
	"winehid*", "wpcap*", "opencl*", "qcap*", "winealsa*", "winepulse*", "wineoss*", "winewayland*",
	// Debugging and other editions of the C library, the layer for Windows 95, printing in PostScript, drivers of macOS.
	"msvcrtd.dll", "msvc?120_app.dll", "unicows.dll", "wineps*", "winemac*",
	// Filters of DirectShow and Media Foundation that only read what a media library has taken apart; found by their class
	// alone.
	"amstream.dll", "qasf.dll", "qdvd.dll", "qedit.dll", "dsdmo.dll", "colorcnv.dll", "resampledmo.dll", "msvproc.dll",
	// Parts of .NET that only Mono's have a use for.
	"fusion.dll", "diasymreader.dll", "mscorwks.dll", "aspnet_regiis.exe", "servicemodelreg.exe", "presentationfontcache.exe",
	// Wine's own desktop: its debugger (a crash is reported otherwise), theme, menus, settings, accessories.
	"winemenubuilder.exe", "winedbg.exe", "dbgeng.dll", "light.msstyles", "winecfg.exe", "taskmgr.exe", "winefile.exe", "oleview.exe",
	"progman.exe", "winhlp32.exe", "wordpad.exe", "winemine.exe", "cards.dll", "view.exe", "clock.exe",
}

// unneeded64 are those of which a runtime needs no 64-bit form: Microsoft has never made one, nor a compiler that uses it.
var unneeded64 = []string{"msvcr70.dll", "msvcr71.dll", "msvcp70.dll", "msvcp71.dll", "crtdll.dll", "msvcrt[24]0.dll"}

// unneeded32 are those of which a runtime needs no 32-bit form.
var unneeded32 = []string{
	// 16-bit Windows, which no 64-bit Windows runs either.
	"*16", "*.vxd", "winevdm.exe", "w32skrnl.dll", "wow32.dll", "ctl3d32.dll",
	// Drivers, services and what starts them: the 64-bit ones are there for all programs.
	"*.sys", "ntoskrnl.exe", "hal.dll", "winedevice.exe", "services.exe", "plugplay.exe", "rpcss.exe", "svchost.exe",
	"spoolsv.exe", "spoolss.dll", "termsv.exe", "wuauserv.exe", "wuaueng.dll", "schedsvc.dll", "qmgr.dll", "fntcache.dll", "wevtsvc.dll",
	"srvsvc.dll", "scardsvr.dll", "netcfgx.dll",
}

// matches says whether one of our patterns matches a name.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		match, _ := path.Match(pattern, name)
		return match
	})
}

// dlopened are the libraries that Wine's ELF modules look for while they run.
var dlopened = []string{
	"libgcc_s.so.1", // the C library's, when a thread is cancelled
	"libgnutls.so.30", "libfreetype.so.6", "libfontconfig.so.1",
	"libX11.so.6", "libXext.so.6", "libXcomposite.so.1", "libXcursor.so.1", "libXfixes.so.3", "libXi.so.6",
	"libXinerama.so.1", "libXrandr.so.2", "libXrender.so.1", "libXxf86vm.so.1",
}

// zlib of mingw-w64, which Wine's user32.dll needs in Debian, and its folders.
const (
	zlibDLL = "zlib1.dll"
	mingw64 = "/usr/x86_64-w64-mingw32/lib"
	mingw32 = "/usr/i686-w64-mingw32/lib"
)

// A keptFile is a file of a root file system that goes into a runtime.
type keptFile struct {
	from, to string // absolute paths there and here
}

// keeping says what a runtime has beside what each has.
type keeping struct {
	all     bool // every PE module
	wayland bool // the driver for Wayland's displays, and the libraries that it needs
}

// waylandModule and waylandDriver are that driver's ELF and PE modules.
const (
	waylandModule = "winewayland.so"
	waylandDriver = "winewayland.drv"
)

// A trimmer picks what a runtime needs of a root file system with Wine.
type trimmer struct {
	root *os.Root
	wine *Runtime
	keep keeping
	kept map[string]string // where to, where from
}

// trim lists what a runtime needs of a root file system, in the order of the paths it will have: Wine, the ELF libraries
// that it loads, their interpreters, the locale C.UTF-8, fonts and time zones. Everything else of the distribution stays out.
//
// # Errors
//
// There is no Wine, or not the part for 32-bit programs that is asked for; a library is missing.
func trim(root *os.Root, how WoW64, keep keeping) ([]keptFile, error) {
	t := &trimmer{root: root, wine: inFiles(rootFiles{root}), keep: keep, kept: make(map[string]string)}
	r := t.wine
	if r == nil {
		return nil, errors.New("no 64-bit Wine in it")
	}
	if len(r.Libraries) == 0 {
		return nil, errors.New("no folder with a C library in it")
	}
	if how != WoW64None && r.Windows32Dir == "" || how == WoW64I386 && r.Loader32 == "" {
		return nil, fmt.Errorf("its Wine %s has no 32-bit part of the kind %q", r.Version, how)
	}
	if how == WoW64New && !r.newWoW64() {
		return nil, fmt.Errorf("its Wine is version %s: the new WoW64 came with Wine 9", r.Version)
	}

	for _, file := range []string{r.Loader64, r.Server} {
		t.kept[file] = file
	}
	elves := []string{r.Loader64, r.Server}
	steps := []error{t.pe(r.WindowsDir, r.WindowsDir, mingw64, unneeded64), t.tree(r.DataDir), t.tree(localeDir), t.extras()}
	modules, err := t.unix(r.UnixDir)
	steps, elves = append(steps, err), append(elves, modules...)
	steps = append(steps, t.libraries(elf.ELFCLASS64, r.Libraries[:1], elves))
	var windows32 string
	switch how {
	case WoW64New:
		windows32 = path.Join(path.Dir(r.WindowsDir), "i386-windows")
		steps = append(steps, t.pe(r.Windows32Dir, windows32, mingw32, unneeded32))
	case WoW64I386:
		windows32 = r.Windows32Dir
		t.kept[r.Loader32] = r.Loader32
		modules, err := t.unix(r.unixDir32())
		steps = append(steps, err, t.pe(r.Windows32Dir, r.Windows32Dir, mingw32, unneeded32),
			t.libraries(elf.ELFCLASS32, r.Libraries[len(r.Libraries)-1:], append(modules, r.Loader32)))
	}
	if err := errors.Join(steps...); err != nil {
		return nil, err
	}
	if err := errors.Join(t.imported(r.WindowsDir, r.WindowsDir), t.imported(r.Windows32Dir, windows32)); err != nil {
		return nil, err
	}
	list := make([]keptFile, 0, len(t.kept))
	for to, from := range t.kept {
		list = append(list, keptFile{from, to})
	}
	slices.SortFunc(list, func(a, b keptFile) int { return strings.Compare(a.to, b.to) })
	return list, nil
}

// rootFiles shows a directory without ever leaving it.
type rootFiles struct{ root *os.Root }

func (r rootFiles) Open(name string) (*os.File, string, error) {
	f, err := r.root.Open(rel(name))
	return f, name, err
}

// rel makes an absolute path one within an os.Root.
func rel(name string) string { return strings.TrimPrefix(path.Clean(name), "/") }

// list gives the names of the files in a folder.
func (t *trimmer) list(dir string) ([]string, error) {
	entries, err := fs.ReadDir(t.root.FS(), rel(dir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if info, err := t.root.Stat(path.Join(rel(dir), entry.Name())); err == nil && info.Mode().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// pe keeps the PE modules of a folder. mingw is where Debian has mingw-w64's zlib for that machine: Wine's packages copy
// it to their own when they are installed, which they are not here; unneeded are patterns of what that machine does not
// need.
func (t *trimmer) pe(from, to, mingw string, unneeded []string) error {
	names, err := t.list(from)
	if err != nil {
		return err
	}
	if zlib := path.Join(mingw, zlibDLL); !slices.Contains(names, zlibDLL) && hasFile(rootFiles{t.root}, zlib) {
		t.kept[path.Join(to, zlibDLL)] = zlib
	}
	for _, name := range names {
		if t.keep.all || t.keep.wayland && name == waylandDriver || !matches(unneededPE, name) && !matches(unneeded, name) {
			t.kept[path.Join(to, name)] = path.Join(from, name)
		}
	}
	return nil
}

// imported keeps what the PE modules kept in a folder of the runtime import, also if nobody else would need it; from is
// where they come from. A module that lacks one of its imports could not be loaded.
func (t *trimmer) imported(from, to string) error {
	if to == "" {
		return nil
	}
	names, err := t.list(from)
	if err != nil {
		return err
	}
	there := make(map[string]string) // by the name in lower case
	for _, name := range names {
		there[strings.ToLower(name)] = name
	}
	have := make(map[string]bool)
	var left []string
	for at := range t.kept {
		if path.Dir(at) == to {
			have[strings.ToLower(path.Base(at))] = true
			left = append(left, at)
		}
	}
	for len(left) > 0 {
		at := left[0]
		left = left[1:]
		imports, err := t.imports(t.kept[at])
		if err != nil {
			return fmt.Errorf("%s: %w", t.kept[at], err)
		}
		for _, i := range imports {
			name := strings.ToLower(i.DLL)
			if have[name] || strings.HasPrefix(name, "api-ms-") || strings.HasPrefix(name, "ext-ms-") {
				continue
			}
			if there[name] == "" {
				return fmt.Errorf("%s needs %s, which is not there", t.kept[at], i.DLL)
			}
			have[name] = true
			also := path.Join(to, there[name])
			t.kept[also] = path.Join(from, there[name])
			left = append(left, also)
		}
	}
	return nil
}

// imports lists the DLLs that a PE module needs to be loaded; none for what is no PE file.
func (t *trimmer) imports(name string) ([]pe.Import, error) {
	f, err := t.root.Open(rel(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	image, err := pe.Open(f, info.Size())
	if err != nil { // 16-bit programs, type libraries
		return nil, nil
	}
	return image.Imports()
}

// unix keeps the ELF modules of a folder, and gives their paths.
func (t *trimmer) unix(dir string) ([]string, error) {
	names, err := t.list(dir)
	if err != nil {
		return nil, err
	}
	var kept []string
	for _, name := range names {
		if t.keep.wayland && name == waylandModule || !slices.Contains(unneededUnix, strings.TrimSuffix(name, ".so")) {
			t.kept[path.Join(dir, name)] = path.Join(dir, name)
			kept = append(kept, path.Join(dir, name))
		}
	}
	return kept, nil
}

// tree keeps all files below a folder, if there is one.
func (t *trimmer) tree(dir string) error {
	err := fs.WalkDir(t.root.FS(), rel(dir), func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			t.kept["/"+name] = "/" + name
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// libraries keeps what ELF files need of the folders of libraries, with what these need in turn, under the names by
// which they are asked for; and the interpreter.
func (t *trimmer) libraries(class elf.Class, dirs, from []string) error {
	// What is only looked for while a program runs may be missing.
	for _, name := range dlopened {
		if lib := t.library(dirs, name); lib != "" {
			from = append(from, lib)
			t.kept[lib] = lib
		}
	}
	for _, link := range interpreters {
		if lib := t.library(dirs, path.Base(link)); lib != "" {
			t.kept[lib] = lib
		}
	}
	seen := make(map[string]bool)
	for len(from) > 0 {
		file := from[0]
		from = from[1:]
		names, err := t.needed(file, class)
		if err != nil {
			return err
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			if own := path.Join(path.Dir(file), name); t.kept[own] != "" { // Wine's modules need each other
				continue
			}
			lib := t.library(dirs, name)
			if lib == "" {
				return fmt.Errorf("%s needs the library %s, which is not in %s", file, name, strings.Join(dirs, " or "))
			}
			t.kept[lib] = lib
			from = append(from, lib)
		}
	}
	return nil
}

// library finds a library in the folders; empty when there is none.
func (t *trimmer) library(dirs []string, name string) string {
	return firstELF(rootFiles{t.root}, slices.Collect(func(yield func(string) bool) {
		for _, dir := range dirs {
			if !yield(path.Join(dir, name)) {
				return
			}
		}
	}), 0)
}

// needed lists the libraries that an ELF file names.
func (t *trimmer) needed(name string, class elf.Class) ([]string, error) {
	file, err := t.root.Open(rel(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	f, err := elf.NewFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the headers of %s: %w", name, err)
	}
	if f.Class != class {
		return nil, fmt.Errorf("%s: %s, want %s", name, f.Class, class)
	}
	return f.ImportedLibraries()
}

// copyKept copies files of a root file system into a new one, PE files without what is there for debuggers and, unless
// all is wanted, without icons that there are better ones for.
func copyKept(ctx context.Context, root *os.Root, list []keptFile, to string, all bool) error {
	for _, file := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyStripped(root, file.from, filepath.Join(to, file.to), all); err != nil {
			return fmt.Errorf("copy %s: %w", file.from, err)
		}
	}
	return nil
}

// largestFile is more than any file of Wine's.
const largestFile = 256 << 20

func copyStripped(root *os.Root, from, to string, all bool) error {
	in, err := root.Open(rel(from))
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > largestFile {
		return fmt.Errorf("not a regular file of at most %d MiB", largestFile>>20)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(in, data); err != nil {
		return err
	}
	if path.Base(to) == zlibDLL && len(data) > 0x80 { // Wine takes for its own what has its signature
		clear(data[builtinOffset : builtinOffset+0x20])
		copy(data[builtinOffset:], builtinSignature)
	}
	if len(data) > 0x60 && bytes.HasPrefix(data[builtinOffset:], builtinSignature) {
		data = dropUnwind(pruneResources(stripPE(data), all))
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, data, mode); err != nil {
		return err
	}
	return os.Chmod(to, mode) // whatever the umask
}
