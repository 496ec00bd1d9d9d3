package engines

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// What is between these lines is winbox's. It cannot be a file of its own: containerd before version 2 takes all of a
// plugin's configuration from the file that it reads last (containerd/containerd#5837).
const (
	begin = "# Written by `winbox setup containerd`, and taken out with --remove: up to the next such line.\n"
	end   = "# End of what `winbox setup containerd` has written.\n"
)

// containerd is what is of interest in a config.toml.
type containerd struct {
	settings map[string]any
	// plugin is the name of the plugin that makes the containers of pods.
	plugin string
	// runtimes are those that it knows, by name.
	runtimes map[string]any
	fallback any // the name of the one that it takes when a pod asks for none
}

// table is a table in a table; nil when it is not there.
func table(in map[string]any, name string) map[string]any {
	t, _ := in[name].(map[string]any)
	return t
}

func readContainerd(text []byte) (*containerd, error) {
	c := &containerd{settings: map[string]any{}}
	// Both of containerd's readers are of this library.
	if err := toml.Unmarshal(text, &c.settings); err != nil {
		var syntax *toml.DecodeError
		if errors.As(err, &syntax) {
			line, _ := syntax.Position()
			return nil, fmt.Errorf("it is not TOML: line %d: %w", line, err)
		}
		return nil, fmt.Errorf("it is not TOML: %w", err)
	}
	version, _ := c.settings["version"].(int64)
	switch {
	case version >= 3:
		c.plugin = "io.containerd.cri.v1.runtime"
	case version == 2 || len(c.settings) == 0:
		c.plugin = "io.containerd.grpc.v1.cri"
	default:
		return nil, errors.New("it is not of version 2 or newer (`version = 2` at its top): " +
			"`containerd config migrate` prints what to write there instead")
	}
	section := table(table(table(c.settings, "plugins"), c.plugin), "containerd")
	c.runtimes, c.fallback = table(section, "runtimes"), section["default_runtime_name"]
	return c, nil
}

// binary is the program of the runtime winbox.
func (c *containerd) binary() any { return table(table(c.runtimes, Name), "options")["BinaryName"] }

// block is what is added: tables, which may stand at the end of any file. Without other runtimes, runc has to be named
// as well: containerd takes those that are there for all there are.
func (c *containerd) block(runtime string) string {
	var b strings.Builder
	b.WriteString(begin)
	if len(c.settings) == 0 {
		b.WriteString("version = 2\n\n")
	}
	runtimes := `plugins."` + c.plugin + `".containerd.runtimes.`
	if len(c.runtimes) == 0 {
		fmt.Fprintf(&b, "[%srunc]\n  runtime_type = \"io.containerd.runc.v2\"\n\n", runtimes)
	}
	fmt.Fprintf(&b, "[%swinbox]\n  runtime_type = \"io.containerd.runc.v2\"\n", runtimes)
	b.WriteString("  pod_annotations = [\"io.winbox.*\"]\n")
	fmt.Fprintf(&b, "  [%swinbox.options]\n    BinaryName = \"%s\"\n", runtimes, runtime)
	if c.systemd() {
		b.WriteString("    SystemdCgroup = true\n")
	}
	b.WriteString(end)
	return b.String()
}

// systemd tells whether systemd keeps the control groups of the default runtime's containers, which holds for a node.
func (c *containerd) systemd() bool {
	name, _ := c.fallback.(string)
	if name == "" || name == Name {
		name = "runc"
	}
	return table(table(c.runtimes, name), "options")["SystemdCgroup"] == true
}

// withoutBlock is the text without what was added, and whether there was any.
func withoutBlock(text []byte) ([]byte, bool, error) {
	from := bytes.Index(text, []byte(begin))
	if from < 0 {
		return text, false, nil
	}
	to := bytes.Index(text[from:], []byte(end))
	if to < 0 {
		return nil, false, fmt.Errorf("the line %q is missing: take out by hand what was written for winbox",
			strings.TrimSpace(end))
	}
	before := bytes.TrimSuffix(text[:from], []byte("\n")) // the empty line
	return append(slices.Clone(before), text[from+to+len(end):]...), true, nil
}

func addContainerd(f *file) ([]byte, error) {
	rest, ours, err := withoutBlock(f.text)
	if err != nil {
		return nil, err
	}
	old, err := readContainerd(rest)
	if err != nil {
		return nil, err
	}
	if _, there := old.runtimes[Name]; there {
		if !ours && old.binary() == f.runtime {
			return f.text, nil
		}
		return nil, fmt.Errorf("it has a runtime winbox (%v) that was not entered by winbox setup: change or remove it by hand",
			old.binary())
	}
	if ours && bytes.Contains(f.text, []byte(old.block(f.runtime))) {
		return f.text, nil
	}
	text := slices.Clone(rest)
	if len(text) > 0 {
		if text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		text = append(text, '\n')
	}
	text = append(text, old.block(f.runtime)...)
	// A file can have tables in a form that nothing can be added to.
	now, err := readContainerd(text)
	if err != nil {
		return nil, fmt.Errorf("its runtimes are written in a way that nothing can be added to (%w): "+
			"enter winbox by hand, as `winbox setup containerd --print --destdir /nowhere` shows", err)
	}
	if now.binary() != f.runtime || !reflect.DeepEqual(now.others(), old.others()) {
		return nil, errors.New("winbox cannot be entered without a change to the rest: enter it by hand, " +
			"as `winbox setup containerd --print --destdir /nowhere` shows")
	}
	return text, nil
}

// others are the settings without what a block adds. The tables are changed by it.
func (c *containerd) others() map[string]any {
	delete(c.runtimes, Name)
	plugins := table(c.settings, "plugins")
	plugin := table(plugins, c.plugin)
	section := table(plugin, "containerd")
	plain := map[string]any{"runtime_type": "io.containerd.runc.v2"}
	if len(c.runtimes) == 1 && reflect.DeepEqual(c.runtimes["runc"], plain) {
		delete(c.runtimes, "runc")
	}
	if len(c.runtimes) == 0 {
		delete(section, "runtimes")
	}
	if len(section) == 0 {
		delete(plugin, "containerd")
	}
	if len(plugin) == 0 {
		delete(plugins, c.plugin)
	}
	if len(plugins) == 0 {
		delete(c.settings, "plugins")
	}
	if c.settings["version"] == int64(2) && len(c.settings) == 1 {
		delete(c.settings, "version")
	}
	return c.settings
}

func removeContainerd(f *file) ([]byte, error) {
	rest, ours, err := withoutBlock(f.text)
	if err != nil {
		return nil, err
	}
	c, err := readContainerd(rest)
	if err != nil {
		return nil, err
	}
	if _, there := c.runtimes[Name]; there {
		return nil, errors.New("it has a runtime winbox that was not entered by winbox setup: remove it by hand")
	}
	if c.fallback == Name && ours {
		return nil, errors.New("default_runtime_name is winbox: change that first, or no pod would start")
	}
	if ours && len(rest) == 0 {
		return nil, nil
	}
	return rest, nil
}
