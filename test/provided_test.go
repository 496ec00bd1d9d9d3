package test

import (
	"fmt"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// provided is what pe/provided.c says on a runtime that was built, at a local time at noon, UTC, in January and July.
func provided(january, july int) string {
	return fmt.Sprintf("january %04d july %04d\n", january, july) + `authorities many, trusted all
Arial: Arial, has glyphs
Times New Roman: Times New Roman, has glyphs
Courier New: Courier New, has glyphs
Tahoma: Tahoma, has glyphs
MS Shell Dlg: MS Shell Dlg, has glyphs
`
}

// TestRuntimeProvides runs a program that wants to know of time zones, certificates and fonts, in containers without a
// network and so without anything of the host's.
func TestRuntimeProvides(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind, zone    string
		machine       machine
		january, july int
	}{
		{"i386", "America/New_York", machines[0], 700, 800},
		{"i386", "Europe/Berlin", machines[1], 1300, 1400},
		{"new", "Asia/Kathmandu", machines[1], 1745, 1745},
	} {
		t.Run(test.kind+"/"+test.machine.name, func(t *testing.T) {
			t.Parallel()
			b := newRuntimeBox(t, test.kind)
			program := test.machine.build(t, "provided.exe", "provided", "-lcrypt32", "-lgdi32")
			b.run("-e", "TZ="+test.zone, program).want(0, provided(test.january, test.july))
		})
	}
	t.Run("bundle", func(t *testing.T) {
		t.Parallel()
		b := newRuntimeBox(t, "new")
		program := machines[0].build(t, "provided.exe", "provided", "-lcrypt32", "-lgdi32")
		writeFile(t, b.dir, "provided.exe", []byte(readFile(t, program)))
		bundle := b.bundle(func(s *specs.Spec) {
			b.bare("provided.exe")(s)
			s.Annotations = map[string]string{"io.winbox.runtime": "new"}
			s.Process.Env = []string{"TZ=Europe/Berlin"}
		}, "/app/provided.exe")
		b.call("run", "--bundle", bundle, b.id("provides")).wait().want(0, provided(1300, 1400))
	})
}
