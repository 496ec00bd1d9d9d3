package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// layer makes a layer of entries. Regular files without a size have one byte.
func layer(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = 1
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
func dir(name string) tar.Header  { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
func link(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
}

// opened gives the limits of a test.
func opened(bytes int64, entries int) *Limits { return &Limits{Bytes: bytes, Entries: entries} }

// list gives the paths below a folder, whiteouts with a dash before them and opaque folders with one behind.
func list(t *testing.T, dir string) string {
	t.Helper()
	var have []string
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if info.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeNamedPipe) != 0 || info.Mode()&os.ModeDevice != 0 && info.Sys().(*syscall.Stat_t).Rdev != 0 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		if info.Mode()&os.ModeDevice != 0 {
			name = "-" + name
		}
		var value [1]byte
		if n, err := unix.Lgetxattr(path, opaqueAttribute, value[:]); err == nil && n == 1 {
			name += "-"
		}
		if name != "." {
			have = append(have, name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return strings.Join(have, " ")
}

// TestExtract applies layers, good and hostile ones, one after the other to the same folder.
func TestExtract(t *testing.T) {
	outside := t.TempDir()
	out := "../../../../../../.." + outside
	type entries = []tar.Header
	for name, test := range map[string]struct {
		layers []entries
		limits *Limits
		fails  string
		want   string // the paths that there are
		first  string // and those of the first layer alone, as a layer of an overlay
	}{
		"plain":                {layers: []entries{{dir("./"), dir("a/"), file("a/b"), file("c/d")}}, want: "a a/b c c/d"},
		"replaced":             {layers: []entries{{file("a"), dir("b"), file("b/c")}, {dir("a"), file("b")}}, want: "a b"},
		"replaced in a layer":  {layers: []entries{{file("a"), dir("a"), file("a/b"), file("a"), link("a", "x"), dir("a"), file("a/c")}}, want: "a a/c"},
		"whiteout":             {layers: []entries{{file("a/b"), file("a/c")}, {file("a/.wh.b")}}, want: "a a/c"},
		"whiteout of folder":   {layers: []entries{{file("a/b/c"), file("d")}, {file(".wh.a")}}, want: "d"},
		"whiteout of none":     {layers: []entries{{file("a/.wh.b"), file("c")}}, first: "a -a/b c", want: "a c"},
		"whiteout, then anew":  {layers: []entries{{file("a/b")}, {file(".wh.a"), dir("a"), file("a/c")}}, want: "a a/c"},
		"anew, then whiteout":  {layers: []entries{{file("a/b")}, {dir("a"), file("a/c"), file(".wh.a")}}, want: "a a/c"},
		"whiteout in new":      {layers: []entries{{file("x")}, {dir("a"), dir("a/b"), file("a/b/.wh.c"), file("a/b/d")}}, want: "a a/b a/b/d x"},
		"opaque":               {layers: []entries{{file("a/b"), file("a/c/d")}, {file("a/c/e"), file("a/.wh..wh..opq"), file("a/f")}}, want: "a a/c a/c/e a/f"},
		"opaque alone":         {layers: []entries{{file("a/b"), file("a/.wh..wh..opq")}}, first: "a- a/b", want: "a a/b"},
		"aufs":                 {layers: []entries{{file(".wh..wh.plnk"), file("a")}}, want: "a"},
		"whiteout of dots":     {layers: []entries{{file("a"), file(".wh...")}}, fails: "no name"},
		"through a link":       {layers: []entries{{dir("usr/lib"), link("lib", "usr/lib"), file("lib/x")}}, want: "lib usr usr/lib usr/lib/x"},
		"through an absolute":  {layers: []entries{{dir("usr/lib"), link("a/lib", "/usr/lib"), file("a/lib/x")}}, want: "a a/lib usr usr/lib usr/lib/x"},
		"over a link":          {layers: []entries{{link("a", outside+"/file"), file("a")}}, want: "a"},
		"folder over a link":   {layers: []entries{{link("a", outside), dir("a"), file("a/b")}}, want: "a a/b"},
		"folder over a lower":  {layers: []entries{{link("a", outside)}, {dir("a"), file("a/b")}}, want: "a a/b"},
		"dots":                 {layers: []entries{{file("../a")}}, fails: "leads out"},
		"dots inside":          {layers: []entries{{file("a/../../b")}}, fails: "leads out"},
		"link out":             {layers: []entries{{link("l", out), file("l/a")}}, fails: "leads nowhere"},
		"absolute link out":    {layers: []entries{{link("l", outside), file("l/kept")}}, fails: "leads nowhere"},
		"whiteout out":         {layers: []entries{{link("l", out), file("l/.wh.kept")}}, fails: "leads nowhere"},
		"opaque out":           {layers: []entries{{link("l", out), file("l/.wh..wh..opq")}}, fails: "leads nowhere"},
		"loop":                 {layers: []entries{{link("l", "l"), file("l/a")}}, fails: "symbolic links"},
		"by /proc":             {layers: []entries{{link("l", "/proc/self/root"), file("l" + outside + "/kept")}}, fails: "leads nowhere"},
		"hard link":            {layers: []entries{{file("a"), hard("b", "a"), hard("b", "a"), hard("a", "a"), hard("a", "./b")}}, want: "a b"},
		"hard link to a link":  {layers: []entries{{link("a", outside+"/kept"), hard("b", "a")}}, want: "a b"},
		"hard link over":       {layers: []entries{{file("a"), dir("b"), file("b/c"), hard("b", "a")}}, want: "a b"},
		"hard link out":        {layers: []entries{{hard("b", "../../etc/passwd")}}, fails: "leads out"},
		"hard link, absolute":  {layers: []entries{{hard("b", "/etc/passwd")}}, fails: "no such file"},
		"hard link by link":    {layers: []entries{{link("l", out), hard("b", "l/kept")}}, fails: "no such file"},
		"hard link to none":    {layers: []entries{{hard("b", "a")}}, fails: "no such file"},
		"hard link to folder":  {layers: []entries{{dir("a"), hard("b", "a")}}, fails: "a folder"},
		"devices":              {layers: []entries{{{Name: "null", Typeflag: tar.TypeChar}, {Name: "sda", Typeflag: tar.TypeBlock}, {Name: "p", Typeflag: tar.TypeFifo}, file("a")}}, want: "a"},
		"setuid":               {layers: []entries{{{Name: "a", Typeflag: tar.TypeReg, Mode: 0o6755}, {Name: "d", Typeflag: tar.TypeDir, Mode: 0o2777}}}, want: "a d"},
		"unreadable":           {layers: []entries{{{Name: "d", Typeflag: tar.TypeDir, Mode: 0o1}, file("d/f")}, {file("d/g")}}, want: "d d/f d/g"},
		"unknown":              {layers: []entries{{{Name: "a", Typeflag: 'V'}}}, fails: "unknown kind"},
		"a top that is a link": {layers: []entries{{link("./", outside), file("kept")}}, fails: "is a folder"},
		"long names":           {layers: []entries{{file(strings.Repeat("a/", 200) + strings.Repeat("b", 255))}}, want: longList()},
		"a longer name":        {layers: []entries{{file(strings.Repeat("b", 256))}}, fails: "too long"},
		"a longer path":        {layers: []entries{{file(strings.Repeat("a/", 2048) + "b")}}, fails: "not a name"},
		"names of Windows":     {layers: []entries{{file(`C:\a`), file("con "), file("ä\xff\n")}}, want: "C:\\a con  ä\xff\n"},
		"bytes":                {layers: []entries{{{Name: "a", Typeflag: tar.TypeReg, Size: 1 << 20}}}, limits: opened(1<<19, 9), fails: "larger than the limit"},
		"bytes of two":         {layers: []entries{{{Name: "a", Typeflag: tar.TypeReg, Size: 300 << 10}}, {{Name: "a", Typeflag: tar.TypeReg, Size: 300 << 10}}}, limits: opened(1<<19, 9), fails: "larger than the limit"},
		"entries":              {layers: []entries{{dir("a"), dir("b"), dir("c")}}, limits: opened(1<<20, 2), fails: "more files"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(outside, "kept"), []byte("kept"), 0o644); err != nil {
				t.Fatal(err)
			}
			work := t.TempDir()
			to := filepath.Join(work, "root")
			err := os.Mkdir(to, 0o755)
			opt := Options{Limits: test.limits, Whiteouts: true}
			if opt.Limits == nil {
				opt.Limits = opened(1<<20, 1000)
			}
			for i, entries := range test.layers {
				var draft string
				if draft, err = os.MkdirTemp(work, "layer-"); err != nil {
					break
				}
				var sum Summary
				if sum, err = Extract(draft, bytes.NewReader(layer(t, entries...)), opt); err != nil {
					break
				}
				if have := list(t, draft); i == 0 && test.first != "" && have != test.first {
					t.Errorf("the first layer has %q, want %q", have, test.first)
				}
				if err = Merge(draft, to, sum); err != nil {
					break
				}
			}
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Fatalf("%v, want %q", err, test.fails)
			}
			if left, _ := os.ReadDir(outside); len(left) != 1 || left[0].Name() != "kept" {
				t.Fatalf("outside: %v", left)
			}
			if data, err := os.ReadFile(filepath.Join(outside, "kept")); string(data) != "kept" || err != nil {
				t.Fatalf("outside: %q, %v", data, err)
			}
			if got := list(t, to); err == nil && got != test.want {
				t.Errorf("there are %q, want %q", got, test.want)
			}
		})
	}
}

// longList is what there is of a path of many folders.
func longList() string {
	var list []string
	for i := 1; i <= 200; i++ {
		list = append(list, strings.TrimSuffix(strings.Repeat("a/", i), "/"))
	}
	return strings.Join(append(list, strings.Repeat("a/", 200)+strings.Repeat("b", 255)), " ")
}

// TestExtractKeeps checks what is kept of an entry besides its name.
func TestExtractKeeps(t *testing.T) {
	when := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	to := t.TempDir()
	data := layer(t,
		tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o1775, ModTime: when},
		tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o640, ModTime: when, Size: 300 << 10, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.user.mine": "yours", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.security.capability": "all"}},
		tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "/d/f", ModTime: when},
		tar.Header{Name: "old", Typeflag: tar.TypeReg, ModTime: time.Unix(-5, 0), Format: tar.FormatPAX},
	)
	limits := DefaultLimits
	sum, err := Extract(to, bytes.NewReader(data), Options{Limits: &limits, RelativeLinks: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Summary{Entries: 4, Bytes: 300<<10 + 1, Stripped: 1}); sum != want {
		t.Errorf("summary %+v, want %+v", sum, want)
	}
	for name, mode := range map[string]os.FileMode{"d": os.ModeDir | os.ModeSticky | 0o775, "d/f": 0o640} {
		info, err := os.Lstat(filepath.Join(to, name))
		if err != nil || info.Mode() != mode || !info.ModTime().Equal(when) {
			t.Errorf("%s: %v, %v, %v", name, info.Mode(), info.ModTime(), err)
		}
	}
	if target, err := os.Readlink(filepath.Join(to, "d/l")); target != "../d/f" || err != nil {
		t.Errorf("link to %q, %v", target, err)
	}
	var value [16]byte
	if n, err := unix.Lgetxattr(filepath.Join(to, "d/f"), "user.mine", value[:]); err != nil || string(value[:n]) != "yours" {
		t.Errorf("attribute %q, %v", value[:max(n, 0)], err)
	}
	for _, name := range []string{opaqueAttribute, "security.capability"} {
		if _, err := unix.Lgetxattr(filepath.Join(to, "d/f"), name, value[:]); err == nil {
			t.Errorf("it has the attribute %s", name)
		}
	}
}

// TestExtractSparse unpacks what tar(1) makes of a file with holes: they stay holes, and count for the limit.
func TestExtractSparse(t *testing.T) {
	for _, format := range []string{"gnu", "posix"} {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, "sparse"))
		if err != nil {
			t.Fatal(err)
		}
		const size = 64 << 20
		_, err = f.WriteAt([]byte("middle"), size/2)
		if err := errors.Join(err, f.Truncate(size), f.Close()); err != nil {
			t.Fatal(err)
		}
		data, err := exec.Command("tar", "-C", dir, "--format="+format, "-Scf", "-", "sparse").Output()
		if err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		if _, err := Extract(to, bytes.NewReader(data), Options{Limits: opened(2*size, 9)}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(to, "sparse"))
		if err != nil || info.Size() != size || info.Sys().(*syscall.Stat_t).Blocks > 1<<11 {
			t.Errorf("%s: %+v, %v", format, info, err)
		}
		middle := make([]byte, 6)
		if f, err = os.Open(filepath.Join(to, "sparse")); err == nil {
			_, err = f.ReadAt(middle, size/2)
			f.Close()
		}
		if err != nil || string(middle) != "middle" {
			t.Errorf("%s: %q, %v", format, middle, err)
		}
		if _, err := Extract(t.TempDir(), bytes.NewReader(data), Options{Limits: opened(size/2, 9)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", format, err)
		}
	}
}

// FuzzExtract checks that no layer changes anything outside its folder or goes beyond its limits.
func FuzzExtract(f *testing.F) {
	f.Add(layer(f, dir("a"), file("a/b"), link("l", "/a"), hard("c", "a/b"), file("a/.wh.b")))
	f.Add(layer(f, link("l", ".."), file("l/x"), file("l/.wh..wh..opq")))
	f.Add(layer(f, dir("a"), file(".wh.a"), hard("a", "a"), link("a/b", "../../kept")))
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		to, onto := filepath.Join(parent, "layer"), filepath.Join(parent, "root")
		if err := errors.Join(os.Mkdir(to, 0o755), os.Mkdir(onto, 0o755), os.WriteFile(filepath.Join(parent, "kept"), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		const most = 1 << 20
		sum, err := Extract(to, bytes.NewReader(data), Options{Limits: opened(most, 50), Whiteouts: true})
		if sum.Bytes > most || sum.Entries > 50 {
			t.Errorf("summary %+v", sum)
		}
		if err == nil {
			if err := Merge(to, onto, sum); err != nil {
				t.Errorf("merge: %v", err)
			}
		}
		if left, err := os.ReadDir(parent); err != nil || len(left) != 3 {
			t.Fatalf("outside: %v, %v", left, err)
		}
	})
}
