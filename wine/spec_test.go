package wine

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// specFor makes a spec in a fake world, with paths that are the same everywhere.
func specFor(t *testing.T, change func(*Options)) (*specs.Spec, Options, []byte) {
	t.Helper()
	r, root := fakeRuntime(t)
	data := t.TempDir()
	template, err := r.Prepare(context.Background(), data, fakeBoot(root), nil)
	if err != nil {
		t.Fatal(err)
	}
	top := folders(t, "cwd", "tools/app.exe", "data", "scratch", "preload/layout.amd64", "preload/preloader.amd64")
	t.Setenv("HOME", filepath.Join(top, "nobody"))
	opt := Options{
		Program: Program{Host: filepath.Join(top, "tools/app.exe")}, Machine: AMD64, Args: []string{"a", "two words", `\`},
		Dir: filepath.Join(top, "cwd"), Mounts: []Mount{{Source: filepath.Join(top, "data"), Target: `C:\Windows\Data`, ReadOnly: true}},
		Env: []string{"NAME=value", "TZ=UTC0"}, Scratch: filepath.Join(top, "scratch"), UID: os.Geteuid(), GID: os.Getegid(),
		Preload: Scratch(filepath.Join(top, "preload")),
	}
	if change != nil {
		change(&opt)
	}
	c, err := template.Container(opt)
	if err != nil {
		t.Fatal(err)
	}
	if opt.Prefix == nil {
		if err := c.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	spec := c.Spec
	text, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for real, name := range map[string]string{template.Dir: "/TEMPLATE", root: "", top: "/HOST"} {
		text = bytes.ReplaceAll(text, []byte(real), []byte(name))
	}
	return spec, opt, append(text, '\n')
}

func TestSpecGolden(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the golden file is for uid 0")
	}
	_, opt, got := specFor(t, nil)
	golden := filepath.Join("testdata", "spec.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the spec changed (go test ./wine -run Golden -update writes it anew):\n%s", got)
	}
	for name, want := range map[string]string{"d:": drivesDir + "/d", "e:": drivesDir + "/e"} {
		if to, err := os.Readlink(filepath.Join(opt.Scratch, "upper/dosdevices", name)); to != want {
			t.Errorf("dosdevices/%s → %q, %v", name, to, err)
		}
	}
}

func TestSpecOptions(t *testing.T) {
	find := func(spec *specs.Spec, destination string) *specs.Mount {
		for i := range spec.Mounts {
			if spec.Mounts[i].Destination == destination {
				return &spec.Mounts[i]
			}
		}
		return nil
	}
	hasNamespace := func(spec *specs.Spec, kind specs.LinuxNamespaceType) bool {
		return slices.ContainsFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == kind })
	}

	spec, _, _ := specFor(t, func(o *Options) { o.Network = true })
	if hasNamespace(spec, specs.NetworkNamespace) {
		t.Error("the host's network: there is a network namespace")
	}
	spec, _, _ = specFor(t, func(o *Options) { o.Rootless = true })
	if !hasNamespace(spec, specs.UserNamespace) || len(spec.Linux.UIDMappings) != 1 || !slices.Contains(find(spec, prefixDir).Options, "userxattr") {
		t.Error("rootless: no user namespace, mapping or userxattr")
	}
	if len(spec.Process.Capabilities.Effective) != 0 {
		t.Error("rootless: has capabilities")
	}
	spec, _, _ = specFor(t, func(o *Options) { o.Preload = "" })
	if spec.Process.Args[0] != "/usr/lib/wine/wine64" || spec.Process.Args[1] != `E:\app.exe` {
		t.Errorf("without a stub: %q", spec.Process.Args)
	}
	spec, _, _ = specFor(t, func(o *Options) { o.Boot = BootFull; o.Env = []string{"WINEDLLOVERRIDES=foo=n"} })
	if !slices.Contains(spec.Process.Env, "WINEDLLOVERRIDES=foo=n;wineboot.exe=b") || spec.Annotations["io.winbox.boot"] != "full" {
		t.Errorf("full boot: %q %q", spec.Process.Env, spec.Annotations)
	}
	spec, _, _ = specFor(t, func(o *Options) { o.Boot = BootAuto; o.Env = []string{"WINBOX_BOOT=other"} })
	if !slices.Contains(spec.Process.Env, "WINBOX_BOOT=auto") || spec.Annotations["io.winbox.boot"] != "auto" || chosenBoot(spec.Process.Env) != BootAuto {
		t.Errorf("automatic boot: %q %q", spec.Process.Env, spec.Annotations)
	}
	spec, opt, _ := specFor(t, func(o *Options) {
		var err error
		if o.Prefix, err = OpenPersistent(filepath.Join(o.Scratch, "kept")); err != nil {
			t.Fatal(err)
		}
		o.Scratch = ""
	})
	defer opt.Prefix.Close()
	if m := find(spec, prefixDir); m.Type != "bind" || m.Source != opt.Prefix.Dir || slices.Contains(m.Options, "ro") {
		t.Errorf("persistent prefix: %+v", m)
	}
	for _, setting := range spec.Process.Env {
		if strings.HasPrefix(setting, "HOME=/root") || strings.Contains(setting, "nobody") {
			t.Errorf("a variable of the host's: %s", setting)
		}
	}
}

func TestSpecRefuses(t *testing.T) {
	r, root := fakeRuntime(t)
	template, err := r.Prepare(context.Background(), t.TempDir(), fakeBoot(root), nil)
	if err != nil {
		t.Fatal(err)
	}
	top := folders(t, "app.exe", "bad,name", "used/upper")
	t.Setenv("HOME", filepath.Join(top, "nobody"))
	for name, change := range map[string]func(*Options){
		"machine":     func(o *Options) { o.Machine = "arm64" },
		"32 bits":     func(o *Options) { o.Machine = I386 },
		"environment": func(o *Options) { o.Env = []string{"NAME"} },
		"Linux PATH":  func(o *Options) { o.Env = []string{"Path=/usr/bin:/bin"} },
		"no locale":   func(o *Options) { o.Env = []string{"LANG=german"} },
		"no zone":     func(o *Options) { o.Env = []string{"TZ=Europe/Atlantis"} },
		"outside":     func(o *Options) { o.Env = []string{"TZ=../../../etc/passwd"} },
		"zero byte":   func(o *Options) { o.Env = []string{"NAME=a\x00b"} },
		"boot":        func(o *Options) { o.Boot = "half" },
		"scratch":     func(o *Options) { o.Scratch = "" },
		"comma":       func(o *Options) { o.Scratch = filepath.Join(top, "bad,name") },
		"used":        func(o *Options) { o.Scratch = filepath.Join(top, "used") },
		"program":     func(o *Options) { o.Program = Program{} },
		"target":      func(o *Options) { o.Mounts = []Mount{{Source: top, Target: "5:"}} },
	} {
		opt := Options{Program: Program{Host: filepath.Join(top, "app.exe")}, Machine: AMD64, Dir: top, Scratch: t.TempDir(), UID: os.Geteuid(), GID: os.Getegid()}
		change(&opt)
		c, err := template.Container(opt)
		if err == nil && name == "used" {
			err = c.Prepare()
		}
		if err == nil {
			t.Errorf("%s: no error, %+v", name, c.Spec.Process.Args)
		}
	}
}
