package wine

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/preload/pe"
)

// A Bundle is an OCI bundle whose first argument is a Windows program.
type Bundle struct {
	dir    string
	spec   specs.Spec // a copy, with the mounts and the process of the container to be made
	files  *oci.Files
	wishes wishes
	// drives are those with a mount, and links the names in the root directory that drive C: links to. shown is what else
	// of the root directory is on a drive. user is the Windows user.
	drives drives
	links  []string
	// kept is the container's persistent prefix, or nil.
	kept  *Persistent
	shown shown
	user  string
	// section is the section windows of the configuration.
	section *windowsSection
	// MapOwners, if not nil, gives another user than the caller Wine's own files.
	MapOwners OwnerMapper
	// registry is what the image adds to that of the prefix, by file.
	registry map[string]*registry
	// layers and ofLean are those of Template.mapLayers.
	layers []*os.File
	ofLean int
	// inside tells that the container is made already, of a fat image, and winbox runs in it: see inside.go.
	inside bool
}

// Recognize looks whether a bundle is a Windows container: its first argument is a PE file, found as the container would
// find it, or a path with a drive letter; or the annotation io.winbox.handler says so. The result is nil for a Linux
// container.
//
// # Errors
//
// An annotation with an unknown value, or one that is not supported yet.
func Recognize(b *oci.Bundle) (*Bundle, error) {
	how, err := readHandler(b.Spec.Annotations)
	if err != nil || how == handlerLinux {
		return nil, err
	}
	files, err := b.Files()
	if err != nil {
		return nil, nil // whoever builds the container says what is wrong with the root
	}
	w := &Bundle{dir: b.Dir, spec: *b.Spec, files: files}
	w.spec.Process = withArgs(b.Spec.Process)
	if len(w.spec.Process.Args) == 0 || how != handlerWindows && !isWindows(files, w.spec.Process) {
		return nil, files.Close()
	}
	processors, err := hostProcessors()
	if err == nil {
		w.section, err = readWindows(&w.spec, processors)
	}
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	if w.wishes, err = readWishes(b.Spec.Annotations); err != nil {
		return nil, errors.Join(err, files.Close())
	}
	w.shown.given = w.wishes.drives
	return w, nil
}

// Runtime is the name or digest of the runtime that the bundle asks for; empty when it does not.
func (b *Bundle) Runtime() string { return b.spec.Annotations[annotationRuntime] }

// PersistentPrefix finds the mount that the annotation io.winbox.prefix names by its destination, and takes its source
// as the container's prefix, which [Persistent.Fit] must make fit before it is prepared; owner is who it must belong to.
// Without the annotation, there is none.
func (b *Bundle) PersistentPrefix() (p *Persistent, owner Owner, err error) {
	at := b.wishes.prefix
	if at == "" {
		return nil, owner, nil
	}
	bad := func(format string, args ...any) (*Persistent, Owner, error) {
		return nil, owner, fmt.Errorf("annotations: %s: %s", annotationPrefix, fmt.Sprintf(format, args...))
	}
	i := slices.IndexFunc(b.spec.Mounts, func(m specs.Mount) bool { return path.Clean(m.Destination) == path.Clean(at) })
	if i < 0 {
		return bad("no mount has the destination %s", at)
	}
	m := &b.spec.Mounts[i]
	source := m.Source
	if !filepath.IsAbs(source) {
		source = filepath.Join(b.dir, source)
	}
	switch {
	case m.Type != "bind" && !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind"):
		return bad("the mount on %s is no folder of the host", at)
	case slices.ContainsFunc(m.Options, func(o string) bool { return o == "ro" || o == "rro" }):
		return bad("the mount on %s is read-only: a prefix is written to", at)
	case len(m.UIDMappings) > 0 || len(m.GIDMappings) > 0 || slices.ContainsFunc(m.Options, func(o string) bool { return strings.Trim(o, "r") == "idmap" }):
		return bad("the mount on %s has its owners mapped, which a prefix cannot have", at)
	case !isFolder(source):
		return bad("%s, the source of the mount on %s, is no folder", source, at)
	}
	u, err := newUsers(&b.spec)
	if err != nil {
		return nil, owner, err
	}
	if p, err = OpenPersistent(source); err != nil {
		return nil, owner, err
	}
	b.kept = p
	b.spec.Mounts = slices.Delete(slices.Clone(b.spec.Mounts), i, i+1)
	return p, Owner{u.uid, u.gid}, nil
}

// Close closes what Recognize has opened.
func (b *Bundle) Close() error { return b.files.Close() }

// hasDrive says whether the name of a program is a path on a drive, and not the drive alone.
func hasDrive(name string) bool { return len(name) > 3 && oci.HasDrive(name) }

// isWindows says whether a process's first argument is a Windows program.
func isWindows(files *oci.Files, p *specs.Process) bool {
	if p.CommandLine != "" || hasDrive(p.Args[0]) {
		return true
	}
	if search, ok := windowsValue(p.Env, "PATH"); ok && search != "" && !strings.Contains(p.Args[0], "/") {
		return true // a bare name, to be looked for on drives
	}
	_, windows := findProgram(files, p)
	return windows
}

// findProgram finds the file of a process's first argument as execvp(3) would, and says whether it is a PE file. A PE
// file need not be executable: images made of Windows files seldom say so.
func findProgram(files *oci.Files, p *specs.Process) (resolved string, windows bool) {
	name := p.Args[0]
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join("/", p.Cwd, name)
		}
		return sniff(files, name)
	}
	for dir := range strings.SplitSeq(searchPath(p.Env), ":") {
		if resolved, windows = sniff(files, path.Join("/", dir, name)); resolved != "" {
			return resolved, windows
		}
	}
	return "", false
}

// sniff says what a file is; resolved is empty when there is none that could be run.
func sniff(files *oci.Files, name string) (resolved string, windows bool) {
	f, resolved, err := files.Open(name)
	if err != nil {
		return "", false
	}
	defer f.Close()
	if pe.Sniff(f) {
		return resolved, true
	}
	if info, err := f.Stat(); err != nil || info.Mode()&0o111 == 0 {
		return "", false
	}
	return resolved, false
}

// searchPath is PATH of an environment, or what the init ELF takes without one.
func searchPath(env []string) string {
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, setting := range env {
		if value, ok := strings.CutPrefix(setting, "PATH="); ok {
			search = value
		}
	}
	return search
}

// A Container is a Windows container that can be made: what package sandbox is to build, and what there must be on the
// host for it.
type Container struct {
	// Spec is the configuration, for Linux.
	Spec *specs.Spec
	// Overlays are by the destinations of mounts of type overlay.
	Overlays map[string]Overlay
	// Helpers run beside the program.
	Helpers []Helper
	// Stops are those of [Runtime.Stops].
	Stops map[unix.Signal][]string
	// Resize is that of [Runtime.Resize].
	Resize []string
	// Linger tells that the container is to last as long as any process of it.
	Linger bool
	// Prepare makes the folder of the container. It is called once, before the container is built.
	Prepare func() error
	// Persistent is the prefix that the container must hold while it lives, or nil.
	Persistent *Persistent
	// Warnings are sentences on what is not carried out to the letter.
	Warnings []string
}

// Container turns the bundle into a container that runs its program by Wine: that of the root file system, or the
// template's when there is none. The prefix comes from the template, and what the program changes in it goes to scratch.
func (b *Bundle) Container(t *Template, scratch Scratch) (*Container, error) {
	spec, p := &b.spec, *b.spec.Process
	users, err := newUsers(spec)
	if err != nil {
		return nil, err
	}
	r, wine, err := b.runtime(t)
	if err != nil {
		return nil, err
	}
	if b.kept == nil {
		b.layers, b.ofLean = t.mapLayers(b.MapOwners, Owner{users.uid, users.gid})
	}
	// What lies on a drive goes behind the drive.
	own, onDrives, err := b.mounts(t)
	if err != nil {
		return nil, err
	}
	if err := b.shown.choose(&b.drives); err != nil {
		return nil, err
	}
	b.shown.volumes(own)
	if b.user, err = windowsUser(b.files, spec.Process.User); err != nil {
		return nil, err
	}
	where := scratch.Prefix()
	if b.kept != nil {
		where = b.kept.Dir
	}
	if err := b.section.storage(spec, where); err != nil {
		return nil, err
	}
	given := []specs.Mount{
		{Destination: runDir, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755", "size=1m"}},
		{Destination: prefixDir}, // what it shows depends on the program
		serverMount(p.User.UID, p.User.GID),
	}
	if b.copied(users) {
		given = append(given, t.builtinMounts()...)
	}
	if err := b.wishes.display.FindHost(os.Getenv); err != nil {
		return nil, fmt.Errorf("annotations: %s: %w", annotationDisplay, err)
	}
	if err := r.checkDisplay(b.wishes.display); err != nil {
		return nil, fmt.Errorf("annotations: %s: %w", annotationDisplay, err)
	}
	display, err := scratch.displayMounts(b.wishes.display)
	if err != nil {
		return nil, err
	}
	around, err := b.around(t, p.Env)
	if err != nil {
		return nil, err
	}
	given = slices.Concat(given, wine, around, display)
	given = append(given, r.preloadMounts(scratch, p.User.UID, p.User.GID, b.wishes.space)...)
	given = append(given, t.localeMount(b.wishes.encoding, scratch, r.DataDir), t.pipesMount())
	given = append(given, t.stopMounts()...)
	if r == t.Runtime {
		given = append(given, t.kernelbaseMounts()...)
	}
	spec.Mounts = slices.Concat(own, given, onDrives)

	// Now the program can be seen where it will be.
	shown := t.Prefix()
	if b.kept != nil && b.kept.filled() {
		shown = b.kept.Dir
	}
	top := b.files.Names("/")
	b.files.Mount(prefixDir, shown)
	for _, m := range slices.Concat(t.builtinMounts(), wine, onDrives) {
		b.files.Mount(m.Destination, m.Source)
	}
	if b.wishes.driveC {
		b.links = onDriveC(b.files, top, path.Join(prefixDir, "drive_c"))
	}
	if b.registry, err = imageRegistry(b.files, b.wishes.registry); err != nil {
		return nil, fmt.Errorf("annotations: %s: %w", annotationRegistry, err)
	}
	program, file, err := b.program(&p)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	image, command, line, err := b.examine(r, file, program, &p)
	if err != nil {
		return nil, fmt.Errorf("process.args[0]: %q: %w", p.Args[0], err)
	}
	pwd, err := b.workdir(&p)
	if err != nil {
		return nil, fmt.Errorf("process.cwd: %w", err)
	}
	image.runtime = t.Runtime.root // the prefix leads there, also when the Wine is of the root file system
	stops, err := r.Stops(image, b.wishes.stop)
	if err != nil {
		return nil, err
	}
	arguments := p.Args[1:]
	p.Args, p.CommandLine = append(command, arguments...), ""
	p.Env = append(r.inContainer(p.Env, b.wishes.boot, b.wishes.display.environment(), b.user, pwd), line...)
	if b.wishes.boot.minimal() && image.needsVolumes(program, arguments) {
		p.Env = append(p.Env, volumesSetting(b.volumes(onDrives, t.Prefix())))
	}
	if b.kept != nil {
		p.Env = append(p.Env, keepRegistry+"=1")
	}
	lean := leanFor(b.wishes.boot, b.wishes.display, p.Env) && !b.files.Exists(localtime) && !zoned(around) && len(b.registry) == 0 && Lean(file)
	prefix, above, err := b.prefix(t, scratch, users, lean)
	if err != nil {
		return nil, err
	}
	spec.Mounts[slices.IndexFunc(spec.Mounts, func(m specs.Mount) bool { return m.Destination == prefixDir })] = prefix
	resize, err := r.Resize(&p)
	if err != nil {
		return nil, err
	}
	spec.Process = &p
	helpers, err := b.wishes.display.Helpers()
	if err != nil {
		return nil, err
	}
	return &Container{Spec: spec, Overlays: overPrefix(above), Helpers: helpers, Stops: stops, Resize: resize, Linger: b.wishes.linger, Persistent: b.kept, Warnings: b.section.warnings, Prepare: func() error {
		limits := b.wishes.quota
		limits.Apply(spec.Linux.Resources)
		if err := scratch.Make(image, t, &limits); err != nil {
			return err
		}
		if err := t.makeOwnLocales(b.wishes.encoding, scratch); err != nil {
			return fmt.Errorf("annotations: %s: %w", annotationEncoding, err)
		}
		if err := b.fillPrefix(t, scratch, users); err != nil {
			return fmt.Errorf("make the container's prefix: %w", err)
		}
		if err := scratch.makeDisplay(b.wishes.display, !Owner{users.uid, users.gid}.self(), users.uid, users.gid); err != nil {
			return fmt.Errorf("make the container's display: %w", err)
		}
		return nil
	}}, nil
}

// examine reads the program's headers, plans its address space, and gives the command that runs it, and what the command
// needs among its variables.
func (b *Bundle) examine(r *Runtime, file *os.File, program string, p *specs.Process) (image *Image, command, env []string, err error) {
	info, err := file.Stat()
	if err != nil {
		return nil, nil, nil, err
	}
	headers, err := pe.Open(file, info.Size())
	if err != nil {
		return nil, nil, nil, err
	}
	if image, err = r.Examine(headers, b.wishes.space); err != nil {
		return nil, nil, nil, err
	}
	var bridge Bridge
	if !p.Terminal { // whose bytes the console converts
		bridge = Bridge{Pipes: b.wishes.pipes.Bridged(headers), Encoding: b.wishes.encoding}
	}
	if p.CommandLine != "" {
		if env, err = asIs(p.CommandLine); err != nil {
			return nil, nil, nil, err
		}
		bridge.Line = true
	}
	command, err = r.command(image.Machine, program, bridge)
	return image, command, env, err
}

// runtime is the Wine of the container, and the mounts that bring it in when it is the template's.
func (b *Bundle) runtime(t *Template) (*Runtime, []specs.Mount, error) {
	own := t.Runtime
	if b.inside {
		return own, nil, nil
	}
	// Of a fat image, which is launched, the Wine is not needed.
	fat := b.files.IsDir(imageDir)
	if r := inFiles(b.files); r != nil && !fat {
		// The prefix is the template's: its links lead to where that runtime has Wine, and its registry is of that version.
		if r.Version != own.Version || r.Loader64 != own.Loader64 || r.Server != own.Server || r.UnixDir != own.UnixDir ||
			r.WindowsDir != own.WindowsDir || r.DataDir != own.DataDir {
			return nil, nil, fmt.Errorf("root.path: its Wine is version %q in %s, that of the runtime %s is %q in %s: this version of winbox needs the same of both; take Wine out of the image, or name another runtime with %s",
				r.Version, r.WindowsDir, own.Name, own.Version, own.WindowsDir, annotationRuntime)
		}
		r.Name, r.built = own.Name, own.built
		if r.Windows32Dir != own.Windows32Dir || r.Loader32 != own.Loader32 { // nor does the prefix fit another 32-bit part
			r.Windows32Dir, r.Loader32, r.Preloader32 = "", "", ""
		}
		return r, nil, nil
	}
	for _, interpreter := range interpreters {
		if hasFile(b.files, interpreter) && !fat {
			return nil, nil, fmt.Errorf("root.path: it has a C library of its own (%s) but no 64-bit Wine, and a runtime cannot be brought in beside that: install Wine in the image (Debian: wine64), or use an image without a C library", interpreter)
		}
	}
	var mounts []specs.Mount
	for _, p := range own.visible() {
		mounts = append(mounts, t.bindVisible(p))
	}
	for at, file := range own.Interpreters {
		mounts = append(mounts, bindFile(filepath.Join(own.root, file), at))
	}
	// What else the skeleton of a launched program has for Wine's libraries.
	if locale := filepath.Join(t.Root(), localeDir); isFolder(locale) {
		mounts = append(mounts, bindFile(locale, localeDir))
	}
	if !hasFile(b.files, fontsConf) {
		mounts = append(mounts, bindFile(filepath.Join(t.Root(), fontsConf), fontsConf))
	}
	if from := own.ownFile(caBundle); from != "" && !hasFile(b.files, caBundle) {
		mounts = append(mounts, bindFile(from, caBundle))
	}
	return own, mounts, nil
}

// around are the mounts that the variables of a container's process need: its locale, and its zone when that has a name. The
// zone of a container without TZ is its own.
func (b *Bundle) around(t *Template, env []string) ([]specs.Mount, error) {
	have := make(map[string]string)
	for _, setting := range env {
		name, value, _ := strings.Cut(setting, "=")
		have[name] = value
	}
	lang, _ := localeOf(have)
	mounts, err := lang.mounts(t)
	if err != nil {
		return nil, err
	}
	asked := zoneOf(env)
	if asked == "" {
		return mounts, nil
	}
	zone, _, err := t.Runtime.zone(asked)
	if err != nil {
		return nil, fmt.Errorf("process.env: %w", err)
	}
	return append(mounts, zone...), nil
}

// mounts are the bundle's, those with a Windows path as destination apart and at their places. Such a place is a drive,
// or a folder or file on one.
func (b *Bundle) mounts(t *Template) (own, onDrives []specs.Mount, err error) {
	for i, m := range b.spec.Mounts {
		// Engines that know only Linux paths put a slash before it.
		at := strings.TrimPrefix(m.Destination, "/")
		if !driveTarget().MatchString(at) {
			own = append(own, m)
			continue
		}
		to, err := parseTarget(at)
		if err == nil && to.drive == 'c' && len(to.parts) == 0 {
			err = errors.New(`drive C: is the prefix's own: mount onto a folder of it, such as C:\data`)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("mounts[%d].destination: %w", i, err)
		}
		if to.drive != 'c' {
			b.drives.mounts = append(b.drives.mounts, driveMountPoint{target: to})
		}
		if m.Type == "" && !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
			m.Options = append([]string{"rbind"}, m.Options...) // Windows has no other kind (config.md, "Mounts")
		}
		m.Destination = linuxPath(to, t.driveC())
		onDrives = append(onDrives, m)
	}
	return own, onDrives, nil
}

// program gives the path by which Windows knows the program, and the file.
func (b *Bundle) program(p *specs.Process) (name string, file *os.File, err error) {
	asked := p.Args[0]
	if hasDrive(asked) {
		return b.onDrive(asked)
	}
	if search, ok := windowsValue(p.Env, "PATH"); ok && !strings.Contains(asked, "/") {
		for dir := range strings.SplitSeq(search+`;C:\windows\system32;C:\windows`, ";") {
			for _, suffix := range []string{"", ".exe"} {
				if name, file, err = b.onDrive(strings.TrimRight(dir, `\/`) + `\` + asked + suffix); err == nil && pe.Sniff(file) {
					return name, file, nil
				}
			}
		}
		return "", nil, fmt.Errorf("exec: %q: executable file not found in $PATH", asked)
	}
	resolved, windows := findProgram(b.files, p)
	if !windows {
		// The annotation says that it is one: a program of Windows' own, if only a name is given.
		if !strings.Contains(asked, "/") && resolved == "" {
			for _, suffix := range []string{".exe", ""} {
				if name, file, err = b.onDrive(`C:\windows\system32\` + asked + suffix); err == nil {
					return name, file, nil
				}
			}
			return "", nil, fmt.Errorf("exec: %q: executable file not found in $PATH", asked)
		}
		if resolved == "" {
			resolved = path.Join("/", p.Cwd, asked)
			if path.IsAbs(asked) {
				resolved = asked
			}
		}
	}
	if file, resolved, err = b.files.Open(resolved); err != nil {
		return "", nil, notFound(asked, err)
	}
	if name, err = b.show(resolved); err != nil {
		file.Close()
		return "", nil, fmt.Errorf("process.args[0]: %w", err)
	}
	return name, file, nil
}

// show puts a file of the container's root on a drive, with all of its top-level folder, and gives its Windows path. Of the
// root itself only the files are shown.
func (b *Bundle) show(name string) (string, error) {
	windows, err := b.shown.windows(name)
	if err != nil {
		return "", err
	}
	if b.shown.linux(name) == name { // on a drive by itself
		return windows, nil
	}
	b.shown.top(name)
	if path.Dir(name) == "/" {
		for _, beside := range b.files.Names("/") {
			if at := "/" + beside; !b.files.IsDir(at) {
				b.shown.links = append(b.shown.links, at)
			}
		}
	}
	return windows, nil
}

// workdir sets the current directory, which may be given as a Windows path, and gives the path by which Wine finds it on a
// drive.
func (b *Bundle) workdir(p *specs.Process) (pwd string, err error) {
	if asked := strings.TrimPrefix(p.Cwd, "/"); driveTarget().MatchString(asked) {
		to, err := parseTarget(asked)
		if err != nil {
			return "", err
		}
		at, pwd := b.locate(to)
		if !b.files.IsDir(at) && at != "/" {
			return "", fmt.Errorf("%q: no such folder", asked)
		}
		b.link(to, at)
		p.Cwd = pwd // for the root of a drive there is no other path
		return pwd, nil
	}
	p.Cwd = path.Clean(p.Cwd)
	if p.Cwd == "/" {
		p.Cwd = b.shown.linux("/")
		return p.Cwd, nil
	}
	if _, err := b.show(p.Cwd); err != nil {
		return "", err
	}
	return b.shown.linux(p.Cwd), nil
}

// locate gives the Linux path in the container at which a Windows path lies, and the path by which Wine goes there. What
// the prefix has not got at the top of C: is what the root file system has there: COPY app /app in an image, C:\app\app.exe
// as its command.
func (b *Bundle) locate(to target) (at, by string) {
	base := path.Join(drivesDir, string(to.drive))
	if shows, ok := b.shown.base(to.drive); ok {
		at = b.files.MatchCase(shows, to.parts)
		return at, b.shown.linux(at)
	}
	if to.drive == 'c' {
		base = path.Join(prefixDir, "drive_c")
	}
	at = b.files.MatchCase(base, to.parts)
	if to.drive == 'c' && b.wishes.driveC && len(to.parts) > 0 && !b.files.Exists(at) {
		if own := b.files.MatchCase("/", to.parts); b.files.Exists(own) {
			return own, path.Join(base, own)
		}
	}
	if to.drive == 'c' && len(to.parts) > 0 && !b.files.Exists(b.files.MatchCase(base, to.parts[:1])) {
		if top := b.files.MatchCase("/", to.parts[:1]); b.files.Exists(top) {
			at = b.files.MatchCase(top, to.parts[1:])
			return at, path.Join(base, at)
		}
	}
	return at, at
}

// link has the drive of a Windows path show what is at its Linux path, which locate has found.
func (b *Bundle) link(to target, at string) {
	switch {
	case to.drive == b.shown.letter:
		b.shown.top(at)
	case to.drive == 'c' && !b.wishes.driveC && !within(at, prefixDir):
		if first, _, _ := strings.Cut(strings.TrimPrefix(at, "/"), "/"); !slices.Contains(b.links, first) {
			b.links = append(b.links, first)
		}
	}
}

// onDrive finds the program of a path with a drive letter.
func (b *Bundle) onDrive(asked string) (name string, file *os.File, err error) {
	to, err := parseTarget(asked)
	if err != nil || to.drive == 0 || len(to.parts) == 0 {
		return "", nil, fmt.Errorf("process.args[0]: %q is not the path of a program", asked)
	}
	at, _ := b.locate(to)
	if file, _, err = b.files.Open(at); err != nil {
		return "", nil, notFound(asked, err)
	}
	b.link(to, at)
	return to.String(), file, nil
}

// notFound says that there is no such program, in the words that engines look for.
func notFound(name string, err error) error {
	var why *fs.PathError
	if errors.As(err, &why) {
		err = why.Err
	}
	if errors.Is(err, fs.ErrInvalid) {
		return fmt.Errorf("exec: %q: not a regular file: permission denied", name)
	}
	return fmt.Errorf("exec: %q: stat %s: %w", name, name, err)
}

// users tells who the program is on the host.
type users struct {
	uid, gid int
	// mapped tells that the container has a user namespace of its own.
	mapped bool
}

// newUsers maps the process's user to the host.
func newUsers(spec *specs.Spec) (users, error) {
	u := users{uid: int(spec.Process.User.UID), gid: int(spec.Process.User.GID)}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type != specs.UserNamespace {
			continue
		}
		if ns.Path != "" {
			return u, errors.New("linux.namespaces: a Windows container in an existing user namespace is not supported by this version of winbox")
		}
		var ok [2]bool
		u.mapped = true
		u.uid, ok[0] = onHost(spec.Linux.UIDMappings, u.uid)
		u.gid, ok[1] = onHost(spec.Linux.GIDMappings, u.gid)
		if !ok[0] || !ok[1] {
			return u, fmt.Errorf("process.user: %d:%d is not in linux.uidMappings and linux.gidMappings", spec.Process.User.UID, spec.Process.User.GID)
		}
	}
	return u, nil
}

// onHost maps an id of a user namespace to the host's.
func onHost(mappings []specs.LinuxIDMapping, id int) (int, bool) {
	for _, m := range mappings {
		if off := id - int(m.ContainerID); off >= 0 && off < int(m.Size) {
			return int(m.HostID) + off, true
		}
	}
	return 0, false
}

// copied says whether the prefix is folders of its own, and no layer above the template.
func (b *Bundle) copied(u users) bool {
	return b.kept != nil || b.inside || u.mapped && b.layers == nil
}

// prefix is the mount of the prefix: the persistent one; the template with an overlay above; or a copy in a user
// namespace, where an overlay cannot copy up files of users that are not mapped (EOVERFLOW).
func (b *Bundle) prefix(t *Template, scratch Scratch, u users, lean bool) (m specs.Mount, above *Overlay, err error) {
	switch {
	case b.kept != nil:
		return persistentMount(b.kept.Dir), nil, nil
	case b.copied(u):
		return specs.Mount{Destination: prefixDir, Type: "bind", Source: scratch.copy(), Options: []string{"bind", "nosuid", "nodev", "rprivate"}}, nil, nil
	}
	if m, above, err = t.overlay(scratch.Prefix(), u.mapped || userns.RunningInUserNS(), lean, b.layers, b.ofLean); err == nil && b.spec.Root.Readonly {
		above.protect(t, b.memory())
		if b.shown.letter != 0 {
			// The folder itself can still be given links by exec.
			b.shown.view = path.Join(runDir, b.shown.folder())
			above.Views = map[string]string{b.shown.folder(): b.shown.view}
		}
	}
	return m, above, err
}

// memory is the container's memory limit in bytes, 0 without one.
func (b *Bundle) memory() int64 {
	if res := b.spec.Linux.Resources; res != nil && res.Memory != nil && res.Memory.Limit != nil {
		return *res.Memory.Limit
	}
	return 0
}

// copy is the whole prefix of a container in a user namespace.
func (s Scratch) copy() string { return filepath.Join(s.Prefix(), "copy") }

// fillPrefix makes what the mount of the prefix shows.
func (b *Bundle) fillPrefix(t *Template, scratch Scratch, u users) (err error) {
	owner := Owner{u.uid, u.gid}
	var top *os.Root
	switch {
	case b.kept != nil:
		top = b.kept.root
	case b.inside: // it is there
		if top, err = os.OpenRoot(scratch.copy()); err != nil {
			return err
		}
		defer top.Close()
	case b.copied(u):
		if err = os.Mkdir(scratch.copy(), 0o755); err == nil {
			top, err = os.OpenRoot(scratch.copy())
		}
		if err != nil {
			return err
		}
		defer top.Close()
		if err = errors.Join(copyTree(t.Prefix(), top, owner), chown(top, ".", owner)); err != nil {
			return err
		}
	default:
		if top, err = t.makeUpper(scratch.Prefix(), owner, b.layers != nil); err != nil {
			return err
		}
		defer top.Close()
	}
	if err := linkDrives(top, &b.drives); err != nil {
		return err
	}
	if b.kept != nil {
		err = b.kept.setDisplay(b.wishes.display, owner)
	} else {
		err = t.writeRegistry(top, b.wishes.display, owner)
	}
	if err != nil {
		return err
	}
	if err := b.writeImageRegistry(t, top, owner); err != nil {
		return err
	}
	if err := b.shown.make(top, owner); err != nil {
		return err
	}
	for _, name := range b.links {
		at := ""
		for part := range strings.SplitSeq(path.Dir(path.Join("drive_c", name)), "/") {
			at = path.Join(at, part)
			if err := makeOwn(top, at, owner); err != nil {
				return err
			}
		}
		if err := top.Symlink("/"+name, "drive_c/"+name); err != nil && (b.kept == nil && !b.inside || !errors.Is(err, fs.ErrExist)) {
			return err
		}
	}
	return makeProfile(top, b.user, owner)
}

// inContainer adds Wine's variables to those of a process. What makes Wine find its parts is not for the bundle to say.
// pwd is the current directory by way of a drive.
func (r *Runtime) inContainer(env []string, boot Boot, display map[string]string, user, pwd string) []string {
	have := make(map[string]string)
	for _, setting := range env {
		name, value, _ := strings.Cut(setting, "=")
		have[name] = value
	}
	windowsVariables(have)
	for _, name := range []string{volumes, lineVariable, consoleName, keepRegistry} { // of the main process, whose environment exec takes over
		delete(have, name)
	}
	delete(have, "TZ")
	switch zone := zoneOf(env); {
	case isUTC(zone):
		have["TZ"] = "UTC0"
	case zone != "" && !zoneName(zone):
		have["TZ"] = zone
	}
	locale, _ := localeOf(have) // one that is none counts as C, as for the C library
	for name, value := range r.baseEnvironment(user) {
		switch _, given := have[name]; {
		case given && slices.Contains([]string{"PATH", "WINEDEBUG", "WINETEMP", "WINETMP", "LANG"}, name):
		default:
			have[name] = value
		}
	}
	locale.set(have)
	have["PWD"] = pwd
	maps.Copy(have, display)
	boot.choose(have)
	return settings(have)
}

// notShown says why a path of the container's root cannot be shown on a drive.
func notShown(name string, letter byte, err error) error {
	if errors.Is(err, unix.EROFS) {
		err = fmt.Errorf("the root file system is read-only: have the annotation %s show it when the container is made", annotationDrives)
	}
	return fmt.Errorf("show %s on drive %c: %w", name, letter-0x20, err)
}

// Executed is a Windows program that is run in a container besides its own.
type Executed struct {
	// Process is what is to be executed.
	Process *specs.Process
	// Resize is that of [Runtime.Resize].
	Resize []string
}

// InContainer turns a process for a running Windows container into one that the container's Wine runs, if it is a
// Windows program; it is nil when it is not. spec is the configuration that the container was made with, files is
// what it sees.
//
// # Errors
//
// The user is another than the container's: the prefix has one user only.
func InContainer(spec *specs.Spec, p *specs.Process, files *oci.Files) (*Executed, error) {
	main := spec.Process
	p = withArgs(p)
	if len(p.Args) == 0 || len(main.Args) < 3 {
		return nil, nil
	}
	how, err := readHandler(spec.Annotations)
	if err != nil || how == handlerLinux || !isWindows(files, p) {
		return nil, err
	}
	if p.User.UID != main.User.UID || p.User.GID != main.User.GID {
		return nil, fmt.Errorf("a Windows program of this container runs as user %d:%d, to whom its drive C: belongs, and not as %d:%d", main.User.UID, main.User.GID, p.User.UID, p.User.GID)
	}
	r := inFiles(files)
	if r == nil {
		return nil, errors.New("the container's Wine is gone")
	}
	b := &Bundle{files: files, user: User, wishes: wishes{pipes: Pipes(spec.Annotations[annotationPipes]), encoding: Encoding(spec.Annotations[annotationEncoding])}}
	for _, letter := range "abdefghijklmnopqrstuvwxyz" { // C: apart
		if files.IsDir(path.Join(drivesDir, string(letter))) {
			b.drives.mounts = append(b.drives.mounts, driveMountPoint{target: target{drive: byte(letter)}})
		}
		if files.IsDir(path.Join(prefixDir, (&shown{letter: byte(letter)}).folder())) && files.IsDir(path.Join(prefixDir, "dosdevices", string(letter)+":")) {
			b.shown.letter = byte(letter)
		}
	}
	if b.shown.given, err = parseDrives(spec.Annotations[annotationDrives]); err != nil {
		return nil, err
	}
	program, file, err := b.program(p)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	q := *p
	pwd, err := b.workdir(&q)
	if err != nil {
		return nil, fmt.Errorf("cwd: %w", err)
	}
	for _, link := range b.shown.links { // of folders that no drive has shown until now
		dir := path.Join(prefixDir, b.shown.folder(), path.Dir(link))
		if at := path.Join(dir, path.Base(link)); !files.Exists(at) && files.Exists(link) {
			if err := files.Symlink(dir, path.Base(link), link); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, notShown(link, b.shown.letter, err)
			}
		}
	}
	for _, name := range b.links {
		if err := files.Symlink(path.Join(prefixDir, "drive_c"), name, "/"+name); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, notShown("/"+name, 'c', err)
		}
	}
	_, command, line, err := b.examine(r, file, program, p)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", p.Args[0], err)
	}
	for _, setting := range main.Env {
		if name, ok := strings.CutPrefix(setting, "USER="); ok {
			b.user = name
		}
	}
	q.Args, q.CommandLine = append(command, p.Args[1:]...), ""
	var display map[string]string
	if spec.Annotations[annotationDisplay] != "" {
		display = displayVariables(main.Env)
	}
	boot := chosenBoot(main.Env)
	q.Env = append(r.inContainer(p.Env, boot, display, b.user, pwd), line...)
	if files.Exists(path.Join(prefixDir, loadCommand)) && !(leanFor(boot, Display{}, q.Env) && Lean(file)) {
		q.Env = append(q.Env, registrySetting)
	}
	resize, err := r.Resize(&q)
	return &Executed{Process: &q, Resize: resize}, err
}
