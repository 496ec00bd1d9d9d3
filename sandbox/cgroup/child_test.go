package cgroup

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The test program is its own child: WINBOX_TEST_CHILD says what to do.
func TestMain(m *testing.M) {
	if job := os.Getenv("WINBOX_TEST_CHILD"); job != "" {
		child(strings.Fields(job))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(job []string) {
	// The parent says when to begin, so that it can put us somewhere first.
	stdin := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if _, err := stdin.ReadString('\n'); err != nil {
		return
	}
	switch job[0] {
	case "sleep":
		fmt.Println("sleeping")
		_, _ = io.Copy(io.Discard, stdin)
		time.Sleep(time.Minute) // the parent's end of stdin is gone: be killed, not orphaned
	case "allocate": // N MiB
		n, _ := strconv.Atoi(job[1])
		// Or the kernel would rather evict this program's own pages, again and
		// again, than run out of memory.
		_ = unix.Mlockall(unix.MCL_CURRENT)
		mem, err := unix.Mmap(-1, 0, n<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			fmt.Println("mmap:", err)
			return
		}
		for i := 0; i < len(mem); i += 4096 {
			mem[i] = 1
		}
		fmt.Println("allocated")
	case "open": // FILE r|rw ...
		for i := 1; i+1 < len(job); i += 2 {
			flags := os.O_RDONLY
			if job[i+1] == "rw" {
				flags = os.O_RDWR
			}
			f, err := os.OpenFile(job[i], flags, 0)
			if err != nil {
				err = errors.Unwrap(err)
			} else {
				f.Close()
			}
			fmt.Printf("%v ", err)
		}
		fmt.Println()
	case "nest": // makes a group below its own in every hierarchy and moves there
		own, _ := os.ReadFile("/proc/self/cgroup")
		for line := range strings.Lines(string(own)) {
			f := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if !strings.Contains(f[2], "winbox-test-") {
				continue
			}
			dir := mountRoot
			if mode, _ := DetectMode(); mode == V1 {
				dir += "/" + strings.TrimPrefix(f[1], "name=")
				if f[1] == "" {
					dir += "unified"
				}
			}
			dir += f[2] + "/below"
			err := os.Mkdir(dir, 0o755)
			if err == nil && f[1] == "cpuset" {
				err = inheritCpuset(dir, mountRoot+"/cpuset")
			}
			if err == nil {
				err = writeFile(dir+"/cgroup.procs", "0")
			}
			if err != nil {
				fmt.Println(err)
				return
			}
		}
		fmt.Println("nested")
		time.Sleep(time.Minute)
	case "fork": // forks as fast as it can
		fmt.Println("forking")
		for {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{"WINBOX_TEST_CHILD=fork"}
			stdin, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err == nil {
				_, _ = io.WriteString(stdin, "go\n")
			}
			time.Sleep(2 * time.Millisecond)
		}
	case "unprivileged": // NAME: makes a group as an ordinary user
		if err := errors.Join(syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(unprivileged(job[1]))
	}
}

// unprivileged is what a rootless caller does; it returns one line.
func unprivileged(id string) string {
	place, err := Resolve("", id)
	if err != nil {
		return err.Error()
	}
	g, err := Create(place, &specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: new(int64(32 << 20))},
		Pids:    &specs.LinuxPids{Limit: new(int64(16))},
		Devices: DeviceRules(nil),
	})
	if errors.Is(err, ErrNotDelegated) {
		return "not delegated"
	}
	if err != nil {
		return err.Error()
	}
	defer g.Delete()
	cmd := exec.Command("/bin/sleep", "60")
	if err := startCommand(g, cmd); err != nil {
		return err.Error()
	}
	pids, err := g.Pids()
	killed := g.Kill(unix.SIGKILL)
	_ = cmd.Wait()
	stats, statsErr := g.Stats()
	if err := errors.Join(err, killed, statsErr, g.Delete()); err != nil {
		return err.Error()
	}
	text, _ := json.Marshal(map[string]any{"path": place, "members": len(pids), "memory": stats.Memory.Limit, "pids": stats.Pids.Limit, "warnings": len(g.Warnings())})
	return string(text)
}

// process is a child of the test.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// spawn starts a child in the group, the fast way.
func spawn(t *testing.T, g *Group, job string) *process {
	t.Helper()
	p := prepare(t, job)
	if err := startCommand(g, p.cmd); err != nil {
		t.Fatal(err)
	}
	p.started()
	return p
}

// spawnOutside starts a child that stays in the test's own group.
func spawnOutside(t *testing.T, job string) *process {
	t.Helper()
	p := prepare(t, job)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.started()
	return p
}

func startCommand(g *Group, cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return g.Start(cmd.SysProcAttr, func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	})
}

func prepare(t *testing.T, job string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), "WINBOX_TEST_CHILD="+job, "GOMAXPROCS=1")
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	return p
}

func (p *process) started() {
	p.t.Helper()
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	if line := p.line(); line != "ready" {
		p.t.Fatalf("child said %q", line)
	}
}

func (p *process) begin() { _, _ = io.WriteString(p.in, "go\n") }

func (p *process) line() string {
	line, _ := p.out.ReadString('\n')
	return strings.TrimSpace(line)
}

// signal waits for the child to end and returns what killed it, or 0.
func (p *process) signal() unix.Signal {
	p.t.Helper()
	_ = p.cmd.Wait()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return 0
}
