package sandbox

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"winbox/sandbox/program"
	"winbox/seccomp"
)

// Features tells what of a configuration's Linux part can be carried out
// (runtime-spec, features-linux.md). All of it comes from the code that does so.
//
// memoryPolicy is absent as long as no policy is known: its lists, when empty,
// would not be written.
func Features() *features.Linux {
	accepts := func(change func(*specs.Spec)) *bool { return new(program.Accepts(change)) }
	return &features.Linux{
		Namespaces:   program.NamespaceTypes(),
		Capabilities: program.Capabilities(),
		Cgroup:       &features.Cgroup{V1: new(true), V2: new(true), Systemd: new(true), SystemdUser: new(true), Rdma: new(true)},
		Seccomp: &features.Seccomp{
			Enabled: new(true), Actions: seccomp.Actions(), Operators: seccomp.Operators(), Archs: seccomp.Architectures(),
			KnownFlags: seccomp.Flags(), SupportedFlags: seccomp.SupportedFlags(),
		},
		Apparmor: &features.Apparmor{Enabled: accepts(func(s *specs.Spec) { s.Process.ApparmorProfile = "profile" })},
		Selinux:  &features.Selinux{Enabled: accepts(func(s *specs.Spec) { s.Process.SelinuxLabel = "label" })},
		IntelRdt: &features.IntelRdt{Enabled: accepts(func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{} })},
		NetDevices: &features.NetDevices{Enabled: accepts(func(s *specs.Spec) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}}
		})},
		MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: new(slices.Contains(program.MountOptions(), "idmap"))}},
	}
}
