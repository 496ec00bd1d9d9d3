package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestVariables launches a program with variables in the form of Windows, a locale and a time zone.
func TestVariables(t *testing.T) {
	t.Parallel()
	const system = `C:\windows\system32;C:\windows;`
	for _, test := range []struct {
		name  string
		flags []string
		asks  []string
		want  []string
	}{
		{"PATH goes before the system's", []string{`PATH=D:\tools;C:\x`}, []string{"env", "PATH"}, []string{`PATH=D:\tools;C:\x;` + system}},
		{"its name in another case", []string{`Path=D:\`}, []string{"env", "PATH"}, []string{`PATH=D:\;` + system}},
		{"TEMP", []string{`TEMP=D:\t`}, []string{"env", "TEMP", "env", "TMP"}, []string{`TEMP=D:\t` + "\n", `TMP=C:\users\winbox\Temp` + "\n"}},
		{"German", []string{"LANG=de_DE.UTF-8"}, []string{"locale", "env", "LANG"}, []string{"locale=de-DE Montag, 09M", "LANG=de_DE.UTF-8\n"}},
		{"no locale", nil, []string{"locale"}, []string{"locale=en-US Monday, 09March\n"}},
		{"LC_ALL first", []string{"LANG=de_DE", "LC_ALL=fr_FR"}, []string{"locale"}, []string{"locale=fr-FR lundi, 09mars\n"}},
		{"zone by name", []string{"TZ=Europe/Berlin"}, []string{"zone"}, []string{"zone bias=-60 13:00 14:00 c=14:00\n"}},
		{"zone by rule", []string{"TZ=CET-1CEST,M3.5.0,M10.5.0/3"}, []string{"zone"}, []string{"zone bias=-60 13:00 14:00 c=14:00\n"}},
		{"zone of the southern half", []string{"TZ=Australia/Sydney"}, []string{"zone"}, []string{"zone bias=-600 23:00 22:00 c=22:00\n"}},
		{"the caller's zone", nil, []string{"zone"}, []string{"zone bias=300 07:00 08:00 c=08:00\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.env = append(b.env, "TZ=America/New_York")
			words := []string{}
			for _, setting := range test.flags {
				words = append(words, "-e", setting)
			}
			c := b.run(append(append(words, b.program("tell")), test.asks...)...)
			for _, want := range test.want {
				if c.code() != 0 || !strings.Contains(c.text(), want) {
					t.Errorf("exit code %d, output %q, error %q; want %q", c.code(), c.text(), c.err.String(), want)
				}
			}
		})
	}
	b := newBox(t)
	for setting, says := range map[string]string{"TZ=Europe/Atlantis": "no such time zone", "LANG=german": "no locale", "PATH=/usr/bin:/bin": "needs the form"} {
		if line := b.run("-e", setting, "cmd").wantLine(failed); !strings.Contains(line, says) {
			t.Errorf("%s: %s", setting, line)
		}
	}
}

// TestVariablesOfRuntime does the same on a Wine 10.
func TestVariablesOfRuntime(t *testing.T) {
	t.Parallel()
	b := newRuntimeBox(t, "i386")
	c := b.run("-e", "LANG=de_DE.UTF-8", "-e", "TZ=Europe/Berlin", "-e", `PATH=D:\tools`, "-e", `TMP=D:\`, b.program("tell"), "locale", "zone", "env", "PATH", "env", "TMP", "user")
	for _, want := range []string{"locale=de-DE Montag, 09M", "zone bias=-60 13:00 14:00 c=14:00\n", `PATH=D:\tools;C:\windows\system32;`, "TMP=D:\\\n", "user=winbox\n"} {
		if c.code() != 0 || !strings.Contains(c.text(), want) {
			t.Errorf("exit code %d, output %q, error %q; want %q", c.code(), c.text(), c.err.String(), want)
		}
	}
}

// TestDrives asks what Windows says of drives: their letters, types, volumes and sizes, those of the mounts behind them.
func TestDrives(t *testing.T) {
	t.Parallel()
	small := newDir(t)
	if err := unix.Mount("small", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, kind := range []string{"", "i386"} {
		t.Run("runtime "+kind, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			if kind != "" {
				b = newRuntimeBox(t, kind)
			}
			tell := b.program("tell")
			c := b.run("--mount", small+":E:", "--mount", b.dir+":F::ro", tell, "drives", "drive", "C", "drive", "D", "drive", "E", "drive", "F", "drive", "G", "write", `F:\new.txt`, "write", `E:\new.txt`)
			for _, want := range []string{
				"drives=CDEF\n", "C type=3 known=1 label= serial=1 readonly=0 system=NTFS sized=1", "D type=3 known=1 label= serial=1 readonly=0",
				"E type=3 known=1 label= serial=1 readonly=0 system=NTFS sized=1 total=1048576 free=", "F type=3 known=1 label= serial=1 readonly=1", "G type=1 known=0",
				"F:\\new.txt=5\n", "E:\\new.txt=0\n",
			} {
				if c.code() != 0 || !strings.Contains(c.text(), want) || c.err.Len() > 0 {
					t.Errorf("exit code %d, output %q, error %q; want %q", c.code(), c.text(), c.err.String(), want)
				}
			}
			writeFile(t, b.dir, "a file.txt", []byte("12345"))
			c = b.run("cmd", "/c", "dir")
			if c.code() != 0 || !strings.Contains(c.text(), "a file.txt\n") || !strings.Contains(c.text(), " bytes free\n") {
				t.Errorf("dir: exit code %d, output %q", c.code(), c.text())
			}
			// Without a question about volumes nobody is started to answer.
			if c := b.run("cmd", "/c", "tasklist"); strings.Contains(c.text(), "volumes") {
				t.Errorf("tasks: %q", c.text())
			}
		})
	}
	b := newBox(t)
	b.program("tell")
	bundle := b.bundle(func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: `D:\`, Source: small, Options: []string{"rbind", "ro"}})
	}, "/box/tell.exe", "drives", "drive", "D", "drive", "E")
	c := b.call("run", "--bundle", bundle, b.id("drives")).wait()
	for _, want := range []string{"drives=CDE\n", "D type=3 known=1 label= serial=1 readonly=1 system=NTFS sized=1 total=1048576", "E type=3 known=1"} {
		if c.code() != 0 || !strings.Contains(c.text(), want) {
			t.Errorf("exit code %d, output %q, error %q; want %q", c.code(), c.text(), c.err.String(), want)
		}
	}
	// The drive of the image, whose root is read-only or not, without a volume and with one that is not.
	for _, test := range []struct {
		readOnly, volume bool
		flag, written    int
	}{{true, false, 1, 5}, {true, true, 0, 5}, {false, false, 0, 0}} {
		bare := b.bareWith("tell.exe", "app/tell.exe")
		bundle := b.bundle(func(s *specs.Spec) {
			bare(s)
			if s.Root.Readonly = test.readOnly; !test.volume {
				s.Mounts = s.Mounts[:len(s.Mounts)-1]
			}
		}, "/app/tell.exe", "drive", "C", "drive", "D", "write", `D:\new.txt`)
		c := b.call("run", "--bundle", bundle, b.id("flag")).wait()
		for _, want := range []string{
			"C type=3 known=1 label= serial=1 readonly=0", fmt.Sprintf("D type=3 known=1 label= serial=1 readonly=%d", test.flag),
			fmt.Sprintf("D:\\new.txt=%d\n", test.written),
		} {
			if c.code() != 0 || !strings.Contains(c.text(), want) {
				t.Errorf("%+v: exit code %d, output %q, error %q; want %q", test, c.code(), c.text(), c.err.String(), want)
			}
		}
	}
}

// TestBundleVariables asks a program of a bundle who and where it is.
func TestBundleVariables(t *testing.T) {
	env := func(settings ...string) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, settings...) }
	}
	user := func(uid uint32) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Process.User = specs.User{UID: uid, GID: uid} }
	}
	cwd := func(dir string) func(*specs.Spec) { return func(s *specs.Spec) { s.Process.Cwd = dir } }
	const tell = "/box/tell.exe"
	for _, test := range []struct {
		name   string
		change func(*specs.Spec)
		args   []string
		want   []string
	}{
		{"user", user(1000), []string{tell, "user", "env", "USERNAME", "env", "USERPROFILE", "env", "TEMP", "write", `C:\users\user\a.txt`, "write", `C:\users\user\Temp\a.txt`},
			[]string{"user=user\n", "USERNAME=user\n", "USERPROFILE=C:\\users\\user\n", "TEMP=C:\\users\\user\\Temp\n", "a.txt=0\n", "Temp\\a.txt=0\n"}},
		{"user without a name", user(4711), []string{tell, "user", "file", `C:\users\4711\Temp`}, []string{"user=4711\n", "Temp=0\n"}},
		{"host name", func(s *specs.Spec) { s.Hostname = "a-very-long-name.example.com" }, []string{tell, "computer", "env", "COMPUTERNAME"}, []string{"computer=A-VERY-LONG-NAM\n", "COMPUTERNAME=A-VERY-LONG-NAM\n"}},
		{"zone", env("TZ=Europe/Berlin"), []string{tell, "zone"}, []string{"zone bias=-60 13:00 14:00 c=14:00\n"}},
		{"rule", env("TZ=CET-1CEST,M3.5.0,M10.5.0/3"), []string{tell, "zone"}, []string{"zone bias=-60 13:00 14:00 c=14:00\n"}},
		{"locale", env("LANG=de_DE.UTF-8"), []string{tell, "locale"}, []string{"locale=de-DE Montag"}},
		{"what is no locale", env("LANG=german"), []string{tell, "locale"}, []string{"locale=en-US Monday"}},
		{"PATH", env(`PATH=C:\x;D:\box`, "HOME=/root", "TMP=/tmp"), []string{"tell.exe", "module", "env", "PATH", "env", "HOME", "env", "TMP"},
			[]string{`PATH=C:\x;D:\box;C:\windows\system32;`, "module=D:\\box\\tell.exe\n", "HOME=\n", "TMP=C:\\users\\root\\Temp\n"}},
		{"Linux PATH", env("PATH=/usr/bin:/box"), []string{"tell.exe", "env", "PATH"}, []string{`PATH=C:\windows\system32;`}},
		{"folder, Linux path", cwd("/box/sub"), []string{tell, "cwd"}, []string{"cwd=D:\\box\\sub\n"}},
		{"folder, Windows path", cwd(`C:\BOX\sub`), []string{`C:\box\tell.exe`, "cwd", "module"}, []string{"cwd=C:\\box\\sub\n", "module=C:\\box\\tell.exe\n"}},
		{"folder, with a slash before", cwd(`/D:\box`), []string{tell, "cwd", "file", "tell.exe"}, []string{"cwd=D:\\box\n", "tell.exe=0\n"}},
		{"folder of the prefix", cwd(`C:\windows`), []string{tell, "cwd"}, []string{"cwd=C:\\windows\n"}},
		{"the root", nil, []string{tell, "cwd"}, []string{"cwd=D:\\\n"}},
		{"folder of another drive", func(s *specs.Spec) {
			cwd(`D:\`)(s)
			s.Mounts = append(s.Mounts, specs.Mount{Destination: `D:\`, Source: s.Mounts[len(s.Mounts)-1].Source, Options: []string{"rbind"}})
		}, []string{`D:\tell.exe`, "cwd", "module", "file", `E:\box\tell.exe`}, []string{"cwd=D:\\\n", "module=D:\\tell.exe\n", "E:\\box\\tell.exe=0\n"}},
		// What is no volume and has no program in it is on no drive.
		{"the rest of the image", nil, []string{tell, "file", `D:\box`, "file", `D:\usr`, "file", `D:\etc\passwd`, "file", `D:\run`, "file", `Z:\etc\passwd`},
			[]string{"D:\\box=0\n", "D:\\usr=2\n", "D:\\etc\\passwd=3\n", "D:\\run=2\n", "Z:\\etc\\passwd=3\n"}},
		{"all of it, when asked", func(s *specs.Spec) { s.Annotations = map[string]string{"io.winbox.drives": "z=/,y=/etc"} },
			[]string{tell, "module", "file", `Z:\etc\passwd`, "file", `Y:\passwd`, "cwd"}, []string{"module=Z:\\box\\tell.exe\n", "Z:\\etc\\passwd=0\n", "Y:\\passwd=0\n", "cwd=Z:\\\n"}},
		{"a volume below", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/srv/deep/data", Source: s.Mounts[len(s.Mounts)-1].Source, Options: []string{"rbind"}})
		}, []string{tell, "file", "/srv/deep/data/tell.exe", "file", `D:\srv\deep\data\TELL.EXE`, "file", `D:\srv\other`}, []string{"tell.exe=0\n", "TELL.EXE=0\n", "other=2\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.program("tell")
			writeFile(t, b.dir, "sub/a.txt", nil)
			bundle := b.bundle(test.change, test.args...)
			c := b.call("run", "--bundle", bundle, b.id("variables")).wait()
			for _, want := range test.want {
				if c.code() != 0 || !strings.Contains(c.text(), want) || c.err.Len() > 0 {
					t.Errorf("exit code %d, output %q, error %q; want %q", c.code(), c.text(), c.err.String(), want)
				}
			}
		})
	}
}

// TestBundleExecDrives starts further programs by paths that the container's drives show, and by others.
func TestBundleExecDrives(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("tell")
	bare := b.bareWith("tell.exe", "other/tell.exe", "more/tell.exe")
	wait := []string{`C:\windows\system32\cmd.exe`, "/c", "echo ready& pause"}
	bundle := b.bundle(func(s *specs.Spec) { bare(s); s.Root.Readonly = false }, wait...)
	id := b.id("exec")
	c := b.call("run", "--bundle", bundle, id)
	stdin := c.follow()
	c.line()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"/box/tell.exe", "module", "cwd", "user"}, "module=D:\\box\\tell.exe\ncwd=D:\\\nuser=root\n"},
		{[]string{"--cwd", "/box", "/box/tell.exe", "cwd"}, "cwd=D:\\box\n"},
		{[]string{"--cwd", `D:\box`, `D:\box\tell.exe`, "cwd"}, "cwd=D:\\box\n"},
		{[]string{"/other/tell.exe", "module", "cwd"}, "module=D:\\other\\tell.exe\ncwd=D:\\\n"},
		{[]string{`C:\more\tell.exe`, "module"}, "module=C:\\more\\tell.exe\n"},
		{[]string{"-e", `TEMP=D:\box`, "/box/tell.exe", "env", "TEMP"}, "TEMP=D:\\box\n"},
	} {
		var flags []string
		for len(test.args) > 2 && strings.HasPrefix(test.args[0], "-") {
			flags, test.args = append(flags, test.args[:2]...), test.args[2:]
		}
		b.call(append(append(append([]string{"exec"}, flags...), id), test.args...)...).wait().want(0, test.want)
	}
	stdin.Close()
	c.wait()

	// With a read-only root, C: stays as it is.
	c = b.call("run", "--bundle", b.bundle(bare, wait...), id)
	stdin = c.follow()
	c.line()
	b.call("exec", id, "/box/tell.exe", "module").wait().want(0, "module=D:\\box\\tell.exe\n")
	b.call("exec", id, "/other/tell.exe", "module", "cwd").wait().want(0, "module=D:\\other\\tell.exe\ncwd=D:\\\n")
	b.call("exec", "--cwd", "/more", id, "/more/tell.exe", "module", "cwd").wait().want(0, "module=D:\\more\\tell.exe\ncwd=D:\\more\n")
	if line := b.call("exec", id, `C:\more\tell.exe`).wait().wantLine(255); !strings.Contains(line, "root file system is read-only: have the annotation io.winbox.drives") {
		t.Errorf("exec of what no drive shows: %q", line)
	}
	stdin.Close()
	c.wait()
}

// bareWith is a root file system with nothing in it but a program of the box's, at some paths.
func (b *box) bareWith(program string, at ...string) func(*specs.Spec) {
	b.t.Helper()
	root := newDir(b.t)
	for _, name := range at {
		writeFile(b.t, root, name, []byte(readFile(b.t, filepath.Join(b.dir, program))))
	}
	return func(s *specs.Spec) { s.Root.Path = root }
}
