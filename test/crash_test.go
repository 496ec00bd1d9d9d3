package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// inject kills winbox, or what it has started, at a certain system call of a command.
func (b *bundle) inject(at int, killInit bool, words ...string) injected {
	b.t.Helper()
	return inject(b.t, injection{At: at, KillInit: killInit, Args: append([]string{b.winbox, "--root", b.root}, words...), Dir: b.dir})
}

// busy makes a bundle with much to be set up, and so to be left behind.
func busy(t *testing.T) *bundle {
	t.Helper()
	b := newBundle(t, "/bin/sleep", "1000")
	limit := int64(1 << 28)
	b.spec.Hostname = "box"
	b.namespace(specs.UTSNamespace, "")
	b.namespace(specs.CgroupNamespace, "")
	b.mount(
		specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
		specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}},
		bind(b.hostDir("volume"), "/vol", "ro"),
	)
	b.protect()
	b.spec.Root.Readonly = true
	b.spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_default_ttl": "77"}
	b.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	b.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	return b
}

// TestKilled kills winbox, and process 1, at each system call of each command that changes something. What is left is
// usable by list, is removed by delete --force without a trace, and the id can be used again: the next round does.
func TestKilled(t *testing.T) {
	start := func(b *bundle) {
		b.call("start", b.id).wait().want(0, "")
	}
	create := func(b *bundle) {
		c, _ := b.detached("create", b.id)
		c.want(0, "")
	}
	begin := func(b *bundle) { create(b); start(b) }
	var mu sync.Mutex
	points := map[bool]int{}
	t.Run("all", func(t *testing.T) {
		for _, test := range []struct {
			name   string
			change func(*bundle)
			before func(*bundle)
			words  []string
			init   bool // also kill process 1 at each of its calls
			step   int  // kill at each such call only, as most are those of another command
		}{
			{"create", nil, nil, []string{"create", "--pid-file", "pid", "ID"}, true, 1},
			{"create in a user namespace", func(b *bundle) {
				b.namespace(specs.UserNamespace, "")
				b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
				b.spec.Linux.GIDMappings = b.spec.Linux.UIDMappings
				b.spec.Linux.Sysctl, b.spec.Root.Readonly, b.spec.Mounts = nil, false, b.spec.Mounts[:1]
				for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
					b.file("dev/"+name, "")
				}
				b.shift(100000)
			}, nil, []string{"create", "ID"}, true, 1},
			{"create with hooks", func(b *bundle) {
				hook := []specs.Hook{{Path: "/bin/true"}}
				b.spec.Hooks = &specs.Hooks{CreateRuntime: hook, CreateContainer: hook, Poststop: hook}
			}, nil, []string{"create", "ID"}, false, 3},
			{"start", nil, create, []string{"start", "ID"}, false, 1},
			{"run", func(b *bundle) { b.spec.Process.Args = []string{"/bin/true"} }, nil, []string{"run", "ID"}, true, 3},
			{"run detached", nil, nil, []string{"run", "--detach", "--pid-file", "pid", "ID"}, false, 3},
			{"exec", nil, begin, []string{"exec", "--pid-file", "exec.pid", "ID", "/bin/true"}, true, 1},
			{"exec detached", nil, begin, []string{"exec", "--detach", "ID", "/bin/sleep", "1000"}, false, 1},
			{"pause", nil, begin, []string{"pause", "ID"}, false, 1},
			{"resume", nil, func(b *bundle) { begin(b); b.call("pause", b.id).wait().want(0, "") }, []string{"resume", "ID"}, false, 1},
			{"update", nil, begin, []string{"update", "--memory", "100000000", "--pids-limit", "50", "ID"}, false, 1},
			{"kill", nil, begin, []string{"kill", "--all", "ID", "KILL"}, false, 1},
			{"delete", nil, func(b *bundle) {
				begin(b)
				b.call("kill", b.id, "KILL").wait().want(0, "")
				await(b.t, "end", func() bool { _, status := b.state(); return status == "stopped" })
			}, []string{"delete", "ID"}, false, 1},
			{"delete by force", nil, begin, []string{"delete", "--force", "ID"}, false, 1},
		} {
			for _, killInit := range []bool{false, true} {
				if killInit && !test.init {
					continue
				}
				name := test.name + ", winbox"
				if killInit {
					name = test.name + ", init"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					b := busy(t)
					if test.change != nil {
						test.change(b)
					}
					b.save()
					words := make([]string, len(test.words))
					for i, word := range test.words {
						if words[i] = word; word == "ID" {
							words[i] = b.id
						}
					}
					killed := 0
					for at := 1; ; at += test.step {
						if test.before != nil {
							test.before(b)
						}
						r := b.inject(at, killInit, words...)
						b.killed(r, killInit)
						os.Remove(filepath.Join(b.dir, "pid")) // which winbox leaves to its caller, as runc does
						os.Remove(filepath.Join(b.dir, "exec.pid"))
						if t.Failed() {
							t.Fatalf("call %d, %s; exit code %d, output %q", at, r.Call, r.Code, r.Output)
						}
						if !r.Killed {
							if r.Code != 0 {
								t.Errorf("not killed: exit code %d: %s", r.Code, r.Output)
							}
							break
						}
						killed++
					}
					mu.Lock()
					defer mu.Unlock()
					points[killInit] += killed
					t.Logf("killed at %d calls", killed)
				})
			}
		}
	})
	t.Logf("winbox killed at %d calls, init at %d", points[false], points[true])
	if points[false] < 200 || points[true] < 40 {
		t.Errorf("winbox killed at %d calls, init at %d: too few to mean anything", points[false], points[true])
	}
}

// killed looks at what is left when winbox or process 1 has been killed.
func (b *bundle) killed(r injected, killInit bool) {
	b.t.Helper()
	// At one of the init program's last calls, winbox may have ended by itself before.
	if ended := r.Code == 0 && strings.HasPrefix(r.Call, "init"); r.Killed && !killInit && (r.Code != -1 && !ended || r.Output != "") {
		b.t.Errorf("killed, exit code %d", r.Code)
	}
	if killInit && r.Killed && r.Code != 0 {
		// Winbox has to say so, in one line; and a creation that fails leaves nothing.
		if line, rest, _ := strings.Cut(r.Output, "\n"); rest != "" || r.Output != "" && !strings.HasPrefix(line, "winbox: ") {
			b.t.Errorf("output %q", r.Output)
		}
	}
	if c := b.call("list", "--format", "json").wait(); c.code() != 0 || c.err.Len() > 0 {
		b.t.Errorf("list: exit code %d: %s", c.code(), c.err.String())
	}
	if c := b.call("state", b.id).wait(); c.code() != 0 && c.err.String() != "winbox: container does not exist\n" {
		b.t.Errorf("state: exit code %d: %s", c.code(), c.err.String())
	}
	b.remove()
}

// shift gives the root file system to a user of the host.
func (b *bundle) shift(uid int) {
	b.t.Helper()
	err := filepath.WalkDir(b.rootfs, func(name string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, uid, uid))
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestRivals has several callers do everything with one container at once: what they are told is one of a few things, and
// the container can be removed at the end.
func TestRivals(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "/bin/sleep", "1000")
	b.save()
	commands := [][]string{
		{"create", "ID"}, {"create", "ID"}, {"run", "--detach", "ID"}, {"run", "--detach", "ID"}, {"run", "--detach", "ID"}, {"start", "ID"}, {"start", "ID"}, {"kill", "ID", "KILL"}, {"delete", "ID"}, {"delete", "--force", "ID"},
		{"exec", "ID", "/bin/true"}, {"exec", "ID", "/bin/true"}, {"exec", "ID", "/bin/true"}, {"exec", "--detach", "ID", "/bin/sleep", "1000"}, {"resume", "ID"}, {"update", "--pids-limit", "50", "ID"}, {"pause", "ID"}, {"resume", "ID"}, {"state", "ID"},
		{"list"}, {"ps", "ID"}, {"events", "--stats", "ID"},
	}
	const workers, times = 4, 100
	successes := map[string]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for worker := range workers {
		random := rand.New(rand.NewPCG(uint64(worker), 1))
		group.Go(func() {
			for range times {
				command := commands[random.IntN(len(commands))]
				args := []string{"--root", b.root}
				for _, word := range command {
					if word == "ID" {
						word = b.id
					}
					args = append(args, word)
				}
				out, err := os.CreateTemp(t.TempDir(), "out")
				if err != nil {
					t.Error(err)
					return
				}
				cmd := exec.Command(b.winbox, args...)
				cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, out, out
				err = cmd.Run()
				out.Close()
				text, _ := os.ReadFile(out.Name())
				mu.Lock()
				switch {
				case err == nil:
					successes[command[0]]++
				case command[0] == "exec" && (cmd.ProcessState.ExitCode() == 137 || cmd.ProcessState.ExitCode() == -1):
					// The process was killed; or a thread of winbox's own, which was in the control group to start it there.
				case !expectedOfRivals.Match(text):
					t.Errorf("%v: %v: %s", command, err, text)
				}
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-time.After(time.Second):
			// An exec waits as long as the container is paused, and nobody may be left to resume it.
			if c := b.call("delete", "--force", b.id).wait(); c.code() != 0 {
				t.Fatalf("exit code %d: %s", c.code(), c.err.String())
			}
		}
	}
	b.remove()
	for _, command := range []string{"run", "kill", "delete", "exec", "state"} {
		if successes[command] == 0 {
			t.Errorf("%s never succeeded: the others kept it from doing anything", command)
		}
	}
	t.Log(successes)
	b.spec.Process.Args = []string{"/bin/true"}
	b.run().want(0, "")
}

// expectedOfRivals is what a caller may be told who is not alone.
var expectedOfRivals = regexp.MustCompile(`^winbox: (create failed: |run failed: |exec failed: )?(` + strings.Join([]string{
	"container does not exist", "container with given ID already exists", "container not running", "container not paused", "container paused",
	"cannot start an already running container", "cannot start a container in the paused state", "cannot start a container that has stopped", "cannot delete container .* that is not stopped: .*",
	"cannot exec in a (paused|stopped) container.*", "container init ended before .*", "start the program: .*", "connect to the container: .*", "open the container's root: .*", ".*: no such process", "container with id .* is not running",
	// The container was being made, or was paused or removed, in the middle of it.
	"read the container's configuration: .*: no such file or directory", ".*the cgroup is frozen.*",
	"enter the new namespaces: cannot allocate memory", ".*cgroup.*: (no such file or directory|no such device)",
}, "|") + `)\n$`)

// TestUnreadableState has a state file that this winbox cannot read: each command says so, naming the file, and delete
// --force removes the container with all its processes.
func TestUnreadableState(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func([]byte) []byte
		says   string
	}{
		{"of a newer version", func(data []byte) []byte {
			return regexp.MustCompile(`"version":\d+`).ReplaceAll(data, []byte(`"version":99`))
		}, "another version of winbox"},
		{"of a newer version with other types", func([]byte) []byte { return []byte(`{"version":99,"pid":"1","cgroup":[],"id":{}}`) }, "another version of winbox"},
		{"truncated", func(data []byte) []byte { return data[:len(data)/2] }, "unexpected end of JSON input"},
		{"garbage", func([]byte) []byte { return []byte("\x00\x01garbage") }, "invalid character"},
		{"empty", func([]byte) []byte { return nil }, "unexpected end of JSON input"},
		{"null", func([]byte) []byte { return []byte("null") }, "another version of winbox"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := script(t, "sleep 1000 & sleep 1000")
			b.begin()
			file := filepath.Join(b.root, b.id, "state.json")
			writeFile(t, b.root, b.id+"/state.json", test.change([]byte(readFile(t, file))))
			for _, words := range [][]string{{"state"}, {"start"}, {"kill"}, {"delete"}, {"pause"}, {"exec"}} {
				c := b.call(append(words, b.id)...)
				if words[0] == "exec" {
					c = b.call("exec", b.id, "true")
				}
				if line := c.wait().wantLine(1, 255); !strings.Contains(line, test.says) || !strings.Contains(line, file) {
					t.Errorf("%v: %q, want something with %q and the file", words, line, test.says)
				}
			}
			if c := b.call("list").wait(); c.code() != 0 || !strings.Contains(c.err.String(), b.id) {
				t.Errorf("list: exit code %d: %s", c.code(), c.err.String())
			}
			if c := b.call("create", b.id).wait(); !strings.Contains(c.wantLine(1), "already exists") {
				t.Errorf("create: %s", c.err.String())
			}
			if c := b.call("delete", "--force", b.id).wait(); c.code() != 0 || !strings.Contains(c.err.String(), test.says) {
				t.Errorf("delete --force: exit code %d: %s", c.code(), c.err.String())
			}
			b.nothingLeft()
		})
	}
}

// TestStateReplaced reads the state file while it is written over and over: it is always whole.
func TestStateReplaced(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "/bin/true")
	b.save()
	stop, done := make(chan struct{}), make(chan struct{})
	reads := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			data, err := os.ReadFile(filepath.Join(b.root, b.id, "state.json"))
			if err != nil {
				continue
			}
			reads++
			var state struct{ Version int }
			if err := json.Unmarshal(data, &state); err != nil || state.Version < 1 {
				t.Errorf("%v in %q", err, data)
				return
			}
		}
	}()
	for range 10 {
		b.run().want(0, "")
	}
	close(stop)
	<-done
	if reads == 0 {
		t.Error("the state file was never seen")
	}
}

// TestEndedFromOutside ends process 1, or all processes, of a container by SIGKILL at different moments, as the kernel
// does when memory is short.
func TestEndedFromOutside(t *testing.T) {
	t.Parallel()
	all := func(b *bundle) {
		for _, pid := range b.pids() {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	first := func(b *bundle) {
		pid, _ := b.state()
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			b.t.Error(err)
		}
	}
	for _, shared := range []bool{false, true} {
		for _, moment := range []string{"created", "running", "executing", "paused"} {
			for name, end := range map[string]func(*bundle){"process 1": first, "all": all} {
				t.Run(fmt.Sprintf("%s, %s, pid namespace shared %v", moment, name, shared), func(t *testing.T) {
					t.Parallel()
					b := script(t, "sleep 1000 & sleep 1000")
					if shared {
						b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[1:]
					}
					defer b.remove()
					c, _ := b.create()
					c.want(0, "")
					var running *exec.Cmd
					switch moment {
					case "running", "executing", "paused":
						b.call("start", b.id).wait().want(0, "")
						await(t, "child", func() bool { return len(b.pids()) >= 2 })
					}
					switch moment {
					case "executing":
						running = exec.Command(b.winbox, "--root", b.root, "exec", b.id, "/bin/sleep", "1000")
						if err := running.Start(); err != nil {
							t.Fatal(err)
						}
						await(t, "process", func() bool {
							for _, pid := range b.pids() {
								if command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.HasPrefix(string(command), "/bin/sleep") {
									return true
								}
							}
							return false
						})
					case "paused":
						b.call("pause", b.id).wait().want(0, "")
					}
					end(b)
					if moment == "paused" {
						return // the processes die when they are thawed, which is delete's affair
					}
					await(t, "end", func() bool { _, status := b.state(); return status == "stopped" })
					if running != nil && (name == "all" || !shared) {
						if err := running.Wait(); running.ProcessState.ExitCode() != 128+int(syscall.SIGKILL) {
							t.Errorf("exec: %v", err)
						}
						running = nil
					}
					if line := b.call("start", b.id).wait().wantLine(1); line != "winbox: cannot start a container that has stopped" {
						t.Error(line)
					}
					if line := b.call("kill", b.id).wait().wantLine(1); line != "winbox: container not running" {
						t.Error(line)
					}
					b.call("delete", b.id).wait().want(0, "")
					b.nothingLeft()
					if running != nil {
						running.Wait()
					}
				})
			}
		}
	}
}

// pids are the processes in the container's control group.
func (b *bundle) pids() []int {
	b.t.Helper()
	var pids []int
	for _, dir := range cgroups(b.t, b.id) {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		pids = nil
		for field := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
		if len(pids) > 0 {
			break
		}
	}
	return pids
}
