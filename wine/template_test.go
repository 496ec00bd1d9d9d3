package wine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/preload/pe"
)

// secondBoot says whether a container is that of the template's boot by our own boot program.
func secondBoot(spec *specs.Spec) bool {
	return slices.Contains(spec.Process.Env, overrides+"="+ownBoot)
}

// fakeBoot does to a prefix what the first boot of Wine does, in little, and nothing when it is booted a second time.
func fakeBoot(root string) func(context.Context, *specs.Spec) (int, error) {
	return func(_ context.Context, spec *specs.Spec) (int, error) {
		var prefix string
		for _, m := range spec.Mounts {
			if m.Destination == prefixDir {
				prefix = m.Source
			}
		}
		if secondBoot(spec) {
			if program, err := os.ReadFile(filepath.Join(prefix, bootProgram)); err != nil || !bytes.Equal(program, bootAMD64) {
				return 0, fmt.Errorf("the second boot is not by our program: %w", err)
			}
			return 0, nil
		}
		builtin := make([]byte, 0x100)
		copy(builtin[builtinOffset:], builtinSignature)
		builtin[0x3c] = 0x80 // where the PE header is
		builtin32 := slices.Clone(builtin)
		binary.LittleEndian.PutUint16(builtin32[0x84:], uint16(pe.MachineI386))
		kernel := filepath.Join(root, "/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/kernel32.dll")
		for _, dir := range []string{"dosdevices", "drive_c/windows/system32", "drive_c/windows/syswow64", "drive_c/users/" + User} {
			if err := os.MkdirAll(filepath.Join(prefix, dir), 0o755); err != nil {
				return 0, err
			}
		}
		system32 := filepath.Join(prefix, "drive_c/windows/system32")
		return 0, errors.Join(
			os.WriteFile(kernel, builtin, 0o644),
			os.WriteFile(filepath.Join(system32, "kernel32.dll"), builtin, 0o644),
			os.WriteFile(filepath.Join(prefix, "drive_c/windows/syswow64/kernel32.dll"), builtin32, 0o644),
			os.WriteFile(filepath.Join(system32, "notes.txt"), []byte("mine"), 0o644),
			os.WriteFile(filepath.Join(system32, "cmd.exe"), []byte("MZ"), 0o644),
			os.WriteFile(filepath.Join(prefix, "wineserver"), []byte("/tmp/x"), 0o600),
			os.WriteFile(filepath.Join(prefix, ".update-timestamp"), []byte("1676758571\n"), 0o644),
			os.WriteFile(filepath.Join(prefix, "system.reg"), []byte(registrySignature+"\n"), 0o644),
			os.WriteFile(filepath.Join(prefix, "user.reg"), []byte(registrySignature+"\n"), 0o644),
			os.Symlink("../drive_c", filepath.Join(prefix, "dosdevices/c:")),
			os.Symlink("/", filepath.Join(prefix, "dosdevices/z:")),
			os.Symlink("/root", filepath.Join(prefix, "drive_c/users", User, "Documents")),
		)
	}
}

// fakeRuntime gives a runtime of empty files, with Wine's folder of code pages.
func fakeRuntime(t *testing.T) (*Runtime, string) {
	t.Helper()
	root := fakeRoot(t, with(debian12, "/usr/share/wine/nls/c_1252.nls", "nls", "/usr/share/wine/nls/locale.nls", string(fakeLocales(1, 0x120))))
	r, err := hostAt(root)
	if err != nil {
		t.Fatal(err)
	}
	return r, root
}

func TestPrepare(t *testing.T) {
	r, root := fakeRuntime(t)
	data := t.TempDir()
	var steps []string
	template, err := r.Prepare(context.Background(), data, fakeBoot(root), func(step string, _, _ int) { steps = append(steps, step) })
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != len(prepareSteps)+1 || steps[len(steps)-1] != "ready" {
		t.Errorf("steps %q", steps)
	}
	prefix := template.Prefix()
	for name, want := range map[string]string{
		"drive_c/windows/system32/kernel32.dll": prefixDir + "/x86_64-windows/kernel32.dll",
		"dosdevices/c:":                         "../drive_c",
	} {
		if got, err := os.Readlink(filepath.Join(prefix, name)); got != want {
			t.Errorf("%s → %q, %v; want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]string{
		"drive_c/windows/system32/notes.txt":            "mine",
		"drive_c/windows/system32/wineboot.exe":         string(bootAMD64),
		"drive_c/windows/system32/explorer.exe":         string(explorerAMD64),
		"drive_c/windows/system32/winbox-volumes.exe":   string(volumesAMD64),
		"drive_c/windows/system32/bcryptprimitives.dll": string(bcryptAMD64),
		".update-timestamp":                             "disable\n",
	} {
		if got, err := os.ReadFile(filepath.Join(prefix, name)); string(got) != want {
			t.Errorf("%s has %.20q, %v", name, got, err)
		}
	}
	for _, name := range []string{"wineserver", "dosdevices/z:"} {
		if _, err := os.Lstat(filepath.Join(prefix, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	for _, name := range []string{"drive_c/users/" + User + "/Documents", "drive_c/windows/syswow64"} {
		if info, err := os.Lstat(filepath.Join(prefix, name)); err != nil || !info.IsDir() {
			t.Errorf("%s is no folder: %v", name, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(prefix, "drive_c/windows/syswow64/kernel32.dll")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the 32-bit DLL was linked to the 64-bit one: %v", err)
	}
	for _, name := range []string{"usr/lib/wine/wine64", "usr/lib/wine/wine64-preloader", "etc/passwd", "usr/lib64/ld-linux-x86-64.so.2"} {
		if _, err := os.Lstat(filepath.Join(template.Root(), name)); err != nil {
			t.Error(err)
		}
	}

	never := func(context.Context, *specs.Spec) (int, error) { t.Error("made twice"); return 0, nil }
	if _, err := r.Prepare(context.Background(), data, never, nil); err != nil {
		t.Error(err)
	}
}

func TestPrepareAtOnce(t *testing.T) {
	r, root := fakeRuntime(t)
	data := t.TempDir()
	// What a killed caller left must not matter.
	if err := os.MkdirAll(filepath.Join(data, "templates", ".new-wine-"+r.Version+"-"+r.Digest+"-1", "prefix", "rubbish"), 0o755); err != nil {
		t.Fatal(err)
	}
	var made atomic.Int32
	boot := fakeBoot(root)
	slow := func(ctx context.Context, spec *specs.Spec) (int, error) {
		if !secondBoot(spec) {
			made.Add(1)
		}
		time.Sleep(50 * time.Millisecond)
		return boot(ctx, spec)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			template, err := r.Prepare(context.Background(), data, slow, nil)
			if err != nil {
				t.Error(err)
			} else if !isFile(filepath.Join(template.Prefix(), "system.reg")) {
				t.Error("a template was given before it was whole")
			}
		})
	}
	group.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
	if left, err := filepath.Glob(filepath.Join(data, "templates", ".new-*")); err != nil || len(left) != 0 {
		t.Errorf("drafts were left: %v, %v", left, err)
	}
}

func TestPrepareFails(t *testing.T) {
	r, root := fakeRuntime(t)
	for name, run := range map[string]Runner{
		"runner":    func(context.Context, *specs.Spec) (int, error) { return 0, errors.New("no container") },
		"exit code": func(context.Context, *specs.Spec) (int, error) { return 3, nil },
		"no prefix": func(context.Context, *specs.Spec) (int, error) { return 0, nil },
		"no registry": func(ctx context.Context, spec *specs.Spec) (int, error) {
			code, err := fakeBoot(root)(ctx, spec)
			for _, m := range spec.Mounts {
				if m.Destination == prefixDir && secondBoot(spec) {
					err = errors.Join(err, os.Remove(filepath.Join(m.Source, "system.reg")))
				}
			}
			return code, err
		},
	} {
		data := t.TempDir()
		if _, err := r.Prepare(context.Background(), data, run, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
		left, err := os.ReadDir(filepath.Join(data, "templates"))
		if err != nil || len(left) != 1 || !strings.HasSuffix(left[0].Name(), ".lock") {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
		if _, err := r.Prepare(context.Background(), data, fakeBoot(root), nil); err != nil {
			t.Errorf("%s: and then: %v", name, err)
		}
	}
}

func TestPrepareGivesUpWaiting(t *testing.T) {
	r, _ := fakeRuntime(t)
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "templates"), 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(context.Background(), filepath.Join(data, "templates", ".wine-"+r.Version+"-"+r.Digest+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Prepare(ctx, data, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestFind(t *testing.T) {
	r, root := fakeRuntime(t)
	template, err := r.Prepare(context.Background(), t.TempDir(), fakeBoot(root), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := folders(t, "app.exe", "sub/other.exe", "cmd", "folder", "prefix/drive_c/Tools/tool.exe")
	if err := os.Symlink("sub/other.exe", filepath.Join(dir, "link.exe")); err != nil {
		t.Fatal(err)
	}
	cmd := Program{Host: filepath.Join(template.driveC(), "windows/system32/cmd.exe"), Windows: `C:\windows\system32\cmd.exe`}
	for name, want := range map[string]Program{
		"app.exe":                     {Host: filepath.Join(dir, "app.exe")},
		"./sub/../app.exe":            {Host: filepath.Join(dir, "app.exe")},
		`sub\other.exe`:               {Host: filepath.Join(dir, "sub/other.exe")},
		"link.exe":                    {Host: filepath.Join(dir, "sub/other.exe")},
		"cmd":                         cmd,
		"CMD.EXE":                     cmd,
		`c:\Windows\SYSTEM32\cmd.exe`: cmd,
		`C:\tools\TOOL.exe`:           {Host: filepath.Join(dir, "prefix/drive_c/Tools/tool.exe"), Windows: `C:\Tools\tool.exe`},
	} {
		prefix := ""
		if want.Windows == `C:\Tools\tool.exe` {
			prefix = filepath.Join(dir, "prefix")
		}
		if got, err := template.Find(name, dir, prefix); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
	for _, name := range []string{"", "folder", "./cmd", "gone.exe", "gone", `C:\gone.exe`, "sub"} {
		if got, err := template.Find(name, dir, ""); err == nil {
			t.Errorf("%q: no error, %+v", name, got)
		}
	}
	if _, err := template.Find("gone.exe", dir, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone.exe: %v", err)
	}
}
