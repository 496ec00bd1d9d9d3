package test

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"winbox/preload"
	"winbox/preload/pe"
)

// An application is a program of pe/load.c that runs, with its libraries.
type application struct {
	*call
	stdin io.Closer
	pid   int
	// at says where each library is.
	at map[string]uint64
}

// run runs the application in a box's current folder until it has loaded its libraries.
func runApplication(b *box, libraries []string) *application {
	b.t.Helper()
	a := &application{call: b.launch(append([]string{"./load.exe"}, libraries...)...), at: map[string]uint64{}}
	a.stdin = a.follow()
	for line := a.line(); line != "loaded"; line = a.line() {
		name, at, _ := strings.Cut(line, " ")
		address, err := strconv.ParseUint(at, 16, 64)
		if err != nil {
			b.t.Fatalf("the program says %q", line)
		}
		a.at[name] = address
	}
	a.pid = having(b.t, b.processes(), "load.exe")
	return a
}

// end ends it in good order.
func (a *application) end() {
	a.box.t.Helper()
	a.stdin.Close()
	if a.wait(); a.code() != 0 || a.err.Len() > 0 {
		a.box.t.Errorf("%s: exit code %d\n%s", a, a.code(), a.err.String())
	}
}

// image gives the image of a library in a box's folder, and its place in memory when it is at its base.
func (b *box) image(name string) (*pe.Image, preload.Range) {
	b.t.Helper()
	img, file, err := pe.OpenFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	file.Close() // only the headers are looked at
	return img, preload.Range{Start: img.ImageBase, End: img.ImageBase + uint64(img.SizeOfImage)}
}

// TestRow11ImagePrelink has an application whose 30 libraries all want the same base: as they are linked, each costs its
// size in private memory; prelinked, each is at its base and nothing that is not written to is private.
func TestRow11ImagePrelink(t *testing.T) {
	t.Parallel()
	for _, m := range []machine{
		{"amd64", "x86_64-w64-mingw32-gcc", pe.MachineAMD64, ""},
		{"amd64-wine10", "x86_64-w64-mingw32-gcc", pe.MachineAMD64, "i386"},
		{"i386", "i686-w64-mingw32-gcc", pe.MachineI386, "i386"},
		{"i386-new-wow64", "i686-w64-mingw32-gcc", pe.MachineI386, "new"},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			const size = 256 << 10 // of a library's code
			base := map[bool]uint64{true: 0x180000000, false: 0x10000000}[m.wide()]
			b := m.newBox(t)
			writeFile(t, b.dir, "load.exe", []byte(readFile(t, m.build(t, "load.exe", "load"))))
			data := readFile(t, m.build(t, "pointers.dll", "pointers", "-shared", fmt.Sprintf("-Wl,--image-base,%#x", base)))
			var libraries []string
			for i := range 30 {
				libraries = append(libraries, fmt.Sprintf("%d.dll", i))
				writeFile(t, b.dir, libraries[i], []byte(data))
			}

			a := runApplication(b, libraries)
			moved := 0
			memory := smaps(t, a.pid)
			for _, name := range libraries {
				if a.at[name] != base {
					moved++
				}
				_, place := b.image(name)
				place.Start, place.End = a.at[name], a.at[name]+place.Size()
				private := uint64(0)
				for _, m := range memory {
					if place.Contains(m.Range) {
						private += m.anonymous
					}
				}
				if private < size {
					t.Errorf("as linked, %s has only %d private bytes: it shows nothing", name, private)
				}
			}
			if moved < len(libraries)-1 {
				t.Errorf("as linked, %d libraries moved", moved)
			}
			a.end()

			var list []any
			c := b.call("image", "prelink", "--programs", "--json", ".").wait()
			if err := json.Unmarshal(c.out.Bytes(), &list); err != nil || c.code() != 0 || len(list) != len(libraries)+1 {
				t.Fatalf("%s: exit code %d, %v\n%s%s", c, c.code(), err, c.text(), c.err.String())
			}
			c = b.call("image", "prelink", "--programs", ".").wait()
			if want := "\n0 moved, 0 aligned, 31 kept, 0 left alone, 0 failed\n"; c.code() != 0 || !strings.HasSuffix(c.text(), want) {
				t.Errorf("a second time: exit code %d\n%s", c.code(), c.text())
			}

			a = runApplication(b, libraries)
			other := m.newBox(t)
			other.dir = b.dir
			second := runApplication(other, libraries)
			taken := map[uint64]string{}
			for _, name := range libraries {
				img, _ := b.image(name)
				if taken[img.ImageBase] != "" {
					t.Errorf("%s and %s have the same base", name, taken[img.ImageBase])
				}
				taken[img.ImageBase] = name
			}
			for _, a := range []*application{a, second} {
				a.checkPrelinked(libraries, size)
				a.checkPrelinked([]string{"load.exe"}, 4096)
			}
			a.end()
			second.end()
		})
	}
}

// checkPrelinked wants that images are at their bases, that their memory is the files' where the program cannot write,
// and that size bytes of each one's code are another container's too.
func (a *application) checkPrelinked(libraries []string, size uint64) {
	t := a.box.t
	t.Helper()
	memory := smaps(t, a.pid)
	for _, name := range libraries {
		img, place := a.box.image(name)
		if a.at[name] != img.ImageBase {
			t.Errorf("%s is at %#x, its base is %#x", name, a.at[name], img.ImageBase)
		}
		code := uint64(0)
		for _, m := range memory {
			if !place.Contains(m.Range) || strings.Contains(m.Perms, "w") {
				continue
			}
			if filepath.Base(m.Path) != name || m.anonymous != 0 {
				t.Errorf("%s: %s %s %q has %d private bytes", name, m.Range, m.Perms, m.Path, m.anonymous)
			}
			if strings.Contains(m.Perms, "x") {
				code += m.shared
			}
		}
		if code < size {
			t.Errorf("%s: %d bytes of code are shared, want %d", name, code, size)
		}
	}
}

// A mappingUse is a mapping with how much of it, in bytes, is the process's own and how much other processes have too.
type mappingUse struct {
	preload.Mapping
	anonymous, shared uint64
}

// smaps reads /proc/PID/smaps (proc(5)).
func smaps(t *testing.T, pid int) []mappingUse {
	t.Helper()
	data := readFile(t, fmt.Sprintf("/proc/%d/smaps", pid))
	var all []mappingUse
	for line := range strings.Lines(data) {
		name, value, _ := strings.Cut(line, ":")
		var kilobytes uint64
		fmt.Sscanf(value, "%d kB", &kilobytes) // of the fields that are needed, all are numbers
		switch name {
		case "Anonymous":
			all[len(all)-1].anonymous = kilobytes << 10
		case "Shared_Clean":
			all[len(all)-1].shared = kilobytes << 10
		default:
			if maps, err := preload.ParseMaps(strings.NewReader(line)); err == nil {
				all = append(all, mappingUse{Mapping: maps[0]})
			}
		}
	}
	return all
}
