package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/oci"
)

// TestStats shows a container that works, one that does not exist and one that has stopped.
func TestStats(t *testing.T) {
	b := newBox(t, "while :; do :; done", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}})
	b.fail("container does not exist", "stats", "--no-stream", "none")
	b.fail("--interval: 0s is not above zero", "stats", "--interval", "0s")
	b.fail(`invalid format option: --format "xml" is neither table nor json`, "stats", "--format", "xml")
	var row statsRow
	text := b.succeed("stats", "--no-stream", "--interval", "100ms", "--format", "json", b.id)
	if err := json.Unmarshal([]byte(text), &row); err != nil {
		t.Fatal(err)
	}
	if row.ID != b.id || row.Status != oci.Running || row.CPUPercent == nil || *row.CPUPercent <= 0 || *row.CPUPercent > 250 || row.Memory == nil || row.Memory.Usage == 0 || row.Memory.Usage > row.Memory.Limit ||
		row.Memory.Limit != 64<<20 || row.PIDs == nil || *row.PIDs != 1 {
		t.Errorf("%s", text)
	}
	for _, args := range [][]string{{b.id}, {}} {
		text = b.succeed(append([]string{"stats", "--no-stream", "--interval", "10ms"}, args...)...)
		lines := strings.Split(text, "\n")
		if !strings.HasPrefix(lines[0], "ID ") || !strings.HasPrefix(lines[1], b.id+" ") || !strings.Contains(lines[1], " / 64MiB ") || !strings.Contains(lines[1], "% ") {
			t.Errorf("%v: %q", args, text)
		}
	}
	b.stop()
	if text = b.succeed("stats", "--interval", "10ms", b.id); text != "" { // ends by itself
		t.Errorf("of a stopped container: %q", text)
	}
	if text = b.succeed("stats", "--no-stream", "--interval", "10ms", "--all", b.id); !strings.Contains(text, b.id+"   stopped   --") {
		t.Errorf("of a stopped container, with --all: %q", text)
	}
}

// TestStatsTable prints what is known and what is not.
func TestStatsTable(t *testing.T) {
	var out bytes.Buffer
	s := &statsTable{out: &out, interval: time.Second}
	err := s.print([]statsRow{
		{ID: "a", Status: oci.Running, CPUPercent: new(12.345), Memory: &statsMemory{Usage: 1536 << 10, Limit: 3 << 20, Percent: 50},
			Commit: &commit{Charge: 12 << 20, Limit: 64 << 20}, Network: &statsNetwork{1000, 2_500_000}, BlockIO: &statsBlockIO{0, 999}, PIDs: new(uint64(7))},
		{ID: "long-name", Status: oci.Stopped},
	})
	want := `ID          STATUS    CPU %    MEM USAGE / LIMIT   MEM %    COMMIT / LIMIT   NET I/O       BLOCK I/O   PIDS
a           running   12.35%   1.5MiB / 3MiB       50.00%   12MiB / 64MiB    1kB / 2.5MB   0B / 999B   7
long-name   stopped   --       --                  --       --               --            --          --
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%swant\n%s", err, out.String(), want)
	}
}
