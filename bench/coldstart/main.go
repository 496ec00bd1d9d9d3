package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"winbox/bench"
)

const hello = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n"

func main() {
	runs := flag.Int("n", 20, "counted runs of each")
	winbox := flag.String("winbox", "build/winbox", "the winbox to measure")
	flag.Parse()
	if err := measure(*runs, *winbox); err != nil {
		fmt.Fprintln(os.Stderr, "coldstart:", err)
		os.Exit(1)
	}
}

func measure(runs int, winbox string) error {
	winbox, err := filepath.Abs(winbox)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "winbox-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	folder := filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	source := filepath.Join(dir, "hello.c")
	if err := os.WriteFile(source, []byte(hello), 0o644); err != nil {
		return err
	}
	exe := filepath.Join(folder, "hello.exe")
	if out, err := exec.Command("x86_64-w64-mingw32-gcc", "-O2", "-s", "-o", exe, source).CombinedOutput(); err != nil {
		return fmt.Errorf("build hello.exe: %w: %s (Debian package gcc-mingw-w64-x86-64)", err, out)
	}

	env := append(os.Environ(), "WINEPREFIX="+filepath.Join(dir, "prefix"), "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=", "DISPLAY=",
		"WINBOX_DATA="+filepath.Join(dir, "data"))
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = folder, env
		return cmd
	}
	isolated := []string{"unshare", "-m", "-p", "-i", "-u", "-n", "-f", "--kill-child", "--mount-proc", "--propagation", "private"}
	// The prefix of the peer and the template of winbox are made before anything is measured.
	if out, err := command(append(isolated, "sh", "-c", "wineboot -i && wineserver -w")...).CombinedOutput(); err != nil {
		return fmt.Errorf("make a Wine prefix: %w: %s", err, out)
	}

	timed := func(args ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			begin := time.Now()
			out, err := command(args...).Output()
			took := time.Since(begin)
			if err == nil && strings.TrimSpace(string(out)) != "hello" {
				err = fmt.Errorf("printed %q", out)
			}
			return took, err
		}
	}
	results, err := bench.Compare(runs, []bench.Contender{
		{Name: "winbox launch", Run: timed(winbox, "--root", filepath.Join(dir, "state"), "launch", "hello.exe")},
		{Name: "wine", Run: timed(append(isolated, "wine", "hello.exe")...)},
	})
	if err != nil {
		return err
	}
	bench.Print(os.Stdout, "cold hello world", results)
	return nil
}
