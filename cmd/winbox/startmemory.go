package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"winbox/oci"
	"winbox/preload/pe"
	"winbox/quota"
	"winbox/sandbox"
	"winbox/wine"
)

// startMemory measures how much memory a small Windows program takes here, with Wine: the peak of a container that runs one
// of Windows' own. It is for the error of a limit that is too low.
func (g *globals) startMemory(ctx context.Context, t *wine.Template) (peak uint64, err error) {
	dir := filepath.Join(t.Root(), "tmp") // an empty folder, which no kill leaves behind
	id := newID("measure")
	scratch := wine.Scratch(filepath.Join(g.dataRoot, "containers", id))
	defer os.RemoveAll(string(scratch))
	program, err := t.Find("hostname", dir, "")
	if err != nil {
		return 0, err
	}
	headers, file, err := pe.OpenFile(program.Host)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	image, err := t.Runtime.Examine(headers, wine.Wishes{})
	if err != nil {
		return 0, err
	}
	container, err := t.Container(wine.Options{
		Program: program, Machine: image.Machine, Image: image, Dir: dir, Boot: wine.BootMinimal, Scratch: scratch.Prefix(),
		UID: os.Geteuid(), GID: os.Getegid(), Rootless: g.rootless, Preload: scratch,
	})
	if err != nil {
		return 0, err
	}
	quiet, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer quiet.Close()
	res, err := sandbox.Run(ctx, sandbox.Options{
		Root: g.root, ID: id, Bundle: &oci.Bundle{Dir: string(scratch), Spec: container.Spec}, Windows: true, Stats: true, Log: g.log,
		Stdio: [3]*os.File{quiet, quiet, quiet}, Rootless: g.rootless, Scratch: []string{string(scratch)}, MemoryFiles: quota.MemoryFiles,
		Overlays: overlays(container.Overlays),
		Prepare: func() error {
			if err := scratch.Make(image, t, &quota.Limits{}); err != nil {
				return err
			}
			return container.Prepare()
		},
	}, false, nil)
	switch {
	case err != nil:
		return 0, err
	case res.ExitCode != 0 || res.Stats == nil || res.Stats.Memory.Peak == 0:
		return 0, errors.New("the kernel does not tell how much memory a container has used at most")
	}
	return res.Stats.Memory.Peak, nil
}
