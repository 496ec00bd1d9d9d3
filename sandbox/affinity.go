package sandbox

import (
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/sandbox/program"
)

// initialAffinity moves this process to the processors of
// execCPUAffinity.initial until restore is called: what it starts meanwhile
// begins there, and its way into the container's control group starts from there.
func initialAffinity(affinity *specs.CPUAffinity) (restore func(), err error) {
	restore = func() {}
	if affinity == nil || affinity.Initial == "" {
		return restore, nil
	}
	cpus, err := program.ParseCPUs(affinity.Initial)
	if err != nil {
		return restore, fmt.Errorf("process.execCPUAffinity.initial: %w", err)
	}
	var before, set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if err := unix.SchedGetaffinity(os.Getpid(), &before); err != nil {
		return restore, fmt.Errorf("read the CPU affinity: %w", err)
	}
	if err := setAffinity(&set); err != nil {
		return restore, fmt.Errorf("set the initial CPU affinity %s: %w", affinity.Initial, err)
	}
	return func() { setAffinity(&before) }, nil
}

// setAffinity sets that of all threads of this process: the kernel keeps one
// for each, and nobody knows which of them will fork.
func setAffinity(set *unix.CPUSet) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, entry := range threads {
		tid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// A thread may have ended meanwhile.
		if err := unix.SchedSetaffinity(tid, set); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}
