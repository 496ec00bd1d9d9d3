package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/preload"
	"winbox/preload/pe"
	"winbox/quota"
	"winbox/sandbox"
	"winbox/wine"
)

// smallestMemory is what the smallest Windows programs need with Wine, some of it committed but not touched, and some room.
const smallestMemory = 16 << 20

// enoughMemory refuses a memory limit with which no program starts, and says how much one takes. It has a name, and t is nil
// if it is not to be measured.
func (g *globals) enoughMemory(ctx context.Context, t *wine.Template, name string, limit int64) error {
	const least = smallestMemory
	if limit >= least {
		return nil
	}
	if t != nil {
		if need, err := g.startNeed(ctx, t); err == nil {
			return fmt.Errorf("%s: %s is less than %s, the least for a Windows program: a small one took %s here to start and end, and committed %s",
				name, preload.FormatSize(uint64(limit)), preload.FormatSize(least), preload.FormatSize(need.memory), preload.FormatSize(need.commit))
		}
	}
	return fmt.Errorf("%s: %s is less than %s, which Windows programs need to start", name, preload.FormatSize(uint64(limit)), preload.FormatSize(least))
}

// startNeed is what a small Windows program takes to start and end, in bytes.
type startNeed struct {
	memory uint64
	// commit is what its container has committed at most.
	commit uint64
}

// startNeed measures what a small Windows program takes here, with Wine: the peaks of a container that runs one of Windows'
// own. It is for the error of a limit that is too low.
func (g *globals) startNeed(ctx context.Context, t *wine.Template) (need startNeed, err error) {
	dir := filepath.Join(t.Root(), "tmp") // an empty folder, which no kill leaves behind
	id := newID("measure")
	scratch := wine.Scratch(filepath.Join(g.dataRoot, "containers", id))
	defer os.RemoveAll(string(scratch))
	program, err := t.Find("hostname", dir, "")
	if err != nil {
		return need, err
	}
	headers, exe, err := pe.OpenFile(program.Host)
	if err != nil {
		return need, err
	}
	defer exe.Close()
	image, err := t.Runtime.Examine(headers, wine.Wishes{})
	if err != nil {
		return need, err
	}
	container, err := t.Container(wine.Options{
		Program: program, Machine: image.Machine, Image: image, Dir: dir, Boot: wine.BootMinimal, Scratch: scratch.Prefix(),
		UID: os.Geteuid(), GID: os.Getegid(), Rootless: g.rootless, Preload: scratch,
	})
	if err != nil {
		return need, err
	}
	quiet, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return need, err
	}
	defer quiet.Close()
	// A pipe that is full keeps the program from its end until its counters have been found.
	out, full, err := os.Pipe()
	if err != nil {
		return need, err
	}
	defer out.Close()
	defer full.Close()
	size, err := unix.FcntlInt(full.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return need, err
	}
	if _, err := full.Write(make([]byte, size)); err != nil {
		return need, err
	}
	var counters *quota.CountersFolder
	res, runErr := sandbox.Run(ctx, sandbox.Options{
		Root: g.root, ID: id, Bundle: &oci.Bundle{Dir: string(scratch), Spec: container.Spec}, Windows: true, Stats: true, Log: g.log,
		Stdio: [3]*os.File{quiet, full, quiet}, Rootless: g.rootless, Scratch: []string{string(scratch)}, MemoryFiles: quota.MemoryFiles,
		Overlays: overlays(container.Overlays),
		Prepare: func() error {
			if err := scratch.Make(image, t, &quota.Limits{}); err != nil {
				return err
			}
			return container.Prepare()
		},
	}, false, func(ct *sandbox.Container) {
		counters, err = quota.HoldCounters(rootOf(ct))
		go io.Copy(io.Discard, out)
	})
	if counters != nil {
		defer counters.Close()
	}
	switch err = errors.Join(runErr, err); {
	case err != nil:
		return need, err
	case res.ExitCode != 0 || res.Stats == nil || res.Stats.Memory.Peak == 0:
		return need, errors.New("the kernel does not tell how much memory a container has used at most")
	}
	file, err := counters.Open()
	if err != nil {
		return need, err
	}
	defer file.Close()
	counted, err := file.Read()
	if err != nil {
		return need, err
	}
	return startNeed{res.Stats.Memory.Peak, counted.Peak}, nil
}
