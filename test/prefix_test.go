package test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestPrefixKilled kills winbox and the container again and again while a program writes to a persistent prefix, and
// while the registry is saved. Whatever the moment, the prefix must be whole afterwards.
func TestPrefixKilled(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	keep, prefix := b.program("keep"), filepath.Join(newDir(t), "prefix")
	saved := 0
	for round := range 36 {
		c := b.launch("--prefix", prefix, keep)
		stdin := c.follow()
		if start := c.line(); round > 0 && !wholeCount.MatchString(strings.TrimPrefix(start, "start ")) {
			t.Fatalf("round %d: the file of the round before is %q", round, start)
		}
		c.line() // it writes
		id, pid := b.container()
		if round%6 == 0 {
			// What winbox is for has happened: the container goes on without it.
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if line := b.run("--prefix", prefix, keep).wantLine(failed); !strings.Contains(line, "in use") {
				t.Fatalf("round %d: while the container runs, another launch says %q", round, line)
			}
		}
		before, err := os.Stat(filepath.Join(prefix, "system.reg"))
		if err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 {
			time.Sleep(rand.N(60 * time.Millisecond))
		} else {
			stdin.Close() // the program ends, the wineserver saves: into a file beside that it renames
			await(t, "the registry is saved", func() bool {
				drafts, _ := filepath.Glob(filepath.Join(prefix, "reg*.tmp"))
				now, err := os.Stat(filepath.Join(prefix, "system.reg"))
				return len(drafts) > 0 || err == nil && !now.ModTime().Equal(before.ModTime())
			})
			time.Sleep(rand.N(120 * time.Millisecond))
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		c.wait()
		stdin.Close()
		for _, left := range b.containers() {
			if left != id {
				t.Errorf("container %s", left)
			}
			if d := b.call("delete", "--force", left).wait(); d.code() != 0 {
				t.Fatalf("%s: %s", d, d.err.String())
			}
		}
		if after, err := os.Stat(filepath.Join(prefix, "system.reg")); err != nil {
			t.Fatal(err)
		} else if !after.ModTime().Equal(before.ModTime()) {
			saved++
		}
		for _, name := range []string{"system.reg", "user.reg", "userdef.reg"} {
			if err := wholeRegistry(filepath.Join(prefix, name)); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
	t.Logf("in %d rounds the registry was saved before the kill", saved)
	c := b.launch("--prefix", prefix, keep)
	stdin := c.follow()
	c.line()
	c.line()
	stdin.Close()
	if c.wait(); c.code() != 0 || c.err.Len() > 0 {
		t.Errorf("afterwards: exit code %d\n%s", c.code(), c.err.String())
	}
	c = b.run("--prefix", prefix, "cmd", "/c", `reg query HKCU\Software\WinboxTest& type C:\users\count.txt`)
	if c.code() != 0 || saved == 0 || strings.Count(c.text(), "and the same again") != 21 || c.err.Len() > 0 {
		t.Errorf("at the end: exit code %d\n%s%s", c.code(), c.text(), c.err.String())
	}
}

// TestPrefixSaved kills everything a moment after a program wrote to the registry of a persistent prefix.
func TestPrefixSaved(t *testing.T) {
	t.Parallel()
	for _, boot := range []string{"minimal", "auto"} {
		t.Run(boot, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			prefix := filepath.Join(newDir(t), "prefix")
			b.run("--prefix", prefix, "cmd", "/c", "exit 0").want(0, "")
			writeFile(t, b.dir, "add.cmd", []byte("@for %%k in (HKCU HKLM) do @reg add %%k\\Software\\Soon /v %1 /d kept /f >nul\r\n"))
			c := b.launch("--prefix", prefix, "--boot", boot, "cmd")
			stdin := c.follow()
			// Three times in less than the thirty seconds, or part of thirty, in which the wineserver by itself saves each time.
			rounds := []string{"one", "two", "three"}
			for deadline, i := time.Now().Add(patience), 0; i < len(rounds); {
				fmt.Fprintf(stdin, "call add.cmd %s\r\n", rounds[i])
				saved := func() bool {
					for _, name := range []string{"user.reg", "system.reg"} {
						if !strings.Contains(readFile(t, filepath.Join(prefix, name)), fmt.Sprintf("%q=%q\n", rounds[i], "kept")) {
							return false
						}
					}
					return true
				}
				for !saved() {
					if time.Now().After(deadline) {
						t.Fatalf("round %q is not on the disk", rounds[i])
					}
					time.Sleep(50 * time.Millisecond)
				}
				i++
			}
			id, pid := b.container()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			c.wait()
			stdin.Close()
			b.call("delete", "--force", id).wait()
			for _, name := range []string{"user.reg", "system.reg"} {
				if err := wholeRegistry(filepath.Join(prefix, name)); err != nil {
					t.Error(err)
				}
			}
			again := b.run("--prefix", prefix, "cmd", "/c", `reg query HKCU\Software\Soon& reg query HKLM\Software\Soon`)
			if strings.Count(again.text(), "kept") != 2*len(rounds) || again.code() != 0 {
				t.Errorf("afterwards: exit code %d\n%s%s", again.code(), again.text(), again.err.String())
			}
		})
	}
}

// wholeCount is a line of keep.c.
var wholeCount = regexp.MustCompile(`^[0-9]+ and the same again [0-9]+$`)

// registryLine is any line of a registry file but the first.
var registryLine = regexp.MustCompile(`^($|;;|#|\[.*\]( [0-9]+)?$|@=|"|  )`)

// wholeRegistry says what is wrong with a registry file.
func wholeRegistry(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(data, []byte("WINE REGISTRY Version 2\n")) || !bytes.HasSuffix(data, []byte("\n")) {
		return fmt.Errorf("%s: %d bytes that are not a whole registry file", file, len(data))
	}
	for i, line := range strings.Split(string(data), "\n")[1:] {
		if !registryLine.MatchString(line) {
			return fmt.Errorf("%s: line %d: %q", file, i+2, line)
		}
	}
	return nil
}

// TestPrefixCreationKilled kills winbox while it makes a persistent prefix: the next launch makes it anew.
func TestPrefixCreationKilled(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for range 8 {
		prefix := filepath.Join(newDir(t), "prefix")
		c := b.launch("--prefix", prefix, "cmd", "/c", "exit 0")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(150 * time.Millisecond))
		if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		c.wait()
		for _, id := range b.containers() {
			b.call("delete", "--force", id).wait()
		}
		b.run("--prefix", prefix, "cmd", "/c", `if exist C:\windows\system32\kernel32.dll exit 6`).want(6, "")
	}
}

// TestPrefixBundle keeps the prefix of a bundle on a volume: for root, for a user, and for one in a user namespace.
func TestPrefixBundle(t *testing.T) {
	t.Parallel()
	const annotation = "io.winbox.prefix"
	for _, test := range []struct {
		name   string
		change func(*specs.Spec)
	}{
		{"root", func(*specs.Spec) {}},
		{"a user", func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1000} }},
		{"a user without a name", func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000650000} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.program("settings")
			volume := newDir(t)
			bundle := func(at string, args ...string) string {
				return b.bundle(func(s *specs.Spec) {
					test.change(s)
					s.Mounts = append(s.Mounts, specs.Mount{Destination: "/prefix", Type: "bind", Source: volume, Options: []string{"rbind", "rw"}})
					s.Annotations = map[string]string{annotation: at}
				}, args...)
			}
			c := b.call("run", "--bundle", bundle("/prefix", "/box/settings.exe", "kept"), b.id("first"))
			stdin := c.follow()
			if line := c.line(); line != "before registry= file=" {
				t.Errorf("at the start: %q", line)
			}
			c.line()
			// One at a time, however it is started.
			if e := b.call("run", "--bundle", bundle("/prefix", "/box/settings.exe"), b.id("second")).wait(); !strings.Contains(e.wantLine(1), "in use") {
				t.Errorf("a second bundle: %q", e.err.String())
			}
			if line := b.run("--prefix", volume, "cmd", "/c", "exit 0").wantLine(failed); !strings.Contains(line, "in use") {
				t.Errorf("a launch: %q", line)
			}
			stdin.Close()
			if c.wait(); c.code() != 0 {
				t.Errorf("exit code %d\n%s", c.code(), c.err.String())
			}
			// The lock ends with the container, not with winbox.
			create := b.call("create", "--bundle", bundle("/prefix", "/box/settings.exe"), b.id("second"))
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			create.Stdin, create.Stdout, create.Stderr = null, null, null
			if create.wait(); create.code() != 0 {
				t.Fatalf("create: exit code %d", create.code())
			}
			if e := b.call("run", "--bundle", bundle("/prefix", "/box/settings.exe"), b.id("third")).wait(); !strings.Contains(e.wantLine(1), "in use") {
				t.Errorf("beside a created container: %q", e.err.String())
			}
			_, pid := b.containerOf(b.id("second"))
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			await(t, "the lock is free", func() bool {
				again := b.call("run", "--bundle", bundle("/prefix", "/box/settings.exe"), b.id("third")).wait()
				return again.code() == 0 && strings.HasPrefix(again.text(), "before registry=kept file=kept\n")
			})
			b.call("delete", "--force", b.id("second")).wait().want(0, "")
			for at, want := range map[string]string{"/none": "no mount has the destination /none", "prefix": "not the destination of a mount", "/proc": "no folder of the host"} {
				if e := b.call("run", "--bundle", bundle(at, "/box/settings.exe"), b.id("wrong")).wait(); !strings.Contains(e.wantLine(1), want) {
					t.Errorf("%s: %q", at, e.err.String())
				}
			}
		})
	}
}

// mapped puts a bundle into a user namespace.
func mapped(t *testing.T, s *specs.Spec, uids, gids []specs.LinuxIDMapping) {
	t.Helper()
	if err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", uids[0].HostID, gids[0].HostID), s.Root.Path).Run(); err != nil {
		t.Fatal(err)
	}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings, s.Linux.GIDMappings = uids, gids
}

// prefixUsers are those that programs of containers run as.
var prefixUsers = []struct {
	name   string
	change func(*testing.T, *specs.Spec)
}{
	{"root", func(*testing.T, *specs.Spec) {}},
	{"a user", func(_ *testing.T, s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1000} }},
	// As OpenShift has it: no such user, root's group, and no rights.
	{"a user without a name", func(_ *testing.T, s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000680000, AdditionalGids: []uint32{1000680000}}
		s.Process.Capabilities, s.Process.NoNewPrivileges = &specs.LinuxCapabilities{}, true
	}},
	{"a user namespace", func(t *testing.T, s *specs.Spec) {
		s.Process.User = specs.User{UID: 7, GID: 8}
		ids := []specs.LinuxIDMapping{{HostID: 100000, Size: 1000}}
		mapped(t, s, ids, ids)
	}},
	{"a user namespace with one id", func(t *testing.T, s *specs.Spec) {
		for i := range s.Mounts {
			s.Mounts[i].Options = slices.DeleteFunc(s.Mounts[i].Options, func(o string) bool { return o == "gid=5" })
		}
		ids := []specs.LinuxIDMapping{{HostID: 100000, Size: 1}}
		mapped(t, s, ids, ids)
	}},
}

// writeEverywhere is a batch file that writes to the places of a Windows system that programs write to, also in the place
// of Wine's own DLLs: by a rename, anew, over one, and by renaming one.
const writeEverywhere = `@echo off
for %%d in (C:\ C:\windows\ C:\windows\system32\ C:\windows\temp\ C:\users\ C:\users\Public\ C:\ProgramData\ %TEMP%\ %APPDATA%\ D:\) do (
  echo x>%%dnew.txt
  if exist %%dnew.txt echo wrote %%d
)
mkdir "C:\Program Files\App"
echo x>"C:\Program Files\App\new.txt"
if exist "C:\Program Files\App\new.txt" echo wrote Program Files
reg add HKLM\Software\New /v v /d 1 /f >nul
reg query HKLM\Software\New /v v >nul
if not errorlevel 1 echo wrote HKLM
reg add HKCU\Software\New /v v /d 1 /f >nul
reg query HKCU\Software\New /v v >nul
if not errorlevel 1 echo wrote HKCU
cd /d C:\windows\system32
echo wrote moved>C:\users\dll.new
move /y C:\users\dll.new msacm32.dll >nul
type msacm32.dll | find "wrote"
echo wrote over>oledlg.dll
type oledlg.dll | find "wrote"
del mapi32.dll
if not exist mapi32.dll echo wrote del
ren odbc32.dll other.dll
if not exist odbc32.dll if exist other.dll echo wrote ren
`

// wrote runs the batch file writeEverywhere as a user and gives what it could write.
func wrote(t *testing.T, change func(*testing.T, *specs.Spec), readOnly bool) []string {
	t.Helper()
	b := newBox(t)
	writeFile(t, b.dir, "all.cmd", []byte(strings.ReplaceAll(writeEverywhere, "\n", "\r\n")))
	bare := b.bare("all.cmd")
	args := []string{system32 + "cmd.exe", "/c", "all.cmd"}
	if readOnly {
		args[2] += `& echo x>D:\app\new.txt& if exist D:\app\new.txt echo wrote image`
	}
	bundle := b.bundle(func(s *specs.Spec) {
		bare(s)
		s.Root.Readonly, s.Process.Cwd = readOnly, "/app"
		change(t, s)
	}, args...)
	id := b.id("users")
	c := b.call("run", "--keep", "--bundle", bundle, id).wait()
	var got []string
	for line := range strings.Lines(c.text()) {
		if rest, ok := strings.CutPrefix(line, "wrote "); ok {
			got = append(got, strings.TrimSpace(rest))
		}
	}
	if readOnly {
		// Nothing of it has come to the disk.
		err := filepath.WalkDir(filepath.Join(dataRoot, "containers"), func(name string, entry fs.DirEntry, err error) error {
			if strings.Contains(name, id) && strings.HasPrefix(entry.Name(), "new.txt") {
				t.Errorf("%s is on the disk", name)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if !strings.Contains(c.err.String(), "Access denied.") {
			t.Errorf("standard error: %q", c.err.String())
		}
	} else if c.err.Len() > 0 {
		t.Errorf("standard error: %q", c.err.String())
	}
	b.call("delete", id).wait().want(0, "")
	return got
}

// TestPrefixUsers runs a batch file that writes everywhere on drive C: and in the registry, as all kinds of users.
func TestPrefixUsers(t *testing.T) {
	t.Parallel()
	everything := []string{`C:\`, `C:\windows\`, `C:\windows\system32\`, `C:\windows\temp\`, `C:\users\`, `C:\users\Public\`, `C:\ProgramData\`,
		`TEMP`, `APPDATA`, `D:\`, "Program Files", "HKLM", "HKCU", "moved", "over", "del", "ren"}
	inMemory := []string{`C:\windows\temp\`, `C:\users\`, `C:\users\Public\`, `TEMP`, `APPDATA`, "HKLM", "HKCU"}
	for _, test := range prefixUsers {
		for _, readOnly := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, read-only %v", test.name, readOnly), func(t *testing.T) {
				t.Parallel()
				want := everything
				if readOnly {
					want = inMemory
				}
				got := wrote(t, test.change, readOnly)
				for i, what := range got {
					if strings.HasSuffix(what, `\Temp\`) && what != `C:\windows\temp\` {
						got[i] = "TEMP"
					} else if strings.HasSuffix(what, `\Roaming\`) {
						got[i] = "APPDATA"
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("could write\n%q, want\n%q", got, want)
				}
			})
		}
	}
}

// TestPrefixUpgrade takes a prefix from the host's Wine to a later one, and not back.
func TestPrefixUpgrade(t *testing.T) {
	t.Parallel()
	old, b := newBox(t), newRuntimeBox(t, "i386")
	prefix := filepath.Join(newDir(t), "prefix")
	old.run("--prefix", prefix, "cmd", "/c", `reg add HKCU\Software\Kept /v v /d mine /f >nul& echo own>C:\own.txt& echo mine>C:\windows\system32\oledlg.new& move /y C:\windows\system32\oledlg.new C:\windows\system32\oledlg.dll >nul`).want(0, "")
	// A signal in the middle: it is done again.
	killed := b.launch("--prefix", prefix, "cmd", "/c", "exit 0")
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the upgrade has begun", func() bool {
		_, err := os.Stat(filepath.Join(prefix, ".winbox-backup/upgrading"))
		return err == nil
	})
	time.Sleep(rand.N(500 * time.Millisecond))
	if err := killed.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	killed.wait()
	for _, id := range b.containers() {
		b.call("delete", "--force", id).wait()
	}
	for range 2 {
		c := b.run("--prefix", prefix, "cmd", "/c", `reg query HKCU\Software\Kept /v v& type C:\own.txt& type C:\windows\system32\oledlg.dll& if exist C:\windows\syswow64\kernel32.dll echo 32`)
		if c.code() != 0 || !strings.Contains(c.text(), "mine\n") || !strings.HasSuffix(c.text(), "own\nmine\n32\n") {
			t.Errorf("%s: exit code %d\n%s%s", c, c.code(), c.text(), c.err.String())
		}
	}
	if found, err := filepath.Glob(filepath.Join(prefix, ".winbox-backup/before-upgrade-*/user.reg")); err != nil || len(found) != 1 || !strings.Contains(readFile(t, found[0]), "Kept") {
		t.Errorf("backups of the registry: %v, %v", found, err)
	}
	if line := old.run("--prefix", prefix, "cmd", "/c", "exit 0").wantLine(failed); !strings.Contains(line, "made with a newer runtime") {
		t.Errorf("back to the host's Wine: %q", line)
	}
}

// TestDataRootErrors puts winbox's data, and a prefix, where they cannot be: each is one line that says why.
func TestDataRootErrors(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	mounted := func(kind string, flags uintptr, data string) string {
		dir := newDir(t)
		if err := unix.Mount(kind, dir, kind, flags, data); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	layers := newDir(t)
	for _, name := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(layers, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	overlay := mounted("overlay", 0, fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", layers))
	full, readOnly := mounted("tmpfs", 0, "size=1m"), mounted("tmpfs", unix.MS_RDONLY, "")
	for _, test := range []struct{ name, data, prefix, want string }{
		{"data on an overlay", overlay, "", "lies on an overlay"},
		{"data on a full file system", full, "", "the file system is full"},
		{"data on a read-only file system", readOnly, "", "read-only file system"},
		{"prefix on a full file system", dataRoot, full + "/p", "no space left on device"},
		{"prefix on a read-only file system", dataRoot, readOnly + "/p", "read-only file system"},
	} {
		words := []string{"cmd", "/c", "exit 0"}
		if test.prefix != "" {
			words = append([]string{"--prefix", test.prefix}, words...)
		}
		c := b.launch(words...)
		c.Env = append(c.Env, "WINBOX_DATA="+test.data)
		// Before it, there can be a line that the template is made.
		if c.wait(); c.code() != failed || !strings.Contains(c.err.String(), test.want) {
			t.Errorf("%s: exit code %d, %q; want %q", test.name, c.code(), c.err.String(), test.want)
		}
	}
}
