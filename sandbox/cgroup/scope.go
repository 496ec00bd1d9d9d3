package cgroup

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/userns"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/sandbox/cgroup/systemd"
)

// scope is what a group has to do with systemd.
type scope struct {
	unit  systemd.Unit
	asked []systemd.Property // by annotations
	bus   *systemd.Manager   // nil until it is needed
	made  bool               // by Adopt
}

// NewScope returns the group of a container that systemd is to keep, without
// making it: [Group.Adopt] does. cgroupsPath is linux.cgroupsPath in the form
// "slice:prefix:name", or empty; annotations may set properties of the scope
// ([systemd.AnnotationPrefix]).
//
// Root uses the system's manager. Others, and root of a user namespace, use
// their own, which must be asked now where its scopes lie.
//
// # Errors
//
// A [systemd.ConnectError], or what is wrong with the arguments.
func NewScope(cgroupsPath, id string, annotations map[string]string) (*Group, error) {
	mode, err := DetectMode()
	if err != nil {
		return nil, err
	}
	unit, err := systemd.ParseUnit(cgroupsPath, id, os.Geteuid() != 0 || userns.RunningInUserNS())
	if err != nil {
		return nil, err
	}
	s := &scope{unit: unit}
	if s.asked, err = systemd.Annotations(annotations); err != nil {
		return nil, err
	}
	place := unit.Path()
	if unit.User {
		m, err := s.manager()
		if err != nil {
			return nil, err
		}
		own, err := m.ControlGroup()
		if err != nil {
			return nil, err
		}
		place = path.Join(own, place)
	}
	g, err := newGroup(mode, place)
	if err != nil {
		return nil, err
	}
	g.scope = s
	return g, nil
}

// manager connects to systemd, the first time.
func (s *scope) manager() (m *systemd.Manager, err error) {
	if s.bus == nil {
		s.bus, err = systemd.Connect(s.unit.User)
	}
	return s.bus, err
}

// disconnect ends the connection to systemd, if there is one.
func (s *scope) disconnect() {
	if s.bus != nil {
		s.bus.Close()
		s.bus = nil
	}
}

// Managed reports whether systemd keeps the group.
func (g *Group) Managed() bool { return g.scope != nil }

// Prepare makes sure, before there is a process to adopt, that systemd can be
// reached and that the group is nobody else's.
//
// # Errors
//
// A [systemd.ConnectError], a [NotEmptyError], [ErrFrozen].
func (g *Group) Prepare() error {
	if _, err := g.scope.manager(); err != nil {
		return err
	}
	for i := range g.hierarchies {
		if err := checkUnused(&g.hierarchies[i]); err != nil {
			g.scope.disconnect()
			return fmt.Errorf("create cgroup %s: %w", g.path, err)
		}
	}
	return nil
}

// Adopted reports whether systemd has made the scope at the word of Adopt. If not,
// one of its name is somebody else's, and not to be deleted.
func (g *Group) Adopted() bool { return g.scope.made }

// Adopt has systemd make the scope around a process, puts the process into the
// hierarchies that systemd leaves alone, and puts the limits in force. res may be
// nil.
//
// # Errors
//
// A [systemd.ConnectError], what systemd says, or a [LimitError]. What was made
// ([Group.Adopted]) is there until Delete.
func (g *Group) Adopt(pid int, res *specs.LinuxResources) error {
	if res == nil {
		res = &specs.LinuxResources{}
	}
	m, err := g.scope.manager()
	if err != nil {
		return err
	}
	defer g.scope.disconnect()
	properties, err := g.limitProperties(res, m.Version)
	if err != nil {
		return err
	}
	devices, err := g.deviceProperties(res.Devices)
	if err != nil {
		return err
	}
	all := slices.Concat(g.scopeProperties(pid), properties, devices, g.scope.asked)
	if err := m.Start(g.scope.unit.Name, all); err != nil {
		return err
	}
	g.scope.made = true
	if err := g.complete(pid); err != nil {
		return fmt.Errorf("create cgroup %s: %w", g.path, err)
	}
	if err := g.equip(res); err != nil {
		return fmt.Errorf("create cgroup %s: %w", g.path, err)
	}
	return nil
}

// scopeProperties are those that every scope gets (systemd.scope(5)): runc's.
func (g *Group) scopeProperties(pid int) []systemd.Property {
	io := "IOAccounting"
	if g.mode == V1 {
		io = "BlockIOAccounting"
	}
	list := []systemd.Property{
		systemd.NewProperty("Description", "winbox container "+g.scope.unit.Name),
		systemd.NewProperty("Slice", g.scope.unit.Slice),
		systemd.NewProperty("Delegate", true),
		systemd.NewProperty("PIDs", []uint32{uint32(pid)}),
		systemd.NewProperty("DefaultDependencies", false),
	}
	// Accounting brings the controllers.
	for _, name := range []string{"MemoryAccounting", "CPUAccounting", io, "TasksAccounting"} {
		list = append(list, systemd.NewProperty(name, true))
	}
	return list
}

// complete puts a process that systemd has put into some hierarchies into the
// others, whose directories systemd does not make on v1: cpuset, freezer and more.
func (g *Group) complete(pid int) error {
	own := g.hierarchy("name=systemd")
	if own == nil {
		own = g.unified()
	}
	if own == nil {
		return fmt.Errorf("%w: systemd has no hierarchy of its own here", ErrUnsupported)
	}
	if _, err := os.Stat(own.dir()); err != nil {
		return fmt.Errorf("systemd has made %s, but elsewhere: %w", g.scope.unit.Name, err)
	}
	if g.mode == V2 {
		return nil
	}
	for i := range g.hierarchies {
		h := &g.hierarchies[i]
		if _, err := makeDir(h.dir(), h.MountPoint, new([]string)); err != nil {
			return err
		}
		if slices.Contains(h.Controllers, "cpuset") {
			if err := inheritCpuset(h.dir(), h.MountPoint); err != nil {
				return err
			}
		}
		if pids, err := appendPids(nil, h.dir()); err != nil || slices.Contains(pids, pid) {
			continue
		}
		if err := join(h.dir()+"/cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("add process %d to cgroup: %w", pid, err)
		}
	}
	return nil
}

// startOutside is [Group.Start] for an ordinary user who may write to the scope's
// group but not move a process from where the caller is: systemd moves it.
func (g *Group) startOutside(attr *syscall.SysProcAttr, start func() (int, error)) error {
	attr.UseCgroupFD, attr.CgroupFD = false, 0
	pid, err := start()
	if err != nil {
		return err
	}
	m, err := g.scope.manager()
	if err == nil {
		defer g.scope.disconnect()
		err = m.Attach(g.scope.unit.Name, pid)
	}
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return err
}

// updateScope tells systemd of limits.
func (g *Group) updateScope(res *specs.LinuxResources) error {
	m, err := g.scope.manager()
	if err != nil {
		return err
	}
	defer g.scope.disconnect()
	properties, err := g.limitProperties(res, m.Version)
	if err != nil {
		return err
	}
	return m.SetProperties(g.scope.unit.Name, properties)
}

// keepQuota adds the quota in force to a change of the period alone: systemd
// would keep the share of a processor instead, and change the quota.
func (g *Group) keepQuota(res *specs.LinuxResources) *specs.LinuxResources {
	if res.CPU == nil || !set(res.CPU.Period) || set(res.CPU.Quota) {
		return res
	}
	text := g.read("cpu.cfs_quota_us")
	if g.mode == V2 {
		text, _, _ = strings.Cut(g.read("cpu.max"), " ")
	}
	quota, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // "max"
		quota = -1
	}
	changed, cpu := *res, *res.CPU
	cpu.Quota, changed.CPU = &quota, &cpu
	return &changed
}

// stopScope has systemd end the scope, if there is one.
func (g *Group) stopScope() error {
	if g.scope == nil {
		return nil
	}
	m, err := g.scope.manager()
	if err != nil {
		return err
	}
	defer g.scope.disconnect()
	return m.Stop(g.scope.unit.Name)
}
