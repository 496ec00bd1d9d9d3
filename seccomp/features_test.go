package seccomp

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestFeatures compiles a profile with each thing that is said to be known.
func TestFeatures(t *testing.T) {
	for _, name := range Actions() {
		profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/agent", Syscalls: []specs.LinuxSyscall{
			{Names: []string{"getpid"}, Action: specs.LinuxSeccompAction(name)},
		}}
		compiles(t, name, profile)
	}
	for _, name := range Operators() {
		profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"dup"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: specs.LinuxSeccompOperator(name)}}},
		}}
		compiles(t, name, profile)
	}
	for _, name := range Architectures() {
		compiles(t, name, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.Arch(name)}})
	}
	for _, name := range Flags() {
		compiles(t, name, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(name)}})
	}
	if len(Actions()) != 9 || len(Operators()) != 7 {
		t.Errorf("%d actions and %d operators, the specification has 9 and 7", len(Actions()), len(Operators()))
	}
	supported := SupportedFlags()
	// Linux 4.14 has it, and nothing winbox runs on is older.
	if !slices.Contains(supported, string(specs.LinuxSeccompFlagLog)) {
		t.Errorf("supported flags %v are without %s", supported, specs.LinuxSeccompFlagLog)
	}
}

func compiles(t *testing.T, name string, profile *specs.LinuxSeccomp) {
	t.Helper()
	if name == "" {
		t.Error("an empty name")
	}
	if _, err := Compile(profile); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}
