// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestProbe tries the preloaders out, and that a process without the address space for it is told so.
func TestProbe(t *testing.T) {
	if os.Getenv("WINBOX_PROBE") != "" {
		if err := Probe("amd64"); err != nil {
			os.Stdout.WriteString(err.Error())
			os.Exit(3)
		}
		os.Exit(0)
	}
	for _, machine := range []string{"amd64", "386"} {
		if err := Probe(machine); err != nil {
			t.Errorf("%s: %v", machine, err)
		}
	}
	if err := Probe("arm64"); !errors.As(err, new(*MachineError)) {
		t.Errorf("arm64: %v", err)
	}
	for _, err := range []error{Personality(), ExecMemory()} {
		if err != nil {
			t.Error(err)
		}
	}
	personality, _, _ := syscall.RawSyscall(syscall.SYS_PERSONALITY, personalityQuery, 0, 0)
	if personality&addrNoRandomize != 0 {
		t.Error("randomisation is still off")
	}
	small := exec.Command("/bin/sh", "-c", `ulimit -v 1500000; exec "$0" -test.run '^TestProbe$'`, "/proc/self/exe")
	small.Args[3], _ = os.Executable()
	small.Env = append(os.Environ(), "WINBOX_PROBE=1")
	out, err := small.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(string(out), "cannot be reserved") {
		t.Errorf("with little address space: %v: %s", err, out)
	}
}
