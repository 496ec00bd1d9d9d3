package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"winbox/images/hive"
	"winbox/images/layer"
	"winbox/images/store"
	"winbox/preload"
)

// windowsPlatform is that of the images that are converted.
var windowsPlatform = v1.Platform{OS: "windows", Architecture: "amd64"}

// ConvertOptions say how an image is converted.
type ConvertOptions struct {
	Compression Compression
	Limits      layer.Limits
	// Warn is told what was left out.
	Warn func(string)
}

// What a converted image has for the container (wine's annotations of these names).
const (
	registryFolder   = ".winbox/registry"
	registryAnnotate = "io.winbox.registry"
	driveCAnnotate   = "io.winbox.drivec"
)

// Convert makes an image for winbox of one for Windows, which is in a file, a folder or a registry: see [Unpack]. Layers
// of Windows itself are left out, files come to the same places of the root, which is shown on drive C:, and the registry
// becomes one that Wine reads. Who calls it has a hold.
//
// Layers of such images have folders Files, Hives and, of Windows itself, UtilityVM (image specification, "Windows layers";
// package ociwclayer of Microsoft's hcsshim).
func Convert(ctx context.Context, s *store.Store, from string, opt ConvertOptions) (d store.Descriptor, err error) {
	if err := opt.Compression.check(); err != nil {
		return d, err
	}
	dir, done, err := s.Draft()
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, done()) }()
	image, clean, err := open(ctx, from, dir, opt.Limits, windowsPlatform)
	if err != nil {
		return d, fmt.Errorf("image %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, clean()) }()
	c := &converter{ConvertOptions: opt, ctx: ctx, store: s, registry: newHiveSet(), programs: make(map[string]string)}
	if d, err = c.convert(image); err != nil {
		return d, fmt.Errorf("image %s: %w", from, s.Explain(err))
	}
	return d, nil
}

// A converter converts one image.
type converter struct {
	ConvertOptions
	ctx      context.Context
	store    *store.Store
	registry *hiveSet
	user     string
	// programs are the paths of programs, by those in lower case.
	programs map[string]string
	names    nameSet
	skipped  skipped
	config   v1.ConfigFile
	manifest v1.Manifest
}

// skipped counts what was left out of the layers, by what it is.
type skipped struct {
	counts map[string]int
	first  map[string]string
	// state are the files that Windows itself keeps.
	state size
}

func (s *skipped) add(what, which string) {
	if s.counts == nil {
		s.counts, s.first = make(map[string]int), make(map[string]string)
	}
	if s.counts[what]++; s.counts[what] == 1 {
		s.first[what] = which
	}
}

func (s *skipped) tell(warn func(string)) {
	names := make([]string, 0, len(s.counts))
	for what := range s.counts {
		names = append(names, what)
	}
	slices.Sort(names)
	for _, what := range names {
		text := fmt.Sprintf("left out: %s: %.200q", what, s.first[what])
		if n := s.counts[what]; n > 1 {
			text += fmt.Sprintf(" and %d more", n-1)
		}
		warn(text)
	}
	if s.state.files > 0 {
		warn(fmt.Sprintf("left out: files that Windows keeps for itself (component store, configuration, logs): %d, of %s",
			s.state.files, preload.FormatSize(uint64(s.state.bytes))))
	}
}

func (c *converter) convert(image v1.Image) (d store.Descriptor, err error) {
	manifest, err := image.Manifest()
	if err != nil {
		return d, err
	}
	config, layers, err := examineFor(image, windowsPlatform)
	if err != nil {
		return d, err
	}
	c.user = cmp.Or(config.Config.User, "ContainerAdministrator")
	c.config = v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS, Created: config.Created, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Env: config.Config.Env, WorkingDir: linuxPath(config.Config.WorkingDir), Labels: config.Config.Labels, StopSignal: config.Config.StopSignal,
			ExposedPorts: config.Config.ExposedPorts, Volumes: config.Config.Volumes,
		},
	}
	c.manifest = v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: map[string]string{driveCAnnotate: "true"}}
	for n, l := range layers {
		what := fmt.Sprintf("layer %d of %d", n+1, len(layers))
		if m := manifest.Layers[n]; !m.MediaType.IsDistributable() || len(m.URLs) > 0 {
			c.skipped.add("layers of Windows itself", what)
			continue
		}
		switch err := c.layer(l, manifest.Layers[n].Size, config.RootFS.DiffIDs[n]); {
		case errors.Is(err, errBase):
			c.skipped.add("layers of Windows itself", what)
		case err != nil:
			return d, fmt.Errorf("%s: %w", what, err)
		}
	}
	if len(c.manifest.Layers) == 0 {
		return d, errors.New("it has nothing but Windows itself in it")
	}
	if err := c.writeRegistry(); err != nil {
		return d, err
	}
	c.command(config)
	if config.Config.User != "" {
		c.skipped.add("the user: programs run as the container's root, or as who runs it says", config.Config.User)
	}
	c.names.tell(c.Warn)
	c.skipped.tell(c.Warn)
	data, err := json.Marshal(c.config)
	if err != nil {
		return d, err
	}
	digest, err := c.store.Put(c.ctx, data)
	if err != nil {
		return d, err
	}
	c.manifest.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: hashOf(digest), Size: int64(len(data))}
	if data, err = json.Marshal(c.manifest); err != nil {
		return d, err
	}
	digest, err = c.store.Put(c.ctx, data)
	return store.Descriptor{MediaType: string(c.manifest.MediaType), Digest: digest, Size: int64(len(data))}, err
}

// errBase tells that a layer is one of Windows itself.
var errBase = errors.New("a layer of Windows itself")

// layer converts a layer.
func (c *converter) layer(l v1.Layer, compressed int64, want v1.Hash) error {
	stream, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer stream.Close()
	limits := limitsFor(c.Limits, compressed)
	before := limits
	h := sha256.New()
	from := layer.Limit(io.TeeReader(store.ContextReader(c.ctx, stream), h), &limits.Bytes)
	hives := make(map[string][]byte)
	files, skipped := 0, c.skipped
	c.skipped = skipped.clone()
	err = c.add(func(to *tar.Writer) error {
		t := tar.NewReader(from)
		for {
			header, err := t.Next()
			if err == io.EOF {
				_, err = io.Copy(io.Discard, from) // it counts for the digest
				return err
			}
			if err != nil {
				return err
			}
			if limits.Entries--; limits.Entries < 0 {
				return layer.ErrTooMany
			}
			n, err := c.entry(header, t, to, hives)
			if err != nil {
				return fmt.Errorf("entry %.200q: %w", header.Name, err)
			}
			files += n
		}
	}, func() error {
		if got := hex.EncodeToString(h.Sum(nil)); got != want.Hex {
			return fmt.Errorf("its digest is sha256:%s, not %s", got, want)
		}
		if files == 0 {
			return errEmpty
		}
		return nil
	})
	if errors.Is(err, errBase) {
		c.skipped = skipped
		return err
	}
	c.Limits.Bytes -= before.Bytes - limits.Bytes
	c.Limits.Entries -= before.Entries - limits.Entries
	if err != nil && !errors.Is(err, errEmpty) {
		return err
	}
	return c.hives(hives)
}

func (s *skipped) clone() skipped {
	n := skipped{state: s.state}
	for what, count := range s.counts {
		n.add(what, s.first[what])
		n.counts[what] = count
	}
	return n
}

// errEmpty tells that nothing is left of a layer.
var errEmpty = errors.New("an empty layer")

// add adds a layer of what write writes, unless check refuses it.
func (c *converter) add(write func(*tar.Writer) error, check func() error) error {
	blob, err := c.store.NewBlob()
	if err != nil {
		return err
	}
	z, err := newCompressor(blob, c.Compression)
	if err != nil {
		return errors.Join(err, blob.Abort())
	}
	t := tar.NewWriter(z)
	if err = write(t); err == nil {
		err = t.Close()
	}
	failed := z.Close()
	if err = cmp.Or(err, failed); err == nil {
		err = check()
	}
	if err != nil {
		return errors.Join(err, blob.Abort())
	}
	size := blob.Size()
	digest, err := blob.Commit()
	if err != nil {
		return err
	}
	c.manifest.Layers = append(c.manifest.Layers, v1.Descriptor{MediaType: types.MediaType(c.Compression.mediaType()), Digest: hashOf(digest), Size: size})
	c.config.RootFS.DiffIDs = append(c.config.RootFS.DiffIDs, z.Digest())
	c.config.History = append(c.config.History, v1.History{Created: c.config.Created, CreatedBy: "winbox image convert"})
	return nil
}

// entry converts an entry of a layer, and says how many it makes.
func (c *converter) entry(h *tar.Header, data io.Reader, to *tar.Writer, hives map[string][]byte) (int, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return 0, nil
	}
	name := strings.ReplaceAll(h.Name, `\`, "/")
	if slices.Contains(strings.Split(name, "/"), "..") {
		return 0, errors.New("its name leads out of the layer")
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	top, rel, _ := strings.Cut(name, "/")
	lower := strings.ToLower(rel)
	switch strings.ToLower(top) {
	case "utilityvm":
		return 0, errBase
	case "hives":
		if strings.HasSuffix(lower, "_base") {
			return 0, errBase
		}
		return 0, c.readHive(lower, h, data, hives)
	case "files":
	default:
		if rel != "" || h.Typeflag != tar.TypeDir {
			c.skipped.add("what is neither a file nor the registry", name)
		}
		return 0, nil
	}
	switch {
	case rel == "":
		return 0, nil
	case lower == "windows/system32/ntdll.dll" && h.Typeflag == tar.TypeReg:
		return 0, errBase
	case lower == "users/"+strings.ToLower(c.user)+"/ntuser.dat":
		return 0, c.readHive("ntuser.dat", h, data, hives)
	case isState(lower):
		if h.Typeflag == tar.TypeReg {
			c.skipped.state.files++
			c.skipped.state.bytes += h.Size
		}
		return 0, nil
	case strings.HasPrefix(lower, "windows/system32/drivers/") || strings.HasSuffix(lower, ".sys") && strings.HasPrefix(lower, "windows/"):
		c.skipped.add("drivers", rel)
		return 0, nil
	}
	c.names.add(rel)
	n := &tar.Header{Name: rel, Typeflag: h.Typeflag, Mode: 0o644, ModTime: h.ModTime, Size: h.Size, Format: tar.FormatPAX}
	switch h.Typeflag {
	case tar.TypeReg:
		if strings.HasSuffix(lower, ".exe") {
			n.Mode = 0o755
			if len(c.programs) < 100_000 {
				c.programs[lower] = rel
			}
		}
	case tar.TypeDir:
		n.Name, n.Mode = rel+"/", 0o755
	case tar.TypeLink:
		first, ok := windowsTarget("Files", h.Linkname)
		if !ok {
			c.skipped.add("links that lead elsewhere", rel)
			return 0, nil
		}
		n.Linkname = first
	case tar.TypeSymlink:
		link := strings.ReplaceAll(h.Linkname, `\`, "/")
		if abs := linuxPath(strings.TrimPrefix(strings.TrimPrefix(h.Linkname, `\\?\`), `\??\`)); path.IsAbs(abs) {
			link = abs
		} else if strings.HasPrefix(link, "/") || strings.Contains(link, ":") || link == "" {
			c.skipped.add("reparse points and links that lead elsewhere", rel)
			return 0, nil
		}
		n.Linkname, n.Mode = link, 0o777
	default:
		c.skipped.add("devices, pipes and what else is no file", rel)
		return 0, nil
	}
	for record := range h.PAXRecords {
		if strings.EqualFold(record, "MSWINDOWS.reparse") || strings.EqualFold(record, "MSWINDOWS.mountpoint") && h.Typeflag != tar.TypeSymlink {
			c.skipped.add("reparse points and links that lead elsewhere", rel)
			return 0, nil
		}
	}
	if err := to.WriteHeader(n); err != nil {
		return 0, err
	}
	_, err := io.Copy(to, data)
	return 1, err
}

// windowsTarget gives the path in the root of a path in a layer.
func windowsTarget(top, name string) (string, bool) {
	clean := strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/")
	first, rel, ok := strings.Cut(clean, "/")
	return rel, ok && strings.EqualFold(first, top) && rel != ""
}

// isState tells files that Windows itself keeps: they mean nothing without it.
func isState(lower string) bool {
	base := path.Base(lower)
	for _, dir := range []string{"$recycle.bin", "system volume information", "wcsandboxstate", "windows/system32/config", "windows/winsxs", "windows/servicing",
		"windows/logs", "windows/prefetch", "windows/system32/catroot", "windows/system32/winevt", "windows/softwaredistribution"} {
		if lower == dir || strings.HasPrefix(lower, dir+"/") {
			return true
		}
	}
	return strings.HasPrefix(base, "ntuser.dat") || strings.HasPrefix(base, "usrclass.dat") || base == "ntuser.ini" || base == "pagefile.sys"
}

// readHive reads a hive of a layer.
func (c *converter) readHive(name string, h *tar.Header, data io.Reader, hives map[string][]byte) error {
	if h.Typeflag != tar.TypeReg || h.Size == 0 {
		return nil
	}
	if !slices.Contains([]string{"software_delta", "system_delta", "defaultuser_delta", "ntuser.dat"}, name) {
		if strings.HasSuffix(name, "_delta") {
			c.skipped.add("hives of users, rights and devices", name)
		}
		return nil
	}
	if h.Size > hive.MaxSize {
		return fmt.Errorf("a registry hive of %d bytes, more than %d", h.Size, hive.MaxSize)
	}
	text, err := io.ReadAll(data)
	hives[name] = text
	return err
}

// hives applies the hives of a layer to those below.
func (c *converter) hives(hives map[string][]byte) error {
	for _, name := range []string{"defaultuser_delta", "ntuser.dat", "software_delta", "system_delta"} {
		data := hives[name]
		if data == nil {
			continue
		}
		h, err := hive.Open(data)
		if err == nil {
			if h.Dirty {
				c.skipped.add("the last changes of hives, which are in a log only", name)
			}
			err = h.Walk(func(k hive.Key) error { return c.registry.apply(name, k, &c.skipped) })
		}
		if err != nil {
			return fmt.Errorf("hive %s: %w", name, err)
		}
	}
	return nil
}

// writeRegistry adds a layer with the registry.
func (c *converter) writeRegistry() error {
	files := c.registry.files()
	if len(files) == 0 {
		return nil
	}
	c.manifest.Annotations[registryAnnotate] = "/" + registryFolder
	return c.add(func(to *tar.Writer) error {
		for _, dir := range []string{".winbox/", registryFolder + "/"} {
			if err := to.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755, ModTime: DefaultTime}); err != nil {
				return err
			}
		}
		for _, name := range []string{"system.reg", "user.reg"} {
			data := files[name]
			if data == nil {
				continue
			}
			if err := to.WriteHeader(&tar.Header{Name: path.Join(registryFolder, name), Typeflag: tar.TypeReg, Mode: 0o644, ModTime: DefaultTime, Size: int64(len(data))}); err != nil {
				return err
			}
			if _, err := io.Copy(to, bytes.NewReader(data)); err != nil {
				return err
			}
		}
		return nil
	}, func() error { return nil })
}

// command carries over what is run. On Windows, a command in the form of a shell is one text, which ArgsEscaped tells.
func (c *converter) command(config *v1.ConfigFile) {
	entrypoint, cmd := config.Config.Entrypoint, config.Config.Cmd
	if config.Config.ArgsEscaped {
		switch {
		case len(entrypoint) > 0:
			entrypoint = append(splitCommand(entrypoint[0]), entrypoint[1:]...)
		case len(cmd) > 0:
			cmd = append(splitCommand(cmd[0]), cmd[1:]...)
		}
	}
	for _, list := range [][]string{entrypoint, cmd} {
		if len(list) > 0 {
			list[0] = c.program(list[0], config.Config.WorkingDir)
			break
		}
	}
	c.config.Config.Entrypoint, c.config.Config.Cmd = entrypoint, cmd
}

// program gives the path of a program in the image, if it is there; else it is left as it is.
func (c *converter) program(asked, workdir string) string {
	for _, dir := range []string{"", strings.TrimPrefix(linuxPath(workdir), "/") + "/"} {
		name := strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(dir+strings.TrimPrefix(linuxPath(asked), "/"), `\`, "/")), "/")
		for _, suffix := range []string{"", ".exe"} {
			if found, ok := c.programs[strings.ToLower(name)+suffix]; ok {
				return `C:\` + strings.ReplaceAll(found, "/", `\`)
			}
		}
	}
	if base := strings.TrimSuffix(strings.ToLower(path.Base(strings.ReplaceAll(asked, `\`, "/"))), ".exe"); base == "powershell" || base == "pwsh" {
		c.Warn(asked + " is the program, which is a part of Windows: name another when the image is run")
	}
	if !strings.ContainsAny(asked, `/\:`) { // one of Windows' own
		return `C:\windows\system32\` + strings.TrimSuffix(asked, path.Ext(asked)) + ".exe"
	}
	return asked
}

// splitCommand splits a command line as Microsoft's C runtime does ("Parsing C command-line arguments").
func splitCommand(line string) []string {
	var args []string
	var arg []byte
	quoted, started := false, false
	for i := 0; i < len(line); i++ {
		switch ch := line[i]; {
		case ch == '\\':
			n := i
			for n < len(line) && line[n] == '\\' {
				n++
			}
			count := n - i
			started = true
			if n < len(line) && line[n] == '"' {
				arg = append(arg, strings.Repeat(`\`, count/2)...)
				if count%2 == 1 {
					arg = append(arg, '"')
					n++
				}
			} else {
				arg = append(arg, line[i:n]...)
			}
			i = n - 1
		case ch == '"' && quoted && i+1 < len(line) && line[i+1] == '"':
			arg = append(arg, '"')
			i++
		case ch == '"':
			quoted, started = !quoted, true
		case (ch == ' ' || ch == '\t') && !quoted:
			if started {
				args, arg, started = append(args, string(arg)), nil, false
			}
		default:
			arg, started = append(arg, ch), true
		}
	}
	if started {
		args = append(args, string(arg))
	}
	return args
}
