// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"winbox/preload"
)

// BenchmarkStart measures what the preloader adds to the start of a small
// program, from fork to exit: interleaved with direct starts and, where it is
// installed or WINE_PRELOADER names it, with Wine's own 64-bit preloader. The
// preloader carries out the built-in plan and, in "planned", that of package
// preload.
func BenchmarkStart(b *testing.B) {
	for _, m := range []*machine{&amd64, &i386} {
		b.Run(m.name, func(b *testing.B) { benchmarkStart(b, m) })
	}
}

type way struct {
	name string
	argv []string
}

func benchmarkStart(b *testing.B, m *machine) {
	program := build(b, "gcc", "nothing", "nothing.c", m.compile, "-pie", "-fPIE", "-rdynamic")
	plan, err := preload.PlanChildren(m.pe, preload.Options{SharedHeap: preload.NoSharedHeap})
	if err != nil {
		b.Fatal(err)
	}
	layout, err := plan.MarshalStub()
	if err != nil {
		b.Fatal(err)
	}
	preloader := preloaderFile(b, m)
	planned := plannedPreloader(b, m, preloader, layout)
	ways := []way{{"direct", []string{program}}, {"winbox", []string{preloader, program}}, {"planned", []string{planned, program}}}
	wine := os.Getenv("WINE_PRELOADER")
	if wine == "" {
		wine = wineDir + "/wine64-preloader"
	}
	if _, err := os.Stat(wine); err == nil && m.word == 8 {
		ways = append(ways, way{"wine", []string{wine, program}})
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
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

// plannedPreloader is a copy of the preloader that looks for its plan elsewhere, so that no mount namespace is needed,
// whose making would be measured as well. The path has the same length.
func plannedPreloader(b *testing.B, m *machine, preloader string, layout []byte) string {
	dir, err := os.MkdirTemp("/tmp", "wb")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	path := LayoutPath(m.name)
	other := filepath.Join(dir, "l")
	if len(other) > len(path) {
		b.Skipf("%s is longer than %s", other, path)
	}
	other = filepath.Join(dir, strings.Repeat("l", len(path)-len(dir)-1))
	content, err := os.ReadFile(preloader)
	if err != nil {
		b.Fatal(err)
	}
	content = bytes.ReplaceAll(content, []byte(path+"\x00"), []byte(other+"\x00"))
	planned := filepath.Join(dir, "p")
	if err := errors.Join(os.WriteFile(other, layout, 0o644), os.WriteFile(planned, content, 0o755)); err != nil {
		b.Fatal(err)
	}
	return planned
}
