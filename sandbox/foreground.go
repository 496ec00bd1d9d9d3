package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/sandbox/cgroup"
)

// Result is what is known of a container that has run to its end.
type Result struct {
	// ExitCode is that of the program; 128 plus the signal's number when it was killed.
	ExitCode int
	// WindowsExitCode is [Exit.WindowsCode].
	WindowsExitCode *uint32
	// TimedOut tells that the context ended before the program did.
	TimedOut bool
	// OOMKills is how often the kernel killed a process for want of memory.
	OOMKills uint64
	// Stats were read from the control group at the end, with [Options.Stats];
	// nil without a group.
	Stats *cgroup.Stats
	// Duration is the time from before the container was made to the program's end.
	Duration time.Duration
}

// secondInterrupt is how long after a SIGINT another one is meant as such.
const secondInterrupt = 500 * time.Millisecond

// forwarded are the signals that people send, which a foreground container shares
// with its caller. Those of job control are the caller's own.
func forwarded() []os.Signal {
	return []os.Signal{
		unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT, unix.SIGWINCH,
	}
}

// realTime are the real-time signals, by which systemd is told to halt. A Go program
// that does not catch them passes over them.
func realTime() []os.Signal {
	var list []os.Signal
	const rtmin, rtmax = 34, 64 // signal(7); the C library keeps two for itself
	for sig := unix.Signal(rtmin); sig <= rtmax; sig++ {
		list = append(list, sig)
	}
	return list
}

// Signals are those that a foreground container shares with its caller. None of
// them ends the caller while they are caught.
type Signals struct {
	c, broken   chan os.Signal
	caught, all chan struct{} // closed when those that would end the caller are caught, and all
}

// CatchSignals begins to catch signals for [Options.Signals]. It does so in the
// background, as the Go runtime hands each over to a thread of its own and back.
func CatchSignals() *Signals {
	s := &Signals{c: make(chan os.Signal, 16), broken: make(chan os.Signal, 1), caught: make(chan struct{}), all: make(chan struct{})}
	go func() {
		defer close(s.all)
		signal.Notify(s.c, forwarded()...)
		// Nobody reads this one: with it, a write to a pipe that is closed is an error and not the end.
		signal.Notify(s.broken, unix.SIGPIPE)
		close(s.caught)
		signal.Notify(s.c, realTime()...)
	}()
	return s
}

// Wait returns when the signals that would end the caller are caught: from then on,
// what is made for the container does not stay behind because of one.
func (s *Signals) Wait() { <-s.caught }

// waitAll returns when all are caught, which the program is to rely on.
func (s *Signals) waitAll() { <-s.all }

// Stop lets them do again what they do by default. One who ends anyway saves
// time without.
func (s *Signals) Stop() {
	s.waitAll()
	signal.Stop(s.c)
	signal.Stop(s.broken)
}

// Run makes a container, runs its program in the foreground and removes the
// container, unless keep. Signals are passed on; a second SIGINT, and the end
// of ctx, kill it. started, if not nil, is called when the program runs.
func Run(ctx context.Context, opt Options, keep bool, started func(*Container)) (Result, error) {
	begin := time.Now()
	opt.Start = true
	var res Result
	tty := &terminal{}
	if opt.Bundle.Spec.Process.Terminal && opt.Console == nil {
		tty = newTerminal(opt.stdio())
		tty.keys = opt.Windows
		defer tty.close()
		spec := *opt.Bundle.Spec
		spec.Process = tty.sized(spec.Process)
		opt.Bundle, opt.Console = &oci.Bundle{Dir: opt.Bundle.Dir, Spec: &spec, Seccomp: opt.Bundle.Seccomp}, tty.take
	}
	if opt.Signals == nil {
		opt.Signals = CatchSignals()
		defer opt.Signals.Stop()
	}

	c, err := Create(opt)
	if err != nil {
		return res, err
	}
	if started != nil {
		started(c)
	}
	tty.attach()
	if c.notify != nil {
		if process, err := c.process(); err == nil {
			go func() {
				if err := c.forwardReady(process, false); err != nil {
					slog.Warn(err.Error())
				}
			}()
		}
	}
	status, err := attend(ctx, c.rec.PID, opt.Signals, tty, &res, func(sig unix.Signal) {
		if sig == unix.SIGKILL {
			c.SignalAll(sig)
		}
		c.Signal(sig)
	})
	res.ExitCode = exitCode(status)
	res.Duration = time.Since(begin)
	if e := c.Exit(); e != nil {
		res.WindowsExitCode = e.WindowsCode
	}
	tty.finish()
	if g := c.Group(); g != nil {
		res.OOMKills, _ = g.OOMKills() // unknown counts as none
		if opt.Stats {
			res.Stats, _ = g.Stats()
		}
	}
	if !keep {
		err = errors.Join(err, c.Delete(true))
	}
	return res, err
}

// RunExec runs another process in the container in the foreground and gives
// its exit code. Signals are passed on; a second SIGINT kills it.
func (c *Container) RunExec(ctx context.Context, opt ExecOptions) (int, error) {
	tty := &terminal{}
	if opt.Process.Terminal && opt.Console == nil {
		tty = newTerminal((&Options{Stdio: opt.Stdio}).stdio())
		tty.keys = opt.Windows
		defer tty.close()
		opt.Process, opt.Console = tty.sized(opt.Process), tty.take
	}
	if opt.Signals == nil {
		opt.Signals = CatchSignals()
		defer opt.Signals.Stop()
	}
	pid, err := c.Exec(opt)
	if err != nil {
		return 0, err
	}
	tty.attach()
	var res Result
	status, err := attend(ctx, pid, opt.Signals, tty, &res, func(sig unix.Signal) { unix.Kill(pid, sig) })
	tty.finish()
	return exitCode(status), err
}

// attend waits for a child and passes signals on to it by way of deliver.
func attend(ctx context.Context, pid int, signals *Signals, tty *terminal, res *Result, deliver func(unix.Signal)) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	ended := make(chan error, 1)
	go func() {
		var err error
		status, err = wait(pid)
		ended <- err
	}()
	var interrupted time.Time
	for {
		select {
		case err := <-ended:
			return status, err
		case <-ctx.Done():
			res.TimedOut = true
			ctx = context.Background()
			deliver(unix.SIGKILL)
		case s := <-signals.c:
			sig := s.(unix.Signal)
			switch sig {
			case unix.SIGWINCH:
				tty.resize()
				continue
			case unix.SIGINT:
				// timeout(1) and others send one to the process and one to its group: that is not impatience.
				if interrupted.IsZero() {
					interrupted = time.Now()
				} else if time.Since(interrupted) > secondInterrupt {
					sig = unix.SIGKILL
				}
			case unix.SIGHUP:
				tty.lost()
			}
			deliver(sig)
		}
	}
}

func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
