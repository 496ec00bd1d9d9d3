// Command lifecycle takes a container through its life under winbox, runc and
// crun, each with the same bundle and in turns, and prints how long each verb
// takes, and how much memory is held.
//
// It needs root, a static busybox, and the peers that are to be compared; it
// is meant to run in a mount namespace of its own (see the Makefile).
package main
