// Command lifecycle takes a container through its life under winbox, runc and
// crun, each with the same bundle and in turns, and prints how long each verb
// takes, and how much memory is held.
//
// Two more rows bound what can be had. "kernel floor" is a static C program
// (floor/floor.c) that makes the system calls of a verb and nothing else;
// "nothing in Go" is an empty main function (nothing), which every verb of a
// runtime in Go takes on top.
//
// It needs root, a static busybox, and the peers that are to be compared; it
// is meant to run in a mount namespace of its own (see the Makefile).
package main
