package wine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/stub"
)

// An Image is a program of which the headers have been read: what its process needs.
type Image struct {
	// Machine is the program's.
	Machine string
	// Layout is the plan of its address space.
	Layout *preload.Layout
	// runtime is the folder of the Wine that it was examined for.
	runtime string
	// preloader is the ELF file that carries the layout out.
	preloader []byte
}

// Examine plans the address space of a program; reserve are further ranges to keep for it.
//
// # Errors
//
// Those of [preload.Runnable], [Runtime.Supports] and [preload.Plan]: sentences about the program.
func (r *Runtime) Examine(image *pe.Image, reserve []preload.Range) (*Image, error) {
	if err := preload.Runnable(image, false); err != nil {
		return nil, err
	}
	i := &Image{Machine: image.Machine.Arch(), runtime: r.root}
	opt, err := r.PlanOptions(i.Machine)
	if err != nil {
		return nil, err
	}
	opt.Reserve = reserve
	if i.Layout, err = preload.Plan(image, opt); err != nil {
		return nil, err
	}
	// A 32-bit program of the new WoW64 is a 64-bit process.
	i.preloader, err = stub.Preloader(i.Layout.Process.Arch())
	if none := (*stub.MachineError)(nil); errors.As(err, &none) {
		return i, nil
	}
	return i, err
}

// PlanOptions are the facts of this host and runtime that the address space of a program for the machine is planned with.
//
// # Errors
//
// Those of [Runtime.Supports].
func (r *Runtime) PlanOptions(machine string) (preload.Options, error) {
	opt := preload.HostOptions()
	opt.NewWoW64 = r.WoW64() == WoW64New
	var err error
	opt.Loader.Start, opt.Loader.End, err = r.LoaderRange(machine)
	return opt, err
}

// Preloaded says whether there is a preloader for the program.
func (i *Image) Preloaded() bool { return i.preloader != nil }

// Scratch is the folder of one container on the host: the files that it mounts, and room for what the program changes on
// drive C:. It goes with the container.
type Scratch string

// Make makes the folder for a program.
func (s Scratch) Make(image *Image) error {
	if err := os.MkdirAll(s.Prefix(), 0o755); err != nil {
		return fmt.Errorf("make the container's folder: %w", err)
	}
	plan, err := image.Layout.MarshalStub()
	if err != nil {
		return err
	}
	kept, err := image.Layout.MarshalText()
	if err != nil {
		return err
	}
	return errors.Join(
		os.Symlink(image.runtime, filepath.Join(string(s), runtimeLink)), // for who would remove it
		os.WriteFile(s.plan(), kept, 0o600),
		os.WriteFile(s.Layout(), plan, 0o644), os.Chmod(s.Layout(), 0o644), // whatever the umask
		os.WriteFile(s.Stub(), image.preloader, 0o755), os.Chmod(s.Stub(), 0o755),
	)
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

// Layout is the file with the plan of the address space, for the preloader.
func (s Scratch) Layout() string { return filepath.Join(string(s), "layout") }

// Stub is the preloader.
func (s Scratch) Stub() string { return filepath.Join(string(s), "preloader") }

// Prefix is the folder for the upper layer of drive C: and the registry.
func (s Scratch) Prefix() string { return filepath.Join(string(s), "prefix") }
