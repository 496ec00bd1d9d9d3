// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Where Debian 12 has Wine.
const (
	wineDir     = "/usr/lib/wine"
	wineLoader  = wineDir + "/wine64"
	wineDLLs    = "/usr/lib/x86_64-linux-gnu/wine/x86_64-windows"
	wineProgram = "hello.exe"
)

var layoutPathAMD64 = LayoutPath("amd64")

// wineScript runs its arguments with the preloader ($1) in Wine's place. The
// server's socket is in /run, which is private, and it is stopped in the end.
var wineScript = `set -e
mount -t tmpfs none /run
mkdir -p /run/winbox /run/upper /run/work /run/user
mkdir -m 700 /run/user/$(id -u)
cp "$1" /run/upper/wine64-preloader
if [ -n "$2" ]; then cp "$2" ` + layoutPathAMD64 + `; fi
mount -t overlay none -o lowerdir=` + wineDir + `,upperdir=/run/upper,workdir=/run/work ` + wineDir + `
shift 2
set +e
"$@"
status=$?
"$WINESERVER" -k
exit $status`

// winePrefix makes a prefix that starts a console program and little else:
// the libraries as links, and no set-up by wineboot.
func winePrefix(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat(wineLoader); err != nil {
		t.Skipf("needs Wine: %v", err)
	}
	prefix := t.TempDir()
	system32 := filepath.Join(prefix, "drive_c", "windows", "system32")
	devices := filepath.Join(prefix, "dosdevices")
	for _, dir := range []string{system32, devices} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dlls, err := os.ReadDir(wineDLLs)
	if err != nil {
		t.Skipf("needs Wine's libraries: %v", err)
	}
	links := map[string]string{filepath.Join(devices, "c:"): "../drive_c", filepath.Join(devices, "z:"): "/"}
	for _, dll := range dlls {
		links[filepath.Join(system32, dll.Name())] = filepath.Join(wineDLLs, dll.Name())
	}
	for from, to := range links {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	return prefix
}

// The main image of a program without relocations gets its base, in the first
// process and in the one it starts.
func TestWine(t *testing.T) {
	prefix, preloader := winePrefix(t), preloaderFile(t, &amd64)
	attr := privateMounts(t)
	planned := filepath.Join(t.TempDir(), "layout")
	plan := amd64.layout(amd64.defaultLimit, append(slices.Clone(amd64.defaultRanges[:2]), span{0x140000000, 0x140100000}, amd64.defaultRanges[2])...)
	if err := os.WriteFile(planned, plan, 0o644); err != nil {
		t.Fatal(err)
	}
	runs := 10
	if testing.Short() {
		runs = 2
	}
	for base, layout := range map[uint64]string{0x400000: "", 0x140000000: planned} {
		program := build(t, "x86_64-w64-mingw32-gcc", wineProgram, "hello.c", "-s", fmt.Sprintf("-Wl,--image-base,%#x", base),
			"-Wl,--disable-dynamicbase", "-Wl,--disable-reloc-section", "-Wl,--disable-high-entropy-va")
		t.Run(fmt.Sprintf("%#x", base), func(t *testing.T) {
			for i := range runs {
				args := []string{"-c", wineScript, "sh", preloader, layout}
				if i%2 == 1 {
					args = append(args, "setarch", "x86_64", "-R")
				}
				cmd := exec.Command("/bin/sh", append(args, wineDir+"/wine64-preloader", wineLoader, program, "1")...)
				cmd.SysProcAttr = attr
				cmd.Env = append(os.Environ(), "WINEPREFIX="+prefix, "WINESERVER="+wineDir+"/wineserver64", "WINELOADERNOEXEC=1",
					"WINEDEBUG=-all", "WINEDLLOVERRIDES=wineboot.exe=d;mscoree=;mshtml=")
				checkWine(t, cmd, prefix, base)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// checkWine runs a program that starts itself once more, and looks at both processes.
func checkWine(t *testing.T, cmd *exec.Cmd, prefix string, base uint64) {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	lines := bufio.NewScanner(stdout)
	for _, depth := range []int{1, 0} {
		if !lines.Scan() {
			break
		}
		if want := fmt.Sprintf("image %016X depth %d", base, depth); strings.TrimSpace(lines.Text()) != want {
			t.Errorf("the program says %q, want %q", lines.Text(), want)
		}
	}
	processes := wineProcesses(t, prefix)
	if len(processes) != 2 {
		t.Errorf("%d processes run the program, want 2", len(processes))
	}
	for _, maps := range processes {
		if m := at(maps, base); filepath.Base(m.name) != wineProgram {
			t.Errorf("at %#x is %v, want %s", base, m, wineProgram)
		}
		if m := at(maps, ZoneStartAMD64+0x10100000); m.name != wineDir+"/wine64-preloader" {
			t.Errorf("the process did not come through the preloader: %v", m)
		}
		for _, hole := range holes(maps, amd64.defaultFill) {
			t.Errorf("hole at %x-%x above the limit", hole.start, hole.end)
		}
	}
	stdin.Close()
	io.Copy(io.Discard, stdout)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v, want exit status 7\n%s", err, stderr.String())
	}
}

// wineProcesses returns the memory maps of the processes of a prefix that run the program.
func wineProcesses(t *testing.T, prefix string) (processes [][]mapping) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		// Processes may end meanwhile; those of the test do not.
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if string(comm) != wineProgram+"\n" || !slices.Contains(strings.Split(string(env), "\x00"), "WINEPREFIX="+prefix) {
			continue
		}
		maps, err := os.ReadFile(filepath.Join(dir, "maps"))
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, parseMaps(t, strings.Split(strings.TrimSpace(string(maps)), "\n")))
	}
	return processes
}
