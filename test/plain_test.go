package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// plainWine is the environment variable that has the tests of the rows run their programs by Wine alone: see plain-wine.sh.
const plainWine = "WINBOX_TEST_PLAIN_WINE"

// A plain is a Wine without winbox: the host's, or that of a built runtime in a root of its own.
type plain struct {
	// root is where it is, "/" for the host's.
	root string
	// wine is its loader.
	wine string
	// server is its wineserver: Debian has a shell script in its place.
	server string
	// prefix is its prefix, which all tests share.
	prefix string
}

// plains are the Wines in use, by the kind of the machine.
var plains = struct {
	sync.Mutex
	of map[string]*plain
}{of: make(map[string]*plain)}

// plain gives the machine's Wine, with a prefix that has been booted.
func (m machine) plain(t *testing.T) *plain {
	t.Helper()
	plains.Lock()
	defer plains.Unlock()
	if p := plains.of[m.kind]; p != nil {
		return p
	}
	p := &plain{root: "/", wine: "/usr/bin/wine", server: "/usr/lib/wine/wineserver64", prefix: filepath.Join(os.TempDir(), "prefix-"+m.name)}
	if m.kind != "" {
		p.wine = "/usr/lib/wine/wine"
		if m.kind == "new" {
			p.wine = "/usr/lib/wine/wine64"
		}
		p.root = p.mount(t, filepath.Join(runtimesRoot(), "runtimes", m.kind, "root"))
	}
	if err := os.MkdirAll(p.prefix, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	cmd := p.command(ctx, "wineboot", "--init")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	plains.of[m.kind] = p
	return p
}

// mount makes a root file system of a runtime: writable, with the test's own folders in it. It is gone with the tests' mount
// namespace.
func (p *plain) mount(t *testing.T, runtime string) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "root-"+filepath.Base(filepath.Dir(runtime)))
	layers := make(map[string]string)
	for _, name := range []string{"upper", "work", "root"} {
		layers[name] = filepath.Join(dir, name)
		if err := os.MkdirAll(layers[name], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := layers["root"]
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", runtime, layers["upper"], layers["work"])
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		t.Fatalf("mount the runtime: %v", err)
	}
	// A runtime is without what winbox makes in a container.
	for name, target := range map[string]string{"lib": "usr/lib", "lib64": "usr/lib/x86_64-linux-gnu", "usr/lib/ld-linux.so.2": "i386-linux-gnu/ld-linux.so.2"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/proc", "/dev", os.TempDir()} {
		to := filepath.Join(root, name)
		if err := os.MkdirAll(to, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(name, to, "", unix.MS_BIND, ""); err != nil {
			t.Fatalf("mount %s: %v", name, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "run/user/0"), 0o700); err != nil {
		t.Fatal(err)
	}
	return root
}

// command makes a command of a program and its arguments.
func (p *plain) command(ctx context.Context, words ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.wine, words...)
	cmd.Env = append(os.Environ(), "WINEPREFIX="+p.prefix, "WINEDEBUG=-all", "WINESERVER="+p.server, "WINEDLLOVERRIDES=mscoree,mshtml=", "LC_ALL=C.UTF-8")
	if p.root != "/" {
		cmd.SysProcAttr = &unix.SysProcAttr{Chroot: p.root}
	}
	return cmd
}

// launchPlain prepares what launch does with Wine alone. Of the flags it knows --env.
func (b *box) launchPlain(words ...string) *call {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	b.t.Cleanup(cancel)
	var env []string
	for strings.HasPrefix(words[0], "--") {
		if words[0] == "--env" {
			env = append(env, words[1])
		}
		words = words[2:]
	}
	c := &call{Cmd: b.plain.command(ctx, words...), box: b, cancel: cancel}
	c.Dir, c.Env = b.dir, append(c.Env, env...)
	c.Stdout, c.Stderr = &c.out, &c.err
	return c
}
