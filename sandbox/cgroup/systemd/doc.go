// Package systemd talks to a service manager, systemd, over D-Bus: it has it make
// transient scopes, change and stop them (org.freedesktop.systemd1(5)), and
// knows how scopes and slices are named.
//
// It is not for choosing what a scope limits: that is package cgroup's. Nor does
// it touch a control group itself.
//
// Traps:
//   - A scope is made around a process that runs already, and ends with its last.
//   - systemd writes into the control group whenever it likes, at a daemon-reload
//     say. What it is not told of as a property may be overwritten then.
//   - Package systemdtest stands in for systemd in tests.
package systemd
