package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRootless runs programs in a user namespace.
func TestRootless(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		make  func(*testing.T) *box
		flags []string
	}{
		{"as root", newBox, []string{"--rootless"}},
		{"as a user", newUserBox, nil},
		{"as a user, with the flag", newUserBox, []string{"--rootless"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := test.make(t)
			base, filter := b.program("base"), b.program("filter")
			// The first launch of a user says that it makes the template.
			if c := b.run(append(test.flags, base)...); c.code() != 0 || c.text() != "program 0000000140000000\n" {
				t.Fatalf("exit code %d, %q, %q", c.code(), c.text(), c.err.String())
			}
			c := b.launch(append(test.flags, filter)...)
			c.Stdin = strings.NewReader("through a pipe")
			if c.wait(); c.code() != 0 || c.text() != "through a pipe" || strings.Contains(c.err.String(), "winbox: ") {
				t.Errorf("exit code %d, %q, %q", c.code(), c.text(), c.err.String())
			}
			b.run(append(test.flags, "cmd", "/c", `echo mine>D:\new.txt& echo x>C:\new.txt& reg add HKCU\Software\New /v v /d 1 >nul& exit 6`)...).want(6, "")
			info, err := os.Stat(filepath.Join(b.dir, "new.txt"))
			if err != nil {
				t.Fatal(err)
			}
			uid := uint32(0)
			if b.attr != nil {
				uid = b.attr.Credential.Uid
			}
			if owner := info.Sys().(*syscall.Stat_t).Uid; owner != uid {
				t.Errorf("the program's file belongs to user %d, want %d", owner, uid)
			}
			// Without a control group, and without the right to look at the program's files by their place in memory.
			waiting := b.launch(append(test.flags, base)...)
			stdin := waiting.follow()
			waiting.line()
			id, _ := b.container()
			if m := b.maps(0, id); len(m.Processes) != 1 || m.Processes[0].Program != "base.exe" {
				t.Errorf("maps: %+v", m)
			}
			if ps := b.call("ps", id).wait(); ps.code() != 0 || strings.Count(ps.text(), "\n") < 3 {
				t.Errorf("ps: exit code %d\n%s%s", ps.code(), ps.text(), ps.err.String())
			}
			if err := stdin.Close(); err != nil {
				t.Error(err)
			}
			if waiting.wait().code() != 0 {
				t.Errorf("exit code %d\n%s", waiting.code(), waiting.err.String())
			}
			if line := b.run(append(test.flags, "missing.exe")...).wantLine(127); !strings.Contains(line, "missing.exe") {
				t.Errorf("a missing program: %q", line)
			}
		})
	}
}

// newUserBox is newBox for a user without any rights, known by a number only.
func newUserBox(t *testing.T) *box {
	t.Helper()
	const id = 12345
	b := newBox(t)
	home := newDir(t)
	// The user may not be able to reach the checkout.
	b.winbox = writeFile(t, newDir(t), "winbox", []byte(readFile(t, winbox)))
	b.env = []string{"HOME=" + home, "XDG_DATA_HOME=" + filepath.Join(home, "data"), "XDG_RUNTIME_DIR=" + home, "WINBOX_DATA="}
	b.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	for _, dir := range []string{home, b.dir, b.root} {
		if err := os.Chown(dir, id, id); err != nil {
			t.Fatal(err)
		}
	}
	return b
}
