package test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
)

// TestResidue launches a hundred times and looks at what is there before and after. Not parallel, for that reason.
func TestResidue(t *testing.T) {
	b := newBox(t)
	// As a user has it: the state is in /run/winbox, which nobody else uses in the tests' mount namespace.
	b.root = "/run/winbox"
	if err := os.MkdirAll(b.root, 0o711); err != nil {
		t.Fatal(err)
	}
	// The ids of the containers begin with the program's name: by that their control groups are known.
	token := fmt.Sprintf("residue%d", os.Getpid())
	for name, source := range map[string]string{"base": "base", "allocate": "allocate", "wait": "wait"} {
		writeFile(t, b.dir, token+name+".exe", []byte(readFile(t, build(t, source, source))))
	}
	kinds := []struct {
		code  int
		words []string
	}{
		{0, []string{token + "base.exe"}},
		{0, []string{token + "base.exe", "parent"}},
		{0, []string{"--memory", "256m", "--cpus", "1.5", "--pids", "50", "--network", "host", token + "base.exe"}},
		{0, []string{"--rootless", token + "base.exe"}},
		{3, []string{"cmd", "/c", "echo x>C:\\new.txt& reg add HKCU\\Software\\New /v v /d 1 >nul& exit 3"}},
		{137, []string{"--memory", "32m", token + "allocate.exe", "64"}},
		{failed, []string{"--mount", "missing:E:", token + "base.exe"}},
		{124, []string{"--timeout", "300ms", token + "wait.exe"}},
		{0, []string{token + "base.exe"}},
		{0, []string{"--display", "virtual=64x64", token + "base.exe"}},
	}
	for _, kind := range kinds { // whatever is made at the first time only
		b.run(kind.words...)
	}
	before := takeSnapshot(t, token)
	for i := range 100 {
		kind := kinds[i%len(kinds)]
		if c := b.run(kind.words...); c.code() != kind.code {
			t.Errorf("%s: exit code %d, want %d\n%s", c, c.code(), kind.code, c.err.String())
		}
	}
	for _, left := range before.diff(takeSnapshot(t, token)) {
		t.Error(left)
	}
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
