package program

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestParseList(t *testing.T) {
	tests := []struct {
		text string
		want []int
		err  string
	}{
		{"", nil, ""},
		{" \n", nil, ""},
		{"0", []int{0}, ""},
		{"0-3,7", []int{0, 1, 2, 3, 7}, ""},
		{" 1 , 3-4\n", []int{1, 3, 4}, ""},
		{"9", []int{9}, ""},
		{"10", nil, "10 is not below 10"},
		{"0-4294967296", nil, `"0-4294967296" is neither`},
		{"-1", nil, `"-1" is neither`},
		{"1,", nil, `"" is neither`},
		{"3-1", nil, `the range "3-1" ends before it begins`},
		{"0-9,0-9", nil, "more than 10 numbers"},
		{"all", nil, `"all" is neither`},
		{"+1", nil, `"+1" is neither`},
	}
	for _, test := range tests {
		got, err := ParseList(test.text, 10)
		if !slices.Equal(got, test.want) || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%q: %v, error %v; want %v, %q", test.text, got, err, test.want, test.err)
		}
	}
}

func TestBitmask(t *testing.T) {
	for _, test := range []struct {
		numbers []int
		want    []byte
	}{
		{nil, nil},
		{[]int{0, 9}, []byte{1, 2, 0, 0, 0, 0, 0, 0}},
		{[]int{64, 3}, []byte{8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}},
	} {
		if got := bitmask(test.numbers); !bytes.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.numbers, got, test.want)
		}
	}
}

// TestJoin compares the program of an executed process with its golden file.
func TestJoin(t *testing.T) {
	spec, opt := bareSpec(), testOptions()
	spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1,3"}
	spec.Process.ApparmorProfile, spec.Process.SelinuxLabel = "docker-default", "system_u:system_r:container_t:s0"
	opt.Host.AppArmor, opt.Host.SELinux = true, true
	p, err := CompileExec(spec, Target{PidFD: 5, RootFD: 6, Namespaces: unix.CLONE_NEWPID | unix.CLONE_NEWNS}, opt)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "exec", p)
}
