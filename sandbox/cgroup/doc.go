// Package cgroup gives a container its control group: one face over cgroup v1,
// v1 with a cgroup2 mount beside it (hybrid), and cgroup v2. Limits, statistics
// and device filters of v2 go through github.com/containerd/cgroups/v3; what that
// library does not do, or does wrongly, is done here and the reason stands beside it.
//
// A group may also be a scope that systemd keeps (package systemd): then systemd
// makes it and knows its limits, and what systemd has no property for is
// written here, as is everything else.
//
// It is not for choosing limits, or for moving anything that is not the
// container's. It touches only the groups that Create or Adopt made or that Load
// was told of, and on v2 the cgroup.subtree_control files on the way to them.
//
// Traps:
//   - Start, not Add, is the fast way in: Add by process id makes the kernel wait
//     for an RCU grace period (5 to 18 ms on an idle machine).
//   - A limit that cannot be enforced is an error (LimitError), never dropped. A
//     field that is absent or, for most fields, zero is not a limit.
//   - Update is not a transaction: what was written before an error stays.
//   - Parents that Create had to make stay after Delete, as they do with runc.
package cgroup
