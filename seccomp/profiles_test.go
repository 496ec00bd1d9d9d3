package seccomp

import (
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"winbox/seccomp/engineprofile"
)

func engineProfile(t testing.TB, path string, capabilities ...string) *specs.LinuxSeccomp {
	t.Helper()
	cfg, err := engineprofile.Load(path, capabilities...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// engineCapabilities are what docker gives a container by default, as far as its profile asks.
var engineCapabilities = []string{"CAP_SYS_CHROOT", "CAP_AUDIT_WRITE"}

// profiles are the large ones, by name.
func profiles(t testing.TB) map[string]*specs.LinuxSeccomp {
	return map[string]*specs.LinuxSeccomp{
		"default":           Default(),
		"docker":            engineProfile(t, "testdata/docker.json", engineCapabilities...),
		"docker privileges": engineProfile(t, "testdata/docker.json", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_TIME", "CAP_BPF"),
		"podman":            engineProfile(t, "testdata/podman.json", engineCapabilities...),
		"podman few":        engineProfile(t, "testdata/podman.json"),
	}
}

// A source draws values from bytes; when they are used up, zeros.
type source []byte

func (s *source) below(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b) % n
}

func pick[T any](s *source, from []T) T { return from[s.below(len(from))] }

var (
	randomNames = []string{
		"read", "write", "open", "close", "stat", "fstat", "socket", "bind", "accept", "send", "socketcall", "ipc", "semop", "shmat",
		"clone", "clone3", "personality", "ioctl", "rt_sigaction", "mmap", "mmap2", "chown32", "execve", "listns", "no_such_call", "setns",
	}
	randomActions = []specs.LinuxSeccompAction{
		specs.ActErrno, specs.ActAllow, specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActTrace, specs.ActLog,
	}
	randomOperators = []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	}
	randomValues = []uint64{
		0, 1, 2, 5, 8, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x100000000, 0x100000005, 0x7e020000, 0x8000000000000000,
		0xffffffff00000000, 0xffffffff7fffffff, 0xffffffff80000000, 0xfffffffffffffffb, 0xffffffffffffffff,
	}
)

// randomProfile makes a profile that is valid but for the system calls' names.
func randomProfile(s *source) *specs.LinuxSeccomp {
	errno := func(action specs.LinuxSeccompAction) *uint {
		if n := uint(s.below(4)); n > 0 && (action == specs.ActErrno || action == specs.ActTrace) {
			return &n
		}
		return nil
	}
	cfg := &specs.LinuxSeccomp{}
	cfg.DefaultAction = pick(s, randomActions)
	cfg.DefaultErrnoRet = errno(cfg.DefaultAction)
	for i, name := range []specs.Arch{specs.ArchX86, specs.ArchX32, specs.ArchAARCH64} {
		if s.below(256)>>i&1 == 0 {
			cfg.Architectures = append(cfg.Architectures, name)
		}
	}
	for range s.below(24) {
		rule := specs.LinuxSyscall{Action: pick(s, randomActions)}
		rule.ErrnoRet = errno(rule.Action)
		for range 1 + s.below(3) {
			if n := s.below(256); n < 160 {
				rule.Names = append(rule.Names, randomNames[n%len(randomNames)])
			} else {
				rule.Names = append(rule.Names, syscallTable[(n-160)*len(syscallTable)/96].name)
			}
		}
		for range s.below(4) {
			rule.Args = append(rule.Args, specs.LinuxSeccompArg{
				Index: uint(s.below(6)) % 3, Op: pick(s, randomOperators), Value: pick(s, randomValues), ValueTwo: pick(s, randomValues),
			})
		}
		cfg.Syscalls = append(cfg.Syscalls, rule)
	}
	return cfg
}

// randomBytes is the input of a random profile.
func randomBytes(random *rand.Rand) []byte {
	data := make([]byte, random.IntN(400))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}
