package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// failed is the exit code for what winbox itself cannot do, told from those of programs as env(1) does.
const failed = 125

// A box calls winbox with a state root of its own, which must be empty at the end of the test.
type box struct {
	t *testing.T
	// winbox is the binary.
	winbox string
	// dir is the current folder of the calls.
	dir string
	// root is the state root.
	root string
	// runtime is what launches use; empty for the default.
	runtime string
	// plain is Wine without winbox, by which launches are made if it is not nil.
	plain *plain
	// env are variables besides those of the tests.
	env []string
	// attr are the attributes of winbox's process.
	attr *syscall.SysProcAttr
}

// newBox makes a box with an empty current folder, or skips the test where none can run.
func newBox(t *testing.T) *box {
	t.Helper()
	if cannot != "" {
		t.Skip(cannot)
	}
	b := &box{t: t, winbox: winbox, dir: newDir(t), root: newDir(t), env: []string{"WINBOX_DATA=" + dataRoot}}
	t.Cleanup(func() {
		for _, id := range b.containers() {
			t.Errorf("container %s is left", id)
			b.call("delete", "--force", id).wait()
		}
	})
	return b
}

// newDir makes a folder that other users can enter, which those of t.TempDir are not, and removes it after the test.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// writeFile writes a file below a folder, and gives its path.
func writeFile(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// filterDir, in the state root, keeps compiled system call filters for other containers with the same profile.
const filterDir = "seccomp~cache"

// containers lists the ids below the state root.
func (b *box) containers() []string {
	entries, err := os.ReadDir(b.root)
	if err != nil {
		b.t.Error(err)
	}
	var ids []string
	for _, e := range entries {
		if e.Name() != filterDir {
			ids = append(ids, e.Name())
		}
	}
	return ids
}

// A call is one process of winbox.
type call struct {
	*exec.Cmd
	box    *box
	cancel context.CancelFunc
	// out and err collect what is written to the standard streams, unless they are led elsewhere before the start.
	out, err bytes.Buffer
	// lines are the lines of standard output after readLines.
	lines chan string
}

// call prepares a call of winbox. It ends by itself when patience does.
func (b *box) call(words ...string) *call {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c := &call{Cmd: exec.CommandContext(ctx, b.winbox, append([]string{"--root", b.root}, words...)...), box: b, cancel: cancel}
	b.t.Cleanup(cancel)
	c.Dir, c.Env, c.SysProcAttr = b.dir, append(os.Environ(), b.env...), b.attr
	c.Stdout, c.Stderr = &c.out, &c.err
	// When winbox is killed, what it leaves behind may hold the other ends of the pipes.
	c.WaitDelay = 5 * time.Second
	return c
}

// launch prepares a launch: flags, program and arguments.
func (b *box) launch(words ...string) *call {
	if b.plain != nil {
		return b.launchPlain(words...)
	}
	if b.runtime != "" {
		words = append([]string{"--runtime", b.runtime}, words...)
	}
	return b.call(append([]string{"launch"}, words...)...)
}

// run launches, waits for the end and gives the call with what it wrote.
func (b *box) run(words ...string) *call {
	b.t.Helper()
	return b.launch(words...).wait()
}

// wait waits for the end, starting the call before when it has not been.
func (c *call) wait() *call {
	c.box.t.Helper()
	var err error
	if c.Process == nil {
		err = c.Run()
	} else {
		if c.lines != nil {
			for range c.lines { // Wait must not be called before all is read
			}
		}
		err = c.Wait()
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		if errors.Is(err, exec.ErrWaitDelay) {
			c.box.logStreams()
		}
		c.box.t.Fatalf("%s: %v", c, err)
	}
	return c
}

// logStreams says which processes of the box's containers have which files as standard streams.
func (b *box) logStreams() {
	b.t.Helper()
	for _, id := range b.containers() {
		_, first := b.containerOf(id)
		for _, pid := range beside(b.t, first) {
			line := fmt.Sprintf("%s: process %d (%s):", id, pid, strings.TrimSpace(readFile(b.t, fmt.Sprintf("/proc/%d/comm", pid))))
			for stream := range 3 {
				file, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, stream)) // which may be closed
				line += " " + file
			}
			b.t.Log(line)
		}
	}
}

// code is the exit code, -1 when a signal ended winbox.
func (c *call) code() int { return c.ProcessState.ExitCode() }

// text is the standard output with Unix line ends.
func (c *call) text() string { return strings.ReplaceAll(c.out.String(), "\r\n", "\n") }

// want checks exit code and standard output, and that standard error is empty.
func (c *call) want(code int, text string) {
	c.box.t.Helper()
	if c.code() != code || c.text() != text || c.err.Len() > 0 {
		c.box.t.Errorf("%s: exit code %d, output %q, standard error %q; want exit code %d, output %q", c, c.code(), c.text(), c.err.String(), code, text)
	}
}

// wantLine checks the exit code and that standard error is one line of winbox's, and gives it.
func (c *call) wantLine(codes ...int) string {
	c.box.t.Helper()
	line, rest, _ := strings.Cut(c.err.String(), "\n")
	matches := false
	for _, code := range codes {
		matches = matches || code == c.code()
	}
	if !matches || rest != "" || !strings.HasPrefix(line, "winbox: ") {
		c.box.t.Errorf("%s: exit code %d, standard error %q; want exit code %v and one line of winbox's", c, c.code(), c.err.String(), codes)
	}
	return line
}

// follow starts the call, with a pipe as standard input, and reads its lines: see line.
func (c *call) follow() io.WriteCloser {
	c.box.t.Helper()
	c.Stdout = nil
	stdout, err := c.StdoutPipe()
	if err != nil {
		c.box.t.Fatal(err)
	}
	stdin, err := c.StdinPipe()
	if err != nil {
		c.box.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		c.box.t.Fatal(err)
	}
	// Room for all that a test's program prints: nobody may be there to take it.
	c.lines = make(chan string, 1000)
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	return stdin
}

// line gives the next line of standard output.
func (c *call) line() string {
	c.box.t.Helper()
	select {
	case line, ok := <-c.lines:
		if !ok {
			c.wait()
			c.box.t.Fatalf("%s: ended with exit code %d instead of printing a line\n%s", c, c.code(), c.err.String())
		}
		return line
	case <-time.After(patience):
		c.box.t.Fatalf("%s: printed no line in %v\n%s", c, patience, c.err.String())
	}
	return ""
}

// await polls until done.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in %v", what, patience)
		}
	}
}

// container gives the id and the first process of the box's only container, which runs.
func (b *box) container() (id string, pid int) {
	b.t.Helper()
	ids := b.containers()
	if len(ids) != 1 {
		b.t.Fatalf("containers %v, want one", ids)
	}
	status, pid := b.containerOf(ids[0])
	if status != "running" {
		b.t.Fatalf("container %s is %s", ids[0], status)
	}
	return ids[0], pid
}

// containerOf gives the status and the first process of a container.
func (b *box) containerOf(id string) (status string, pid int) {
	b.t.Helper()
	c := b.call("state", id).wait()
	var state struct {
		PID    int
		Status string
	}
	if err := json.Unmarshal(c.out.Bytes(), &state); err != nil || c.code() != 0 {
		b.t.Fatalf("%s: exit code %d, %v, %s%s", c, c.code(), err, c.out.String(), c.err.String())
	}
	return state.Status, state.PID
}

// processes lists the processes of the box's only container: those in the pid namespace of its first one.
func (b *box) processes() []int {
	b.t.Helper()
	if b.plain != nil {
		return allProcesses(b.t)
	}
	_, first := b.container()
	return beside(b.t, first)
}

// booted waits until the boot program has ended in the box's containers.
func (b *box) booted() {
	b.t.Helper()
	for _, id := range b.containers() {
		await(b.t, "the boot program's end", func() bool {
			c := b.call("state", id).wait()
			var state struct{ PID int }
			if err := json.Unmarshal(c.out.Bytes(), &state); err != nil {
				b.t.Fatalf("%s: %v", c, err)
			}
			return state.PID == 0 || processesNamed(b.t, beside(b.t, state.PID), "wineboot") == 0
		})
	}
}

// beside lists the processes in the pid namespace of one.
func beside(t *testing.T, first int) []int {
	t.Helper()
	namespace := func(pid int) string {
		link, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns/pid")) // fails for one that has ended
		return link
	}
	want := namespace(first)
	if want == "" {
		t.Fatalf("process %d of the container is gone", first)
	}
	var pids []int
	for _, pid := range allProcesses(t) {
		if namespace(pid) == want {
			pids = append(pids, pid)
		}
	}
	return pids
}

// allProcesses lists the process ids in /proc.
func allProcesses(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cgroupFile reads a file of a container's control group, by the first of some names that is there: v1 and v2 differ.
func cgroupFile(t *testing.T, id string, names ...string) string {
	t.Helper()
	for _, dir := range cgroups(t, id) {
		for _, name := range names {
			if data, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				return strings.TrimSpace(string(data))
			}
		}
	}
	t.Fatalf("container %s has no control group with any of %v", id, names)
	return ""
}

// cgroups lists the control groups, in all hierarchies, of containers whose id begins with a prefix.
func cgroups(t *testing.T, prefix string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/winbox-", "/sys/fs/cgroup/*/winbox-"} {
		dirs, err := filepath.Glob(pattern + prefix + "*")
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, dirs...)
	}
	return found
}
