package wine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/stub"
	"winbox/quota"
)

// An Image is a program of which the headers have been read: what its process needs.
type Image struct {
	// Machine is the program's.
	Machine string
	// Layout is the plan of its address space.
	Layout *preload.Layout
	// console tells that its subsystem is the console.
	console bool
	// asksVolumes tells that the program imports a function that asks for a drive's volume.
	asksVolumes bool
	// runtime is the folder of the Wine that it was examined for.
	runtime string
	// layouts are the plans for all processes of its container, by the machine of the process: the program's own, and
	// one for what it may start for the other machine.
	layouts map[string]*preload.Layout
}

// Wishes are what a user asks of the address space.
type Wishes struct {
	// Reserve are further ranges to keep for the program.
	Reserve []preload.Range
	// SharedHeap is the size of the shared heap, as in [preload.Options].
	SharedHeap uint64
	// Strict refuses a program that will not be at the base that it asks for, or among whose memory native code may come
	// to lie, and ends one that cannot have all of a range of the plan when it starts.
	Strict bool
}

// Examine plans the address space of a program.
//
// # Errors
//
// Those of [preload.Runnable], [Runtime.Supports] and [preload.Plan]: sentences about the program.
func (r *Runtime) Examine(image *pe.Image, w Wishes) (*Image, error) {
	if err := preload.Runnable(image, false); err != nil {
		return nil, err
	}
	i := &Image{Machine: image.Machine.Arch(), console: image.Subsystem == pe.SubsystemWindowsCUI, asksVolumes: asksVolumes(image), runtime: r.root}
	opt, err := r.PlanOptions(i.Machine)
	if err != nil {
		return nil, err
	}
	opt.Reserve, opt.SharedHeap, opt.Strict = w.Reserve, w.SharedHeap, w.Strict
	if i.Layout, err = preload.Plan(image, opt); err != nil {
		return nil, err
	}
	if w.Strict && i.Layout.Moved != "" {
		return nil, fmt.Errorf("it would not be at its base, as %s demands: %s", annotationStrict, i.Layout.Moved)
	}
	if w.Strict && i.Layout.Exposed != "" {
		return nil, fmt.Errorf("native code could come to lie among its memory, which %s forbids: %s", annotationStrict, i.Layout.Exposed)
	}
	i.layouts = map[string]*preload.Layout{i.Layout.Process.Arch(): i.Layout}
	for _, p := range r.preloaded() {
		if p.process == i.Layout.Process {
			continue
		}
		if opt, err = r.PlanOptions(p.process.Arch()); err != nil {
			return nil, err
		}
		opt.SharedHeap, opt.Strict = w.SharedHeap, w.Strict
		if i.layouts[p.process.Arch()], err = preload.PlanChildren(p.process, opt); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// PlanOptions are the facts of this host and runtime that the address space of a program for the machine is planned with.
//
// # Errors
//
// Those of [Runtime.Supports].
func (r *Runtime) PlanOptions(machine string) (preload.Options, error) {
	opt := preload.HostOptions()
	opt.NewWoW64 = r.WoW64() == WoW64New
	opt.KeepsReserved, opt.SmallestStack = r.keepsReserved, r.smallestStack
	var err error
	opt.Loader.Start, opt.Loader.End, err = r.LoaderRange(machine)
	return opt, err
}

// preloaded says where the loader for processes of a machine looks for its preloader.
type preloaded struct {
	process pe.Machine
	at      string
}

// preloaded lists the machines that the runtime has a loader for. All are needed whatever the first program is: children
// may be of the other machine.
func (r *Runtime) preloaded() []preloaded {
	list := []preloaded{{pe.MachineAMD64, r.Preloader64}}
	if r.Loader32 != "" {
		list = append(list, preloaded{pe.MachineI386, r.Preloader32})
	}
	return list
}

// preloadMounts are the mounts by which each process of a container finds the preloader of its machine, the plan, and
// the memory that it shares with the others.
func (r *Runtime) preloadMounts(s Scratch, uid, gid uint32, w Wishes) []specs.Mount {
	var mounts []specs.Mount
	for _, p := range r.preloaded() {
		machine := p.process.Arch()
		mounts = append(mounts, bindFile(s.Layout(machine), stub.LayoutPath(machine)), bindFile(s.Stub(machine), p.at),
			bindFile(s.library(machine), quota.Library(machine)))
	}
	// Room for the files and no more, as for the shared heap.
	mounts = append(mounts, bindFile(s.limits(), quota.LimitsPath), specs.Mount{
		Destination: quota.CountersDir, Type: "tmpfs", Source: "tmpfs", Options: []string{
			"nosuid", "nodev", "noexec", "mode=700", fmt.Sprintf("uid=%d", uid), fmt.Sprintf("gid=%d", gid),
			fmt.Sprintf("size=%d", quota.CountersDirSize), "nr_inodes=3"}})
	if heap := (preload.Options{SharedHeap: w.SharedHeap}).SharedHeapSize(); heap > 0 && r.Supports(I386) == nil {
		// The heap is a file on a file system of its own, with room for that one file and its folder: what the programs
		// write is charged to the container like all their memory, and nothing else can take the room. It cannot be a
		// memory file with seals, since Wine starts processes in no order and nobody is there to hand a descriptor on.
		mounts = append(mounts, specs.Mount{Destination: stub.SharedDir, Type: "tmpfs", Source: "tmpfs", Options: []string{
			"nosuid", "nodev", "noexec", "mode=700", fmt.Sprintf("uid=%d", uid), fmt.Sprintf("gid=%d", gid), fmt.Sprintf("size=%d", heap), "nr_inodes=2"}})
	}
	return mounts
}

// Scratch is the folder of one container on the host: the files that it mounts, and room for what the program changes on
// drive C:. It goes with the container.
type Scratch string

// Make makes the folder for a program, and lets go of the template: from now on the folder says that it is used. The
// program is told of the limits.
func (s Scratch) Make(image *Image, t *Template, limits *quota.Limits) error {
	defer t.Hold.Close()
	if err := os.MkdirAll(s.Prefix(), 0o755); err != nil {
		return fmt.Errorf("make the container's folder: %w", err)
	}
	kept, err := image.Layout.MarshalText()
	if err != nil {
		return err
	}
	if err := errors.Join(
		os.Symlink(image.runtime, filepath.Join(string(s), runtimeLink)), // for who would remove it
		os.Symlink(t.Dir, filepath.Join(string(s), templateLink)),
		os.WriteFile(s.plan(), kept, 0o600),
		limits.Write(s.limits()),
	); err != nil {
		return err
	}
	for machine, layout := range image.layouts {
		plan, err := layout.MarshalStub()
		if err != nil {
			return err
		}
		preloader, err := stub.Preloader(machine)
		if err != nil {
			return err
		}
		library, err := quota.LibraryFile(machine)
		if err != nil {
			return err
		}
		if err := errors.Join(
			os.WriteFile(s.Layout(machine), plan, 0o644), os.Chmod(s.Layout(machine), 0o644), // whatever the umask
			os.WriteFile(s.Stub(machine), preloader, 0o755), os.Chmod(s.Stub(machine), 0o755),
			os.WriteFile(s.library(machine), library, 0o755), os.Chmod(s.library(machine), 0o755),
		); err != nil {
			return err
		}
	}
	return nil
}

// plan is the file with the whole plan, which the container does not see.
func (s Scratch) plan() string { return filepath.Join(string(s), "plan") }

// ReadPlan reads the plan that the container was made with.
//
// # Errors
//
// Wraps [fs.ErrNotExist] when none was kept.
func (s Scratch) ReadPlan() (*preload.Layout, error) {
	text, err := os.ReadFile(s.plan())
	if err != nil {
		return nil, err
	}
	layout := &preload.Layout{}
	if err := layout.UnmarshalText(text); err != nil {
		return nil, fmt.Errorf("%s: %w", s.plan(), err)
	}
	return layout, nil
}

// Layout is the file with the plan of the address space for processes of a machine, for the preloader.
func (s Scratch) Layout(machine string) string { return filepath.Join(string(s), "layout."+machine) }

// Stub is the preloader of a machine.
func (s Scratch) Stub(machine string) string { return filepath.Join(string(s), "preloader."+machine) }

// library is the library of a machine that tells programs of the limits.
func (s Scratch) library(machine string) string {
	return filepath.Join(string(s), "quota."+machine+".so")
}

// limits is the file that it reads them from.
func (s Scratch) limits() string { return filepath.Join(string(s), "limits") }

// Limits are those that the programs are told; nil for a container of an earlier winbox, which tells them nothing.
func (s Scratch) Limits() (*quota.Limits, error) {
	limits, err := quota.ReadLimits(s.limits())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return limits, err
}

// UpdateLimits tells the programs of a running container of limits that have changed. It does nothing for a container of
// an earlier winbox, which tells them nothing.
func (s Scratch) UpdateLimits(res *specs.LinuxResources) error {
	limits, err := s.Limits()
	if limits == nil || err != nil {
		return err
	}
	limits.Apply(res)
	return limits.Write(s.limits())
}

// Prefix is the folder for the upper layer of drive C: and the registry.
func (s Scratch) Prefix() string { return filepath.Join(string(s), "prefix") }
