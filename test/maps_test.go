package test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/preload/stub"
	"winbox/wine"
)

// mapsOutput is what a test needs of "winbox maps --json".
type mapsOutput struct {
	Broken    int
	Processes []struct {
		PID     int
		Main    bool
		Program string
		Plan    string
		Broken  int
		Regions []struct{ Name, State, Verdict, Detail string }
		Parts   []mapsPart
		Causes  []struct{ Name, Remedy string }
	}
}

type mapsPart struct {
	Kind, Name, Start, End, Verdict, Detail, Base string
	Size, Committed, Private                      uint64
	Relocated                                     int `json:"relocated_pages"`
}

// maps calls winbox maps --json and checks the exit code.
func (b *box) maps(code int, words ...string) mapsOutput {
	b.t.Helper()
	b.booted()
	c := b.call(append([]string{"maps", "--json"}, words...)...).wait()
	if c.code() != code {
		b.t.Fatalf("%s: exit code %d, want %d\n%s%s", c, c.code(), code, c.err.String(), c.out.String())
	}
	var m mapsOutput
	if err := json.Unmarshal(c.out.Bytes(), &m); err != nil {
		b.t.Fatalf("%s: %v\n%s", c, err, c.out.String())
	}
	return m
}

// part is the first part of a kind.
func (m *mapsOutput) part(t *testing.T, kind string) mapsPart {
	t.Helper()
	for _, p := range m.Processes[0].Parts {
		if p.Kind == kind {
			return p
		}
	}
	t.Errorf("no %s in the process", kind)
	return mapsPart{}
}

// TestMaps looks at a program that runs as planned, and at one in the same container that has been started without the
// preloader: nothing is reserved there.
func TestMaps(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c := b.launch(b.program("wait"))
	c.follow()
	c.line()
	id, _ := b.container()
	m := b.maps(0, id)
	if len(m.Processes) != 1 || !m.Processes[0].Main || m.Processes[0].Program != "wait.exe" || m.Processes[0].Plan != "kept" || m.Broken != 0 {
		t.Fatalf("%+v", m)
	}
	if p := m.part(t, "program"); p.Start != p.Base || p.Verdict != "held" {
		t.Errorf("the program: %+v", p)
	}
	if p := m.part(t, "stack"); p.Size != 2<<20 || p.Verdict != "held" || p.Private == 0 { // mingw's default
		t.Errorf("the stack: %+v", p)
	}
	if p := m.part(t, "heap"); p.Committed == 0 || p.Verdict != "held" || p.Private == 0 {
		t.Errorf("the heap: %+v", p)
	}
	if p := m.part(t, "shared-user-data"); p.Start != "0x7ffe0000" {
		t.Errorf("shared user data: %+v", p)
	}
	if text := b.call("maps", id).wait(); text.code() != 0 || !strings.Contains(text.text(), "plan       holds\n") {
		t.Errorf("%s: exit code %d\n%s%s", text, text.code(), text.text(), text.err.String())
	}

	if svg := b.call("maps", "--svg", "-", id).wait(); svg.code() != 0 || !strings.HasPrefix(svg.text(), "<svg ") || !strings.Contains(svg.text(), " wait.exe") {
		t.Errorf("%s: exit code %d\n%s%s", svg, svg.code(), svg.text(), svg.err.String())
	}

	runtime, err := wine.Host()
	if err != nil {
		t.Fatal(err)
	}
	second := b.call("exec", "--env", "WINELOADERNOEXEC=1", id, runtime.Loader64, `D:\wait.exe`)
	second.follow()
	second.line()
	m = b.maps(3, "--all", id)
	if len(m.Processes) != 2 {
		t.Fatalf("%d processes, want 2", len(m.Processes))
	}
	for _, p := range m.Processes {
		if p.Main != (p.Broken == 0) || p.Program != "wait.exe" {
			t.Errorf("process %d: main %t, %d broken", p.PID, p.Main, p.Broken)
		}
		if p.Main {
			continue
		}
		if len(p.Causes) == 0 || p.Causes[0].Name != "preloader" || p.Causes[0].Remedy == "" {
			t.Errorf("causes: %v", p.Causes)
		}
		line := b.call("maps", "--pid", strconv.Itoa(p.PID), id).wait().wantLine(3)
		if !strings.Contains(line, "the address space is not as planned: ") || !strings.Contains(line, "not reserved") {
			t.Errorf("a process without the preloader: %q", line)
		}
	}
	if line := b.call("maps", "--all", "--svg", "-", id).wait().wantLine(1); !strings.Contains(line, "--pid") {
		t.Errorf("a picture of two: %q", line)
	}
	b.maps(0, id)
	b.call("kill", id, "KILL").wait()
	second.wait()
	c.wait()
	b.call("maps", id).wait().wantLine(1)
}

// checkMoved looks whether maps says which library has moved, because of which other, and what it cost.
func (b *box) checkMoved(name, other string) {
	b.t.Helper()
	id, _ := b.container()
	m := b.maps(0, id)
	places := map[string]mapsPart{}
	for _, p := range m.Processes[0].Parts {
		places[p.Name] = p
	}
	moved, stays := places[name], places[other]
	if stays.Verdict != "held" || stays.Start != stays.Base || stays.Private != 0 {
		b.t.Errorf("%s: %+v", other, stays)
	}
	if moved.Verdict != "moved" || moved.Base != stays.Base || moved.Relocated != 1 || moved.Private != 4096 || !strings.Contains(moved.Detail, "where "+other+" is") {
		b.t.Errorf("%s: %+v", name, moved)
	}
}

// TestMapsOfOthers asks for what has no Windows program in it.
func TestMapsOfOthers(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	if line := b.call("maps", "none").wait().wantLine(1); !strings.Contains(line, "does not exist") {
		t.Errorf("%q", line)
	}
	if line := b.call("maps").wait().wantLine(1); !strings.Contains(line, "winbox maps [flags] ID") {
		t.Errorf("%q", line)
	}
	c := b.launch(b.program("wait"))
	c.follow()
	c.line()
	id, init := b.container()
	if line := b.call("maps", "--pid", strconv.Itoa(init), id).wait().wantLine(1); !strings.Contains(line, "no Windows program") {
		t.Errorf("%q", line)
	}
	b.call("kill", id, "KILL").wait()
	c.wait()
}

// TestMapsHeap compares what maps says of the process heap with what the program itself sees (HeapWalk).
func TestMapsHeap(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c := b.launch(b.program("heap"))
	stdin := c.follow()
	want := map[string]uint64{} // size by address
	var first string
	for line := c.line(); line != "ready"; line = c.line() {
		var at, committed, uncommitted uint64
		if _, err := fmt.Sscanf(line, "heap %x", &at); err == nil {
			first = fmt.Sprintf("%#x", at)
		} else if _, err := fmt.Sscanf(line, "region %x %d %d", &at, &committed, &uncommitted); err == nil {
			want[fmt.Sprintf("%#x", at)] = committed + uncommitted
		} else {
			t.Fatalf("%q", line)
		}
	}
	id, _ := b.container()
	m := b.maps(0, id)
	large := 0
	for _, p := range m.Processes[0].Parts {
		if p.Kind != "heap" {
			continue
		}
		if p.Name == "process heap" && p.Start != first {
			t.Errorf("the heap is at %s, the program says %s", p.Start, first)
		}
		if size, ok := want[p.Start]; !ok {
			large++
		} else if size != p.Size || p.Committed > p.Size {
			t.Errorf("the piece at %s has %d bytes, %d committed; the program says %d", p.Start, p.Size, p.Committed, size)
		}
		delete(want, p.Start)
	}
	if len(want) > 0 || large != 1 {
		t.Errorf("not in maps: %v; %d blocks of their own, want 1", want, large)
	}
	stdin.Close()
	c.wait()
}

// TestStrict gives the preloader a wrong plan: one range only, and the preloader itself is in it. Without strict the program
// runs, and maps says that nothing is as planned; with strict it does not run.
func TestStrict(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	program := b.program("wait")
	for _, strict := range []bool{false, true} {
		dir := b.bundle(func(s *specs.Spec) {
			b.bare(program)(s)
			s.Annotations = map[string]string{"io.winbox.layout.strict": strconv.FormatBool(strict)}
		}, "/app/"+program)
		id := b.id("strict-" + strconv.FormatBool(strict))
		c := b.call("create", "--bundle", dir, id)
		out, said := newDir(t)+"/out", newDir(t)+"/said"
		c.Stdout, c.Stderr = create(t, out), create(t, said)
		if c.wait(); c.code() != 0 {
			t.Fatalf("create: %s", readFile(t, said))
		}
		files, err := filepath.Glob(filepath.Join(dataRoot, "containers", id+"-*", "layout.amd64"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		header := []byte(readFile(t, files[0]))[:24]
		if flags := binary.LittleEndian.Uint32(header[20:]); (flags == 1) != strict {
			t.Errorf("strict %t: flags %d", strict, flags)
		}
		binary.LittleEndian.PutUint32(header[16:], 1)
		header = binary.LittleEndian.AppendUint64(header, stub.ZoneStartAMD64)
		header = binary.LittleEndian.AppendUint64(header, stub.ZoneEndAMD64)
		// Over the old content: the container has this very file mounted.
		if err := os.WriteFile(files[0], header, 0o644); err != nil {
			t.Fatal(err)
		}
		if start := b.call("start", id).wait(); start.code() != 0 {
			t.Fatalf("start: %s", start.err.String())
		}
		if strict {
			await(t, "the end of the container", func() bool {
				return strings.Contains(b.call("state", id).wait().text(), `"stopped"`)
			})
			if text := readFile(t, said); !strings.HasPrefix(text, "winbox preloader: 0x") || !strings.HasSuffix(text, " cannot be reserved: the addresses are in use\n") {
				t.Errorf("strict: %q", text)
			}
			if text := readFile(t, out); text != "" {
				t.Errorf("the program has run: %q", text)
			}
		} else {
			await(t, "the program", func() bool { return readFile(t, out) != "" })
			if line := b.call("maps", id).wait().wantLine(3); !strings.Contains(line, "not reserved") {
				t.Errorf("%q", line)
			}
		}
		b.call("delete", "--force", id).wait()
	}
	// Where nothing is in the way it makes no difference.
	c := b.launch("--strict", program)
	c.follow()
	c.line()
	id, _ := b.container()
	b.maps(0, id)
	b.call("kill", id, "KILL").wait()
	c.wait()
	// A program that cannot be at its base is refused beforehand.
	moved := build(t, "moved", "wait", "-Wl,--image-base,0x7ffd0000")
	if line := b.run("--strict", moved).wantLine(126); !strings.Contains(line, "io.winbox.layout.strict") {
		t.Errorf("%q", line)
	}
}

// create makes a file that is closed with the test.
func create(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
