package wine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// initVariable makes the test binary process 1 of a container. Package sandbox cannot be used here: it stands above.
const initVariable = "WINBOX_WINE_TEST_INIT"

func TestMain(m *testing.M) {
	if config := os.Getenv(initVariable); config != "" {
		code, err := containerInit(config)
		if err != nil {
			fmt.Fprintln(os.Stderr, "test container:", err)
			code = 125
		}
		os.Exit(code)
	}
	code := m.Run()
	if testData != "" {
		if err := removeTree(testData); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// testData holds the template that the tests of one run share; it is removed at the end. WINBOX_TEST_DATA names a
// place that is kept.
var testData string

// A testContainer runs specs with a poor man's sandbox: namespaces and mounts, no more.
type testContainer struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

func (c testContainer) run(ctx context.Context, spec *specs.Spec) (int, error) {
	config, err := os.CreateTemp("", "winbox-wine-*.json")
	if err != nil {
		return 0, err
	}
	defer os.Remove(config.Name())
	if err := json.NewEncoder(config).Encode(spec); err != nil {
		return 0, err
	}
	config.Close()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), initVariable+"="+config.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, c.stdout, c.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
		}
	}
	err = cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// containerInit builds the container, runs its process, and reaps until nobody is left.
func containerInit(config string) (int, error) {
	data, err := os.ReadFile(config)
	if err != nil {
		return 0, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return 0, err
	}
	if err := mountAll(&spec); err != nil {
		return 0, err
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return 0, err
	}
	main, err := os.StartProcess(spec.Process.Args[0], spec.Process.Args, &os.ProcAttr{
		Dir: spec.Process.Cwd, Env: spec.Process.Env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: spec.Process.User.UID, Gid: spec.Process.User.GID}},
	})
	if err != nil {
		return 0, err
	}
	code, ended := 0, false
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // ECHILD: all are gone
			return code, nil
		case pid == main.Pid:
			ended = true
			if code = status.ExitStatus(); status.Signaled() {
				code = 128 + int(status.Signal())
			}
		}
		if ended && !stopServer() {
			syscall.Kill(-1, syscall.SIGKILL)
		}
	}
}

// stopServer has the wineserver write the registry and end. It is false when there is no server any more; what is left
// then waits for it in vain.
func stopServer() (running bool) {
	processes, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, comm := range processes {
		if name, _ := os.ReadFile(comm); strings.HasPrefix(string(name), "wineserver") {
			var pid int
			fmt.Sscanf(comm, "/proc/%d/comm", &pid)
			syscall.Kill(pid, syscall.SIGTERM)
			running = true
		}
	}
	return running
}

var mountFlags = map[string]uintptr{
	"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "ro": unix.MS_RDONLY,
	"bind": unix.MS_BIND, "rbind": unix.MS_BIND | unix.MS_REC, "strictatime": unix.MS_STRICTATIME, "rprivate": 0,
}

func mountAll(spec *specs.Spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make / private: %w", err)
	}
	root := spec.Root.Path
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", root, err)
	}
	for _, m := range spec.Mounts {
		flags, data := uintptr(0), []string{}
		for _, o := range m.Options {
			if f, ok := mountFlags[o]; ok {
				flags |= f
			} else {
				data = append(data, o)
			}
		}
		to := filepath.Join(root, m.Destination)
		if info, err := os.Stat(m.Source); m.Type == "bind" && err == nil && !info.IsDir() {
			if _, err := os.Stat(to); err != nil {
				os.MkdirAll(filepath.Dir(to), 0o755)
				if err := os.WriteFile(to, nil, 0o644); err != nil {
					return err
				}
			}
		} else if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.Source, to, m.Type, flags, strings.Join(data, ",")); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.Source, m.Destination, err)
		}
		if flags&unix.MS_BIND != 0 {
			if err := unix.Mount("", to, "", flags&^unix.MS_REC|unix.MS_REMOUNT, ""); err != nil {
				return fmt.Errorf("remount %s: %w", m.Destination, err)
			}
		}
		if m.Destination == "/dev" {
			for _, device := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
				file := filepath.Join(to, device)
				if err := os.WriteFile(file, nil, 0o666); err != nil {
					return err
				}
				if err := unix.Mount("/dev/"+device, file, "", unix.MS_BIND, ""); err != nil {
					return err
				}
			}
		}
	}
	if err := unix.Mount("", root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	return unix.Unmount(".", unix.MNT_DETACH)
}

// needWine skips a test that needs Wine and the right to make containers, and gives the template, made once for all
// tests of the process.
func needWine(t *testing.T) *Template {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make containers")
	}
	runtime, err := Host()
	if err != nil {
		t.Skipf("needs Wine: %v", err)
	}
	dataRoot := os.Getenv("WINBOX_TEST_DATA")
	if dataRoot == "" {
		if testData == "" {
			if testData, err = os.MkdirTemp("", "winbox-wine-data-"); err != nil {
				t.Fatal(err)
			}
		}
		dataRoot = testData
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	start := time.Now()
	template, err := runtime.Prepare(ctx, dataRoot, testContainer{stderr: os.Stderr}.run, func(step string, done, total int) {
		t.Logf("%6.2fs %d/%d %s", time.Since(start).Seconds(), done, total, step)
	})
	if err != nil {
		t.Fatal(err)
	}
	return template
}

// needCompiler skips a test that builds Windows programs, and gives the compiler.
func needCompiler(t *testing.T) string {
	t.Helper()
	cc, err := exec.LookPath("x86_64-w64-mingw32-gcc")
	if err != nil {
		t.Skip("needs x86_64-w64-mingw32-gcc (Debian: gcc-mingw-w64-x86-64)")
	}
	return cc
}

// build compiles a program of testdata into dir.
func build(t *testing.T, dir, name string) string {
	t.Helper()
	out := filepath.Join(dir, name+".exe")
	cmd := exec.Command(needCompiler(t), "-O1", "-municode", "-o", out, filepath.Join("testdata", name+".c"), "-lntdll", "-ladvapi32")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, text)
	}
	return out
}

// copyFile copies a small file.
func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
