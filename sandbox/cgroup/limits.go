package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Unlimited is how [Stats] writes "no limit", on both versions.
const Unlimited = math.MaxUint64

// step is one limit on its way into one file. A step holds one field only, so
// that an error can name it and the order can be chosen: the library writes
// whole sections, and its errors name no field.
type step struct {
	// field is the name below linux.resources.
	field string
	// file is the name in the group's directory.
	file string
	// One of these says what to write. v2 is for the library, which is not used for
	// v1: there a limit is a file with a number in it, and to have its package in the
	// program costs every command 0.15 ms at start. raw is also for what the library
	// does not know on v2, or would drop or get wrong.
	v2  *cgroup2.Resources
	raw string
	// optional steps are skipped on a kernel without the file.
	optional bool
}

// controller is the one that owns the file: "memory" for memory.max.
func (s *step) controller() string {
	name, _, _ := strings.Cut(s.file, ".")
	return name
}

// plan is what a LinuxResources comes to on this host.
type plan struct {
	steps    []step
	warnings []string
	errs     []error
}

func (p *plan) add(s step) { p.steps = append(p.steps, s) }

func (p *plan) raw(field, file, value string) {
	p.add(step{field: field, file: file, raw: value})
}

func (p *plan) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// unsupported records a field that this cgroup version has no file for.
func (p *plan) unsupported(field, why string) {
	p.errs = append(p.errs, &LimitError{
		Field: "linux.resources." + field,
		Err:   fmt.Errorf("%w: %s", ErrUnsupported, why),
	})
}

// invalid records a value that no kernel would take.
func (p *plan) invalid(field, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("linux.resources."+field+": "+format, args...))
}

// pageSize checks a huge page size, which becomes part of a file name.
func (p *plan) pageSize(i int, size string) bool {
	if size == "" || strings.ContainsAny(size, "/\x00") {
		p.invalid(fmt.Sprintf("hugepageLimits[%d].pageSize", i), "%q is not a size such as 2MB", size)
		return false
	}
	return true
}

// blockWeight checks a weight for block devices, whose range is that of blkio.
func (p *plan) blockWeight(field string, w uint16) bool {
	if w < 10 || w > 1000 {
		p.invalid("blockIO."+field, "%d is not between 10 and 1000", w)
		return false
	}
	return true
}

// set reports whether a field asks for something. Zero does not: engines write
// it for "not given", and runc reads it so.
func set[T int64 | uint64 | uint16 | uint32](v *T) bool { return v != nil && *v != 0 }

// Update puts the limits that res names in force and leaves the others alone.
// Device rules, when given, replace the old ones.
//
// Raising and lowering work in any combination: what the kernel refuses with
// EINVAL because of a value still to be written is tried again after it.
//
// # Errors
//
// A [LimitError] names the field. Limits written before it stay.
func (g *Group) Update(res *specs.LinuxResources) error {
	if _, err := os.Stat(g.control().dir()); err != nil {
		return fmt.Errorf("update cgroup %s: %w", g.path, err)
	}
	if m := res.Memory; m != nil && m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate && m.Limit != nil && *m.Limit > 0 {
		stats, err := g.Stats()
		if err != nil {
			return err
		}
		if stats.Memory.Usage > uint64(*m.Limit) {
			return fmt.Errorf("linux.resources.memory.limit: %d bytes are in use, more than the new limit of %d, and checkBeforeUpdate is set", stats.Memory.Usage, *m.Limit)
		}
	}
	if g.scope != nil {
		res = g.keepQuota(res)
		if err := g.updateScope(res); err != nil {
			return err
		}
	}
	return g.apply(res)
}

// apply compiles and carries out the limits.
func (g *Group) apply(res *specs.LinuxResources) error {
	var p plan
	if g.mode == V2 {
		p = planV2(res, g.has, g.read)
	} else {
		onUnified := g.hugetlbOnUnified(res)
		if onUnified {
			enableControllers(g.unified(), []string{"hugetlb"})
		}
		p = planV1(res, g.has, onUnified)
	}
	g.warnings = append(g.warnings, p.warnings...)
	if err := errors.Join(p.errs...); err != nil {
		return err
	}
	if err := writeAll(p.steps, g.write); err != nil {
		return err
	}
	return g.setDevices(res.Devices)
}

// writeAll carries out the steps in order. Some values bound each other (memory
// and memory+swap; period, quota and burst), so that the right order depends on
// what is there: those refused with EINVAL go round again as long as a round
// gets anywhere.
func writeAll(steps []step, write func(*step) error) error {
	for len(steps) > 0 {
		var refused []step
		var first error
		for i := range steps {
			err := write(&steps[i])
			switch {
			case errors.Is(err, unix.EINVAL):
				refused = append(refused, steps[i])
				if first == nil {
					first = err
				}
			case err != nil:
				return err
			}
		}
		if len(refused) == len(steps) {
			return first
		}
		steps = refused
	}
	return nil
}

// limitDir returns the directory whose file a step writes, or "" when its
// controller has no hierarchy.
func (g *Group) limitDir(s *step) string {
	if g.mode == V2 || s.v2 != nil {
		return g.unified().dir()
	}
	if h := g.hierarchy(s.controller()); h != nil {
		return h.dir()
	}
	return ""
}

// has reports whether the group has the file.
func (g *Group) has(file string) bool {
	dir := g.limitDir(&step{file: file})
	if dir == "" {
		return false
	}
	_, err := os.Lstat(dir + "/" + file)
	return err == nil
}

// read returns the content of one of the group's files, or "".
func (g *Group) read(file string) string {
	data, err := readFile(g.limitDir(&step{file: file}) + "/" + file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// write carries out one step.
func (g *Group) write(s *step) error {
	dir := g.limitDir(s)
	if dir == "" {
		if s.optional {
			return nil
		}
		return &LimitError{
			Field: "linux.resources." + s.field, File: s.file,
			Err: fmt.Errorf("%w: the %s controller has no hierarchy below %s", ErrUnsupported, s.controller(), mountRoot),
		}
	}
	file := dir + "/" + s.file
	var err error
	switch {
	case s.v2 != nil:
		var m *cgroup2.Manager
		if m, err = cgroup2.Load(g.path, cgroup2.WithMountpoint(g.unified().MountPoint)); err == nil {
			err = m.Update(s.v2)
		}
	default:
		err = writeFile(file, s.raw)
	}
	if err == nil {
		return nil
	}
	// The library opens with O_CREATE, for which cgroupfs answers EACCES or
	// EPERM when the file is not there.
	if _, missing := os.Lstat(file); errors.Is(missing, fs.ErrNotExist) {
		if s.optional {
			return nil
		}
		err = fmt.Errorf("%w: %s", ErrUnsupported, g.whyMissing(s))
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno // without the second mention of the path
	}
	if errors.Is(err, unix.EBUSY) && s.controller() == "memory" {
		err = fmt.Errorf("%w: more than this is in use and cannot be reclaimed", err)
	}
	if errors.Is(err, unix.EOPNOTSUPP) && strings.Contains(s.file, "weight") {
		err = fmt.Errorf("%w: the device's I/O scheduler knows no weights, as bfq does", err)
	}
	return &LimitError{Field: "linux.resources." + s.field, File: file, Err: err}
}

// whyMissing explains a missing file.
func (g *Group) whyMissing(s *step) string {
	if g.mode == V2 && s.controller() != "cgroup" {
		if !contains(g.read("cgroup.controllers"), s.controller()) {
			return fmt.Sprintf("the %s controller is not enabled for this group (look at cgroup.controllers and cgroup.subtree_control of its parents)", s.controller())
		}
	}
	return "this kernel does not have that file"
}

// contains reports whether a space-separated list has the word.
func contains(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if w == word {
			return true
		}
	}
	return false
}
