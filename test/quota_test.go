package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// quotaFacts are what pe/quota.c is told, by the name of the number.
type quotaFacts map[string]uint64

// quotaFacts reads what the program prints up to the line "ready".
func (c *call) quotaFacts() quotaFacts {
	c.box.t.Helper()
	facts := quotaFacts{}
	for {
		line := c.line()
		if line == "ready" {
			return facts
		}
		name, value, _ := strings.Cut(line, " ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			c.box.t.Fatalf("line %q: %v", line, err)
		}
		facts[name] = n
	}
}

// want checks numbers that must be equal.
func (f quotaFacts) want(t *testing.T, value uint64, names ...string) {
	t.Helper()
	for _, name := range names {
		if f[name] != value {
			t.Errorf("%s is %d, want %d", name, f[name], value)
		}
	}
}

// near checks numbers that change all the time.
func (f quotaFacts) near(t *testing.T, value uint64, names ...string) {
	t.Helper()
	for _, name := range names {
		if f[name]+2<<20 < value || f[name] > value+2<<20 {
			t.Errorf("%s is %d, want %d within 2 MiB", name, f[name], value)
		}
	}
}

// usedMemory is what a container uses of its memory, without what files have in it, by its control group.
func usedMemory(t *testing.T, id string) uint64 {
	t.Helper()
	used, err := strconv.ParseUint(cgroupFile(t, id, "memory.usage_in_bytes", "memory.current"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	cache := map[string]uint64{}
	for s := bufio.NewScanner(strings.NewReader(cgroupFile(t, id, "memory.stat"))); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " ")
		cache[name], _ = strconv.ParseUint(value, 10, 64)
	}
	if _, v1 := cache["total_inactive_file"]; v1 {
		return used - cache["total_inactive_file"] - cache["total_active_file"]
	}
	return used - cache["inactive_file"] - cache["active_file"] - cache["slab_reclaimable"]
}

// commitCharge is what the programs of a container have committed, as events says.
func commitCharge(t *testing.T, b *box, id string) uint64 {
	t.Helper()
	var stats struct {
		Data struct {
			Windows struct{ Commit struct{ Charge uint64 } }
		}
	}
	if err := json.Unmarshal(b.call("events", "--stats", id).wait().out.Bytes(), &stats); err != nil {
		t.Fatal(err)
	}
	return stats.Data.Windows.Commit.Charge
}

// TestToldMemory compares what programs are told of memory with the limit and the control group.
func TestToldMemory(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		program := m.build(t, "quota.exe", "quota", "-lpsapi")
		for _, limit := range []string{"64m", "256m", "1g", "4g"} {
			want := map[string]uint64{"64m": 64 << 20, "256m": 256 << 20, "1g": 1 << 30, "4g": 4 << 30}[limit]
			c := b.launch("--memory", limit, program)
			stdin := c.follow()
			c.quotaFacts()
			b.booted()              // until it has ended, what is used still changes
			time.Sleep(time.Second) // for so long GlobalMemoryStatusEx of Wine gives what it said before
			if _, err := stdin.Write([]byte("\n")); err != nil {
				t.Fatal(err)
			}
			facts := c.quotaFacts()
			id, _ := b.container()
			facts.want(t, want, "total", "basic.total", "info.total", "limit", "performance.limit", "info.limit")
			facts.near(t, want-usedMemory(t, id), "available", "performance.available", "info.available")
			facts.near(t, commitCharge(t, b, id), "performance.committed", "info.committed")
			stdin.Close()
			c.wait()
		}
	})
}

// TestToldUpdate changes the limits of a running program.
func TestToldUpdate(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		c := b.launch("--memory", "128m", m.build(t, "quota.exe", "quota", "-lpsapi"))
		stdin := c.follow()
		c.quotaFacts().want(t, 128<<20, "total", "limit")
		id, _ := b.container()
		b.booted()
		for _, limit := range []uint64{300 << 20, 100 << 20} {
			text := fmt.Sprint(limit)
			b.call("update", "--memory", text, "--memory-swap", text, id).wait().want(0, "")
			again := func() quotaFacts {
				if _, err := stdin.Write([]byte("\n")); err != nil {
					t.Fatal(err)
				}
				return c.quotaFacts()
			}
			facts := again()
			facts.want(t, limit, "basic.total", "info.total", "performance.limit", "info.limit")
			facts.near(t, limit-usedMemory(t, id), "performance.available", "info.available")
			// GlobalMemoryStatusEx of Wine says for a second what it said before.
			await(t, "the new total", func() bool { f := again(); return f["total"] == limit && f["limit"] == limit })
		}
		stdin.Close()
		c.wait()
	})
}

// TestToldProcessors runs with some of the machine's processors, by time and by set.
func TestToldProcessors(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		program := m.build(t, "quota.exe", "quota", "-lpsapi")
		online := onlineProcessors(t)
		for _, test := range []struct {
			cpus string
			want uint64
		}{{"0.5", 1}, {"1", 1}, {"1.5", min(2, online)}, {"", online}} {
			var flags []string
			if test.cpus != "" {
				flags = []string{"--cpus", test.cpus}
			}
			c := b.launch(append(flags, program)...)
			stdin := c.follow()
			facts := c.quotaFacts()
			facts.want(t, test.want, "processors", "variable", "basic.processors")
			facts.want(t, 1<<test.want-1, "cores", "packages", "nodes")
			facts.want(t, 0, "caches")
			stdin.Close()
			c.wait()
		}
	})
}

// TestToldCpuset runs with one processor of several, by a set in the configuration, and after an update, which new processes
// see.
func TestToldCpuset(t *testing.T) {
	if onlineProcessors(t) < 2 {
		t.Skip("needs two processors")
	}
	t.Parallel()
	b := newBox(t)
	program := b.program("quota")
	one := func(facts quotaFacts, more ...string) {
		t.Helper()
		facts.want(t, 1, append(more, "processors", "basic.processors", "cores", "packages", "nodes")...)
	}
	for _, cpus := range []string{"0", "1"} {
		id := b.id("set")
		c := b.call("run", "--bundle", b.bundle(func(s *specs.Spec) {
			b.bare(program)(s)
			s.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: cpus}}
		}, "/app/"+program), id)
		stdin := c.follow()
		one(c.quotaFacts(), "variable") // after an update, it is still the parent's
		stdin.Close()
		c.wait()
	}
	for _, change := range [][]string{{"--cpuset-cpus", "1"}, {"--cpu-quota", "50000", "--cpu-period", "100000"}} {
		c := b.launch("--cpus", "2", "cmd", "/q", "/c", "echo up& set /p x=& "+program)
		stdin := c.follow()
		c.line()
		id, _ := b.container()
		b.call(append(append([]string{"update"}, change...), id)...).wait().want(0, "")
		if _, err := stdin.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		one(c.quotaFacts())
		stdin.Close()
		c.wait()
	}
}

// onlineProcessors counts the machine's processors.
func onlineProcessors(t *testing.T) uint64 {
	t.Helper()
	dirs, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/topology")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no processors: %v", err)
	}
	return uint64(len(dirs))
}

// TestToldInSilence looks for what must not be seen of the library that tells.
func TestToldInSilence(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c := b.run("--memory", "256m", "cmd", "/c", `set & cmd /c set`)
	if text := c.text(); c.code() != 0 || strings.Contains(text, "PRELOAD") || strings.Contains(text, "quota") {
		t.Errorf("exit code %d, variables:\n%s", c.code(), text)
	}
	// One of the user's own goes on to the program, and the library of the same name is loaded with ours.
	c = b.run("--memory", "256m", "--env", "LD_PRELOAD=/nowhere.so", "cmd", "/c", "set LD_PRELOAD")
	if want := "LD_PRELOAD=/nowhere.so\n"; c.code() != 0 || c.text() != want {
		t.Errorf("exit code %d, %q, want %q", c.code(), c.text(), want)
	}
}

// TestCommitLimit commits memory in all the ways that programs do, until there is none: they are told so, and go on.
func TestCommitLimit(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		program := m.build(t, "commit.exe", "commit")
		for _, test := range []struct {
			way   string
			step  string
			error string
		}{
			{"fresh", "1", "1455"}, {"commit", "1", "1455"}, {"watched", "1", "1455"},
			{"heap", "1", "8"}, {"small", "1", "8"}, {"malloc", "1", "8"}, {"new", "1", "e06d7363"},
			{"section", "1", "1455"}, {"view", "1", "8"}, {"other", "1", "1455"}, {"thread", "64", "8"},
		} {
			c := b.run("--memory", "256m", "--status-file", "status", program, test.way, "400", test.step)
			got, code := c.commit()
			least := uint64(218) // 85 %
			if test.way == "thread" {
				least = 192 // three of them
			}
			if c.code() != 3 || got < least || got > 256 || code != test.error || c.err.Len() > 0 {
				t.Errorf("%s: exit code %d, %d MiB, error %s, standard error %q; want 3, %d to 256 and %s", test.way, c.code(), got, code, c.err.String(), least, test.error)
			}
			if status := readFile(t, filepath.Join(b.dir, "status")); !strings.Contains(status, `"oomKilled": false`) {
				t.Errorf("%s: %s", test.way, status)
			}
		}
		// Views of files cost nothing: two of 384 MiB.
		b.run("--memory", "256m", program, "file", "768", "384").want(0, "768 0\n")
		// Sections of 1, 2, ... and 128 MiB are there, that of 256 is not, though nobody touches them.
		if c := b.run("--memory", "256m", program, "untouched", "20"); c.code() != 3 || c.text() != "8 1455\n" {
			t.Errorf("untouched: exit code %d, output %q, standard error %q", c.code(), c.text(), c.err.String())
		}
	})
}

// commit gives what pe/commit.c prints: how many MiB it got, and the error.
func (c *call) commit() (mib uint64, code string) {
	c.box.t.Helper()
	number, code, _ := strings.Cut(strings.TrimSpace(c.text()), " ")
	mib, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		c.box.t.Fatalf("%s: exit code %d, %q, standard error %q", c, c.code(), c.text(), c.err.String())
	}
	return mib, code
}

// TestCommitShared has four processes share a limit, and lets one have what another had that was killed.
func TestCommitShared(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		program := m.build(t, "commit.exe", "commit")
		sum := func(c *call) (total uint64) {
			for line := range strings.Lines(c.text()) {
				number, _, _ := strings.Cut(line, " ")
				mib, err := strconv.ParseUint(number, 10, 64)
				if err != nil {
					t.Fatalf("%s: exit code %d, %q, standard error %q", c, c.code(), c.text(), c.err.String())
				}
				total += mib
			}
			return total
		}
		c := b.run("--memory", "512m", program, "four", "600")
		if got := sum(c); c.code() != 0 || got < 435 || got > 512 || strings.Count(c.text(), "\n") != 4 {
			t.Errorf("four: exit code %d, %q, standard error %q; want four numbers with a sum of 435 to 512", c.code(), c.text(), c.err.String())
		}
		c = b.run("--memory", "256m", program, "killed", "180")
		if c.code() != 0 || c.text() != "180 0\n180 0\n" {
			t.Errorf("killed: exit code %d, %q, standard error %q; want twice 180 MiB", c.code(), c.text(), c.err.String())
		}
	})
}

// TestCommitOptions sets limits of commit by themselves.
func TestCommitOptions(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	commit := b.program("commit")
	between := func(c *call, least, most uint64) {
		t.Helper()
		if got, code := c.commit(); c.code() != 3 || got < least || got > most || code != "1455" {
			t.Errorf("%s: exit code %d, %d MiB, error %s; want %d to %d", c, c.code(), got, code, least, most)
		}
	}
	between(b.run("--commit", "128m", commit, "fresh", "400"), 109, 128)
	between(b.run("--memory", "1g", "--commit-process", "128m", commit, "fresh", "400"), 109, 128)
	c := b.run("--memory", "64m", "--commit", "off", commit, "fresh", "400")
	if c.code() != 137 || !strings.Contains(c.err.String(), "out of memory") {
		t.Errorf("off: exit code %d, %s", c.code(), c.err.String())
	}
	// What is only reserved costs nothing.
	b.run("--memory", "64m", commit, "commit", "16").want(0, "16 0\n")
}

// TestCommitGo does it with a Go program, whose runtime has a heap of its own.
func TestCommitGo(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(b.dir, "commit.exe"), "pe/commit.go")
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := b.run("--memory", "256m", "commit.exe")
	lines := strings.Fields(c.text())
	last := 0
	if len(lines) > 0 {
		last, _ = strconv.Atoi(lines[len(lines)-1])
	}
	if c.code() != 2 || last < 200 || last > 256 || !strings.Contains(c.err.String(), "out of memory") {
		t.Errorf("exit code %d after %d MiB, standard error %.300q", c.code(), last, c.err.String())
	}
}
