package prelink_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/pe/petest"
	"winbox/preload/prelink"
)

const i386 = 0x14c

// library is a DLL as link.exe makes it for x86-64, or for x86.
func library(machine uint16) petest.Image {
	im := petest.Image{
		Machine:            machine,
		Base:               0x180000000,
		Characteristics:    uint16(pe.DLL | pe.LargeAddressAware),
		DLLCharacteristics: uint16(pe.DynamicBase),
		Relocations:        []uint32{0x1000, 0x1008},
	}
	if machine == i386 {
		im.Base = 0x10000000
	}
	return im
}

// write writes files below a new folder.
func write(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func run(t *testing.T, dir string, opt prelink.Options) []prelink.File {
	t.Helper()
	files, err := prelink.Folder(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// summary has a line for each file.
func summary(files []prelink.File) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%s: %s", strings.Join(append([]string{f.Path}, f.Links...), "="), f.Action)
		if f.NewBase != f.OldBase {
			fmt.Fprintf(&b, " to %#x", f.NewBase)
		}
		if f.Reason != "" {
			fmt.Fprintf(&b, " (%s)", f.Reason)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// contents are the files of a folder with their inodes.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		info, _ := d.Info()
		all[path] = fmt.Sprintf("%d %s %x", info.Sys().(*syscall.Stat_t).Ino, info.ModTime(), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFolder(t *testing.T) {
	change := func(machine uint16, change func(*petest.Image)) []byte {
		im := library(machine)
		change(&im)
		return im.Bytes()
	}
	wide, narrow := library(0x8664).Bytes(), library(i386).Bytes()
	ofWine := bytes.Clone(wide)
	copy(ofWine[64:], "Wine placeholder DLL\x00")
	dir := write(t, map[string][]byte{
		"app.exe":                   petest.Image{Base: 0x3ffff0000}.Bytes(),
		"a.dll":                     wide,
		"b.ocx":                     wide,
		"sub/c.dll":                 wide,
		"good.dll":                  change(0x8664, func(im *petest.Image) { im.Base = 0x3c0000000 }),
		"old/x.dll":                 narrow,
		"old/y.dll":                 narrow,
		"old/z.exe":                 petest.Image{Machine: i386, Base: 0x5fff0000}.Bytes(),
		"signed.dll":                change(0x8664, func(im *petest.Image) { im.Signed = true }),
		"net.dll":                   change(i386, func(im *petest.Image) { im.CLRFlags, im.Base = 1, 0x20000000 }),
		"fixed.dll":                 change(0x8664, func(im *petest.Image) { im.Relocations, im.Base = nil, 0x3fffe0000 }),
		"arm.dll":                   change(0xaa64, func(im *petest.Image) {}),
		"wine.dll":                  ofWine,
		"Windows/System32/user.dll": wide,
		"cut.dll":                   wide[:0x500],
		"zero.dll":                  nil,
		"text.dll":                  []byte("hello"),
		"readme.txt":                []byte("hello"),
		"huge.dll":                  change(0x8664, func(im *petest.Image) { im.SizeOfImage = 0x7fff0000 }),
		"bad.dll":                   change(0x8664, func(im *petest.Image) { im.Relocations = []uint32{0x1ff000} }),
	})
	for _, link := range [][2]string{{"a.dll", "link.dll"}, {"sub", "folder"}, {"/etc/passwd", "out.dll"}} {
		if err := os.Symlink(link[0], filepath.Join(dir, link[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Link(filepath.Join(dir, "a.dll"), filepath.Join(dir, "sub", "hard.dll")),
		syscall.Mkfifo(filepath.Join(dir, "pipe.dll"), 0o600),
		os.WriteFile(filepath.Join(dir, "sub", ".winbox-prelink-X"), wide, 0o600)); err != nil {
		t.Fatal(err)
	}
	want := `Windows/System32/user.dll: left alone (in a folder of Windows itself)
a.dll=sub/hard.dll: moved to 0x3fffd0000 (outside the ranges for libraries)
arm.dll: left alone (built for ARM64)
b.ocx: moved to 0x3fffc0000 (outside the ranges for libraries)
bad.dll: left alone (malformed: relocation table: a fixup at 0x1ff000 lies outside the image)
cut.dll: left alone (truncated: section .rdata ends at byte 1,568 but the file has 1,280)
fixed.dll: aligned (sections are not as a loader maps them)
good.dll: aligned (sections are not as a loader maps them)
huge.dll: left alone (no room is left for it)
link.dll: left alone (a symbolic link)
net.dll: left alone (a .NET assembly)
old/x.dll: aligned (sections are not as a loader maps them)
old/y.dll: moved to 0x5ffe0000 (old/x.dll is there)
out.dll: left alone (a symbolic link)
signed.dll: left alone (signed)
sub/c.dll: moved to 0x3fffa0000 (outside the ranges for libraries)
text.dll: left alone (not a Windows program: it is a text file)
wine.dll: left alone (part of Wine)
zero.dll: left alone (not a Windows program: the file is empty)
`
	untouched := contents(t, dir)
	if got := summary(run(t, dir, prelink.Options{DryRun: true})); got != want {
		t.Errorf("dry run:\n%s\nwant\n%s", got, want)
	}
	if now := contents(t, dir); !reflect.DeepEqual(now, untouched) {
		t.Error("the dry run has changed something")
	}
	files := run(t, dir, prelink.Options{})
	if got := summary(files); got != want {
		t.Errorf("got:\n%s\nwant\n%s", got, want)
	}
	for _, f := range files {
		if f.Action != prelink.Moved && f.Action != prelink.Aligned {
			continue
		}
		for _, name := range append([]string{f.Path}, f.Links...) {
			img, file, err := pe.OpenFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if img.ImageBase != f.NewBase || !img.Rebased() {
				t.Errorf("%s: base %#x, rebased: %v", name, img.ImageBase, img.Rebased())
			}
			file.Close()
		}
	}
	if a, b := stat(t, dir, "a.dll"), stat(t, dir, "sub/hard.dll"); a.Ino != b.Ino || a.Nlink != 2 {
		t.Error("two names of one file are two files now")
	}
	if _, err := os.Lstat(filepath.Join(dir, "sub/.winbox-prelink-X")); err == nil {
		t.Error("what a killed run left is still there")
	}

	first := contents(t, dir)
	for _, f := range run(t, dir, prelink.Options{}) {
		if f.Action == prelink.Moved || f.Action == prelink.Aligned || f.Action == prelink.Failed {
			t.Errorf("a second time: %s", summary([]prelink.File{f}))
		}
	}
	if now := contents(t, dir); !reflect.DeepEqual(now, first) {
		t.Error("the second run has changed something")
	}
}

func stat(t *testing.T, dir, name string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}

// TestFolderKeepsMetadata looks at what is not contents.
func TestFolderKeepsMetadata(t *testing.T) {
	dir := write(t, map[string][]byte{"a.dll": library(0x8664).Bytes()})
	path, outside := filepath.Join(dir, "a.dll"), filepath.Join(t.TempDir(), "a.dll")
	accessed, modified := time.Unix(1e9, 123456789), time.Unix(1.1e9, 987654321)
	if err := errors.Join(
		os.Link(path, outside),
		os.Chmod(path, 0o4751),
		os.Chtimes(path, accessed, modified)); err != nil {
		t.Fatal(err)
	}
	attributes := syscall.Setxattr(path, "user.DOSATTRIB", []byte("0x2"), 0)
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chown(path, 1234, 5678), os.Chmod(path, 0o4751)); err != nil {
			t.Fatal(err)
		}
	}
	before := stat(t, dir, "a.dll")
	if files := run(t, dir, prelink.Options{}); len(files) != 1 || files[0].Action != prelink.Moved {
		t.Fatal(summary(files))
	}
	after := stat(t, dir, "a.dll")
	if after.Ino == before.Ino || after.Mode != before.Mode || after.Uid != before.Uid || after.Gid != before.Gid || after.Mtim != before.Mtim || after.Atim != before.Atim {
		t.Errorf("was %+v\nis  %+v", before, after)
	}
	value := make([]byte, 10)
	if n, err := syscall.Getxattr(path, "user.DOSATTRIB", value); attributes == nil && (err != nil || string(value[:n]) != "0x2") {
		t.Errorf("extended attribute %q, error %v", value[:max(n, 0)], err)
	}
	if b, err := os.ReadFile(outside); err != nil || !bytes.Equal(b, library(0x8664).Bytes()) {
		t.Error("a name outside the folder leads to something else now")
	}
}

func TestFolderSigned(t *testing.T) {
	im := library(0x8664)
	im.Signed = true
	dir := write(t, map[string][]byte{"a.dll": im.Bytes()})
	if got, want := summary(run(t, dir, prelink.Options{DropSignatures: true})), "a.dll: moved to 0x3ffff0000 (outside the ranges for libraries)\n"; got != want {
		t.Errorf("got %s", got)
	}
	if got, want := summary(run(t, dir, prelink.Options{})), "a.dll: kept (nothing to do)\n"; got != want {
		t.Errorf("got %s", got)
	}
}

// TestFolderPrograms aligns programs when it is told to, but not those that may unpack themselves.
func TestFolderPrograms(t *testing.T) {
	dir := write(t, map[string][]byte{
		"app.exe": petest.Image{DLLCharacteristics: uint16(pe.DynamicBase), Relocations: []uint32{0x1000}}.Bytes(),
		"old.exe": petest.Image{Machine: i386}.Bytes(), "setup.exe": petest.Image{Overlay: []byte("all that it installs")}.Bytes(),
		"signed.exe": petest.Image{Signed: true}.Bytes(), "net.exe": petest.Image{CLRFlags: pe.CLRILOnly}.Bytes(),
	})
	if files := run(t, dir, prelink.Options{}); len(files) != 0 {
		t.Errorf("programs without being told:\n%s", summary(files))
	}
	want := `app.exe: aligned (sections are not as a loader maps them)
net.exe: left alone (a .NET assembly)
old.exe: aligned (sections are not as a loader maps them)
setup.exe: left alone (a program with data behind its sections, which it may look for)
signed.exe: left alone (signed)
`
	if got := summary(run(t, dir, prelink.Options{Programs: true})); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for _, f := range run(t, dir, prelink.Options{Programs: true}) {
		if f.Action == prelink.Aligned {
			t.Errorf("a second time: %s", summary([]prelink.File{f}))
		}
	}
}

func TestFolderBusy(t *testing.T) {
	dir := write(t, map[string][]byte{"a.dll": library(0x8664).Bytes()})
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := prelink.Folder(dir, prelink.Options{}); !errors.Is(err, prelink.ErrBusy) {
		t.Error(err)
	}
	if _, err := prelink.Folder(filepath.Join(dir, "none"), prelink.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestFolderNewcomer adds a library to a folder that has been prelinked: the others stay.
func TestFolderNewcomer(t *testing.T) {
	dir := write(t, map[string][]byte{"m.dll": library(0x8664).Bytes(), "n.dll": library(0x8664).Bytes()})
	run(t, dir, prelink.Options{})
	before := contents(t, dir)
	im := library(0x8664)
	im.Base = 0x3fffe0000 // where n.dll is by now
	if err := os.WriteFile(filepath.Join(dir, "a.dll"), im.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := summary(run(t, dir, prelink.Options{})), "a.dll: moved to 0x3fffd0000 (n.dll is there)\nm.dll: kept (nothing to do)\nn.dll: kept (nothing to do)\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	after := contents(t, dir)
	delete(after, filepath.Join(dir, "a.dll"))
	if !reflect.DeepEqual(before, after) {
		t.Error("the others were rewritten")
	}
}

// TestFolderMany fills the space of 32-bit libraries to the brim.
func TestFolderMany(t *testing.T) {
	im := library(i386)
	im.SizeOfImage = 128 << 20
	files := map[string][]byte{}
	for i := range 12 {
		files[fmt.Sprintf("%02d.dll", i)] = im.Bytes()
	}
	dir := write(t, files)
	var taken []preload.Range
	homeless := 0
	for _, f := range run(t, dir, prelink.Options{}) {
		if f.Action == prelink.LeftAlone {
			homeless++
			continue
		}
		r := preload.Range{Start: f.NewBase, End: f.NewBase + f.ImageSize}
		for _, other := range taken {
			if r.Overlaps(other) {
				t.Errorf("%s and %s", r, other)
			}
		}
		taken = append(taken, r)
	}
	if len(taken) != 10 || homeless != 2 { // 1,280 MiB
		t.Errorf("%d libraries found room, %d did not", len(taken), homeless)
	}
}

// TestFolderHostile has files that lie about themselves, among good ones.
func TestFolderHostile(t *testing.T) {
	good := library(0x8664).Bytes()
	const coff, optional = petest.HeaderOffset + 4, petest.HeaderOffset + 24
	const sections = optional + 112 + 16*8
	patch := func(off int, words ...uint32) []byte {
		b := bytes.Clone(good)
		for i, w := range words {
			copy(b[off+4*i:], []byte{byte(w), byte(w >> 8), byte(w >> 16), byte(w >> 24)})
		}
		return b
	}
	relocations := petest.DataOffset + 16
	files := map[string][]byte{
		"a.dll": good, "z.dll": good,
		"base 0.dll":                     patch(optional+24, 0, 0),
		"base at the top.dll":            patch(optional+24, 0xffff0000, 0xffffffff),
		"base at the limit.dll":          patch(optional+24, 0xffff0000, 0x7fff),
		"base not aligned.dll":           patch(optional+24, 0x80001000, 1),
		"alignment 0.dll":                patch(optional+32, 0),
		"alignment 3.dll":                patch(optional+32, 3),
		"file alignment 0.dll":           patch(optional+36, 0),
		"image of 4 GiB.dll":             patch(optional+56, 0xffffffff),
		"image of 2 GiB.dll":             patch(optional+56, 0x7fff0000),
		"image of nothing.dll":           patch(optional+56, 0),
		"headers of 4 GiB.dll":           patch(optional+60, 0xffffffff),
		"65,535 sections.dll":            patch(coff, 0xffff8664),
		"sections overlap.dll":           patch(sections+12, 0x2000),
		"section past the file.dll":      patch(sections+20, 0xfffffe00),
		"section of 4 GiB.dll":           patch(sections+8, 0xffffffff),
		"sections share bytes.dll":       patch(sections+40+20, petest.TextOffset),
		"relocations loop.dll":           patch(relocations+4, 0),
		"relocations outside.dll":        patch(relocations, 0x7ffff000),
		"relocations for themselves.dll": patch(relocations, petest.DataRVA+16),
		"relocations of 4 GiB.dll":       patch(optional+112+8*5+4, 0xffffffff),
		"imports everywhere.dll":         patch(optional+112+8, 0x2000, 0xffffffff),
		"signed by nobody.dll":           patch(optional+112+8*4, 0xfffffff0, 0xffffffff),
	}
	dir := write(t, files)
	moved := 0
	for _, f := range run(t, dir, prelink.Options{DropSignatures: true}) {
		b, err := os.ReadFile(filepath.Join(dir, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		switch f.Action {
		case prelink.Failed:
			t.Errorf("%s: %s", f.Path, f.Reason)
		case prelink.LeftAlone:
			if f.Reason == "" || !bytes.Equal(b, files[f.Path]) {
				t.Errorf("%s: left alone, but changed, or for no reason", f.Path)
			}
		case prelink.Moved:
			moved++
			img, err := pe.Open(bytes.NewReader(b), int64(len(b)))
			if err != nil || img.ImageBase != f.NewBase || !img.Rebased() || len(b) > 64<<10 {
				t.Errorf("%s: %v, %+v, %d bytes", f.Path, err, img, len(b))
			}
		}
		t.Logf("%s: %s: %s", f.Path, f.Action, f.Reason)
	}
	if files := run(t, dir, prelink.Options{}); moved < 2 {
		t.Errorf("the good ones did not move:\n%s", summary(files))
	}
}
