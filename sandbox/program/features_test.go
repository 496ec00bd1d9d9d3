package program

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestMountOptions checks the list against what the parser says of each name:
// none may end up as an option of the file system but those of the superblock.
func TestMountOptions(t *testing.T) {
	list := MountOptions()
	for _, want := range []string{"bind", "rbind", "remount", "ro", "rro", "rnosuid", "rprivate", "nosymfollow", "sync"} {
		if !slices.Contains(list, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
		t.Errorf("not sorted, or with duplicates: %v", list)
	}
	for _, name := range list {
		o := parseMountOptions(&specs.Mount{Options: []string{name}})
		if passed := slices.Contains(o.data, name); passed != slices.Contains(superblockOptions, name) {
			t.Errorf("%s: passed to the file system: %v", name, passed)
		}
	}
	for name := range attrOptions {
		if r := parseMountOptions(&specs.Mount{Options: []string{"r" + name}}); !r.one.empty() || r.tree != attrOptions[name] {
			t.Errorf("r%s: %+v", name, r)
		}
	}
}

func TestNamespaceTypes(t *testing.T) {
	for _, name := range NamespaceTypes() {
		spec := &specs.Spec{Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.LinuxNamespaceType(name)}}}}
		if ns, err := ParseNamespaces(spec); err != nil || ns.New == 0 {
			t.Errorf("%s: flags %#x, error %v", name, ns.New, err)
		}
	}
}

// TestOthersMountOptions compares the list with the tables in the sources of runc
// (libcontainer/specconv) and crun (mount_flags).
func TestOthersMountOptions(t *testing.T) {
	others := strings.Fields(`
		async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime nodev nodiratime noexec noiversion
		nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec ridmap
		rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave
		rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable
		copy-symlink rasync rdirsync rmand rnomand rsync`)
	// These are for file systems only, or crun's alone, where the kernel has no such attribute of a mount.
	without := []string{"iversion", "copy-symlink", "rasync", "rdirsync", "rmand", "rnomand", "rsync"}
	list := MountOptions()
	for _, name := range others {
		if slices.Contains(list, name) == slices.Contains(without, name) {
			t.Errorf("%s: listed %v", name, slices.Contains(list, name))
		}
	}
	for _, name := range list {
		if !slices.Contains(others, name) {
			t.Errorf("%s is winbox's alone", name)
		}
	}
}
