package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// tracing is where the kernel's own tracer is. It writes a line of some 40 for each start into a buffer in memory, which
// costs less than a microsecond each; strace would make the start five times as long.
const tracing = "/sys/kernel/tracing"

// tracedEvents are those that tell the phases apart.
var tracedEvents = []string{
	"sched:sched_process_fork", "sched:sched_process_exec", "sched:sched_process_exit", "task:task_rename",
	"syscalls:sys_enter_brk",
}

// phases are the parts of a cold start, each up to what begins the next.
var phases = []string{
	"winbox: reading, planning, starting process 1",
	"process 1: building the container",
	"preloader",
	"loader: dynamic linking, ntdll.so",
	"wineserver: start",
	"wineserver: registry; ntdll.so: connecting",
	"boot program",
	"program: DLLs, main, exit",
	"end of the other processes",
	"winbox: removing the container",
}

// trace is a tracer of our own beside others that may be in use.
type trace struct{ dir string }

func openTrace() (*trace, error) {
	t := &trace{filepath.Join(tracing, "instances", fmt.Sprintf("winbox-bench-%d", os.Getpid()))}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, err
	}
	for _, set := range [][2]string{{"tracing_on", "0"}, {"trace_clock", "mono"}, {"buffer_size_kb", "4096"}, {"set_event", strings.Join(tracedEvents, "\n")}} {
		if err := t.write(set[0], set[1]); err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

func (t *trace) write(name, text string) error {
	return os.WriteFile(filepath.Join(t.dir, name), []byte(text), 0)
}

func (t *trace) close() error { return os.Remove(t.dir) }

// event is a line of the trace.
type event struct {
	task int
	at   time.Duration
	name string
	text string
}

// record runs something and gives what was traced meanwhile.
func (t *trace) record(run func() error) ([]event, error) {
	if err := t.write("trace", ""); err != nil {
		return nil, err
	}
	if err := t.write("tracing_on", "1"); err != nil {
		return nil, err
	}
	err := run()
	if stopped := t.write("tracing_on", "0"); err == nil {
		err = stopped
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(t.dir, "trace"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseTrace(f)
}

// traceLine is, for one: "  wine64-17  [001] ..... 45230.732322: task_rename: pid=17 oldcomm=wine64 newcomm=hello.exe".
var traceLine = regexp.MustCompile(`-(\d+) +\[\d+\] +\S+ +(\d+\.\d+): (\w+)(?:: |\()(.*)`)

func parseTrace(r io.Reader) (events []event, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		m := traceLine.FindStringSubmatch(lines.Text())
		if m == nil || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		task, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, err
		}
		at, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, err
		}
		events = append(events, event{task, time.Duration(at * float64(time.Second)), m[3], m[4]})
	}
	return events, lines.Err()
}

// field gives the number in "name=number".
func (e *event) field(name string) int {
	_, rest, _ := strings.Cut(" "+e.text, " "+name+"=")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	n, _ := strconv.Atoi(rest[:end]) // 0 is no process of ours
	return n
}

// split finds the moments at which the phases of one launch of a program begin, and gives how long each took.
func split(events []event, winbox, program string) ([]time.Duration, error) {
	own, begin := descend(events, winbox)
	first, main := 0, 0 // process 1, and the program's process
	executes := func(e *event, file string) bool {
		return e.name == "sched_process_exec" && strings.Contains(e.text, file)
	}
	ends := []func(*event) bool{
		func(e *event) bool { first = e.task; return executes(e, "/proc/self/fd/") },
		func(e *event) bool { main = e.task; return executes(e, "preloader ") },
		func(e *event) bool { return e.name == "sys_brk" && e.task == main }, // the dynamic linker's first call
		func(e *event) bool { return executes(e, "wineserver") },
		// The server's first process ends when there is a socket.
		func(e *event) bool { return e.name == "sched_process_exit" && e.task != main },
		func(e *event) bool { return executes(e, "preloader ") },
		// ntdll gives the process its name when the boot is over.
		func(e *event) bool {
			return e.name == "task_rename" && e.task == main && strings.Contains(e.text, "newcomm="+program)
		},
		func(e *event) bool { return e.name == "sched_process_exit" && e.task == main },
		func(e *event) bool { return e.name == "sched_process_exit" && e.task == first },
	}
	var took []time.Duration
	for i := range own {
		if len(took) < len(ends) && ends[len(took)](&own[i]) {
			took = append(took, own[i].at-begin)
			begin = own[i].at
		}
	}
	if len(took) != len(ends) {
		return nil, fmt.Errorf("the trace ends in the phase %q", phases[len(took)])
	}
	return append(took, own[len(own)-1].at-begin), nil
}

// descend gives the events of the first process that executes winbox and of its descendants, and when it began.
func descend(events []event, winbox string) (own []event, begin time.Duration) {
	ours := make(map[int]bool)
	for _, e := range events {
		if len(ours) == 0 && e.name == "sched_process_exec" && strings.HasPrefix(e.text, "filename="+winbox+" ") {
			ours[e.task], begin = true, e.at
		}
		if !ours[e.task] {
			continue
		}
		if e.name == "sched_process_fork" {
			ours[e.field("child_pid")] = true
		}
		own = append(own, e)
	}
	return own, begin
}

// measurePhases prints the median of each phase of some cold starts.
func measurePhases(runs int, winbox, program string, run func() error) error {
	t, err := openTrace()
	if err != nil {
		fmt.Fprintf(os.Stderr, "coldstart: where the time goes is left out: %v\n", err)
		return nil
	}
	defer t.close()
	times := make([][]time.Duration, len(phases))
	for range runs {
		events, err := t.record(run)
		if err != nil {
			return err
		}
		took, err := split(events, winbox, program)
		if err != nil {
			return err
		}
		for i, d := range took {
			times[i] = append(times[i], d)
		}
	}
	fmt.Printf("where the time goes (%d runs)\n", runs)
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "phase\tmin ms\tmedian ms")
	for i, list := range times {
		slices.Sort(list)
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\n", phases[i], ms(list[0]), ms(list[len(list)/2]))
	}
	return w.Flush()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
