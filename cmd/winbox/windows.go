package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"winbox/oci"
	"winbox/quota"
	"winbox/sandbox"
	"winbox/sandbox/program"
	"winbox/wine"
)

// registryGrace is how long a wineserver has to write the registry when the program has ended: what that wrote to it is still
// with the server then.
const registryGrace = 10 * time.Second

// windows turns the options of a bundle whose first argument is a Windows
// program into those of the container that runs it. Those of others stay as they are.
func (g *globals) windows(ctx context.Context, opt *sandbox.Options) error {
	bundle, err := wine.Recognize(opt.Bundle)
	if err != nil {
		return err
	}
	if bundle == nil {
		return linuxOnly(opt.Bundle.Spec)
	}
	scratch := wine.Scratch(filepath.Join(g.dataRoot, "containers", newID(opt.ID)))
	asked := bundle.Runtime()
	container, err := g.container(ctx, bundle, asked, scratch)
	if err != nil {
		other, err := g.without32Bit(asked, err)
		if err != nil {
			return err
		}
		// Anew: the other Wine has other mounts, among which the program was looked for.
		if bundle, err = wine.Recognize(opt.Bundle); err != nil {
			return err
		}
		if container, err = g.container(ctx, bundle, other, scratch); err != nil {
			return err
		}
	}
	for _, w := range container.Warnings {
		g.log.Warn(w)
	}
	opt.Bundle = &oci.Bundle{Dir: opt.Bundle.Dir, Spec: container.Spec, Seccomp: opt.Bundle.Seccomp}
	opt.Helpers = helpers(container.Helpers)
	opt.Overlays = overlays(container.Overlays)
	opt.Windows, opt.Prepare, opt.Scratch = true, container.Prepare, []string{string(scratch)}
	opt.Stops, opt.Resize, opt.Linger, opt.MemoryFiles = container.Stops, container.Resize, container.Linger, quota.MemoryFiles
	if container.Persistent != nil {
		// Closed when this process ends: what is left open then is process 1's.
		opt.Hold, opt.StopGrace = container.Persistent.Hold(), registryGrace
	}
	return nil
}

// helpers hands what a display needs on to package sandbox.
func helpers(list []wine.Helper) (to []program.Helper) {
	for _, h := range list {
		to = append(to, program.Helper(h))
	}
	return to
}

// overlays hands the layers of a prefix on to package sandbox.
func overlays(list map[string]wine.Overlay) map[string]sandbox.Overlay {
	to := make(map[string]sandbox.Overlay, len(list))
	for at, o := range list {
		to[at] = sandbox.Overlay{Lower: o.Lower, Overlay: program.Overlay{
			Memory: o.Memory, MemorySize: o.MemorySize, ReadOnly: o.ReadOnly, Writable: o.Writable, Views: o.Views,
		}}
	}
	return to
}

// container turns a bundle into a container of a runtime, and closes the bundle.
func (g *globals) container(ctx context.Context, bundle *wine.Bundle, runtime string, scratch wine.Scratch) (made *wine.Container, err error) {
	defer bundle.Close()
	// In silence: an engine takes what `create` writes for the container's output.
	template, err := prepare(ctx, g, runtime, io.Discard)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			template.Hold.Close()
		}
	}()
	prefix, owner, err := bundle.PersistentPrefix()
	if err != nil {
		return nil, err
	}
	bundle.MapOwners = sandbox.MapOwners
	container, err := bundle.Container(template, scratch)
	if err == nil {
		if res := container.Spec.Linux.Resources; res != nil && res.Memory != nil && res.Memory.Limit != nil && *res.Memory.Limit > 0 {
			err = g.enoughMemory(ctx, template, "resources.memory.limit", *res.Memory.Limit)
		}
	}
	if prefix == nil {
		return container, err
	}
	if err == nil {
		err = g.fit(ctx, prefix, template, owner, io.Discard)
	}
	if err != nil {
		return nil, errors.Join(err, prefix.Close())
	}
	return container, nil
}

// windowsExec does the same for another process in a container.
func windowsExec(ct *sandbox.Container, opt *sandbox.ExecOptions) error {
	if !ct.Windows() || ct.PID() == 0 {
		return linuxProcess("", opt.Process)
	}
	spec, err := ct.Spec()
	if err != nil {
		return err
	}
	files, err := oci.OpenFiles(filepath.Join("/proc", strconv.Itoa(ct.PID()), "root"))
	if err != nil {
		return nil // it has stopped, which Exec says
	}
	defer files.Close()
	program, err := wine.InContainer(spec, opt.Process, files)
	if err != nil {
		return err
	}
	if program == nil {
		return linuxProcess("", opt.Process)
	}
	opt.Process, opt.Windows, opt.Resize = program.Process, true, program.Resize
	return nil
}

// linuxOnly refuses what only a Windows container can have.
func linuxOnly(spec *specs.Spec) error {
	if err := linuxProcess("process.", spec.Process); err != nil {
		return err
	}
	if spec.Linux == nil {
		return fmt.Errorf("linux: missing, and %q is no Windows program", spec.Process.Args[0])
	}
	if spec.Windows != nil {
		slog.Warn(fmt.Sprintf("windows: no effect: %q is no Windows program", spec.Process.Args[0]))
	}
	return nil
}

// linuxProcess refuses a Linux process whose command or current directory is for Windows. section begins the names of fields.
func linuxProcess(section string, p *specs.Process) error {
	if len(p.Args) == 0 {
		return fmt.Errorf("%sargs: empty, and commandLine is for Windows programs only", section)
	}
	if oci.HasDrive(p.Cwd) {
		return fmt.Errorf("%scwd: %q is a Windows path, and %q no Windows program", section, p.Cwd, p.Args[0])
	}
	return nil
}

// printProgram prints what create would do.
func printProgram(c *cli.Context, opt sandbox.Options) error {
	if opt.Prepare != nil {
		// The program is compiled for files that are there.
		defer func() {
			for _, dir := range opt.Scratch {
				os.RemoveAll(dir)
			}
		}()
		if err := opt.Prepare(); err != nil {
			return err
		}
	}
	p, err := sandbox.Compile(opt)
	if err != nil {
		return err
	}
	return p.Print(c.App.Writer)
}
