// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// BenchmarkStart measures what the preloader adds to the start of a small
// program, from fork to exit: interleaved with direct starts and, where it is
// installed or WINE_PRELOADER names it, with Wine's own preloader.
func BenchmarkStart(b *testing.B) {
	program := build(b, "gcc", "nothing", "nothing.c", "-pie", "-fPIE", "-rdynamic")
	ways := []struct {
		name string
		argv []string
	}{{"direct", []string{program}}, {"winbox", []string{preloaderFile(b), program}}}
	wine := os.Getenv("WINE_PRELOADER")
	if wine == "" {
		wine = wineDir + "/wine64-preloader"
	}
	if _, err := os.Stat(wine); err == nil {
		ways = append(ways, struct {
			name string
			argv []string
		}{"wine", []string{wine, program}})
	} else if !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	times := make([][]time.Duration, len(ways))
	for b.Loop() {
		for i, way := range ways {
			cmd := exec.Command(way.argv[0], way.argv[1:]...)
			start := time.Now()
			if err := cmd.Run(); err != nil {
				b.Fatalf("%s: %v", way.name, err)
			}
			times[i] = append(times[i], time.Since(start))
		}
	}
	for i, way := range ways {
		slices.Sort(times[i])
		b.ReportMetric(float64(times[i][0].Microseconds()), way.name+"-min-µs")
		b.ReportMetric(float64(times[i][len(times[i])/2].Microseconds()), way.name+"-median-µs")
	}
}
