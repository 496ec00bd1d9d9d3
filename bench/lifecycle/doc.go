// Command lifecycle runs /bin/true in a container under winbox, runc and crun,
// each with the same bundle, and prints how long `run` takes.
//
// It needs root, a static busybox, and the peers that are to be compared; it
// is meant to run in a mount namespace of its own (see the Makefile).
package main
