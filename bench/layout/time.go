package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"time"

	"winbox/bench"
	"winbox/preload"
	"winbox/preload/pe"
	"winbox/preload/pe/petest"
	"winbox/preload/stub"
	"winbox/wine"
)

// addrNoRandomize switches address randomisation off (personality(2)).
const addrNoRandomize = 0x0040000

// measureTime compares starts of Wine's loader with the preloader and without.
func measureTime(runs int, dataRoot, name string) error {
	// As in a container: plans hold without randomisation only. What this thread starts inherits it.
	goruntime.LockOSThread()
	if _, _, errno := syscall.Syscall(syscall.SYS_PERSONALITY, addrNoRandomize, 0, 0); errno != 0 {
		return fmt.Errorf("switch address randomisation off: %w", errno)
	}
	for _, m := range machinesOf(name) {
		err := m.measureTime(runs, dataRoot, name)
		if none := (*stub.MachineError)(nil); errors.As(err, &none) {
			fmt.Printf("%s loader: %v\n", m.name, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) measureTime(runs int, dataRoot, name string) error {
	elf, err := stub.Preloader(m.arch)
	if err != nil {
		return err
	}
	runtime, err := wine.OpenStore(dataRoot).Select(name, m.arch)
	if err != nil {
		return err
	}
	loader, preloader, err := runtime.Loader(m.arch)
	if err != nil {
		return err
	}
	list, err := m.plan(runtime)
	if err != nil {
		return err
	}
	lower := "/"
	if name != "" {
		lower = filepath.Join(dataRoot, "runtimes", name, "root")
	}
	root, err := overlay(lower)
	if err != nil {
		return err
	}
	defer remove(root)
	// What the preloader needs, and what a container has beside the runtime's tree.
	tree := filepath.Join(root, "root")
	for to, data := range map[string][]byte{stub.LayoutPath(m.arch): list, preloader: elf} {
		os.Remove(filepath.Join(tree, to)) // the runtime's own may be a link
		if err := write(filepath.Join(tree, to), data); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(tree, stub.SharedDir), 0o755); err != nil {
		return err
	}
	for path, target := range runtime.Interpreters {
		link := filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	start := func(args ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			cmd := exec.Command(args[0], append(args[1:], "--version")...)
			cmd.Env = []string{"HOME=/", "LD_LIBRARY_PATH=" + strings.Join(runtime.Libraries, ":")}
			cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: tree}
			cmd.Dir = "/"
			begin := time.Now()
			out, err := cmd.CombinedOutput()
			took := time.Since(begin)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return took, err
		}
	}
	results, err := bench.Compare(runs, []bench.Contender{
		{Name: "with the preloader", Run: start(preloader, loader)},
		{Name: "without", Run: start(loader)},
	})
	if err != nil {
		return err
	}
	bench.Print(os.Stdout, fmt.Sprintf("\n%s loader of Wine %s, start to end", m.name, runtime.Version), results)
	with, without := &results[0], &results[1]
	added := func(a, b time.Duration) float64 { return float64(a-b) / float64(time.Millisecond) }
	fmt.Printf("added by the preloader: %.2f ms (minima), %.2f ms (medians)\n",
		added(with.Min(), without.Min()), added(with.Median(), without.Median()))
	return nil
}

// plan is the preloader's list for a plain program.
func (m *machine) plan(runtime *wine.Runtime) ([]byte, error) {
	program := petest.Image{Machine: m.pe}.Bytes()
	img, err := pe.Open(bytes.NewReader(program), int64(len(program)))
	if err != nil {
		return nil, err
	}
	opt, err := runtime.PlanOptions(m.arch)
	if err != nil {
		return nil, err
	}
	layout, err := preload.Plan(img, opt)
	if err != nil {
		return nil, err
	}
	return layout.MarshalStub()
}

// overlay mounts a tree that can be written to over lower, at "root" of a new folder.
func overlay(lower string) (string, error) {
	dir, err := os.MkdirTemp("", "winbox-bench")
	if err != nil {
		return "", err
	}
	err = syscall.Mount("winbox-bench", dir, "tmpfs", 0, "")
	for _, name := range []string{"upper", "work", "root"} {
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, name), 0o755)
		}
	}
	if err == nil {
		err = syscall.Mount("winbox-bench", filepath.Join(dir, "root"), "overlay", 0,
			fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, dir, dir))
	}
	proc := filepath.Join(dir, "root/proc") // where Wine learns where it is
	if err == nil {
		err = os.MkdirAll(proc, 0o755)
	}
	if err == nil {
		err = syscall.Mount("/proc", proc, "", syscall.MS_BIND, "")
	}
	if err != nil {
		remove(dir)
		return "", fmt.Errorf("mount a file system over %s: %w (needs root and a mount namespace of its own)", lower, err)
	}
	return dir, nil
}

func remove(dir string) {
	syscall.Unmount(filepath.Join(dir, "root/proc"), syscall.MNT_DETACH)
	syscall.Unmount(filepath.Join(dir, "root"), syscall.MNT_DETACH)
	syscall.Unmount(dir, syscall.MNT_DETACH)
	os.Remove(dir)
}

func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o755)
}
