package wine

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Options says how to launch a program.
type Options struct {
	// Program is what to run, from [Template.Find]; Machine is the machine of its PE header.
	Program Program
	Machine string
	// Image is what [Runtime.Examine] has found of it; it may be nil.
	Image *Image
	// Args are the arguments after the program.
	Args []string
	// Dir is the host folder that becomes drive D: and the current folder.
	Dir string
	// Mounts are further shares.
	Mounts []Mount
	// ReadOnly shares Dir and all of Mounts read-only. On drive C: only the users' folders and those of temporary files can be
	// written to then, and that stays in memory, at most half of Memory. A persistent prefix stays writable.
	ReadOnly bool
	// ShareHome allows Dir, a mount or the program's folder to be `/` or a home directory.
	ShareHome bool
	// Env are further variables, NAME=VALUE. They win over those that a launch sets by itself.
	Env []string
	// Workdir is where the program starts instead of D:\, as a Windows path: `D:\sub`, `C:\app`.
	Workdir string
	// Boot is the boot profile, [BootMinimal] when empty.
	Boot Boot
	// Lean says that the program may have a lean prefix: see [Lean].
	Lean bool

	// Prefix is a persistent prefix, which [Persistent.Fit] must make fit before it is prepared; nil for one that is thrown
	// away.
	Prefix *Persistent
	// Scratch is a folder of the caller's, empty when the container is prepared, for what the program changes in a prefix
	// that is not persistent. The caller removes it when the container is gone. It is not needed with Prefix.
	Scratch string

	// Memory is the container's memory limit in bytes, 0 without one.
	Memory int64
	// MapOwners, if not nil, gives another user than the caller Wine's own files.
	MapOwners OwnerMapper

	// UID and GID are who the program runs as, in the container.
	UID, GID int
	// Rootless puts the container into a user namespace in which UID and GID are the caller's own ids.
	Rootless bool

	// Preload is the folder with the plans of the address space and the preloaders that take the place of Wine's, which
	// [Scratch.Make] has made. Without it the loader is executed directly.
	Preload Scratch
	// Wishes are those that the plans were made with.
	Wishes Wishes

	// Encoding is that of the text that the program reads and writes.
	Encoding Encoding
	// Display is where its windows are. A virtual one asks for the container's [Display.Helpers] as well.
	Display Display

	// Network shares the host's network. Otherwise the container has a network of its own, with nothing in it.
	Network bool
	// Bridge stands between the standard streams and the program.
	Bridge Bridge
	// Terminal gives the program a terminal.
	Terminal bool
}

// Container makes the container of a launched program. Limits, seccomp and the cgroup path are left to the caller.
func (t *Template) Container(opt Options) (*Container, error) {
	loader, _, err := t.Runtime.Loader(opt.Machine)
	if err != nil {
		return nil, err
	}
	shared, program, err := opt.shares()
	if err != nil {
		return nil, err
	}
	cwd, err := opt.workdir(shared, t.driveC())
	if err != nil {
		return nil, err
	}
	env, around, err := t.environment(opt)
	if err != nil {
		return nil, err
	}
	opt.Lean = opt.Lean && leanFor(opt.Boot, opt.Display, env) && !zoned(around)
	prefix, above, prepare, err := t.openPrefix(opt, shared)
	if err != nil {
		return nil, err
	}

	spec := t.base(opt)
	spec.Mounts = append(append(spec.Mounts, around...), prefix...)
	for _, m := range shared.mounts {
		to := linuxPath(m.target, t.driveC())
		// With what is mounted below them.
		options := []string{"rbind", "rnosuid", "rnodev", "rprivate"}
		if m.readOnly {
			options = append(options, "rro")
		}
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: to, Type: "bind", Source: m.source, Options: options})
	}
	if err := t.Runtime.checkDisplay(opt.Display); err != nil {
		return nil, err
	}
	display, err := opt.Preload.displayMounts(opt.Display)
	if err != nil {
		return nil, err
	}
	spec.Mounts = append(spec.Mounts, display...)
	args := []string{loader, program}
	if opt.Preload != "" {
		spec.Mounts = append(spec.Mounts, t.Runtime.preloadMounts(opt.Preload, uint32(opt.UID), uint32(opt.GID), opt.Wishes)...)
		if _, err := opt.Encoding.codePage(); err != nil {
			return nil, fmt.Errorf("encoding: %w", err)
		}
		spec.Mounts = append(spec.Mounts, t.localeMount(opt.Encoding, opt.Preload, t.Runtime.DataDir), t.pipesMount())
		spec.Mounts = append(append(spec.Mounts, t.stopMounts()...), t.kernelbaseMounts()...)
		if args, err = t.Runtime.command(opt.Machine, program, opt.Bridge); err != nil {
			return nil, err
		}
	}
	spec.Process.Args = append(args, opt.Args...)
	if opt.Boot.minimal() && opt.Image != nil && opt.Image.needsVolumes(program, opt.Args) {
		of := t.Prefix() // the lower layer; the upper is not made yet
		if opt.Prefix != nil {
			of = opt.Prefix.Dir
		}
		env = append(env, volumesSetting(shared.volumes(of)))
	}
	if opt.Prefix != nil {
		env = append(env, keepRegistry+"=1")
	}
	spec.Process.Env = env
	spec.Process.Cwd = cwd
	boot := opt.Boot
	if boot == "" {
		boot = BootMinimal
	}
	spec.Annotations = map[string]string{annotationBoot: string(boot)}
	if opt.Display.Kind != "" {
		spec.Annotations[annotationDisplay] = string(opt.Display.Kind)
		if opt.Display.VNC {
			spec.Annotations[annotationVNC] = "true"
		}
	}
	return &Container{Spec: spec, Overlays: overPrefix(above), Persistent: opt.Prefix, Prepare: func() error {
		if opt.Preload != "" {
			if err := t.makeOwnLocales(opt.Encoding, opt.Preload); err != nil {
				return fmt.Errorf("encoding: %w", err)
			}
		}
		if err := opt.Preload.makeDisplay(opt.Display, opt.foreign(), opt.UID, opt.GID); err != nil {
			return fmt.Errorf("scratch folder: %w", err)
		}
		return prepare()
	}}, nil
}

// shares collects the drives, and gives the path at which the program will find itself: on D: when it lies in the
// current folder, on a drive of its own otherwise.
func (opt *Options) shares() (*drives, string, error) {
	d := &drives{}
	dir, err := shareable(opt.Dir, opt.ShareHome)
	if err != nil {
		return nil, "", err
	}
	if err := d.add(dir, target{drive: 'd'}, opt.ReadOnly); err != nil {
		return nil, "", err
	}
	for _, m := range opt.Mounts {
		t, err := parseTarget(m.Target)
		if err != nil {
			return nil, "", fmt.Errorf("mount %s: %w", m.Source, err)
		}
		source, err := shareable(m.Source, opt.ShareHome)
		if err != nil {
			return nil, "", err
		}
		if err := d.add(source, t, m.ReadOnly || opt.ReadOnly); err != nil {
			return nil, "", err
		}
	}
	if err := d.nested(); err != nil {
		return nil, "", err
	}

	if opt.Program.Windows != "" {
		return d, opt.Program.Windows, nil
	}
	host := opt.Program.Host
	if host == "" {
		return nil, "", errors.New("no program given")
	}
	if within(host, dir) {
		return d, `D:\` + windowsPath(strings.TrimPrefix(host, strings.TrimSuffix(dir, "/")+"/")), nil
	}
	folder, err := shareable(filepath.Dir(host), opt.ShareHome)
	if err != nil {
		return nil, "", fmt.Errorf("the program's folder: %w", err)
	}
	letter, err := d.free()
	if err != nil {
		return nil, "", err
	}
	if err := d.add(folder, target{drive: letter}, true); err != nil {
		return nil, "", err
	}
	return d, strings.ToUpper(string(letter)) + `:\` + windowsPath(filepath.Base(host)), nil
}

// windowsPath turns the slashes of a relative path.
func windowsPath(rel string) string { return strings.ReplaceAll(rel, "/", `\`) }

// nested sorts the mounts so that a drive comes before what is mounted on it, and refuses a mount point that would
// have to be made in a shared folder of the host.
func (d *drives) nested() error {
	sort.SliceStable(d.mounts, func(i, j int) bool { return len(d.mounts[i].target.parts) < len(d.mounts[j].target.parts) })
	for _, m := range d.mounts {
		if m.target.drive == 0 || m.target.drive == 'c' || len(m.target.parts) == 0 {
			continue
		}
		for _, below := range d.mounts {
			if below.target.drive != m.target.drive || len(below.target.parts) >= len(m.target.parts) || !below.folder ||
				!hasPrefixFold(m.target.parts, below.target.parts) {
				continue
			}
			rest := m.target.parts[len(below.target.parts):]
			at := filepath.Join(below.source, path.Join(rest...))
			if info, err := os.Stat(at); err != nil || info.IsDir() != m.folder {
				return fmt.Errorf("share %s at %s: that lies in %s, which has no %s to mount it on: make one, or choose another drive", m.source, m.target, below.source, path.Join(rest...))
			}
		}
	}
	return nil
}

func hasPrefixFold(parts, prefix []string) bool {
	for i, p := range prefix {
		if !strings.EqualFold(p, parts[i]) {
			return false
		}
	}
	return true
}

// workdir gives the Linux path of the current folder.
func (opt *Options) workdir(d *drives, driveC string) (string, error) {
	if opt.Workdir == "" {
		return path.Join(drivesDir, "d"), nil
	}
	t, err := parseTarget(opt.Workdir)
	if err != nil || t.drive == 0 {
		return "", fmt.Errorf(`working directory %q: want a Windows path such as D:\folder or C:\app`, opt.Workdir)
	}
	if t.drive == 'c' {
		if opt.Prefix != nil && opt.Prefix.filled() {
			driveC = filepath.Join(opt.Prefix.Dir, "drive_c")
		}
		rel := matchCase(driveC, t.parts)
		for _, m := range d.mounts {
			if m.target.drive == 'c' && len(m.target.parts) <= len(t.parts) && hasPrefixFold(t.parts, m.target.parts) {
				return path.Join(linuxPath(m.target, driveC), matchCase(m.source, t.parts[len(m.target.parts):])), nil
			}
		}
		if !isFolder(filepath.Join(driveC, rel)) {
			return "", fmt.Errorf("working directory %s: no such folder in the prefix", opt.Workdir)
		}
		return path.Join(prefixDir, "drive_c", rel), nil
	}
	for i := len(d.mounts) - 1; i >= 0; i-- {
		m := d.mounts[i]
		if m.target.drive != t.drive || len(m.target.parts) > len(t.parts) || !hasPrefixFold(t.parts, m.target.parts) {
			continue
		}
		rel := matchCase(m.source, t.parts[len(m.target.parts):])
		if !isFolder(filepath.Join(m.source, rel)) {
			return "", fmt.Errorf("working directory %s: no such folder in %s", opt.Workdir, m.source)
		}
		return path.Join(linuxPath(m.target, driveC), rel), nil
	}
	return "", fmt.Errorf("working directory %s: no such drive", opt.Workdir)
}

// environment makes the variables of a launched program, and the mounts that they need. None of the host's pass.
func (t *Template) environment(opt Options) ([]string, []specs.Mount, error) {
	if err := opt.Boot.check(); err != nil {
		return nil, nil, err
	}
	given := make(map[string]string)
	for _, setting := range opt.Env {
		name, val, ok := strings.Cut(setting, "=")
		switch {
		case !ok || name == "":
			return nil, nil, fmt.Errorf("environment %q: want NAME=VALUE", setting)
		case strings.ContainsRune(setting, 0):
			return nil, nil, fmt.Errorf("environment %q: has a zero byte", setting)
		}
		given[name] = val
	}
	lang, ok := localeOf(given)
	if !ok {
		return nil, nil, fmt.Errorf("environment: LC_ALL, LC_MESSAGES or LANG: %q is no locale such as de_DE.UTF-8", given["LC_ALL"]+given["LC_MESSAGES"]+given["LANG"])
	}
	mounts, err := lang.mounts(t)
	if err != nil {
		return nil, nil, err
	}
	asked, set := given["TZ"]
	if !set {
		asked = os.Getenv("TZ") // the caller's idea of the host's zone
	}
	zone, tz, err := t.Runtime.zone(asked)
	if err != nil && !set {
		zone, tz, err = t.Runtime.zone("")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("environment: %w", err)
	}
	delete(given, "TZ")
	if tz != "" {
		given["TZ"] = tz
	}
	for _, name := range twoForms {
		if value, ok := lookUpFold(given, name); ok && !windowsForm(value) {
			return nil, nil, fmt.Errorf(`environment: %s=%s: a Windows program needs the form C:\tools;D:\bin`, name, value)
		}
	}
	windowsVariables(given)

	env := t.Runtime.baseEnvironment(User)
	maps.Copy(env, opt.Display.environment())
	for name, val := range given {
		env[name] = val
	}
	opt.Boot.choose(env)
	lang.set(env)
	return settings(env), append(mounts, zone...), nil
}

// settings lists variables as NAME=VALUE, in order.
func settings(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for name, val := range env {
		list = append(list, name+"="+val)
	}
	sort.Strings(list)
	return list
}

// baseEnvironment is what every process of Wine gets, for a Windows user of this name.
func (r *Runtime) baseEnvironment(user string) map[string]string {
	return map[string]string{
		"WINEPREFIX": prefixDir,
		"WINESERVER": r.Server,
		// What crashes without a chance for crash.exe to look at it, by __fastfail, is told by the channel seh.
		"WINEDEBUG": "-all,err+seh",
		// Without it the loader executes itself once more, by way of its preloader.
		"WINELOADERNOEXEC": "1",
		// File names are bytes to Linux; in the C locale Wine would take them for ASCII.
		"LC_ALL":   string(plainLocale),
		"LANG":     string(plainLocale),
		"USER":     user,
		"HOME":     profile(user),
		"PATH":     path.Dir(r.Loader64),
		"WINETEMP": home(user) + `\Temp`,
		"WINETMP":  home(user) + `\Temp`,
	}
}

// base is what the containers of launched programs and the one that makes the template have in common: the skeleton as
// root, namespaces, kernel file systems, and Wine.
func (t *Template) base(opt Options) *specs.Spec {
	spec := &specs.Spec{
		Version:  "1.2.0",
		Hostname: Hostname,
		Root:     &specs.Root{Path: t.Root(), Readonly: true},
		Process: &specs.Process{
			Terminal:        opt.Terminal,
			User:            specs.User{UID: uint32(opt.UID), GID: uint32(opt.GID)},
			NoNewPrivileges: true,
			Capabilities:    capabilities(opt),
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
			{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755"}},
			serverMount(uint32(opt.UID), uint32(opt.GID)),
			// Of /sys only what tells of processors, nodes and clocks.
			{Destination: "/sys/devices/system", Type: "bind", Source: "/sys/devices/system", Options: []string{"rbind", "rro", "rnosuid", "rnoexec", "rnodev", "rprivate"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace},
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
				"/proc/sched_debug", "/proc/scsi", "/proc/interrupts",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	if opt.Rootless {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: uint32(opt.UID), HostID: uint32(os.Geteuid()), Size: 1}}
		spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: uint32(opt.GID), HostID: uint32(os.Getegid()), Size: 1}}
	}
	if !opt.Network {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	} else {
		spec.Mounts = append(spec.Mounts, NetworkMounts()...)
	}
	for _, p := range t.Runtime.visible() {
		spec.Mounts = append(spec.Mounts, t.bindVisible(p))
	}
	// Where the container does not have the host's, with what its administrator trusts, it has the runtime's.
	if own := t.Runtime.ownFile(caBundle); own != "" && !slices.ContainsFunc(spec.Mounts, func(m specs.Mount) bool {
		return m.Destination == caBundle
	}) {
		spec.Mounts = append(spec.Mounts, bindFile(own, caBundle))
	}
	return spec
}

// serverMount is where Debian's Wine has its server socket; without it, Wine writes a file into the prefix that names
// another place.
func serverMount(uid, gid uint32) specs.Mount {
	return specs.Mount{
		Destination: fmt.Sprintf("/run/user/%d", uid), Type: "tmpfs", Source: "tmpfs",
		Options: []string{"nosuid", "nodev", "mode=700", fmt.Sprintf("uid=%d", uid), fmt.Sprintf("gid=%d", gid)},
	}
}

// bindVisible mounts a path of the runtime's at its own place.
func (t *Template) bindVisible(p visiblePath) specs.Mount {
	options := []string{"rro", "rnosuid", "rnodev", "rprivate"}
	if p.folder {
		options = append([]string{"rbind"}, options...)
	} else {
		options = append([]string{"bind"}, options...)
	}
	return specs.Mount{Destination: p.path, Type: "bind", Source: filepath.Join(t.Runtime.root, p.path), Options: options}
}

// bindFile mounts a file or folder of the host's read-only.
func bindFile(source, to string) specs.Mount {
	return specs.Mount{Destination: to, Type: "bind", Source: source, Options: []string{"bind", "ro", "nosuid", "nodev", "rprivate"}}
}

// capabilities lets root write what belongs to others, as it does outside: the container reaches nothing but what is
// shared with it. Anybody else has none.
func capabilities(opt Options) *specs.LinuxCapabilities {
	caps := &specs.LinuxCapabilities{}
	if opt.UID == 0 && !opt.Rootless {
		list := []string{"CAP_DAC_OVERRIDE", "CAP_FOWNER"}
		caps.Bounding, caps.Effective, caps.Permitted = list, list, list
	}
	return caps
}

// quietSetup, in the variable of overrides, keeps Wine's set-up from asking about Mono and Gecko and from making menus.
const quietSetup = "mscoree,mshtml=;winemenubuilder.exe=d"

// makeSpec makes the configuration of the container that boots Wine once in the new prefix, with DLL overrides that say
// by which boot program.
func (t *Template) makeSpec(overriding string) *specs.Spec {
	opt := Options{UID: 0, GID: 0, Rootless: os.Geteuid() != 0}
	spec := t.base(opt)
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: prefixDir, Type: "bind", Source: t.Prefix(), Options: []string{"bind", "nosuid", "nodev", "rprivate"},
	})
	env := t.Runtime.baseEnvironment(User)
	env["TZ"] = "UTC0"
	env[overrides] = overriding
	spec.Process.Env = settings(env)
	spec.Process.Args = []string{t.Runtime.Loader64, `C:\windows\system32\wineboot.exe`, "--init"}
	spec.Process.Cwd = prefixDir
	return spec
}
