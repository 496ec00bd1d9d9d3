package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
	"winbox/sandbox/cgroup"
)

// TestEventJSON checks the names of all fields, which are runc's.
func TestEventJSON(t *testing.T) {
	d := &cgroup.Details{
		Stats: cgroup.Stats{
			Memory: cgroup.MemoryStats{Usage: 1, Peak: 2, Limit: 3, Failures: 4},
			Swap:   cgroup.MemoryStats{Usage: 5, Peak: 6, Limit: cgroup.Unlimited, Failures: 7},
			Pids:   cgroup.PidsStats{Current: 8, Limit: 9},
			CPU:    cgroup.CPUStats{Usage: 10, User: 11, Kernel: 12, Periods: 13, ThrottledPeriods: 14, ThrottledTime: 15},
		},
		PerCPU: []uint64{16}, PerCPUUser: []uint64{17}, PerCPUKernel: []uint64{18},
		MemoryStat: map[string]uint64{"cache": 19}, PageCache: 19,
		Kernel: cgroup.MemoryStats{Limit: 20}, KernelTCP: cgroup.MemoryStats{Limit: 21},
		CPUs: []uint16{0, 1}, Mems: []uint16{0}, CPUSet: map[string]int64{"sched_relax_domain_level": -1},
		ServiceBytes: []cgroup.BlockIOCount{{Major: 8, Minor: 1, Op: "Read", Value: 22}},
		Serviced:     []cgroup.BlockIOCount{{Major: 8, Op: "Write", Value: 23}},
		HugePages:    map[string]cgroup.MemoryStats{"2MB": {Usage: 24, Peak: 25, Failures: 26}},
	}
	got, err := json.MarshalIndent(event{Type: "stats", ID: "a", Data: newEventStats(d)}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "event.json", append(got, '\n'))
	d.Pids.Limit = cgroup.Unlimited
	if limit := newEventStats(d).Pids.Limit; limit != 0 {
		t.Errorf("no limit of tasks is %d, want 0", limit)
	}
}

// TestEvents reads the statistics of a container.
func TestEvents(t *testing.T) {
	b := newBox(t, "busybox sleep 1000", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}})
	b.fail("duration interval must be greater than 0", "events", "--interval", "0s", b.id)
	data := &eventStats{}
	e := event{Data: data}
	text := b.succeed("events", "--stats", b.id)
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	if strings.Count(text, "\n") != 1 || e.Type != "stats" || e.ID != b.id || data.Memory.Usage.Limit != 64<<20 || data.Pids.Current == 0 {
		t.Errorf("event %s", text)
	}
	b.stop()
	b.fail("container with id "+b.id+" is not running", "events", "--stats", b.id)
	b.fail("container with id "+b.id+" is not running", "events", b.id)
}

// TestEventsOOM follows a container until it ends. A child of its program dies
// for want of memory, and on cgroup v2 all of it.
func TestEventsOOM(t *testing.T) {
	b := newBox(t, "while [ ! -e /go ]; do busybox sleep 0.01; done; busybox tail /dev/zero; exit 0", &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(16 << 20)), Swap: new(int64(16 << 20))},
	})
	r, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run([]string{"winbox", "--root", b.root, "events", "--interval", "50ms", b.id}, strings.NewReader(""), w, io.Discard)
		w.Close()
	}()
	kinds := map[string]int{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if kinds[e.Type]++; kinds[e.Type] == 1 && e.Type == "stats" {
			b.succeed("exec", b.id, "busybox", "sh", "-c", ": >/go")
		}
	}
	// Of the two processes that die on v2, the kernel counts one after the other.
	if code := <-done; code != 0 || kinds["stats"] == 0 || kinds["oom"] < 1 || kinds["oom"] > 2 {
		t.Errorf("exit code %d, events %v, want at least one with statistics and one or two ooms", code, kinds)
	}
}

// TestRunOOM has run say that the kernel has killed for want of memory, and what the limit was.
func TestRunOOM(t *testing.T) {
	if _, err := cgroup.DetectMode(); err != nil {
		t.Skip(err)
	}
	c, bundle := busyboxBundle(t, "tail", "/dev/zero")
	loaded, err := oci.Load(bundle)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(16 << 20)), Swap: new(int64(16 << 20))}}
	data, err := json.Marshal(loaded.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	id := testID()
	want := "winbox: out of memory: limit 16 MiB, container " + id + ": raise linux.resources.memory.limit\n"
	if code, out, stderr := c.run("run", "--bundle", bundle, id); code != 137 || out != "" || stderr != want {
		t.Errorf("exit code %d, output %q, error %q; want 137 and %q", code, out, stderr, want)
	}
}
