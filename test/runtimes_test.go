package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/seccomp/engineprofile"
)

// buildPatience is how long building a runtime may take, with its packages from a mirror.
const buildPatience = 10 * time.Minute

// runtimesRoot is the data root of the built runtimes: not dataRoot, whose tests are about the host's Wine alone.
func runtimesRoot() string { return filepath.Join(filepath.Dir(dataRoot), "runtimes") }

// The runtimes are built when the first test wants them: one with an i386 Wine, of Debian's packages; and one with the new
// WoW64, of what that has. The variable WINBOX_TEST_ROOT names a root file system to take in place of the packages, for who
// has no network or no patience.
var (
	buildI386 = sync.OnceValue(func() error {
		if from := os.Getenv("WINBOX_TEST_ROOT"); from != "" {
			return buildRuntime("i386", "--wow64", "i386", "--wayland", "--from", from)
		}
		return buildRuntime("i386", "--wow64", "i386", "--wayland")
	})
	buildNew = sync.OnceValue(func() error {
		if err := buildI386(); err != nil {
			return err
		}
		return buildRuntime("new", "--wow64", "new", "--from", filepath.Join(runtimesRoot(), "runtimes/i386/root"))
	})
	buildWoW64 = map[string]func() error{"i386": buildI386, "new": buildNew}
)

func buildRuntime(name string, flags ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), buildPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, winbox, append([]string{"runtime", "build", name}, flags...)...)
	cmd.Env = append(os.Environ(), "WINBOX_DATA="+runtimesRoot())
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err == nil && string(out) != name+"\n" {
		err = fmt.Errorf("printed %q", out)
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, said.String())
	}
	return nil
}

// newRuntimeBox makes a box whose launches use a built runtime, which runs 32-bit programs in one of two ways: "i386" or
// "new". The runtime's name is that word.
func newRuntimeBox(t *testing.T, kind string) *box {
	t.Helper()
	b := newBox(t)
	if err := buildWoW64[kind](); err != nil {
		t.Fatal(err)
	}
	b.env = []string{"WINBOX_DATA=" + runtimesRoot()}
	b.runtime = kind
	return b
}

// wow64Kinds are the ways in which 32-bit programs run.
var wow64Kinds = []string{"i386", "new"}

// TestRuntimes runs a real archiver on built runtimes: 32-bit and 64-bit, on an i386 Wine and by the new WoW64.
func TestRuntimes(t *testing.T) {
	t.Parallel()
	for _, kind := range wow64Kinds {
		for _, machine := range []string{"ia32", "x64"} {
			t.Run(kind+"/"+machine, func(t *testing.T) {
				t.Parallel()
				b := newRuntimeBox(t, kind)
				seven := sevenZipFor(t, machine)
				want := makeTree(t, filepath.Join(b.dir, "in"), 100)
				steps := []struct {
					args []string
					code int
					says string
				}{
					{[]string{"a", "-mx1", "out.7z", "in"}, 0, "100 files"},
					{[]string{"l", "out.7z"}, 0, "100 files"},
					{[]string{"t", "out.7z"}, 0, "Everything is Ok"},
					{[]string{"x", "out.7z", `-oback`}, 0, "Files: 100"},
					{[]string{"t", "missing.7z"}, 2, ""},
					{[]string{"a", "-bad-switch"}, 7, ""},
				}
				for _, step := range steps {
					c := b.run(append([]string{seven}, step.args...)...)
					if c.code() != step.code || !strings.Contains(c.text(), step.says) || strings.Contains(c.err.String(), "winbox:") {
						t.Fatalf("%s: exit code %d, output:\n%s%s", c, c.code(), c.text(), c.err.String())
					}
				}
				got := readTree(t, filepath.Join(b.dir, "back", "in"))
				if len(got) != len(want) {
					t.Errorf("unpacked %d files, packed %d", len(got), len(want))
				}
				for name, data := range want {
					if string(got[name]) != string(data) {
						t.Errorf("%s: %d bytes that differ from the %d packed", name, len(got[name]), len(data))
					}
				}
			})
		}
	}
}

// TestRuntimeBundle runs bundles on built runtimes: of the annotation's choosing, and for a 32-bit program of winbox's.
func TestRuntimeBundle(t *testing.T) {
	t.Parallel()
	const annotation = "io.winbox.runtime"
	for _, test := range []struct{ kind, machine, annotation, says string }{
		{"new", "ia32", "new", "(x86)"},
		{"new", "x64", "new", "(x64)"},
		{"i386", "ia32", "i386", "(x86)"},
		{"i386", "x64", "i386", "(x64)"},
		{"new", "ia32", "", "(x86)"}, // the host's Wine runs no 32-bit programs
	} {
		t.Run(test.kind+"/"+test.machine+"/"+test.annotation, func(t *testing.T) {
			t.Parallel()
			b := newRuntimeBox(t, test.kind)
			writeFile(t, b.dir, "7za.exe", []byte(readFile(t, sevenZipFor(t, test.machine))))
			bundle := b.bundle(func(s *specs.Spec) {
				b.bare("7za.exe")(s)
				if test.annotation != "" {
					s.Annotations = map[string]string{annotation: test.annotation}
				}
			}, "/app/7za.exe", "t", "none.7z")
			if c := b.call("run", "--bundle", bundle, b.id("runtime")).wait(); c.code() != 2 || !strings.Contains(c.text(), test.says) {
				t.Errorf("%s: exit code %d, output %q, error %q", c, c.code(), c.text(), c.err.String())
			}
		})
	}
	// Engines' filters of system calls must leave a 32-bit process its own ones.
	for _, engine := range []string{"docker", "podman"} {
		for _, kind := range wow64Kinds {
			t.Run(engine+"/"+kind, func(t *testing.T) {
				t.Parallel()
				b := newRuntimeBox(t, kind)
				writeFile(t, b.dir, "7za.exe", []byte(readFile(t, sevenZipFor(t, "ia32"))))
				bundle := b.bundle(func(s *specs.Spec) {
					b.bare("7za.exe")(s)
					profile, err := engineprofile.Load("../seccomp/testdata/"+engine+".json", s.Process.Capabilities.Bounding...)
					if err != nil {
						t.Fatal(err)
					}
					s.Annotations, s.Linux.Seccomp = map[string]string{annotation: kind}, profile
				}, "/app/7za.exe", "a", "-mx1", "-mmt2", `C:\windows\temp\out.7z`, "/app/7za.exe")
				if c := b.call("run", "--bundle", bundle, b.id("profile")).wait(); c.code() != 0 || !strings.Contains(c.text(), "Everything is Ok") {
					t.Errorf("%s: exit code %d, output %q, error %q", c, c.code(), c.text(), c.err.String())
				}
			})
		}
	}
	for _, kind := range wow64Kinds {
		t.Run("exec/"+kind, func(t *testing.T) {
			t.Parallel()
			b := newRuntimeBox(t, kind)
			bundle := b.bundle(func(s *specs.Spec) {
				s.Root.Path = newDir(t)
				s.Annotations = map[string]string{annotation: kind}
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/host", Source: filepath.Dir(sevenZipFor(t, "ia32")) + "/..", Options: []string{"rbind", "ro"}})
			}, system32+"cmd.exe", "/c", "echo ready& pause")
			id := b.id("exec")
			c := b.call("run", "--bundle", bundle, id)
			stdin := c.follow()
			c.line()
			for machine, says := range map[string]string{"ia32": "(x86)", "x64": "(x64)"} {
				if e := b.call("exec", id, "/host/"+machine+"/7za.exe", "t", "none.7z").wait(); e.code() != 2 || !strings.Contains(e.text(), says) {
					t.Errorf("%s: exit code %d, output %q, error %q", e, e.code(), e.text(), e.err.String())
				}
			}
			// Containers of other tests may be there, too.
			if says := b.call("runtime", "rm", kind).wait().wantLine(1); !strings.Contains(says, "is in use") || !strings.Contains(says, id) {
				t.Errorf("rm says %q", says)
			}
			stdin.Close()
			c.wait()
		})
	}
	t.Run("none of that name", func(t *testing.T) {
		b := newRuntimeBox(t, "new")
		bundle := b.bundle(func(s *specs.Spec) { s.Annotations = map[string]string{annotation: "../new"} }, "/app/7za.exe")
		if c := b.call("run", "--bundle", bundle, b.id("runtime")).wait(); !strings.Contains(c.wantLine(1), "no such runtime: ../new") {
			t.Errorf("says %q", c.err.String())
		}
	})
}

// TestRuntimeBuildKilled kills a build and checks that nothing of it counts or stays.
func TestRuntimeBuildKilled(t *testing.T) {
	t.Parallel()
	b := newRuntimeBox(t, "i386")
	own := filepath.Join(b.dir, "data")
	b.env = []string{"WINBOX_DATA=" + own}
	from := filepath.Join(runtimesRoot(), "runtimes/i386/root")
	drafts := func() []string {
		found, err := filepath.Glob(filepath.Join(own, "runtimes/.new-*/made/root/*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	var old []string
	for _, signal := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		c := b.call("runtime", "build", "killed", "--from", from)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, "files of the draft", func() bool {
			now := drafts()
			return len(now) > 0 && !slices.Equal(now, old)
		})
		if err := c.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		c.wait()
		old = drafts()
		if ls := b.call("runtime", "ls", "--format", "json").wait(); strings.Contains(ls.text(), "killed") {
			t.Errorf("%v: the list is %s", signal, ls.text())
		}
	}
	if len(old) > 0 { // the second build has removed the first's, too
		t.Errorf("left behind: %v", old)
	}
	// Two at once, of the same things: one after the other they make one tree.
	first, second := b.call("runtime", "build", "one", "--from", from), b.call("runtime", "build", "two", "--from", from)
	if err := errors.Join(first.Start(), second.Start()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*call{first, second} {
		if c.wait(); c.code() != 0 {
			t.Errorf("%s: exit code %d, %s", c, c.code(), c.err.String())
		}
	}
	trees, err := filepath.Glob(filepath.Join(own, "runtimes/sha256-*"))
	if err != nil || len(trees) != 1 {
		t.Errorf("trees %v, %v", trees, err)
	}
}

// TestRuntimeStore lists, verifies and removes a runtime.
func TestRuntimeStore(t *testing.T) {
	t.Parallel()
	b := newRuntimeBox(t, "i386")
	own := filepath.Join(b.dir, "data")
	from := filepath.Join(runtimesRoot(), "runtimes/i386/root")
	b.env = []string{"WINBOX_DATA=" + own}
	c := b.call("runtime", "build", "--wow64", "none", "--from", from)
	if c.wait(); c.code() != 0 || c.text() != "wine-10.0\n" {
		t.Fatalf("%s: exit code %d, output %q\n%s", c, c.code(), c.text(), c.err.String())
	}
	if c := b.call("runtime", "build", "wine-10.0", "--from", from).wait(); !strings.Contains(c.wantLine(1), "--replace") {
		t.Errorf("a second build of the name says %q", c.err.String())
	}
	if c := b.call("runtime", "ls").wait(); c.code() != 0 || !strings.Contains(c.text(), "\nwine-10.0 ") || !strings.Contains(c.text(), "\nhost* ") {
		t.Errorf("exit code %d, list:\n%s", c.code(), c.text())
	}
	b.call("runtime", "verify", "wine-10.0").wait().want(0, "")
	if c := b.run("--runtime", "wine-10.0", sevenZipFor(t, "ia32"), "i"); !strings.Contains(c.wantLine(126), "winbox runtime build") {
		t.Errorf("a 32-bit program on a runtime without says %q", c.err.String())
	}
	root := filepath.Join(own, "runtimes/wine-10.0/root")
	writeFile(t, root, "usr/share/wine/wine.inf", []byte("changed"))
	if c := b.call("runtime", "verify", "wine-10.0").wait(); !strings.Contains(c.wantLine(1), "has been changed") {
		t.Errorf("verifying a changed runtime says %q", c.err.String())
	}
	b.call("runtime", "rm", "wine-10.0").wait().want(0, "")
	if c := b.call("runtime", "rm", "wine-10.0").wait(); !strings.Contains(c.wantLine(1), "no such runtime") {
		t.Errorf("a second rm says %q", c.err.String())
	}
	for _, dir := range []string{"runtimes", "templates"} {
		entries, err := os.ReadDir(filepath.Join(own, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), "lock") {
				t.Errorf("%s/%s is left", dir, e.Name())
			}
		}
	}
}
