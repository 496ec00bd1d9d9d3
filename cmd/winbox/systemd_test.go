package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"winbox/sandbox/cgroup"
	"winbox/sandbox/cgroup/systemd/systemdtest"
)

// TestSystemdCgroup gives --systemd-cgroup where engines do, and nowhere else.
func TestSystemdCgroup(t *testing.T) {
	if _, err := cgroup.DetectMode(); err != nil {
		t.Skip(err)
	}
	fake := systemdtest.New(t)
	fake.UseGroups(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.Address)
	c, bundle := busyboxBundle(t, "sleep", "1000")
	slice := fmt.Sprintf("wbtest%d.slice", os.Getpid())
	config := bundle + "/config.json"
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	id := testID()
	changed := strings.Replace(string(text), `"linux":{`, `"linux":{"cgroupsPath":"`+slice+`:p:`+id+`",`, 1)
	if err := os.WriteFile(config, []byte(changed), 0o600); err != nil || changed == string(text) {
		t.Fatalf("config.json not changed: %v", err)
	}
	t.Cleanup(func() {
		mode, _ := cgroup.DetectMode()
		group, err := cgroup.Load(cgroup.State{Mode: mode, Path: "/" + slice})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range group.Mounts() {
			_ = unix.Rmdir(h.MountPoint + h.Path)
		}
	})
	c.succeed("--systemd-cgroup", "create", "--bundle", bundle, id)
	t.Cleanup(func() { c.succeed("delete", "--force", id) })
	c.succeed("start", id)
	pid := int(c.state(id)["pid"].(float64))
	c.succeed("update", "--pids-limit", "30", id)
	unit := fake.Units()["p-"+id+".scope"]
	if unit.Properties["TasksMax"] != uint64(30) || unit.Properties["Slice"] != slice {
		t.Errorf("unit %+v", unit)
	}
	c.succeed("exec", "--cwd", "/", id, "busybox", "true")
	c.succeed("pause", id)
	c.succeed("resume", id)
	c.succeed("kill", id, "KILL")
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
	c.succeed("delete", id)
	if units := fake.Units(); len(units) > 0 {
		t.Errorf("units left: %v", units)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/none")
	c.fail("create failed: --systemd-cgroup: connect to systemd: dial unix /none: connect: no such file or directory (set the engine's cgroup manager to cgroupfs)",
		"--systemd-cgroup", "create", "--bundle", bundle, id)
}
