package wine

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// User is the name of the Windows user in every container, whatever the Linux user: prefixes can be shared then.
const User = "winbox"

// Hostname is the host name, and so the computer name, of a launched program.
const Hostname = "winbox"

// makeRoot makes the skeleton root file system: everything that a container mounts something on, links to what is
// mounted, and the few files that the C library reads. It holds no program.
func (t *Template) makeRoot() error {
	root := t.Root()
	dirs := []string{
		"/dev", "/proc", "/sys/devices/system", "/sys/bus/clocksource/devices", "/tmp", "/run", "/etc", "/usr/lib", "/usr/lib64",
		"/etc/ssl/certs", "/etc/fonts",
	}
	var files []string
	for _, p := range t.Runtime.visible() {
		if p.folder {
			dirs = append(dirs, p.path)
		} else {
			files = append(files, p.path)
		}
	}
	files = append(files, t.Runtime.preloaders()...)
	files = append(files, networkFiles...)
	files = append(files, localtime)
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range files {
		if err := os.MkdirAll(filepath.Join(root, path.Dir(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			return err
		}
	}

	// The C library has no built-in UTF-8 locale. Without one, Wine takes file names and arguments for ASCII.
	if locale := filepath.Join(t.Runtime.root, localeDir); isFolder(locale) {
		if err := os.MkdirAll(filepath.Join(root, localeDir), 0o755); err != nil {
			return err
		}
		to, err := os.OpenRoot(filepath.Join(root, localeDir))
		if err != nil {
			return err
		}
		if err := errors.Join(copyTree(locale, to, Owner{os.Geteuid(), os.Getegid()}), to.Close()); err != nil {
			return fmt.Errorf("copy the locale: %w", err)
		}
	}
	for _, l := range t.Runtime.links() {
		if err := os.Symlink(l.to, filepath.Join(root, l.at)); err != nil {
			return err
		}
	}
	for name, text := range map[string][]byte{
		"/etc/passwd":        cleanLines("root:x:0:0:root:/:/", "nobody:x:65534:65534:nobody:/:/"),
		"/etc/group":         cleanLines("root:x:0:", "nogroup:x:65534:"),
		"/etc/nsswitch.conf": cleanLines("passwd: files", "group: files", "hosts: files dns"),
		// Without a configuration fontconfig complains on standard error in every program that has a window.
		fontsConf: cleanLines(`<?xml version="1.0"?>`, `<!DOCTYPE fontconfig SYSTEM "fonts.dtd">`,
			`<fontconfig><dir>/usr/share/fonts</dir><cachedir>/tmp/fontconfig</cachedir></fontconfig>`),
		"/etc/hosts": cleanLines("127.0.0.1 localhost "+Hostname, "::1 localhost "+Hostname),
	} {
		if err := os.WriteFile(filepath.Join(root, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// fontsConf is the configuration of fontconfig.
const fontsConf = "/etc/fonts/fonts.conf"

// localeDir is the locale C.UTF-8, which Debian, Fedora and Arch install with the C library.
const localeDir = "/usr/lib/locale/C.utf8"

// A link is a symbolic link of the skeleton.
type link struct{ at, to string }

// links are the links of the skeleton: merged /usr, the ELF interpreters, and the one name through which Wine asks
// which clock the kernel trusts.
func (r *Runtime) links() []link {
	links := []link{
		{"/lib", "usr/lib"},
		{"/lib64", "usr/lib64"},
		{"/sys/bus/clocksource/devices/clocksource0", "../../../devices/system/clocksource/clocksource0"},
	}
	for _, name := range interpreters {
		target, ok := r.Interpreters[name]
		if merged := "/usr" + name; ok && merged != target {
			links = append(links, link{merged, target})
		}
	}
	return links
}

// A visiblePath is a path of the host that the container sees, read-only, at the same place.
type visiblePath struct {
	path   string
	folder bool
}

// visible are the parts of the host that Wine needs: the loaders and the server by themselves, its folders of modules
// and data, and the libraries. Paths inside others are left out. What the libraries' folders hold beside libraries is
// readable too: some helper programs, but neither settings nor secrets.
func (r *Runtime) visible() []visiblePath {
	var list []visiblePath
	add := func(p string, folder bool) {
		if p == "" {
			return
		}
		for _, have := range list {
			if have.folder && within(p, have.path) {
				return
			}
		}
		list = append(list, visiblePath{p, folder})
	}
	for _, dir := range append(append([]string(nil), r.Libraries...), r.UnixDir, r.WindowsDir, r.Windows32Dir, r.DataDir) {
		add(dir, true)
	}
	for _, file := range []string{r.Loader64, r.Loader32, r.Server} {
		add(file, false)
	}
	return list
}

// preloaders are the paths that the container's own preloaders are mounted over.
func (r *Runtime) preloaders() []string {
	var list []string
	for _, p := range r.preloaded() {
		list = append(list, p.at)
	}
	return list
}

// networkFiles are mounted from the host when a program shares its network: name resolution and the certificates that
// Wine's crypt32 imports.
var networkFiles = []string{"/etc/resolv.conf", "/etc/hosts", caBundle}

// NetworkMounts are the mounts of a container that shares the host's network: networkFiles.
func NetworkMounts() (mounts []specs.Mount) {
	for _, file := range networkFiles {
		if source, err := filepath.EvalSymlinks(file); err == nil && isFile(source) {
			mounts = append(mounts, bindFile(source, file))
		}
	}
	return mounts
}

// driveLink gives the name of a drive's link in dosdevices and where it leads.
func driveLink(letter byte) (name, to string) {
	return fmt.Sprintf("%c:", letter), path.Join(drivesDir, strings.ToLower(string(letter)))
}
