package seccomp

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files anew")

func mustCompile(t testing.TB, cfg *specs.LinuxSeccomp) *Filter {
	t.Helper()
	filter, err := Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(filter.Program); err != nil {
		t.Fatalf("the kernel would not take the program: %v", err)
	}
	return filter
}

// compare asks filter and oracle about many calls: every number up to limit and some beyond, on every
// architecture, with the arguments that the profile's rules for it look at.
func compare(t testing.TB, cfg *specs.LinuxSeccomp, filter *Filter, limit uint32, random *rand.Rand) {
	t.Helper()
	oracle := newOracle(cfg)
	check := func(c call) {
		want := oracle.action(c)
		if got, _ := run(filter.Program, c.bytes()); got != want {
			text, _ := json.MarshalIndent(cfg, "", " ")
			t.Fatalf("%v: filter says %s, profile says %s\n%s\n%s", c, describeReturn(got), describeReturn(want), text, filter)
		}
	}
	// The values worth trying for each argument: those in any rule, and their neighbours.
	var values [6][]uint64
	for _, rule := range cfg.Syscalls {
		for _, arg := range rule.Args {
			for _, value := range []uint64{arg.Value, arg.ValueTwo} {
				values[arg.Index] = append(values[arg.Index], value, value+1, value-1, value^1<<32, value&0xffffffff, value|0xffffffff00000000, value<<32|value>>32)
			}
		}
	}
	for i := range values {
		values[i] = append(values[i], 0, 1, 0xffffffff, 1<<32, ^uint64(0), random.Uint64())
		slices.Sort(values[i])
		values[i] = slices.Compact(values[i])
	}
	for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64} {
		for _, base := range []uint32{0, x32Bit, 1 << 31, -limit} {
			for number := range limit {
				c := call{arch: arch, number: base + number}
				if arch == unix.AUDIT_ARCH_I386 && (c.number == 102 || c.number == 117) {
					for selector := range uint64(40) {
						c.args[0] = selector | uint64(random.IntN(2))<<16
						check(c)
					}
				}
				for argument := range values {
					for _, value := range values[argument] {
						for i := range c.args {
							c.args[i] = values[i][random.IntN(len(values[i]))]
						}
						c.args[argument] = value
						if arch == unix.AUDIT_ARCH_I386 {
							for i := range c.args {
								c.args[i] &= 0xffffffff
							}
						}
						check(c)
						if _, _, rules := oracle.table(c); len(rules) == 0 {
							break
						}
					}
				}
			}
		}
	}
}

func TestProfiles(t *testing.T) {
	for name, cfg := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			filter := mustCompile(t, cfg)
			t.Logf("%d instructions, skipped %v", len(filter.Program), filter.Skipped)
			if limit := 600; len(filter.Program) > limit {
				t.Errorf("%d instructions, want at most %d", len(filter.Program), limit)
			}
			compare(t, cfg, filter, 1200, rand.New(rand.NewPCG(1, 2)))
		})
	}
}

// A search among some 120 spans takes seven comparisons; three instructions come before and two after.
func TestDepth(t *testing.T) {
	for name, cfg := range profiles(t) {
		filter := mustCompile(t, cfg)
		longest, total := 0, 0
		for i := range syscallTable {
			number := syscallTable[i].amd64
			if number < 0 {
				continue
			}
			_, steps := run(filter.Program, call{arch: unix.AUDIT_ARCH_X86_64, number: uint32(number)}.bytes())
			longest = max(longest, steps)
			total += steps
		}
		t.Logf("%s: longest path %d, mean %.1f", name, longest, float64(total)/float64(len(syscallTable)))
		if limit := 40; longest > limit {
			t.Errorf("%s: a call takes %d instructions, want at most %d", name, longest, limit)
		}
	}
}

func TestRandomProfiles(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		data := source(randomBytes(random))
		cfg := randomProfile(&data)
		compare(t, cfg, mustCompile(t, cfg), 600, random)
	}
}

func FuzzCompile(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		f.Add(randomBytes(random))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := randomProfile((*source)(&data))
		filter := mustCompile(t, cfg)
		oracle := newOracle(cfg)
		random := rand.New(rand.NewPCG(7, uint64(len(data))))
		numbers := []uint32{0, 102, 117, 1000, x32Bit, x32Bit + 1000, ^uint32(0)}
		for _, rule := range cfg.Syscalls {
			for _, name := range rule.Names {
				if row := lookup(name); row != nil {
					numbers = append(numbers, uint32(row.amd64), uint32(row.amd64)+1, uint32(row.i386), x32Bit|uint32(row.x32))
				}
			}
		}
		for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386} {
			for _, number := range numbers {
				for range 5 {
					c := call{arch: arch, number: number}
					for i := range c.args {
						c.args[i] = randomValues[random.IntN(len(randomValues))]
					}
					if want, got := oracle.action(c), first(run(filter.Program, c.bytes())); got != want {
						t.Fatalf("%v: filter says %s, profile says %s", c, describeReturn(got), describeReturn(want))
					}
				}
			}
		}
	})
}

func first[T, U any](value T, _ U) T { return value }

func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/golden/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			cfg := &specs.LinuxSeccomp{}
			if err := json.Unmarshal(text, cfg); err != nil {
				t.Fatal(err)
			}
			filter := mustCompile(t, cfg)
			compare(t, cfg, filter, 600, rand.New(rand.NewPCG(8, 9)))
			got := filter.String()
			golden := strings.TrimSuffix(path, ".json") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (go test ./seccomp -run Golden -update writes it)", err)
			}
			if got != string(want) {
				t.Errorf("listing differs from %s (if wanted, -update):\n%s", golden, got)
			}
		})
	}
}

func number(n uint) *uint { return &n }

func TestErrors(t *testing.T) {
	rule := func(rule specs.LinuxSyscall) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read"}, Action: specs.ActErrno}, rule,
		}}
	}
	tests := []struct {
		name string
		cfg  *specs.LinuxSeccomp
		want string
	}{
		{"nil", nil, "linux.seccomp: no profile"},
		{"default missing", &specs.LinuxSeccomp{}, `linux.seccomp.defaultAction: unknown action ""`},
		{"default unknown", &specs.LinuxSeccomp{DefaultAction: "ALLOW"}, `linux.seccomp.defaultAction: unknown action "ALLOW": use one of`},
		{"default notify", &specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY would stop the runtime"},
		{"default errno without use", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, DefaultErrnoRet: number(1)}, "linux.seccomp.defaultAction: action SCMP_ACT_ALLOW cannot carry errno 1"},
		{"default errno too great", &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: number(4096)}, "linux.seccomp.defaultAction: errno 4096 of action SCMP_ACT_ERRNO is too great"},
		{"arch", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86, "SCMP_ARCH_Z80"}}, `linux.seccomp.architectures[1]: unknown architecture "SCMP_ARCH_Z80"`},
		{"flag", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_FOO"}}, `linux.seccomp.flags[0]: unknown flag "SECCOMP_FILTER_FLAG_FOO"`},
		{"metadata", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerMetadata: "x"}, "linux.seccomp.listenerMetadata: given without listenerPath"},
		{"action", rule(specs.LinuxSyscall{Names: []string{"read"}, Action: "SCMP_ACT_FOO"}), `linux.seccomp.syscalls[1].action: unknown action "SCMP_ACT_FOO"`},
		{"trace too great", rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActTrace, ErrnoRet: number(65536)}), "linux.seccomp.syscalls[1].action: errno 65536 of action SCMP_ACT_TRACE is too great: the kernel takes at most 65535"},
		{"no names", rule(specs.LinuxSyscall{Action: specs.ActErrno}), "linux.seccomp.syscalls[1].names: empty"},
		{"empty name", rule(specs.LinuxSyscall{Names: []string{"read", ""}, Action: specs.ActErrno}), "linux.seccomp.syscalls[1].names[1]: empty"},
		{"operator", rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "SCMP_CMP_FOO"}}}), `linux.seccomp.syscalls[1].args[0]: unknown operator "SCMP_CMP_FOO"`},
		{"index", rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: specs.OpEqualTo}, {Op: specs.OpEqualTo, Index: 6}}}), "linux.seccomp.syscalls[1].args[1]: index 6: a system call has arguments 0 to 5"},
		{"notify without listener", rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActNotify}), "linux.seccomp.listenerPath: empty, but a rule has the action SCMP_ACT_NOTIFY"},
		{"notify write", rule(specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActNotify}), "linux.seccomp.syscalls[1].names[0]: SCMP_ACT_NOTIFY of write"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			filter, err := Compile(test.cfg)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, %v, want an error that starts with %q", filter, err, test.want)
			}
		})
	}
}

func TestTooLong(t *testing.T) {
	cfg := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for i := range uint64(3000) {
		cfg.Syscalls = append(cfg.Syscalls, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 1, Value: i, Op: specs.OpEqualTo}}})
	}
	_, err := Compile(cfg)
	if err == nil || !strings.Contains(err.Error(), "the kernel takes 4096 (BPF_MAXINSNS)") {
		t.Error(err)
	}
	// Below the limit, jumps are far longer than 255 instructions.
	cfg.Syscalls = cfg.Syscalls[:900]
	for i := range 100 {
		if name := syscallTable[4*i].name; name != "ioctl" {
			cfg.Syscalls = append(cfg.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActErrno, ErrnoRet: number(uint(i))})
		}
	}
	filter := mustCompile(t, cfg)
	if len(filter.Program) < 3000 {
		t.Errorf("only %d instructions", len(filter.Program))
	}
	oracle := newOracle(cfg)
	for number := range uint32(600) {
		for value := range uint64(1000) {
			c := call{arch: unix.AUDIT_ARCH_X86_64, number: number, args: [6]uint64{1: value}}
			if want, got := oracle.action(c), first(run(filter.Program, c.bytes())); got != want {
				t.Fatalf("%v: filter says %s, profile says %s", c, describeReturn(got), describeReturn(want))
			}
			if number != 16 {
				break
			}
		}
	}
}

func TestFlags(t *testing.T) {
	all := []specs.LinuxSeccompFlag{
		"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv,
	}
	notify := []specs.LinuxSyscall{{Names: []string{"mount"}, Action: specs.ActNotify}}
	tests := []struct {
		name  string
		flags []specs.LinuxSeccompFlag
		rules []specs.LinuxSyscall
		want  Filter
	}{
		{"none", nil, nil, Filter{}},
		{"all", all, nil, Filter{Flags: unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW}},
		{"notify", nil, notify, Filter{Flags: unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, Notify: true, ListenerPath: "/agent", ListenerMetadata: "data"}},
		{"notify and all", all, notify, Filter{Flags: unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
			unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
			Notify: true, ListenerPath: "/agent", ListenerMetadata: "data"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := mustCompile(t, &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow, Flags: test.flags, Syscalls: test.rules, ListenerPath: "/agent", ListenerMetadata: "data",
			})
			got.Program = nil
			if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", test.want) {
				t.Errorf("got %+v, want %+v", *got, test.want)
			}
		})
	}
}

func TestSkipped(t *testing.T) {
	rules := []specs.LinuxSyscall{{Names: []string{"riscv_flush_icache", "read", "nonesuch", "chown32", "recv", "nonesuch"}, Action: specs.ActErrno}}
	for _, test := range []struct {
		arches []specs.Arch
		want   []string
	}{
		{nil, []string{"chown32", "nonesuch", "recv", "riscv_flush_icache"}},
		{[]specs.Arch{specs.ArchX86}, []string{"nonesuch", "riscv_flush_icache"}},
	} {
		filter := mustCompile(t, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: test.arches, Syscalls: rules})
		if !slices.Equal(filter.Skipped, test.want) {
			t.Errorf("%v: skipped %v, want %v", test.arches, filter.Skipped, test.want)
		}
	}
}

func TestBytes(t *testing.T) {
	filter := &Filter{Program: []bpf.RawInstruction{{Op: 0x15, Jt: 1, Jf: 2, K: 0x03040506}, {Op: 6, K: unix.SECCOMP_RET_ALLOW}}}
	want := []byte{0x15, 0, 1, 2, 6, 5, 4, 3, 6, 0, 0, 0, 0, 0, 0xff, 0x7f}
	if got := filter.Bytes(); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}
