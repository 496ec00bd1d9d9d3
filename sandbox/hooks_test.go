package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
)

// hookKinds in the order in which they run.
var hookKinds = []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}

// hook adds a shell script as a hook. What the container's root file system
// has to have for it, busybox, the tests' bundles have.
func (b *bundle) hook(kind, script string, change ...func(*specs.Hook)) {
	h := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}}
	for _, c := range change {
		c(&h)
	}
	if b.spec.Hooks == nil {
		b.spec.Hooks = &specs.Hooks{}
	}
	s := b.spec.Hooks
	list := map[string]*[]specs.Hook{
		//lint:ignore SA1019 engines still send it
		"prestart":      &s.Prestart,
		"createRuntime": &s.CreateRuntime, "createContainer": &s.CreateContainer, "startContainer": &s.StartContainer,
		"poststart": &s.Poststart, "poststop": &s.Poststop,
	}[kind]
	*list = append(*list, h)
}

// TestHooks checks where and with what all hooks run, and their order.
func TestHooks(t *testing.T) {
	for name, change := range map[string]func(*bundle){
		"":                    func(*bundle) {},
		"started at once":     func(b *bundle) { b.opt.Start = true },
		"in a user namespace": (*bundle).mapUsers,
		"in a user namespace, started at once": func(b *bundle) {
			b.mapUsers()
			b.opt.Start = true
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := sleeper(t)
			b.namespace(specs.UTSNamespace, "")
			b.spec.Hostname = "box"
			b.spec.Annotations = map[string]string{"org.example": "note"}
			change(b)
			b.file("data/log", "", 0o666)
			// A hook that runs before the root is entered finds the host's files.
			// A few variables are the shell's own.
			for _, kind := range hookKinds {
				log := b.path("data/log")
				if kind == "startContainer" {
					log = "/data/log"
				}
				script := `{ echo "$0" $(readlink /proc/self/ns/mnt) $(cat /proc/sys/kernel/hostname) $(env | grep -vE '^(PWD|OLDPWD|SHLVL|_)=' | sort); cat; echo; } >>` + log
				b.hook(kind, script, func(h *specs.Hook) { h.Env = append(h.Env, "HOOK="+kind) })
				b.hook(kind, "echo second "+kind+" >>"+log)
			}
			hostname, err := os.Hostname()
			if err != nil {
				t.Fatal(err)
			}
			c := b.create()
			if !b.opt.Start {
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
			}
			inside, outside := nsLink(t, c.PID(), specs.MountNamespace), nsLink(t, os.Getpid(), specs.MountNamespace)
			pid := c.PID()
			if err := c.Delete(true); err != nil {
				t.Fatal(err)
			}
			log, err := os.ReadFile(b.path("data/log"))
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(log)), "\n")
			if len(lines) != 3*len(hookKinds) {
				t.Fatalf("log:\n%s", log)
			}
			for i, kind := range hookKinds {
				ns, host := outside, hostname
				if kind == "createContainer" || kind == "startContainer" {
					ns, host = inside, "box"
				}
				want := fmt.Sprintf("sh %s %s HOOK=%s PATH=/bin:/usr/bin", ns, host, kind)
				if got := strings.TrimSpace(lines[3*i]); got != want {
					t.Errorf("%s: %q, want %q", kind, got, want)
				}
				var s oci.State
				if err := json.Unmarshal([]byte(lines[3*i+1]), &s); err != nil {
					t.Errorf("%s: state %q: %v", kind, lines[3*i+1], err)
				}
				status, wantPID := oci.Created, pid
				switch kind {
				case "poststart":
					status = oci.Running
				case "poststop":
					status, wantPID = oci.Stopped, 0
				}
				if s.ID != b.opt.ID || s.Status != status || s.PID != wantPID || s.Bundle != b.dir || s.Annotations["org.example"] != "note" || s.Version != specs.Version {
					t.Errorf("%s: state %s", kind, lines[3*i+1])
				}
				if want := "second " + kind; lines[3*i+2] != want {
					t.Errorf("%q, want %q", lines[3*i+2], want)
				}
			}
		})
	}
}

// TestHooksChroot checks that hooks of a container that only has its root
// changed are where it is.
func TestHooksChroot(t *testing.T) {
	b := sleeper(t)
	b.spec.Mounts = nil
	b.spec.Linux.Namespaces = b.spec.Linux.Namespaces[:1]
	b.hook("createContainer", "echo create >"+b.path("data/create"))
	b.hook("startContainer", "echo start >/data/start")
	b.begin()
	for _, name := range []string{"create", "start"} {
		if data, err := os.ReadFile(b.path("data/" + name)); err != nil || string(data) != name+"\n" {
			t.Errorf("%sContainer: %q, %v", name, data, err)
		}
	}
}

// TestHooksFail checks that a failing hook says why, that none but the poststop
// hooks follow it and that nothing stays behind.
func TestHooksFail(t *testing.T) {
	for _, kind := range hookKinds[:5] {
		for _, atOnce := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, started at once %v", kind, atOnce), func(t *testing.T) {
				b := sleeper(t)
				b.opt.Start = atOnce
				b.hook(kind, "cat >/dev/null; echo spoilt >&2; exit 7")
				b.hook(kind, "touch "+b.dir+"/next /data/next")
				b.hook("poststop", "echo stopped >>"+b.path("data/stopped"))
				want := kind + " hook #0 /bin/sh: exit status 7: spoilt"
				if atOnce || kind == "prestart" || strings.HasPrefix(kind, "create") {
					b.refused(want)
				} else {
					b.startFails(want)
				}
				for _, file := range []string{b.dir + "/next", b.path("data/next")} {
					if _, err := os.Stat(file); err == nil {
						t.Error("the next hook has run")
					}
				}
				if data, err := os.ReadFile(b.path("data/stopped")); err != nil || string(data) != "stopped\n" {
					t.Errorf("poststop hook: %q, %v", data, err)
				}
			})
		}
	}
	// Before version 1.3 of the specification, the program runs on.
	for _, atOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("poststart of version 1.2, started at once %v", atOnce), func(t *testing.T) {
			var log logBuffer
			before := slog.Default()
			slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
			defer slog.SetDefault(before)
			b := sleeper(t)
			b.opt.Start, b.opt.Log = atOnce, slog.Default()
			b.spec.Version = "1.2.1"
			b.hook("poststart", "echo spoilt >&2; exit 7")
			b.hook("poststart", "touch "+b.path("data/next"))
			c := b.create()
			if !atOnce {
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
			}
			if status := c.Status(); status != oci.Running {
				t.Errorf("status %s", status)
			}
			if !strings.Contains(log.String(), "poststart hook #0 /bin/sh: exit status 7: spoilt") {
				t.Errorf("log: %s", log.String())
			}
			if _, err := os.Stat(b.path("data/next")); err != nil {
				t.Errorf("the next hook has not run: %v", err)
			}
		})
	}
	t.Run("poststop", func(t *testing.T) {
		var log logBuffer
		before := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
		defer slog.SetDefault(before)
		b := sleeper(t)
		b.hook("poststop", "exit 7")
		b.hook("poststop", "touch "+b.path("data/next"))
		c := b.begin()
		if err := c.Delete(true); err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "poststop hook #0 /bin/sh: exit status 7") {
			t.Errorf("log: %s", log.String())
		}
		if _, err := os.Stat(b.path("data/next")); err != nil {
			t.Errorf("the next hook has not run: %v", err)
		}
		b.nothingLeft()
	})
	t.Run("missing", func(t *testing.T) {
		for _, kind := range hookKinds[:4] {
			b := sleeper(t)
			b.opt.Start = true
			b.hook(kind, "", func(h *specs.Hook) { h.Path = "/missing" })
			b.refused("no such file or directory")
		}
	})
	for name, change := range map[string]func(*specs.Hook){
		`.path: "bin/sh" is not absolute`:      func(h *specs.Hook) { h.Path = "bin/sh" },
		`.timeout: 0 is not greater than 0`:    func(h *specs.Hook) { h.Timeout = new(0) },
		`.timeout: -100 is not greater than 0`: func(h *specs.Hook) { h.Timeout = new(-100) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range hookKinds {
				b := sleeper(t)
				b.hook(kind, "", change)
				b.refused("hooks." + kind + "[0]" + name)
			}
		})
	}
}

// TestHooksTimeout checks that a hook ends when its time is over, and not before.
func TestHooksTimeout(t *testing.T) {
	for _, kind := range []string{"createRuntime", "createContainer"} {
		t.Run(kind, func(t *testing.T) {
			b := sleeper(t)
			b.hook(kind, "true", func(h *specs.Hook) { h.Timeout = new(100) })
			// What the hook has started ends with it.
			long := strconv.Itoa(1_000_000 + os.Getpid())
			b.hook(kind, "sleep "+long+" & wait", func(h *specs.Hook) { h.Timeout = new(1) })
			begin := time.Now()
			b.refused(kind + " hook #1 /bin/sh: timed out after 1 s")
			if took := time.Since(begin); took < time.Second || took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			await(t, "the end of the hook's processes", func() bool {
				files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
				return !slices.ContainsFunc(files, func(file string) bool {
					line, _ := os.ReadFile(file)
					return bytes.Contains(line, []byte("sleep\x00"+long+"\x00"))
				})
			})
		})
	}
}

// TestHooksOutput checks hooks that say much, or leave a process behind that
// keeps their standard error open.
func TestHooksOutput(t *testing.T) {
	for _, kind := range []string{"createRuntime", "createContainer"} {
		t.Run(kind, func(t *testing.T) {
			b := newBundle(t, "/bin/true")
			b.hook(kind, "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done")
			b.hook(kind, "sleep 5 & true")
			begin := time.Now()
			b.expect("")
			if took := time.Since(begin); took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
			b = newBundle(t, "/bin/true")
			b.hook(kind, "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done; exit 1")
			_, err := Create(b.opt)
			if err == nil || len(err.Error()) > hookStderr+200 || !bytes.Contains([]byte(err.Error()), []byte("exit status 1: 0123")) {
				t.Errorf("error %.200q", fmt.Sprint(errors.Unwrap(err)))
			}
		})
	}
}
