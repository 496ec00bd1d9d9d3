package sandbox

import (
	"bytes"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/sandbox/program"
)

// securityModules finds out about the security modules that a spec has
// something for; the others do not matter.
func securityModules(spec *specs.Spec, host *program.Host) {
	p := spec.Process
	host.AppArmor = p != nil && p.ApparmorProfile != "" && appArmorActive()
	host.SELinux = (p != nil && p.SelinuxLabel != "" || spec.Linux != nil && spec.Linux.MountLabel != "") && selinuxActive()
}

// appArmorActive looks where runc looks: the module's parameter says Y also
// when securityfs, and with it the profiles, are not there.
func appArmorActive() bool {
	if _, err := os.Stat("/sys/kernel/security/apparmor"); err != nil {
		return false
	}
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && bytes.HasPrefix(enabled, []byte("Y"))
}

// selinuxActive tells whether SELinux has a policy: without one every process
// is "kernel" (is_selinux_enabled(3)).
func selinuxActive() bool {
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/selinux", &fs); err != nil || fs.Type != unix.SELINUX_MAGIC {
		return false
	}
	label, err := os.ReadFile("/proc/thread-self/attr/current")
	return err == nil && string(bytes.TrimRight(label, "\x00\n")) != "kernel"
}
