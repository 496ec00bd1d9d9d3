package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	runs := flag.Int("n", 3, "counted runs of each")
	only := flag.String("only", "", "measure only this: pack, unpack, load or run")
	winbox := flag.String("winbox", "build/winbox", "the winbox to measure, with winbox-images beside it")
	size := flag.Int("size", 500, "MiB that the application has, with 40 files in each")
	dir := flag.String("dir", "build/bench-data/images", "where the application is made, and all that the contenders write")
	flag.Parse()
	if err := measure(*runs, *size, *only, *winbox, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// A step is something that a contender does, in a shell: setup before it is not timed.
type step struct{ name, needs, setup, run string }

// A section is what is compared.
type section struct {
	name, title string
	steps       []step
}

// The scripts have the variables $winbox and $app, and run in an empty folder that is theirs alone for as long as the
// benchmark runs. $engine is podman with a store of its own there.
func sections() []section {
	const (
		pack  = `$winbox image pack $app -t app --compression `
		clear = `rm -rf --one-file-system `
		// Where many files were removed just before, ext4 makes new ones at a fraction of the speed: they stay until the
		// section's end.
		aside  = `aside() { [ ! -e $1 ] || mv $1 gone.$$; }; aside `
		build  = `$engine build -q -t app -f ../Dockerfile ..`
		launch = `$winbox launch app`
		run    = `$engine --runtime $winbox run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 app`
		remove = `$engine rmi -af >/dev/null 2>&1 || true`
		load   = `$winbox image load ../layout -t app`
		// A template of Wine is made once for all.
		warm = `[ -e templates ] || $winbox launch $app/app.exe; `
		pull = `$engine pull -q oci:$layout:app && $engine tag $($engine images -q) app`
	)
	insert := func(compression string) string {
		return clear + `oci && umoci init --layout oci && umoci new --image oci:app && umoci insert ` + compression + `--image oci:app $app /app`
	}
	return []section{
		{"pack", "pack, gzip", []step{
			{"winbox", "", clear + "images", pack + "gzip"},
			{"tar | gzip", "", clear + "out", `tar -C $app -c . | gzip > out`},
			{"umoci insert", "umoci", "", insert("")},
			{"podman build", "podman", remove, build},
			{"podman build, push", "podman", remove + ";" + clear + "out", build + ` && $engine push -q app oci:out`},
		}},
		{"pack", "pack, zstd", []step{
			{"winbox", "", clear + "images", pack + "zstd"},
			{"tar | zstd", "zstd", clear + "out", `tar -C $app -c . | zstd -q > out`},
			{"podman build", "podman", remove, build},
		}},
		{"unpack", "unpack, gzip", []step{
			{"winbox", "", aside + "bundle; [ -e images ] || " + pack + "gzip", `$winbox image unpack app bundle`},
			{"gzip -d | tar", "", aside + "out; mkdir out", `tar -C out -xzf ../app.gz`},
			{"umoci unpack", "umoci", aside + "out; [ -e oci ] || { " + insert("") + "; }", `umoci unpack --image oci:app out`},
		}},
		{"unpack", "unpack, zstd", []step{
			{"winbox", "", aside + "bundle; [ -e images ] || " + pack + "zstd", `$winbox image unpack app bundle`},
			{"zstd -d | tar", "zstd", aside + "out; mkdir out", `zstd -dcq ../app.zst | tar -C out -x`},
		}},
		{"load", "load from an OCI layout, gzip", []step{
			{"winbox", "", clear + "images", load},
			{"podman pull", "podman", remove, pull},
		}},
		{"run", "pack or build, and first run", []step{
			{"winbox, gzip", "", warm + clear + "images", pack + "gzip && " + launch},
			{"winbox, zstd", "", warm + clear + "images", pack + "zstd && " + launch},
			{"podman", "podman", warm + remove, build + " && " + run},
		}},
		{"run", "load, and first run", []step{
			{"winbox", "", warm + clear + "images", load + " && " + launch},
			{"podman", "podman", warm + remove, pull + " && " + run},
		}},
		{"run", "first run, packed before", []step{
			{"winbox, gzip", "", clear + "images; " + pack + "gzip", launch},
			{"winbox, zstd", "", clear + "images; " + pack + "zstd", launch},
			{"podman", "podman", warm + remove + "; " + build, run},
		}},
		{"run", "second run", []step{
			{"winbox", "", warm + "[ -e images ] || { " + pack + "zstd && " + launch + "; }", launch},
			{"podman", "podman", warm + build + " && " + run, run},
		}},
	}
}

func measure(runs, size int, only, winbox, dir string) (err error) {
	if winbox, err = filepath.Abs(winbox); err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := makeApp(dir, size); err != nil {
		return err
	}
	run, err := os.MkdirTemp("/run", "bench-") // podman wants a short path for it
	if err != nil {
		return err
	}
	b := &bencher{winbox: winbox, dir: filepath.Join(dir, "work"), app: filepath.Join(dir, "app"), run: run}
	defer func() { err = errors.Join(err, b.clean(), os.RemoveAll(run)) }()
	if err := b.prepare(); err != nil {
		return err
	}
	for _, s := range sections() {
		if only == "" || only == s.name {
			if err := b.section(s, runs); err != nil {
				return fmt.Errorf("%s: %w", s.title, err)
			}
		}
	}
	return nil
}

type bencher struct{ winbox, dir, app, run string }

// prepare makes what the contenders read.
func (b *bencher) prepare() error {
	if err := b.clean(); err != nil {
		return err
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "Dockerfile"), []byte("FROM scratch\nCOPY app /app\nENTRYPOINT [\"/app/app.exe\"]\n"), 0o644); err != nil {
		return err
	}
	// The context of the build is this folder; it must have the application in it, and nothing else.
	if err := os.WriteFile(filepath.Join(b.dir, ".dockerignore"), []byte("*\n!app\n"), 0o644); err != nil {
		return err
	}
	_, err := b.shell("prepare", `cp -a $app ../app
		tar -C $app -c . | gzip > ../app.gz
		! command -v zstd >/dev/null || tar -C $app -c . | zstd -q > ../app.zst
		$winbox launch $app/app.exe
		$winbox image pack $app -t app && $winbox image save app --format oci -o ../layout
		sed -i 's/"org.opencontainers.image.ref.name":"[^"]*"/"org.opencontainers.image.ref.name":"app"/' ../layout/index.json`)
	return err
}

func (b *bencher) clean() error {
	mounts, _ := filepath.Glob(filepath.Join(b.dir, "*/storage/overlay"))
	for _, m := range mounts { // podman leaves them mounted on themselves
		for unix.Unmount(m, unix.MNT_DETACH) == nil {
		}
	}
	return os.RemoveAll(b.dir)
}

// A run is what a script took.
type run struct {
	wall, synced, processor time.Duration
	peak                    int64 // bytes
}

// shell runs a script in the folder of a contender.
func (b *bencher) shell(contender, script string) (r run, err error) {
	dir := filepath.Join(b.dir, strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' {
			return c
		}
		return '-'
	}, contender))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return r, err
	}
	// dash is small: the peak of a process counts from that of the one it was forked from.
	cmd := exec.Command("/bin/sh", "-c", "set -e; "+script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "winbox="+b.winbox, "app="+b.app, "layout="+filepath.Join(b.dir, "layout"), "WINBOX_DATA="+dir,
		"engine=podman --root "+dir+"/storage --runroot "+b.run+" --cgroup-manager cgroupfs")
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	r.wall = time.Since(begin)
	if err != nil {
		return r, fmt.Errorf("%s: %s: %w: %s", contender, script, err, out)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return r, err
	}
	defer folder.Close()
	if err := unix.Syncfs(int(folder.Fd())); err != nil {
		return r, err
	}
	r.synced = time.Since(begin)
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	r.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.peak = usage.Maxrss << 10
	return r, nil
}

func (b *bencher) section(s section, runs int) error {
	s.steps = slices.DeleteFunc(s.steps, func(st step) bool {
		_, err := exec.LookPath(st.needs)
		return st.needs != "" && err != nil
	})
	all := make([][]run, len(s.steps))
	for range runs {
		for i, st := range s.steps {
			if _, err := b.shell(st.name, st.setup); err != nil {
				return err
			}
			r, err := b.shell(st.name, st.run)
			if err != nil {
				return err
			}
			all[i] = append(all[i], r)
		}
	}
	for _, st := range s.steps { // their space is for the next
		if err := os.RemoveAll(filepath.Join(b.dir, st.name)); err != nil {
			return err
		}
	}
	return show(os.Stdout, s, all)
}

// show prints a table: of each number its smallest, and the ratio to that of winbox, which is the first.
func show(w io.Writer, s section, all [][]run) error {
	fmt.Fprintf(w, "%s (%d runs each, interleaved; the smallest of each)\n", s.title, len(all[0]))
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\ts\tmedian s\ts until on disk\tprocessor s\tpeak MiB\twinbox takes\t")
	least := func(runs []run, of func(run) time.Duration) time.Duration {
		return of(slices.MinFunc(runs, func(a, b run) int { return int(of(a) - of(b)) }))
	}
	wall := func(r run) time.Duration { return r.wall }
	for i, runs := range all {
		sorted := slices.SortedFunc(slices.Values(runs), func(a, b run) int { return int(a.wall - b.wall) })
		peak := slices.MaxFunc(runs, func(a, b run) int { return int(a.peak - b.peak) }).peak
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.2f\t\n", s.steps[i].name, least(runs, wall).Seconds(), sorted[len(sorted)/2].wall.Seconds(),
			least(runs, func(r run) time.Duration { return r.synced }).Seconds(), least(runs, func(r run) time.Duration { return r.processor }).Seconds(),
			float64(peak)/(1<<20), least(all[0], wall).Seconds()/least(runs, wall).Seconds())
	}
	return t.Flush()
}
