package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/images/request"
	"winbox/images/store"
	"winbox/internal/kernel"
	"winbox/oci"
	"winbox/preload"
	"winbox/sandbox"
	"winbox/wine"
)

// An image is launched in two steps. The first makes sure that its layers are unpacked and makes the container's folder;
// the second is the same command again, in a mount namespace of its own, and without root's privileges in a user namespace:
// there it mounts the layers, and runs what is then a bundle. However winbox ends, the mount ends with it.

// insideImage is the variable that tells the second step of the first, as JSON.
const insideImage = "_WINBOX_IMAGE"

// entered is what the second step has to know.
type entered struct {
	ID     string           `json:"id"`
	Image  store.Descriptor `json:"image"`
	State  string           `json:"state"` // the state root
	Data   string           `json:"data"`  // the data root
	Lock   int              `json:"lock"`  // descriptor of [store.Store.Use]
	Mounts string           `json:"mounts"`
}

// mountNamespace names the mount namespace of this process.
func mountNamespace() string {
	name, _ := os.Readlink("/proc/self/ns/mnt")
	return name
}

// box is the folder of a container of an image.
func (e *entered) box() string { return filepath.Join(e.Data, "containers", e.ID+"-image") }

// findImage finds the image of the name of a program that there is not.
func (l *launch) findImage() (*store.Image, error) {
	images := store.Open(l.dataRoot)
	if _, err := os.Stat(images.Dir()); err != nil || l.program.Host != "" {
		return nil, nil
	}
	image, err := images.Find(l.c.Args().First())
	if errors.Is(err, store.ErrNoImage) {
		return nil, nil
	}
	return image, err
}

// enterImage is the first step.
func (l *launch) enterImage() error {
	images := store.Open(l.dataRoot)
	hold, err := images.Peek()
	if err != nil {
		return err
	}
	defer hold.Close()
	image, err := images.Find(l.c.Args().First()) // again: it may have been removed before the hold
	if err != nil {
		return err
	}
	if slices.ContainsFunc(image.Config.RootFS.DiffIDs, func(id store.Digest) bool { return !images.HasTree(id) }) {
		r := &request.Request{Verb: "layers", Args: []string{string(image.Digest)}, DataRoot: l.dataRoot}
		if err := l.images(l.c.Context, r, nil, l.stderr); err != nil {
			return &exitError{code: exitFailed}
		}
	}
	e := &entered{ID: newID(l.c.Args().First()), Image: image.Descriptor, State: l.root, Data: l.dataRoot, Mounts: mountNamespace()}
	lock, err := images.Use(e.box(), filepath.Join(l.root, e.ID), image)
	if err != nil {
		return images.Explain(err)
	}
	hold.Close()
	if l.rootless {
		err = e.child(lock)
	} else {
		err = e.execute(lock)
	}
	return errors.Join(err, os.RemoveAll(e.box()), lock.Close())
}

// environment is that of the second step.
func (e *entered) environment() ([]string, error) {
	text, err := json.Marshal(e)
	return append(os.Environ(), insideImage+"="+string(text)), err
}

// execute goes on as the second step. It returns only when that fails.
func (e *entered) execute(lock *os.File) error {
	// The thread that executes is the one that stays, with its namespaces (execve(2)).
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	e.Lock = int(lock.Fd())
	env, err := e.environment()
	if err != nil {
		return err
	}
	if _, err := unix.FcntlInt(lock.Fd(), unix.F_SETFD, 0); err != nil {
		return err
	}
	return fmt.Errorf("execute winbox: %w", syscall.Exec("/proc/self/exe", os.Args, env))
}

// child starts the second step in a user namespace and waits for it. Only who has one thread can enter one by itself
// (unshare(2)).
func (e *entered) child(lock *os.File) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	defer signal.Stop(signals)
	e.Lock = 3
	env, err := e.environment()
	if err != nil {
		return err
	}
	// The death signal is sent when the thread ends that started the process (prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0], cmd.Env = os.Args[0], env
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stdout, os.Stderr, []*os.File{lock}
	uid, gid, size := os.Geteuid(), os.Getegid(), 1
	if uid == 0 {
		size = 1 << 16
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{HostID: uid, Size: size}}, GidMappings: []syscall.SysProcIDMap{{HostID: gid, Size: size}},
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("make a user namespace: %w", err)
	}
	done := make(chan bool)
	defer close(done)
	go func() {
		for {
			select {
			case sig := <-signals:
				cmd.Process.Signal(sig)
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Exited():
		return &exitError{code: exit.ExitCode()}
	case errors.As(err, &exit):
		return &exitError{code: 128 + int(exit.Sys().(syscall.WaitStatus).Signal())}
	}
	return err
}

// runImage is the second step.
func (l *launch) runImage() (err error) {
	var e entered
	if err := json.Unmarshal([]byte(os.Getenv(insideImage)), &e); err != nil {
		return fmt.Errorf("%s is winbox's own, and must not be set: %w", insideImage, err)
	}
	if err := os.Unsetenv(insideImage); err != nil {
		return err
	}
	if e.Mounts == mountNamespace() {
		return errors.New(insideImage + " is winbox's own, and must not be set")
	}
	lock := os.NewFile(uintptr(e.Lock), e.box())
	unix.CloseOnExec(e.Lock)
	defer lock.Close()
	if os.Geteuid() == 0 && l.rootless || l.nested {
		// The namespace is there already.
		l.rootless, l.nested = false, true
	}
	l.root, l.dataRoot, l.id = e.State, e.Data, e.ID
	defer func() {
		if err != nil || !l.c.Bool("keep") {
			err = errors.Join(err, os.RemoveAll(e.box())) // usually gone with the container
		}
	}()
	signals := sandbox.CatchSignals()
	signals.Wait()
	images := store.Open(l.dataRoot)
	image, err := images.Image(e.Image)
	if err != nil {
		return fmt.Errorf("image %s: %w", e.Image.Digest, err)
	}
	if err := mountImage(images, image, e.box()); err != nil {
		return fmt.Errorf("image %s: mount its layers: %w", l.c.Args().First(), err)
	}
	spec, err := l.imageContainer(image, images.MountPoint())
	if err != nil {
		return fmt.Errorf("image %s: %w", l.c.Args().First(), err)
	}
	spec.Root.Path = images.MountPoint()
	limited := spec.Linux.Resources.Memory != nil || spec.Linux.Resources.CPU != nil || spec.Linux.Resources.Pids != nil
	opt := sandbox.Options{
		Root: l.root, ID: l.id, Bundle: &oci.Bundle{Dir: e.box(), Spec: spec}, Start: true,
		Rootless: l.nested && !limited, Systemd: l.systemd, Stats: l.statusFile != nil, Signals: signals, Log: l.log,
	}
	if err := l.openStatus(); err != nil {
		return err
	}
	opt.Stats = l.statusFile != nil
	program := spec.Process.Args[0]
	if err := l.windows(l.c.Context, &opt); err != nil {
		err = fmt.Errorf("image %s: %w", l.c.Args().First(), err)
		if errors.Is(err, fs.ErrNotExist) {
			return &exitError{code: preload.ExitNotFound, err: err}
		}
		return err
	}
	l.program = wine.Program{Host: program}
	l.scratch = wine.Scratch(opt.Scratch[0])
	opt.Scratch = append(opt.Scratch, e.box())
	if address := l.c.String("vnc"); address != "" && !l.c.Bool("print-program") {
		if l.vnc, err = listenVNC(l.c.Context, address); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.vnc.close()) }()
	}
	res, err := l.runSandbox(opt)
	if err != nil {
		return err
	}
	return l.finish(res)
}

// mostLayers is how many the kernel stacks (overlayfs, OVL_MAX_STACK).
const mostLayers = 500

// mountImage mounts the layers of an image, with what the container changes in its folder.
func mountImage(images *store.Store, image *store.Image, box string) error {
	if n := len(image.Config.RootFS.DiffIDs); n == 0 || n > mostLayers {
		return fmt.Errorf("it has %d layers, and 1 to %d can be mounted", n, mostLayers)
	}
	for _, dir := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(box, dir), 0o755); err != nil {
			return err
		}
	}
	if strings.ContainsAny(box, `:,\`) { // they separate and escape in the options of an overlay
		return fmt.Errorf("folder %s: an overlay cannot use a path with a colon, a comma or a backslash", box)
	}
	var lower []string // the uppermost first
	for _, id := range slices.Backward(image.Config.RootFS.DiffIDs) {
		lower = append(lower, filepath.Base(images.Tree(id)))
	}
	// The names of layers are relative: there must be room for all of them.
	before, err := os.Getwd()
	if err == nil {
		err = os.Chdir(filepath.Dir(images.Tree(image.Config.RootFS.DiffIDs[0])))
	}
	if err != nil {
		return err
	}
	err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	if err == nil {
		err = mountOverlay(lower, filepath.Join(box, "upper"), filepath.Join(box, "work"), images.MountPoint())
	}
	var under unix.Statfs_t
	if err == unix.EINVAL && unix.Statfs(box, &under) == nil && under.Type == unix.OVERLAYFS_SUPER_MAGIC {
		err = fmt.Errorf("%s lies on an overlay, which cannot carry another; name a folder on another file system in WINBOX_DATA", box)
	}
	return errors.Join(err, os.Chdir(before))
}

// mountOverlay mounts an overlay of folders, the uppermost first.
func mountOverlay(lower []string, upper, work, at string) error {
	options := "userxattr,lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + upper + ",workdir=" + work
	if len(options) < os.Getpagesize() { // what mount(2) takes
		return unix.Mount("overlay", at, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options)
	}
	if able, err := kernel.Since(6, 7); err != nil || !able {
		return errors.Join(fmt.Errorf("%d layers are too many for a kernel before Linux 6.7", len(lower)), err)
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	set := func(name, value string) {
		if err == nil {
			if err = unix.FsconfigSetString(fs, name, value); err != nil {
				err = fmt.Errorf("option %s=%s: %w", name, value, err)
			}
		}
	}
	for _, dir := range lower {
		set("lowerdir+", dir)
	}
	set("upperdir", upper)
	set("workdir", work)
	if err == nil {
		err = errors.Join(unix.FsconfigSetFlag(fs, "userxattr"), unix.FsconfigCreate(fs))
	}
	if err != nil {
		return err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	defer unix.Close(mount)
	return unix.MoveMount(mount, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// imageContainer is the configuration of a container of an image, which is mounted at root, with what the flags say.
func (l *launch) imageContainer(image *store.Image, root string) (*specs.Spec, error) {
	spec, err := imageSpec(image, root)
	if err != nil {
		return nil, err
	}
	p := spec.Process
	config := image.Config.Config
	if args := l.c.Args().Tail(); len(args) > 0 {
		if len(config.Entrypoint) == 0 {
			return nil, errors.New("it has no entry point that arguments could be for")
		}
		p.Args = append(p.Args[:len(config.Entrypoint):len(config.Entrypoint)], args...)
	}
	// An image that brings Wine along is launched like any other: its labels say what its entry point has flags for.
	if p.Args = wine.CutImageEntry(p.Args); len(p.Args) == 0 {
		return nil, errors.New("it is one that others are built on: it does not say which program to run")
	}
	p.Terminal = hasTerminal()
	p.Capabilities = &specs.LinuxCapabilities{}
	if p.User.UID == 0 {
		list := []string{"CAP_DAC_OVERRIDE", "CAP_FOWNER"} // as for a program of the host's
		p.Capabilities.Bounding, p.Capabilities.Effective, p.Capabilities.Permitted = list, list, list
	}
	l.imageMounts(spec)
	if err := l.imageShares(spec); err != nil {
		return nil, err
	}
	switch {
	case l.c.String("workdir") != "":
		p.Cwd = l.c.String("workdir")
	case config.WorkingDir == "":
		p.Cwd = `D:\`
	case spec.Annotations["io.winbox.drives"] == "" && onDriveC(config.WorkingDir):
		p.Cwd = `C:` + strings.ReplaceAll(path.Clean(config.WorkingDir), "/", `\`)
	}
	for _, e := range l.c.StringSlice("env") {
		name, value, given := strings.Cut(e, "=")
		if !given {
			if value, given = os.LookupEnv(name); !given {
				continue
			}
		}
		p.Env = append(slices.DeleteFunc(p.Env, func(old string) bool { return strings.HasPrefix(old, name+"=") }), name+"="+value)
	}
	if spec.Linux.Resources, err = l.limits(); err != nil {
		return nil, err
	}
	maps.Copy(spec.Annotations, l.asAnnotations())
	spec.Annotations["io.winbox.handler"] = "windows" // nothing else is launched
	return spec, wine.CheckAnnotations(spec.Annotations)
}

// onDriveC tells whether a folder of an image can be that of the same name on drive C:, which has its own of some.
func onDriveC(dir string) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(path.Clean(dir), "/"), "/")
	return path.IsAbs(dir) && top != "" && !strings.ContainsAny(dir, `\:*?"<>|`) &&
		!slices.Contains([]string{"windows", "users", "programdata", "program files", "program files (x86)"}, strings.ToLower(top))
}

// imageMounts changes what [oci.NewSpec] mounts to what a launched program sees.
func (l *launch) imageMounts(spec *specs.Spec) {
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool {
		return strings.HasPrefix(m.Destination, "/sys") || m.Destination == "/dev/mqueue"
	})
	for i := range spec.Mounts { // groups such as tty need not have an id in the namespace
		m := &spec.Mounts[i]
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "gid=") })
	}
	spec.Mounts = append(spec.Mounts,
		specs.Mount{Destination: "/sys/devices/system", Type: "bind", Source: "/sys/devices/system", Options: []string{"rbind", "rro", "rnosuid", "rnoexec", "rnodev", "rprivate"}},
		specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}})
}

// imageShares adds what is shared with the program: the current folder, as drive D:, and what flags name.
func (l *launch) imageShares(spec *specs.Spec) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	shares := []wine.Mount{{Source: dir, Target: `D:\`}}
	for _, m := range l.c.StringSlice("mount") {
		mount, err := wine.ParseMount(m)
		if err != nil {
			return err
		}
		shares = append(shares, mount)
	}
	for _, m := range shares {
		m.ReadOnly = m.ReadOnly || l.c.Bool("read-only")
		mount, err := m.Share(l.c.Bool("share-home"))
		if err != nil {
			return err
		}
		spec.Mounts = append(spec.Mounts, mount)
	}
	if prefix := l.c.String("prefix"); prefix != "" {
		if prefix, err = filepath.Abs(prefix); err == nil {
			err = os.MkdirAll(prefix, 0o755)
		}
		if err != nil {
			return fmt.Errorf("--prefix: %w", err)
		}
		const at = "/winbox-prefix"
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: at, Type: "bind", Source: prefix, Options: []string{"bind"}})
		spec.Annotations["io.winbox.prefix"] = at
	}
	switch network := l.c.String("network"); network {
	case "none":
	case "host":
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
		spec.Mounts = append(spec.Mounts, wine.NetworkMounts()...)
	default:
		return fmt.Errorf("--network: %q is neither none nor host", network)
	}
	return nil
}

// asAnnotations are the flags that bundles have annotations for.
func (l *launch) asAnnotations() map[string]string {
	set := make(map[string]string)
	for flag, name := range map[string]string{
		"runtime": "runtime", "boot": "boot", "encoding": "encoding", "display": "display", "stop": "stop", "pipes": "pipes", "shared-heap": "layout.sharedheap",
	} {
		if l.c.IsSet(flag) {
			set["io.winbox."+name] = l.c.String(flag)
		}
	}
	for flag, name := range map[string]string{"linger": "linger", "strict": "layout.strict"} {
		if l.c.IsSet(flag) {
			set["io.winbox."+name] = strconv.FormatBool(l.c.Bool(flag))
		}
	}
	return set
}

// openStatus opens the status file: that it cannot be written should not show when the program has run.
func (l *launch) openStatus() (err error) {
	if file := l.c.String("status-file"); file != "" {
		if l.statusFile, err = os.Create(file); err != nil {
			return fmt.Errorf("--status-file: %w", err)
		}
	}
	return nil
}
