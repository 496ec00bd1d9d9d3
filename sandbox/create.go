package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/cgroup"
	"winbox/sandbox/program"
)

// Options say how a container is made. The zero value of a field is the default.
type Options struct {
	Root   string // directory that holds the state directories
	ID     string
	Bundle *oci.Bundle

	// Start makes [Create] start the program at once instead of leaving the
	// container waiting for [Container.Start].
	Start bool
	// Windows keeps the init ELF as process 1, in charge of signals and of
	// the orderly end, and switches address-space randomisation off.
	Windows bool
	// Stops are programs, with their arguments, that ask a Windows container's
	// main process to stop, by the signal that they do it for. One that ends with
	// another exit code than 3 has not: the main process gets the signal then.
	Stops map[unix.Signal][]string
	// Resize is a program, with its arguments, that tells the main process of a
	// Windows container the size of its terminal when that has changed.
	Resize []string
	// Linger keeps a Windows container until all its processes have ended.
	Linger bool
	// StopGrace is how long the processes that outlive a Windows container's
	// main one have to end by themselves.
	StopGrace time.Duration

	// Helpers are started before the program of a Windows container.
	Helpers []program.Helper

	// Overlays are further wishes for mounts of type overlay, by their destination. The files are closed by [Create].
	Overlays map[string]Overlay
	// MemoryFiles is where a container sees the files of its memory control group;
	// empty for nowhere.
	MemoryFiles string

	// Hold is a file that process 1 of a Windows container keeps open: a lock on
	// it (flock(2)) lasts as long as the container, whatever becomes of winbox.
	Hold *os.File

	// Stdio are the standard streams; nil ones are those of the caller.
	Stdio [3]*os.File
	// Preserve is the number of descriptors, from 3 on, that the caller hands to the program.
	Preserve int
	// Console takes the master of the program's terminal (process.terminal).
	Console func(master *os.File) error

	// PIDFD takes a pidfd (pidfd_open(2)) of the first process, which it must not close.
	PIDFD   func(pidfd *os.File) error
	PIDFile string
	// Notify is the socket of the service manager (sd_notify(3)) that is told
	// when the program reports that it is ready; see [Container.ForwardReady].
	Notify  string
	NoPivot bool
	// NoNewKeyring leaves the container the session keyring of the caller.
	NoNewKeyring bool
	// Systemd has systemd keep the container's control group: a scope at
	// linux.cgroupsPath, which has the form "slice:prefix:name" then.
	Systemd bool
	// Rootless turns control groups that cannot be had into a warning.
	Rootless bool
	// Signals are those for [Run] to pass on; nil makes it catch them itself.
	// [Create] waits until they are caught, so that none can leave half a container.
	Signals *Signals
	// Stats makes [Run] read what the container used.
	Stats bool
	// Scratch are directories to be removed with the container.
	Scratch []string
	// Prepare, if not nil, makes what the configuration refers to, in Scratch. It
	// is called when the container has been noted down, so that what it makes
	// goes with the container, whatever happens.
	Prepare func() error
	Log     *slog.Logger

	// listener takes the listener of a seccomp filter that notifies.
	listener func(file *os.File, pid int) error
}

// Numbers of the descriptors that the init ELF gets behind those of the program.
const (
	fdControl = iota
	fdProgram
	fdExtra // what else there is, from here on: listening socket, exit record, file to hold, user namespaces, OOM files
)

// An Overlay says of a mount of type overlay what its options cannot.
type Overlay struct {
	program.Overlay
	// Lower are lower layers in place of the option lowerdir, the uppermost first: detached mounts, such as those of
	// [MapOwners].
	Lower []*os.File
}

func (opt *Options) stdio() [3]*os.File {
	files := [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	for i, f := range opt.Stdio {
		if f != nil {
			files[i] = f
		}
	}
	return files
}

// creation is a container in the making.
type creation struct {
	*Container
	opt   *Options
	group *cgroup.Group // nil until it is made
	scope *cgroup.Group // the one that systemd is to make; else nil
	init  *initProcess
	// hooked tells that hooks have been run, which the poststop hooks answer.
	hooked bool
}

// Create makes a container. With [Options.Start] its program runs when Create
// returns; the caller then has the first process as its child.
//
// # Errors
//
// [ErrExist], [ErrInvalidID], a field of the spec that cannot be carried out, or a
// step that failed ([program.Error]). Nothing is left behind then.
func Create(opt Options) (c *Container, err error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkID(opt.ID); err != nil {
		return nil, err
	}
	group, err := findGroup(&opt)
	if err != nil {
		return nil, err
	}
	rdt, err := planResctrl(opt.ID, opt.Bundle.Spec.Linux)
	if err != nil {
		return nil, err
	}
	below, err := opt.rootBelow()
	if err != nil {
		return nil, err
	}
	if err := makeRoot(opt.Root); err != nil {
		return nil, err
	}
	if opt.Signals != nil {
		opt.Signals.Wait()
	}
	n := &creation{opt: &opt, Container: &Container{
		dir: filepath.Join(opt.Root, opt.ID),
		rec: record{
			Version: stateVersion, ID: opt.ID, Bundle: opt.Bundle.Dir, Rootfs: opt.rootfs(), Created: time.Now().UTC(),
			Annotations: opt.Bundle.Spec.Annotations, Hooks: opt.Bundle.Spec.Hooks != nil, RootBelow: below, Scratch: opt.Scratch,
			Windows: opt.Windows, NoNewKeyring: opt.NoNewKeyring, Resctrl: rdt,
		},
	}}
	if opt.Windows {
		n.rec.MountPoints = absentMountPoints(n.rec.Rootfs, opt.Bundle.Spec.Mounts)
	}
	switch {
	case group == nil:
	case group.Managed():
		n.scope = group // not recorded yet: a scope of that name may be somebody else's
	default:
		state := group.State()
		n.rec.Cgroup = &state
	}
	locked, err := claim(n.dir)
	if err != nil {
		return nil, err
	}
	defer locked.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, n.undo())
		}
	}()
	if err := n.make(group); err != nil {
		return nil, err
	}
	return n.Container, nil
}

// claim makes a container's state directory and locks it.
//
// Between the two, a forced deletion may take the directory for a leftover and
// remove it, and another creation may make it anew: whoever has the lock and
// finds no state file there is the one that has claimed it.
func claim(dir string) (*os.File, error) {
	for {
		if err := os.Mkdir(dir, 0o711); errors.Is(err, os.ErrExist) {
			return nil, ErrExist
		} else if err != nil {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
		locked, err := lock(dir)
		if errors.Is(err, ErrNotExist) {
			continue
		}
		if err != nil {
			os.Remove(dir)
			return nil, err
		}
		if _, err := os.Lstat(filepath.Join(dir, stateFile)); err == nil {
			locked.Close()
			return nil, ErrExist
		}
		return locked, nil
	}
}

// undo removes what a creation has made that failed.
func (n *creation) undo() error {
	if n.init != nil {
		n.init.kill()
		// The program may run already, and have children that outlive it.
		if n.rec.SharedPID && n.group != nil {
			if err := n.group.Kill(unix.SIGKILL); err != nil {
				return err
			}
		}
	}
	if err := n.remove(); err != nil {
		return err
	}
	if n.hooked {
		n.poststop(n.opt.Bundle.Spec, n.opt.Log)
	}
	return nil
}

// rootfs is the absolute path of the root file system.
func (opt *Options) rootfs() string {
	root := opt.Bundle.Spec.Root.Path
	if !filepath.IsAbs(root) {
		root = filepath.Join(opt.Bundle.Dir, root)
	}
	return root
}

// makeRoot makes the directory of the state directories. One that somebody else
// has made, in /tmp say, would let them replace what is in it.
func makeRoot(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make state root: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("state root %s: %w", dir, err)
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("state root %s: it belongs to user %d; choose another with --root", dir, st.Uid)
	}
	return nil
}

// make carries out the steps of Create that leave something behind.
func (n *creation) make(group *cgroup.Group) error {
	// Written first, so that what follows can be cleaned up even if winbox is
	// killed in between.
	if err := n.save(); err != nil {
		return err
	}
	if n.opt.Prepare != nil {
		if err := n.opt.Prepare(); err != nil {
			return err
		}
	}
	if err := n.offerNotify(); err != nil {
		return err
	}
	// The kernel makes the control group while the program is compiled.
	grouped := make(chan error, 1)
	go func() { grouped <- n.makeGroup() }()
	p, encoded, err := n.compile(group)
	if groupErr := <-grouped; err == nil {
		err = groupErr
	}
	if err != nil {
		return err
	}
	if err := n.makeResctrl(); err != nil {
		return err
	}
	if err := n.spawn(p, encoded, group); err != nil {
		return err
	}
	if err := announce(n.rec.PID, n.opt.PIDFD, n.opt.PIDFile); err != nil {
		return err
	}
	if spec := n.opt.Bundle.Spec; n.opt.Start && spec.Hooks != nil {
		n.hooked = true
		return n.poststart(spec, n.opt.Log)
	}
	return nil
}

// compile makes the program.
func (n *creation) compile(group *cgroup.Group) (*program.Program, []byte, error) {
	p, err := compile(n.opt, group, &filterCache{root: n.opt.Root, log: n.opt.Log})
	if err != nil {
		return nil, nil, err
	}
	for _, w := range p.Warnings {
		n.opt.Log.Warn(w)
	}
	n.rec.StartIndex, n.rec.StartSteps = p.AfterStart()
	encoded, err := p.Encode()
	if err != nil {
		return nil, nil, err
	}
	return p, encoded, nil
}

// resources are the container's limits, with rules for devices in any case.
func (n *creation) resources() *specs.LinuxResources {
	var res specs.LinuxResources
	if asked := n.opt.Bundle.Spec.Linux.Resources; asked != nil {
		res = *asked
	}
	res.Devices = cgroup.DeviceRules(res.Devices)
	return &res
}

// makeGroup makes the container's control group. A scope is only made around a
// process; there, it makes sure that systemd is to be had.
func (n *creation) makeGroup() error {
	if n.scope != nil {
		if err := n.scope.Prepare(); err != nil {
			return err
		}
		state := n.scope.State()
		n.rec.Cgroup = &state
		return nil
	}
	res := n.resources()
	// Without control groups, only what is asked for and cannot be had is worth a word.
	level := slog.LevelDebug
	if res.Memory != nil || res.CPU != nil || res.Pids != nil || res.BlockIO != nil || len(res.HugepageLimits) > 0 {
		level = slog.LevelWarn
	}
	if n.rec.Cgroup == nil {
		n.opt.Log.Log(context.Background(), level, "limits are not enforced: no control groups are mounted")
		return nil
	}
	group, err := cgroup.Create(n.rec.Cgroup.Path, res)
	if err != nil {
		if n.opt.Rootless && errors.Is(err, cgroup.ErrNotDelegated) {
			n.opt.Log.Log(context.Background(), level, "limits are not enforced: "+err.Error())
			n.rec.Cgroup = nil
			return nil
		}
		n.rec.Cgroup = nil // what was made of it is gone
		return err
	}
	n.setGroup(group)
	return nil
}

// setGroup records a group that has been made: making it may have taught something of the host.
func (n *creation) setGroup(group *cgroup.Group) {
	for _, w := range group.Warnings() {
		n.opt.Log.Warn(w)
	}
	n.group = group
	state := group.State()
	n.rec.Cgroup = &state
}

// spawn starts the init ELF and sees it through the program.
func (n *creation) spawn(p *program.Program, encoded []byte, group *cgroup.Group) error {
	spec := n.opt.Bundle.Spec
	ns, err := program.ParseNamespaces(spec)
	if err != nil {
		return err
	}
	if n.opt.Windows {
		ns.OwnPID()
	}
	n.rec.Namespaces = ns.New
	for flag := range ns.Join {
		n.rec.Namespaces |= flag
	}
	n.rec.SharedPID = ns.New&unix.CLONE_NEWPID == 0
	o := initOptions{stdio: n.opt.stdio(), preserve: n.opt.Preserve, group: n.group, credentials: ns.Nested(), log: n.opt.Log}
	if !ns.CloneByProgram() {
		o.cloneFlags = ns.CloneFlags()
	}
	if !n.opt.Start {
		listen, err := listenForStart(n.dir)
		if err != nil {
			return err
		}
		defer listen.Close()
		o.extra = append(o.extra, listen)
	}
	if n.opt.Windows {
		record, err := openExitRecord(n.dir)
		if err != nil {
			return err
		}
		defer record.Close()
		o.extra = append(o.extra, record)
		if n.opt.Hold != nil {
			o.extra = append(o.extra, n.opt.Hold)
		}
	}
	mapped, err := mappedMounts(n.opt.Bundle)
	if err != nil {
		return err
	}
	defer closeAll(mapped)
	o.extra = append(o.extra, mapped...)
	for i := range spec.Mounts {
		lower := n.opt.Overlays[spec.Mounts[i].Destination].Lower
		defer closeAll(lower)
		o.extra = append(o.extra, lower...)
	}
	if n.opt.Windows && group != nil && group.DiesInPieces() {
		event, count, err := n.oomFiles()
		if err != nil {
			return err
		}
		defer closeAll([]*os.File{event, count})
		o.extra = append(o.extra, event, count)
	}
	if n.init, err = startInit(o, encoded); err != nil {
		return err
	}
	defer n.init.close()
	if ns.CloneByProgram() {
		await := n.init.awaitClone
		if ns.Nested() {
			await = n.init.awaitNested
		}
		if err := await(p); err != nil {
			return err
		}
	}
	n.rec.PID = n.init.pid
	if _, n.rec.StartTime, err = processStat(n.rec.PID); err != nil {
		return fmt.Errorf("container init: %w", n.init.reason(p, err))
	}
	if n.scope != nil {
		if err := n.scope.Adopt(n.rec.PID, n.resources()); err != nil {
			if !n.scope.Adopted() {
				n.rec.Cgroup = nil
			}
			return err
		}
		n.setGroup(n.scope)
	}
	if ns.New&unix.CLONE_NEWUSER != 0 {
		if err := writeMappings(n.init.pid, spec.Linux.UIDMappings, spec.Linux.GIDMappings); err != nil {
			return err
		}
	}
	if err := n.enterResctrl(n.init.pid); err != nil {
		return err
	}
	if err := moveNetDevices(n.init.pid, spec.Linux.NetDevices); err != nil {
		return err
	}
	if err := n.init.proceed(p); err != nil {
		return err
	}
	// While the kernel builds the container. Should winbox be killed before, the
	// program ends by itself, as nobody answers that the container is noted.
	if err := n.saveSpec(n.opt.Bundle); err != nil {
		return err
	}
	if err := n.save(); err != nil {
		return err
	}
	n.opt.listener = n.sendListener
	return n.init.awaitCreated(p, n.opt, n.hookPoints(spec.Hooks))
}

// oomFiles opens what tells of the OOM killer. The program counts on two descriptors: for a group that could not be had
// there are two that never tell anything, or others, such as that of the start, would get their numbers.
func (n *creation) oomFiles() (event, count *os.File, err error) {
	if n.group != nil {
		return n.group.OOMFiles()
	}
	if count, err = os.Open(os.DevNull); err != nil {
		return nil, nil, err
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		count.Close()
		return nil, nil, fmt.Errorf("make an eventfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "no OOM event"), count, nil
}

// hookPoints says which hooks run at which report of the program.
func (n *creation) hookPoints(h *specs.Hooks) map[int]func() error {
	if h == nil {
		return nil
	}
	points := map[int]func() error{program.ReportHooks: func() error {
		n.hooked = true
		return n.createHooks(h)
	}}
	if n.opt.Start && len(h.StartContainer) > 0 {
		points[program.ReportCreated] = func() error {
			n.hooked = true
			return n.runHooksInside("startContainer", oci.Created, h.StartContainer)
		}
	}
	return points
}
