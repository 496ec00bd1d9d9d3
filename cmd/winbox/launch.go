package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"winbox/internal/sizes"
	"winbox/oci"
	"winbox/preload"
	"winbox/preload/pe"
	"winbox/quota"
	"winbox/sandbox"
	"winbox/sandbox/cgroup"
	"winbox/seccomp"
	"winbox/wine"
)

// Exit codes of launch besides the program's own: those of timeout(1) and
// env(1), which container engines use as well; see also [preload.ExitCode].
const (
	exitTimedOut    = 124
	exitFailed      = 125 // of winbox itself
	exitOutOfMemory = 137 // as after SIGKILL, which it is
)

func launchCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "launch",
		Usage:     "run one Windows program, or the one of an image, in a sandbox",
		ArgsUsage: "PROGRAM|IMAGE [ARGUMENT...]",
		Description: `The program gets the current folder, read-write, as drive D:, its own folder,
read-only, as the next drive when it lies elsewhere, and what --mount adds;
nothing else of the host. PROGRAM is a file, or the name of one of Windows' own
programs such as cmd. The exit code is the program's; 124 after --timeout, 125
for a failure of winbox, 126 for a file that is no such program, 127 for none,
137 when memory ran out.

    winbox launch ./7za.exe a out.7z docs
    winbox launch --memory 512m --mount /srv/in:E::ro cmd /c dir e:`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "memory", Aliases: []string{"m"}, Usage: "memory limit `SIZE`, such as 512m"},
			&cli.StringFlag{Name: "commit", DefaultText: "memory and swap", Usage: "memory that programs can commit, `SIZE`, or off"},
			&cli.StringFlag{Name: "commit-process", DefaultText: "no limit", Usage: "memory that each process can commit, `SIZE`"},
			&cli.Float64Flag{Name: "cpus", DefaultText: "all", Usage: "`NUMBER` of processors it may use, such as 1.5"},
			&cli.Int64Flag{Name: "pids", DefaultText: "no limit", Usage: "`NUMBER` of processes and threads it may have"},
			&cli.StringFlag{Name: "network", Value: "none", Usage: "`NETWORK` it is in: none or host"},
			&cli.StringSliceFlag{Name: "mount", Usage: "share `SOURCE:TARGET[:ro]`; TARGET is E:, E:\\folder, C:\\folder or a Linux path"},
			&cli.BoolFlag{Name: "read-only", Usage: "share everything read-only, the current folder too; C:, but for C:\\users"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "environment variable `NAME=VALUE`, or NAME to pass the caller's on"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "`FOLDER` to start in, such as D:\\sub"},
			&cli.StringFlag{Name: "prefix", Usage: "keep drive C: and the registry in the folder `DIR`"},
			&cli.StringFlag{Name: "runtime", DefaultText: "one that can run it", Usage: "the Wine to use, `RUNTIME`: host, or one that was built"},
			&cli.StringFlag{Name: "boot", Value: string(wine.BootMinimal), Usage: "what is started before the program, `BOOT`: minimal, auto or full"},
			&cli.StringFlag{Name: "encoding", Value: string(wine.EncodingUTF8), Usage: "what the program takes text for, `ENCODING`: utf-8, utf-16, or a code page such as cp1252"},
			&cli.StringFlag{Name: "display", Value: string(wine.DisplayNone), Usage: "where its windows are, `DISPLAY`: none, virtual, virtual=WIDTHxHEIGHTxDEPTH, host or host=wayland"},
			&cli.StringFlag{Name: "vnc", Usage: "show the virtual display to VNC clients at `ADDRESS`: the path of a socket to be made, or 127.0.0.1:PORT"},
			&cli.StringFlag{Name: "stop", DefaultText: "by signal", Usage: "what a signal becomes, `EVENT`: ctrl-c, ctrl-break, ctrl-close, ctrl-shutdown, wm-close or kill"},
			&cli.BoolFlag{Name: "linger", Usage: "wait for all processes that the program has started"},
			&cli.StringFlag{Name: "pipes", Value: string(wine.PipesAuto), Usage: "what a Unix pipe is to the program, `PIPES`: windows, unix, or auto, which looks at its imports"},
			&cli.BoolFlag{Name: "strict", Usage: "fail rather than run with an address space that is not as planned"},
			&cli.StringFlag{Name: "shared-heap", Value: "16m", Usage: "memory that all 32-bit programs of the container share, `SIZE`; 0 for none"},
			&cli.BoolFlag{Name: "rootless", Usage: "use a user namespace, even as root"},
			&cli.DurationFlag{Name: "timeout", DefaultText: "none", Usage: "end the program after `TIME`, such as 90s"},
			&cli.BoolFlag{Name: "keep", Usage: "keep the container when the program has ended (winbox delete removes it)"},
			&cli.BoolFlag{Name: "share-home", Usage: "allow sharing a home directory, or /, as a whole"},
			&cli.StringFlag{Name: "status-file", Usage: "write what happened to `FILE`, as JSON"},
			&cli.BoolFlag{Name: "print-program", Usage: "print the system calls that would build the sandbox, and make none of them"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return &exitError{code: exitFailed, err: errors.New("launch: which program? (winbox launch [flags] PROGRAM [ARGUMENT...])")}
			}
			l := &launch{globals: g, c: c}
			err := l.run()
			var exit *exitError
			if err == nil || errors.As(err, &exit) {
				return err
			}
			return &exitError{code: exitFailed, err: err}
		},
	}
}

// launch is one call of the command.
type launch struct {
	*globals
	c       *cli.Context
	id      string
	program wine.Program
	image   *wine.Image
	lean    bool // see wine.Lean
	scratch wine.Scratch
	wishes  wine.Wishes
	pipes   wine.Pipes
	// bridge stands between the standard streams and the program.
	bridge wine.Bridge
	// statusFile is where finish tells what happened; nil without --status-file.
	statusFile *os.File
	// prefix is the persistent prefix, or nil.
	prefix  *wine.Persistent
	display wine.Display
	// quota has the limits of commit.
	quota quota.Limits
	// vnc lets VNC clients in; nil without --vnc.
	vnc      *relay
	template *wine.Template
	// need is what a small program takes to start; zero when it has not been measured.
	need startNeed
	// observed is what was seen of the address space, for the status file.
	observed *layoutStatus
}

func (l *launch) run() error {
	if l.c.Bool("rootless") {
		l.rootless = true
	}
	var err error
	if l.display, err = l.findDisplay(); err != nil {
		return err
	}
	if os.Getenv(insideImage) != "" {
		return l.runImage()
	}
	if l.pipes, err = wine.ParsePipes(l.c.String("pipes")); err != nil {
		return fmt.Errorf("--pipes: %w", err)
	}
	for name, to := range map[string]*uint64{"commit": &l.quota.Asked, "commit-process": &l.quota.ProcessCommit} {
		if l.c.IsSet(name) {
			if *to, err = quota.ParseCommit(l.c.String(name)); err != nil {
				return fmt.Errorf("--%s: %w", name, err)
			}
		}
	}
	if l.quota.ProcessCommit == quota.NoCommitLimit {
		l.quota.ProcessCommit = 0
	}
	asked := l.c.String("runtime")
	template, err := prepare(l.c.Context, l.globals, asked, l.stderr)
	if err != nil {
		return err
	}
	if err = l.inspect(template); err != nil {
		var other string
		if other, err = l.without32Bit(asked, err); err == nil {
			template.Hold.Close()
			if template, err = prepare(l.c.Context, l.globals, other, l.stderr); err != nil {
				return err
			}
			err = l.inspect(template)
		}
	}
	if err != nil {
		image, found := l.findImage()
		if found != nil {
			return found
		}
		if image != nil {
			template.Hold.Close()
			return l.enterImage()
		}
		return &exitError{code: preload.ExitCode(err), err: err}
	}
	l.template, l.id = template, newID(l.c.Args().First())
	if err := l.openStatus(); err != nil {
		return err
	}
	if dir := l.c.String("prefix"); dir != "" {
		if l.prefix, err = wine.OpenPersistent(dir); err != nil {
			return err
		}
		defer l.prefix.Close()
	}
	// From here on a signal must not end winbox: the folder would stay.
	signals := sandbox.CatchSignals()
	signals.Wait()
	if address := l.c.String("vnc"); address != "" && !l.c.Bool("print-program") {
		if l.vnc, err = listenVNC(l.c.Context, address); err != nil {
			return fmt.Errorf("--vnc: %w", err)
		}
	}
	l.scratch = wine.Scratch(filepath.Join(l.dataRoot, "containers", l.id))
	res, err := l.runIn(template, signals)
	if l.vnc != nil {
		if failed := l.vnc.close(); failed != nil {
			err = errors.Join(err, fmt.Errorf("--vnc: %w", failed))
		}
	}
	if err != nil || !l.c.Bool("keep") {
		// Usually gone with the container; not when there never was one.
		err = errors.Join(err, os.RemoveAll(string(l.scratch)))
	}
	if err != nil {
		return err
	}
	return l.finish(res)
}

// findDisplay reads --display and --vnc.
func (l *launch) findDisplay() (wine.Display, error) {
	display, err := wine.ParseDisplay(l.c.String("display"))
	if err != nil {
		return display, fmt.Errorf("--display: %w", err)
	}
	if err := display.FindHost(os.Getenv); err != nil {
		return display, fmt.Errorf("--display: %w", err)
	}
	if l.c.String("vnc") != "" {
		if display.Kind != wine.DisplayVirtual {
			return display, errors.New("--vnc: needs --display virtual")
		}
		display.VNC = true
	}
	return display, nil
}

// inspect finds the program and plans its address space.
func (l *launch) inspect(template *wine.Template) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	l.wishes.Strict = l.c.Bool("strict")
	if l.c.IsSet("shared-heap") {
		if l.wishes.SharedHeap, err = wine.ParseSharedHeap(l.c.String("shared-heap")); err != nil {
			return fmt.Errorf("--shared-heap: %w", err)
		}
	}
	if l.program, err = template.Find(l.c.Args().First(), dir, l.c.String("prefix")); err != nil {
		return err
	}
	image, file, err := pe.OpenFile(l.program.Host)
	if err != nil {
		return err
	}
	defer file.Close()
	if l.image, err = template.Runtime.Examine(image, l.wishes); err != nil {
		return fmt.Errorf("%s: %w", l.c.Args().First(), err)
	}
	l.lean = wine.Lean(file)
	if !hasTerminal() { // whose bytes the console converts
		l.bridge = wine.Bridge{Pipes: l.pipes.Bridged(image), Encoding: wine.Encoding(l.c.String("encoding"))}
	}
	return nil
}

// hasTerminal says whether the program gets a terminal of its own.
func hasTerminal() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
}

// runIn makes the container, runs the program and removes the container.
func (l *launch) runIn(template *wine.Template, signals *sandbox.Signals) (*sandbox.Result, error) {
	container, err := l.container(template)
	if err != nil {
		return nil, err
	}
	stops, err := template.Runtime.Stops(l.image, wine.Stop(l.c.String("stop")))
	if err != nil {
		return nil, fmt.Errorf("--stop: %w", err)
	}
	resize, err := template.Runtime.Resize(container.Spec.Process)
	if err != nil {
		return nil, err
	}
	if l.prefix != nil {
		owner := wine.Owner{UID: os.Geteuid(), GID: os.Getegid()}
		if err := l.fit(l.c.Context, l.prefix, template, owner, l.stderr); err != nil {
			return nil, err
		}
	}
	spec := container.Spec
	res := spec.Linux.Resources
	limited := res.Memory != nil || res.CPU != nil || res.Pids != nil
	opt := sandbox.Options{
		Root: l.root, ID: l.id, Bundle: &oci.Bundle{Dir: string(l.scratch), Spec: spec}, Windows: true, Start: true,
		Stops: stops, Resize: resize, Linger: l.c.Bool("linger"), MemoryFiles: quota.MemoryFiles,
		Overlays: overlays(container.Overlays),
		// A limit that the user has asked for is not left out.
		Rootless: l.rootless && !limited, Systemd: l.systemd, Stats: l.statusFile != nil, Signals: signals, Scratch: []string{string(l.scratch)}, Log: l.log,
		Prepare: func() error {
			l.quota.Apply(res)
			if err := l.scratch.Make(l.image, template, &l.quota); err != nil {
				return err
			}
			return container.Prepare()
		},
	}
	servers, err := l.display.Helpers()
	if err != nil {
		return nil, fmt.Errorf("--display: %w", err)
	}
	opt.Helpers = helpers(servers)
	if l.prefix != nil {
		opt.Hold, opt.StopGrace = l.prefix.Hold(), registryGrace
	}
	return l.runSandbox(opt)
}

// runSandbox runs the container of the options.
func (l *launch) runSandbox(opt sandbox.Options) (*sandbox.Result, error) {
	if l.c.Bool("print-program") {
		return nil, printProgram(l.c, opt)
	}
	ctx, cancel := l.c.Context, context.CancelFunc(func() {})
	if limit := l.c.Duration("timeout"); limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	var watcher *observer
	result, err := sandbox.Run(ctx, opt, l.c.Bool("keep"), func(ct *sandbox.Container) {
		if l.vnc != nil {
			go l.vnc.serve(ctx, l.scratch)
		}
		if l.statusFile != nil && l.image != nil {
			watcher = observe(ct, l.image.Layout, filepath.Base(l.program.Host))
		}
	})
	if watcher != nil {
		l.observed = watcher.result()
	}
	if err != nil {
		return nil, fmt.Errorf("launch failed: %w", err)
	}
	return &result, nil
}

// container is the engine's, with what the flags say.
func (l *launch) container(template *wine.Template) (*wine.Container, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	uid, gid := os.Geteuid(), os.Getegid()
	opt := wine.Options{
		Program: l.program, Machine: l.image.Machine, Image: l.image, Args: l.c.Args().Tail(), Dir: dir,
		ReadOnly: l.c.Bool("read-only"), ShareHome: l.c.Bool("share-home"), Workdir: l.c.String("workdir"),
		Boot: wine.Boot(l.c.String("boot")), Prefix: l.prefix, Scratch: l.scratch.Prefix(), Encoding: wine.Encoding(l.c.String("encoding")), UID: uid, GID: gid, Rootless: l.rootless,
		MapOwners: sandbox.MapOwners, Preload: l.scratch, Wishes: l.wishes, Display: l.display,
		Lean:     l.lean,
		Terminal: hasTerminal(), Bridge: l.bridge,
	}
	switch network := l.c.String("network"); network {
	case "none":
	case "host":
		opt.Network = true
	default:
		return nil, fmt.Errorf("--network: %q is neither none nor host", network)
	}
	for _, m := range l.c.StringSlice("mount") {
		mount, err := wine.ParseMount(m)
		if err != nil {
			return nil, err
		}
		opt.Mounts = append(opt.Mounts, mount)
	}
	for _, e := range l.c.StringSlice("env") {
		if name, _, given := strings.Cut(e, "="); !given {
			value, ok := os.LookupEnv(name)
			if !ok {
				continue
			}
			e = name + "=" + value
		}
		opt.Env = append(opt.Env, e)
	}
	limits, err := l.limits()
	if err != nil {
		return nil, err
	}
	if limits.Memory != nil {
		opt.Memory = *limits.Memory.Limit
	}
	container, err := template.Container(opt)
	if err != nil {
		return nil, err
	}
	container.Spec.Linux.Seccomp, container.Spec.Linux.Resources = seccomp.Default(), limits
	return container, nil
}

// limits are the resource limits that the flags ask for.
func (l *launch) limits() (*specs.LinuxResources, error) {
	res := &specs.LinuxResources{}
	if l.c.IsSet("memory") {
		limit, err := l.memoryLimit()
		if err == nil && limit > quota.LargestCommit {
			err = fmt.Errorf("--memory: %s is too much: a process can address %s", l.c.String("memory"), preload.FormatSize(quota.LargestCommit))
		}
		if err == nil {
			err = l.enoughMemory(l.c.Context, l.template, "--memory", limit)
		}
		if err != nil {
			return nil, err
		}
		// Swap would only put off the end, and for long.
		res.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
	}
	if l.c.IsSet("cpus") {
		cpus := l.c.Float64("cpus")
		if math.IsNaN(cpus) || cpus < 0.01 || cpus > 4096 {
			return nil, fmt.Errorf("--cpus: %v is not between 0.01 and 4096", cpus)
		}
		period := uint64(100000)
		quota := int64(math.Round(cpus * float64(period)))
		res.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	if l.c.IsSet("pids") {
		pids := l.c.Int64("pids")
		if pids < smallestPids || pids > cgroup.MaxPids {
			return nil, fmt.Errorf("--pids: %d is not between %d, which a small Windows program needs with Wine, and %d, the most that Linux has",
				pids, smallestPids, cgroup.MaxPids)
		}
		res.Pids = &specs.LinuxPids{Limit: &pids}
	}
	return res, nil
}

// smallestPids is what they need of processes and threads: process 1, the wineserver, and those of one that ends at once.
const smallestPids = 5

func (l *launch) memoryLimit() (int64, error) {
	limit, err := sizes.Parse(l.c.String("memory"))
	if err != nil {
		return 0, fmt.Errorf("--memory: %w", err)
	}
	return limit, nil
}

// measure finds out what a small program takes to start, once. What cannot be measured, an image's own Wine among others,
// stays unknown.
func (l *launch) measure(ctx context.Context) {
	if l.template != nil && l.need == (startNeed{}) {
		l.need, _ = l.startNeed(ctx, l.template)
	}
}

// couldNotStart says that a program ended with an error of Windows under a limit of commit that is too low for a small one.
func (l *launch) couldNotStart(res *sandbox.Result) error {
	code := res.WindowsExitCode
	if code == nil || *code < 0xC0000000 || l.quota.Commit == 0 || l.quota.Commit >= 4*smallestMemory {
		return nil
	}
	l.measure(context.Background())
	if l.quota.Commit >= l.need.commit {
		return nil
	}
	flag := "--memory"
	if l.c.IsSet("commit") {
		flag = "--commit"
	}
	return fmt.Errorf("%s ended with 0x%X: its container can commit %s, and a small program committed %s here: raise %s",
		l.c.Args().First(), *code, preload.FormatSize(l.quota.Commit), preload.FormatSize(l.need.commit), flag)
}

// status is what --status-file tells.
type status struct {
	ID       string `json:"id"`
	Program  string `json:"program"`
	ExitCode int    `json:"exitCode"` // of winbox
	// WindowsExitCode is the program's, all 32 bits; null when it was killed.
	WindowsExitCode *uint32       `json:"windowsExitCode"`
	OOMKilled       bool          `json:"oomKilled"`
	TimedOut        bool          `json:"timedOut"`
	Duration        float64       `json:"durationSeconds"`
	Memory          *memoryStatus `json:"memory,omitempty"`
	Layout          *layoutStatus `json:"layout,omitempty"`
}

type memoryStatus struct {
	Peak  uint64 `json:"peakBytes"`
	Limit uint64 `json:"limitBytes,omitempty"`
}

// finish writes the status file and makes the exit code.
func (l *launch) finish(res *sandbox.Result) error {
	if res == nil { // only the program was printed
		return nil
	}
	end := &exitError{code: res.ExitCode}
	oom := res.OOMKills > 0 && res.ExitCode != 0
	switch {
	case res.TimedOut:
		end = &exitError{code: exitTimedOut, err: fmt.Errorf("timed out after %s: container %s ended", l.c.Duration("timeout"), l.id)}
	case oom:
		limit, err := l.memoryLimit()
		of := "the container's"
		if err == nil {
			of = preload.FormatSize(uint64(limit))
		}
		message := fmt.Sprintf("out of memory: limit %s, container %s: raise --memory", of, l.id)
		const small = 4 * smallestMemory // it may have been too little to start
		if err == nil && limit < small {
			l.measure(context.Background())
		}
		if l.need.memory != 0 {
			message += "; to start, a small program took " + preload.FormatSize(l.need.memory)
		}
		end = &exitError{code: exitOutOfMemory, err: errors.New(message)}
	default:
		if err := l.couldNotStart(res); err != nil {
			end = &exitError{code: exitOutOfMemory, err: err}
		}
	}
	if l.statusFile != nil {
		if err := l.writeStatus(res, end.code, oom); err != nil {
			return fmt.Errorf("--status-file: %w", err)
		}
	}
	if end.code == 0 {
		return nil
	}
	return end
}

// writeStatus fills the status file.
func (l *launch) writeStatus(res *sandbox.Result, code int, oom bool) error {
	s := status{
		ID: l.id, Program: l.program.Host, ExitCode: code, OOMKilled: oom, TimedOut: res.TimedOut, Duration: res.Duration.Seconds(),
		WindowsExitCode: res.WindowsExitCode, Layout: l.observed,
	}
	if res.Stats != nil {
		s.Memory = &memoryStatus{Peak: res.Stats.Memory.Peak}
		if limit, err := l.memoryLimit(); err == nil {
			s.Memory.Limit = uint64(limit)
		}
	}
	out := json.NewEncoder(l.statusFile)
	out.SetIndent("", "  ")
	return out.Encode(&s)
}

// newID names a container after its program.
func newID(program string) string {
	base := program[strings.LastIndexAny(program, `/\`)+1:]
	words := strings.FieldsFunc(strings.TrimSuffix(base, filepath.Ext(base)), func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_.-", r)
	})
	name := strings.Trim(strings.Join(words, "-"), "-.")
	if len(name) > 32 {
		name = name[:32]
	}
	var random [4]byte
	rand.Read(random[:]) // never fails (crypto/rand)
	return strings.TrimPrefix(name+"-"+hex.EncodeToString(random[:]), "-")
}
