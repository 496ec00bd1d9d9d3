package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/internal/leanjson"
	"winbox/oci"
	"winbox/sandbox/cgroup"
	"winbox/sandbox/program"
)

// configFile, in the state directory, is the container's configuration as it
// was when it was made.
const configFile = "config.json"

// ExecOptions say how another process is run in a container.
type ExecOptions struct {
	Process  *specs.Process
	Stdio    [3]*os.File // as in [Options]
	Preserve int
	Console  func(master *os.File) error
	PIDFile  string
	// PIDFD takes a pidfd (pidfd_open(2)) of the process, which it must not close; may be nil.
	PIDFD        func(pidfd *os.File) error
	IgnorePaused bool
	// Windows gives the process a parent in the container, which makes its exit
	// status of its exit code as process 1 does, and switches address-space
	// randomisation off. Its process id is that of the parent, with which it ends.
	Windows bool
	Resize  []string // as in [Options]
	// Signals are those for [Container.RunExec] to pass on, as in [Options]; nil makes
	// it catch them itself. [Container.Exec] waits until they are caught.
	Signals *Signals
	// Subgroups are groups below the container's to run in, as for [cgroup.Group.Sub].
	Subgroups map[string]string
	Log       *slog.Logger
}

// Exec runs another process in a running container. When it returns, the
// process has been executed and is a child of this one, to be waited for with
// [WaitProcess].
//
// # Errors
//
// The container is not running, or paused; or a step that failed ([program.Error]).
func (c *Container) Exec(opt ExecOptions) (pid int, err error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	switch c.Status() {
	case oci.Running, oci.Created:
	case oci.Paused:
		if !opt.IgnorePaused {
			return 0, errors.New("cannot exec in a paused container (use --ignore-paused to override)")
		}
	default:
		return 0, errors.New("cannot exec in a stopped container")
	}
	spec, err := c.Spec()
	if err != nil {
		return 0, err
	}
	joined := *spec
	joined.Process = withEnvironment(inherited(opt.Process, spec.Process), func() (*oci.Files, error) { return oci.OpenFiles("/proc/" + strconv.Itoa(c.rec.PID) + "/root") })
	create := Options{ID: c.rec.ID, Bundle: &oci.Bundle{Dir: c.rec.Bundle, Spec: &joined}, Stdio: opt.Stdio, Preserve: opt.Preserve, Console: opt.Console, Start: true, Signals: opt.Signals, Log: opt.Log}
	host, err := hostFacts()
	if err != nil {
		return 0, err
	}
	securityModules(&joined, &host)
	first := 3 + opt.Preserve
	po := program.Options{ID: c.rec.ID, Control: first + fdControl, Preserve: opt.Preserve, ChownStdio: pipes(&create), NoNewKeyring: c.rec.NoNewKeyring, Host: host}
	if opt.Windows {
		po.Supervise, po.NoRandomize, po.Resize = true, true, opt.Resize
		if po.ExitFilter, po.ExitFilterFlags, err = compileFilter(exitProfile); err != nil {
			return 0, err
		}
	}
	filters := filterCache{root: filepath.Dir(c.dir), log: opt.Log}
	if po.Seccomp, po.SeccompFlags, err = filters.filter(spec, c.seccomp); err != nil {
		return 0, err
	}
	p, err := program.CompileExec(&joined, c.target(first), po)
	if err != nil {
		return 0, err
	}
	for _, w := range p.Warnings {
		opt.Log.Warn(w)
	}
	group, err := c.execGroup(&opt)
	if err != nil {
		return 0, err
	}
	if opt.Signals != nil {
		opt.Signals.Wait()
	}
	restore, err := initialAffinity(joined.Process.ExecCPUAffinity)
	if err != nil {
		return 0, err
	}
	start := initOptions{stdio: create.stdio(), preserve: opt.Preserve, group: group, log: opt.Log}
	init, err := c.join(p, start)
	if errors.Is(err, unix.EBUSY) && group != nil && len(opt.Subgroups) == 0 {
		// A v2 group that hands controllers on has no processes of its own
		// (cgroups(7)): what runs in the container, systemd for one, has gone below.
		var below error
		if start.group, below = group.Below(c.rec.PID); below == nil {
			init, err = c.join(p, start)
		}
	}
	restore()
	if err != nil {
		return 0, err
	}
	defer init.close()
	create.listener = c.sendListener
	if err := init.awaitCreated(p, &create, nil); err != nil {
		init.kill()
		return 0, err
	}
	if err := announce(init.pid, opt.PIDFD, opt.PIDFile); err != nil {
		init.kill()
		return 0, err
	}
	return init.pid, nil
}

// announce tells who wants to know of a process that has been made.
func announce(pid int, takePIDFD func(*os.File) error, pidFile string) error {
	if takePIDFD != nil {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return fmt.Errorf("open a pidfd: %w", err)
		}
		f := os.NewFile(uintptr(fd), "pidfd")
		defer f.Close()
		if err := takePIDFD(f); err != nil {
			return err
		}
	}
	if pidFile != "" {
		if err := linkFile(pidFile, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("write pid file: %w", err)
		}
	}
	return nil
}

// execGroup is the control group for another process; nil when the container
// has none. A process cannot begin in a group that is frozen: it waits for the
// end of the pause, as its first step would.
func (c *Container) execGroup(opt *ExecOptions) (*cgroup.Group, error) {
	group := c.Group()
	if group == nil {
		if len(opt.Subgroups) > 0 {
			_, err := c.needGroup("there is none below it")
			return nil, err
		}
		return nil, nil
	}
	for opt.IgnorePaused {
		frozen, err := group.Frozen()
		if err != nil || !frozen {
			break // a group that is gone shows at the next step
		}
		if !alive(c.rec.PID, c.rec.StartTime) {
			return nil, errors.New("cannot exec in a stopped container")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return group.Sub(opt.Subgroups)
}

// inherited is a process to be run in a container with what it leaves open taken
// from the container's own process, as with runc: above all it must not be less
// confined than that.
func inherited(process, own *specs.Process) *specs.Process {
	p := *process
	p.ApparmorProfile = cmp.Or(p.ApparmorProfile, own.ApparmorProfile)
	p.SelinuxLabel = cmp.Or(p.SelinuxLabel, own.SelinuxLabel)
	p.Capabilities = cmp.Or(p.Capabilities, own.Capabilities)
	p.Scheduler = cmp.Or(p.Scheduler, own.Scheduler)
	p.IOPriority = cmp.Or(p.IOPriority, own.IOPriority)
	p.ExecCPUAffinity = cmp.Or(p.ExecCPUAffinity, own.ExecCPUAffinity)
	if p.Rlimits == nil {
		p.Rlimits = own.Rlimits
	}
	return &p
}

// target is the container as a program that joins it gets it; first is the
// number of the first descriptor that is not the process's.
func (c *Container) target(first int) program.Target {
	return program.Target{PidFD: first + fdExtra, RootFD: first + fdExtra + 1, Namespaces: c.rec.Namespaces}
}

// join starts the init ELF with a program that joins the container, and waits
// until it is inside.
func (c *Container) join(p *program.Program, o initOptions) (*initProcess, error) {
	encoded, err := p.Encode()
	if err != nil {
		return nil, err
	}
	target, err := c.process()
	if err != nil {
		return nil, err
	}
	defer target.Close()
	root, err := os.OpenFile("/proc/"+strconv.Itoa(c.rec.PID)+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the container's root: %w", err)
	}
	defer root.Close()
	o.extra = []*os.File{target, root}
	init, err := startInit(o, encoded)
	if err != nil {
		return nil, err
	}
	err = init.awaitClone(p)
	if err == nil {
		err = c.enterResctrl(init.pid)
	}
	if err == nil {
		err = init.proceed(p)
	}
	if err != nil {
		init.kill()
		init.close()
		return nil, err
	}
	return init, nil
}

// WaitProcess waits for a process that [Container.Exec] has started.
func WaitProcess(pid int) (unix.WaitStatus, error) { return wait(pid) }

// Spec is the container's configuration as it was when it was made, but for its
// seccomp profile ([oci.Bundle]); not to be changed.
func (c *Container) Spec() (*specs.Spec, error) {
	if c.spec != nil {
		return c.spec, nil
	}
	data, err := os.ReadFile(filepath.Join(c.dir, configFile))
	if err != nil {
		return nil, fmt.Errorf("read the container's configuration: %w", err)
	}
	data, section := oci.CutSeccomp(data)
	var spec specs.Spec
	if err := leanjson.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(c.dir, configFile), err)
	}
	c.spec, c.seccomp = &spec, section
	return c.spec, nil
}

// saveSpec keeps the configuration for later commands: the bundle may change.
func (c *Container) saveSpec(b *oci.Bundle) error {
	data, err := leanjson.Marshal(b.Spec)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(c.dir, configFile), oci.PasteSeccomp(data, b.Seccomp), 0o600)
}
