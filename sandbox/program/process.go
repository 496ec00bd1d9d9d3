package program

import (
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// console makes the pseudo-terminal of a process that wants one, in the
// container's own devpts, and sends its master to the runtime.
func (c *compiler) console() error {
	p := c.spec.Process
	if !p.Terminal {
		return nil
	}
	const rdwr = unix.O_RDWR | unix.O_NOCTTY
	ptmx, tty := c.register("ptmx"), c.register("tty")
	c.openInRoot("/dev/pts/ptmx", "open a pseudo-terminal, /dev/pts/ptmx (does the container mount devpts on /dev/pts?)", rdwr).into(ptmx)
	c.call("ioctl", "unlock the pseudo-terminal", ptmx, named(unix.TIOCSPTLCK, "TIOCSPTLCK"), c.record("[0]", uint32(0)))
	if s := p.ConsoleSize; s != nil && s.Width <= 0xffff && s.Height <= 0xffff {
		c.call("ioctl", "set the terminal's size", ptmx, named(unix.TIOCSWINSZ, "TIOCSWINSZ"),
			c.record(fmt.Sprintf("{rows=%d, cols=%d}", s.Height, s.Width), uint16(s.Height), uint16(s.Width), uint32(0)))
	}
	// TIOCGPTPEER opens the other side without a path (ioctl_tty(2)).
	c.call("ioctl", "open the terminal", ptmx, named(unix.TIOCGPTPEER, "TIOCGPTPEER"), openFlags(rdwr)).into(tty)
	c.sendFiles(ReportConsole, "send the terminal to the runtime", ptmx)
	if (c.ns.Has(unix.CLONE_NEWNS) || c.rootMounted) && !c.joins {
		tree := c.cloneTree(fdOperand(tty), "", false, "mount the terminal on /dev/console")
		c.attach(tree, c.makeFileBy(noLinks, "/dev/console", "mount the terminal on it"), "mount the terminal on /dev/console")
		c.closeFrom(tree)
	}
	c.call("fchown", "give the terminal to the user", tty, int(p.User.UID), -1).tolerate(unix.EINVAL, unix.EPERM)
	c.labelFile(tty, "the terminal")
	c.call("ioctl", "make it the controlling terminal", tty, named(unix.TIOCSCTTY, "TIOCSCTTY"), 0)
	for fd, name := range []string{"input", "output", "error"} {
		c.call("dup3", "make the terminal standard "+name, tty, fd, 0)
	}
	c.closeFrom(ptmx)
	return nil
}

// sendFiles sends descriptors with a report to the runtime (sendmsg(2),
// cmsg(3), unix(7)).
func (c *compiler) sendFiles(kind int, note string, files ...Register) {
	const header = 16 // sizeof(struct cmsghdr): length, level, type; descriptors follow
	rec := c.record("", uint32(kind), uint32(0), uint64(0))
	control := c.record("", uint64(header+4*len(files)), int32(unix.SOL_SOCKET), int32(unix.SCM_RIGHTS), make([]int32, (len(files)+1)&^1))
	iov := c.record("", uint64(0), uint64(ReportSize))
	c.pointer(iov.Value, rec)
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = "%" + c.p.Registers[file]
	}
	msg := c.record(fmt.Sprintf("{iov=[{kind=%d}], control=[{SCM_RIGHTS, [%s]}]}", kind, strings.Join(names, ", ")),
		uint64(0), uint64(0), // msg_name, msg_namelen
		uint64(0), uint64(1), // msg_iov, msg_iovlen
		uint64(0), uint64(header+(4*len(files)+7)&^7), // msg_control, msg_controllen
		uint64(0)) // msg_flags
	c.pointer(msg.Value+16, iov)
	c.pointer(msg.Value+32, control)
	for i, file := range files {
		c.special(OpStore, "store", "put the descriptor into the message", control.at(header+4*uint64(i)), file)
	}
	c.call("sendmsg", note, c.channel, msg, named(unix.MSG_NOSIGNAL, "MSG_NOSIGNAL"))
}

// notInPath is what engines look for, and as with runc it is all that is said:
// the name of ENOENT behind it would be of a file that nobody has named.
const notInPath = ": executable file not found in $PATH"

// findExecutable checks that there is something to execute, so that `create`
// already reports it when not. The check is made with the rights of the
// set-up; whether the user may execute it shows at execve.
func (c *compiler) findExecutable() error {
	name := c.spec.Process.Args[0]
	if name == "" {
		return fmt.Errorf("process.args[0]: empty")
	}
	c.workingDirectory()
	found, isDir := c.label(), c.label()
	candidates := c.executables()
	for i, file := range candidates {
		last := i == len(candidates)-1
		note := fmt.Sprintf("exec: %q: stat %s", name, file)
		if last && !strings.Contains(name, "/") {
			note = fmt.Sprintf("exec: %q"+notInPath, name)
		}
		next := c.label()
		exists := c.call("faccessat", note, cwdFD(), file, 0)
		directory := isDir
		if !last {
			directory = next
		}
		may := c.call("faccessat", fmt.Sprintf("exec: %q", name), cwdFD(), file, named(unix.X_OK, "X_OK"))
		if !last {
			exists.tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES).failed(next)
			may.tolerate(unix.EACCES).failed(next)
		}
		c.call("openat", fmt.Sprintf("exec: %q", name), cwdFD(), file, openFlags(unix.O_PATH|unix.O_DIRECTORY), 0).
			tolerate(unix.ENOTDIR).ok(directory).failed(found)
		c.place(next)
	}
	c.place(isDir)
	// Older engines know only permission denied, newer ones both.
	c.special(OpFail, "fail", fmt.Sprintf("exec: %q: is a directory", name), named(uint64(unix.EACCES), "EACCES"))
	c.place(found)
	return nil
}

// executables are the files that args[0] may mean: itself when it has a slash,
// else one for each folder of the process's PATH (execvp(3)).
func (c *compiler) executables() []string {
	p := c.spec.Process
	name := p.Args[0]
	if strings.Contains(name, "/") {
		return []string{name}
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range p.Env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			search = value
		}
	}
	var files []string
	for dir := range strings.SplitSeq(search, ":") {
		files = append(files, path.Join("/", dir, name))
	}
	return files
}

// workingDirectory enters the process's current directory. That of a new
// container is made if it is missing, as engines rely on. The root has been
// entered by now: an absolute path starts there.
func (c *compiler) workingDirectory() {
	cwd := c.spec.Process.Cwd
	if cwd == "" {
		cwd = "/"
	}
	note := fmt.Sprintf("enter the working directory %s", cwd)
	entered := c.label()
	clean := path.Clean(cwd)
	if clean == "/" {
		c.call("chdir", note, clean)
		return
	}
	defer c.checkInside(clean)
	if c.joins {
		note = fmt.Sprintf("chdir to cwd (%q) set in config.json failed", cwd) // runc's words
		c.call("chdir", note, clean)
		return
	}
	c.call("chdir", note, clean).tolerate(unix.ENOENT).ok(entered)
	for i := 1; i <= len(clean); i++ {
		if i == len(clean) || clean[i] == '/' {
			c.call("mkdirat", "make the working directory "+clean[:i], cwdFD(), clean[:i], mode(0o755)).tolerate(unix.EEXIST, unix.EROFS)
		}
	}
	c.call("chdir", note, clean)
	c.place(entered)
}

// checkInside ends the program when its working directory is not below the
// root: a descriptor of the host's file system, should there be one, would lead
// there by way of /proc/self/fd. getcwd(2) begins with "(unreachable)" then.
func (c *compiler) checkInside(cwd string) {
	const pathMax = 4096 // linux/limits.h; a longer path is an error of getcwd
	buf := c.bytes(make([]byte, pathMax), "&cwd")
	c.call("getcwd", "look where the working directory "+cwd+" is", buf, pathMax)
	first := c.register("first")
	c.special(OpLoad, "load", "take the first character", buf, named(0xff, "0xff")).into(first)
	c.special(OpFail, "fail", "enter the working directory "+cwd+": it is outside the root", named(uint64(unix.EPERM), "EPERM"), first, named('(', "'('"))
}

// waitForStart reports that the container is built, and goes on when the
// runtime, if it still lives, has noted it. Unless it is to start at once, it
// then waits for `start` to connect; from there on errors go to that
// connection, and its end without one means that execve succeeded.
func (c *compiler) waitForStart() error {
	c.report(ReportCreated, 0, "report that the container is built")
	c.await("wait until the runtime has noted it")
	if c.opt.Listen < 0 {
		return nil
	}
	conn := c.register("start")
	c.call("accept4", "wait for start", c.opt.Listen, 0, 0, named(unix.SOCK_CLOEXEC, "SOCK_CLOEXEC")).into(conn)
	// Now, not at execve together with the connection: whoever finds nobody
	// listening knows that the container has been started.
	c.call("close_range", "let nobody else start it", c.opt.Listen, c.opt.Listen, 0)
	c.special(OpChannel, "channel", "report errors to start from here on", conn)
	c.channel = fdOperand(conn)
	return nil
}

// rlimits of getrlimit(2) by their name in the spec.
var rlimits = map[string]int{
	"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
}

// fewFiles is a number of open files with which the set-up itself can still
// take a connection from start.
const fewFiles = 64

// limits sets resource limits, but for those that would be in the way of the
// set-up.
func (c *compiler) limits() error {
	seen := map[string]bool{}
	for i, l := range c.spec.Process.Rlimits {
		number, ok := rlimits[l.Type]
		if !ok {
			return fmt.Errorf("process.rlimits[%d].type: unknown limit %q", i, l.Type)
		}
		if seen[l.Type] {
			return fmt.Errorf("process.rlimits[%d].type: %q is listed twice", i, l.Type)
		}
		if l.Soft > l.Hard {
			return fmt.Errorf("process.rlimits[%d].soft: %d is more than the hard limit %d", i, l.Soft, l.Hard)
		}
		seen[l.Type] = true
		if !narrow(l) {
			c.limit(l, number)
		}
	}
	return nil
}

// narrowLimits sets the others, when little more is to be done.
func (c *compiler) narrowLimits() error {
	for _, l := range c.spec.Process.Rlimits {
		if narrow(l) {
			c.limit(l, rlimits[l.Type])
		}
	}
	return nil
}

func narrow(l specs.POSIXRlimit) bool { return l.Type == "RLIMIT_NOFILE" && l.Soft < fewFiles }

func (c *compiler) limit(l specs.POSIXRlimit, number int) {
	rec := c.record(fmt.Sprintf("{%d, %d}", l.Soft, l.Hard), l.Soft, l.Hard)
	c.call("prlimit64", fmt.Sprintf("set %s to %d:%d", l.Type, l.Soft, l.Hard), 0, named(uint64(number), l.Type), rec, 0)
}

// Execution domains (linux/personality.h).
const (
	perLinux32      = 0x0008
	addrNoRandomize = 0x0040000
)

// personality sets the execution domain; it has to come before seccomp, whose
// usual profiles refuse ADDR_NO_RANDOMIZE.
func (c *compiler) personality() error {
	domain, text := uint64(0), "PER_LINUX"
	if p := c.spec.Linux.Personality; p != nil {
		if len(p.Flags) > 0 {
			return fmt.Errorf("linux.personality.flags: no flags are supported")
		}
		switch p.Domain {
		case specs.PerLinux:
		case specs.PerLinux32:
			domain, text = perLinux32, "PER_LINUX32"
		default:
			return fmt.Errorf("linux.personality.domain: %q is neither LINUX nor LINUX32", p.Domain)
		}
	} else if !c.opt.NoRandomize {
		return nil
	}
	note := "set the execution domain"
	if c.opt.NoRandomize {
		domain |= addrNoRandomize
		text += "|ADDR_NO_RANDOMIZE"
		note = "switch address-space randomisation off"
	}
	c.call("personality", note, named(domain, text))
	return nil
}

// execute takes the last steps and becomes, or supervises, the program.
func (c *compiler) execute() error {
	p := c.spec.Process
	if p.NoNewPrivileges {
		c.exitListener()
		c.seccomp()
	}
	argv, envp := c.vector(p.Args), c.vector(p.Env)
	files := c.executables()
	if c.opt.Supervise {
		if len(files) != 1 {
			return fmt.Errorf("process.args[0]: %q: a supervised program needs a path", p.Args[0])
		}
		c.special(OpSupervise, "supervise", fmt.Sprintf("exec: %q", p.Args[0]), argv, envp, c.supervision(), c.exits, c.opt.Status, c.opt.Hold)
		return nil
	}
	for i, file := range files {
		step := c.call("execve", fmt.Sprintf("exec: %q", p.Args[0]), file, argv, envp)
		if i < len(files)-1 {
			step.tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES)
		}
	}
	return nil
}

// exitListener loads the filter that lets the supervisor see exit codes whole.
// It is a convenience: where it cannot be had, the program runs without. One
// process has one listener, and that of the container's own filter goes first.
func (c *compiler) exitListener() {
	if len(c.opt.ExitFilter) == 0 || c.opt.SeccompFlags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
		return
	}
	fd := c.register("exits") // 0, which stands for none, unless the call succeeds
	c.loadFilter(c.opt.ExitFilter, c.opt.ExitFilterFlags, "listen for exit codes").into(fd).
		tolerate(unix.EACCES, unix.EBUSY, unix.EINVAL, unix.ENOSYS)
	c.exits = fdOperand(fd)
}

// seccomp loads the filter of the spec.
func (c *compiler) seccomp() {
	if len(c.opt.Seccomp) == 0 {
		return
	}
	load := c.loadFilter(c.opt.Seccomp, c.opt.SeccompFlags, "load the system call filter")
	if c.opt.SeccompFlags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
		listener := c.register("listener")
		load.into(listener)
		c.sendFiles(ReportListener, "send the listener of the filter to the runtime", listener)
	}
}

// loadFilter calls seccomp(2) with a struct sock_fprog.
func (c *compiler) loadFilter(filter []byte, flags uint64, note string) step {
	const filterSize = 8 // sizeof(struct sock_filter)
	count := len(filter) / filterSize
	prog := c.record(fmt.Sprintf("{len=%d}", count), uint16(count), [6]byte{}, uint64(0))
	c.pointer(prog.Value+8, c.bytes(filter, ""))
	return c.call("seccomp", note, named(unix.SECCOMP_SET_MODE_FILTER, "SECCOMP_SET_MODE_FILTER"), named(flags, fmt.Sprintf("%#x", flags)), prog)
}
