package sandbox

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// agent answers the notifications of seccomp filters with ENOSYS, whose
// listeners come over a socket.
type agent struct {
	socket *net.UnixListener
	path   string
	states chan specs.ContainerProcessState
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{path: filepath.Join(t.TempDir(), "s"), states: make(chan specs.ContainerProcessState, 8)}
	var err error
	if a.socket, err = net.ListenUnix("unix", &net.UnixAddr{Name: a.path, Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := a.socket.AcceptUnix()
			if err != nil {
				return // closed below
			}
			if err := a.serve(conn); err != nil {
				t.Error(err)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		a.socket.Close()
		<-done
	})
	return a
}

// serve takes one listener and answers in the background until its filter has no user left.
func (a *agent) serve(conn *net.UnixConn) error {
	data, oob := make([]byte, 1<<16), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := conn.ReadMsgUnix(data, oob)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	var state specs.ContainerProcessState
	if err := json.Unmarshal(data[:n], &state); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	var got message
	if err := got.attached(oob[:m]); err != nil || len(got.files) != 1 {
		return fmt.Errorf("agent: %d descriptors, %w", len(got.files), err)
	}
	go func() {
		defer got.closeFiles()
		answer(int(got.files[0].Fd()))
	}()
	a.states <- state
	return nil
}

func answer(fd int) {
	list := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(list, -1); err != nil && err != unix.EINTR || list[0].Revents&unix.POLLIN == 0 && list[0].Revents != 0 {
			return
		}
		// struct seccomp_notif and seccomp_notif_resp (linux/seccomp.h).
		var call struct {
			id   uint64
			rest [72]byte
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call))); errno != 0 {
			continue // the caller was interrupted
		}
		reply := struct {
			id    uint64
			value int64
			errno int32
			flags uint32
		}{id: call.id, errno: -int32(unix.ENOSYS)}
		unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&reply)))
	}
}

// notify gives the bundle a filter that asks the agent at path about mkdir.
func (b *bundle) notify(path string) {
	b.spec.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: path, ListenerMetadata: "meta=data",
		Architectures: []specs.Arch{specs.ArchX86_64},
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}},
	}
}

// TestListener lets an agent decide about a call of a container, and of a
// process executed in it.
func TestListener(t *testing.T) {
	const script = "mkdir /data/x"
	const want = "mkdir: can't create directory '/data/x': Function not implemented\n"
	for _, atOnce := range []bool{false, true} {
		for _, privileges := range []bool{false, true} {
			t.Run(fmt.Sprintf("started at once %v, new privileges %v", atOnce, privileges), func(t *testing.T) {
				a := newAgent(t)
				b := shell(t, script+"; exec sleep 1000")
				b.spec.Annotations = map[string]string{"org.example": "note"}
				b.notify(a.path)
				b.spec.Process.NoNewPrivileges = !privileges
				b.opt.Start = atOnce
				c := b.create()
				if !atOnce {
					if err := c.Start(); err != nil {
						t.Fatal(err)
					}
				}
				b.awaitOutput(want)
				state := func(pid int, status specs.ContainerState) {
					t.Helper()
					s := <-a.states
					if s.Version != specs.Version || s.Pid != pid || s.Metadata != "meta=data" || len(s.Fds) != 1 || s.Fds[0] != "seccompFd" {
						t.Errorf("process state %+v", s)
					}
					if s.State.ID != b.opt.ID || s.State.Pid != c.PID() || s.State.Status != status || s.State.Bundle != b.dir || s.State.Annotations["org.example"] != "note" {
						t.Errorf("state %+v, want %s of process %d", s.State, status, c.PID())
					}
				}
				state(c.PID(), specs.StateCreating)
				out := tempFile(t)
				opt := b.execOptions(out, "/bin/sh", "-c", script)
				opt.Process.NoNewPrivileges = !privileges
				pid, err := c.Exec(opt)
				if err != nil {
					t.Fatal(err)
				}
				if status, err := WaitProcess(pid); err != nil || exitCode(status) != 1 || contents(t, out) != want {
					t.Errorf("exit code %d, %v, output %q", exitCode(status), err, contents(t, out))
				}
				state(pid, specs.StateRunning)
			})
		}
	}
}

// TestListenerMissing checks what is said when there is no agent.
func TestListenerMissing(t *testing.T) {
	for _, privileges := range []bool{false, true} {
		t.Run(fmt.Sprintf("new privileges %v", privileges), func(t *testing.T) {
			const want = "linux.seccomp.listenerPath: dial unix /missing/agent: connect: no such file or directory"
			b := sleeper(t)
			b.notify("/missing/agent")
			b.spec.Process.NoNewPrivileges = !privileges
			b.opt.Start = true
			b.refused(want)
			b.opt.Start = false
			b.startFails(want)
		})
	}
}
