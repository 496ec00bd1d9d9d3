package sandbox

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/seccomp"
	"winbox/seccomp/engineprofile"
)

// section is the text of a profile.
func section(t testing.TB, profile *specs.LinuxSeccomp) []byte {
	t.Helper()
	text, err := json.Marshal(profile)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func dockerSection(t testing.TB) []byte {
	t.Helper()
	profile, err := engineprofile.Load("../seccomp/testdata/docker.json", "CAP_CHOWN")
	if err != nil {
		t.Fatal(err)
	}
	return section(t, profile)
}

// numbered are profiles that differ.
func numbered(t testing.TB, n int) []byte {
	errno := uint(n)
	return section(t, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActErrno, ErrnoRet: &errno}}})
}

func newFilterCache(t testing.TB) *filterCache {
	return &filterCache{root: t.TempDir(), log: slog.New(slog.DiscardHandler)}
}

// entries are the files of a cache.
func (c *filterCache) entries() []fs.DirEntry {
	list, _ := os.ReadDir(filepath.Join(c.root, filterDir))
	return list
}

// same checks what the cache gives for a section against the compiler.
func (c *filterCache) same(t testing.TB, text []byte) {
	t.Helper()
	want, wantFlags, err := new(filterCache).filter(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	if got, flags, err := c.filter(nil, text); err != nil || flags != wantFlags || !bytes.Equal(got, want) {
		t.Errorf("a filter of %d bytes with flags %#x, %v; the compiler makes %d with %#x", len(got), flags, err, len(want), wantFlags)
	}
}

// entry is the file of a section.
func (c *filterCache) entry(t testing.TB, text []byte) string {
	t.Helper()
	var from origin
	if err := from.read(); err != nil {
		t.Fatal(err)
	}
	key := from.key(text)
	return filepath.Join(c.root, filterDir, hex.EncodeToString(key[:]))
}

// TestFilterCache checks that a filter is made once, and is what the compiler makes.
func TestFilterCache(t *testing.T) {
	profile := seccomp.Default()
	profile.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}
	for name, text := range map[string][]byte{"docker's": dockerSection(t), "with flags": section(t, profile)} {
		t.Run(name, func(t *testing.T) {
			c := newFilterCache(t)
			c.same(t, text)
			first, err := os.Stat(c.entry(t, text))
			if err != nil || first.Mode() != 0o600 {
				t.Fatalf("%v, %v", first, err)
			}
			if dir, err := os.Stat(filepath.Dir(c.entry(t, text))); err != nil || dir.Mode().Perm() != 0o700 {
				t.Errorf("%v, %v", dir, err)
			}
			c.same(t, text)
			if again, err := os.Stat(c.entry(t, text)); err != nil || !os.SameFile(first, again) || len(c.entries()) != 1 {
				t.Errorf("it was made again: %v, %d entries", err, len(c.entries()))
			}
			// The filter does come from there.
			program, flags, err := c.filter(nil, text)
			if err != nil {
				t.Fatal(err)
			}
			var from origin
			if err := from.read(); err != nil {
				t.Fatal(err)
			}
			program[0]++
			if err := c.write(from.key(text), program, flags+1); err != nil {
				t.Fatal(err)
			}
			if got, gotFlags, err := c.filter(nil, text); err != nil || !bytes.Equal(got, program) || gotFlags != flags+1 {
				t.Errorf("it does not: %v", err)
			}
		})
	}
}

// TestFilterCacheSpoilt checks that what is no filter, or may be somebody else's, is
// not used, and is replaced where it can be.
func TestFilterCacheSpoilt(t *testing.T) {
	text := dockerSection(t)
	replace := func(change func(data []byte) []byte) func(t *testing.T, file string) {
		return func(t *testing.T, file string) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, change(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	must := func(t *testing.T, errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name     string
		spoil    func(t *testing.T, file string)
		replaced bool
	}{
		{"empty", replace(func([]byte) []byte { return nil }), true},
		{"cut off", replace(func(data []byte) []byte { return data[:len(data)-8] }), true},
		{"too long", replace(func(data []byte) []byte { return append(data, make([]byte, maxFilterSize)...) }), true},
		{"other flags", replace(func(data []byte) []byte { data[0] ^= 8; return data }), true},
		{"another instruction", replace(func(data []byte) []byte { data[filterFlagsSize+3] ^= 1; return data }), true},
		{"another hash", replace(func(data []byte) []byte { data[len(data)-1] ^= 1; return data }), true},
		{"of another profile", func(t *testing.T, file string) {
			c := filterCache{root: filepath.Dir(filepath.Dir(file))}
			other := numbered(t, 1)
			c.same(t, other)
			must(t, os.Rename(c.entry(t, other), file))
		}, true},
		{"others can write to it", func(t *testing.T, file string) { must(t, os.Chmod(file, 0o602)) }, true},
		{"somebody else's", func(t *testing.T, file string) { must(t, os.Chown(file, 12345, -1)) }, true},
		{"a link", func(t *testing.T, file string) {
			must(t, os.Rename(file, file+"~"), os.Symlink(file+"~", file))
		}, true},
		{"a pipe", func(t *testing.T, file string) { must(t, os.Remove(file), unix.Mkfifo(file, 0o600)) }, false},
		{"a directory", func(t *testing.T, file string) { must(t, os.Remove(file), os.Mkdir(file, 0o700)) }, false},
		{"others can write to the directory", func(t *testing.T, file string) { must(t, os.Chmod(filepath.Dir(file), 0o770)) }, false},
		{"somebody else's directory", func(t *testing.T, file string) { must(t, os.Chown(filepath.Dir(file), 12345, -1)) }, false},
		{"the directory is a link", func(t *testing.T, file string) {
			dir := filepath.Dir(file)
			must(t, os.Rename(dir, dir+"~"), os.Symlink(dir+"~", dir))
		}, false},
		{"the directory is a file", func(t *testing.T, file string) {
			must(t, os.RemoveAll(filepath.Dir(file)), os.WriteFile(filepath.Dir(file), nil, 0o600))
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newFilterCache(t)
			c.same(t, text)
			var from origin
			must(t, from.read())
			if _, _, err := c.read(from.key(text)); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, c.entry(t, text))
			if _, _, err := c.read(from.key(text)); err == nil {
				t.Error("it is used")
			}
			c.same(t, text)
			if _, _, err := c.read(from.key(text)); (err == nil) != test.replaced {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// TestFilterCacheUnusable checks that there is a filter where none can be kept.
func TestFilterCacheUnusable(t *testing.T) {
	for _, root := range []string{"/proc", "/missing/root", os.DevNull} {
		var log logBuffer
		c := &filterCache{root: root, log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		c.same(t, dockerSection(t))
		if !bytes.Contains([]byte(log.String()), []byte("a system call filter is not kept")) {
			t.Errorf("%s: log %q", root, log.String())
		}
	}
	c := newFilterCache(t)
	c.same(t, append(dockerSection(t), bytes.Repeat([]byte(" "), maxProfileText)...))
	if len(c.entries()) > 0 {
		t.Error("a profile of any length is kept")
	}
	for text, want := range map[string]string{
		`{}`:                   `linux.seccomp.defaultAction: unknown action ""`,
		`{"defaultAction": 1}`: `linux.seccomp.defaultAction: JSON type number 1 where the specification wants specs.LinuxSeccompAction`,
		`{"defaultAction"}`:    `not valid JSON`,
	} {
		if _, _, err := c.filter(nil, []byte(text)); err == nil || !bytes.HasPrefix([]byte(err.Error()), []byte(want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if len(c.entries()) > 0 {
		t.Error("a filter that was refused is kept")
	}
}

// TestFilterCacheFull checks that the oldest filters go.
func TestFilterCacheFull(t *testing.T) {
	c := newFilterCache(t)
	for i := range maxFilters + 10 {
		c.same(t, numbered(t, i))
		if n := len(c.entries()); n > maxFilters {
			t.Fatalf("%d filters are kept", n)
		}
	}
	for i := range maxFilters + 10 {
		if _, err := os.Stat(c.entry(t, numbered(t, i))); (err == nil) != (i >= 10) {
			t.Errorf("filter %d: %v", i, err)
		}
	}
}

// TestFilterCacheRivals has filters made, found, damaged and removed at the same time.
func TestFilterCacheRivals(t *testing.T) {
	c := newFilterCache(t)
	var rivals sync.WaitGroup
	for worker := range 8 {
		rivals.Go(func() {
			for i := range 100 {
				text := numbered(t, i%3)
				c.same(t, text)
				switch (i + worker) % 16 {
				case 0:
					os.Remove(c.entry(t, text))
				case 1:
					os.WriteFile(c.entry(t, text), []byte("damaged"), 0o600)
				}
			}
		})
	}
	rivals.Wait()
	for _, e := range c.entries() {
		if len(e.Name()) != 64 {
			t.Errorf("%s was left", e.Name())
		}
	}
}

// TestFilterKey checks that another kernel, program or profile has other filters.
func TestFilterKey(t *testing.T) {
	var from origin
	if err := from.read(); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{fmt.Sprint(from.key([]byte("{}"))): "the same"}
	for name, change := range map[string]func(o *origin, text *[]byte){
		"kernel release": func(o *origin, _ *[]byte) { o.host.Release[3]++ },
		"kernel version": func(o *origin, _ *[]byte) { o.host.Version[1]++ },
		"machine":        func(o *origin, _ *[]byte) { o.host.Machine[5] = 'x' },
		"device":         func(o *origin, _ *[]byte) { o.exe.Dev++ },
		"inode":          func(o *origin, _ *[]byte) { o.exe.Ino++ },
		"size":           func(o *origin, _ *[]byte) { o.exe.Size++ },
		"change":         func(o *origin, _ *[]byte) { o.exe.Ctim.Nsec++ },
		"profile":        func(_ *origin, text *[]byte) { *text = []byte("{ }") },
	} {
		changed, text := from, []byte("{}")
		change(&changed, &text)
		key := fmt.Sprint(changed.key(text))
		if other, ok := keys[key]; ok {
			t.Errorf("%s: as %s", name, other)
		}
		keys[key] = name
	}
	if keys[fmt.Sprint(from.key([]byte("{}")))] != "the same" {
		t.Error("the same profile has another key")
	}
}

// TestFilterKept runs containers whose profile is text, the second with the filter of
// the first: so it holds in each, and for what is executed there.
func TestFilterKept(t *testing.T) {
	const script = "mkdir /data/x"
	const want = "mkdir: can't create directory '/data/x': No space left on device\n"
	var log logBuffer
	root := t.TempDir()
	for i := range 3 {
		b := shell(t, script+"; exec sleep 1000")
		b.opt.Root = root
		b.opt.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		b.opt.Bundle.Seccomp = numbered(t, int(unix.ENOSPC))
		b.spec.Linux.Seccomp = &specs.LinuxSeccomp{}
		c := b.begin()
		b.awaitOutput(want)
		out := tempFile(t)
		opt := b.execOptions(out, "/bin/sh", "-c", script)
		opt.Log = b.opt.Log
		pid, err := c.Exec(opt)
		if err != nil {
			t.Fatal(err)
		}
		if status, err := WaitProcess(pid); err != nil || exitCode(status) != 1 || contents(t, out) != want {
			t.Errorf("exit code %d, %v, output %q", exitCode(status), err, contents(t, out))
		}
		if list, err := List(root); err != nil || len(list) != 1 {
			t.Errorf("%d containers, %v", len(list), err)
		}
		if err := c.Delete(true); err != nil {
			t.Error(err)
		}
		if kept := (&filterCache{root: root}).entries(); len(kept) != 1 {
			t.Errorf("round %d: %d filters", i, len(kept))
		}
	}
	if log.String() != "" {
		t.Errorf("log: %s", log.String())
	}
	if _, err := Load(root, filterDir); err == nil || checkID(filterDir) == nil {
		t.Errorf("the directory of filters is a container: %v", err)
	}
}

func BenchmarkFilter(b *testing.B) {
	text := dockerSection(b)
	for name, c := range map[string]*filterCache{"compiled": {}, "kept": newFilterCache(b)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := c.filter(nil, text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
