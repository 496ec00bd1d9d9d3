package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
)

// libraries is how many the application has.
const libraries = 30

// measureMemory builds the application, and runs it in its three forms.
func measureMemory(winbox, runtime string) error {
	winbox, err := filepath.Abs(winbox)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "winbox-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("memory of one of two containers, %d libraries\n", libraries)
	t := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tprivate MiB\tof libraries\tPSS MiB\t")
	for _, m := range machinesOf(runtime) {
		var none usage
		for _, form := range []string{"without", "as linked", "prelinked"} {
			app := filepath.Join(dir, m.arch+form)
			if err := m.application(app, form != "without"); err != nil {
				return err
			}
			if form == "prelinked" {
				if out, err := exec.Command(winbox, "image", "prelink", app).CombinedOutput(); err != nil {
					return fmt.Errorf("%s: %w: %s", form, err, out)
				}
			}
			u, err := measureApplication(winbox, runtime, app)
			if err != nil {
				return fmt.Errorf("%s: %w", form, err)
			}
			if form == "without" {
				none = u
			}
			fmt.Fprintf(t, "%s, %s\t%.1f\t%.1f\t%.1f\t\n", m.name, form, u.private, u.private-none.private, u.pss)
		}
	}
	t.Flush()
	return nil
}

// application builds load.exe and perhaps the libraries in a new folder.
func (m *machine) application(dir string, withLibraries bool) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	build := func(output, source string, flags ...string) error {
		args := append([]string{"-O2", "-s", "-o", filepath.Join(dir, output), "test/pe/" + source}, flags...)
		if out, err := exec.Command(m.compiler, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s (Debian packages gcc-mingw-w64-x86-64, gcc-mingw-w64-i686)", output, err, out)
		}
		return nil
	}
	if err := build("load.exe", "load.c"); err != nil || !withLibraries {
		return err
	}
	if err := build("0.dll", "pointers.c", "-shared", fmt.Sprintf("-Wl,--image-base,%#x", m.base)); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "0.dll"))
	for i := 1; i < libraries && err == nil; i++ {
		err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.dll", i)), data, 0o755)
	}
	return err
}

// usage is memory, in MiB.
type usage struct{ private, pss float64 }

// measureApplication runs the application in two containers, and gives what the
// processes of the second have.
func measureApplication(winbox, runtime, app string) (usage, error) {
	names, err := filepath.Glob(filepath.Join(app, "*.dll"))
	if err != nil {
		return usage{}, err
	}
	args := []string{"launch", "./load.exe"}
	if runtime != "" {
		args = []string{"launch", "--runtime", runtime, "./load.exe"}
	}
	for _, name := range names {
		args = append(args, filepath.Base(name))
	}
	var root string
	for range 2 {
		if root, err = os.MkdirTemp("", "winbox-bench"); err != nil {
			return usage{}, err
		}
		defer os.RemoveAll(root)
		cmd := exec.Command(winbox, append([]string{"--root", root}, args...)...)
		cmd.Dir, cmd.Stderr = app, os.Stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return usage{}, err
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return usage{}, err
		}
		if err := cmd.Start(); err != nil {
			return usage{}, err
		}
		defer func() { // the program ends when its standard input does
			stdin.Close()
			io.Copy(io.Discard, stdout)
			cmd.Wait()
		}()
		lines := bufio.NewScanner(stdout)
		for lines.Scan() && lines.Text() != "loaded" {
		}
		if strings.TrimSpace(lines.Text()) != "loaded" {
			return usage{}, fmt.Errorf("%s ended early: %q", cmd, lines.Text())
		}
	}
	return containerUsage(winbox, root)
}

// containerUsage adds up what the processes of the only container have.
func containerUsage(winbox, root string) (usage, error) {
	out, err := exec.Command(winbox, "--root", root, "list", "--format", "json").Output()
	if err != nil {
		return usage{}, err
	}
	var list []struct{ PID int }
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 1 {
		return usage{}, fmt.Errorf("list: %d containers, %w", len(list), err)
	}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", list[0].PID))
	if err != nil {
		return usage{}, err
	}
	var sum usage
	processes, err := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		if link, _ := os.Readlink(p + "/ns/pid"); link != namespace {
			continue
		}
		data, err := os.ReadFile(p + "/smaps_rollup")
		if err != nil {
			return usage{}, err
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			kib, _ := strconv.ParseFloat(fields[1], 64) // the first line has no number
			switch fields[0] {
			case "Private_Clean:", "Private_Dirty:":
				sum.private += kib / 1024
			case "Pss:":
				sum.pss += kib / 1024
			}
		}
	}
	return sum, err
}
