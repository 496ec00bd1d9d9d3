package test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/console"
	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
	"winbox/preload"
	"winbox/seccomp"
)

// wineRoot makes the root file system with Wine that the engines' tests use as an image, once.
var wineRoot = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), "wineroot")
	out, err := exec.Command("engines/wineroot.sh", dir).CombinedOutput()
	if err != nil {
		return "", &os.PathError{Op: strings.TrimSpace(string(out)), Path: dir, Err: err}
	}
	return dir, nil
})

// bundle writes the bundle of a Windows program and gives its folder. The root file system is the one with Wine, and
// the box's folder is mounted at /box.
func (b *box) bundle(change func(*specs.Spec), args ...string) string {
	b.t.Helper()
	root, err := wineRoot()
	if err != nil {
		b.t.Fatal(err)
	}
	spec := oci.NewSpec()
	spec.Root.Path = root
	spec.Process.Args, spec.Process.Terminal = args, false
	spec.Linux.Seccomp = seccomp.Default()
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/box", Source: b.dir, Options: []string{"rbind"}})
	if change != nil {
		change(spec)
	}
	data, err := json.Marshal(spec)
	if err != nil {
		b.t.Fatal(err)
	}
	dir := newDir(b.t)
	writeFile(b.t, dir, "config.json", data)
	return dir
}

// id makes a name for a container that no other test has: the control groups are of one machine.
func (b *box) id(name string) string {
	return name + "-" + strings.TrimPrefix(filepath.Base(b.root), "test-")
}

// bare is a root file system with nothing in it but a program of the box's.
func (b *box) bare(program string) func(*specs.Spec) {
	b.t.Helper()
	root := newDir(b.t)
	writeFile(b.t, root, "app/"+program, []byte(readFile(b.t, filepath.Join(b.dir, program))))
	return func(s *specs.Spec) { s.Root.Path = root }
}

const system32 = `C:\windows\system32\`

// TestBundle runs bundles whose first argument is a Windows program, and checks output and exit code.
func TestBundle(t *testing.T) {
	readWrite := func(s *specs.Spec) { s.Root.Readonly = false }
	user := func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1000} }
	for _, test := range []struct {
		name   string
		change func(*specs.Spec)
		args   []string
		code   int
		out    string
	}{
		{"all of the exit code's low byte", nil, []string{system32 + "cmd.exe", "/c", "exit 300"}, 44, ""},
		{"a file of the root", nil, []string{"/app/7za.exe", "h", "-scrcCRC32", "/app/nothing"}, 1, ""},
		{"in PATH", func(s *specs.Spec) { s.Process.Cwd = "/app" }, []string{"7za.exe", "l", "none.7z"}, 2, ""},
		{"drive C: is the user's to write", func(s *specs.Spec) { user(s); readWrite(s) }, []string{system32 + "cmd.exe", "/c", `echo a>C:\new.txt& type C:\new.txt& echo b>%TEMP%\new.txt& type %TEMP%\new.txt& echo %USERNAME%`}, 0, "a\nb\nuser\n"},
		{"registry", user, []string{system32 + "cmd.exe", "/c", `reg add HKCU\Software\X /v v /d 1 >nul& reg query HKCU\Software\X /v v >nul& if not errorlevel 1 echo kept`}, 0, "kept\n"},
		{"read-only root", nil, []string{system32 + "cmd.exe", "/c", `echo a>D:\app\new.txt& if not exist D:\app\new.txt echo read-only`}, 0, "read-only\n"},
		{"as restricted as in Kubernetes and OpenShift", func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000680000, AdditionalGids: []uint32{1000680000}}
			s.Process.Capabilities, s.Process.NoNewPrivileges, s.Process.Cwd = &specs.LinuxCapabilities{}, true, "/app"
		}, []string{system32 + "cmd.exe", "/c", `7za.exe a %TEMP%\o.7z 7za.exe >nul& 7za.exe t %TEMP%\o.7z >nul && echo packed`}, 0, "packed\n"},
		{"current folder", func(s *specs.Spec) { s.Process.Cwd = "/app" }, []string{system32 + "cmd.exe", "/c", "cd"}, 0, "D:\\app\n"},
		{"root on drive C:", readWrite, []string{`C:\app\7za.exe`, "l", "none.7z"}, 2, ""},
		{"Windows' own by name", func(s *specs.Spec) { s.Annotations = map[string]string{"io.winbox.handler": "windows"} }, []string{"cmd", "/c", "echo", "named"}, 0, "named\n"},
		{"environment", func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "MINE=yours") }, []string{system32 + "cmd.exe", "/c", "echo %MINE%"}, 0, "yours\n"},
		{"full boot", func(s *specs.Spec) { s.Annotations = map[string]string{"io.winbox.boot": "full"} }, []string{system32 + "cmd.exe", "/c", "echo full"}, 0, "full\n"},
		{"a Linux program beside Wine", nil, []string{"/bin/sh", "-c", "echo $0; exit 5"}, 5, "/bin/sh\n"},
		{"the engine's profile and no more privileges", func(s *specs.Spec) { s.Process.NoNewPrivileges = false }, []string{system32 + "cmd.exe", "/c", "exit -1073741819"}, 139, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			c := b.call("run", "--bundle", b.bundle(test.change, test.args...), b.id("bundle")).wait()
			if c.code() != test.code || test.out != "" && c.text() != test.out || strings.Contains(c.err.String(), "winbox") {
				t.Errorf("exit code %d, output %q, error %q; want exit code %d, output %q", c.code(), c.text(), c.err.String(), test.code, test.out)
			}
		})
	}
}

// TestBundleArchive packs a file of a volume and looks into the archive.
func TestBundleArchive(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	writeFile(t, b.dir, "in/a file.txt", []byte("content"))
	run := func(code int, args ...string) string {
		t.Helper()
		c := b.call("run", "--bundle", b.bundle(nil, args...), b.id("archive")).wait()
		if c.code() != code || c.err.Len() > 0 {
			t.Fatalf("%v: exit code %d, want %d\n%s%s", args, c.code(), code, c.text(), c.err.String())
		}
		return c.text()
	}
	run(0, "/app/7za.exe", "a", `D:\box\out.7z`, "/box/in")
	if out := run(0, "7za.exe", "l", "-slt", "/box/out.7z"); !strings.Contains(out, "Path = in\\a file.txt\nSize = 7\n") {
		t.Errorf("the archive's list:\n%s", out)
	}
	if out := run(0, `c:\app\7za.exe`, "e", "-so", "/box/out.7z"); !strings.HasSuffix(out, "content") {
		t.Errorf("the file in the archive: %q", out)
	}
}

// TestBundleDrives mounts volumes at Windows paths.
func TestBundleDrives(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("look")
	volume := func(at string, options ...string) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: at, Source: b.dir, Options: append([]string{"rbind"}, options...)})
		}
	}
	for at, program := range map[string]string{`D:\`: `D:\look.exe`, "E:": `e:\LOOK.exe`, `C:\Data`: `C:\data\look.exe`, `/F:\sub`: `F:\sub\look.exe`, "/linux": "/linux/look.exe"} {
		if c := b.call("run", "--bundle", b.bundle(volume(at), program), b.id("drives")).wait(); c.code() != 0 {
			t.Errorf("%s on %s: exit code %d\n%s%s", program, at, c.code(), c.text(), c.err.String())
		}
	}
	c := b.call("run", "--bundle", b.bundle(volume("D:", "ro"), system32+"cmd.exe", "/c", `echo x>D:\new.txt& if not exist D:\new.txt echo read-only`), b.id("drives")).wait()
	if _, err := os.Stat(filepath.Join(b.dir, "new.txt")); err == nil || c.text() != "read-only\n" {
		t.Errorf("a read-only volume was written to: %q", c.text())
	}
}

// TestBundleBare runs a program in a root file system that has nothing else: the host's Wine comes in. What is left of
// the mounts must not keep it from running again.
func TestBundleBare(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("settings")
	bundle := b.bundle(b.bare("settings.exe"), "/app/settings.exe")
	var first string
	for range 2 {
		c := b.call("run", "--bundle", bundle, b.id("bare")).wait()
		if c.code() != 0 || c.err.Len() > 0 || first != "" && c.text() != first {
			t.Fatalf("exit code %d\n%s%s", c.code(), c.text(), c.err.String())
		}
		first = c.text()
	}
}

// TestBundleMapped runs a program in a user namespace, in which the template's files belong to nobody.
func TestBundleMapped(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("look")
	bare := b.bare("look.exe")
	bundle := b.bundle(func(s *specs.Spec) {
		bare(s)
		if err := exec.Command("chown", "-R", "100000:100000", s.Root.Path).Run(); err != nil {
			t.Fatal(err)
		}
		s.Process.User = specs.User{UID: 7, GID: 8}
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 1000}}
		s.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 1000}}
	}, system32+"cmd.exe", "/c", `echo a>C:\users\new.txt& type C:\users\new.txt& reg add HKCU\Software\X /v v /d 1 >nul&& reg query HKCU\Software\X >nul&& D:\box\look.exe`)
	c := b.call("run", "--bundle", bundle, b.id("mapped")).wait()
	if c.code() != 0 || !strings.HasPrefix(c.text(), "a\n") || c.err.Len() > 0 {
		t.Errorf("exit code %d\n%s%s", c.code(), c.text(), c.err.String())
	}
}

// TestBundleLife follows a Windows container through the commands that engines use, one process each.
func TestBundleLife(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	id := b.id("life")
	b.program("base")
	do := func(code int, words ...string) string {
		t.Helper()
		c := b.call(words...).wait()
		if c.code() != code {
			t.Fatalf("%s: exit code %d, want %d\n%s%s", c, c.code(), code, c.text(), c.err.String())
		}
		return c.text() + c.err.String()
	}
	status := func() string {
		var s oci.State
		if err := json.Unmarshal([]byte(do(0, "state", id)), &s); err != nil {
			t.Fatal(err)
		}
		return string(s.Status)
	}
	bundle := b.bundle(nil, "/box/base.exe")
	create := b.call("create", "--bundle", bundle, id)
	// The container's streams are those of `create`: a file, since nobody waits for a pipe's end.
	out, err := os.Create(filepath.Join(b.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	stdin, keep, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	create.Stdin, create.Stdout, create.Stderr = stdin, out, out
	if create.wait(); create.code() != 0 || status() != "created" {
		t.Fatalf("create: exit code %d\n%s", create.code(), readFile(t, out.Name()))
	}
	stdin.Close()
	if files := readFile(t, out.Name()); files != "" {
		t.Errorf("create wrote %q", files)
	}
	do(0, "start", id)
	await(t, "the program's line", func() bool { return strings.HasPrefix(readFile(t, out.Name()), "program ") })
	if s := status(); s != "running" {
		t.Errorf("status %s", s)
	}
	layout := planned(t, filepath.Join(b.dir, "base.exe"), 0x140000000, true)
	if n := b.audit(layout, "base.exe"); n != 1 {
		t.Errorf("%d processes have the image", n)
	}

	b.booted()
	before := len(b.processes())
	if got := do(0, "exec", id, system32+"cmd.exe", "/c", `echo x>C:\users\seen.txt& echo done`); got != "done\r\n" && got != "done\n" {
		t.Errorf("exec of a Windows program: %q", got)
	}
	if got := do(0, "exec", id, "cat", "/run/winbox/prefix/drive_c/users/seen.txt"); strings.TrimSpace(got) != "x" {
		t.Errorf("the container's prefix, as a Linux program sees it: %q", got)
	}
	do(44, "exec", id, system32+"cmd.exe", "/c", "exit 300")
	do(139, "exec", id, system32+"cmd.exe", "/c", "exit -1073741819") // 0xC0000005
	do(2, "exec", id, "7za.exe", "t", "none.7z")
	do(3, "exec", id, "sh", "-c", "exit 3")
	if got := do(255, "exec", "--user", "1000:1000", id, "/app/7za.exe"); !strings.Contains(got, "runs as user 0:0") {
		t.Errorf("exec as another user: %q", got)
	}
	do(255, "exec", id, "/app/none.exe")
	if servers := processesNamed(t, b.processes(), "wineserver"); servers != 1 {
		t.Errorf("%d wineservers: exec does not share the container's", servers)
	}
	if after := len(b.processes()); after != before {
		t.Errorf("%d processes after exec, %d before", after, before)
	}

	do(1, "delete", id)
	do(0, "kill", id, "TERM")
	await(t, "the end", func() bool { return status() == "stopped" })
	do(1, "kill", id, "TERM")
	do(255, "exec", id, "/app/7za.exe")
	do(0, "delete", id)
	b.wantNothing(id)
}

// processesNamed counts processes by their names, which are cut at 15 bytes.
func processesNamed(t *testing.T, pids []int, prefix string) int {
	t.Helper()
	n := 0
	for _, pid := range pids {
		name, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm")) // fails for one that has ended
		if strings.HasPrefix(string(name), prefix) {
			n++
		}
	}
	return n
}

// wantNothing checks that nothing is left of a container: no state, no control group, no folder, no process.
func (b *box) wantNothing(id string) {
	b.t.Helper()
	if left := b.containers(); len(left) > 0 {
		b.t.Errorf("containers %v are left", left)
	}
	if left := cgroups(b.t, id); len(left) > 0 {
		b.t.Errorf("control groups %v are left", left)
	}
	if left, err := filepath.Glob(filepath.Join(dataRoot, "containers", id+"-*")); len(left) > 0 || err != nil {
		b.t.Errorf("folders %v are left (%v)", left, err)
	}
}

// TestBundleForced deletes a running Windows container, and one that has not been started.
func TestBundleForced(t *testing.T) {
	t.Parallel()
	for _, start := range []bool{true, false} {
		b := newBox(t)
		b.program("spin")
		id, bundle := b.id("forced"), b.bundle(nil, "/box/spin.exe")
		var running []int
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		create := b.call("create", "--bundle", bundle, id)
		create.Stdin, create.Stdout, create.Stderr = null, null, null
		if create.wait(); create.code() != 0 {
			t.Fatalf("create: exit code %d", create.code())
		}
		if start {
			if c := b.call("start", id).wait(); c.code() != 0 {
				t.Fatalf("start: exit code %d\n%s", c.code(), c.err.String())
			}
			await(t, "the program", func() bool { return processesNamed(t, b.processes(), "spin.exe") == 1 })
			running = b.processes()
		}
		if c := b.call("delete", "--force", id).wait(); c.code() != 0 {
			t.Errorf("delete --force: exit code %d\n%s", c.code(), c.err.String())
		}
		b.wantNothing(id)
		await(t, "the end of its processes", func() bool {
			for _, pid := range running {
				if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); err == nil {
					return false
				}
			}
			return true
		})
	}
}

// TestBundleMemory checks that the limit of the bundle holds: the program is refused memory, or is killed if it is not.
func TestBundleMemory(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("allocate")
	limit := int64(64 << 20)
	for commit, want := range map[string]int{"": 3, "off": 137} {
		bundle := b.bundle(func(s *specs.Spec) {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
			if commit != "" {
				s.Annotations = map[string]string{"io.winbox.memory.commit": commit}
			}
		}, "/box/allocate.exe", "500")
		if c := b.call("run", "--bundle", bundle, b.id("memory")).wait(); c.code() != want {
			t.Errorf("commit %q: exit code %d, want %d\n%s%s", commit, c.code(), want, c.text(), c.err.String())
		}
		b.wantNothing(b.id("memory"))
	}
}

// TestBundleReserve checks that a range that is asked for is taken before the program begins.
func TestBundleReserve(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("base")
	c := b.call("run", "--bundle", b.bundle(func(s *specs.Spec) {
		s.Annotations = map[string]string{"io.winbox.layout.reserve": "600000000000-600010000000"}
	}, "/box/base.exe"), b.id("reserve"))
	stdin := c.follow()
	c.line()
	found := false
	for _, pid := range b.processes() {
		maps, err := mapsOf(pid)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range maps {
			found = found || m.Range.Contains(preload.Range{Start: 0x600000000000, End: 0x600010000000})
		}
	}
	if !found {
		t.Error("the range is not reserved")
	}
	stdin.Close()
	if c.wait(); c.code() != 0 {
		t.Errorf("exit code %d\n%s", c.code(), c.err.String())
	}
}

// TestBundleExitRecord checks that all 32 bits of the exit code are kept.
func TestBundleExitRecord(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	id := b.id("record")
	c := b.call("run", "--keep", "--bundle", b.bundle(nil, system32+"cmd.exe", "/c", "exit 70001"), id).wait()
	if c.code() != 70001&0xff {
		t.Errorf("exit code %d\n%s", c.code(), c.err.String())
	}
	record := []byte(readFile(t, filepath.Join(b.root, id, "exit")))
	if len(record) != 16 || binary.LittleEndian.Uint32(record[4:]) != 70001 || record[8] != 1 {
		t.Errorf("exit record %v", record)
	}
	if c := b.call("delete", id).wait(); c.code() != 0 {
		t.Errorf("delete: exit code %d\n%s", c.code(), c.err.String())
	}
	b.wantNothing(id)
}

// TestBundleSignal sends SIGTERM to winbox itself.
func TestBundleSignal(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("base")
	c := b.call("run", "--bundle", b.bundle(nil, "/box/base.exe"), b.id("signal"))
	c.follow()
	c.line()
	if kill := b.call("kill", b.id("signal"), "15").wait(); kill.code() != 0 {
		t.Errorf("kill: exit code %d\n%s", kill.code(), kill.err.String())
	}
	if c.wait(); c.code() != 130 { // STATUS_CONTROL_C_EXIT, of a program that does not handle the event
		t.Errorf("exit code %d\n%s", c.code(), c.err.String())
	}
	b.wantNothing(b.id("signal"))
}

// TestBundleTerminal types into a Windows program on a terminal of the container's.
func TestBundleTerminal(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c := b.call("run", "--bundle", b.bundle(func(s *specs.Spec) { s.Process.Terminal = true }, system32+"cmd.exe"), b.id("terminal"))
	s := c.attach(console.WinSize{Width: 120, Height: 30})
	s.shows(t, `D:\\>`)
	if _, err := s.Write([]byte("set /a 6*7\r")); err != nil {
		t.Error(err)
	}
	s.shows(t, `42`)
	if _, err := s.Write([]byte("exit 9\r")); err != nil {
		t.Error(err)
	}
	if c.wait(); c.code() != 9 {
		t.Errorf("exit code %d, want 9", c.code())
	}
}

// TestBundleShared joins the pid namespace of another container, as in a pod: what the program leaves behind ends with
// it, and nothing else does.
func TestBundleShared(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("base")
	other := b.call("run", "--bundle", b.bundle(nil, "/bin/sleep", "1000"), b.id("pod"))
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the other container", func() bool { return b.call("exec", b.id("pod"), "true").wait().code() == 0 })
	_, pid := b.container()
	share := func(s *specs.Spec) {
		for i := range s.Linux.Namespaces {
			if n := &s.Linux.Namespaces[i]; n.Type == specs.PIDNamespace || n.Type == specs.NetworkNamespace {
				n.Path = filepath.Join("/proc", strconv.Itoa(pid), "ns", map[specs.LinuxNamespaceType]string{specs.PIDNamespace: "pid", specs.NetworkNamespace: "net"}[n.Type])
			}
		}
	}
	for range 5 {
		c := b.call("run", "--bundle", b.bundle(share, "/box/base.exe"), b.id("shared"))
		stdin := c.follow()
		c.line()
		seen := b.call("exec", b.id("pod"), "ps").wait()
		if !strings.Contains(seen.text(), "base.exe") || !strings.Contains(seen.text(), "wineserver") {
			t.Errorf("the other container does not see the program:\n%s", seen.text())
		}
		stdin.Close()
		if c.wait(); c.code() != 0 {
			t.Errorf("exit code %d\n%s", c.code(), c.err.String())
		}
		if left := b.call("exec", b.id("pod"), "ps").wait(); strings.Contains(left.text(), "wineserver") || left.code() != 0 {
			t.Errorf("after the end: exit code %d\n%s", left.code(), left.text())
		}
	}
	if c := b.call("kill", b.id("pod"), "KILL").wait(); c.code() != 0 {
		t.Errorf("kill: exit code %d\n%s", c.code(), c.err.String())
	}
	other.wait()
}

// TestBundleKilled kills winbox while it makes a Windows container, sooner or later: `delete --force` removes all of it.
func TestBundleKilled(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("spin")
	bundle, id := b.bundle(nil, "/box/spin.exe"), b.id("killed")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for delay := time.Duration(0); delay < 60*time.Millisecond; delay += 2 * time.Millisecond {
		create := b.call("create", "--bundle", bundle, id)
		create.Stdin, create.Stdout, create.Stderr = null, null, null
		if err := create.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		if err := create.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		create.wait()
		if c := b.call("delete", "--force", id).wait(); c.code() != 0 {
			t.Errorf("killed after %v: delete --force: exit code %d\n%s", delay, c.code(), c.err.String())
		}
		b.wantNothing(id)
		if t.Failed() {
			return
		}
	}
}

// TestBundleExample runs what `spec --windows` writes.
func TestBundleExample(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	writeFile(t, b.dir, "rootfs/look.exe", []byte(readFile(t, build(t, "look", "look"))))
	for _, name := range []string{"look.exe", `C:\look.exe`} {
		if c := b.call("spec", "--windows", name).wait(); c.code() != 0 {
			t.Fatalf("spec: exit code %d\n%s", c.code(), c.err.String())
		}
		b.call("run", b.id("example")).wait().want(0, "")
		if err := os.Remove(filepath.Join(b.dir, "config.json")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBundleRefused checks that what cannot be run is said, and leaves nothing behind.
func TestBundleRefused(t *testing.T) {
	t.Parallel()
	annotate := func(name, value string) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Annotations = map[string]string{name: value} }
	}
	// Where Wine 8 has its loader.
	moved := build(t, "base-moved", "base", "-Wl,--image-base,0x7d000000")
	for name, test := range map[string]struct {
		change func(*specs.Spec)
		arg    string
		want   string
	}{
		"handler":         {annotate("io.winbox.handler", "dos"), "/app/7za.exe", "io.winbox.handler"},
		"Linux handler":   {annotate("io.winbox.handler", "linux"), "/app/7za.exe", "exec format error"},
		"Windows handler": {annotate("io.winbox.handler", "windows"), "/bin/busybox", "not a Windows program"},
		"boot":            {annotate("io.winbox.boot", "fast"), "/app/7za.exe", "io.winbox.boot"},
		"stop":            {annotate("io.winbox.stop", "ctrl-alt-del"), "/app/7za.exe", "is none of ctrl-c"},
		"linger":          {annotate("io.winbox.linger", "yes"), "/app/7za.exe", "neither true nor false"},
		"reserve":         {annotate("io.winbox.layout.reserve", "x"), "/app/7za.exe", "io.winbox.layout.reserve"},
		// It could be elsewhere, as it has relocations; but not under strict.
		"strict":  {annotate("io.winbox.layout.strict", "true"), "/box/moved.exe", "it would not be at its base"},
		"missing": {nil, `C:\none.exe`, "no such file or directory"},
		"root":    {func(s *specs.Spec) { s.Root.Path = "/nowhere" }, "/app/7za.exe", "/nowhere"},
	} {
		b := newBox(t)
		writeFile(t, b.dir, "moved.exe", []byte(readFile(t, moved)))
		c := b.call("run", "--bundle", b.bundle(test.change, test.arg), b.id("refused")).wait()
		if line := c.wantLine(1); !strings.Contains(line, test.want) {
			t.Errorf("%s: %q, want %q", name, line, test.want)
		}
		b.wantNothing(b.id("refused"))
	}
}
