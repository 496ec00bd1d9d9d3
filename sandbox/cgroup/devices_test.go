package cgroup

import (
	"errors"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// device reads "allow c 1:3 rwm", with * for a number that is left out.
func device(t *testing.T, s string) specs.LinuxDeviceCgroup {
	t.Helper()
	f := strings.Fields(s)
	d := specs.LinuxDeviceCgroup{Allow: f[0] == "allow", Type: f[1], Access: f[3]}
	major, minor, _ := strings.Cut(f[2], ":")
	for s, to := range map[string]**int64{major: &d.Major, minor: &d.Minor} {
		if s != "*" {
			n := int64(0)
			for _, c := range s {
				n = n*10 + int64(c-'0')
			}
			*to = &n
		}
	}
	return d
}

func TestNormalizeV1(t *testing.T) {
	for _, tt := range []struct {
		name        string
		rules, want string // separated by ", "
		err         error
	}{
		{name: "deny all", rules: "deny a *:* rwm", want: "deny a *:* rwm"},
		{name: "allow all", rules: "deny a *:* rwm, allow a *:* rwm", want: "allow a *:* rwm"},
		{name: "all forgets", rules: "allow c 1:3 rwm, deny a *:* rwm", want: "deny a *:* rwm"},
		{name: "exceptions join",
			rules: "deny a *:* rwm, allow c 1:3 r, allow c 1:3 w, allow c 1:3 r, allow b 1:3 m",
			want:  "deny a *:* rwm, allow c 1:3 rw, allow b 1:3 m"},
		{name: "taken back",
			rules: "deny a *:* rwm, allow c 1:3 rwm, deny c 1:3 w, allow c 1:5 r, deny c 1:5 rwm",
			want:  "deny a *:* rwm, allow c 1:3 rm"},
		{name: "denied already", rules: "deny a *:* rwm, deny c 10:229 rwm", want: "deny a *:* rwm"},
		{name: "a hole", rules: "deny a *:* rwm, allow c *:* rwm, deny c 10:229 rwm", err: ErrUnsupported},
		{name: "a hole, other access", rules: "deny a *:* rwm, allow c *:* m, deny c 10:229 rw", want: "deny a *:* rwm, allow c *:* m"},
		{name: "allow by default", rules: "allow a *:* rwm, deny c 1:11 rw", want: "allow a *:* rwm, deny c 1:11 rw"},
		{name: "no start, deny", rules: "deny c 1:11 rw", want: "allow a *:* rwm, deny c 1:11 rw"},
		{name: "no start, allow", rules: "allow c 1:3 rw", want: "deny a *:* rwm, allow c 1:3 rw"},
		{name: "both kinds", rules: "deny a *:* rwm, allow a 7:* r", want: "deny a *:* rwm, allow c 7:* r, allow b 7:* r"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []specs.LinuxDeviceCgroup
			for _, s := range strings.Split(tt.rules, ", ") {
				asked = append(asked, device(t, s))
			}
			rules, err := parseRules(asked)
			if err != nil {
				t.Fatal(err)
			}
			normal, err := normalizeV1(rules)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			var got []string
			for _, d := range normal {
				got = append(got, describe(d))
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("\n got %s\nwant %s", s, tt.want)
			}
		})
	}
}

func TestParseRulesErrors(t *testing.T) {
	for _, tt := range []struct {
		d    specs.LinuxDeviceCgroup
		want string
	}{
		{specs.LinuxDeviceCgroup{Type: "p"}, "linux.resources.devices[0].type"},
		{specs.LinuxDeviceCgroup{Type: "c", Access: "rx"}, "linux.resources.devices[0].access"},
		{specs.LinuxDeviceCgroup{Type: "c", Major: new(int64(-2))}, "linux.resources.devices[0].major"},
		{specs.LinuxDeviceCgroup{Type: "c", Minor: new(int64(1 << 32))}, "linux.resources.devices[0].minor"},
	} {
		if _, err := parseRules([]specs.LinuxDeviceCgroup{tt.d}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want one that names %s", tt.d, err, tt.want)
		}
	}
}

// TestDeviceFilterShape runs without root: the program must be complete, so that
// every jump has its target. What it decides is tested with real devices.
func TestDeviceFilterShape(t *testing.T) {
	rules, err := parseRules(DeviceRules([]specs.LinuxDeviceCgroup{device(t, "allow b 8:* r")}))
	if err != nil {
		t.Fatal(err)
	}
	prog := deviceFilter(rules)
	symbols, err := prog.SymbolOffsets()
	if err != nil {
		t.Fatal(err)
	}
	for name := range prog.ReferenceOffsets() {
		if _, ok := symbols[name]; !ok {
			t.Errorf("jump to %q, which is nowhere", name)
		}
	}
}
