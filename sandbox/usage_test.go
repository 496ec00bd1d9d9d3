package sandbox

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseNetDev(t *testing.T) {
	const head = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
	u, err := parseNetDev(head + "    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n  eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n")
	if err != nil || *u != (NetworkUsage{101, 22}) {
		t.Errorf("%+v, %v", u, err)
	}
	for _, bad := range []string{"eth0: 1 2\n", "eth0: a 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n", "eth0: 1 1 0 0 0 0 0 0 -20 1 0 0 0 0 0 0\n"} {
		if u, err := parseNetDev(head + bad); err == nil {
			t.Errorf("%q: %+v", bad, u)
		}
	}
}

func TestParseOOMKill(t *testing.T) {
	const line = "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/w/a,task_memcg=/w/a/b,task=odd, name,pid=1,pid=77,uid=0\n SUBSYSTEM=x\n"
	if kill, group, ok := parseOOMKill(line); !ok || kill != (OOMKill{"odd, name,pid=1", 77}) || group != "/w/a/b" {
		t.Errorf("%+v, %q, %v", kill, group, ok)
	}
	for _, bad := range []string{"", ";", "6,1,2,-;oom-kill:", "6,1,2,-;oom-kill:x,task_memcg=/a,task=b", "6,1,2,-;oom-kill:x,task_memcg=/a,task=b,pid=c", "6,1,2,-;other: oom-kill:x,task_memcg=/a,task=b,pid=1"} {
		if kill, _, ok := parseOOMKill(bad); ok {
			t.Errorf("%q: %+v", bad, kill)
		}
	}
}

// TestWindowsUsage counts processes and threads, and memory that is private: the shell takes it after its last fork, as
// what a fork still shares, and gives up between two readings, would count for neither.
func TestWindowsUsage(t *testing.T) {
	b := supervised(t, "sleep 1000 & x=$(head -c 9500000 /dev/zero | tr '\\0' x); echo ready; wait")
	b.spec.Linux.Resources = &specs.LinuxResources{}
	c := b.begin()
	b.awaitOutput("ready")
	u, err := c.WindowsUsage()
	if err != nil || u.Processes < 2 || u.Threads < u.Processes || u.Private == 0 || u.Private+u.Shared < 9<<20 || u.Private+u.Shared > 200<<20 {
		t.Errorf("%+v, %v", u, err)
	}
	if n, err := c.NetworkUsage(); err != nil {
		t.Errorf("%+v, %v", n, err)
	}
}
