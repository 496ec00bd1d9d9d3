package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
)

// TestRealSystemdUser has an ordinary user's own systemd keep the control group
// of a container.
func TestRealSystemdUser(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("needs systemd as process 1, as in the machine of `make test-v2`")
	}
	u := newUser(t, true, "sleep 1000; :")
	run := filepath.Join(u.dir, "run")
	u.extras = []string{"DBUS_SESSION_BUS_ADDRESS="}
	service := fmt.Sprintf("wbtest-user-%d.service", os.Getpid())
	systemctl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("systemctl", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("systemctl %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	// Default dependencies would boot the rest of the machine, which empties /tmp.
	args := []string{"--quiet", "--property=DefaultDependencies=no"}
	for over, file := range u.job.Files { // the bus wants to know the user's name
		args = append(args, "--property=BindReadOnlyPaths="+file+":"+over)
	}
	args = append(args, "--unit="+service, "--service-type=notify", "--collect",
		"--property=Delegate=yes", "--property=TimeoutStopSec=5", "--setenv=XDG_RUNTIME_DIR="+run, "--setenv=HOME="+u.dir+"/home",
		// Not the property User, which wants one that has a name.
		"/bin/sh", "-c", strings.ReplaceAll(`cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) && chown ID:ID . cgroup.procs cgroup.subtree_control cgroup.threads &&
			exec setpriv --reuid ID --regid ID --clear-groups /lib/systemd/systemd --user --unit=dbus.socket`, "ID", strconv.Itoa(userID)))
	out, err := exec.Command("systemd-run", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("start a user's systemd: %v: %s", err, out)
	}
	t.Cleanup(func() { systemctl("stop", service) })
	// The commands are started from within what the user's systemd manages, as those of a login are.
	group := systemctl("show", "--value", "--property=ControlGroup", service)
	u.job.Groups = []string{"/sys/fs/cgroup" + group + "/init.scope"}
	t.Cleanup(func() { u.job.Groups = nil })
	show := func() string {
		t.Helper()
		cmd := exec.Command("systemctl", "--user", "show", "--property=ActiveState,MemoryMax,TasksMax,ControlGroup,LoadState", "winbox-"+u.id+".scope")
		cmd.Env = []string{"PATH=/usr/bin:/bin", "XDG_RUNTIME_DIR=" + run}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userID, Gid: userID}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", cmd.Args, err, out)
		}
		return string(out)
	}
	expect := func(want ...string) {
		t.Helper()
		got := show()
		for _, w := range want {
			if !strings.Contains("\n"+got, "\n"+w+"\n") {
				t.Errorf("%s is not in:\n%s", w, got)
			}
		}
	}

	u.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}}
	u.save()
	u.succeed("--systemd-cgroup", "run", "--detach", u.id)
	place := group + "/user.slice/winbox-" + u.id + ".scope"
	expect("ActiveState=active", "MemoryMax=67108864", "ControlGroup="+place)
	var state oci.State
	if err := json.Unmarshal([]byte(u.succeed("state", u.id)), &state); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", state.PID)); err != nil || string(data) != "0::"+place+"\n" {
		t.Errorf("group %q, %v; want %s", data, err, place)
	}
	u.succeed("update", "--pids-limit", "30", u.id)
	expect("TasksMax=30")
	if data, err := os.ReadFile("/sys/fs/cgroup" + place + "/pids.max"); err != nil || string(data) != "30\n" {
		t.Errorf("pids.max: %q, %v", data, err)
	}
	if out := u.succeed("exec", u.id, "cat", "/proc/self/cgroup"); out != "0::/\n" { // as the container sees its own
		t.Errorf("exec in group %q", out)
	}
	u.succeed("pause", u.id)
	u.succeed("resume", u.id)
	u.succeed("kill", u.id, "KILL")
	u.awaitStatus("stopped")
	u.succeed("delete", u.id)
	expect("LoadState=not-found")
	u.nothingLeft()
}
