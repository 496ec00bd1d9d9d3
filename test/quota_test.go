package test

import (
	"bufio"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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

// TestToldMemory compares what programs are told of memory with the limit and the control group.
func TestToldMemory(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		program := m.build(t, "quota.exe", "quota", "-lpsapi")
		for _, limit := range []string{"64m", "256m", "1g", "4g"} {
			want := map[string]uint64{"64m": 64 << 20, "256m": 256 << 20, "1g": 1 << 30, "4g": 4 << 30}[limit]
			c := b.launch("--memory", limit, program)
			stdin := c.follow()
			facts := c.quotaFacts()
			id, _ := b.container()
			facts.want(t, want, "total", "basic.total", "info.total", "limit", "performance.limit", "info.limit")
			facts.near(t, want-usedMemory(t, id), "available", "performance.available", "info.available")
			stdin.Close()
			c.wait()
		}
	})
}

// TestToldUpdate changes the limits of a running program.
func TestToldUpdate(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c := b.launch("--memory", "128m", b.program("quota"))
	stdin := c.follow()
	c.quotaFacts().want(t, 128<<20, "total", "limit")
	id, _ := b.container()
	b.call("update", "--memory", "300m", "--memory-swap", "300m", id).wait().want(0, "")
	if _, err := stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	facts := c.quotaFacts()
	facts.want(t, 300<<20, "basic.total", "info.total")
	facts.near(t, 300<<20-usedMemory(t, id), "performance.available")
	stdin.Close()
	c.wait()
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
