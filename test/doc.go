// Package test holds the black-box tests: they run the winbox binary on real Windows programs, as root and with Wine.
//
// The binary is ../build/winbox, or what the environment variable WINBOX names. Windows programs come from corpus, which
// has real ones (install.sh fetches them), and from pe/*.c, one purpose each, compiled with mingw-w64.
//
// The tests run in a mount and a pid namespace of their own, with their own /run, /dev/shm and temporary folder: so
// whatever is there when a container is gone was left behind by it, no matter what else happens on the machine. Only
// control groups are shared; tests look for the ids of their own containers there. TestRow10Randomisation changes settings of
// the host's kernel while it runs, and puts them back; no other test runs meanwhile, and none should on the machine.
//
// Traps: a test that compares what is there before and after must not be parallel. Every wait has a deadline, and none
// asserts on speed.
package test
