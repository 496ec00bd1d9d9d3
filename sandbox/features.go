package sandbox

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go/features"

	"winbox/sandbox/program"
	"winbox/seccomp"
)

// Features tells what of a configuration's Linux part can be carried out, by
// winbox if not by this very host (runtime-spec, features-linux.md). The lists
// come from the code that does so.
func Features() *features.Linux {
	return &features.Linux{
		Namespaces:   program.NamespaceTypes(),
		Capabilities: program.Capabilities(),
		Cgroup:       &features.Cgroup{V1: new(true), V2: new(true), Systemd: new(true), SystemdUser: new(true), Rdma: new(true)},
		Seccomp: &features.Seccomp{
			Enabled: new(true), Actions: seccomp.Actions(), Operators: seccomp.Operators(), Archs: seccomp.Architectures(),
			KnownFlags: seccomp.Flags(), SupportedFlags: seccomp.SupportedFlags(),
		},
		Apparmor:        &features.Apparmor{Enabled: new(true)},
		Selinux:         &features.Selinux{Enabled: new(true)},
		IntelRdt:        &features.IntelRdt{Enabled: new(true), Schemata: new(true), Monitoring: new(true)},
		MemoryPolicy:    &features.MemoryPolicy{Modes: program.MemoryPolicyModes(), Flags: program.MemoryPolicyFlags()},
		NetDevices:      &features.NetDevices{Enabled: new(true)},
		MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: new(slices.Contains(program.MountOptions(), "idmap"))}},
	}
}
