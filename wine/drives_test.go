package wine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseMount(t *testing.T) {
	for text, want := range map[string]Mount{
		`/src:E:`:              {Source: "/src", Target: "E:"},
		`/src:e:\`:             {Source: "/src", Target: `e:\`},
		`/src:E:\a b\c:ro`:     {Source: "/src", Target: `E:\a b\c`, ReadOnly: true},
		`/src:E:/x:rw`:         {Source: "/src", Target: "E:/x"},
		`data:C:\data`:         {Source: "data", Target: `C:\data`},
		`/with:colon:F:\x`:     {Source: "/with:colon", Target: `F:\x`},
		`/src:/run/data`:       {Source: "/src", Target: "/run/data"},
		`/src:/tmp/data:ro`:    {Source: "/src", Target: "/tmp/data", ReadOnly: true},
		`../rel/x:/run/a/b`:    {Source: "../rel/x", Target: "/run/a/b"},
		`/file.txt:C:\f.txt`:   {Source: "/file.txt", Target: `C:\f.txt`},
		`/src:/run/user2/home`: {Source: "/src", Target: "/run/user2/home"},
	} {
		got, err := ParseMount(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "/src", "/src:", ":E:", "/src:1:", "/src:EE:", "/src:E", `/src:E:x`, `/src:\x`, "/src:relative", "/src:/", "/src:/etc",
		"/src:/usr/lib", "/src:/run/winbox/drives/d", "/src:/run/user/0", "/src:/tmp/../etc", "/src:/run", `/src:E:\..\x`,
		`/src:E:\a?b`, `/src:E:\dot.`, `/src:E:\a<b`, "/src:E:\\a\x01b", "/src:é:",
	} {
		if got, err := ParseMount(text); err == nil {
			t.Errorf("%q: no error, %+v", text, got)
		}
	}
}

// folders makes empty folders (and files, where a name has a dot) below a new one.
func folders(t *testing.T, names ...string) string {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		full := filepath.Join(top, name)
		if strings.Contains(filepath.Base(name), ".") {
			if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte("MZ"), 0o644)); err != nil {
				t.Fatal(err)
			}
		} else if err := os.MkdirAll(full, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestShareable(t *testing.T) {
	top := folders(t, "homes/alice/project", "elsewhere")
	home := filepath.Join(top, "homes/alice")
	t.Setenv("HOME", home)
	link := filepath.Join(top, "link")
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/", "/root", "/home", home, filepath.Dir(home), top, link, home + "/project/.."} {
		if _, err := os.Stat(name); err != nil {
			continue // no /root for an ordinary user
		}
		if _, err := shareable(name, false); !errors.Is(err, ErrSharesHome) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := shareable(name, true); err != nil {
			t.Errorf("%s with ShareHome: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		home + "/project": home + "/project", link + "/project": home + "/project", top + "/elsewhere": top + "/elsewhere",
	} {
		if got, err := shareable(name, false); err != nil || got != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if _, err := shareable(top+"/missing", false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestShares(t *testing.T) {
	top := folders(t, "cwd/sub/app.exe", "cwd/point", "tools/tool.exe", "data", "file.txt")
	t.Setenv("HOME", filepath.Join(top, "nobody"))
	cwd, data := filepath.Join(top, "cwd"), filepath.Join(top, "data")
	inside := Program{Host: filepath.Join(cwd, "sub/app.exe")}
	outside := Program{Host: filepath.Join(top, "tools/tool.exe")}
	windows := Program{Windows: `C:\windows\system32\cmd.exe`}

	for _, test := range []struct {
		name    string
		opt     Options
		program string
		drives  string
		wrong   string
	}{
		{name: "inside", opt: Options{Program: inside}, program: `D:\sub\app.exe`, drives: "d"},
		{name: "outside", opt: Options{Program: outside}, program: `E:\tool.exe`, drives: "de"},
		{name: "Windows' own", opt: Options{Program: windows}, program: `C:\windows\system32\cmd.exe`, drives: "d"},
		{name: "E taken", opt: Options{Program: outside, Mounts: []Mount{{Source: data, Target: "E:"}}}, program: `F:\tool.exe`, drives: "def"},
		{name: "E has a folder", opt: Options{Program: outside, Mounts: []Mount{{Source: data, Target: `e:\x`}}}, program: `F:\tool.exe`, drives: "def"},
		{name: "on C", opt: Options{Program: inside, Mounts: []Mount{{Source: data, Target: `C:\data`}}}, program: `D:\sub\app.exe`, drives: "d"},
		{name: "file", opt: Options{Program: inside, Mounts: []Mount{{Source: top + "/file.txt", Target: `X:\f.txt`}}}, program: `D:\sub\app.exe`, drives: "dx"},
		{name: "in the shared folder", opt: Options{Program: inside, Mounts: []Mount{{Source: data, Target: `D:\point`}}}, program: `D:\sub\app.exe`, drives: "d"},
		{name: "no mount point", opt: Options{Program: inside, Mounts: []Mount{{Source: data, Target: `D:\nowhere`}}}, wrong: "make one"},
		{name: "D taken", opt: Options{Program: inside, Mounts: []Mount{{Source: data, Target: "d:"}}}, wrong: "taken"},
		{name: "twice", opt: Options{Program: inside, Mounts: []Mount{{Source: data, Target: `G:\A`}, {Source: data, Target: `g:\a`}}}, wrong: "taken"},
		{name: "C", opt: Options{Program: inside, Mounts: []Mount{{Source: data, Target: `C:\`}}}, wrong: "prefix's own"},
		{name: "file as drive", opt: Options{Program: inside, Mounts: []Mount{{Source: top + "/file.txt", Target: "G:"}}}, wrong: "must be a folder"},
		{name: "device", opt: Options{Program: inside, Mounts: []Mount{{Source: "/dev/null", Target: `G:\x`}}}, wrong: "neither a folder nor"},
		{name: "missing", opt: Options{Program: inside, Mounts: []Mount{{Source: top + "/gone", Target: "G:"}}}, wrong: "no such file"},
		{name: "home", opt: Options{Program: inside, Mounts: []Mount{{Source: "/", Target: "G:"}}}, wrong: "--share-home"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.opt.Dir = cwd
			d, program, err := test.opt.shares()
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Fatalf("error %v, want one with %q", err, test.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if program != test.program || string(d.letters()) != test.drives {
				t.Errorf("program %s drives %s, want %s and %s", program, d.letters(), test.program, test.drives)
			}
		})
	}
}

func TestReadOnlyShares(t *testing.T) {
	top := folders(t, "cwd/app.exe", "data")
	t.Setenv("HOME", filepath.Join(top, "nobody"))
	opt := Options{
		Dir: filepath.Join(top, "cwd"), Program: Program{Host: filepath.Join(top, "cwd/app.exe")}, ReadOnly: true,
		Mounts: []Mount{{Source: filepath.Join(top, "data"), Target: "E:"}},
	}
	d, _, err := opt.shares()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range d.mounts {
		if !m.readOnly {
			t.Errorf("%s is writable", m.target)
		}
	}
}

func TestWorkdir(t *testing.T) {
	top := folders(t, "cwd/Sub/app.exe", "data/In", "c/windows/Temp")
	t.Setenv("HOME", filepath.Join(top, "nobody"))
	for workdir, want := range map[string]string{
		"":                `/run/winbox/drives/d`,
		`D:\sub`:          `/run/winbox/drives/d/Sub`,
		`d:/SUB`:          `/run/winbox/drives/d/Sub`,
		`E:\`:             `/run/winbox/drives/e`,
		`E:\in`:           `/run/winbox/drives/e/In`,
		`C:\Windows\temp`: `/run/winbox/prefix/drive_c/windows/Temp`,
		`C:\data\in`:      `/run/winbox/prefix/drive_c/data/In`,
		`D:\gone`:         "",
		`F:\`:             "",
		`C:\gone`:         "",
		`/run/x`:          "",
		`sub`:             "",
	} {
		opt := Options{
			Dir: filepath.Join(top, "cwd"), Program: Program{Host: filepath.Join(top, "cwd/Sub/app.exe")}, Workdir: workdir,
			Mounts: []Mount{{Source: filepath.Join(top, "data"), Target: "E:"}, {Source: filepath.Join(top, "data"), Target: `C:\data`}},
		}
		d, _, err := opt.shares()
		if err != nil {
			t.Fatal(err)
		}
		got, err := opt.workdir(d, filepath.Join(top, "c"))
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", workdir, got, err, want)
		}
	}
}
