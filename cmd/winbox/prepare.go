package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/term"

	"winbox/oci"
	"winbox/sandbox"
	"winbox/wine"
)

// prepare finds the runtime of a name, the default one without, and makes its
// template when there is none yet; that this takes its time is said on out.
// Neither is removed while the template's Hold is open.
func prepare(ctx context.Context, g *globals, name string, out io.Writer) (t *wine.Template, err error) {
	store := wine.OpenStore(g.dataRoot)
	hold, err := store.Hold()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			hold.Close()
		}
	}()
	runtime, err := store.Select(name, wine.AMD64)
	if err != nil {
		return nil, err
	}
	bar := newProgress(out, "preparing Wine "+runtime.Version, "once, some seconds")
	defer bar.done()
	if t, err = runtime.Prepare(ctx, g.dataRoot, g.runTemplate, bar.step); err == nil {
		t.Hold = hold
	}
	return t, err
}

// fit makes a persistent prefix fit a template; that an upgrade takes its time is said on out.
func (g *globals) fit(ctx context.Context, prefix *wine.Persistent, template *wine.Template, owner wine.Owner, out io.Writer) error {
	bar := newProgress(out, "upgrading "+prefix.Dir+" to Wine "+template.Runtime.Version, "once, some seconds")
	defer bar.done()
	return prefix.Fit(ctx, template, owner, g.runTemplate, bar.step, func(mended string) { g.log.Warn(mended) })
}

// runTemplate runs the container that makes a template, or upgrades a prefix.
func (g *globals) runTemplate(ctx context.Context, spec *specs.Spec) (int, error) {
	if g.noSandbox {
		return wine.RunHere(ctx, spec)
	}
	// Wine talks while it makes a prefix, and it is of no use to anybody.
	quiet, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer quiet.Close()
	res, err := sandbox.Run(ctx, sandbox.Options{
		Root: g.root, ID: newID("template"), Bundle: &oci.Bundle{Dir: filepath.Dir(spec.Root.Path), Spec: spec}, Windows: true,
		StopGrace: time.Minute, Stdio: [3]*os.File{quiet, quiet, quiet}, Rootless: g.rootless || g.nested, Log: g.log,
	}, false, nil)
	return res.ExitCode, err
}

// progress shows the steps of something that takes long: as a bar on a
// terminal, else as a line when it begins.
type progress struct {
	out   io.Writer
	title string
	time  string // how long it takes
	bar   bool   // there is one on the terminal
	said  bool
}

func newProgress(out io.Writer, title, time string) *progress {
	return &progress{out: out, title: title, time: time}
}

// step is called before each step, with the number of those that are done.
func (p *progress) step(text string, done, total int) {
	f, isFile := p.out.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		if !p.said {
			fmt.Fprintf(p.out, "winbox: %s (%s)\n", p.title, p.time)
			p.said = true
		}
		return
	}
	p.bar = true
	fmt.Fprintf(p.out, "\r%s [%s%s] %s\x1b[K", p.title, strings.Repeat("=", 4*done), strings.Repeat(" ", 4*(total-done)), text)
}

// done removes the bar.
func (p *progress) done() {
	if p.bar {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
