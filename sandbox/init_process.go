package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"winbox/sandbox/cgroup"
	initelf "winbox/sandbox/init"
	"winbox/sandbox/program"
)

// initProcess is the init ELF while it carries out the program, seen from the runtime.
type initProcess struct {
	pid     int
	control *net.UnixConn
	log     *slog.Logger // may be nil
}

// initOptions say how the init ELF is started.
type initOptions struct {
	stdio    [3]*os.File
	preserve int // descriptors from 3 on, which the program keeps
	// extra are descriptors for the program, behind its control socket and itself.
	extra      []*os.File
	cloneFlags int
	group      *cgroup.Group // to be born in; may be nil
	// credentials has reports tell who sends them.
	credentials bool
	log         *slog.Logger // for warnings; may be nil
}

// startInit starts the init ELF with a program.
func startInit(o initOptions, encoded []byte) (*initProcess, error) {
	// What winbox's caller has left open, and winbox does not know of, is not for
	// the container: through a directory of the host's it could get out.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("keep descriptors from the container: %w", err)
	}
	elf, err := initelf.Open()
	if err != nil {
		return nil, err
	}
	defer elf.Close()
	prog, err := initelf.Sealed("winbox-program", encoded)
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	defer theirs.Close()
	if o.credentials {
		if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
			unix.Close(pair[0])
			return nil, fmt.Errorf("container init: SO_PASSCRED: %w", err)
		}
	}
	init := &initProcess{log: o.log}
	if init.control, err = unixConn(pair[0]); err != nil {
		return nil, err
	}
	files := make([]uintptr, 0, 8)
	for _, f := range o.stdio {
		files = append(files, f.Fd())
	}
	for i := range o.preserve {
		files = append(files, uintptr(3+i))
	}
	for _, f := range append([]*os.File{theirs, prog}, o.extra...) {
		files = append(files, f.Fd())
	}
	if err := init.fork(o, elf, files); err != nil {
		init.close()
		return nil, err
	}
	return init, nil
}

func (i *initProcess) fork(o initOptions, elf *os.File, files []uintptr) error {
	// Out of the way of the numbers that the child's descriptors get, and of those above them and above the highest of files
	// by which syscall.ForkExec sorts them: one for each, one for its error pipe, and one more to step over that.
	highest := max(len(files), int(slices.Max(files)))
	exe, err := unix.FcntlInt(elf.Fd(), unix.F_DUPFD_CLOEXEC, highest+len(files)+3)
	if err != nil {
		return fmt.Errorf("container init: %w", err)
	}
	defer unix.Close(exe)
	attr := &syscall.ProcAttr{Files: files, Sys: &syscall.SysProcAttr{Cloneflags: uintptr(o.cloneFlags)}}
	argv := []string{"winbox-init", strconv.Itoa(3 + o.preserve + fdProgram)}
	fork := func() (pid int, err error) {
		i.pid, err = syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(exe), argv, attr)
		return i.pid, err
	}
	if o.group != nil {
		err = o.group.Start(attr.Sys, fork)
	} else {
		_, err = fork()
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("start container init in new namespaces: %w (it needs CAP_SYS_ADMIN, or a user namespace and a host that allows them)", err)
	} else if err != nil {
		return fmt.Errorf("start container init in new namespaces: %w", err)
	}
	return nil
}

// unixConn makes a connection of a socket's descriptor and takes it over.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// listenForStart makes the socket that `start` connects to. It is bound by way
// of the directory's descriptor, as a socket's path is limited to 107 bytes
// (unix(7)).
func listenForStart(dir string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make start socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), startSocket)
	addr, done, err := startAddress(dir)
	if err != nil {
		f.Close()
		return nil, err
	}
	defer done()
	// The file gets the socket's mode (unix(7)); with the caller's umask alone, other users might be let in.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		f.Close()
		return nil, fmt.Errorf("set the mode of the start socket: %w", err)
	}
	if err := unix.Bind(fd, addr); err != nil {
		f.Close()
		return nil, fmt.Errorf("bind start socket in %s: %w", dir, err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		f.Close()
		return nil, fmt.Errorf("listen on start socket: %w", err)
	}
	return f, nil
}

// startAddress is the short address of the start socket, good until done is called.
func startAddress(dir string) (addr *unix.SockaddrUnix, done func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	return &unix.SockaddrUnix{Name: filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), startSocket)}, d.Close, nil
}

// message is a report of the init ELF.
type message struct {
	kind, index uint32
	value       uint64
	files       []*os.File // with ReportConsole, ReportListener and ReportCopyUp
	sender      int        // its process id, with SO_PASSCRED
}

// receive reads one report; io.EOF means that the sender has executed its
// program, or is gone.
func receive(conn *net.UnixConn) (message, error) {
	var m message
	buf := make([]byte, program.ReportSize)
	oob := make([]byte, unix.CmsgSpace(2*4)+unix.CmsgSpace(unix.SizeofUcred))
	got, oobGot, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return m, err
	}
	if got == 0 {
		return m, io.EOF
	}
	if got != program.ReportSize {
		return m, fmt.Errorf("container init: report of %d bytes", got)
	}
	m.kind, m.index = binary.LittleEndian.Uint32(buf), binary.LittleEndian.Uint32(buf[4:])
	m.value = binary.LittleEndian.Uint64(buf[8:])
	if oobGot > 0 {
		err = m.attached(oob[:oobGot])
	}
	return m, err
}

// attached reads what came with a report: descriptors, and who sent it (unix(7)).
func (m *message) attached(oob []byte) error {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("container init: bad control message: %w", err)
	}
	for i := range list {
		switch list[i].Header.Type {
		case unix.SCM_CREDENTIALS:
			from, err := unix.ParseUnixCredentials(&list[i])
			if err != nil {
				return fmt.Errorf("container init: bad credentials in control message: %w", err)
			}
			m.sender = int(from.Pid)
		default:
			fds, err := unix.ParseUnixRights(&list[i])
			if err != nil {
				return fmt.Errorf("container init: bad descriptors in control message: %w", err)
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				m.files = append(m.files, os.NewFile(uintptr(fd), "received"))
			}
		}
	}
	return nil
}

// closeFiles closes the descriptors that came with a report.
func (m *message) closeFiles() {
	for _, f := range m.files {
		f.Close()
	}
}

// awaitClone waits for the process that the program clones into the new
// namespaces. It becomes a child of this one (CLONE_PARENT), and the one that
// cloned it ends.
func (i *initProcess) awaitClone(p *program.Program) error {
	m, err := i.receivePID(p, i.pid)
	if err != nil {
		return err
	}
	first := i.pid
	i.pid = int(m.value)
	_, err = wait(first)
	return err
}

// receivePID receives the report of a process id, which the child sender is to
// send, or anybody if it is 0 (see [initProcess.awaitReport]).
func (i *initProcess) receivePID(p *program.Program, sender int) (message, error) {
	for {
		if err := i.awaitReport(sender); err != nil {
			return message{}, err
		}
		m, err := receive(i.control)
		switch {
		case err != nil:
			return m, i.reason(p, err)
		case m.kind == program.ReportError:
			return m, p.Failure(int(m.index), unix.Errno(m.value))
		case m.kind == program.ReportWarning:
			i.warn(p, m)
		case m.kind == program.ReportPID:
			return m, nil
		default:
			return m, fmt.Errorf("container init: report %d where a process id was expected", m.kind)
		}
	}
}

// awaitNested is [initProcess.awaitClone] for a pid namespace that is made
// inside a joined one: the process that was started clones one into the joined
// namespaces, and that one clones the container's first. Each of the three
// reports, in any order; what tells them apart is who sends it.
func (i *initProcess) awaitNested(p *program.Program) error {
	first, second := i.pid, 0
	var others []int
	for second == 0 || len(others) < 2 {
		sender := first
		if second != 0 {
			sender = second
		}
		if slices.Contains(others, sender) {
			sender = 0 // only the last has the connection besides
		}
		m, err := i.receivePID(p, sender)
		if err != nil {
			return err
		}
		if m.sender == first {
			second = int(m.value)
		} else {
			others = append(others, m.sender)
		}
	}
	i.pid = others[0]
	if i.pid == second {
		i.pid = others[1]
	}
	for _, pid := range []int{first, second} {
		if _, err := wait(pid); err != nil {
			return fmt.Errorf("container init: wait for process %d: %w", pid, err)
		}
	}
	return nil
}

// awaitReport waits until there is something to receive, or until the child
// that is to send it has been killed: there is no end of file then, as the one
// that it may have cloned has the connection as well. With 0 for the child
// there is.
func (i *initProcess) awaitReport(child int) error {
	process := -1 // which poll(2) passes over
	if child != 0 {
		var err error
		if process, err = unix.PidfdOpen(child, 0); err != nil {
			return fmt.Errorf("container init: %w", err)
		}
		defer unix.Close(process)
	}
	raw, err := i.control.SyscallConn()
	if err != nil {
		return err
	}
	var poll error
	err = raw.Control(func(control uintptr) {
		fds := []unix.PollFd{{Fd: int32(control), Events: unix.POLLIN}, {Fd: int32(process), Events: unix.POLLIN}}
		if _, poll = pollFDs(fds, -1); poll != nil || fds[0].Revents != 0 {
			return
		}
		// What it has sent before it ended is there by now.
		var n int
		if n, poll = pollFDs(fds[:1], 0); poll == nil && n == 0 {
			poll = errors.New("container init was killed before the container was built")
		}
	})
	return errors.Join(err, poll)
}

// pollFDs is poll(2), again after a signal: the end of a child sends one.
func pollFDs(fds []unix.PollFd, timeout int) (int, error) {
	for {
		n, err := unix.Poll(fds, timeout)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// warn logs a step that was left out.
func (i *initProcess) warn(p *program.Program, m message) {
	if i.log != nil && int(m.index) < len(p.Instructions) {
		i.log.Warn(p.Instructions[m.index].Note + ": not permitted")
	}
}

// proceed lets the program go on after its control groups and id mappings are set.
func (i *initProcess) proceed(p *program.Program) error {
	if _, err := i.control.Write([]byte{1}); err != nil {
		return i.reason(p, err)
	}
	return nil
}

// awaitCreated follows the program until the container is built; when it is
// to start at once, until its process is executed. hooks, if not nil, gives
// what to do when the program waits for it, by the kind of report it waits at.
func (i *initProcess) awaitCreated(p *program.Program, opt *Options, hooks map[int]func() error) error {
	created := false
	for {
		m, err := receive(i.control)
		switch {
		case errors.Is(err, io.EOF) && created:
			return nil
		case err != nil:
			return i.reason(p, err)
		case m.kind == program.ReportError:
			return p.Failure(int(m.index), unix.Errno(m.value))
		case m.kind == program.ReportWarning:
			i.warn(p, m)
		case m.kind == program.ReportConsole && len(m.files) == 1:
			if opt.Console == nil {
				m.closeFiles()
				return errors.New("process.terminal: nobody takes the terminal (use --console-socket)")
			}
			if err := opt.Console(m.files[0]); err != nil {
				return fmt.Errorf("hand the terminal over: %w", err)
			}
		case m.kind == program.ReportListener && len(m.files) == 1 && opt.listener != nil:
			err := opt.listener(m.files[0], i.pid)
			m.closeFiles()
			if err != nil {
				return err
			}
		case m.kind == program.ReportCopyUp && len(m.files) == 2:
			err := copyUp(m.files[0], m.files[1])
			m.closeFiles()
			if err != nil {
				return fmt.Errorf("copy into a tmpfs (tmpcopyup): %w", err)
			}
			if err := i.proceed(p); err != nil {
				return err
			}
		case m.kind == program.ReportCreated || m.kind == program.ReportHooks:
			created = m.kind == program.ReportCreated
			if run := hooks[int(m.kind)]; run != nil {
				if err := run(); err != nil {
					return err
				}
			}
			if created && opt.Start && opt.Signals != nil {
				opt.Signals.waitAll()
			}
			if err := i.proceed(p); err != nil {
				return err
			}
			if created && !opt.Start {
				return nil
			}
		default:
			m.closeFiles()
			return fmt.Errorf("container init: unexpected report %d", m.kind)
		}
	}
}

// awaitExec waits until the program has executed its process: the control
// socket is closed then.
func (i *initProcess) awaitExec(p *program.Program) error {
	m, err := receive(i.control)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return i.reason(p, err)
	}
	return p.Failure(int(m.index), unix.Errno(m.value))
}

// reason makes the best of a connection that broke: the program's own error
// may be waiting there.
func (i *initProcess) reason(p *program.Program, err error) error {
	for {
		m, readErr := receive(i.control)
		if readErr != nil {
			break
		}
		if m.kind == program.ReportError {
			return p.Failure(int(m.index), unix.Errno(m.value))
		}
	}
	return fmt.Errorf("container init ended before the container was built: %w", err)
}

func (i *initProcess) close() { i.control.Close() }

// kill ends the process and waits for it.
func (i *initProcess) kill() {
	i.killOnly()
	wait(i.pid)
}

func (i *initProcess) killOnly() { unix.Kill(i.pid, unix.SIGKILL) }

// wait waits for a child and returns its status.
func wait(pid int) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err != unix.EINTR {
			return status, err
		}
	}
}
