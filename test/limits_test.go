package test

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A neighbour is a container that calculates beside another one, a step for each line that it gets.
type neighbour struct {
	*call
	in io.WriteCloser
	x  uint64
}

// newNeighbour starts one.
func newNeighbour(b *box) *neighbour {
	b.t.Helper()
	n := &neighbour{call: b.launch(b.program("burden"), "work"), x: 1}
	n.in = n.follow()
	if line := n.line(); line != "ready" {
		b.t.Fatalf("the neighbour says %q", line)
	}
	return n
}

// step has it calculate, and checks the result.
func (n *neighbour) step() {
	n.box.t.Helper()
	if _, err := n.in.Write([]byte("\n")); err != nil {
		n.box.t.Fatal(err)
	}
	for range 10_000_000 {
		n.x = n.x*6364136223846793005 + 1442695040888963407
	}
	if line := strings.TrimSuffix(n.line(), "\r"); line != fmt.Sprint(n.x) {
		n.box.t.Errorf("the neighbour has calculated %s, want %d", line, n.x)
	}
}

// end lets it end, with success.
func (n *neighbour) end() {
	n.box.t.Helper()
	n.step()
	n.in.Close()
	if n.wait(); n.code() != 0 || n.err.Len() > 0 {
		n.box.t.Errorf("the neighbour: exit code %d, error %q", n.code(), n.err.String())
	}
}

// running waits for the container to run that is the only one.
func (b *box) running() string {
	b.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, id := range b.containers() {
			if strings.Contains(b.call("state", id).wait().out.String(), `"status": "running"`) {
				return id
			}
		}
	}
	b.t.Fatal("no container runs")
	return ""
}

// TestOOMKill has a child of a program take more memory than there is: the container dies as one, launch says why, and the
// neighbour calculates on.
func TestOOMKill(t *testing.T) {
	b := newBox(t)
	beside := newNeighbour(b)
	statusFile := writeFile(t, b.dir, "status.json", nil)
	c := b.launch("--commit", "off", "--memory", "64m", "--status-file", statusFile, "burden.exe", "family", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	beside.step()
	c.wait()
	if line := c.wantLine(137); !strings.HasPrefix(line, "winbox: out of memory: limit 64 MiB, container burden-") || c.text() != "" {
		t.Errorf("output %q, standard error %q", c.text(), line)
	}
	var end struct {
		ExitCode  int
		OOMKilled bool
	}
	if err := json.Unmarshal([]byte(readFile(t, statusFile)), &end); err != nil || end.ExitCode != 137 || !end.OOMKilled {
		t.Errorf("%+v, %v", end, err)
	}
	beside.end()
}

// TestOOMEvent reads statistics of a Windows container, and whom the OOM killer has taken.
func TestOOMEvent(t *testing.T) {
	b := newBox(t)
	b.program("burden")
	c := b.launch("--commit", "off", "--memory", "64m", "cmd", "/c", "set /p x= & burden.exe eat 1000")
	in := c.follow()
	id := b.running()
	follow := b.call("events", "--interval", "100ms", id)
	follow.follow()
	windows := struct {
		Type string
		Data struct {
			Windows *struct{ Processes, Threads, PrivateBytes, SharedBytes int }
			Process string
			PID     int
		}
	}{}
	next := func() {
		t.Helper()
		windows.Data.Windows = nil
		if err := json.Unmarshal([]byte(follow.line()), &windows); err != nil {
			t.Fatal(err)
		}
	}
	if next(); windows.Type != "stats" || windows.Data.Windows == nil || windows.Data.Windows.Processes < 1 || windows.Data.Windows.Threads < 1 || windows.Data.Windows.PrivateBytes < 100<<10 ||
		windows.Data.Windows.SharedBytes == 0 {
		t.Errorf("%+v, %+v", windows, windows.Data.Windows)
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	for windows.Type == "stats" {
		next()
	}
	if windows.Type != "oom" || windows.Data.Process != "burden.exe" || windows.Data.PID == 0 {
		t.Errorf("%+v", windows)
	}
	if c.wait(); c.code() != 137 {
		t.Errorf("exit code %d", c.code())
	}
}

// TestCommitEvent reads the commit charge of a container, and which program was refused memory.
func TestCommitEvent(t *testing.T) {
	b := newBox(t)
	b.program("commit")
	// It stays until it gets a line: its name can be seen.
	c := b.launch("--memory", "128m", "cmd", "/c", "set /p x= & commit.exe fresh 1000")
	in := c.follow()
	id := b.running()
	follow := b.call("events", "--interval", "100ms", id)
	follow.follow()
	type commit struct{ Charge, Peak, Limit, Failures uint64 }
	event := struct {
		Type string
		Data struct {
			Windows       struct{ Commit *commit }
			Failures, PID int
			Process       string
		}
	}{}
	next := func() {
		t.Helper()
		if err := json.Unmarshal([]byte(follow.line()), &event); err != nil {
			t.Fatal(err)
		}
	}
	for next(); event.Type == "stats" && event.Data.Windows.Commit == nil; next() {
	}
	if got := event.Data.Windows.Commit; event.Type != "stats" || got.Limit != 128<<20 || got.Charge < 1<<20 || got.Charge > 64<<20 || got.Failures != 0 {
		t.Errorf("%+v, %+v", event, got)
	}
	if _, err := in.Write([]byte("\r\n")); err != nil {
		t.Fatal(err)
	}
	if line := c.line(); !strings.HasSuffix(strings.TrimSpace(line), " 1455") {
		t.Errorf("the program says %q", line)
	}
	for event.Type == "stats" {
		next()
	}
	if d := event.Data; event.Type != "commit" || d.Failures == 0 || d.Process != "commit.exe" || d.PID == 0 {
		t.Errorf("%+v", event)
	}
	text := b.call("stats", "--no-stream", "--interval", "10ms", id).wait().text()
	if !strings.Contains(text, " / 128MiB ") || strings.Count(text, " / 128MiB ") != 2 {
		t.Errorf("stats: %s", text)
	}
	in.Close()
	c.wait()
}

// TestBombs has programs start processes and threads without end. The limit of tasks holds, the programs are told so, and the
// neighbour calculates on.
func TestBombs(t *testing.T) {
	for _, bomb := range []struct {
		name, what  string
		pids, tries int
		least       int // how many succeed
	}{
		{"threads", "threads", 64, 20, 20},
		{"processes", "processes", 64, 20, 5},
		{"few processes", "processes", 10, 2, 2}, // where a machine is emulated
	} {
		t.Run(bomb.name, func(t *testing.T) {
			b := newBox(t)
			beside := newNeighbour(b)
			c := b.launch("--pids", fmt.Sprint(bomb.pids), "burden.exe", bomb.what, fmt.Sprint(bomb.tries)).wait()
			all, processes := 0, 0
			for line := range strings.Lines(c.text()) { // of each process
				processes++
				var got, code int
				if n, err := fmt.Sscanf(line, "%d started, then error %d", &got, &code); n != 2 || code == 0 {
					t.Errorf("%q: %v", line, err)
				}
				all += got
			}
			t.Logf("%d started, %d told of an error", all, processes)
			// Those that have failed end, and others take their places.
			tooMany := bomb.what == "threads" && all >= bomb.pids
			if c.code() != 0 || all < bomb.least || tooMany || c.err.Len() > 0 {
				t.Errorf("exit code %d, output %q, error %q", c.code(), c.text(), c.err.String())
			}
			if err := exec.Command("true").Run(); err != nil {
				t.Errorf("a process of the host: %v", err)
			}
			beside.end()
		})
	}
}

// TestCPUs measures the processor time of four threads that want more than they may have. On a busy machine it is less.
func TestCPUs(t *testing.T) {
	b := newBox(t)
	c := b.launch("--cpus", "0.5", b.program("burden"), "spin", "4")
	c.follow()
	c.line()
	id := b.running()
	sample := func() (usage, periods, throttled float64) {
		t.Helper()
		var e struct {
			Data struct {
				CPU struct {
					Usage      struct{ Total float64 }
					Throttling struct{ Periods, ThrottledPeriods float64 }
				}
			}
		}
		stats := b.call("events", "--stats", id).wait()
		if err := json.Unmarshal(stats.out.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, stats.err.String())
		}
		return e.Data.CPU.Usage.Total, e.Data.CPU.Throttling.Periods, e.Data.CPU.Throttling.ThrottledPeriods
	}
	usage, periods, throttled := sample()
	for range 50 { // a period is 100 ms
		time.Sleep(100 * time.Millisecond)
	}
	usageEnd, periodsEnd, throttledEnd := sample()
	share := (usageEnd - usage) / ((periodsEnd - periods) * 1e8)
	held := (throttledEnd - throttled) / (periodsEnd - periods)
	t.Logf("%.3f processors in %v periods, held back in %.0f%% of them", share, periodsEnd-periods, 100*held)
	if share > 0.55 || share < 0.45 && held > 0.95 {
		t.Errorf("%.3f of a processor, want 0.45 to 0.55", share)
	}
	b.call("kill", id, "KILL").wait()
	c.wait()
}
