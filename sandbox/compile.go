package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/sandbox/cgroup"
	"winbox/sandbox/program"
)

// Compile makes the program of a container without making the container.
func Compile(opt Options) (*program.Program, error) {
	group, err := findGroup(&opt)
	if err != nil {
		return nil, err
	}
	return compile(&opt, group, new(filterCache))
}

// compile is [Compile] with the container's control group, which need not exist yet.
func compile(opt *Options, group *cgroup.Group, filters *filterCache) (*program.Program, error) {
	spec := opt.Bundle.Spec
	if err := checkHooks(spec.Hooks); err != nil {
		return nil, err
	}
	if spec.Linux != nil {
		if err := checkNetDevices(spec.Linux.NetDevices); err != nil {
			return nil, err
		}
	}
	host, err := hostFacts()
	if err != nil {
		return nil, err
	}
	securityModules(spec, &host)
	first := 3 + opt.Preserve
	po := program.Options{
		ID: opt.ID, Bundle: opt.Bundle.Dir, Control: first + fdControl, Listen: -1, Preserve: opt.Preserve,
		Supervise: opt.Windows, NoRandomize: opt.Windows, Stops: opt.Stops, Resize: opt.Resize, Linger: opt.Linger,
		StopGrace: int(opt.StopGrace.Milliseconds()), NoPivot: opt.NoPivot, NoNewKeyring: opt.NoNewKeyring,
		ChownStdio: pipes(opt), MemoryFiles: opt.MemoryFiles, Helpers: opt.Helpers, Host: host,
	}
	next := first + fdExtra
	if !opt.Start {
		po.Listen = next
		next++
	}
	if h := spec.Hooks; h != nil {
		//lint:ignore SA1019 engines still send it
		po.Hooks = len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0
	}
	if opt.Windows {
		po.Status = next
		next++
		if opt.Hold != nil {
			po.Hold = next
			next++
		}
		if po.ExitFilter, po.ExitFilterFlags, err = compileFilter(exitProfile); err != nil {
			return nil, err
		}
	}
	po.MountFiles = map[int]int{}
	for i := range spec.Mounts {
		if _, ok := program.FindIDMapping(&spec.Mounts[i], spec); ok {
			po.MountFiles[i] = next
			next++
		}
	}
	po.Overlays = map[int]program.Overlay{}
	for i := range spec.Mounts {
		if o, ok := opt.Overlays[spec.Mounts[i].Destination]; ok {
			for range o.Lower {
				o.Overlay.Lower = append(o.Overlay.Lower, next)
				next++
			}
			po.Overlays[i] = o.Overlay
		}
	}
	if opt.Windows && group != nil && group.DiesInPieces() {
		po.OOMEvent, po.OOMCount = next, next+1
	}
	if group != nil {
		if po.Host.Cgroups, err = cgroupMounts(group, opt.Rootless); err != nil {
			return nil, err
		}
	}
	if spec.Linux != nil {
		po.Host.NoSetgroups = os.Geteuid() != 0 && onlyCaller(spec.Linux.UIDMappings, spec.Linux.GIDMappings)
		if po.Seccomp, po.SeccompFlags, err = filters.filter(spec, opt.Bundle.Seccomp); err != nil {
			return nil, err
		}
	}
	if spec.Linux != nil && slices.Contains([]string{"shared", "rshared", "slave", "private"}, spec.Linux.RootfsPropagation) {
		if po.Host.RootParent, err = mountPointOf(opt.rootfs()); err != nil {
			return nil, fmt.Errorf("root.path: %w", err)
		}
	}
	if !opt.Windows && spec.Process != nil {
		changed := *spec
		changed.Process = withEnvironment(spec.Process, opt.Bundle.Files)
		spec = &changed
	}
	return program.Compile(spec, po)
}

// exitProfile notifies the init ELF of exit_group(2), whose argument is the exit
// code before the kernel cuts it to eight bits. There is no agent but the init
// ELF: it gets the listener by loading the filter.
var exitProfile = &specs.LinuxSeccomp{
	DefaultAction: specs.ActAllow,
	Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
	ListenerPath:  "none",
	Syscalls:      []specs.LinuxSyscall{{Names: []string{"exit_group"}, Action: specs.ActNotify}},
}

// findGroup finds the place of the container's control group, which is made
// later; nil when winbox may do without.
func findGroup(opt *Options) (*cgroup.Group, error) {
	asked := ""
	if opt.Bundle.Spec.Linux != nil {
		asked = opt.Bundle.Spec.Linux.CgroupsPath
	}
	if opt.Systemd {
		return cgroup.NewScope(asked, opt.ID, opt.Bundle.Spec.Annotations)
	}
	place, err := cgroup.Resolve(asked, opt.ID)
	if err != nil {
		return nil, err
	}
	mode, err := cgroup.DetectMode()
	if err == nil {
		var group *cgroup.Group
		if group, err = cgroup.Load(cgroup.State{Mode: mode, Path: place}); err == nil {
			return group, nil
		}
	}
	if opt.Rootless {
		return nil, nil
	}
	return nil, err
}

// cgroupMounts is what a mount of type cgroup shows of the group's hierarchies.
// Without root's rights, whether there will be such a group is not known yet.
func cgroupMounts(group *cgroup.Group, rootless bool) ([]program.CgroupMount, error) {
	var list []program.CgroupMount
	for _, h := range group.Mounts() {
		m := program.CgroupMount{Options: strings.Join(h.Controllers, ","), Path: filepath.Join(h.MountPoint, h.Path)}
		if group.Mode() != cgroup.V2 {
			m.Name = filepath.Base(h.MountPoint)
		}
		if rootless {
			var err error
			if m.Otherwise, err = h.OwnDir(); err != nil {
				return nil, err
			}
		}
		list = append(list, m)
	}
	return list, nil
}

// pipes lists the standard descriptors that are pipes or sockets: the only
// kinds that may be given to the container's user without harm to others.
func pipes(opt *Options) []int {
	var list []int
	if opt.Bundle.Spec.Process.User.UID == 0 || opt.Bundle.Spec.Process.Terminal {
		return nil
	}
	for fd, f := range opt.stdio() {
		var st unix.Stat_t
		if unix.Fstat(int(f.Fd()), &st) != nil {
			continue
		}
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFIFO || kind == unix.S_IFSOCK {
			list = append(list, fd)
		}
	}
	return list
}
