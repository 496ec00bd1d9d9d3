package cgroup

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseList(t *testing.T) {
	tests := []struct {
		text string
		want []uint16
	}{
		{"", nil},
		{"0", []uint16{0}},
		{"0-3,6", []uint16{0, 1, 2, 3, 6}},
		{"65535", []uint16{65535}},
	}
	for _, test := range tests {
		if got, err := parseList(test.text); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q: %v, error %v; want %v", test.text, got, err, test.want)
		}
	}
	for _, bad := range []string{"a", "1-", "70000"} {
		if _, err := parseList(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseBlockIO(t *testing.T) {
	got, err := parseBlkioV1("8:0 Read 4096\n8:0 Total 4096\n253:1 Write 7\nTotal 4103\n")
	want := []BlockIOCount{{8, 0, "Read", 4096}, {8, 0, "Total", 4096}, {253, 1, "Write", 7}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("v1: %v, error %v; want %v", got, err, want)
	}
	bytes, operations, err := parseIOStat("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=9\n7:0\n")
	wantBytes := []BlockIOCount{{8, 0, "Read", 1}, {8, 0, "Write", 2}, {8, 0, "Discard", 5}}
	wantOperations := []BlockIOCount{{8, 0, "Read", 3}, {8, 0, "Write", 4}, {8, 0, "Discard", 6}}
	if err != nil || !reflect.DeepEqual(bytes, wantBytes) || !reflect.DeepEqual(operations, wantOperations) {
		t.Errorf("v2: %v and %v, error %v", bytes, operations, err)
	}
}

// TestDetails reads the counters of a group and compares them with its limits.
func TestDetails(t *testing.T) {
	g := create(t, &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0", Mems: "0"}, Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}})
	for name, view := range views(g) {
		d, err := view.Details()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d.Memory.Limit != 64<<20 || !slices.Equal(d.CPUs, []uint16{0}) || !slices.Equal(d.Mems, []uint16{0}) {
			t.Errorf("%s: memory limit %d, cpus %v, mems %v", name, d.Memory.Limit, d.CPUs, d.Mems)
		}
		if len(d.MemoryStat) == 0 {
			t.Errorf("%s: no memory.stat", name)
		}
		if g.mode == V2 {
			continue
		}
		online, _ := os.ReadFile("/proc/stat")
		if n := strings.Count(string(online), "\ncpu"); len(d.PerCPU) < n || len(d.PerCPUUser) != len(d.PerCPU) || len(d.PerCPUKernel) != len(d.PerCPU) {
			t.Errorf("%s: %d processors, per CPU %v, user %v, kernel %v", name, n, d.PerCPU, d.PerCPUUser, d.PerCPUKernel)
		}
		for _, setting := range cpusetSettings {
			if _, ok := d.CPUSet[setting]; !ok {
				t.Errorf("%s: cpuset.%s is missing: %s", name, setting, fmt.Sprint(d.CPUSet))
			}
		}
	}
}
