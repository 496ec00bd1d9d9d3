package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"winbox/sandbox"
	"winbox/sandbox/cgroup"
	"winbox/sandbox/resctrl"
)

// TestLimitFlags checks where in linux.resources each flag goes.
func TestLimitFlags(t *testing.T) {
	tests := []struct{ flag, value, want string }{
		{"blkio-weight", "500", `{"blockIO":{"weight":500}}`},
		{"cpu-period", "100000", `{"cpu":{"period":100000}}`},
		{"cpu-quota", "-1", `{"cpu":{"quota":-1}}`},
		{"cpu-burst", "10", `{"cpu":{"burst":10}}`},
		{"cpu-share", "512", `{"cpu":{"shares":512}}`},
		{"cpu-rt-period", "9", `{"cpu":{"realtimePeriod":9}}`},
		{"cpu-rt-runtime", "8", `{"cpu":{"realtimeRuntime":8}}`},
		{"cpu-idle", "1", `{"cpu":{"idle":1}}`},
		{"cpuset-cpus", "0-1", `{"cpu":{"cpus":"0-1"}}`},
		{"cpuset-mems", "0", `{"cpu":{"mems":"0"}}`},
		{"memory", "64m", `{"memory":{"limit":67108864}}`},
		{"memory", "-1", `{"memory":{"limit":-1}}`},
		{"memory-reservation", "1000", `{"memory":{"reservation":1000}}`},
		{"memory-swap", "1g", `{"memory":{"swap":1073741824}}`},
		{"memory-swap", "1Gi", `{"memory":{"swap":1073741824}}`},
		{"memory", "-5m", ""},
		{"memory", "99999999999999g", ""},
		{"memory-swappiness", "0", `{"memory":{"swappiness":0}}`},
		{"pids-limit", "0", `{"pids":{"limit":0}}`},
		{"blkio-weight", "99999", ""},
		{"cpu-share", "-1", ""},
		{"cpu-quota", "1ms", ""},
		{"memory", "much", ""},
		{"pids-limit", "", ""},
	}
	flags := map[string]limitFlag{}
	untested := map[string]bool{}
	for _, f := range limitFlags {
		flags[f.name], untested[f.name] = f, true
	}
	for _, test := range tests {
		delete(untested, test.flag)
		got, want := noLimits(), noLimits()
		err := flags[test.flag].set(got, test.value)
		if test.want == "" {
			if err == nil {
				t.Errorf("--%s %q: no error", test.flag, test.value)
			}
			continue
		}
		if err := json.Unmarshal([]byte(test.want), want); err != nil {
			t.Fatal(err)
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("--%s %s: error %v, or not %s", test.flag, test.value, err, test.want)
		}
	}
	for name := range untested {
		t.Errorf("--%s is not tested", name)
	}
}

// TestUpdate changes limits in both ways and reads them back from the control group.
func TestUpdate(t *testing.T) {
	b := newBox(t, "busybox sleep 1000", nil)
	limits := func() cgroup.Stats {
		t.Helper()
		ct, err := sandbox.Load(b.root, b.id)
		if err != nil {
			t.Fatal(err)
		}
		stats, err := ct.Group().Stats()
		if err != nil {
			t.Fatal(err)
		}
		return *stats
	}
	expect := func(memory, pids uint64) {
		t.Helper()
		if s := limits(); s.Memory.Limit != memory || s.Pids.Limit != pids {
			t.Errorf("limits of memory %d and tasks %d, want %d and %d", s.Memory.Limit, s.Pids.Limit, memory, pids)
		}
	}
	b.succeed("update", "--memory", "64m", "--memory-swap=64m", "--pids-limit", "20", "--cpu-share", "512", "--cpuset-cpus", "0", b.id)
	expect(64<<20, 20)
	// Devices are left alone: this rule would take the container's /dev/null.
	resources := `{"memory":{"limit":33554432},"pids":{"limit":7},"devices":[{"allow":false,"access":"rwm"}]}`
	if code, _, stderr := winbox(resources, "--root", b.root, "update", "--resources", "-", b.id); code != 0 {
		t.Errorf("update from standard input: %s", stderr)
	}
	expect(32<<20, 7)
	b.succeed("exec", b.id, "busybox", "sh", "-c", "echo >/dev/null")
	file := filepath.Join(t.TempDir(), "resources.json")
	if err := os.WriteFile(file, []byte(`{"memory":{"limit":-1}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	b.succeed("update", "--resources="+file, b.id)
	expect(cgroup.Unlimited, 7)
	if code, _, stderr := winbox("{}", "--root", b.root, "update", "-r", "-", b.id); code != 0 {
		t.Errorf("update with nothing: %s", stderr)
	}
	expect(cgroup.Unlimited, 7)

	b.fail("update: no limit is given (see --help)", "update", b.id)
	b.fail("--memory: it cannot be combined with --resources; put it there", "update", "--resources", file, "--memory", "1g", b.id)
	b.fail(`--memory: "x" is not a number that fits`, "update", "--memory", "x", b.id)
	if _, err := resctrl.Mounted(); err != nil {
		b.fail("linux.intelRdt: "+err.Error(), "update", "--l3-cache-schema", "L3:0=f", b.id)
	}
	for text, want := range map[string]string{
		`{"memory":{"limit":"x"}}`: "winbox: --resources -: memory.limit: ",
		`{`:                        "winbox: --resources -: not valid JSON: ",
	} {
		if code, _, stderr := winbox(text, "--root", b.root, "update", "--resources", "-", b.id); code != 1 || !strings.HasPrefix(stderr, want) {
			t.Errorf("update with %s: exit code %d, error %q, want %q", text, code, stderr, want)
		}
	}
	// What the kernel refuses names the field.
	if code, _, stderr := b.run("update", "--cpuset-cpus", "9999", b.id); code != 1 || !strings.Contains(stderr, "linux.resources.cpu.cpus: ") {
		t.Errorf("a processor that is not there: exit code %d, error %q", code, stderr)
	}
	b.stop()
	b.fail("container not running", "update", "--memory", "1g", b.id)
}
