package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// TestFeatures checks what engines look for, and that nothing unknown to the
// runtime spec is printed.
func TestFeatures(t *testing.T) {
	code, stdout, stderr := winbox("", "features")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, error %q", code, stderr)
	}
	var f features.Features
	if err := json.Unmarshal([]byte(stdout), &f); err != nil {
		t.Fatal(err)
	}
	if f.OCIVersionMin != "1.0.0" || f.OCIVersionMax != specs.Version || f.Annotations["io.winbox.version"] != version {
		t.Errorf("versions %s to %s, annotations %v", f.OCIVersionMin, f.OCIVersionMax, f.Annotations)
	}
	if !slices.Contains(f.MountOptions, "rro") || len(f.Hooks) != 6 {
		t.Errorf("mount options %v, hooks %v", f.MountOptions, f.Hooks)
	}
	for _, name := range []string{"io.winbox.handler", "io.winbox.boot", "io.winbox.layout.reserve", "io.winbox.layout.sharedheap", "io.winbox.layout.strict", "io.winbox.stop", "org.systemd.property."} {
		if !slices.Contains(f.PotentiallyUnsafeConfigAnnotations, name) || !slices.Contains(strings.Split(f.Annotations["io.winbox.annotations"], ","), name) {
			t.Errorf("annotation %s is not listed: %v, %v", name, f.PotentiallyUnsafeConfigAnnotations, f.Annotations)
		}
	}
	l := f.Linux
	if len(l.Capabilities) < 41 || !slices.Contains(l.Namespaces, "mount") || !*l.Seccomp.Enabled || !*l.Cgroup.V1 || !*l.Cgroup.V2 || !*l.Cgroup.Systemd {
		t.Errorf("Linux part %s", stdout)
	}
	// Nothing is left unsaid that the Go types can say.
	for name, said := range map[string]*bool{
		"apparmor": l.Apparmor.Enabled, "selinux": l.Selinux.Enabled, "intelRdt": l.IntelRdt.Enabled, "netDevices": l.NetDevices.Enabled,
		"mountExtensions.idmap": l.MountExtensions.IDMap.Enabled, "cgroup.systemdUser": l.Cgroup.SystemdUser, "cgroup.rdma": l.Cgroup.Rdma,
	} {
		if said == nil {
			t.Errorf("%s: unknown", name)
		}
	}
	again, err := json.MarshalIndent(&f, "", "  ")
	if err != nil || string(again)+"\n" != stdout {
		t.Errorf("printed\n%sread as\n%s", stdout, again)
	}
}
