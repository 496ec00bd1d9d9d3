package cgroup

import (
	"slices"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	for _, tt := range []struct {
		name, base, cgroupsPath, id string
		want, err                   string
	}{
		{name: "default", base: "/", id: "box", want: "/winbox-box"},
		{name: "default, delegated", base: "/user.slice/app", id: "box", want: "/user.slice/app/winbox-box"},
		{name: "absolute", base: "/", cgroupsPath: "/a/b", want: "/a/b"},
		{name: "absolute ignores the base", base: "/x", cgroupsPath: "/a", want: "/a"},
		{name: "relative", base: "/", cgroupsPath: "a/b", want: "/a/b"},
		{name: "relative, delegated", base: "/x", cgroupsPath: "a", want: "/x/a"},
		{name: "untidy", base: "/", cgroupsPath: "//a/./b/", want: "/a/b"},
		{name: "dots in a name", base: "/", cgroupsPath: "/a..b/...", want: "/a..b/..."},
		{name: "up", base: "/", cgroupsPath: "/a/../b", err: `".."`},
		{name: "up, relative", base: "/x", cgroupsPath: "../y", err: `".."`},
		{name: "root", base: "/", cgroupsPath: "/", err: "below it"},
		{name: "base", base: "/x", cgroupsPath: ".", err: "below it"},
		{name: "the root by dots", base: "/x", cgroupsPath: "/./.", err: "below it"},
		{name: "mount point", base: "/", cgroupsPath: "/sys/fs/cgroup/a", err: "leave /sys/fs/cgroup out"},
		{name: "line end", base: "/", cgroupsPath: "/a\nb", err: "line end"},
		{name: "no id", base: "/", err: "container id"},
		{name: "bad id", base: "/", id: "../x", err: "container id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resolve(tt.base, tt.cgroupsPath, tt.id)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "linux.cgroupsPath") {
					t.Fatalf("got %q, %v; want an error with %q that names the field", got, err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestParseHierarchies(t *testing.T) {
	const self = "12:cpu,cpuacct:/a\n11:memory:/b\n10:net_cls,net_prio:/\n3:misc:/\n1:name=systemd:/c:d\n0::/e\n"
	mounts := []string{"cpu", "cpuacct", "cpu,cpuacct", "memory", "net_cls", "systemd", "unified"}
	got, err := parseHierarchies(self, func(name string) (string, bool) {
		return "/cg/" + name, slices.Contains(mounts, name)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Hierarchy{
		{Controllers: []string{"cpu", "cpuacct"}, MountPoint: "/cg/cpu,cpuacct"},
		{Controllers: []string{"memory"}, MountPoint: "/cg/memory"},
		// net_prio has no link, misc no mount.
		{Controllers: []string{"name=systemd"}, MountPoint: "/cg/systemd"},
		{Unified: true, MountPoint: "/cg/unified"},
	}
	same := func(a, b Hierarchy) bool {
		return slices.Equal(a.Controllers, b.Controllers) && a.Unified == b.Unified && a.MountPoint == b.MountPoint && a.Path == b.Path
	}
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	own := map[string]string{"/cg/cpu,cpuacct": "/cg/cpu,cpuacct/a", "/cg/memory": "/cg/memory/b", "/cg/systemd": "/cg/systemd/c:d", "/cg/unified": "/cg/unified/e"}
	for _, h := range got {
		if dir := h.ownDir(self); dir != own[h.MountPoint] {
			t.Errorf("own group below %s: %q", h.MountPoint, dir)
		}
		// Seen from a cgroup namespace that it is not in.
		if dir := h.ownDir(strings.ReplaceAll(self, ":/", ":/../")); dir != "" {
			t.Errorf("own group outside of %s: %q", h.MountPoint, dir)
		}
	}
	if _, err := parseHierarchies("nonsense\n", nil); err == nil {
		t.Error("a line without fields was accepted")
	}
}
