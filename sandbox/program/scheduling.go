package program

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// schedulerPolicies are those of sched(7).
var schedulerPolicies = map[specs.LinuxSchedulerPolicy]uint32{
	specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR, specs.SchedBatch: unix.SCHED_BATCH,
	specs.SchedIdle: unix.SCHED_IDLE, specs.SchedDeadline: unix.SCHED_DEADLINE,
}

// schedulerFlags are those of sched_setattr(2).
var schedulerFlags = map[specs.LinuxSchedulerFlag]uint64{
	specs.SchedFlagResetOnFork: unix.SCHED_FLAG_RESET_ON_FORK, specs.SchedFlagReclaim: unix.SCHED_FLAG_RECLAIM,
	specs.SchedFlagDLOverrun: unix.SCHED_FLAG_DL_OVERRUN, specs.SchedFlagKeepPolicy: unix.SCHED_FLAG_KEEP_POLICY,
	specs.SchedFlagKeepParams: unix.SCHED_FLAG_KEEP_PARAMS, specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
	specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
}

// ioClasses are those of ioprio_set(2).
var ioClasses = map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}

// scheduling sets how the process competes for processors and disks.
func (c *compiler) scheduling() error {
	if s := c.spec.Process.Scheduler; s != nil {
		policy, ok := schedulerPolicies[s.Policy]
		if !ok {
			return fmt.Errorf("process.scheduler.policy: %q is not supported", s.Policy)
		}
		var flags uint64
		for i, name := range s.Flags {
			flag, ok := schedulerFlags[name]
			if !ok {
				return fmt.Errorf("process.scheduler.flags[%d]: %q is not supported", i, name)
			}
			flags |= flag
		}
		const size = 48 // sizeof(struct sched_attr), first version
		rec := c.record(fmt.Sprintf("{policy=%s, flags=%#x, nice=%d, priority=%d, runtime=%d, deadline=%d, period=%d}", s.Policy, flags, s.Nice, s.Priority, s.Runtime, s.Deadline, s.Period),
			uint32(size), policy, flags, s.Nice, uint32(s.Priority), s.Runtime, s.Deadline, s.Period)
		c.call("sched_setattr", "set the scheduling policy "+string(s.Policy), 0, rec, 0)
	}
	if p := c.spec.Process.IOPriority; p != nil {
		class, ok := ioClasses[p.Class]
		if !ok {
			return fmt.Errorf("process.ioPriority.class: %q is not supported", p.Class)
		}
		if p.Priority < 0 || p.Priority > 7 {
			return fmt.Errorf("process.ioPriority.priority: %d is not between 0 and 7", p.Priority)
		}
		const whoProcess, classShift = 1, 13 // linux/ioprio.h
		c.call("ioprio_set", fmt.Sprintf("set the I/O priority %s %d", p.Class, p.Priority), named(whoProcess, "IOPRIO_WHO_PROCESS"), 0,
			named(uint64(class<<classShift|p.Priority), fmt.Sprintf("%s<<13|%d", p.Class, p.Priority)))
	}
	return nil
}
