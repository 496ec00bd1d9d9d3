package program

import (
	"bytes"
	"encoding/json"
	"os"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/internal/specfields"
)

// everyField is a configuration with something in each field that becomes part
// of a program.
func everyField(t *testing.T) *specs.Spec {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1000}}
	hooks := []specs.Hook{{Path: "/hook", Args: []string{"hook"}, Env: []string{"A=1"}, Timeout: ptr(1)}}
	capabilities := []string{"CAP_KILL"}
	spec := defaultSpec(t)
	spec.Domainname = "example.org"
	spec.Annotations = map[string]string{"a": "b"}
	//lint:ignore SA1019 engines still send it
	spec.Hooks = &specs.Hooks{Prestart: hooks, CreateRuntime: hooks, CreateContainer: hooks, StartContainer: hooks, Poststart: hooks, Poststop: hooks}
	spec.Mounts = append([]specs.Mount{{Destination: "/data", Type: "bind", Source: "/srv", Options: []string{"ro"}, UIDMappings: ids, GIDMappings: ids}}, spec.Mounts...)
	spec.Process = &specs.Process{
		Terminal: true, ConsoleSize: &specs.Box{Width: 80, Height: 24}, Args: []string{"/bin/true"}, Env: []string{"A=1"}, Cwd: "/",
		User:         specs.User{UID: 1, GID: 2, Umask: ptr(uint32(0o22)), AdditionalGids: []uint32{3}},
		Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities, Inheritable: capabilities, Ambient: capabilities},
		Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}, OOMScoreAdj: ptr(1), NoNewPrivileges: true,
		ApparmorProfile: "profile", SelinuxLabel: "label",
		Scheduler:  &specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1000, Deadline: 2000, Period: 3000},
		IOPriority: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 1}, ExecCPUAffinity: &specs.CPUAffinity{Initial: "0", Final: "1"},
	}
	l := spec.Linux
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	l.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Major: 1, Minor: 2, FileMode: ptr(os.FileMode(0o600)), UID: ptr(uint32(0)), GID: ptr(uint32(0))}}
	l.RootfsPropagation, l.MountLabel = "private", "label"
	l.Sysctl = map[string]string{"net.core.somaxconn": "1"}
	l.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
	l.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux}
	l.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1, Nanosecs: 1}}
	return spec
}

// TestEveryField changes each field of a configuration: the program that makes
// the container, or the one that runs another process in it, must become a
// different one or be refused, or the field be another's affair, which has a
// test of its own.
func TestEveryField(t *testing.T) {
	elsewhere := map[string]string{
		"ociVersion":      "../../oci TestDecode",
		"annotations":     ".. TestLife",
		"hooks.*.path":    ".. TestHooks",
		"hooks.*.args":    ".. TestHooks",
		"hooks.*.env":     ".. TestHooks",
		"hooks.*.timeout": ".. TestHooksTimeout",

		"mounts.uidMappings.*":  ".. TestMappedMounts",
		"mounts.gidMappings.*":  ".. TestMappedMounts",
		"linux.uidMappings.*":   ".. TestMappedOwners",
		"linux.gidMappings.*":   ".. TestMappedOwners",
		"linux.resources.*":     "../cgroup TestEveryField",
		"linux.cgroupsPath":     ".. TestCgroupsPath",
		"linux.netDevices.name": ".. TestMoveNetDevices",

		"linux.intelRdt.closID":           "../resctrl TestGroups",
		"linux.intelRdt.schemata":         "../resctrl TestGroups",
		"linux.intelRdt.l3CacheSchema":    "../resctrl TestGroups",
		"linux.intelRdt.memBwSchema":      "../resctrl TestGroups",
		"linux.intelRdt.enableMonitoring": "../resctrl TestGroups",

		"linux.seccomp.defaultAction":          "../../seccomp TestGolden",
		"linux.seccomp.defaultErrnoRet":        "../../seccomp TestGolden",
		"linux.seccomp.architectures":          "../../seccomp TestGolden",
		"linux.seccomp.flags":                  "../../seccomp TestFlags",
		"linux.seccomp.listenerPath":           ".. TestListener",
		"linux.seccomp.listenerMetadata":       ".. TestListener",
		"linux.seccomp.syscalls.names":         "../../seccomp TestGolden",
		"linux.seccomp.syscalls.action":        "../../seccomp TestGolden",
		"linux.seccomp.syscalls.errnoRet":      "../../seccomp TestGolden",
		"linux.seccomp.syscalls.args.index":    "../../seccomp TestGolden",
		"linux.seccomp.syscalls.args.value":    "../../seccomp TestGolden",
		"linux.seccomp.syscalls.args.valueTwo": "../../seccomp TestGolden",
		"linux.seccomp.syscalls.args.op":       "../../seccomp TestGolden",
	}
	for field, place := range elsewhere {
		if dir, test, _ := strings.Cut(place, " "); !hasTest(t, dir, test) {
			t.Errorf("%s: there is no test %s in %s", field, test, dir)
		}
	}
	before := programs(t, everyField(t))
	if strings.Contains(before, "error: ") {
		t.Fatal(before)
	}
	for _, field := range specfields.List(reflect.TypeFor[specs.Spec]()) {
		other := false
		for pattern := range elsewhere {
			matched, err := path.Match(pattern, field)
			if err != nil {
				t.Fatal(err)
			}
			other = other || matched
		}
		if other {
			continue
		}
		spec := everyField(t)
		if err := specfields.Change(spec, field); err != nil {
			t.Errorf("the sample lacks a field: %v", err)
		} else if programs(t, spec) == before {
			t.Errorf("%s has no effect and is not refused", field)
		}
	}
}

// programs are those of a container and of a process that joins it.
func programs(t *testing.T, spec *specs.Spec) string {
	t.Helper()
	// What is changed must not be shared with the other fields.
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	var copied specs.Spec
	if err := json.Unmarshal(text, &copied); err != nil {
		t.Fatal(err)
	}
	opt := testOptions()
	opt.Host.AppArmor, opt.Host.SELinux = true, true
	opt.MountFiles = map[int]int{0: 6}
	opt.Seccomp = make([]byte, 16)
	var out bytes.Buffer
	for _, compile := range []func() (*Program, error){
		func() (*Program, error) { return Compile(&copied, opt) },
		func() (*Program, error) {
			return CompileExec(&copied, Target{PidFD: 5, RootFD: 6, Namespaces: unix.CLONE_NEWPID}, opt)
		},
	} {
		p, err := compile()
		if err != nil {
			out.WriteString("error: " + err.Error() + "\n")
			continue
		}
		if err := p.Print(&out); err != nil {
			t.Fatal(err)
		}
		out.WriteString(strings.Join(p.Warnings, "\n"))
	}
	return out.String()
}

// hasTest tells whether a package has a test of that name.
func hasTest(t *testing.T, dir, test string) bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), "_test.go") {
			data, err := os.ReadFile(path.Join(dir, entry.Name()))
			if err == nil && bytes.Contains(data, []byte("\nfunc "+test+"(t *testing.T) {")) {
				return true
			}
		}
	}
	return false
}
