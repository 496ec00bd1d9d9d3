package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The security modules are not active on most machines: there these tests see
// to it that what needs them is refused. test/lsm.sh boots machines that have them.

// mustBeActive fails the test of a module that the kernel was booted with.
func mustBeActive(t *testing.T, parameter string) {
	t.Helper()
	if line, err := os.ReadFile("/proc/cmdline"); err != nil || strings.Contains(string(line), parameter) {
		t.Errorf("%s is on the kernel's command line, but the module is not found to be active; error %v", parameter, err)
	}
}

// TestAppArmor runs a container under a profile of its own.
func TestAppArmor(t *testing.T) {
	b := shell(t, "cat /proc/self/attr/current; cat /etc/secret || echo denied; exec sleep 1000")
	b.file("etc/secret", "secret\n", 0o644)
	b.spec.Process.ApparmorProfile = "wbtest-none"
	if !appArmorActive() {
		mustBeActive(t, "apparmor=1")
		b.refused("process.apparmorProfile: apparmor: config provided but apparmor not supported")
		return
	}
	b.refused("apparmor failed to apply profile wbtest-none")
	profile := fmt.Sprintf("wbtest-%d", os.Getpid())
	parser := func(flag string) {
		t.Helper()
		cmd := exec.Command("apparmor_parser", flag, "--skip-cache")
		cmd.Stdin = strings.NewReader("profile " + profile + " flags=(attach_disconnected,mediate_deleted) {\n" +
			"file,\ncapability,\nnetwork,\nmount,\numount,\npivot_root,\nsignal,\nptrace,\nunix,\ndeny /etc/secret r,\n}\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("apparmor_parser: %v: %s", err, out)
		}
	}
	parser("--replace")
	t.Cleanup(func() { parser("--remove") })
	for _, change := range []func(*bundle){
		func(*bundle) {},
		func(b *bundle) { b.mapUsers() },
		func(b *bundle) { b.spec.Process.NoNewPrivileges = true },
	} {
		b := shell(t, b.spec.Process.Args[2])
		b.file("etc/secret", "secret\n", 0o644)
		b.spec.Process.ApparmorProfile = profile
		change(b)
		c := b.begin()
		b.awaitOutput("denied\n")
		if out := contents(t, b.out); !strings.HasPrefix(out, profile+" (enforce)\n") || strings.Contains(out, "secret\n") {
			t.Errorf("output:\n%s", out)
		}
		// What is executed there without a profile has the container's.
		if out, _ := b.exec(c, "cat /proc/self/attr/current"); out != profile+" (enforce)\n" {
			t.Errorf("an executed process is under %q", out)
		}
		free := func(o *ExecOptions) { o.Process.ApparmorProfile = "unconfined" }
		if out, _ := b.exec(c, "cat /proc/self/attr/current", free); out != "unconfined\n" {
			t.Errorf("a process that is to be unconfined is under %q", out)
		}
	}
}

// TestSELinux gives a container and its file systems labels. Where there is no
// policy yet and one may be loaded, it loads the one in testdata.
func TestSELinux(t *testing.T) {
	const box, boxFile = "system_u:system_r:box_t", "system_u:object_r:boxfile_t"
	b := shell(t, "cat /proc/self/attr/current; echo; exec sleep 1000")
	if _, err := os.Stat("/sys/fs/selinux/load"); err == nil && !selinuxActive() {
		policy := filepath.Join(t.TempDir(), "policy")
		if out, err := exec.Command("checkpolicy", "-U", "allow", "-o", policy, "testdata/selinux.conf").CombinedOutput(); err != nil {
			t.Fatalf("checkpolicy: %v: %s", err, out)
		}
		data, err := os.ReadFile(policy)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("/sys/fs/selinux/load", data, 0); err != nil {
			t.Fatal(err)
		}
	}
	if !selinuxActive() {
		mustBeActive(t, "selinux=1")
		b.spec.Process.SelinuxLabel = box
		b.refused("process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported")
		return
	}
	b.spec.Linux.MountLabel, b.spec.Process.SelinuxLabel = boxFile, box
	b.mount(
		specs.Mount{Destination: "/tmp", Type: "tmpfs"}, specs.Mount{Destination: "/dev/mqueue", Type: "mqueue"},
		specs.Mount{Destination: "/dev/pts", Type: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}},
	)
	b.namespace(specs.IPCNamespace, "")
	c := b.begin()
	b.awaitOutput("\n")
	if out := strings.Trim(contents(t, b.out), "\x00\n"); out != box {
		t.Errorf("the container is %q", out)
	}
	if out, _ := b.exec(c, "cat /proc/self/attr/current"); strings.Trim(out, "\x00\n") != box {
		t.Errorf("an executed process is %q", out)
	}
	for _, name := range []string{"/tmp", "/dev", "/dev/pts", "/dev/null"} {
		buf := make([]byte, 200)
		n, err := unix.Lgetxattr(fmt.Sprintf("/proc/%d/root%s", c.PID(), name), "security.selinux", buf)
		if err != nil || strings.TrimRight(string(buf[:n]), "\x00") != boxFile {
			t.Errorf("%s: label %q, error %v", name, buf[:max(n, 0)], err)
		}
	}
	b = newBundle(t, "/bin/true")
	b.spec.Process.SelinuxLabel = "system_u:system_r:none_t"
	b.refused("set the SELinux label ")
}
