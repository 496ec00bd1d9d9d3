package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Add moves a process, with all its threads, into the group.
//
// The kernel takes a lock for this that costs an RCU grace period when nobody
// has moved a process lately: 5 to 18 ms. [Group.Start] does not pay that.
func (g *Group) Add(pid int) error {
	for i := range g.hierarchies {
		if err := join(g.hierarchies[i].dir()+"/cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("add process %d to cgroup: %w", pid, err)
		}
	}
	return nil
}

// join writes a process or thread id. EINVAL can mean that the task was forked a
// moment ago (kernel/sched: TASK_NEW) and is worth another try; it also means
// a real-time task in a cpu group without real-time bandwidth.
func join(file, id string) error {
	var err error
	await(100*time.Millisecond, func() bool {
		err = writeFile(file, id)
		return !errors.Is(err, unix.EINVAL)
	})
	return err
}

// Start calls start so that the process which it makes, with attr, is born in the
// group. attr's cgroup fields are set; its others are the caller's. start
// returns the id of the process.
//
// On v2 that is CLONE_INTO_CGROUP (clone3(2), Linux 5.7). On v1 start runs on a
// thread of its own that has joined the group before and ends afterwards: a
// thread that moves itself is spared the lock that [Group.Add] waits for, and
// children begin where the thread is that made them.
//
// Where clone3 is not to be had (ENOSYS: an old kernel, or a seccomp profile
// around us), start is called a second time, without. Then, and in a group
// that was killed before (see [State]), the process is in the group's cgroup2
// hierarchy only when Start returns.
//
// start must make the process on the goroutine that it is called on, must not
// set Pdeathsig (the kernel sends that signal when the thread ends), and what it
// opens is judged by the container's device rules.
func (g *Group) Start(attr *syscall.SysProcAttr, start func() (pid int, err error)) error {
	// The child would freeze before its execve, which the Go runtime waits for.
	if frozen, err := g.Frozen(); err != nil || frozen {
		return errors.Join(err, ErrFrozen)
	}
	if g.mode == V2 {
		err := g.startUnified(attr, start)
		if g.scope != nil && permission(err) {
			return g.startOutside(attr, start)
		}
		return err
	}
	var err error
	onOwnThread(func() {
		for i := range g.hierarchies {
			if g.hierarchies[i].Unified {
				continue
			}
			// "0" is the writing thread itself.
			if err = join(g.hierarchies[i].dir()+"/tasks", "0"); err != nil {
				err = fmt.Errorf("enter cgroup: %w", err)
				return
			}
		}
		err = g.startUnified(attr, start)
	})
	return err
}

// startUnified does the part of Start that concerns cgroup2.
func (g *Group) startUnified(attr *syscall.SysProcAttr, start func() (int, error)) error {
	u := g.unified()
	if u == nil {
		_, err := start()
		return err
	}
	if !g.killed {
		dir, err := os.Open(u.dir())
		if err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
		defer dir.Close()
		attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
		if _, err = start(); !errors.Is(err, unix.ENOSYS) {
			return err
		}
		attr.UseCgroupFD, attr.CgroupFD = false, 0
	}
	pid, err := start()
	if err != nil {
		return err
	}
	if err := join(u.dir()+"/cgroup.procs", strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("add process %d to cgroup: %w", pid, err)
	}
	return nil
}

// onOwnThread runs f on a new thread, which ends soon after.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end. While it is held here, another
			// goroutine must run elsewhere.
			onOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		f() // not unlocked: the runtime ends the thread with the goroutine
	}()
	<-done
}

// Dir opens the group's directory for clone3(CLONE_INTO_CGROUP), which v2 has;
// nil on v1. The caller closes it. [Group.Start] is easier.
func (g *Group) Dir() (*os.File, error) {
	if g.mode != V2 {
		return nil, nil
	}
	return os.Open(g.unified().dir())
}

// Pids returns the processes in the group and in those below it, in no order. A
// missing group has none.
func (g *Group) Pids() ([]int, error) {
	pids, err := appendPids(nil, g.control().dir())
	// A thread of ours that Start used may not have ended yet.
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() }), err
}

func appendPids(pids []int, dir string) ([]int, error) {
	data, err := readFile(dir + "/cgroup.procs")
	if gone(err) {
		return pids, nil
	}
	if errors.Is(err, unix.EOPNOTSUPP) { // a threaded v2 group: its domain lists the processes
		err = nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("%s/cgroup.procs: %w", dir, err)
		}
		pids = append(pids, pid)
	}
	children, err := childDirs(dir)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		if pids, err = appendPids(pids, child); err != nil {
			return nil, err
		}
	}
	return pids, nil
}

// gone reports whether err says that a group has been removed: ENODEV comes from
// a file that was open when that happened.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// Kill sends a signal to every process in the group and below; none escapes by
// forking. It does not wait for them to end. SIGKILL thaws a frozen group, since
// a task frozen by v1 does not even die; other signals leave it frozen and wait
// there.
func (g *Group) Kill(sig unix.Signal) error {
	h := g.control()
	if sig == unix.SIGKILL && h.Unified {
		// Since Linux 5.14 (admin-guide/cgroup-v2: cgroup.kill).
		err := writeFile(h.dir()+"/cgroup.kill", "1")
		if err == nil {
			g.killed = true
			return g.Thaw()
		}
		if !gone(err) {
			return fmt.Errorf("kill cgroup: %w", err)
		}
	}
	frozen, err := h.frozen()
	if err != nil {
		return err
	}
	if !frozen {
		// A group that will not freeze in time still gets the signal, from
		// the second pass below on also those that were forked meanwhile.
		_ = g.Freeze()
	}
	done := map[int]bool{}
	for {
		pids, err := g.Pids()
		if err != nil {
			return err
		}
		fresh := false
		for _, pid := range pids {
			if done[pid] {
				continue
			}
			done[pid], fresh = true, true
			if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
				return errors.Join(fmt.Errorf("send %v to process %d: %w", sig, pid, err), g.Thaw())
			}
		}
		if !fresh {
			break
		}
	}
	if frozen && sig != unix.SIGKILL {
		return nil
	}
	return g.Thaw()
}
