// Package engineprofile reads seccomp profiles as docker and podman write them.
// They leave open which capabilities and architecture a container will have;
// engines resolve that before a runtime sees the profile. It is for tests and
// benchmarks.
package engineprofile

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Load reads the profile at path and resolves its conditions as an engine does:
// on x86-64, on a new kernel, for a container with these capabilities.
func Load(path string, capabilities ...string) (*specs.LinuxSeccomp, error) {
	type selector struct {
		Arches    []string `json:"arches"`
		Caps      []string `json:"caps"`
		MinKernel string   `json:"minKernel"` // all satisfied
	}
	var profile struct {
		specs.LinuxSeccomp
		ArchMap []struct {
			Architecture     specs.Arch   `json:"architecture"`
			SubArchitectures []specs.Arch `json:"subArchitectures"`
		} `json:"archMap"`
		Syscalls []struct {
			specs.LinuxSyscall
			Includes, Excludes selector
		} `json:"syscalls"`
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &profile); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	cfg := &profile.LinuxSeccomp
	for _, entry := range profile.ArchMap {
		if entry.Architecture == specs.ArchX86_64 {
			cfg.Architectures = append([]specs.Arch{entry.Architecture}, entry.SubArchitectures...)
		}
	}
	has := func(capability string) bool { return slices.Contains(capabilities, capability) }
	hasNot := func(capability string) bool { return !has(capability) }
	for _, rule := range profile.Syscalls {
		switch {
		case len(rule.Includes.Arches) > 0 && !slices.Contains(rule.Includes.Arches, "amd64"):
		case slices.Contains(rule.Excludes.Arches, "amd64"):
		case slices.ContainsFunc(rule.Includes.Caps, hasNot):
		case slices.ContainsFunc(rule.Excludes.Caps, has):
		default:
			cfg.Syscalls = append(cfg.Syscalls, rule.LinuxSyscall)
		}
	}
	return cfg, nil
}
