package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/bench"
	"winbox/seccomp"
)

func main() {
	runs := flag.Int("n", 50, "counted runs of each")
	winbox := flag.String("winbox", "build/winbox", "the winbox to measure")
	flag.Parse()
	if err := measure(*runs, *winbox); err != nil {
		fmt.Fprintln(os.Stderr, "lifecycle:", err)
		os.Exit(1)
	}
}

func measure(runs int, winbox string) error {
	dir, err := os.MkdirTemp("", "winbox-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	winbox, err = filepath.Abs(winbox)
	if err != nil {
		return err
	}
	for _, profile := range []struct {
		title   string
		seccomp *specs.LinuxSeccomp
	}{
		{"run /bin/true, no seccomp", nil},
		{"run /bin/true, winbox's default seccomp profile", seccomp.Default()},
	} {
		bundle := filepath.Join(dir, strconv.FormatBool(profile.seccomp != nil))
		if err := makeBundle(bundle, profile.seccomp); err != nil {
			return err
		}
		var contenders []bench.Contender
		for _, runtime := range []string{winbox, "runc", "crun"} {
			if _, err := exec.LookPath(runtime); err != nil {
				fmt.Fprintf(os.Stderr, "lifecycle: %s left out: %v\n", runtime, err)
				continue
			}
			n := 0
			contenders = append(contenders, bench.Contender{Name: filepath.Base(runtime), Run: func() (time.Duration, error) {
				n++
				id := fmt.Sprintf("bench-%d-%d", os.Getpid(), n)
				cmd := exec.Command(runtime, "--root", filepath.Join(dir, "state"), "run", "--bundle", bundle, id)
				begin := time.Now()
				out, err := cmd.CombinedOutput()
				if err != nil {
					return 0, fmt.Errorf("%w: %s", err, out)
				}
				return time.Since(begin), nil
			}})
		}
		results, err := bench.Compare(runs, contenders)
		if err != nil {
			return err
		}
		bench.Print(os.Stdout, profile.title, results)
	}
	return nil
}

// makeBundle makes a bundle with busybox as /bin/true and the default mounts.
func makeBundle(dir string, profile *specs.LinuxSeccomp) error {
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
	if err := os.WriteFile(filepath.Join(bin, "true"), data, 0o755); err != nil {
		return err
	}
	for _, d := range []string{"proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			return err
		}
	}
	caps := []string{"CAP_KILL", "CAP_NET_BIND_SERVICE"}
	spec := specs.Spec{
		Version:  "1.0.2", // what the oldest peer takes
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: "bench",
		Process: &specs.Process{
			Args: []string{"/bin/true"}, Cwd: "/", Env: []string{"PATH=/bin"}, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
			},
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Seccomp:       profile,
		},
	}
	config, err := json.Marshal(&spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644)
}
