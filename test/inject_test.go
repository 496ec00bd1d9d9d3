package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// An injection runs a command of winbox under ptrace(2) and kills it, or the init program that it has started, at a
// certain system call of those that change something or wait for somebody. The call is not made any more. Or it sends
// winbox a signal there, at the latest when the program has said something, and lets it go on. Production code has no part
// in this.
type injection struct {
	// At is the number of the call, from 1 on, among those of all processes together.
	At int
	// KillInit counts the calls of winbox's children only, and kills the one that makes the call.
	KillInit bool
	// Signal, if not 0, is sent to winbox in place of SIGKILL. Only its own calls count, how many come before it waits for
	// the program is not always the same.
	Signal syscall.Signal
	Args   []string
	Dir    string
}

// injected is what came of an injection.
type injected struct {
	Killed bool
	// Call says who was at which call.
	Call string
	// Code is winbox's exit code, -1 when it was killed.
	Code int
	// Output is what winbox wrote.
	Output string `json:"-"`
}

// inject does the injection in a process of its own (see TestMain), since a tracer gets to wait for whatever its tracees
// make.
func inject(t *testing.T, i injection) injected {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("/proc/self/exe", string(encode(t, i)))
	cmd.Env = append(os.Environ(), stage+"=inject")
	cmd.ExtraFiles = []*os.File{out}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	result, err := cmd.Output()
	if err != nil {
		t.Fatalf("injection: %v: %s", err, stderr.String())
	}
	var r injected
	if err := json.Unmarshal(result, &r); err != nil {
		t.Fatalf("injection: %v: %q", err, result)
	}
	r.Output = readFile(t, out.Name())
	return r
}

// changing are the system calls that count.
var changing = map[uint64]string{
	unix.SYS_MKDIR: "mkdir", unix.SYS_MKDIRAT: "mkdirat", unix.SYS_RMDIR: "rmdir", unix.SYS_UNLINK: "unlink", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_RENAME: "rename", unix.SYS_RENAMEAT: "renameat", unix.SYS_RENAMEAT2: "renameat2", unix.SYS_LINKAT: "linkat", unix.SYS_SYMLINKAT: "symlinkat",
	unix.SYS_MKNODAT: "mknodat", unix.SYS_OPENAT: "openat", unix.SYS_OPENAT2: "openat2", unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite64",
	unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_CONNECT: "connect", unix.SYS_BIND: "bind", unix.SYS_LISTEN: "listen",
	unix.SYS_ACCEPT4: "accept4", unix.SYS_RECVFROM: "recvfrom", unix.SYS_RECVMSG: "recvmsg", unix.SYS_CLONE: "clone", unix.SYS_CLONE3: "clone3",
	unix.SYS_FORK: "fork", unix.SYS_VFORK: "vfork", unix.SYS_EXECVE: "execve", unix.SYS_EXIT_GROUP: "exit_group", unix.SYS_KILL: "kill",
	unix.SYS_PIDFD_SEND_SIGNAL: "pidfd_send_signal", unix.SYS_WAIT4: "wait4", unix.SYS_SETNS: "setns", unix.SYS_UNSHARE: "unshare",
	unix.SYS_OPEN_TREE: "open_tree", unix.SYS_MOVE_MOUNT: "move_mount", unix.SYS_FSMOUNT: "fsmount", unix.SYS_MOUNT_SETATTR: "mount_setattr",
	unix.SYS_PIVOT_ROOT: "pivot_root", unix.SYS_UMOUNT2: "umount2", unix.SYS_CHROOT: "chroot", unix.SYS_FLOCK: "flock", unix.SYS_FCHMOD: "fchmod",
	unix.SYS_MEMFD_CREATE: "memfd_create", unix.SYS_SETRESUID: "setresuid", unix.SYS_SECCOMP: "seccomp", unix.SYS_SETHOSTNAME: "sethostname",
}

// counted is the name of a thread's system call when it is one that counts.
func counted(tid int, regs *syscall.PtraceRegs) string {
	name := changing[regs.Orig_rax]
	switch name {
	case "clone": // a thread of the Go runtime's is nothing to the outside
		if regs.Rdi&unix.CLONE_THREAD != 0 {
			return ""
		}
	case "openat":
		if regs.Rdx&(unix.O_CREAT|unix.O_TRUNC) == 0 && regs.Rdx&unix.O_TMPFILE != unix.O_TMPFILE {
			return ""
		}
	case "write":
		// The Go runtime wakes its poller by an eventfd.
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, regs.Rdi)); err != nil || strings.Contains(link, "eventfd") {
			return ""
		}
	}
	return name
}

// injectMain is the process of inject.
func injectMain() (int, error) {
	var i injection
	if err := json.Unmarshal([]byte(os.Args[1]), &i); err != nil {
		return 0, err
	}
	if i.Signal == 0 {
		i.Signal = syscall.SIGKILL
	}
	var winbox int
	var result injected
	failed := make(chan error)
	var trace func()
	trace = func() {
		// Requests must come from the thread that is the tracer (ptrace(2)). It ends with this function, and what it still
		// traces goes on. The process's first thread would not end: that one is kept out of the way.
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			go trace()
			select {}
		}
		var err error
		winbox, result, err = i.trace()
		failed <- err
	}
	go trace()
	if err := <-failed; err != nil {
		return 0, err
	}
	for status := syscall.WaitStatus(0); i.Signal != syscall.SIGKILL; {
		if pid, err := syscall.Wait4(winbox, &status, 0, nil); err != nil && err != syscall.EINTR {
			return 0, fmt.Errorf("wait4: %w", err)
		} else if pid == winbox && (status.Exited() || status.Signaled()) {
			result.Code = status.ExitStatus()
			break
		}
	}
	text, err := json.Marshal(result)
	if err != nil {
		return 0, err
	}
	fmt.Println(string(text))
	return 0, nil
}

// out is the descriptor that inject hands over for the command's output.
const out = 3

// hasOutput tells whether there is any yet.
func hasOutput() bool {
	var stat unix.Stat_t
	return unix.Fstat(out, &stat) == nil && stat.Size > 0
}

// trace starts the command and does the injection. What it gives first is the process.
func (i injection) trace() (winbox int, result injected, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, injected{}, err
	}
	defer null.Close()
	// A shell that stops until it is traced, and becomes winbox. PTRACE_TRACEME would be simpler, but then processes that
	// are made while the tracer ends would be left stopped.
	argv := append([]string{"sh", "-c", `kill -STOP $$; exec "$@"`, "sh"}, i.Args...)
	winbox, err = syscall.ForkExec("/bin/sh", argv, &syscall.ProcAttr{Dir: i.Dir, Env: os.Environ(), Files: []uintptr{null.Fd(), out, out}})
	if err != nil {
		return 0, injected{}, err
	}
	tr := tracer{injection: i, winbox: winbox, inCall: map[int]bool{}, process: map[int]int{}}
	if err := tr.attach(); err != nil {
		return 0, injected{}, fmt.Errorf("ptrace: %w", err)
	}
	result, err = tr.follow()
	return winbox, result, err
}

// A tracer follows winbox and its children. Its maps are by thread.
type tracer struct {
	injection
	winbox int
	calls  int
	// executed tells that the shell has become winbox.
	executed bool
	// inCall tells that a thread has entered a system call.
	inCall map[int]bool
	// process is a thread's process.
	process map[int]int
	result  injected
}

// attach begins to trace the shell.
func (tr *tracer) attach() error {
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(tr.winbox, &status, syscall.WUNTRACED, nil); err != nil {
		return err
	}
	if err := unix.PtraceSeize(tr.winbox); err != nil {
		return err
	}
	if _, err := syscall.Wait4(tr.winbox, &status, unix.WALL, nil); err != nil {
		return err
	}
	return errors.Join(syscall.PtraceSetOptions(tr.winbox, options), unix.Kill(tr.winbox, unix.SIGCONT), syscall.PtraceSyscall(tr.winbox, 0))
}

// follow traces until winbox has ended, or has been sent a signal that it can handle. The other processes go on when the
// tracer ends.
func (tr *tracer) follow() (injected, error) {
	for {
		var status syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &status, unix.WALL, nil)
		if err == syscall.EINTR {
			continue
		} else if err != nil {
			return tr.result, fmt.Errorf("wait4: %w", err)
		}
		if status.Exited() || status.Signaled() {
			if tid == tr.winbox {
				tr.result.Code = status.ExitStatus()
				return tr.result, nil
			}
			continue
		}
		signal := 0
		switch stop, event := status.StopSignal(), int(status)>>16; {
		case stop == syscall.SIGTRAP|0x80:
			tr.inCall[tid] = !tr.inCall[tid]
			if tr.inCall[tid] && tr.executed {
				tr.enter(tid)
			} else if tr.Signal != syscall.SIGKILL && hasOutput() {
				tr.kill(tr.winbox, "the program has said something")
			}
			if tr.result.Killed && tr.Signal != syscall.SIGKILL {
				return tr.result, nil
			}
		case event == unix.PTRACE_EVENT_EXEC && tid == tr.winbox:
			tr.executed = true
		case event != 0: // a new thread or process, or one that has stopped or goes on
		default:
			signal = int(stop)
		}
		if err := syscall.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return tr.result, fmt.Errorf("PTRACE_SYSCALL: %w", err)
		}
	}
}

// enter counts a call that a thread is about to make, and kills when it is the one: a process that is killed at the entry
// of a system call does not make it.
func (tr *tracer) enter(tid int) {
	var regs syscall.PtraceRegs
	if tr.result.Killed || syscall.PtraceGetRegs(tid, &regs) != nil {
		return
	}
	name := counted(tid, &regs)
	if name == "" {
		return
	}
	who, victim := "winbox", tr.winbox
	if process := tr.processOf(tid); process != tr.winbox {
		who = "init"
		if tr.KillInit {
			victim = process
		}
		if tr.Signal != syscall.SIGKILL {
			return
		}
	} else if tr.KillInit {
		return
	}
	if tr.calls++; tr.calls == tr.At {
		tr.kill(victim, who+": "+name)
	}
}

func (tr *tracer) kill(victim int, call string) {
	tr.result.Killed, tr.result.Call = true, call
	unix.Kill(victim, tr.Signal)
}

// processOf gives the process of a thread.
func (tr *tracer) processOf(tid int) int {
	if tr.process[tid] == 0 {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid)) // is there, as the thread stands still
		for line := range strings.Lines(string(status)) {
			var process int
			if n, _ := fmt.Sscanf(line, "Tgid: %d", &process); n == 1 {
				tr.process[tid] = process
			}
		}
	}
	return tr.process[tid]
}
