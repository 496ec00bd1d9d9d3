// Package engines enters winbox into the configuration of container engines, and takes it out again.
//
// What else is in a file stays as it is, to the byte. A file is replaced as a whole, or not at all; one that cannot be
// read as the engine would read it is left alone. It is for cmd/winbox-images only: what reads TOML would cost every
// start of winbox time.
package engines

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Name is what engines know winbox as.
const Name = "winbox"

// An engine is what is special about one.
type engine struct {
	// system and user are its configuration files: below /etc, and below the user's configuration folder. Without user,
	// the engine is root's only.
	system, user string
	// add gives the text with winbox in it; old is nil when there is no file. The same text means that it is there
	// already.
	add func(f *file) ([]byte, error)
	// remove gives the text without winbox; nil when there need not be a file.
	remove func(f *file) ([]byte, error)
	// next says what to do then, and how to use it.
	next, use string
}

// A file is what add and remove get.
type file struct {
	path string
	text []byte // nil when it is not there
	// runtime is the program that the engine is to run.
	runtime string
}

var all = map[string]engine{
	"podman": {
		system: "containers/containers.conf.d/winbox.conf", user: "containers/containers.conf.d/winbox.conf",
		add: dropIn(podmanText).add, remove: dropIn(podmanText).remove,
		use: "podman --runtime winbox run IMAGE",
	},
	"docker": {
		system: "docker/daemon.json", user: "docker/daemon.json", add: addDocker, remove: removeDocker,
		next: "systemctl reload docker", use: "docker run --runtime winbox IMAGE",
	},
	"containerd": {
		system: "containerd/config.toml", user: "containerd/config.toml", add: addContainerd, remove: removeContainerd,
		next: "systemctl restart containerd", use: "winbox setup kubernetes | kubectl apply -f -",
	},
	"crio": {
		system: "crio/crio.conf.d/10-winbox.conf", add: dropIn(crioText).add, remove: dropIn(crioText).remove,
		next: "systemctl restart crio", use: "winbox setup kubernetes | kubectl apply -f -",
	},
	"nomad": {
		system: "nomad.d/winbox.hcl", add: addNomad, remove: dropIn(nomadText).remove,
		next: "winbox setup docker; systemctl restart nomad",
		use:  `runtime = "winbox" in the config of a task of the docker driver`,
	},
}

// Engines are the names of those that can be set up, in order.
func Engines() []string { return slices.Sorted(maps.Keys(all)) }

// Options are what is to be done.
type Options struct {
	// Engine is one of [Engines].
	Engine string
	// Runtime is the path of the program that the engine is to run, an absolute one.
	Runtime string
	// Remove takes winbox out again.
	Remove bool
	// Dest is a folder that stands for /, for packages; "" for / itself.
	Dest string
	// User is the folder of a user's configuration, such as /home/me/.config, in place of /etc; "" for the system's.
	User string
}

// A Change is what becomes of a file.
type Change struct {
	Path string
	// Old and New are what it holds; nil when there is none.
	Old, New []byte
	// Next is the command that has the engine read it, "" when it needs none. Use says how winbox is then used.
	Next, Use string
}

// Nothing tells that there is nothing to do.
func (c *Change) Nothing() bool { return (c.Old == nil) == (c.New == nil) && bytes.Equal(c.Old, c.New) }

// Plan finds out what is to be done, and changes nothing. An error means that the file cannot be read, is not what the
// engine reads, or is not winbox's to change.
func Plan(opt Options) (*Change, error) {
	e, known := all[opt.Engine]
	if !known {
		return nil, fmt.Errorf("there is no set-up for %q: it is none of %s", opt.Engine, strings.Join(Engines(), ", "))
	}
	if err := checkRuntime(opt.Runtime); err != nil {
		return nil, err
	}
	path := filepath.Join(opt.Dest, "/etc", e.system)
	next := e.next
	if opt.Dest != "" {
		next = "" // nothing runs there
	}
	if opt.User != "" {
		if e.user == "" {
			return nil, fmt.Errorf("%s has no configuration of a user's: run this as root", opt.Engine)
		}
		path = filepath.Join(opt.User, e.user)
		next = strings.Replace(next, "systemctl", "systemctl --user", 1)
	}
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	c := &Change{Path: path, Old: text, New: text, Next: next, Use: e.use}
	f := &file{path, text, opt.Runtime}
	switch {
	case !opt.Remove:
		c.New, err = e.add(f)
	case text != nil:
		c.New, err = e.remove(f)
		// docker, told to read its file again, keeps the runtimes that are not there any more.
		c.Next, c.Use = strings.Replace(c.Next, "reload", "restart", 1), ""
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; it is left as it is", path, err)
	}
	return c, nil
}

// checkRuntime refuses paths that mean something else in one of the files: quotes, escapes, HCL's templates.
func checkRuntime(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return fmt.Errorf("the runtime %q is not an absolute path in its shortest form", path)
	}
	odd := func(r rune) bool { return strings.ContainsRune(`"\$%`, r) || unicode.IsControl(r) }
	if !utf8.ValidString(path) || strings.ContainsFunc(path, odd) {
		return fmt.Errorf(`the runtime %q: install it where no name has ", \, $, %% or control characters`, path)
	}
	return nil
}

// largest is the most that a configuration file may have, in bytes.
const largest = 1 << 20

// read gives the text of a file, nil when it is not there.
func read(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Mode()&os.ModeSymlink != 0:
		to, _ := os.Readlink(path)
		return nil, fmt.Errorf("%s is a symbolic link to %s, which something else looks after: enter winbox there by hand",
			path, to)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > largest:
		return nil, fmt.Errorf("%s has more than %d bytes: it is no configuration file", path, largest)
	}
	text, err := os.ReadFile(path)
	if text == nil && err == nil {
		text = []byte{}
	}
	return text, err
}

// A dropIn is a file that has nothing else in it; it is the text for a runtime.
type dropIn func(runtime string) string

// mark is the first line of files that are winbox's own.
const mark = "# Written by `winbox setup`, which writes it anew, and with --remove removes it.\n"

func (d dropIn) check(f *file) error {
	if f.text != nil && !bytes.HasPrefix(f.text, []byte(mark)) {
		return errors.New("it was not written by winbox: move it away, or enter winbox there by hand")
	}
	return nil
}

func (d dropIn) add(f *file) ([]byte, error) { return []byte(mark + d(f.runtime)), d.check(f) }

func (d dropIn) remove(f *file) ([]byte, error) { return nil, d.check(f) }

// podmanText is of containers.conf(5). podman 4.3.1 reads folders of such files, and the runtime of a platform is
// read since 4.4 (containers/common#1225); older ones leave out what they do not know.
func podmanText(runtime string) string {
	return `[engine.runtimes]
winbox = ["` + runtime + `"]

# Images of Windows, from podman 4.4 on.
[engine.platform_to_oci_runtime]
"windows/amd64" = "winbox"
`
}

// crioText is of crio.conf(5).
func crioText(runtime string) string {
	return `[crio.runtime.runtimes.winbox]
runtime_path = "` + runtime + `"
runtime_type = "oci"
runtime_root = "/run/winbox"
`
}

// nomadText has Nomad's docker driver allow its tasks the runtime, besides those that it allows by itself.
func nomadText(runtime string) string {
	return `plugin "docker" {
  config {
    allow_runtimes = ["runc", "nvidia", "winbox"]
  }
}
`
}

// addNomad refuses a second section on the driver, since Nomad takes the configuration of a plugin from one of them
// alone.
func addNomad(f *file) ([]byte, error) {
	for _, pattern := range []string{"*.hcl", "*.json"} {
		others, err := filepath.Glob(filepath.Join(filepath.Dir(f.path), pattern))
		if err != nil {
			return nil, err
		}
		for _, other := range others {
			if other == f.path {
				continue
			}
			text, err := os.ReadFile(other)
			if err != nil {
				return nil, err
			}
			if dockerPlugin(text) {
				return nil, fmt.Errorf(`%s configures the plugin "docker", and Nomad reads one such section only: `+
					`add allow_runtimes = ["runc", "nvidia", "winbox"] to its config there`, other)
			}
		}
	}
	return dropIn(nomadText).add(f)
}

// RuntimeClass is a manifest for Kubernetes by which pods ask for winbox, with what a Windows container takes besides
// its program: 9.4 MiB on Wine 8 to 15.3 on a built runtime, idle and with everything loaded that comes late
// (docs/boot.md).
const RuntimeClass = `apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata:
  name: winbox
handler: winbox
overhead:
  podFixed:
    memory: 16Mi
`
