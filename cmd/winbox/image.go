package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"winbox/images/request"
	"winbox/images/store"
	"winbox/internal/sizes"
	"winbox/oci"
	"winbox/preload"
	"winbox/preload/prelink"
	"winbox/wine"
)

// imageActions are what can be done with images: how many arguments each takes, and its flags.
var imageActions = map[string]struct {
	least, most int
	want        string
	flags       []string
}{
	"pack": {0, 1000, "", []string{"tag", "with-runtime", "runtime", "entrypoint", "env", "workdir", "user", "label", "annotation", "boot", "stop", "stop-signal",
		"memory", "drive", "display", "encoding", "layer", "compression"}},
	"ls":      {0, 0, "no arguments", []string{"json"}},
	"inspect": {1, 1000, "NAMEs", nil},
	"rm":      {1, 1000, "NAMEs", nil},
	"prune":   {0, 0, "no arguments", []string{"all", "dry-run", "json"}},
	"save":    {1, 1000, "NAMEs", []string{"output", "format"}},
	"load":    {1, 1, "one FILE or folder", []string{"tag", "max-size", "max-files", "quiet"}},
	"pull":    {1, 1000, "NAMEs", []string{"max-size", "max-files", "quiet"}},
	"push":    {1, 2, "NAME, and another one in the registry", []string{"quiet"}},
	"unpack":  {2, 2, "NAME and DIR", []string{"max-size", "max-files"}},
	"convert": {1, 1, "one FILE, folder or NAME in a registry", []string{"tag", "compression", "max-size", "max-files"}},
	"prelink": {1, 1, "one folder", []string{"dry-run", "drop-signatures", "programs", "json"}},
}

const imageVerbs = "pack|ls|inspect|rm|prune|save|load|pull|push|unpack|convert|prelink"

func imageCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:      "image",
		Usage:     "pack applications as OCI images, and keep, move and prelink them",
		ArgsUsage: imageVerbs + " [ARGUMENT...]",
		Description: `pack makes an image of a folder of Windows files, or of one program: only these
are in it, since winbox brings Wine along. The program is the only one, or the one
at the top, or --entrypoint. The same files make the same image, wherever and
whenever: times are SOURCE_DATE_EPOCH's, or of 1980. It prints the digest.

ls lists the images, inspect shows some as JSON. rm removes names, and what nobody
needs any more; prune also what was left, and with --all every image that no
container uses. A NAME may be a digest, or its first eight digits or more.

pull gets images from registries, push puts one there, with the passwords of
docker's or podman's configuration; what was broken off is gone on with. save
writes images to an archive, load reads those of docker, podman and others, or
of standard input (-). unpack makes a bundle of an image, for any OCI runtime.

convert makes an image of one for Windows (a file, folder or name in a registry):
its files, on C:, and its registry, without Windows; it says what it left out.

prelink rewrites the libraries (DLLs) in a folder and those below, so that no
loader has to change them, and all containers share their memory. A library that
is signed, or is .NET's, Wine's or Windows' own is left alone. Each file is
replaced as a whole or not at all; exit code 1 when one could not be.

    winbox image pack ./app -t registry.example.org/app:1.0
    winbox image push registry.example.org/app:1.0
    winbox launch registry.example.org/app:1.0`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "tag", Aliases: []string{"t"}, Usage: "pack, load, convert: what the image is called, `NAME`, such as app:1.0"},
			&cli.StringFlag{Name: "entrypoint", Usage: "pack: the program, `FILE` in the folder, or its path in the image"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "pack: environment variable `NAME=VALUE`"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "pack: `FOLDER` it starts in, such as C:\\app or /app"},
			&cli.StringFlag{Name: "user", Usage: "pack: who it runs as, `UID[:GID]`"},
			&cli.StringSliceFlag{Name: "label", Usage: "pack: label `NAME=VALUE`"},
			&cli.StringSliceFlag{Name: "annotation", Usage: "pack: annotation of the manifest, `NAME=VALUE`"},
			&cli.StringFlag{Name: "boot", Usage: "pack: what is started before the program, `BOOT`: minimal, auto or full"},
			&cli.StringFlag{Name: "stop", Usage: "pack: what a signal becomes, `EVENT`, as with launch"},
			&cli.StringFlag{Name: "stop-signal", Usage: "pack: `SIGNAL` that engines stop it with"},
			&cli.StringFlag{Name: "memory", Aliases: []string{"m"}, Usage: "pack: memory that it should have, `SIZE`; a label, which limits nothing"},
			&cli.StringSliceFlag{Name: "drive", Usage: "pack: `LETTER=PATH` of the image that is a drive, such as e=/app/data"},
			&cli.StringFlag{Name: "display", Usage: "pack: where its windows are, `DISPLAY`, as with launch"},
			&cli.StringFlag{Name: "encoding", Usage: "pack: what it takes its text for, `ENCODING`, as with launch"},
			&cli.StringSliceFlag{Name: "layer", Usage: "pack: files that match `PATTERN` are a layer of their own, since they seldom change"},
			&cli.BoolFlag{Name: "with-runtime", Usage: "pack: bring Wine along, for nodes without winbox; without DIR, for others to build on"},
			&cli.StringFlag{Name: "runtime", DefaultText: "the first that was built", Usage: "pack: the Wine to bring along, `RUNTIME`: one that was built"},
			&cli.StringFlag{Name: "compression", Usage: "pack, convert: of layers, `KIND`: gzip (default) or zstd"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "save: `FILE` to write"},
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "save: `FORMAT`: oci-archive (default), oci (a folder) or docker-archive"},
			&cli.StringFlag{Name: "max-size", Usage: "load, pull, unpack, convert: allow files of up to `SIZE`, instead of 64 GiB or a hundred times the compressed"},
			&cli.IntFlag{Name: "max-files", Usage: "load, pull, unpack, convert: allow `NUMBER` of files, instead of 500000"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "load, pull, push: show no progress"},
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "prune: remove images with a name, too"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "prune, prelink: only say what would be done"},
			&cli.BoolFlag{Name: "drop-signatures", Usage: "prelink: rewrite signed files too, which are not signed then"},
			&cli.BoolFlag{Name: "programs", Usage: "prelink: rewrite programs (EXEs) too, at the bases they have"},
			&cli.BoolFlag{Name: "json", Usage: "ls, prune, prelink: print JSON"},
		},
		Action: func(c *cli.Context) error {
			verb := c.Args().First()
			if verb == "" {
				return errors.New("image: what to do? (winbox image " + imageVerbs + ")")
			}
			action, known := imageActions[verb]
			if !known {
				return fmt.Errorf("image: %q is none of %s", verb, strings.ReplaceAll(imageVerbs, "|", ", "))
			}
			args := c.Args().Tail()
			if len(args) < action.least || len(args) > action.most {
				return fmt.Errorf("image %s: needs %s", verb, action.want)
			}
			for _, flag := range c.LocalFlagNames() {
				if len(flag) > 1 && !slices.Contains(action.flags, flag) {
					return fmt.Errorf("image %s: has no flag --%s", verb, flag)
				}
			}
			if verb == "prelink" {
				opt := prelink.Options{DryRun: c.Bool("dry-run"), DropSignatures: c.Bool("drop-signatures"), Programs: c.Bool("programs")}
				return prelinkFolder(c.App.Writer, args[0], opt, c.Bool("json"))
			}
			r, err := g.imageRequest(c, verb, args)
			if err != nil {
				return err
			}
			switch {
			case verb == "unpack":
				return g.unpackBundle(c, r)
			case verb == "pack" && c.Bool("with-runtime"):
				done, err := g.bringRuntime(c, r)
				if err != nil {
					return fmt.Errorf("image pack: --with-runtime: %w", err)
				}
				defer done()
			case verb == "pack" && (len(args) == 0 || c.IsSet("runtime")):
				return errors.New("image pack: needs DIR or FILE, and the program's arguments; --runtime is for --with-runtime")
			}
			if err := g.images(c.Context, r, c.App.Reader, c.App.Writer); err != nil || verb != "rm" {
				return err
			}
			return g.images(c.Context, &request.Request{Verb: "prune", DataRoot: g.dataRoot, Quiet: true}, nil, c.App.Writer)
		},
	}
}

// imageRequest is what winbox-images is to do.
func (g *globals) imageRequest(c *cli.Context, verb string, args []string) (*request.Request, error) {
	r := &request.Request{
		Verb: verb, Args: args, DataRoot: g.dataRoot, Tag: c.String("tag"), Entrypoint: c.String("entrypoint"), Env: c.StringSlice("env"), Workdir: c.String("workdir"),
		User: c.String("user"), StopSignal: c.String("stop-signal"), Labels: c.StringSlice("label"), Annotations: c.StringSlice("annotation"),
		Layers: c.StringSlice("layer"), Compression: c.String("compression"), Output: c.String("output"), Format: c.String("format"),
		JSON: c.Bool("json"), All: c.Bool("all"), DryRun: c.Bool("dry-run"), MaxFiles: c.Int("max-files"), Quiet: c.Bool("quiet"), Own: map[string]string{},
	}
	if r.MaxFiles < 0 {
		return nil, fmt.Errorf("--max-files: %d is not a number of files", r.MaxFiles)
	}
	if size := c.String("max-size"); size != "" {
		n, err := units.RAMInBytes(size)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("--max-size: %q is not a size such as 100g", size)
		}
		r.MaxSize = n
	}
	if c.IsSet("memory") {
		n, err := sizes.Parse(c.String("memory"))
		if err != nil || n < smallestMemory {
			return nil, fmt.Errorf("--memory: %q is not a size such as 512m, of %s at least", c.String("memory"), preload.FormatSize(smallestMemory))
		}
		r.Own[recommendedMemory] = strconv.FormatInt(n, 10)
	}
	for flag, annotation := range map[string]string{"boot": "io.winbox.boot", "stop": "io.winbox.stop", "display": "io.winbox.display", "encoding": "io.winbox.encoding"} {
		if c.IsSet(flag) {
			r.Own[annotation] = c.String(flag)
		}
	}
	if drives := c.StringSlice("drive"); len(drives) > 0 {
		r.Own["io.winbox.drives"] = strings.Join(drives, ",")
	}
	if err := wine.CheckAnnotations(r.Own); err != nil {
		return nil, fmt.Errorf("image %s: %w", verb, err)
	}
	return r, nil
}

// bringRuntime adds to a request what makes a fat image. What it names must be kept until done is called.
func (g *globals) bringRuntime(c *cli.Context, r *request.Request) (done func(), err error) {
	runtime := c.String("runtime")
	if runtime == "" {
		built, err := wine.OpenStore(g.dataRoot).List()
		if err != nil {
			return nil, err
		}
		if len(built) > 0 {
			runtime = built[0].Name
		}
	}
	t, err := prepare(c.Context, g, runtime, g.stderr)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	draft, err := os.MkdirTemp("", "winbox-image-")
	if err != nil {
		return nil, err
	}
	done = func() {
		os.RemoveAll(draft)
		t.Hold.Close()
	}
	trees, err := t.ImageTrees(draft, self)
	if err != nil {
		done()
		return nil, err
	}
	for _, tree := range trees {
		r.Base = append(r.Base, request.Tree(tree))
	}
	r.Entry = slices.Clone(wine.ImageEntry)
	for _, name := range slices.Sorted(maps.Keys(r.Own)) {
		if name != recommendedMemory {
			r.Entry = append(r.Entry, wine.AnnotationFlag, name+"="+r.Own[name])
		}
	}
	return done, nil
}

// recommendedMemory is the label of an image that says how many bytes of memory its program should have.
const recommendedMemory = "io.winbox.memory"

// images has winbox-images carry out a request, with the caller's terminal; it says itself what was wrong.
func (g *globals) images(ctx context.Context, r *request.Request, in io.Reader, out io.Writer) error {
	program, err := wine.FindUnpacker()
	if err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, string(text))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, g.stderr
	// A terminal sends its signals to both; others are passed on.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan bool)
	defer close(done)
	go func() {
		for {
			select {
			case sig := <-signals:
				cmd.Process.Signal(sig)
			case <-ctx.Done():
				cmd.Process.Signal(syscall.SIGTERM)
				return
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return &exitError{code: exit.ExitCode()}
	}
	return err
}

// unpackBundle makes a bundle of an image.
func (g *globals) unpackBundle(c *cli.Context, r *request.Request) error {
	images := store.Open(g.dataRoot)
	image, err := images.Find(r.Args[0])
	if err != nil {
		return err
	}
	to, name := r.Args[1], r.Args[0]
	dir, lock, err := draftBundle(to)
	if err != nil {
		return err
	}
	defer lock.Close()
	forget, err := images.NoteDraft(dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	r.Args[1] = filepath.Join(dir, "rootfs")
	err = g.images(c.Context, r, nil, c.App.Writer)
	var spec *specs.Spec
	if err == nil {
		if spec, err = imageSpec(image, r.Args[1]); err != nil {
			err = fmt.Errorf("image %s: %w", name, err)
		}
	}
	if err == nil {
		if g.rootless {
			oci.Rootless(spec, uint32(os.Geteuid()), uint32(os.Getegid()))
		}
		var data []byte
		if data, err = json.MarshalIndent(spec, "", "\t"); err == nil {
			err = writeNew(filepath.Join(dir, "config.json"), append(data, '\n'))
		}
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		os.RemoveAll(dir)
	}
	return errors.Join(err, forget())
}

// draftBundle makes the folder beside a bundle that becomes it when it is complete. What is left of one that was killed,
// the next takes the place of.
func draftBundle(to string) (dir string, lock *os.File, err error) {
	if _, err := os.Lstat(to); err == nil {
		return "", nil, &fs.PathError{Op: "mkdir", Path: to, Err: fs.ErrExist}
	}
	dir = filepath.Join(filepath.Dir(to), "."+filepath.Base(to)+".unpacking")
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", nil, err
	}
	if lock, err = os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return "", nil, errors.Join(fmt.Errorf("%s: another unpacks there: %w", to, err), lock.Close())
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "rootfs")), os.RemoveAll(filepath.Join(dir, "config.json"))); err != nil {
		return "", nil, errors.Join(err, lock.Close())
	}
	return dir, lock, nil
}

// imageSpec is the configuration of a container of an image, which is unpacked or mounted at root.
func imageSpec(image *store.Image, root string) (*specs.Spec, error) {
	config := image.Config.Config
	args := slices.Concat(config.Entrypoint, config.Cmd)
	if len(args) == 0 || args[0] == "" {
		return nil, errors.New("it does not say which program to run")
	}
	spec := oci.NewSpec()
	spec.Version = "1.0.2" // which every runtime knows; crun 1.8 refuses newer ones
	if err := runWindows(spec, args[0]); err != nil {
		return nil, err
	}
	spec.Root.Readonly = false
	spec.Process.Args = append(spec.Process.Args, args[1:]...)
	spec.Process.Env = append(spec.Process.Env, config.Env...)
	if config.WorkingDir != "" {
		spec.Process.Cwd = config.WorkingDir
	}
	user, err := imageUser(config.User, root)
	if err != nil {
		return nil, err
	}
	spec.Process.User = user
	spec.Annotations = map[string]string{}
	for _, from := range []map[string]string{config.Labels, image.Manifest.Annotations} {
		for name, value := range from {
			if slices.Contains(wine.Annotations(), name) {
				spec.Annotations[name] = value
			}
		}
	}
	if config.StopSignal != "" { // annotations of the image specification, "Conversion to OCI Runtime Configuration"
		spec.Annotations["org.opencontainers.image.stopSignal"] = config.StopSignal
	}
	return spec, nil
}

// imageUser reads the user of an image, which is unpacked or mounted at root: names are those of its /etc/passwd and
// /etc/group. Without a group, it is the one that passwd has for the user.
func imageUser(user, root string) (u specs.User, err error) {
	name, group, grouped := strings.Cut(user, ":")
	files, err := oci.OpenFiles(root)
	if err != nil {
		return u, err
	}
	defer files.Close()
	passwd := func(column int, want string) ([]string, error) { return account(files, "/etc/passwd", column, want) }
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		u.UID = uint32(n)
		if fields, err := passwd(2, name); err == nil && !grouped {
			group = fields[3]
		}
	} else if name != "" {
		fields, err := passwd(0, name)
		if err != nil && name != "root" {
			return u, fmt.Errorf("its user %q: %w", user, err)
		}
		if err == nil {
			if u.UID, err = id(fields[2]); err != nil {
				return u, fmt.Errorf("its user %q: /etc/passwd: %w", user, err)
			}
			if !grouped {
				group = fields[3]
			}
		}
	}
	if group == "" || group == "root" {
		return u, nil
	}
	if u.GID, err = id(group); err == nil {
		return u, nil
	}
	fields, err := account(files, "/etc/group", 0, group)
	if err == nil {
		u.GID, err = id(fields[2])
	}
	if err != nil {
		return u, fmt.Errorf("its user %q: %w", user, err)
	}
	return u, nil
}

// id reads the number of a user or group.
func id(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return uint32(n), nil
}

// maxAccounts bounds what is read of an image's passwd and group, in bytes.
const maxAccounts = 1 << 20

// account finds the line of passwd(5) or group(5) that has a text in a column.
func account(files *oci.Files, name string, column int, want string) ([]string, error) {
	f, _, err := files.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a number nor in the image's %s (%w)", want, name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAccounts))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); len(fields) >= 4 && fields[column] == want {
			return fields, nil
		}
	}
	return nil, fmt.Errorf("%q is neither a number nor in the image's %s", want, name)
}

// prelinked is one element of the output of "winbox image prelink --json". Its
// field names are stable.
type prelinked struct {
	File string `json:"file"`
	// Links are further names of the file.
	Links []string `json:"links"`
	// Machine is empty and the addresses are 0x0 for a file that is no PE image.
	Machine string         `json:"machine"`
	OldBase address        `json:"old_base"`
	NewBase address        `json:"new_base"`
	Size    uint64         `json:"image_size"`
	Action  prelink.Action `json:"action"`
	Reason  string         `json:"reason"`
}

// prelinkFolder prelinks and prints what became of each library.
func prelinkFolder(w io.Writer, dir string, opt prelink.Options, asJSON bool) error {
	files, err := prelink.Folder(dir, opt)
	if err != nil {
		return fmt.Errorf("image prelink: %w", err)
	}
	count := map[prelink.Action]int{}
	list := []prelinked{}
	for _, f := range files {
		count[f.Action]++
		p := prelinked{File: f.Path, Links: append([]string{}, f.Links...), OldBase: address(f.OldBase), NewBase: address(f.NewBase),
			Size: f.ImageSize, Action: f.Action, Reason: f.Reason}
		if f.Machine != 0 {
			p.Machine = f.Machine.String()
		}
		list = append(list, p)
	}
	if asJSON {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		err = out.Encode(list)
	} else {
		err = printPrelinked(w, list)
		if err == nil {
			_, err = fmt.Fprintf(w, "%d moved, %d aligned, %d kept, %d left alone, %d failed\n",
				count[prelink.Moved], count[prelink.Aligned], count[prelink.Kept], count[prelink.LeftAlone], count[prelink.Failed])
		}
	}
	if n := count[prelink.Failed]; err == nil && n > 0 {
		err = fmt.Errorf("image prelink: %s could not be read or replaced", plural(n, "file"))
	}
	return err
}

func printPrelinked(w io.Writer, list []prelinked) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "OLD BASE\tNEW BASE\tACTION\tFILE\tREASON")
	for _, p := range list {
		from, to := p.OldBase.String(), p.NewBase.String()
		if p.Machine == "" {
			from = "-"
		}
		if p.Machine == "" || p.NewBase == p.OldBase {
			to = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", from, to, p.Action, clean(p.File), clean(p.Reason))
		for _, link := range p.Links {
			fmt.Fprintf(t, "\t\t\t%s\tthe same file\n", clean(link))
		}
	}
	return t.Flush()
}
