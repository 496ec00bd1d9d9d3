package sandbox

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMemoryPolicy reads the policy of a container's memory from where the
// kernel shows it (proc_pid_numa_maps(5)).
func TestMemoryPolicy(t *testing.T) {
	if _, err := os.Stat("/proc/self/numa_maps"); err != nil {
		t.Skip("the kernel has no NUMA memory policies")
	}
	b := sleeper(t)
	b.spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolInterleave, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
	c := b.begin()
	opt := b.execOptions(b.out, "/bin/sleep", "1000")
	pid, err := c.Exec(opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{c.PID(), pid} {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/numa_maps", pid))
		if err != nil || !strings.Contains(string(maps), " interleave=static:0 ") {
			t.Errorf("memory of process %d, error %v:\n%s", pid, err, maps)
		}
	}
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait(pid)
	for _, policy := range []specs.LinuxMemoryPolicy{
		{Mode: specs.MpolBind},                      // needs nodes
		{Mode: specs.MpolLocal, Nodes: "0"},         // must have none
		{Mode: specs.MpolInterleave, Nodes: "1023"}, // no such node
		{Mode: specs.MpolDefault, Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes, specs.MpolFRelativeNodes}}, // contradict each other
	} {
		b := newBundle(t, "/bin/true")
		b.spec.Linux.MemoryPolicy = &policy
		b.refused("set the memory policy " + string(policy.Mode))
	}
}

// TestExecCPUAffinity checks on which processors a process that is executed in
// a container may run, and that winbox itself goes back to where it was.
func TestExecCPUAffinity(t *testing.T) {
	var own unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		t.Fatal(err)
	}
	if !own.IsSet(0) || !own.IsSet(1) {
		t.Skip("needs processors 0 and 1")
	}
	b := sleeper(t)
	b.spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "1"}
	c := b.begin()
	allowed := func(change func(*ExecOptions)) string {
		t.Helper()
		out, _ := b.exec(c, "grep Cpus_allowed_list /proc/self/status | cut -f2", change)
		return strings.TrimSpace(out)
	}
	if got := allowed(func(*ExecOptions) {}); got != "1" {
		t.Errorf("by the container's configuration: %s", got)
	}
	if got := allowed(func(o *ExecOptions) { o.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "1", Final: "0"} }); got != "0" {
		t.Errorf("by its own: %s", got)
	}
	for want, affinity := range map[string]specs.CPUAffinity{
		"set the initial CPU affinity 1000": {Initial: "1000"},
		"set the final CPU affinity 8000":   {Final: "8000"},
		"process.execCPUAffinity.final":     {Final: "none"},
	} {
		opt := b.execOptions(b.out, "/bin/true")
		opt.Process.ExecCPUAffinity = &affinity
		if _, err := c.Exec(opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	var after, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &after); err != nil {
		t.Fatal(err)
	}
	if err := unix.SchedGetaffinity(c.PID(), &first); err != nil {
		t.Fatal(err)
	}
	if after != own || first.Count() < own.Count() {
		t.Errorf("winbox runs on %v, the container's first process on %v; before, winbox ran on %v", after, first, own)
	}
}
