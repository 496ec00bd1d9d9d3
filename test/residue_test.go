package test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
)

// soakStarts is how many launches a test of what is left makes in all: by `make soak`, more.
func soakStarts(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("WINBOX_TEST_SOAK")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A kind is one way to launch a program, and the exit code that comes of it.
type kind struct {
	code  int
	words []string
}

// A residue is a box for launches of all kinds, and what there is without any.
type residue struct {
	*box
	kinds []kind
	// token begins the ids of the containers, by which their control groups are known.
	token  string
	before snapshot
}

// newResidue makes one, with launches on the host's Wine and, of 32-bit programs, on a built one. Tests that have one must
// not be parallel: they look at everything that is there.
func newResidue(t *testing.T) *residue {
	t.Helper()
	b := newRuntimeBox(t, "i386")
	b.runtime = "" // each launch has its own
	// As a user has it: the state is in /run/winbox, which nobody else uses in the tests' mount namespace.
	b.root = "/run/winbox"
	if err := os.MkdirAll(b.root, 0o711); err != nil {
		t.Fatal(err)
	}
	token := fmt.Sprintf("residue%d", os.Getpid())
	for _, name := range []string{"base", "allocate", "wait"} {
		writeFile(t, b.dir, token+name+".exe", []byte(readFile(t, build(t, name, name))))
	}
	writeFile(t, b.dir, token+"base32.exe", []byte(readFile(t, machines[1].build(t, "base.exe", "base"))))
	base := token + "base.exe"
	r := &residue{box: b, token: token, kinds: []kind{
		{0, []string{"--runtime", "host", base}},
		{0, []string{"--runtime", "host", base, "parent"}},
		{0, []string{"--runtime", "host", "--memory", "256m", "--cpus", "1.5", "--pids", "50", "--network", "host", base}},
		{0, []string{"--runtime", "host", "--rootless", base}},
		{3, []string{"--runtime", "host", "cmd", "/c", "echo x>C:\\new.txt& reg add HKCU\\Software\\New /v v /d 1 >nul& exit 3"}},
		{137, []string{"--runtime", "host", "--memory", "32m", "--commit", "off", token + "allocate.exe", "64"}},
		{failed, []string{"--runtime", "host", "--mount", "missing:E:", base}},
		{124, []string{"--runtime", "host", "--timeout", "300ms", token + "wait.exe"}},
		{0, []string{"--runtime", "i386", token + "base32.exe"}},
		{0, []string{"--runtime", "host", "--display", "virtual=64x64", base}},
	}}
	for _, kind := range r.kinds { // whatever is made at the first time only
		b.run(kind.words...)
	}
	r.before = takeSnapshot(t, token)
	return r
}

// launchOf makes launch number i and wants its exit code.
func (r *residue) launchOf(i int) {
	kind := r.kinds[i%len(r.kinds)]
	if c := r.run(kind.words...); c.code() != kind.code {
		r.t.Errorf("launch %d: %s: exit code %d, want %d\n%s", i, c, c.code(), kind.code, c.err.String())
	}
}

// wantNothingNew checks that there is what there was.
func (r *residue) wantNothingNew() {
	r.t.Helper()
	for _, left := range r.before.diff(takeSnapshot(r.t, r.token)) {
		r.t.Error(left)
	}
}

// TestResidue launches a hundred times, one after another, and looks at what is there before and after.
func TestResidue(t *testing.T) {
	r := newResidue(t)
	for i := range soakStarts(t, 100) {
		r.launchOf(i)
	}
	r.wantNothingNew()
}

// TestResidueAtOnce does so with fifty launches at a time.
func TestResidueAtOnce(t *testing.T) {
	const atOnce = 50
	r := newResidue(t)
	starts := soakStarts(t, atOnce)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := int(next.Add(1) - 1); i < starts; i = int(next.Add(1) - 1) {
				r.launchOf(i)
			}
		})
	}
	wg.Wait()
	r.wantNothingNew()
}

// TestResidueKilled kills launches, at any moment of their lives and eight at a time, and has `delete --force` remove what
// the list has of them.
func TestResidueKilled(t *testing.T) {
	const atOnce = 8
	r := newResidue(t)
	kills := soakStarts(t, 80)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := int(next.Add(1) - 1); i < kills; i = int(next.Add(1) - 1) {
				r.kill(i)
			}
		})
	}
	wg.Wait()
	ids := r.containers()
	t.Logf("%d of %d launches left a container", len(ids), kills)
	for _, id := range ids {
		if c := r.call("delete", "--force", id).wait(); c.code() != 0 {
			t.Errorf("delete --force %s: exit code %d\n%s", id, c.code(), c.err.String())
		}
	}
	// The kernel takes a moment to end the processes of a pid namespace whose first one has been killed.
	await(t, "the end of all processes", func() bool {
		return !slices.ContainsFunc(r.before.diff(takeSnapshot(t, r.token)), func(left string) bool {
			return strings.HasPrefix(left, "left behind: process ") || strings.HasPrefix(left, "left behind: namespace ")
		})
	})
	r.wantNothingNew()
}

// kill starts launch number i, or in its place a program that does not end, and kills winbox a moment later.
func (r *residue) kill(i int) {
	words := r.kinds[i%len(r.kinds)].words
	if i%3 == 0 {
		words = []string{"--runtime", "host", r.token + "wait.exe"}
	}
	c := r.launch(words...)
	if err := c.Start(); err != nil {
		r.t.Error(err)
		return
	}
	time.Sleep(rand.N(400 * time.Millisecond)) // most launches take less
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.t.Error(err)
	}
	c.wait()
}

// A snapshot is what there is, each with what is known of it.
type snapshot map[string]string

// diff lists what has come, gone or changed since.
func (before snapshot) diff(after snapshot) []string {
	var list []string
	for what, detail := range after {
		if old, ok := before[what]; !ok {
			list = append(list, "left behind: "+what+" "+detail)
		} else if old != detail {
			list = append(list, "changed: "+what+" from "+old+" to "+detail)
		}
	}
	for what, detail := range before {
		if _, ok := after[what]; !ok {
			list = append(list, "gone: "+what+" "+detail)
		}
	}
	slices.Sort(list)
	return list
}

// takeSnapshot lists processes, namespaces, mounts, files, and the control groups of containers whose id begins with a
// prefix. Of a machine's, it sees only what is the tests' own: see TestMain.
func takeSnapshot(t *testing.T, prefix string) snapshot {
	t.Helper()
	s := make(snapshot)
	s.addProcesses(t)
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		s[fmt.Sprintf("mount %d", m.ID)] = m.FSType + " on " + m.Mountpoint
	}
	for _, dir := range cgroups(t, prefix) {
		if prefix != "" {
			s["control group "+dir] = ""
		}
	}
	for _, dir := range []string{os.TempDir(), "/run", "/dev/shm"} {
		s.addFiles(t, dir)
	}
	return s
}

// addProcesses adds the processes and their namespaces.
func (s snapshot) addProcesses(t *testing.T) {
	t.Helper()
	for _, pid := range allProcesses(t) {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended
		}
		// State and parent follow the name in parentheses. What has ended and is for process 1 to reap is gone.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if string(fields[0]) == "Z" && string(fields[1]) == "1" {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		s[fmt.Sprintf("process %d", pid)] = string(bytes.ReplaceAll(command, []byte{0}, []byte{' '}))
		namespaces, err := filepath.Glob(filepath.Join(dir, "ns", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, namespace := range namespaces {
			if name, err := os.Readlink(namespace); err == nil {
				s["namespace "+name] = ""
			}
		}
	}
}

// addFiles adds what is below a folder, with size and time of regular files.
func (s snapshot) addFiles(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		detail := entry.Type().String()
		if entry.Type().IsRegular() {
			info, err := entry.Info()
			if err != nil {
				return err
			}
			detail = fmt.Sprintf("%d bytes of %s", info.Size(), info.ModTime())
		}
		s["file "+name] = detail
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPrintProgram checks that the system calls are printed, and none of them made.
func TestPrintProgram(t *testing.T) {
	b := newBox(t)
	base := b.program("base")
	before := takeSnapshot(t, "base-")
	c := b.run("--print-program", "--memory", "64m", base)
	for _, want := range []string{`(?m)^.*pivot_root\(`, `(?m)^.*supervise\(.*base\.exe`, `(?m)^.*personality\(`} {
		if !regexp.MustCompile(want).MatchString(c.text()) {
			t.Errorf("nothing like %s among %d lines", want, strings.Count(c.text(), "\n"))
		}
	}
	if c.code() != 0 || c.err.Len() > 0 || strings.Count(c.text(), "\n") < 20 {
		t.Errorf("exit code %d, %d lines\n%s", c.code(), strings.Count(c.text(), "\n"), c.err.String())
	}
	for _, left := range before.diff(takeSnapshot(t, "base-")) {
		t.Error(left)
	}
}
