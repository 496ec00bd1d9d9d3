package test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// applets are the commands of busybox that a bundle's root file system has.
var applets = []string{
	"cat", "chmod", "cut", "echo", "find", "grep", "head", "id", "kill", "ls", "mkdir", "mount", "pwd", "readlink", "rm", "sed", "seq", "sh", "sleep",
	"stat", "touch", "true", "umount", "wc",
}

// A bundle is an OCI bundle with a busybox for root file system, and the box to make its container in. It lies in the
// current folder of the box.
type bundle struct {
	*box
	// id is the container's name, which nothing else on the machine has: control groups are shared.
	id     string
	rootfs string
	spec   *specs.Spec
}

// newBundle makes a bundle whose program is args.
func newBundle(t *testing.T, args ...string) *bundle {
	t.Helper()
	b := &bundle{box: newBox(t), id: newName(t)}
	b.rootfs = filepath.Join(b.dir, "rootfs")
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v (Debian package busybox-static)", err)
	}
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "etc", "vol"} {
		b.mkdir(dir)
	}
	b.file("bin/busybox", string(busybox))
	for _, name := range applets {
		b.link("busybox", "bin/"+name)
	}
	capabilities := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"}
	b.spec = &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.NetworkNamespace}}},
	}
	return b
}

// newName makes a name that nothing else on the machine has.
func newName(t *testing.T) string {
	t.Helper()
	var random [6]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatal(err)
	}
	return "wbtest-" + hex.EncodeToString(random[:])
}

// script makes a bundle whose program is a shell script.
func script(t *testing.T, text string) *bundle {
	t.Helper()
	return newBundle(t, "/bin/sh", "-c", text)
}

// path is a path of the root file system as the host sees it.
func (b *bundle) path(name string) string { return filepath.Join(b.rootfs, name) }

func (b *bundle) mkdir(name string) {
	b.t.Helper()
	if err := os.MkdirAll(b.path(name), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) file(name, text string) { b.t.Helper(); writeFile(b.t, b.rootfs, name, []byte(text)) }

// link makes a symbolic link in the root file system, in the place of what is there.
func (b *bundle) link(target, name string) {
	b.t.Helper()
	if err := os.RemoveAll(b.path(name)); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Symlink(target, b.path(name)); err != nil {
		b.t.Fatal(err)
	}
}

// hostDir makes a folder outside the root file system.
func (b *bundle) hostDir(name string) string {
	b.t.Helper()
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

func (b *bundle) mount(list ...specs.Mount) { b.spec.Mounts = append(b.spec.Mounts, list...) }

// withoutMount removes the mount on a destination.
func (b *bundle) withoutMount(destination string) {
	b.spec.Mounts = slices.DeleteFunc(b.spec.Mounts, func(m specs.Mount) bool { return m.Destination == destination })
}

// bind is a bind mount.
func bind(source, destination string, options ...string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: append([]string{"rbind"}, options...)}
}

// namespace adds a namespace, or gives the one that is there a path.
func (b *bundle) namespace(kind specs.LinuxNamespaceType, path string) {
	list := slices.DeleteFunc(b.spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
	b.spec.Linux.Namespaces = append(list, specs.LinuxNamespace{Type: kind, Path: path})
}

// capabilities adds capabilities to those of the program.
func (b *bundle) capabilities(names ...string) {
	caps := b.spec.Process.Capabilities
	for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted} {
		*set = append(slices.Clone(*set), names...)
	}
}

// save writes config.json.
func (b *bundle) save() {
	b.t.Helper()
	writeFile(b.t, b.dir, "config.json", encode(b.t, b.spec))
}

// run writes config.json and runs the container to its end.
func (b *bundle) run() *call {
	b.t.Helper()
	b.save()
	return b.call("run", b.id).wait()
}

// create writes config.json and makes the container. It gives the call, with standard error, and the file that gets what
// the container writes: unlike a pipe, it does not keep the call from ending.
func (b *bundle) create(flags ...string) (c *call, output string) {
	b.t.Helper()
	b.save()
	return b.detached(append(append([]string{"create"}, flags...), b.id)...)
}

// detached calls winbox with files for standard streams, and gives the file of its standard output.
func (b *bundle) detached(words ...string) (c *call, output string) {
	b.t.Helper()
	c = b.call(words...)
	var files [2]*os.File
	for i := range files {
		var err error
		if files[i], err = os.CreateTemp(b.t.TempDir(), "out"); err != nil {
			b.t.Fatal(err)
		}
		defer files[i].Close()
	}
	c.Stdout, c.Stderr = files[0], files[1]
	c.wait()
	c.err.WriteString(readFile(b.t, files[1].Name()))
	return c, files[0].Name()
}

// begin makes the container and starts its program, and gives the file of its standard output.
func (b *bundle) begin() (output string) {
	b.t.Helper()
	c, output := b.create()
	c.want(0, "")
	b.call("start", b.id).wait().want(0, "")
	return output
}

// finish starts a created container and waits for its end, and gives what it has written.
func (b *bundle) finish(output string) string {
	b.t.Helper()
	b.call("start", b.id).wait().want(0, "")
	await(b.t, "end of the container", func() bool { _, status := b.state(); return status == "stopped" })
	return readFile(b.t, output)
}

// state gives the container's first process and status; both are zero when there is no container.
func (b *bundle) state() (pid int, status string) {
	b.t.Helper()
	c := b.call("state", b.id).wait()
	var s struct {
		PID    int
		Status string
	}
	if c.code() == 0 {
		if err := json.Unmarshal(c.out.Bytes(), &s); err != nil {
			b.t.Fatalf("%s: %v", c, err)
		}
	}
	return s.PID, s.Status
}

// remove deletes the container by force, and checks that nothing is left of it.
func (b *bundle) remove() {
	b.t.Helper()
	if c := b.call("delete", "--force", b.id).wait(); c.code() != 0 || c.err.Len() > 0 {
		b.t.Errorf("%s: exit code %d: %s", c, c.code(), c.err.String())
	}
	b.nothingLeft()
}

// nothingLeft checks that there is no trace of the container. A process that found its creator dead needs a moment to end.
func (b *bundle) nothingLeft() {
	b.t.Helper()
	var left []string
	for range 400 {
		if left = b.leftovers(); len(left) == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, l := range left {
		b.t.Errorf("left behind: %s", l)
	}
}

// leftovers lists the container's state, control groups, processes and mounts, and hidden files in the bundle.
func (b *bundle) leftovers() []string {
	left := cgroups(b.t, b.id)
	for _, pattern := range []string{b.root + "/*", b.root + "/.*", b.dir + "/.*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			b.t.Fatal(err)
		}
		left = append(left, files...)
	}
	left = slices.DeleteFunc(left, func(name string) bool { return name == filepath.Join(b.root, filterDir) })
	halves, err := filepath.Glob(filepath.Join(b.root, filterDir, ".*"))
	if err != nil {
		b.t.Fatal(err)
	}
	left = append(left, halves...)
	own, _ := os.Readlink("/proc/self/ns/mnt")
	for _, pid := range allProcesses(b.t) {
		// A process of the container is in its control group, or has at least its root file system mounted.
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		group, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		mounts, _ := os.ReadFile(filepath.Join(dir, "mountinfo"))
		namespace, _ := os.Readlink(filepath.Join(dir, "ns/mnt"))
		if bytes.Contains(group, []byte(b.id)) || namespace != own && bytes.Contains(mounts, []byte(b.rootfs)) {
			command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			left = append(left, "process "+strconv.Itoa(pid)+" "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, b.dir) {
			left = append(left, "mount "+line)
		}
	}
	return left
}

// encode is the JSON of something.
func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
