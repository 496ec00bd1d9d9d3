package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// childVariable has the test binary run as a child: one that loads a filter, makes calls and reports.
const childVariable = "WINBOX_SECCOMP_CHILD"

// A job is what a child gets on its standard input.
type job struct {
	Profile *specs.LinuxSeccomp // nil: no filter
	Calls   []attempt           // made one after the other
	Repeat  int                 // how often the last call is made, for its time
	Exec    []string            // run at the end
}

type attempt struct {
	I386   bool
	Number uint32
	Args   [6]uint64
}

// A report is what it answers.
type report struct {
	Errnos  []int // of each call, 0 for success
	Elapsed time.Duration
}

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child does a job. The filter is loaded for one thread, so that the others can report what it does.
func child() error {
	var todo job
	if err := json.NewDecoder(os.Stdin).Decode(&todo); err != nil {
		return err
	}
	gate, err := int80()
	if err != nil {
		return err
	}
	done := make(chan error)
	var result report
	go func() {
		runtime.LockOSThread()
		if todo.Profile != nil {
			if err := load(todo.Profile); err != nil {
				done <- err
				return
			}
		}
		for _, a := range todo.Calls {
			var errno unix.Errno
			if a.I386 {
				if value := int32(gate(uintptr(a.Number), uintptr(a.Args[0]), uintptr(a.Args[1]))); value < 0 && value > -maxErrno {
					errno = unix.Errno(-value)
				}
			} else {
				_, _, errno = unix.RawSyscall6(uintptr(a.Number), uintptr(a.Args[0]), uintptr(a.Args[1]), uintptr(a.Args[2]), uintptr(a.Args[3]), uintptr(a.Args[4]), uintptr(a.Args[5]))
			}
			result.Errnos = append(result.Errnos, int(errno))
		}
		if todo.Repeat > 0 {
			a := todo.Calls[len(todo.Calls)-1]
			start := time.Now()
			for range todo.Repeat {
				unix.RawSyscall(uintptr(a.Number), uintptr(a.Args[0]), uintptr(a.Args[1]), uintptr(a.Args[2]))
			}
			result.Elapsed = time.Since(start)
		}
		if todo.Exec != nil {
			done <- unix.Exec(todo.Exec[0], todo.Exec, os.Environ())
			return
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// load puts the calling thread under a profile.
func load(cfg *specs.LinuxSeccomp) error {
	filter, err := Compile(cfg)
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_NO_NEW_PRIVS): %w", err)
	}
	program := filter.Bytes()
	fprog := unix.SockFprog{Len: uint16(len(filter.Program)), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(filter.Flags), uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("seccomp(SECCOMP_SET_MODE_FILTER): %w", errno)
	}
	return nil
}

// int80 returns a function that makes an i386 call. Go passes integers in AX, BX, CX and takes the
// result from AX, as the i386 entry of the kernel does, so that two instructions do.
func int80() (func(number, arg0, arg1 uintptr) uintptr, error) {
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	copy(page, []byte{0xcd, 0x80, 0xc3}) // int 0x80; ret
	code := &page[0]
	entry := &code // a Go function is a pointer to a pointer to code
	return *(*func(number, arg0, arg1 uintptr) uintptr)(unsafe.Pointer(&entry)), nil
}

// start runs a child and returns what it printed.
func start(t testing.TB, todo job) ([]byte, error) {
	t.Helper()
	input, err := json.Marshal(todo)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), childVariable+"=1")
	command.Stdin = bytes.NewReader(input)
	var messages bytes.Buffer
	command.Stderr = &messages
	output, err := command.Output()
	if strings.Contains(messages.String(), "SECCOMP_SET_MODE_FILTER") && strings.Contains(messages.String(), unix.ENOSYS.Error()) {
		t.Skip("this kernel has no seccomp filters")
	}
	if messages.Len() > 0 {
		t.Log(messages.String())
	}
	return output, err
}

// try makes calls under a profile and returns their errnos.
func try(t testing.TB, todo job) report {
	t.Helper()
	output, err := start(t, todo)
	if err != nil {
		t.Fatal("child: ", err)
	}
	var result report
	if err := json.Unmarshal(output, &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// killedBySeccomp makes one call under a profile and says whether that killed the process.
func killedBySeccomp(t *testing.T, cfg *specs.LinuxSeccomp, a attempt) bool {
	t.Helper()
	_, err := start(t, job{Profile: cfg, Calls: []attempt{a}})
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(interface{ Signal() unix.Signal })
	return ok && status.Signal() == unix.SIGSYS
}

// number386 finds an i386 number.
func number386(name string) uint32 { return uint32(lookup(name).i386) }

// hasI386 says whether the kernel can run 32-bit programs.
func hasI386(t *testing.T) bool {
	_, err := start(t, job{Calls: []attempt{{I386: true, Number: number386("getpid")}}})
	return err == nil
}

func TestKernelDefault(t *testing.T) {
	const noRandomize, readImpliesExec, thread = 0x0040000, 0x0400000, unix.CLONE_VM | unix.CLONE_THREAD // lacks CLONE_SIGHAND: EINVAL
	tests := []struct {
		name string
		call attempt
		want unix.Errno
	}{
		{"getppid", attempt{Number: unix.SYS_GETPPID}, 0},
		{"mount", attempt{Number: unix.SYS_MOUNT}, unix.EPERM},
		{"unshare", attempt{Number: unix.SYS_UNSHARE, Args: [6]uint64{unix.CLONE_NEWUSER}}, unix.EPERM},
		{"clone with a namespace", attempt{Number: unix.SYS_CLONE, Args: [6]uint64{unix.CLONE_NEWUSER}}, unix.EPERM},
		{"clone of a thread", attempt{Number: unix.SYS_CLONE, Args: [6]uint64{thread}}, unix.EINVAL},
		{"clone3", attempt{Number: unix.SYS_CLONE3}, unix.ENOSYS},
		{"personality query", attempt{Number: unix.SYS_PERSONALITY, Args: [6]uint64{0xffffffff}}, 0},
		{"personality query, sign-extended", attempt{Number: unix.SYS_PERSONALITY, Args: [6]uint64{1<<64 - 1}}, 0},
		{"personality no randomisation", attempt{Number: unix.SYS_PERSONALITY, Args: [6]uint64{noRandomize}}, 0},
		{"personality read implies exec", attempt{Number: unix.SYS_PERSONALITY, Args: [6]uint64{readImpliesExec}}, unix.EPERM},
		{"socket local", attempt{Number: unix.SYS_SOCKET, Args: [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}}, 0},
		{"socket AF_ALG", attempt{Number: unix.SYS_SOCKET, Args: [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}}, unix.EAFNOSUPPORT},
		{"socket AF_ALG with high bits", attempt{Number: unix.SYS_SOCKET, Args: [6]uint64{1<<32 | unix.AF_ALG, unix.SOCK_SEQPACKET}}, unix.EAFNOSUPPORT},
		{"ioctl", attempt{Number: unix.SYS_IOCTL, Args: [6]uint64{1 << 30, unix.TCGETS}}, unix.EBADF},
		{"ioctl TIOCSTI", attempt{Number: unix.SYS_IOCTL, Args: [6]uint64{1 << 30, unix.TIOCSTI}}, unix.EPERM},
		{"ioctl TIOCSTI with high bits", attempt{Number: unix.SYS_IOCTL, Args: [6]uint64{1 << 30, 1<<32 | unix.TIOCSTI}}, unix.EPERM},
		{"userfaultfd", attempt{Number: unix.SYS_USERFAULTFD}, unix.EPERM},
		{"keyctl", attempt{Number: unix.SYS_KEYCTL}, unix.EPERM},
		{"modify_ldt", attempt{Number: unix.SYS_MODIFY_LDT}, 0},
		{"a call of the future", attempt{Number: 999}, unix.ENOSYS},
		{"number -1", attempt{Number: 1<<32 - 1}, unix.ENOSYS},
		{"i386 getpid", attempt{I386: true, Number: number386("getpid")}, 0},
		{"i386 mount", attempt{I386: true, Number: number386("mount")}, unix.EPERM},
		{"i386 unshare", attempt{I386: true, Number: number386("unshare"), Args: [6]uint64{unix.CLONE_NEWUSER}}, unix.EPERM},
		{"i386 socketcall", attempt{I386: true, Number: number386("socketcall"), Args: [6]uint64{1, 0}}, unix.EFAULT},
		{"i386 socket AF_VSOCK", attempt{I386: true, Number: number386("socket"), Args: [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}}, unix.EAFNOSUPPORT},
		{"i386 ioctl TIOCSTI", attempt{I386: true, Number: number386("ioctl"), Args: [6]uint64{1 << 30, unix.TIOCSTI}}, unix.EPERM},
		{"i386 personality query", attempt{I386: true, Number: number386("personality"), Args: [6]uint64{0xffffffff}}, 0},
		{"i386 clone3", attempt{I386: true, Number: number386("clone3")}, unix.ENOSYS},
		{"i386 modify_ldt", attempt{I386: true, Number: number386("modify_ldt")}, 0},
		{"i386 call of the future", attempt{I386: true, Number: 999}, unix.ENOSYS},
	}
	i386 := hasI386(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.call.I386 && !i386 {
				t.Skip("this kernel runs no 32-bit programs")
			}
			if got := unix.Errno(try(t, job{Profile: Default(), Calls: []attempt{test.call}}).Errnos[0]); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestKernelKills(t *testing.T) {
	narrow := Default()
	narrow.Architectures = []specs.Arch{specs.ArchX86_64}
	i386 := attempt{I386: true, Number: number386("getpid")}
	x32 := attempt{Number: x32Bit | unix.SYS_GETPID}
	withX32 := Default()
	withX32.Architectures = append(withX32.Architectures, specs.ArchX32)
	for _, test := range []struct {
		name string
		cfg  *specs.LinuxSeccomp
		call attempt
		want bool
	}{
		{"i386 not listed", narrow, i386, true},
		{"i386 listed", Default(), i386, false},
		{"x32 not listed", Default(), x32, true},
		{"x32 listed", withX32, x32, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.call.I386 && !hasI386(t) {
				t.Skip("this kernel runs no 32-bit programs")
			}
			if got := killedBySeccomp(t, test.cfg, test.call); got != test.want {
				t.Errorf("killed: %v, want %v", got, test.want)
			}
		})
	}
}

// Every large profile must let an ordinary program with children, pipes and files run.
func TestKernelProgram(t *testing.T) {
	for name, cfg := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			output, err := start(t, job{Profile: cfg, Exec: []string{"/bin/sh", "-c", "ls -l /proc/self/exe | wc -l; date >/dev/null; echo $(id -u)"}})
			if want := "1\n" + strconv.Itoa(os.Getuid()) + "\n"; err != nil || string(output) != want {
				t.Errorf("got %q, %v, want %q", output, err, want)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for name, cfg := range profiles(b) {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compile(cfg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCall measures calls in a child, without a filter and with some; "all" allows everything, and so
// is what having a filter costs at the least. getppid is a call that the kernel remembers as allowed; it
// runs the filter for every ioctl under the default profile, which looks at the arguments.
func BenchmarkCall(b *testing.B) {
	for _, call := range []struct {
		name string
		attempt
	}{
		{"getppid", attempt{Number: unix.SYS_GETPPID}},
		{"ioctl", attempt{Number: unix.SYS_IOCTL, Args: [6]uint64{1 << 30, unix.TCGETS}}},
	} {
		for _, profile := range []struct {
			name string
			cfg  *specs.LinuxSeccomp
		}{{"none", nil}, {"all", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}}, {"default", Default()}, {"docker", engineProfile(b, "testdata/docker.json", engineCapabilities...)}} {
			b.Run(call.name+"/"+profile.name, func(b *testing.B) {
				result := try(b, job{Profile: profile.cfg, Calls: []attempt{call.attempt}, Repeat: b.N})
				b.ReportMetric(float64(result.Elapsed.Nanoseconds())/float64(b.N), "ns/call")
			})
		}
	}
}
