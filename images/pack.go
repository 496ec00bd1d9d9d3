package images

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"winbox/images/request"
	"winbox/images/store"
	"winbox/preload"
	"winbox/preload/pe"
)

// PackOptions say what image to make.
type PackOptions struct {
	// From is a folder, or a program alone; empty for an image that others are built on, with Base.
	From string
	// Base is what the lowest layer has of the host besides the application, and Entry goes before the entry point.
	Base  []request.Tree
	Entry []string
	// Entrypoint is the program: its path in the folder, or in the image; empty for the only one there is, or what Choose
	// chooses. Args are its arguments, unless others are given when the image is run.
	Entrypoint string
	Args       []string
	Env        []string
	// Workdir is where the program starts; empty leaves that to who runs it.
	Workdir, User, StopSignal string
	Labels, Annotations       map[string]string
	// Layers are patterns: what matches the first is the lowest layer, and so on.
	Layers      []string
	Compression Compression
	// Time is that of all files and of the image.
	Time time.Time
	// Choose picks one of several programs; nil refuses them.
	Choose func(programs []string) (string, error)
	// Warn is told what may not be as it was meant.
	Warn func(string)
}

// target is the folder of the image that has the application: what `COPY app /app` makes.
const target = "app"

// DefaultTime is the oldest that a file of an archive or a FAT file system can have: with it, the same files make the
// same image whenever they were written.
var DefaultTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Pack makes an image of Windows files, in the store. Who calls it has a hold. The same files make the same image: names
// are in order, owners are root, modes 755 or 644, times [PackOptions.Time].
//
// # Errors
//
// There is no program, or more than one and nobody to choose; a file cannot be read.
func Pack(ctx context.Context, s *store.Store, opt PackOptions) (d store.Descriptor, err error) {
	if err := opt.Compression.check(); err != nil {
		return d, err
	}
	p := &packer{PackOptions: opt, ctx: ctx, store: s, links: make(map[inode]string), empty: make(map[string]bool)}
	entrypoint := opt.Entry
	if opt.From != "" {
		if err := p.open(); err != nil {
			return d, err
		}
		defer p.root.Close()
		if err := p.survey(); err != nil {
			return d, err
		}
		program, err := p.entrypoint()
		if err != nil {
			return d, err
		}
		entrypoint = append(slices.Clone(opt.Entry), program)
		p.split()
	}
	config := v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS, Created: v1.Time{Time: p.Time}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: entrypoint, Cmd: p.Args, Env: p.Env, WorkingDir: linuxPath(p.Workdir), User: p.User, StopSignal: p.StopSignal, Labels: p.Labels,
		},
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: p.Annotations}
	add := func(comment string, write func(*tar.Writer) error) error {
		layer, diffID, err := p.layer(write)
		manifest.Layers = append(manifest.Layers, layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		config.History = append(config.History, v1.History{Created: config.Created, CreatedBy: "winbox image pack", Comment: comment})
		return err
	}
	if len(opt.Base) > 0 {
		if err := add("runtime", p.base); err != nil {
			return d, err
		}
	}
	for i, size := range p.sizes {
		if size.files == 0 {
			continue
		}
		if err := add(p.className(i), func(to *tar.Writer) error { return p.write(i, to) }); err != nil {
			return d, err
		}
	}
	if len(manifest.Layers) == 0 {
		return d, fmt.Errorf("%s: there are no files in it", p.From)
	}
	data, err := json.Marshal(config)
	if err != nil {
		return d, err
	}
	digest, err := s.Put(ctx, data)
	if err != nil {
		return d, err
	}
	manifest.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: hashOf(digest), Size: int64(len(data))}
	if data, err = json.Marshal(manifest); err != nil {
		return d, err
	}
	digest, err = s.Put(ctx, data)
	return store.Descriptor{MediaType: string(manifest.MediaType), Digest: digest, Size: int64(len(data))}, err
}

// hashOf is a digest as the library has it.
func hashOf(d store.Digest) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(string(d), "sha256:")}
}

// linuxPath is where a folder lies in the image that a Windows path may name: what the root has is on C: (windows.md).
func linuxPath(name string) string {
	if len(name) > 2 && name[0]|0x20 == 'c' && name[1] == ':' {
		return path.Clean("/" + strings.ReplaceAll(name[2:], `\`, "/"))
	}
	return name
}

type inode struct{ dev, ino uint64 }

// A packer makes one image.
type packer struct {
	PackOptions
	ctx   context.Context
	store *store.Store
	root  *os.Root
	// only is the name of the program that is packed alone; else empty.
	only     string
	programs []string
	// empty are the folders with nothing in them.
	empty map[string]bool
	// classes says of a class in which layer it is, sizes what the layers have.
	classes []int
	sizes   []size
	// program is the folder of the main program, with a slash.
	program string
	// links are the files with several names that the layer has already.
	links map[inode]string
}

type size struct {
	files int
	bytes int64
}

// The classes of files, from those that change seldom to those that change with each build, after the layers that are
// asked for.
const (
	classDependencies = iota
	classData
	classProgram
	classes
)

// smallLayer is what a layer has at least: it costs its container a request and a mount.
const smallLayer = 4 << 20

func (p *packer) open() error {
	info, err := os.Stat(p.From)
	if err != nil {
		return err
	}
	dir := p.From
	if !info.IsDir() {
		dir, p.only = filepath.Dir(p.From), filepath.Base(p.From)
	}
	p.root, err = os.OpenRoot(dir)
	return err
}

// walk calls do for each entry but the top, in order.
func (p *packer) walk(do func(name string, entry fs.DirEntry) error) error {
	if p.only != "" {
		info, err := p.root.Lstat(p.only)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 { // the file that was named, whatever it is called elsewhere
			if info, err = p.root.Stat(p.only); err != nil {
				return err
			}
		}
		return do(p.only, fs.FileInfoToDirEntry(info))
	}
	return fs.WalkDir(p.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = p.ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		return do(name, entry)
	})
}

// survey looks at all files: which are programs, and what Windows would not tell apart.
func (p *packer) survey() error {
	p.sizes = make([]size, len(p.Layers)+classes)
	var found collisions
	err := p.walk(func(name string, entry fs.DirEntry) error {
		if entry.IsDir() {
			return p.collisions(name, &found)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		if strings.EqualFold(path.Ext(name), ".exe") || p.only != "" {
			if runnable, err := p.runnable(name); err != nil {
				return err
			} else if runnable {
				p.programs = append(p.programs, name)
			}
		}
		return nil
	})
	if err == nil && p.only == "" {
		err = p.collisions(".", &found)
	}
	found.tell(p.Warn)
	return err
}

// collisions looks for names in a folder that Windows would not tell apart.
func (p *packer) collisions(dir string, found *collisions) error {
	f, err := p.root.Open(dir)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	if len(names) == 0 {
		p.empty[dir] = true
	}
	found.folder(dir, names, p.Warn)
	return err
}

// runnable tells whether a file is a program for this kind of machine.
func (p *packer) runnable(name string) (bool, error) {
	f, err := p.root.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	image, err := pe.Open(f, info.Size())
	if err == nil {
		err = preload.Runnable(image, true)
	}
	if err != nil && p.only != "" {
		return false, fmt.Errorf("%s: %w", p.From, err)
	}
	return err == nil, nil
}

// entrypoint gives the path of the program in the image.
func (p *packer) entrypoint() (string, error) {
	asked := p.Entrypoint
	switch {
	case asked == "" && len(p.programs) == 0:
		return "", fmt.Errorf("%s: there is no Windows program in it: name one in the image with --entrypoint, if it comes from elsewhere", p.From)
	case asked == "" && len(p.programs) == 1:
		asked = p.programs[0]
	case asked == "":
		var top []string
		for _, name := range p.programs {
			if !strings.Contains(name, "/") {
				top = append(top, name)
			}
		}
		if len(top) == 1 {
			asked = top[0]
			break
		}
		if p.Choose == nil {
			return "", fmt.Errorf("%s: there are %d programs in it: say which with --entrypoint: %s", p.From, len(p.programs), shortList(p.programs))
		}
		var err error
		if asked, err = p.Choose(p.programs); err != nil {
			return "", err
		}
	}
	if full := linuxPath(asked); path.IsAbs(full) { // of the image
		rel, ok := strings.CutPrefix(path.Clean(full), "/"+target+"/")
		if !ok {
			return asked, nil // one of Windows' own, or of an image that is built on this one
		}
		asked = rel
	}
	asked = path.Clean(strings.ReplaceAll(asked, `\`, "/"))
	if info, err := p.root.Stat(asked); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("--entrypoint: there is no file %s in %s", asked, p.From)
	}
	if dir := path.Dir(asked); dir != "." {
		p.program = dir + "/"
	}
	return path.Join("/", target, asked), nil
}

// shortList names some of many.
func shortList(names []string) string {
	if len(names) > 20 {
		return strings.Join(names[:20], ", ") + fmt.Sprintf(" and %d more", len(names)-20)
	}
	return strings.Join(names, ", ")
}

// split decides which layers there are.
func (p *packer) split() {
	p.classes = make([]int, len(p.sizes))
	for i := range p.classes {
		p.classes[i] = i
	}
	sizes := make([]size, len(p.sizes))
	p.walk(func(name string, entry fs.DirEntry) error { // whatever fails will fail again
		i := p.class(name, entry.IsDir())
		if i < 0 {
			return nil
		}
		sizes[i].files++
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			sizes[i].bytes += info.Size()
		}
		return nil
	})
	// One that is too small goes to the next. Those that were asked for stay.
	for i := len(p.Layers); i < len(sizes)-1; i++ {
		if sizes[i].bytes < smallLayer {
			for class, at := range p.classes {
				if at == i {
					p.classes[class] = i + 1
				}
			}
			sizes[i+1].files += sizes[i].files
			sizes[i+1].bytes += sizes[i].bytes
			sizes[i] = size{}
		}
	}
	p.sizes = sizes
}

// dependencyFolders are those that package managers and runtimes fill.
var dependencyFolders = []string{"node_modules", "site-packages", "jre", "jdk", "lib", "libs", "vendor", "runtimes", "plugins", "platforms", "imageformats", "locales"}

// dependencies are the beginnings of the names of libraries that come from others: C and C++ runtimes, Qt, ICU, OpenSSL,
// Chromium and its parts, SQLite, interpreters.
var dependencies = []string{
	"vcruntime", "msvcp", "msvcr", "concrt", "ucrtbase", "api-ms-win-", "mfc", "vcomp", "libgcc", "libstdc++", "libwinpthread", "libssp",
	"qt5", "qt6", "icu", "libssl", "libcrypto", "libeay", "ssleay", "zlib", "libz", "sqlite", "d3dcompiler", "libegl", "libglesv2", "opengl32",
	"ffmpeg", "avcodec", "avformat", "avutil", "swscale", "swresample", "python", "lua", "perl", "tcl", "node.dll", "chrome", "libcef", "vk_swiftshader",
	"vulkan", "dxcompiler", "dxil", "sdl", "openal", "libcurl", "libxml", "libiconv", "libintl", "glib", "gtk", "cairo", "freetype", "fontconfig", "wxbase", "wxmsw",
}

// class says of what kind a file is; -1 for folders, which go along.
func (p *packer) class(name string, isDir bool) int {
	if isDir {
		return -1
	}
	lower := strings.ToLower(name)
	for i, pattern := range p.Layers {
		if matches(strings.ToLower(pattern), lower) {
			return i
		}
	}
	n := len(p.Layers)
	for part := range strings.SplitSeq(path.Dir(lower), "/") {
		if slices.Contains(dependencyFolders, part) {
			return n + classDependencies
		}
	}
	switch base, ext := path.Base(lower), path.Ext(lower); {
	case slices.Contains([]string{".dll", ".pyd", ".node", ".ocx", ".drv", ".pak", ".dat"}, ext) &&
		slices.ContainsFunc(dependencies, func(d string) bool { return strings.HasPrefix(base, d) }):
		return n + classDependencies
	case ext == ".exe" || ext == ".dll" && path.Dir(name)+"/" == cmp.Or(p.program, "./"):
		return n + classProgram
	}
	return n + classData
}

// matches tells whether a pattern is that of a file, or of a folder that it is in.
func matches(pattern, name string) bool {
	pattern = strings.Trim(strings.ReplaceAll(pattern, `\`, "/"), "/")
	for at := name; at != "."; at = path.Dir(at) {
		if ok, _ := path.Match(pattern, at); ok {
			return true
		}
		if !strings.Contains(pattern, "/") {
			if ok, _ := path.Match(pattern, path.Base(at)); ok {
				return true
			}
		}
	}
	return false
}

// className says what a layer has.
func (p *packer) className(i int) string {
	if i < len(p.Layers) {
		return "layer " + p.Layers[i]
	}
	var names []string
	for class, at := range p.classes[len(p.Layers):] {
		if at == i && (class == classProgram || i == len(p.Layers)+class) {
			names = append(names, [...]string{"dependencies", "data", "program"}[class])
		}
	}
	return strings.Join(names, ", ")
}

// layer writes a layer to the store.
func (p *packer) layer(write func(*tar.Writer) error) (d v1.Descriptor, diffID v1.Hash, err error) {
	blob, err := p.store.NewBlob()
	if err != nil {
		return d, diffID, err
	}
	c, err := newCompressor(blob, p.Compression)
	if err != nil {
		return d, diffID, errors.Join(err, blob.Abort())
	}
	to := tar.NewWriter(c)
	if err = write(to); err == nil {
		err = to.Close()
	}
	if err = cmp.Or(c.Close(), err); err != nil {
		return d, diffID, errors.Join(err, blob.Abort())
	}
	size := blob.Size()
	digest, err := blob.Commit()
	if err != nil {
		return d, diffID, err
	}
	return v1.Descriptor{MediaType: types.MediaType(p.Compression.mediaType()), Digest: hashOf(digest), Size: size}, c.Digest(), nil
}

// write writes the archive of a layer of the application.
func (p *packer) write(i int, to *tar.Writer) error {
	w := &layerWriter{to, p, make([]byte, 128<<10), []string{}}
	clear(p.links)
	top := i == len(p.sizes)-1
	return p.walk(func(name string, entry fs.DirEntry) error {
		class := p.class(name, entry.IsDir())
		switch {
		case class < 0 && !(top && p.empty[name]): // the others come with what is in them
			return nil
		case class >= 0 && p.classes[class] != i:
			return nil
		}
		if err := w.folders(path.Dir(name)); err != nil {
			return err
		}
		if entry.IsDir() {
			return w.folders(name)
		}
		return w.file(name, entry)
	})
}

// A layerWriter writes the entries of a layer.
type layerWriter struct {
	tar    *tar.Writer
	p      *packer
	buffer []byte
	// written are the folders that the last entry is in, from the top.
	written []string
}

// folders writes the folder of a name and those above it, unless that has been done: entries come in order.
func (w *layerWriter) folders(dir string) error {
	var chain []string
	for at := path.Join(target, dir); at != "."; at = path.Dir(at) {
		chain = append(chain, at)
	}
	slices.Reverse(chain)
	same := 0
	for same < len(chain) && same < len(w.written) && chain[same] == w.written[same] {
		same++
	}
	for _, name := range chain[same:] {
		if err := w.tar.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: w.p.Time}); err != nil {
			return err
		}
	}
	w.written = chain
	return nil
}

// file writes a file or link.
func (w *layerWriter) file(name string, entry fs.DirEntry) error {
	h := &tar.Header{Name: path.Join(target, name), Typeflag: tar.TypeReg, Mode: 0o644, ModTime: w.p.Time}
	switch {
	case entry.Type()&fs.ModeSymlink != 0:
		to, err := w.p.root.Readlink(name)
		if err != nil {
			return err
		}
		if _, err := w.p.root.Stat(name); err != nil {
			w.p.Warn(fmt.Sprintf("%s is a link to %s, which is not in the folder", name, to))
		}
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, to, 0o777
		return w.tar.WriteHeader(h)
	case !entry.Type().IsRegular():
		w.p.Warn(fmt.Sprintf("%s is neither a file nor a folder nor a link, and left out", name))
		return nil
	}
	f, err := w.p.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	if id := (inode{uint64(st.Dev), st.Ino}); st.Nlink > 1 {
		if first, ok := w.p.links[id]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return w.tar.WriteHeader(h)
		}
		w.p.links[id] = h.Name
	}
	if err := content(w.tar, f, info, h, w.buffer); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// content writes a regular file, of which the header has name and time.
func content(to *tar.Writer, f *os.File, info fs.FileInfo, h *tar.Header, buffer []byte) (err error) {
	h.Mode, h.Size = 0o644, info.Size()
	if info.Mode()&0o111 != 0 {
		h.Mode = 0o755
	}
	if h.PAXRecords, err = attributes(f); err != nil {
		return err
	}
	if err := to.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{io.LimitReader(f, h.Size)}, buffer)
	if err == nil && n < h.Size {
		err = errors.New("it has become shorter meanwhile")
	}
	return err
}

// attributes are the extended attributes of a file that an image keeps, as tar(1) writes them.
func attributes(f *os.File) (map[string]string, error) {
	n, err := unix.Flistxattr(int(f.Fd()), nil)
	if err == unix.ENOTSUP || err == nil && n == 0 {
		return nil, nil
	}
	names := make([]byte, n)
	if err == nil {
		n, err = unix.Flistxattr(int(f.Fd()), names)
	}
	if err != nil {
		return nil, fmt.Errorf("extended attributes: %w", err)
	}
	var records map[string]string
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value := make([]byte, 64<<10) // the most that Linux takes (limits.h, XATTR_SIZE_MAX)
		n, err := unix.Fgetxattr(int(f.Fd()), name, value)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %s: %w", name, err)
		}
		if records == nil {
			records = make(map[string]string)
		}
		records["SCHILY.xattr."+name] = string(value[:n])
	}
	return records, nil
}
