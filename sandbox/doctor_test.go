package sandbox

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"winbox/internal/diagnosis"
)

// healthy are the files of a host on which everything works, by version of control groups.
var healthy = map[string]string{
	"proc/sys/kernel/osrelease":         "6.12.1-amd64",
	"proc/filesystems":                  "nodev\ttmpfs\nnodev\toverlay",
	"proc/sys/user/max_user_namespaces": "15000",
	"proc/self/mountinfo":               "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw",
	"proc/self/cgroup":                  "0::/user.slice/user-1000.slice",
	"sys/fs/cgroup/cgroup.controllers":  "cpuset cpu io memory pids",
	"etc/subuid":                        "other:1:5\nme:100000:65536",
	"etc/subgid":                        "1000:100000:65536",
}

// TestExamination spoils one thing at a time.
func TestExamination(t *testing.T) {
	none := errors.New("none")
	for _, tt := range []struct {
		name     string
		rootless bool
		files    map[string]string
		spoil    func(*Examination)
		want     string // area/name status, and a word of the remedy
	}{
		{"healthy", false, nil, nil, ""},
		{"healthy, rootless", true, nil, nil, ""},
		{"old kernel", false, map[string]string{"proc/sys/kernel/osrelease": "5.10.0"}, nil, "kernel/version fail 5.12"},
		{"missing call", false, nil, func(e *Examination) { e.Call = call("mount_setattr", unix.ENOSYS) }, "kernel/mount calls fail newer kernel"},
		{"forbidden call", false, nil, func(e *Examination) { e.Call = call("fsopen", unix.EPERM) }, "kernel/mount calls fail CAP_SYS_ADMIN"},
		{"forbidden call, rootless", true, nil, func(e *Examination) { e.Call = call("fsopen", unix.EPERM) }, ""},
		{"no overlay", false, map[string]string{"proc/filesystems": "nodev\ttmpfs"}, nil, "kernel/overlay warn modprobe"},
		{"no seccomp", false, nil, func(e *Examination) { e.Call = call("seccomp", unix.EINVAL) }, "kernel/seccomp fail CONFIG_SECCOMP_FILTER"},
		{"no notification", false, nil, func(e *Examination) { e.Call = call("seccomp notification", unix.EOPNOTSUPP) }, "kernel/seccomp notification warn SCMP_ACT_NOTIFY"},
		{"no user namespaces", false, map[string]string{"proc/sys/user/max_user_namespaces": "0"}, nil, "user namespaces/user.max_user_namespaces warn sysctl"},
		{"no user namespaces, rootless", true, map[string]string{"proc/sys/user/max_user_namespaces": "0"}, nil, "user namespaces/user.max_user_namespaces fail sysctl"},
		{"Debian's switch", true, map[string]string{"proc/sys/kernel/unprivileged_userns_clone": "0"}, nil, "user namespaces/kernel.unprivileged_userns_clone fail =1"},
		{"Debian's switch, as root", false, map[string]string{"proc/sys/kernel/unprivileged_userns_clone": "0"}, nil, ""},
		{"Ubuntu's switch", true, map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, nil, "user namespaces/kernel.apparmor_restrict_unprivileged_userns fail AppArmor profile"},
		{"cannot make one", true, nil, func(e *Examination) { e.UserNamespace = func() error { return none } }, "user namespaces/making one fail CONFIG_USER_NS"},
		{"no newuidmap", true, nil, func(e *Examination) {
			e.LookPath = func(name string) (string, error) {
				if name == "newuidmap" {
					return "", none
				}
				return name, nil
			}
		}, "user namespaces/newuidmap warn uidmap"},
		{"no ids", true, map[string]string{"etc/subgid": "other:1:5\nbroken"}, nil, "user namespaces/newgidmap warn add-subgids"},
		{"no control groups", false, map[string]string{"proc/self/mountinfo": "garbage"}, nil, "control groups/version fail mount"},
		{"no memory controller", false, map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu cpuset pids"}, nil, "control groups/controllers warn subtree_control"},
		{"version 1", false, map[string]string{"proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup none rw,memory,cpu,pids,cpuset,devices,freezer"}, nil, ""},
		{"version 1 without a freezer", false, map[string]string{"proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup none rw,memory,cpu,pids,cpuset,devices"}, nil, "control groups/controllers warn cgroup_disable"},
		{"not delegated", true, nil, func(e *Examination) { e.Writable = func(string) bool { return false } }, "control groups/delegation warn Delegate=yes"},
	} {
		files := maps.Clone(healthy)
		maps.Copy(files, tt.files)
		e := Examination{
			Root: t.TempDir(), Rootless: tt.rootless, User: "me", UID: 1000,
			Call:          call("", nil),
			UserNamespace: func() error { return nil },
			Writable:      func(dir string) bool { return strings.HasSuffix(dir, "/sys/fs/cgroup/user.slice/user-1000.slice") },
			LookPath:      func(name string) (string, error) { return name, nil },
		}
		for name, text := range files {
			file := filepath.Join(e.Root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if tt.spoil != nil {
			tt.spoil(&e)
		}
		var got []string
		for _, c := range e.Checks() {
			if c.Found == "" || (c.Remedy == "") != (c.Status == diagnosis.OK) {
				t.Errorf("%s: %+v", tt.name, c)
			}
			if c.Status != diagnosis.OK {
				got = append(got, c.Area+"/"+c.Name+" "+string(c.Status)+" "+c.Remedy)
			}
		}
		want, _, _ := cutLast(tt.want)
		switch {
		case tt.want == "" && got != nil, tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)):
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		for _, word := range strings.Fields(strings.TrimPrefix(tt.want, want)) {
			if len(got) == 1 && !strings.Contains(got[0], word) {
				t.Errorf("%s: %q lacks %q", tt.name, got[0], word)
			}
		}
	}
}

// cutLast cuts behind the status.
func cutLast(s string) (before, after string, found bool) {
	for _, status := range []string{" fail", " warn"} {
		if i := strings.Index(s, status); i >= 0 {
			return s[:i+len(status)], s[i+len(status):], true
		}
	}
	return s, "", false
}

// call gives an error for one of the calls.
func call(name string, err error) func(string) error {
	return func(asked string) error {
		if asked == name {
			return err
		}
		if strings.HasPrefix(asked, "seccomp") {
			return nil
		}
		return unix.EBADF
	}
}

// TestProbeCalls makes the real ones: this kernel has them all.
func TestProbeCalls(t *testing.T) {
	for _, c := range neededCalls {
		if err := probeCall(c.name); err == nil || errors.Is(err, unix.ENOSYS) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := probeCall("seccomp"); err != nil {
		t.Error(err)
	}
}
