package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/cgroup"
)

// jobVariable makes the test program do one job of a child instead of the tests.
const jobVariable = "WINBOX_SANDBOX_TEST"

func TestMain(m *testing.M) {
	if text := os.Getenv(jobVariable); text != "" {
		os.Exit(childMain(text))
	}
	os.Exit(m.Run())
}

// job is what a child of the test does, in this order.
type job struct {
	Root, Bundle, ID string
	Create, Start    bool
	Preserve         int
	Delete           bool
	// ReadonlyRoot puts the root file system on a mount of its own that is read-only.
	ReadonlyRoot bool
	// Wait makes the child wait, before it deletes the container, until its program has ended.
	Wait bool
	// Veth is a network interface that the child makes first, and its address.
	Veth [2]string
	// SharedMounts makes the child's own mounts such as spread to all who share them.
	SharedMounts bool
	// Times is how often; errors that a rival for the same id explains are fine then.
	Times int
}

// childMain prints "ready", does the job and prints what went wrong.
func childMain(text string) (code int) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		fmt.Println(err)
		return 2
	}
	if j.SharedMounts {
		// With the bundle on a mount of its own, as /var often is.
		if err := errors.Join(unix.Mount(j.Bundle, j.Bundle, "", unix.MS_BIND, ""), unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")); err != nil {
			fmt.Println(err)
			return 1
		}
		before, _ := os.ReadFile("/proc/self/mountinfo")
		defer func() {
			if after, _ := os.ReadFile("/proc/self/mountinfo"); !bytes.Equal(before, after) {
				fmt.Printf("mounts before:\n%s\nand after:\n%s", before, after)
				code = 1
			}
		}()
	}
	if j.ReadonlyRoot {
		root := j.Bundle + "/rootfs"
		if err := errors.Join(
			unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""), unix.Mount(root, root, "", unix.MS_BIND, ""),
			unix.Mount("", root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
		); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	if j.Veth[0] != "" {
		if err := errors.Join(addVeth(j.Veth[0], "peer"), addAddress(j.Veth[0], j.Veth[1], unix.RT_SCOPE_UNIVERSE, 0)); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("ready")
	for range max(1, j.Times) {
		if err := j.do(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

func (j *job) do() error {
	// What another process doing the same to the same container may cause.
	rivalry := func(err error, also ...error) error {
		for _, e := range also {
			if j.Times > 1 && errors.Is(err, e) {
				return nil
			}
		}
		return err
	}
	if j.Create {
		bundle, err := oci.Load(j.Bundle)
		if err != nil {
			return err
		}
		c, err := Create(Options{Root: j.Root, ID: j.ID, Bundle: bundle, Preserve: j.Preserve})
		if err := rivalry(err, ErrExist); err != nil {
			return fmt.Errorf("create: %w", err)
		}
		if c != nil && j.Delete && !j.Wait {
			defer wait(c.PID())
		}
	}
	if j.Start {
		c, err := Load(j.Root, j.ID)
		if err == nil {
			err = c.Start()
		}
		if err := rivalry(err, ErrNotExist, ErrStartRunning, ErrStartStopped); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	if j.Wait {
		c, err := Load(j.Root, j.ID)
		if err != nil {
			return err
		}
		wait(c.PID())
	}
	if j.Delete {
		if err := rivalry(Delete(j.Root, j.ID, true), ErrNotExist); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	return nil
}

// command is the test program as a child that does j.
func (j job) command(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	// A child that hangs is to fail its test, not to stop all of them.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	return cmd
}

// run does j in a child.
func (j job) run(t *testing.T) {
	t.Helper()
	cmd := j.command(t)
	// A file: the containers that the child leaves keep its standard streams.
	out := tempFile(t)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		t.Errorf("child: %v: %s", err, contents(t, out))
	}
}

// applets are the commands that every test's root file system has.
var applets = []string{
	"sh", "awk", "cat", "chmod", "cut", "echo", "env", "false", "grep", "head", "hostname", "id", "ip", "ipcs", "kill", "ls", "mkdir", "mknod",
	"mount", "ps", "pwd", "readlink", "rm", "setsid", "sleep", "sort", "stat", "stty", "touch", "tr", "true", "tty", "uname", "wc",
}

// bundle is the bundle of a test and what belongs to it; all of it is
// temporary, and what its containers leave behind makes the test fail.
type bundle struct {
	t      *testing.T
	dir    string
	rootfs string
	spec   *specs.Spec
	opt    Options
	out    *os.File // standard output and error of the program
	log    *logBuffer
}

// logBuffer may be written to by several goroutines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

var idCounter atomic.Uint32

// newID is a container's name that nothing else has.
func newID() string { return fmt.Sprintf("wbtest-%d-%d", os.Getpid(), idCounter.Add(1)) }

// newBundle makes a bundle with a busybox for root file system, whose program is args.
func newBundle(t *testing.T, args ...string) *bundle {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make namespaces and cgroups")
	}
	if _, err := cgroup.DetectMode(); err != nil {
		t.Skip(err)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("needs a static busybox (Debian package busybox-static): %v", err)
	}
	b := &bundle{t: t, dir: t.TempDir(), log: &logBuffer{}}
	// testing makes it 0700, and users that a user namespace maps must get in.
	if err := os.Chmod(filepath.Dir(b.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	b.rootfs = filepath.Join(b.dir, "rootfs")
	for _, name := range []string{"bin", "proc", "dev", "tmp", "etc", "data"} {
		b.mkdir(name)
	}
	b.file("bin/busybox", string(busybox), 0o755)
	for _, name := range applets {
		b.symlink("busybox", "bin/"+name)
	}
	b.spec = &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}, Capabilities: allCapabilities()},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}}},
	}
	b.out = tempFile(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	b.opt = Options{
		Root: filepath.Join(b.dir, "state"), ID: newID(), Bundle: &oci.Bundle{Dir: b.dir, Spec: b.spec},
		Stdio: [3]*os.File{null, b.out, b.out}, Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	t.Cleanup(b.sweep)
	return b
}

// shell makes a bundle whose program is a shell script.
func shell(t *testing.T, script string) *bundle {
	t.Helper()
	return newBundle(t, "/bin/sh", "-c", script)
}

// allCapabilities is every capability that this process has itself.
func allCapabilities() *specs.LinuxCapabilities {
	host, err := hostFacts()
	if err != nil {
		return nil
	}
	names := map[int]string{
		unix.CAP_CHOWN: "CAP_CHOWN", unix.CAP_DAC_OVERRIDE: "CAP_DAC_OVERRIDE", unix.CAP_FOWNER: "CAP_FOWNER", unix.CAP_KILL: "CAP_KILL",
		unix.CAP_SETGID: "CAP_SETGID", unix.CAP_SETUID: "CAP_SETUID", unix.CAP_MKNOD: "CAP_MKNOD", unix.CAP_SYS_ADMIN: "CAP_SYS_ADMIN",
		unix.CAP_NET_BIND_SERVICE: "CAP_NET_BIND_SERVICE",
	}
	var list []string
	for number, name := range names {
		if host.Permitted>>number&1 == 1 {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list}
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func contents(t *testing.T, f *os.File) string {
	t.Helper()
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// path is a path of the root file system as the host sees it.
func (b *bundle) path(name string) string { return filepath.Join(b.rootfs, name) }

func (b *bundle) mkdir(name string) {
	b.t.Helper()
	if err := os.MkdirAll(b.path(name), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) file(name, text string, perm os.FileMode) {
	b.t.Helper()
	if err := os.WriteFile(b.path(name), []byte(text), perm); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Chmod(b.path(name), perm); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) symlink(target, name string) {
	b.t.Helper()
	if err := os.Symlink(target, b.path(name)); err != nil {
		b.t.Fatal(err)
	}
}

// hostDir makes a directory beside the root file system.
func (b *bundle) hostDir(name string) string {
	b.t.Helper()
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

// hostFile makes a file beside the root file system.
func (b *bundle) hostFile(name, text string) string {
	b.t.Helper()
	file := filepath.Join(b.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return file
}

func (b *bundle) mount(m ...specs.Mount) { b.spec.Mounts = append(b.spec.Mounts, m...) }

// namespace adds a namespace, or gives the one that is there a path.
func (b *bundle) namespace(kind specs.LinuxNamespaceType, path string) {
	list := slices.DeleteFunc(b.spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
	b.spec.Linux.Namespaces = append(list, specs.LinuxNamespace{Type: kind, Path: path})
}

// save writes config.json, for a child of the test.
func (b *bundle) save() job {
	b.t.Helper()
	data, err := json.Marshal(b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	b.hostFile("config.json", string(data))
	return job{Root: b.opt.Root, Bundle: b.dir, ID: b.opt.ID}
}

// run runs the program to its end and returns what it has written.
func (b *bundle) run() (string, Result) {
	b.t.Helper()
	res, err := Run(context.Background(), b.opt, false, nil)
	if err != nil {
		b.t.Fatalf("run: %v", err)
	}
	return contents(b.t, b.out), res
}

// expect runs the program, which must succeed and write exactly want.
func (b *bundle) expect(want string) {
	b.t.Helper()
	out, res := b.run()
	if out != want || res.ExitCode != 0 {
		b.t.Errorf("exit code %d, output:\n%s\nwant 0 and:\n%s", res.ExitCode, out, want)
	}
}

// refused runs the program, which must not begin for the reason that contains want.
func (b *bundle) refused(want string) {
	b.t.Helper()
	_, err := Create(b.opt)
	if err == nil || !strings.Contains(err.Error(), want) {
		b.t.Errorf("error %v, want one with %q", err, want)
	}
	b.nothingLeft()
}

// startFails creates the container and starts it, which must end it for the
// reason that contains want, and leave nothing that delete does not remove.
func (b *bundle) startFails(want string) {
	b.t.Helper()
	c := b.create()
	if err := c.Start(); err == nil || !strings.Contains(err.Error(), want) {
		b.t.Errorf("error %v, want one with %q", err, want)
	}
	wait(c.PID())
	if got := c.Status(); got != oci.Stopped {
		b.t.Errorf("status %s, want stopped", got)
	}
	if err := c.Delete(false); err != nil {
		b.t.Error(err)
	}
	b.nothingLeft()
}

// preserve hands cmd files with these texts as descriptors 3 and on, and runs it.
func (b *bundle) preserve(cmd *exec.Cmd, texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		f, err := os.Open(b.hostFile(text, text+"\n"))
		if err != nil {
			b.t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Stdout, cmd.Stderr = b.out, b.out
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("%v: %s", err, contents(b.t, b.out))
	}
}

// create makes the container; it is removed at the end of the test at the latest.
func (b *bundle) create() *Container {
	b.t.Helper()
	c, err := Create(b.opt)
	if err != nil {
		b.t.Fatalf("create: %v", err)
	}
	b.t.Cleanup(func() {
		c.Signal(unix.SIGKILL)
		wait(c.PID())
	})
	return c
}

// begin makes the container and lets its program run.
func (b *bundle) begin() *Container {
	b.t.Helper()
	c := b.create()
	if err := c.Start(); err != nil {
		b.t.Fatalf("start: %v", err)
	}
	return c
}

// awaitOutput waits until the program has written text.
func (b *bundle) awaitOutput(text string) {
	b.t.Helper()
	await(b.t, "output "+strconv.Quote(text), func() bool { return strings.Contains(contents(b.t, b.out), text) })
}

// await waits for something that must happen; the limit only keeps a broken test from hanging.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// sweep ends the test: its containers are removed.
func (b *bundle) sweep() {
	entries, err := os.ReadDir(b.opt.Root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		b.t.Error(err)
	}
	for _, e := range entries {
		if e.Name() == filterDir {
			continue
		}
		if err := Delete(b.opt.Root, e.Name(), true); err != nil {
			b.t.Errorf("delete %s: %v", e.Name(), err)
		}
	}
	b.nothingLeft()
}

// nothingLeft checks that no container of the bundle has left anything behind:
// no state, control group, process or mount.
func (b *bundle) nothingLeft() {
	b.t.Helper()
	for _, left := range b.leftovers() {
		b.t.Errorf("left behind: %s", left)
	}
}

func (b *bundle) leftovers() []string {
	left, _ := filepath.Glob(filepath.Join(b.opt.Root, "*"))
	left = slices.DeleteFunc(left, func(name string) bool { return filepath.Base(name) == filterDir })
	for _, pattern := range []string{"/sys/fs/cgroup/*" + b.opt.ID, "/sys/fs/cgroup/*/*" + b.opt.ID} {
		groups, _ := filepath.Glob(pattern)
		left = append(left, groups...)
	}
	own, _ := os.Readlink("/proc/self/ns/mnt")
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		// A process of a container is in its control group, or at least has
		// the bundle's mounts in a namespace of its own.
		group, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		mounts, _ := os.ReadFile(filepath.Join(dir, "mountinfo"))
		ns, _ := os.Readlink(filepath.Join(dir, "ns/mnt"))
		if bytes.Contains(group, []byte(b.opt.ID+"\n")) || ns != own && bytes.Contains(mounts, []byte(b.dir+"/")) {
			left = append(left, "process "+filepath.Base(dir))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, b.dir) {
			left = append(left, "mount "+line)
		}
	}
	return left
}
