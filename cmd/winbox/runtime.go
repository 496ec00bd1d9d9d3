package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"winbox/preload"
	"winbox/wine"
)

// runtimeActions are what can be done with runtimes: how many names each takes,
// and its flags.
var runtimeActions = map[string]struct {
	least, most int
	flags       []string
	run         func(g *globals, c *cli.Context, names []string) error
}{
	"build":   {0, 1, []string{"wow64", "from", "mirror", "all", "wayland", "replace", "no-sandbox"}, buildRuntime},
	"install": {1, 2, []string{"wow64", "all", "wayland", "replace"}, installRuntime},
	"ls":      {0, 0, []string{"format"}, listRuntimes},
	"prune":   {0, 0, []string{"all", "dry-run", "format"}, pruneRuntimes},
	"rm":      {1, 100, nil, removeRuntimes},
	"verify":  {1, 100, nil, verifyRuntimes},
}

func runtimeCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "runtime",
		Usage:     "build, list and remove Wine runtimes",
		ArgsUsage: "build|install|ls|prune|rm|verify [IMAGE] [NAME...]",
		Description: `A runtime is a Wine in a folder of its own, which containers share read-only. The
host's Wine is one, of the name "host"; others are built.

build makes one of Debian's packages, Wine 10 of Debian 13, and leaves the host's
own packages alone. It needs mmdebstrap, debian-archive-keyring and root, 2 GiB
of disk for a minute or two, and prints the name. With --wow64 i386, 32-bit
programs run on an i386 Wine, as 32-bit Linux processes; with new, on 32-bit DLLs
in the 64-bit Wine, by its new WoW64; with none, not at all.

install takes one from an IMAGE instead: an OCI layout (a folder), an OCI or docker
archive, or the name of an image in a registry, with the passwords of docker's
configuration. An image of a distribution with Wine is trimmed in the same way; one
of a runtime, which its label io.winbox.runtime says, is taken as it is.

ls lists the runtimes; the default, marked with a star, is what launch takes for
64-bit programs. rm removes some, verify reads them whole and compares them with
their digests. A NAME may be a digest, or its first eight digits or more.

prune removes runtimes that have neither a name nor a container, what killed
builds have left, and what was prepared for runtimes that are gone or for states
of the host's Wine that are; with --all also runtimes with a name, unless a
container uses them. It lists what it removes, or with --dry-run would remove.

    winbox runtime build
    winbox launch --runtime wine-10.0-i386 ./app.exe`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "wow64", Value: string(wine.WoW64I386), Usage: "build, install: how 32-bit programs run, `KIND`: i386, new or none"},
			&cli.StringFlag{Name: "from", Usage: "build: take Wine from a root file system, `FILE`: a folder or a tar file"},
			&cli.StringFlag{Name: "mirror", DefaultText: "the host's", Usage: "build: take Debian's packages from `URL`"},
			&cli.BoolFlag{Name: "all", Usage: "build, install: keep what is for games, films, scanners and Wine's own desktop; prune: remove runtimes with a name, too"},
			&cli.BoolFlag{Name: "wayland", Usage: "build, install: keep what shows windows on Wayland's displays, 3 MiB for each machine"},
			&cli.BoolFlag{Name: "replace", Usage: "build, install: take the name of another runtime, and remove that"},
			&cli.BoolFlag{Name: "no-sandbox", Usage: "build: have the Wine that is installed make the prefix, in no container: while an image is built"},
			&cli.BoolFlag{Name: "dry-run", Usage: "prune: only say what would be removed"},
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "ls, prune: `FORMAT`: table or json"},
		},
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) == 0 {
				return errors.New("runtime: what to do? (winbox runtime build|install|ls|prune|rm|verify [NAME...])")
			}
			action, known := runtimeActions[words[0]]
			if !known {
				return fmt.Errorf("runtime: %q is none of build, install, ls, prune, rm and verify", words[0])
			}
			if n := len(words) - 1; n < action.least || n > action.most {
				return fmt.Errorf("runtime %s: takes %d to %d names, not %d", words[0], action.least, action.most, n)
			}
			for _, flag := range c.LocalFlagNames() {
				if len(flag) > 1 && !slices.Contains(action.flags, flag) {
					return fmt.Errorf("runtime %s: has no flag --%s", words[0], flag)
				}
			}
			return action.run(g, c, words[1:])
		},
	}
}

func buildRuntime(g *globals, c *cli.Context, names []string) error {
	return makeRuntime(g, c, "building a runtime", wine.BuildOptions{
		Name: strings.Join(names, ""), WoW64: wine.WoW64(c.String("wow64")), From: c.String("from"), Mirror: c.String("mirror"),
	})
}

func installRuntime(g *globals, c *cli.Context, words []string) error {
	opt := wine.BuildOptions{Image: words[0], Name: strings.Join(words[1:], "")}
	if c.IsSet("wow64") {
		opt.WoW64 = wine.WoW64(c.String("wow64"))
	}
	return makeRuntime(g, c, "installing a runtime", opt)
}

func makeRuntime(g *globals, c *cli.Context, title string, opt wine.BuildOptions) error {
	opt.All, opt.Wayland, opt.Replace = c.Bool("all"), c.Bool("wayland"), c.Bool("replace")
	// What is half made must go when the user loses patience.
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	g.noSandbox = c.Bool("no-sandbox")
	bar := newProgress(g.stderr, title, "a minute or two")
	defer bar.done()
	store := wine.OpenStore(g.dataRoot)
	record, err := store.Build(ctx, opt, bar.step)
	if err != nil {
		return err
	}
	// Its template too: the first program should not have to wait for it.
	if _, err := prepare(ctx, g, record.Name, g.stderr); err != nil {
		return err
	}
	bar.done()
	if record.NoUpdates != "" {
		fmt.Fprintf(g.stderr, "winbox: warning: built without security updates, which could not be had (%s): build it anew later, with --replace\n", record.NoUpdates)
	}
	fmt.Fprintf(g.stderr, "Wine %s, %s of %s, %s\n", record.Wine, preload.FormatSize(uint64(record.Size)), preload.FormatSize(uint64(record.Untrimmed)), record.Digest)
	_, err = fmt.Fprintln(c.App.Writer, record.Name)
	return err
}

// listedRuntime is an entry of `winbox runtime ls --format json`. Its field names are stable.
type listedRuntime struct {
	wine.Record
	Default bool `json:"default"`
}

func listRuntimes(g *globals, c *cli.Context, _ []string) error {
	asJSON, err := jsonWanted(c)
	if err != nil {
		return err
	}
	store := wine.OpenStore(g.dataRoot)
	records, err := store.List()
	if err != nil {
		return err
	}
	if host, err := wine.Host(); err == nil {
		records = append([]wine.Record{host.Record()}, records...)
	}
	list := make([]listedRuntime, 0, len(records)) // none is [] in JSON
	chosen, _ := store.Select("", wine.AMD64)      // without one there is nothing to mark
	for _, r := range records {
		list = append(list, listedRuntime{r, chosen != nil && r.Name == chosen.Name})
	}
	if asJSON {
		return json.NewEncoder(c.App.Writer).Encode(list)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 1, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tWINE\tMACHINES\t32-BIT BY\tSIZE\tCREATED\tDIGEST")
	for _, r := range list {
		name, size, created, digest := r.Name, "-", "-", "-"
		if r.Default {
			name += "*"
		}
		if r.Digest != "" {
			size, created, digest = preload.FormatSize(uint64(r.Size)), r.Created.Format(time.DateTime), r.Digest[:len("sha256:")+12]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, r.Wine, strings.Join(r.Machines, " "), r.WoW64, size, created, digest)
	}
	return w.Flush()
}

func pruneRuntimes(g *globals, c *cli.Context, _ []string) error {
	asJSON, err := jsonWanted(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	list, err := wine.OpenStore(g.dataRoot).Prune(ctx, c.Bool("all"), c.Bool("dry-run"))
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(c.App.Writer).Encode(append([]wine.Pruned{}, list...)) // none is []
	}
	if len(list) == 0 {
		fmt.Fprintln(g.stderr, "nothing to remove")
		return nil
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 1, 3, ' ', 0)
	fmt.Fprintln(w, "KIND\tNAME\tSIZE")
	var freed int64
	for _, p := range list {
		freed += p.Size
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Kind, p.Name, preload.FormatSize(uint64(p.Size)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	what := "freed"
	if c.Bool("dry-run") {
		what = "would be freed"
	}
	_, err = fmt.Fprintf(g.stderr, "%s %s\n", preload.FormatSize(uint64(freed)), what)
	return err
}

func removeRuntimes(g *globals, _ *cli.Context, names []string) error {
	store := wine.OpenStore(g.dataRoot)
	var failed []error
	for _, name := range names {
		failed = append(failed, store.Remove(name))
	}
	return errors.Join(failed...)
}

func verifyRuntimes(g *globals, _ *cli.Context, names []string) error {
	store := wine.OpenStore(g.dataRoot)
	var failed []error
	for _, name := range names {
		failed = append(failed, store.Verify(name))
	}
	return errors.Join(failed...)
}

// without32Bit gives the runtime for a program that a runtime cannot run for
// being a 32-bit one; err, which says so, when the user has asked for that
// runtime or there is no other.
func (g *globals) without32Bit(asked string, err error) (string, error) {
	var lacks *wine.No32BitError
	if asked != "" || !errors.As(err, &lacks) {
		return "", err
	}
	other, none := wine.OpenStore(g.dataRoot).Select("", wine.I386)
	if none != nil {
		return "", err
	}
	return other.Name, nil
}
