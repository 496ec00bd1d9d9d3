package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"winbox/bench"
)

// The programs: one that ends at once, and one that does nothing until it is killed.
var sources = map[string]string{
	"hello": "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n",
	"idle":  "#include <stdio.h>\n#include <windows.h>\nint main(void) { puts(\"ready\"); fflush(stdout); Sleep(INFINITE); return 0; }\n",
}

func main() {
	runs := flag.Int("n", 20, "counted runs of each")
	copies := flag.Int("copies", 50, "containers at once, for the memory of a further one")
	winbox := flag.String("winbox", "build/winbox", "the winbox to measure")
	data := flag.String("data", "", "the data root with the runtimes; one of its own when empty")
	runtimes := flag.String("runtimes", "", "runtimes that 32-bit programs are measured with, with commas between them")
	flag.Parse()
	m := &measurement{runs: *runs, copies: *copies, data: *data}
	if err := m.measure(*winbox, strings.FieldsFunc(*runtimes, func(r rune) bool { return r == ',' })); err != nil {
		fmt.Fprintln(os.Stderr, "coldstart:", err)
		os.Exit(1)
	}
}

// measurement is what all its parts need.
type measurement struct {
	runs, copies                      int
	winbox, data, dir, folder, prefix string
}

// isolated runs a command without winbox in namespaces in which nothing of Wine runs before, and nothing after.
var isolated = []string{"unshare", "-m", "-p", "-i", "-u", "-n", "-f", "--kill-child", "--mount-proc", "--propagation", "private"}

func (m *measurement) measure(winbox string, runtimes []string) (err error) {
	if m.winbox, err = filepath.Abs(winbox); err != nil {
		return err
	}
	if m.dir, err = os.MkdirTemp("", "winbox-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(m.dir)
	if m.data == "" {
		m.data = filepath.Join(m.dir, "data")
	}
	if m.data, err = filepath.Abs(m.data); err != nil {
		return err
	}
	m.folder, m.prefix = filepath.Join(m.dir, "folder"), filepath.Join(m.dir, "prefix")
	if err := os.Mkdir(m.folder, 0o755); err != nil {
		return err
	}
	if err := m.build("x86_64", ""); err != nil {
		return err
	}
	// The peer's prefix is made before anything is measured; what winbox needs is made in the round that does not count.
	if out, err := m.command(append(isolated, "sh", "-c", "wineboot -i && wineserver -w")...).CombinedOutput(); err != nil {
		return fmt.Errorf("make a Wine prefix: %w: %s", err, out)
	}
	if err := m.cold("cold hello world", "hello.exe"); err != nil {
		return err
	}
	if err := m.second("hello.exe", "idle.exe"); err != nil {
		return err
	}
	err = measurePhases(m.runs, m.winbox, "hello.exe", func() error { return m.launch("hello.exe").Run() })
	if err != nil {
		return err
	}
	if err := m.memory("idle.exe"); err != nil {
		return err
	}
	for i, runtime := range runtimes {
		if i == 0 {
			if err := m.build("i686", "32"); err != nil {
				return err
			}
		}
		choose := []string{"--runtime", runtime}
		if err := m.cold("cold hello world, 32-bit, runtime "+runtime, append(choose, "hello32.exe")...); err != nil {
			return err
		}
		if err := m.second("hello32.exe", append(choose, "idle32.exe")...); err != nil {
			return err
		}
		if err := m.memory(append(choose, "idle32.exe")...); err != nil {
			return err
		}
	}
	return nil
}

// build builds the programs for a machine.
func (m *measurement) build(machine, suffix string) error {
	for name, text := range sources {
		source, exe := filepath.Join(m.dir, name+".c"), filepath.Join(m.folder, name+suffix+".exe")
		if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
			return err
		}
		if out, err := exec.Command(machine+"-w64-mingw32-gcc", "-O2", "-s", "-o", exe, source).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s (Debian package gcc-mingw-w64)", filepath.Base(exe), err, out)
		}
	}
	return nil
}

func (m *measurement) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = m.folder
	cmd.Env = append(os.Environ(), "WINEPREFIX="+m.prefix, "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=", "DISPLAY=", "WINBOX_DATA="+m.data)
	return cmd
}

// winboxCommand keeps its containers apart from others'.
func (m *measurement) winboxCommand(args ...string) *exec.Cmd {
	return m.command(append([]string{m.winbox, "--root", filepath.Join(m.dir, "state")}, args...)...)
}

func (m *measurement) launch(words ...string) *exec.Cmd {
	return m.winboxCommand(append([]string{"launch"}, words...)...)
}

// timed measures from the start of a command to its end.
func timed(command func() *exec.Cmd) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		cmd := command()
		begin := time.Now()
		out, err := cmd.Output()
		took := time.Since(begin)
		if err == nil && strings.TrimSpace(string(out)) != "hello" {
			err = fmt.Errorf("printed %q", out)
		}
		return took, err
	}
}

// cold compares starts for which there is no wineserver yet.
func (m *measurement) cold(title string, words ...string) error {
	results, err := bench.Compare(m.runs, []bench.Contender{
		{Name: "winbox launch", Run: timed(func() *exec.Cmd { return m.launch(words...) })},
		{Name: "wine", Run: timed(func() *exec.Cmd { return m.command(append(isolated, "wine", "hello.exe")...) })},
	})
	if err != nil {
		return err
	}
	bench.Print(os.Stdout, title, results)
	return nil
}

// second compares starts beside another program; words are the flags and the name of that.
func (m *measurement) second(program string, words ...string) error {
	containers, err := m.start(1, words...)
	if err != nil {
		return err
	}
	defer containers.stop()
	list, err := m.list()
	if err != nil {
		return err
	}
	plain, err := m.startPlain()
	if err != nil {
		return err
	}
	defer plain.stop()
	pids, err := plain.processes()
	if err != nil {
		return err
	}
	enter := []string{"nsenter", "-t", fmt.Sprint(pids[0]), "-m", "-p", "-i", "-u", "-n", "--wd=" + m.folder, "wine", "hello.exe"}
	results, err := bench.Compare(m.runs, []bench.Contender{
		{Name: "winbox exec", Run: timed(func() *exec.Cmd { return m.winboxCommand("exec", list[0].ID, `D:\`+program) })},
		{Name: "wine", Run: timed(func() *exec.Cmd { return m.command(enter...) })},
	})
	if err != nil {
		return err
	}
	bench.Print(os.Stdout, "second start, "+program, results)
	return nil
}

// memory prints what an idle program's container takes, and each further one.
func (m *measurement) memory(words ...string) error {
	fmt.Printf("memory of an idle program, %s\n", words[len(words)-1])
	t := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tprocesses\tPSS MiB\tand of winbox itself\t")
	single, err := m.weigh(t, 1, words...)
	if err != nil {
		return err
	}
	many, err := m.weigh(t, m.copies, words...)
	if err != nil {
		return err
	}
	if further := float64(m.copies - 1); further > 0 {
		fmt.Fprintf(t, "each further\t\t%.1f\t%.1f\t\n", (many[0].pss-single[0].pss)/further, (many[1].pss-single[1].pss)/further)
	}
	plain, err := m.startPlain()
	if err != nil {
		return err
	}
	defer plain.stop()
	u, err := plain.usage()
	if err != nil {
		return err
	}
	fmt.Fprintf(t, "wine\t%d\t%.1f\t\t\n", u.processes, u.pss)
	return t.Flush()
}

// weigh prints what some containers have, and gives it with what the winboxes have that watch them.
func (m *measurement) weigh(out io.Writer, copies int, words ...string) (sum [2]usage, err error) {
	started, err := m.start(copies, words...)
	if err != nil {
		return sum, err
	}
	defer started.stop()
	if sum[0], err = started.usage(); err != nil {
		return sum, err
	}
	for _, cmd := range started.commands {
		u, err := memoryOf(cmd.Process.Pid)
		if err != nil {
			return sum, err
		}
		sum[1].add(u)
	}
	fmt.Fprintf(out, "containers: %d\t%d\t%.1f\t%.1f\t\n", copies, sum[0].processes, sum[0].pss, sum[1].pss)
	return sum, nil
}

// container is one in winbox's list.
type container struct {
	ID  string
	PID int
}

func (m *measurement) list() (list []container, err error) {
	out, err := m.winboxCommand("list", "--format", "json").Output()
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	return list, err
}
