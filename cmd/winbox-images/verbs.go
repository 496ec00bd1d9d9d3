package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"winbox/images"
	"winbox/images/layer"
	"winbox/images/request"
	"winbox/images/store"
	"winbox/preload"
)

// A command carries out one request.
type command struct {
	request.Request
	ctx            context.Context
	store          *store.Store
	stdin          *os.File
	stdout, stderr io.Writer
	bar            bar
}

func (c *command) run() error {
	verb := map[string]func() error{
		"pack": c.pack, "ls": c.list, "inspect": c.inspect, "rm": c.remove, "prune": c.prune, "save": c.save, "load": c.load,
		"pull": c.pull, "push": c.push, "unpack": c.unpack, "layers": c.layers, "convert": c.convert,
	}[c.Verb]
	if verb == nil {
		return fmt.Errorf("image %q: winbox and winbox-images are not of the same version: install both", c.Verb)
	}
	var hold *store.Hold
	if c.Verb != "prune" { // which waits for the others' end
		var err error
		if hold, err = c.store.Hold(); err != nil {
			return err
		}
		defer hold.Close()
	}
	defer c.bar.done()
	err := verb()
	if store.IsFull(err) { // what came of the image only fills the disk
		hold.Close()
		if _, pruneErr := c.store.Prune(c.ctx, store.PruneOptions{Try: true}); !errors.Is(pruneErr, store.ErrBusy) {
			err = errors.Join(err, pruneErr)
		}
	}
	return err
}

func (c *command) warn(text string) {
	c.bar.done()
	fmt.Fprintln(c.stderr, "winbox: warning: "+text)
}

// options are those of verbs that add images.
func (c *command) options(title string) images.Options {
	opt := images.Options{Limits: layer.DefaultLimits, Warn: c.warn}
	if c.MaxSize > 0 {
		opt.Limits.Bytes = c.MaxSize
	}
	if c.MaxFiles > 0 {
		opt.Limits.Entries = c.MaxFiles
	}
	opt.Progress = c.progress(title)
	return opt
}

// progress shows how far something is, on a terminal.
func (c *command) progress(title string) images.Progress {
	f, ok := c.stderr.(*os.File)
	if !ok || c.Quiet || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	c.bar = bar{out: c.stderr, title: title}
	return c.bar.show
}

// A bar shows progress in a line of a terminal.
type bar struct {
	out   io.Writer
	title string
	last  time.Time
	shown bool
}

const barWidth = 30

func (b *bar) show(done, total int64) {
	if now := time.Now(); now.Sub(b.last) > 100*time.Millisecond || done == total {
		b.last, b.shown = now, true
		full := 0
		if total > 0 {
			full = int(barWidth * min(max(done, 0), total) / total)
		}
		fmt.Fprintf(b.out, "\r%s [%s%s] %s of %s\x1b[K", b.title, strings.Repeat("=", full), strings.Repeat(" ", barWidth-full),
			preload.FormatSize(uint64(max(done, 0))), preload.FormatSize(uint64(max(total, 0))))
	}
}

func (b *bar) done() {
	if b.shown {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.shown = false
	}
}

// pairs reads NAME=VALUE.
func pairs(what string, list []string) (map[string]string, error) {
	m := make(map[string]string)
	for _, setting := range list {
		name, value, ok := strings.Cut(setting, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--%s %q: want NAME=VALUE", what, setting)
		}
		m[name] = value
	}
	return m, nil
}

func (c *command) pack() error {
	if c.Tag == "" {
		return errors.New("image pack: what is it to be called? (--tag NAME)")
	}
	name, err := store.CheckName(c.Tag)
	if err != nil {
		return err
	}
	opt := images.PackOptions{
		Base: c.Base, Entry: c.Entry, Entrypoint: c.Entrypoint, Env: c.Env, Workdir: c.Workdir, User: c.User, StopSignal: c.StopSignal,
		Layers: c.Layers, Compression: images.Compression(cmp.Or(c.Compression, string(images.Gzip))), Warn: c.warn, Time: images.DefaultTime,
	}
	if len(c.Args) > 0 {
		opt.From, opt.Args = c.Args[0], c.Args[1:]
	}
	if opt.Labels, err = pairs("label", c.Labels); err != nil {
		return err
	}
	if opt.Annotations, err = pairs("annotation", c.Annotations); err != nil {
		return err
	}
	for name, value := range c.Own {
		opt.Labels[name], opt.Annotations[name] = value, value
	}
	for _, setting := range c.Env {
		if name, _, ok := strings.Cut(setting, "="); !ok || name == "" || strings.ContainsRune(setting, 0) {
			return fmt.Errorf("--env %q: want NAME=VALUE", setting)
		}
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil || seconds < 0 || seconds > 1<<33 {
			return fmt.Errorf("SOURCE_DATE_EPOCH: %q is not a number of seconds since 1970", epoch)
		}
		opt.Time = time.Unix(seconds, 0).UTC()
	}
	if term.IsTerminal(int(c.stdin.Fd())) {
		opt.Choose = c.choose
	}
	d, err := images.Pack(c.ctx, c.store, opt)
	if err != nil {
		return fmt.Errorf("image pack: %w", c.store.Explain(err))
	}
	if err := c.store.Tag(c.ctx, name, d); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, d.Digest)
	return err
}

// convert makes an image of one for Windows.
func (c *command) convert() error {
	if c.Tag == "" {
		return errors.New("image convert: what is it to be called? (--tag NAME)")
	}
	name, err := store.CheckName(c.Tag)
	if err != nil {
		return err
	}
	opt := images.ConvertOptions{Compression: images.Compression(cmp.Or(c.Compression, string(images.Gzip))), Limits: c.options("").Limits, Warn: c.warn}
	d, err := images.Convert(c.ctx, c.store, c.Args[0], opt)
	if err != nil {
		return fmt.Errorf("image convert: %w", c.store.Explain(err))
	}
	if err := c.store.Tag(c.ctx, name, d); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, d.Digest)
	return err
}

// choose asks for one of several programs.
func (c *command) choose(programs []string) (string, error) {
	for i, p := range programs {
		fmt.Fprintf(c.stderr, "%3d  %s\n", i+1, p)
	}
	answers := bufio.NewScanner(c.stdin)
	for range 3 {
		fmt.Fprintf(c.stderr, "Which program is to be run? [1-%d] ", len(programs))
		if !answers.Scan() {
			break
		}
		if n, err := strconv.Atoi(strings.TrimSpace(answers.Text())); err == nil && 1 <= n && n <= len(programs) {
			return programs[n-1], nil
		}
	}
	return "", errors.New("no program was chosen: say which with --entrypoint")
}

// listed is an element of `image ls --json`. Its field names are stable.
type listed struct {
	Name    string       `json:"name"`
	Digest  store.Digest `json:"digest"`
	Size    int64        `json:"size"`
	Layers  int          `json:"layers"`
	Created string       `json:"created"`
	// Error says what is wrong with an image that cannot be read.
	Error string `json:"error,omitempty"`
}

func (c *command) list() error {
	descriptors, err := c.store.List()
	if err != nil {
		return err
	}
	list := []listed{}
	for _, d := range descriptors {
		l := listed{Name: d.Name(), Digest: d.Digest}
		if i, err := c.store.Image(d); err != nil {
			l.Error = err.Error()
		} else {
			l.Size, l.Layers, l.Created = i.Size(), len(i.Manifest.Layers), i.Config.Created
		}
		list = append(list, l)
	}
	if c.JSON {
		return json.NewEncoder(c.stdout).Encode(list)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 1, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tDIGEST\tSIZE\tLAYERS\tCREATED")
	for _, l := range list {
		if l.Error != "" {
			fmt.Fprintf(w, "%s\t%s\t%s\n", l.Name, short(l.Digest), clean(l.Error))
			continue
		}
		created := "-"
		if t, err := time.Parse(time.RFC3339, l.Created); err == nil {
			created = t.UTC().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", l.Name, short(l.Digest), preload.FormatSize(uint64(l.Size)), l.Layers, created)
	}
	return w.Flush()
}

func short(d store.Digest) string { return string(d)[:len("sha256:")+12] }

// clean makes text of an image fit a line of a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

// inspected is what `image inspect` prints. Its field names are stable.
type inspected struct {
	Name        string            `json:"name"`
	Digest      store.Digest      `json:"digest"`
	Size        int64             `json:"size"`
	Created     string            `json:"created,omitempty"`
	Platform    string            `json:"platform"`
	Entrypoint  []string          `json:"entrypoint"`
	Cmd         []string          `json:"cmd"`
	Env         []string          `json:"env"`
	WorkingDir  string            `json:"workingDir,omitempty"`
	User        string            `json:"user,omitempty"`
	StopSignal  string            `json:"stopSignal,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Layers      []inspectedLayer  `json:"layers"`
	// Containers are those that use it.
	Containers []string `json:"containers"`
}

type inspectedLayer struct {
	Digest    store.Digest `json:"digest"`
	DiffID    store.Digest `json:"diffID"`
	MediaType string       `json:"mediaType"`
	Size      int64        `json:"size"`
	Unpacked  bool         `json:"unpacked"`
}

func (c *command) inspect() error {
	list := []inspected{}
	users, err := c.store.Users()
	if err != nil {
		return err
	}
	for _, name := range c.Args {
		i, err := c.store.Find(name)
		if err != nil {
			return err
		}
		config := i.Config.Config
		in := inspected{
			Name: i.Name(), Digest: i.Digest, Size: i.Size(), Created: i.Config.Created, Platform: i.Config.OS + "/" + i.Config.Architecture,
			Entrypoint: append([]string{}, config.Entrypoint...), Cmd: append([]string{}, config.Cmd...), Env: append([]string{}, config.Env...),
			WorkingDir: config.WorkingDir, User: config.User, StopSignal: config.StopSignal, Labels: config.Labels, Annotations: i.Manifest.Annotations,
			Layers: []inspectedLayer{}, Containers: []string{},
		}
		for n, l := range i.Manifest.Layers {
			diffID := i.Config.RootFS.DiffIDs[n]
			in.Layers = append(in.Layers, inspectedLayer{l.Digest, diffID, l.MediaType, l.Size, c.store.HasTree(diffID)})
		}
		for _, u := range users {
			if u.Image.Digest == i.Digest {
				in.Containers = append(in.Containers, u.Container)
			}
		}
		list = append(list, in)
	}
	out := json.NewEncoder(c.stdout)
	out.SetIndent("", "  ")
	return out.Encode(list)
}

func (c *command) remove() error {
	var failed []error
	for _, name := range c.Args {
		failed = append(failed, c.store.Untag(c.ctx, name))
	}
	return errors.Join(failed...)
}

func (c *command) prune() error {
	list, err := c.store.Prune(c.ctx, store.PruneOptions{All: c.All, Dry: c.DryRun, Try: c.Quiet})
	if c.Quiet && errors.Is(err, store.ErrBusy) {
		return nil // a later one will
	}
	if err != nil || c.Quiet {
		return err
	}
	if c.JSON {
		return json.NewEncoder(c.stdout).Encode(append([]store.Pruned{}, list...))
	}
	if len(list) == 0 {
		fmt.Fprintln(c.stderr, "nothing to remove")
		return nil
	}
	w := tabwriter.NewWriter(c.stdout, 0, 1, 3, ' ', 0)
	fmt.Fprintln(w, "KIND\tNAME\tSIZE")
	var freed int64
	for _, p := range list {
		freed += p.Size
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Kind, clean(p.Name), preload.FormatSize(uint64(p.Size)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	what := "freed"
	if c.DryRun {
		what = "would be freed"
	}
	_, err = fmt.Fprintf(c.stderr, "%s %s\n", preload.FormatSize(uint64(freed)), what)
	return err
}

func (c *command) save() error {
	if c.Output == "" {
		return errors.New("image save: where to? (--output FILE)")
	}
	return c.store.Explain(images.Save(c.store, c.Args, c.Output, cmp.Or(c.Format, images.OCIArchive)))
}

func (c *command) load() error {
	from := c.Args[0]
	if from == "-" {
		// It is read more than once.
		dir, done, err := c.store.Draft()
		if err != nil {
			return err
		}
		defer done()
		from = dir + "/archive"
		f, err := os.OpenFile(from, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, c.stdin)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("image load: %w", c.store.Explain(err))
		}
	}
	names, err := images.Load(c.ctx, c.store, from, c.Tag, c.options("loading"))
	c.bar.done()
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintln(c.stdout, name)
	}
	return err
}

func (c *command) pull() error {
	for _, name := range c.Args {
		d, err := images.Pull(c.ctx, c.store, name, c.options("pulling "+name))
		if err != nil {
			return err
		}
		c.bar.done()
		if _, err := fmt.Fprintln(c.stdout, d.Digest); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) push() error {
	to := c.Args[len(c.Args)-1]
	return images.Push(c.ctx, c.store, c.Args[0], to, c.progress("pushing "+to))
}

// layers unpacks what of an image is not unpacked.
func (c *command) layers() error {
	i, err := c.store.Find(c.Args[0])
	if err != nil {
		return err
	}
	return images.UnpackLayers(c.ctx, c.store, i, c.options("").Limits, c.warn)
}

// unpack unpacks an image into a folder of its own.
func (c *command) unpack() error {
	return images.UnpackStored(c.ctx, c.store, c.Args[0], c.Args[1], c.options("").Limits)
}
