package seccomp

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A name that is misspelt or listed twice would go unnoticed otherwise.
func TestDefaultNames(t *testing.T) {
	cfg := Default()
	if filter := mustCompile(t, cfg); len(filter.Skipped) > 0 {
		t.Errorf("unknown: %v", filter.Skipped)
	}
	seen := map[string]bool{}
	for _, rule := range cfg.Syscalls {
		for _, name := range rule.Names {
			if seen[name] && len(rule.Args) == 0 {
				t.Errorf("%s is decided twice", name)
			}
			seen[name] = true
		}
	}
}

// The caller may change what it gets.
func TestDefaultIsACopy(t *testing.T) {
	changed := Default()
	for i := range changed.Syscalls {
		for j := range changed.Syscalls[i].Names {
			changed.Syscalls[i].Names[j] = "changed"
		}
		for j := range changed.Syscalls[i].Args {
			changed.Syscalls[i].Args[j] = specs.LinuxSeccompArg{}
		}
	}
	changed.Architectures[1] = specs.ArchAARCH64
	TestDefaultNames(t)
	if Default().Architectures[1] != specs.ArchX86 {
		t.Error("the architectures are shared")
	}
}
