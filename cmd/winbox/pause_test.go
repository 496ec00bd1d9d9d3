package main

import (
	"testing"

	"winbox/oci"
)

func TestPause(t *testing.T) {
	b := newBox(t, "busybox sleep 1000", nil)
	is := func(want oci.Status) {
		t.Helper()
		if got := b.stateOf().Status; got != want {
			t.Errorf("status %s, want %s", got, want)
		}
	}
	b.fail("container not paused", "resume", b.id)
	b.succeed("pause", b.id)
	is(oci.Paused)
	b.fail("container paused", "pause", b.id)
	b.fail("cannot delete container "+b.id+" that is not stopped: paused", "delete", b.id)
	b.succeed("resume", b.id)
	is(oci.Running)
	b.stop()
	b.fail("container not running", "pause", b.id)
	b.fail("container not paused", "resume", b.id)
}
