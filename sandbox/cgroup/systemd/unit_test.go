package systemd

import (
	"strings"
	"testing"
)

func TestParseUnit(t *testing.T) {
	tests := []struct {
		path, id    string
		user        bool
		name, place string
		err         string // a part
	}{
		{path: "", id: "box", name: "winbox-box.scope", place: "/system.slice/winbox-box.scope"},
		{path: "", id: "box", user: true, name: "winbox-box.scope", place: "/user.slice/winbox-box.scope"},
		{path: ":docker:1", name: "docker-1.scope", place: "/system.slice/docker-1.scope"},
		{path: "machine.slice:libpod:abc", name: "libpod-abc.scope", place: "/machine.slice/libpod-abc.scope"},
		{path: "-.slice:p:n", name: "p-n.scope", place: "/p-n.scope"},
		{path: "kubepods-burstable-pod1_2.slice:cri-containerd:abc", name: "cri-containerd-abc.scope",
			place: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-abc.scope"},
		{path: "user.slice::n", name: "-n.scope", place: "/user.slice/-n.scope"},
		{path: "a.slice:cgroup.x:n", name: "cgroup.x-n.scope", place: "/a.slice/_cgroup.x-n.scope"},
		{path: "a.slice:_x:n", name: "_x-n.scope", place: "/a.slice/__x-n.scope"},
		{path: "/winbox/a", err: `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/winbox/a" instead`},
		{path: "a:b", err: "of format"},
		{path: "a.slice:b:c:d", err: "of format"},
		{path: "system:b:c", err: `"system" is no slice`},
		{path: "-a.slice:b:c", err: "invalid slice name: -a.slice"},
		{path: "a--b.slice:b:c", err: "invalid slice name"},
		{path: ".slice:b:c", err: "invalid slice name"},
		{path: "../x.slice:b:c", err: "cannot be the name of a slice"},
		{path: "a.slice:b:", err: "the name of the scope is empty"},
		{path: "a.slice:b:c.slice", err: "a container cannot be a slice"},
		{path: "a.slice:../b:c", err: "cannot be the name of a systemd unit"},
		{path: "a.slice:b:c\n", err: "cannot be the name of a systemd unit"},
		{path: "", id: "a+b", err: `"winbox-a+b.scope" cannot be the name of a systemd unit`},
		{path: "", id: strings.Repeat("x", 250), err: "at most 255"},
	}
	for _, test := range tests {
		u, err := ParseUnit(test.path, test.id, test.user)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q: error %v, want one with %q", test.path, err, test.err)
			}
			continue
		}
		if err != nil || u.Name != test.name || u.Path() != test.place || u.User != test.user {
			t.Errorf("%q: %+v at %s, %v; want %s at %s", test.path, u, u.Path(), err, test.name, test.place)
		}
	}
}
