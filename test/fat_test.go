package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A fat is the bundle of an image that brings Wine along, and a container runtime that is not winbox: call runs that.
type fat struct {
	*box
	rootfs string
	spec   specs.Spec
}

// newFat packs programs with a built runtime, and unpacks the image.
func newFat(t *testing.T, programs ...string) *fat {
	t.Helper()
	b := newRuntimeBox(t, "i386")
	data := newDir(t)
	for _, name := range []string{"templates", "runtimes"} {
		if err := os.Symlink(filepath.Join(runtimesRoot(), name), filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	b.env = []string{"WINBOX_DATA=" + data, "TMPDIR=" + newDir(t)}
	app := filepath.Join(b.dir, "app")
	for _, program := range programs {
		writeFile(t, app, filepath.Base(program), []byte(readFile(t, program)))
	}
	pack := []string{"pack", app, "--with-runtime", "--runtime", "i386", "--compression", "zstd", "--entrypoint", filepath.Base(programs[0])}
	first := b.images(append(pack, "-t", "first")...)
	if again := b.images(append(pack, "-t", "again")...); again != first {
		t.Errorf("the same files make the images %s and %s", first, again)
	}
	bundle := filepath.Join(b.dir, "bundle")
	b.images("unpack", "first", bundle)
	f := &fat{box: b, rootfs: filepath.Join(bundle, "rootfs")}
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(bundle, "config.json"))), &f.spec); err != nil {
		t.Fatal(err)
	}
	if want := "/usr/bin/winbox init /app/" + filepath.Base(programs[0]); strings.Join(f.spec.Process.Args, " ") != want {
		t.Errorf("the image runs %q, want %s", f.spec.Process.Args, want)
	}
	return f
}

// under gives the same for a runtime. crun 1.8 does not run where both versions of control groups are mounted.
func (f *fat) under(t *testing.T, runtime string) *fat {
	t.Helper()
	name, err := exec.LookPath(runtime)
	if err != nil {
		t.Fatalf("%v (Debian package %s)", err, runtime)
	}
	if runtime == "crun" {
		name = writeFile(t, newDir(t), runtime, []byte("#!/bin/sh\nexec unshare --mount --propagation private sh -c '"+
			"if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi; exec "+name+` "$@"' sh "$@"`+"\n"))
	}
	g := *f
	own := *f.box
	own.winbox, own.root, g.box = name, newDir(t), &own
	return &g
}

// run prepares a container that runs a program.
func (f *fat) run(t *testing.T, change func(*specs.Spec), words ...string) (c *call, id string) {
	t.Helper()
	spec := f.spec
	process := *spec.Process
	spec.Process, spec.Root = &process, &specs.Root{Path: f.rootfs}
	process.Args = append([]string{"/usr/bin/winbox", "init"}, words...)
	if change != nil {
		change(&spec)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	dir, id := newDir(t), newName(t)
	writeFile(t, dir, "config.json", text)
	t.Cleanup(func() { f.call("delete", "--force", id).Run() }) // if it is left
	return f.call("run", "--bundle", dir, id), id
}

// refusePersonality has a filter as docker's, under which randomisation of addresses stays on.
func refusePersonality(s *specs.Spec) {
	linux, no := *s.Linux, uint(unix.EPERM)
	linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"personality"}, Action: specs.ActErrno, ErrnoRet: &no}},
	}
	s.Linux = &linux
}

// TestFatImage runs an image that brings Wine along under other runtimes than winbox: with the address space, the signals,
// the exit codes and the registry of a container of winbox's.
func TestFatImage(t *testing.T) {
	t.Parallel()
	wide := machine{"amd64", machines[0].compiler, machines[0].arch, "i386"}
	narrow := machines[1]
	spaces := map[machine]string{wide: wide.space(t, "fat", linked(0x400000)), narrow: narrow.space(t, "fat-386", linked(0x400000))}
	image := newFat(t, build(t, "stop", "stop"), spaces[wide], spaces[narrow])
	memory := specs.Mount{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777"}}
	for _, runtime := range []string{"runc", "crun"} { // not at the same time: they share a root file system
		f := image.under(t, runtime)
		run := func(change func(*specs.Spec), words ...string) *call {
			t.Helper()
			c, _ := f.run(t, change, words...)
			return c.wait()
		}
		for m, file := range spaces {
			randomised := refusePersonality
			if runtime == "runc" {
				randomised = nil
			}
			c, _ := f.run(t, randomised, "/app/"+filepath.Base(file), "wait")
			s := &space{call: c, machine: m, file: file, plan: m.plan(t, file)}
			s.stdin = s.follow()
			s.facts()
			s.pid = having(t, allProcesses(t), file)
			s.audit()
			s.end()
		}
		run(nil, "cmd", "/c", "exit 3010").want(3010&0xff, "")
		run(nil, "cmd", "/c", "exit -1073741819").want(139, "")
		run(nil, "cmd", "/c", "cmd /c echo %MINE%").want(0, "%MINE%\n")
		run(func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "MINE=1") }, "cmd", "/c", "echo %MINE%& cd").want(0, "1\nD:\\\n")
		run(func(s *specs.Spec) { s.Process.Cwd = "/app" }, "cmd", "/c", "cd").want(0, "D:\\app\n")

		// What is written is there at the next start: the registry, when the container was stopped.
		value := "WINBOX_TEST=" + runtime
		c, id := f.run(t, nil, "/app/stop.exe", value, "handle")
		c.follow()
		if line := c.line(); line != "waiting" {
			t.Fatalf("%s: it says %q", runtime, line)
		}
		if second := f.call("exec", id, "/usr/bin/winbox", "init", "cmd", "/c", "ver").wait(); second.code() != 125 || !strings.Contains(second.err.String(), "runs in this container already") {
			t.Errorf("%s: a second program: exit code %d, %s", runtime, second.code(), second.err.String())
		}
		if kill := f.call("kill", id, "TERM").wait(); kill.code() != 0 {
			t.Fatal(kill.err.String())
		}
		if out := c.rest(); out != "ctrl-shutdown\ncleaned up\n" || c.code() != 7 {
			t.Errorf("%s: stopped: exit code %d, %q, %s", runtime, c.code(), out, c.err.String())
		}
		if c := run(nil, "cmd", "/c", "reg query HKCU\\Software\\Stop"); !strings.Contains(c.text(), runtime) {
			t.Errorf("%s: what it has set is not in the registry: %s%s", runtime, c.text(), c.err.String())
		}

		other := func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1234, GID: 56}
			s.Root.Readonly = true
			s.Mounts = append(s.Mounts[:len(s.Mounts):len(s.Mounts)], memory)
		}
		run(other, "cmd", "/c", "reg add HKCU\\Software\\T /ve /f >nul&& echo written>c:\\users\\t&& type c:\\users\\t").want(0, "written\n")
		for _, test := range []struct {
			change func(*specs.Spec)
			words  []string
			code   int
			says   string
		}{
			{nil, []string{"/app/none.exe"}, 127, "no such file"},
			{nil, []string{"/usr/bin/winbox"}, 125, "not a Windows program"},
			{nil, []string{"--annotation", "io.winbox.display=virtual", "cmd"}, 125, "needs winbox on the node"},
			{nil, []string{"--annotation", "io.winbox.boot=fast", "cmd"}, 125, "boot profile"},
			{func(s *specs.Spec) { s.Root.Readonly = true }, []string{"cmd"}, 125, "tmpfs on /run"},
			{func(s *specs.Spec) { s.Process.User.UID = 1 }, []string{"cmd"}, 125, "another user has run"},
		} {
			if line := run(test.change, test.words...).wantLine(test.code); !strings.Contains(line, test.says) {
				t.Errorf("%s: %q: %s", runtime, test.words, line)
			}
		}
	}
}
