package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"winbox/wine"
)

// patience is how long anything may take before a test gives up. It is generous: it ends tests that hang.
const patience = time.Minute

// prepared names the variable with a folder of what takes minutes on an emulated processor, made by v2.sh: data with the
// template, and programs/amd64 with programs of pe/*.c.
const prepared = "WINBOX_TEST_PREPARED"

// stage says what a start of the test binary is for: see TestMain.
const stage = "WINBOX_TEST_STAGE"

var (
	// winbox is the binary under test.
	winbox string
	// dataRoot holds the template, which is made once for all tests.
	dataRoot string
	// cannot says why the tests cannot run here.
	cannot string
)

// TestMain moves the tests into namespaces of their own, in two steps: the first start makes the namespaces, the second
// is process 1 in them, and the third runs the tests.
func TestMain(m *testing.M) {
	var code int
	var err error
	switch os.Getenv(stage) {
	case "":
		if cannot = whyNot(); cannot != "" {
			os.Exit(m.Run())
		}
		code, err = unshare()
	case "init":
		code, err = reap()
	case "inject":
		code, err = injectMain()
	default:
		code, err = runTests(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "winbox tests:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// whyNot says what is missing on this machine to run the tests.
func whyNot() string {
	if os.Geteuid() != 0 {
		return "needs root, to make containers"
	}
	if _, err := wine.Host(); err != nil {
		return "needs Wine: " + err.Error()
	}
	return ""
}

// findBinary finds the binary under test.
func findBinary() (string, error) {
	name := os.Getenv("WINBOX")
	if name == "" {
		name = "../build/winbox"
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(abs); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is missing: run `make build`, or name a binary in the environment variable WINBOX", abs)
	}
	return abs, nil
}

// unshare starts the second stage and waits for it.
func unshare() (int, error) {
	binary, err := findBinary()
	if err != nil {
		return 0, err
	}
	work, err := os.MkdirTemp("", "winbox-test-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	// Another user's container has its files below it.
	if err := os.Chmod(work, 0o755); err != nil {
		return 0, err
	}
	// The death signal is sent when the thread ends that started the process (prctl(2)).
	runtime.LockOSThread()
	cmd := again("init", "TMPDIR="+work, "WINBOX="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// again makes a command of the test binary, with the same arguments, for the next stage.
func again(next string, env ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(append(os.Environ(), env...), stage+"="+next)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// reap is process 1 of the tests' pid namespace: it gives them their own folders, and reaps what containers orphan, as
// process 1 of a machine would.
func reap() (int, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, fmt.Errorf("make mounts private: %w", err)
	}
	for dir, fs := range map[string]string{"/proc": "proc", "/run": "tmpfs", "/dev/shm": "tmpfs"} {
		if err := unix.Mount(fs, dir, fs, unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
			return 0, fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	cmd := again("tests")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case err == syscall.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait4: %w", err)
		case pid == cmd.Process.Pid && status.Signaled():
			return 0, fmt.Errorf("tests ended by signal: %s", status.Signal())
		case pid == cmd.Process.Pid:
			return status.ExitStatus(), nil
		}
	}
}

// runTests runs the tests, with a template made before, so that none of them sees winbox say that it makes one.
func runTests(m *testing.M) (int, error) {
	var err error
	if winbox, err = findBinary(); err != nil {
		return 0, err
	}
	dataRoot = filepath.Join(os.TempDir(), "data")
	if from := os.Getenv(prepared); from != "" {
		if out, err := exec.Command("cp", "-a", from+"/.", os.TempDir()).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("copy %s: %w: %s", from, err, out)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, winbox, "launch", "cmd", "/c", "exit 0")
	cmd.Dir, cmd.Env = os.TempDir(), append(os.Environ(), "WINBOX_DATA="+dataRoot)
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	code := m.Run()
	left, err := filepath.Glob(filepath.Join(filepath.Dir(dataRoot), "*", "containers", "*"))
	if len(left) > 0 {
		err = fmt.Errorf("left behind: %v", left)
	}
	return code, err
}
