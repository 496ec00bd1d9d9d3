package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
)

func TestSpec(t *testing.T) {
	dir := t.TempDir()
	if code, stdout, stderr := winbox("", "spec", "--bundle", dir); code != 0 || stdout+stderr != "" {
		t.Fatalf("exit code %d, output %q", code, stdout+stderr)
	}
	bundle, err := oci.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if l := bundle.Spec.Linux; len(l.UIDMappings) > 0 || !slices.Contains(l.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace}) {
		t.Errorf("mappings %v, namespaces %v", l.UIDMappings, l.Namespaces)
	}
	if code, _, stderr := winbox("", "spec", "-b", dir); code != 1 || !strings.Contains(stderr, "config.json exists; remove it first") {
		t.Errorf("over an existing file: exit code %d, %q", code, stderr)
	}
	if code, _, stderr := winbox("", "spec", "--bundle", dir+"/none"); code != 1 || !strings.Contains(stderr, "no such file or directory") {
		t.Errorf("in a missing directory: exit code %d, %q", code, stderr)
	}
}

func TestSpecWindows(t *testing.T) {
	for given, want := range map[string]string{"app.exe": "/app.exe", "/app/app.exe": "/app/app.exe", `C:\app\app.exe`: `C:\app\app.exe`} {
		dir := t.TempDir()
		if code, stdout, stderr := winbox("", "spec", "--bundle", dir, "--windows", given); code != 0 || stdout+stderr != "" {
			t.Fatalf("exit code %d, output %q", code, stdout+stderr)
		}
		bundle, err := oci.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if p := bundle.Spec.Process; !slices.Equal(p.Args, []string{want}) || p.Terminal || bundle.Spec.Linux.Seccomp == nil || bundle.Spec.Root.Readonly {
			t.Errorf("%s: arguments %q, terminal %v", given, p.Args, p.Terminal)
		}
	}
	if code, _, stderr := winbox("", "spec", "--windows", ""); code != 1 || !strings.Contains(stderr, "which program") {
		t.Errorf("without a name: exit code %d, %q", code, stderr)
	}
}

func TestSpecRootless(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, stderr := winbox("", "spec", "--rootless"); code != 0 {
		t.Fatal(stderr)
	}
	bundle, err := oci.Load(".")
	if err != nil {
		t.Fatal(err)
	}
	l := bundle.Spec.Linux
	if want := (specs.LinuxIDMapping{HostID: uint32(os.Geteuid()), Size: 1}); len(l.UIDMappings) != 1 || l.UIDMappings[0] != want {
		t.Errorf("mappings %v", l.UIDMappings)
	}
	if l.Resources != nil || slices.Contains(l.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace}) ||
		!slices.Contains(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace}) {
		t.Errorf("namespaces %v, resources %v", l.Namespaces, l.Resources)
	}
	for _, m := range bundle.Spec.Mounts {
		if slices.ContainsFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "gid=") }) {
			t.Errorf("mount on %s: %v", m.Destination, m.Options)
		}
	}
}
