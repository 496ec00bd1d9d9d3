package main

import (
	"encoding/json"
	"os/user"
	"strings"
	"testing"
	"time"

	"winbox/oci"
)

// TestList checks that a container is listed with what `state` says of it.
func TestList(t *testing.T) {
	b := newBox(t, "busybox sleep 1000", nil)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if s := b.stateOf(); s.Owner != me.Username {
		t.Errorf("owner %q, want %q", s.Owner, me.Username)
	}
	check := func() {
		t.Helper()
		want, err := json.Marshal([]oci.State{b.stateOf()})
		if err != nil {
			t.Fatal(err)
		}
		if got := b.succeed("list", "--format", "json"); got != string(want)+"\n" {
			t.Errorf("list\n%swant\n%s", got, want)
		}
	}
	check()
	if got := b.succeed("list", "-q"); got != b.id+"\n" {
		t.Errorf("list -q: %q", got)
	}
	table := strings.Split(b.succeed("list"), "\n")
	if len(table) != 3 || strings.Join(strings.Fields(table[0]), " ") != "ID PID STATUS BUNDLE CREATED OWNER" {
		t.Fatalf("table %q", table)
	}
	row := strings.Fields(table[1])
	if len(row) != 6 || row[0] != b.id || row[2] != "running" || row[5] != me.Username {
		t.Errorf("row %q", row)
	}
	if _, err := time.Parse(time.RFC3339Nano, row[4]); err != nil {
		t.Error(err)
	}
	b.stop()
	check()
	if s := b.stateOf(); s.PID != 0 || s.Status != oci.Stopped {
		t.Errorf("after its end: %+v", s)
	}
}
