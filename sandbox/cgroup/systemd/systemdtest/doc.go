// Package systemdtest stands in for systemd in tests: it speaks D-Bus on a socket
// of its own, as bus and as service manager in one, and does with control groups
// what systemd would do for a scope.
//
// It knows only what package systemd asks of it, and enforces no property.
package systemdtest
