package main

import (
	"strings"
	"testing"
	"time"
)

// lines of a trace, shortened; another launch runs at the same time.
const traced = `# tracer: nop
   winbox-10 [000] ..... 1.000000: sched_process_exec: filename=/w/winbox pid=10 old_pid=10
   winbox-90 [001] ..... 1.000100: sched_process_exec: filename=/w/winbox pid=90 old_pid=90
   winbox-10 [000] ..... 1.000500: sched_process_fork: comm=winbox pid=10 child_comm=winbox child_pid=11
   winbox-11 [000] ..... 1.001000: sched_process_fork: comm=winbox pid=11 child_comm=winbox child_pid=12
   20-12 [000] ..... 1.002000: sched_process_exec: filename=/proc/self/fd/20 pid=12 old_pid=12
   20-12 [000] ..... 1.002500: sched_process_fork: comm=20 pid=12 child_comm=20 child_pid=13
   wine64-preloade-13 [000] ..... 1.005000: sched_process_exec: filename=/usr/lib/wine/wine64-preloader pid=13 old_pid=13
   wine64-91 [001] ..... 1.005100: sys_brk(brk: 0)
   wine64-13 [000] ..... 1.006000: sys_brk(brk: 0)
   wine64-13 [000] ..... 1.007000: sched_process_fork: comm=wine64 pid=13 child_comm=wine64 child_pid=14
   wineserver-14 [000] ..... 1.008000: sched_process_exec: filename=/usr/lib/wine/wineserver64 pid=14 old_pid=14
   wineserver-14 [000] d..1. 1.008500: sched_process_fork: comm=wineserver64 pid=14 child_comm=wineserver64 child_pid=15
   wineserver-14 [000] ..... 1.010000: sched_process_exit: comm=wineserver64 pid=14 prio=120
   wine64-13 [000] ..... 1.011000: sched_process_fork: comm=wine64 pid=13 child_comm=wine64 child_pid=16
   wine64-preloade-16 [000] ..... 1.012000: sched_process_exec: filename=/usr/lib/wine/wine64-preloader pid=16 old_pid=16
   wine64-16 [000] ..... 1.013000: task_rename: pid=16 oldcomm=wine64 newcomm=wineboot.exe oom_score_adj=0
   wine64-13 [000] ..... 1.017000: task_rename: pid=13 oldcomm=wine64 newcomm=hello.exe oom_score_adj=0
   hello.exe-13 [000] ..... 1.025000: sched_process_exit: comm=hello.exe pid=13 prio=120
   20-12 [000] ..... 1.026000: sched_process_exit: comm=20 pid=12 prio=120
   wineserver-15 [000] ..... 1.026500: sched_process_exit: comm=wineserver64 pid=15 prio=120
   winbox-90 [000] ..... 1.027000: sched_process_exit: comm=winbox pid=90 prio=120
   winbox-10 [000] ..... 1.030000: sched_process_exit: comm=winbox pid=10 prio=120
`

func TestSplit(t *testing.T) {
	events, err := parseTrace(strings.NewReader(traced))
	if err != nil {
		t.Fatal(err)
	}
	took, err := split(events, "/w/winbox", "hello.exe")
	if err != nil {
		t.Fatal(err)
	}
	want := []int{2, 3, 1, 2, 2, 2, 5, 8, 1, 4}
	if len(took) != len(want) || len(phases) != len(want) {
		t.Fatalf("%d phases, want %d", len(took), len(want))
	}
	for i, d := range took {
		if d.Round(time.Millisecond) != time.Duration(want[i])*time.Millisecond {
			t.Errorf("%s: %v, want %d ms", phases[i], d, want[i])
		}
	}
	if _, err := split(events[:12], "/w/winbox", "hello.exe"); err == nil {
		t.Error("no error for half a trace")
	}
}
