package systemd_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"winbox/sandbox/cgroup/systemd"
	"winbox/sandbox/cgroup/systemd/systemdtest"
)

// connect gives a stand-in and a connection to it.
func connect(t *testing.T) (*systemdtest.Manager, *systemd.Manager) {
	t.Helper()
	fake := systemdtest.New(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.Address)
	m, err := systemd.Connect(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return fake, m
}

func TestUnitLife(t *testing.T) {
	fake, m := connect(t)
	err := m.Start("a.scope", []systemd.Property{
		systemd.NewProperty("Slice", "system.slice"), systemd.NewProperty("PIDs", []uint32{7}), systemd.NewProperty("MemoryMax", uint64(1<<20)), systemd.NewProperty("Delegate", true),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"Slice": "system.slice", "PIDs": []uint32{7}, "MemoryMax": uint64(1 << 20), "Delegate": true}
	if got := fake.Units()["a.scope"].Properties; !reflect.DeepEqual(got, want) {
		t.Errorf("properties %v, want %v", got, want)
	}
	if err := m.SetProperties("a.scope", []systemd.Property{systemd.NewProperty("MemoryMax", uint64(2<<20))}); err != nil {
		t.Error(err)
	}
	if err := m.SetProperties("a.scope", nil); err != nil {
		t.Error(err)
	}
	if u := fake.Units()["a.scope"]; u.Properties["MemoryMax"] != uint64(2<<20) || len(u.Changed) != 1 {
		t.Errorf("after the change: %+v", u)
	}
	if err := m.Attach("a.scope", 8, 9); err != nil {
		t.Error(err)
	}
	if err := m.Start("a.scope", nil); err == nil || !strings.Contains(err.Error(), "systemd: start a.scope: Unit a.scope was already loaded") {
		t.Errorf("second start: %v", err)
	}
	if err := m.Stop("a.scope"); err != nil {
		t.Error(err)
	}
	if err := m.Stop("a.scope"); err != nil {
		t.Errorf("stop of what is gone: %v", err)
	}
	if err := m.SetProperties("a.scope", []systemd.Property{systemd.NewProperty("MemoryMax", uint64(1))}); err == nil || !strings.Contains(err.Error(), "not loaded") {
		t.Errorf("change of what is gone: %v", err)
	}
}

// TestFailedUnit starts a unit whose name one that has failed still has.
func TestFailedUnit(t *testing.T) {
	fake, m := connect(t)
	fake.AddFailed("a.scope")
	if err := m.Start("a.scope", nil); err != nil {
		t.Error(err)
	}
	if err := m.Stop("a.scope"); err != nil {
		t.Error(err)
	}
}

func TestFailures(t *testing.T) {
	fake, m := connect(t)
	fake.Errors = map[string]string{"StopUnit": "org.freedesktop.DBus.Error.AccessDenied"}
	fake.Result = "dependency"
	err := m.Start("a.scope", nil)
	if err == nil || !strings.Contains(err.Error(), `systemd: start a.scope: the job ended as "dependency"`) {
		t.Errorf("failed job: %v", err)
	}
	if err := m.Stop("a.scope"); err == nil || !strings.Contains(err.Error(), "systemd: stop a.scope: StopUnit is refused") {
		t.Errorf("stop: %v", err)
	}
	fake.Errors = nil
	if err := m.Stop("a.scope"); err != nil {
		t.Error(err)
	}
}

func TestManagerProperties(t *testing.T) {
	for version, want := range map[string]int{"252.38-1~deb12u1": 252, "v244.3": 244, "258": 258, "": 0, "x": 0} {
		fake, m := connect(t)
		fake.Version, fake.ControlGroup = version, "/user.slice/user-7.slice/user@7.service"
		if got := m.Version(); got != want {
			t.Errorf("version %q: %d, want %d", version, got, want)
		}
		if got, err := m.ControlGroup(); err != nil || got != fake.ControlGroup {
			t.Errorf("control group %q, %v", got, err)
		}
	}
}

func TestConnect(t *testing.T) {
	nowhere := t.TempDir()
	for name, test := range map[string]struct {
		user                 bool
		system, session, dir string
		want                 string // part of the error
	}{
		"no system bus":       {system: "unix:path=" + nowhere + "/bus", want: "no such file or directory"},
		"no user bus":         {user: true, dir: nowhere, want: nowhere + "/bus: connect: no such file or directory"},
		"session bus address": {user: true, session: "unix:path=" + nowhere + "/session", dir: nowhere, want: "/session: connect: no such file"},
		"nothing known":       {user: true, want: "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"},
		"no address":          {system: "nonsense", want: "--systemd-cgroup: connect to systemd: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", test.system)
			t.Setenv("DBUS_SESSION_BUS_ADDRESS", test.session)
			t.Setenv("XDG_RUNTIME_DIR", test.dir)
			_, err := systemd.Connect(test.user)
			var connect *systemd.ConnectError
			if !errors.As(err, &connect) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "set the engine's cgroup manager to cgroupfs") {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	t.Run("user", func(t *testing.T) {
		fake := systemdtest.New(t)
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", fake.Address)
		m, err := systemd.Connect(true)
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
	})
}
