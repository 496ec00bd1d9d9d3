package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/bench"
	"winbox/seccomp/engineprofile"
)

func main() {
	runs := flag.Int("n", 50, "counted runs of each")
	winbox := flag.String("winbox", "build/winbox", "the winbox to measure")
	profile := flag.String("seccomp", "seccomp/testdata/docker.json", "docker's default seccomp profile")
	floor := flag.String("floor", "build/bench/floor", "floor/floor.c, compiled: the system calls alone")
	nothing := flag.String("nothing", "build/bench/nothing", "nothing, built: a Go program without content")
	flag.Parse()
	if err := measure(*runs, *winbox, *profile, &bounds{floor: *floor, nothing: *nothing}); err != nil {
		fmt.Fprintln(os.Stderr, "lifecycle:", err)
		os.Exit(1)
	}
}

func measure(runs int, winbox, profile string, b *bounds) error {
	dir, err := os.MkdirTemp("/run", "winbox-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// As /run is on every distribution, where runtimes keep their state by default.
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=700"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	winbox, err = filepath.Abs(winbox)
	if err != nil {
		return err
	}
	var runtimes []*runtime
	for _, name := range []string{winbox, "runc", "crun"} {
		path, err := exec.LookPath(name)
		if err != nil {
			fmt.Fprintf(os.Stderr, "lifecycle: %s left out: %v\n", name, err)
			continue
		}
		runtimes = append(runtimes, &runtime{path: path, root: filepath.Join(dir, "state-"+filepath.Base(path))})
	}
	bundles := []struct{ title, seccomp string }{
		{"without seccomp (the configuration of `runc spec`)", ""},
		{"as docker (14 capabilities and its seccomp profile)", profile},
	}
	for i, kind := range bundles {
		bundle := filepath.Join(dir, strconv.Itoa(i))
		if err := makeBundle(bundle, kind.seccomp); err != nil {
			return err
		}
		for round := range runs + 1 {
			b.counted = round > 0
			if err := b.measure(bundle, runtimes[0]); err != nil {
				return err
			}
			for _, r := range runtimes {
				r.counted = round > 0
				if err := r.live(bundle); err != nil {
					return fmt.Errorf("%s: %w", filepath.Base(r.path), err)
				}
			}
		}
		fmt.Println("== " + kind.title)
		for _, verb := range []string{"run", "create", "start", "exec", "state", "kill", "delete"} {
			results := b.results(verb)
			for _, r := range runtimes {
				results = append(results, bench.NewResult(filepath.Base(r.path), r.times[verb]))
			}
			bench.Print(os.Stdout, verb, results)
		}
		for _, r := range runtimes {
			if err := r.weigh(bundle); err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(r.path), err)
			}
			r.times = nil
		}
		b.times = nil
		fmt.Println()
	}
	return nil
}

// stopwatch notes how long commands take, by what they do.
type stopwatch struct {
	counted bool // the round counts
	times   map[string][]time.Duration
}

// run runs a command to its end. Its output goes to a file, as a pipe would be
// held by the container.
func (s *stopwatch) run(what string, cmd *exec.Cmd) error {
	out, err := os.CreateTemp("", "winbox-bench")
	if err != nil {
		return err
	}
	defer out.Close()
	defer os.Remove(out.Name())
	cmd.Stdout, cmd.Stderr = out, out
	begin := time.Now()
	err = cmd.Run()
	took := time.Since(begin)
	if err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w: %s", what, err, text)
	}
	if s.counted {
		if s.times == nil {
			s.times = map[string][]time.Duration{}
		}
		s.times[what] = append(s.times[what], took)
	}
	return nil
}

// bounds are what no runtime, and no runtime in Go, can be faster than.
type bounds struct {
	stopwatch
	floor, nothing string // programs
}

// floorVerbs are those that the floor has.
var floorVerbs = []string{"run", "exec", "state", "kill"}

// measure runs both programs, in a container of a runtime where one is needed.
func (b *bounds) measure(bundle string, r *runtime) error {
	if err := b.run("nothing", exec.Command(b.nothing)); err != nil {
		return err
	}
	id := r.id()
	for _, args := range [][]string{{"create", "--bundle", bundle + "/sleep", id}, {"start", id}} {
		if err := new(stopwatch).run(args[0], r.command(args...)); err != nil {
			return err
		}
	}
	defer r.command("delete", "--force", id).Run()
	state, err := r.state(id)
	if err != nil {
		return err
	}
	file, pid := filepath.Join(r.root, id, "state.json"), strconv.Itoa(state.Pid)
	for _, args := range [][]string{{"run", bundle + "/rootfs"}, {"exec", pid, "/bin/true"}, {"state", file, pid}, {"kill", file, pid}} {
		if err := b.run(args[0], exec.Command(b.floor, args...)); err != nil {
			return fmt.Errorf("floor: %w", err)
		}
	}
	return nil
}

// results are the bounds of a verb.
func (b *bounds) results(verb string) []bench.Result {
	results := []bench.Result{bench.NewResult("nothing in Go", b.times["nothing"])}
	if slices.Contains(floorVerbs, verb) {
		results = append(results, bench.NewResult("kernel floor", b.times[verb]))
	}
	return results
}

// runtime is one of the contenders.
type runtime struct {
	stopwatch
	path, root string
	n          int // containers so far
}

func (r *runtime) command(args ...string) *exec.Cmd {
	return exec.Command(r.path, append([]string{"--root", r.root}, args...)...)
}

// timed runs a verb of the runtime.
func (r *runtime) timed(verb string, args ...string) error {
	return r.run(verb, r.command(append([]string{verb}, args...)...))
}

func (r *runtime) id() string {
	r.n++
	return fmt.Sprintf("bench-%d-%d", os.Getpid(), r.n)
}

// live goes once through the life of a container that runs to its end, and of
// one that is killed.
func (r *runtime) live(bundle string) error {
	if err := r.timed("run", "--bundle", bundle, r.id()); err != nil {
		return err
	}
	id := r.id()
	if err := r.timed("create", "--bundle", bundle+"/sleep", id); err != nil {
		return err
	}
	defer r.command("delete", "--force", id).Run()
	for _, step := range [][]string{{"start", id}, {"exec", id, "/bin/true"}, {"state", id}, {"kill", id, "KILL"}} {
		if err := r.timed(step[0], step[1:]...); err != nil {
			return err
		}
	}
	for {
		state, err := r.state(id)
		if err != nil {
			return err
		}
		if state.Status == specs.StateStopped {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return r.timed("delete", id)
}

func (r *runtime) state(id string) (*specs.State, error) {
	out, err := r.command("state", id).Output()
	if err != nil {
		return nil, err
	}
	var state specs.State
	return &state, json.Unmarshal(out, &state)
}

// weigh prints the peak memory of the runtime's process, and what a created
// container holds before its program runs.
func (r *runtime) weigh(bundle string) error {
	// time(1) is small: the peak of a process counts from that of the one it was forked from.
	out, err := exec.Command("/usr/bin/time", "-f", "peak %M", r.path, "--root", r.root, "run", "--bundle", bundle, r.id()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	_, text, _ := bytes.Cut(out, []byte("peak "))
	peak, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("output of time: %q", out)
	}
	id := r.id()
	if err := r.timed("create", "--bundle", bundle+"/sleep", id); err != nil {
		return err
	}
	defer r.command("delete", "--force", id).Run()
	state, err := r.state(id)
	if err != nil {
		return err
	}
	pss, err := pss(state.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("%8s: peak RSS of run %.1f MiB, PSS of a created container's process 1 %.2f MiB\n", filepath.Base(r.path), float64(peak)/1024, float64(pss)/1024)
	return nil
}

// pss is the proportional set size of a process in KiB (proc_pid_smaps(5)).
func pss(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); fields[0] == "Pss:" {
			return strconv.Atoi(fields[1])
		}
	}
	return 0, fmt.Errorf("no Pss in /proc/%d/smaps_rollup", pid)
}

// dockerCapabilities are those that docker gives by default.
var dockerCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// makeBundle makes a bundle that runs /bin/true, a static busybox, and one below
// it that sleeps.
func makeBundle(dir, seccomp string) error {
	bin := filepath.Join(dir, "rootfs", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w (Debian package busybox-static)", err)
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	for _, name := range []string{"true", "sleep"} {
		if err := os.WriteFile(filepath.Join(bin, name), data, 0o755); err != nil {
			return err
		}
	}
	cmd := exec.Command("runc", "spec")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("runc spec: %w: %s", err, out)
	}
	config := filepath.Join(dir, "config.json")
	data, err = os.ReadFile(config)
	if err != nil {
		return err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return err
	}
	spec.Process.Terminal, spec.Process.Args = false, []string{"/bin/true"}
	spec.Root.Path = filepath.Join(dir, "rootfs")
	if seccomp != "" {
		if spec.Linux.Seccomp, err = engineprofile.Load(seccomp, dockerCapabilities...); err != nil {
			return err
		}
		spec.Process.NoNewPrivileges = false
		spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: dockerCapabilities, Permitted: dockerCapabilities, Effective: dockerCapabilities}
	}
	if err := writeSpec(config, &spec); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "sleep"), 0o755); err != nil {
		return err
	}
	spec.Process.Args = []string{"/bin/sleep", "1000"}
	return writeSpec(filepath.Join(dir, "sleep", "config.json"), &spec)
}

func writeSpec(file string, spec *specs.Spec) error {
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
