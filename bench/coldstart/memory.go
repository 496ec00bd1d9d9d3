package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what some processes have.
type usage struct {
	processes int
	pss       float64 // MiB
}

func (u *usage) add(other usage) {
	u.processes += other.processes
	u.pss += other.pss
}

// memoryOf reads what a process has.
func memoryOf(pid int) (usage, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); fields[0] == "Pss:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return usage{1, kib / 1024}, err
		}
	}
	return usage{}, err
}

// running are idle programs, each in a container or namespaces of its own.
type running struct {
	commands []*exec.Cmd
	// firsts gives a process of each.
	firsts func() ([]int, error)
	stop   func()
}

// start starts idle programs in containers and waits until their boots are over.
func (m *measurement) start(copies int, words ...string) (*running, error) {
	r := &running{firsts: func() (pids []int, err error) {
		list, err := m.list()
		for _, c := range list {
			pids = append(pids, c.PID)
		}
		return pids, err
	}}
	r.stop = func() {
		list, _ := m.list() // without, the launches below wait: better than to leave containers
		for _, c := range list {
			m.winboxCommand("kill", c.ID, "KILL").Run()
		}
		for _, cmd := range r.commands {
			cmd.Wait()
		}
	}
	for range copies {
		r.commands = append(r.commands, m.launch(words...))
	}
	return r, r.begin()
}

// startPlain starts the idle program by Wine alone.
func (m *measurement) startPlain() (*running, error) {
	cmd := m.command(append(isolated, "wine", "idle.exe")...)
	r := &running{commands: []*exec.Cmd{cmd}}
	r.firsts = func() ([]int, error) {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			return nil, err
		}
		first, err := strconv.Atoi(strings.TrimSpace(string(children)))
		return []int{first}, err
	}
	r.stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	return r, r.begin()
}

// begin starts all, and returns when each has said that it is ready and no process has come or gone for two seconds. On
// an error all are stopped.
func (r *running) begin() (err error) {
	said := make(chan error)
	for _, cmd := range r.commands {
		go func() { said <- ready(cmd) }()
	}
	for range r.commands {
		err = errors.Join(err, <-said)
	}
	for same, before := 0, []int(nil); err == nil && same < 20; time.Sleep(100 * time.Millisecond) {
		var now []int
		now, err = r.processes()
		if same++; !slices.Equal(now, before) {
			same, before = 0, now
		}
	}
	if err != nil {
		r.stop()
	}
	return err
}

// ready starts an idle program and waits for its word.
func ready(cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "ready" {
		return fmt.Errorf("%s is not ready: %q, %w", cmd, line, err)
	}
	return nil
}

// processes lists those in the pid namespaces of the programs.
func (r *running) processes() (list []int, err error) {
	firsts, err := r.firsts()
	if err != nil {
		return nil, err
	}
	namespaces := make(map[string]bool)
	for _, pid := range firsts {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if err != nil {
			return nil, err
		}
		namespaces[link] = true
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		if link, _ := os.Readlink(p + "/ns/pid"); namespaces[link] { // fails for one that has ended
			pid, _ := strconv.Atoi(filepath.Base(p))
			list = append(list, pid)
		}
	}
	slices.Sort(list)
	return list, err
}

// usage adds up what the processes have.
func (r *running) usage() (sum usage, err error) {
	pids, err := r.processes()
	for _, pid := range pids {
		u, err := memoryOf(pid)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH): // it has just ended
		case err != nil:
			return sum, err
		default:
			sum.add(u)
		}
	}
	return sum, err
}
