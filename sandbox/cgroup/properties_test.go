package cgroup

import (
	"fmt"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"winbox/sandbox/cgroup/systemd"
)

// describeProperties writes properties as "Name=value".
func describeProperties(list []systemd.Property) string {
	var text []string
	for _, p := range list {
		text = append(text, fmt.Sprintf("%s=%v", p.Name, p.Value.Value()))
	}
	return strings.Join(text, " ")
}

func TestLimitProperties(t *testing.T) {
	const infinity = "18446744073709551615"
	weight, zero, one := uint16(500), int64(0), int64(1)
	tests := []struct {
		name    string
		res     specs.LinuxResources
		version int
		v1, v2  string
		v2Error string
	}{
		{name: "nothing"},
		{name: "zeros are not limits", res: specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &zero}, Pids: &specs.LinuxPids{Limit: &zero}, CPU: &specs.LinuxCPU{Quota: &zero}}},
		{name: "memory", res: specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(96 << 20)), Reservation: new(int64(32 << 20))}},
			v1: "MemoryLimit=67108864", v2: "MemoryMax=67108864 MemoryLow=33554432 MemorySwapMax=33554432"},
		{name: "no limits", res: specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(-1))}, Pids: &specs.LinuxPids{Limit: new(int64(-1))}},
			v1: "MemoryLimit=" + infinity + " TasksMax=" + infinity, v2: "MemoryMax=" + infinity + " MemorySwapMax=" + infinity + " TasksMax=" + infinity},
		{name: "swap below memory", res: specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(32 << 20))}},
			v1: "MemoryLimit=67108864", v2Error: "must not be less than memory.limit"},
		{name: "weights", res: specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: new(uint64(2048))}, BlockIO: &specs.LinuxBlockIO{Weight: &weight}},
			v1: "CPUShares=2048 BlockIOWeight=500", v2: "CPUWeight=174 IOWeight=4950"},
		{name: "idle", version: 252, res: specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: &one, Shares: new(uint64(2048))}}, v1: "CPUShares=2048", v2: "CPUWeight=0"},
		{name: "idle, old systemd", version: 251, res: specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: &one, Shares: new(uint64(2048))}}, v1: "CPUShares=2048"},
		{name: "half a processor", version: 242, res: specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(25000)), Period: new(uint64(50000))}},
			v1: "CPUQuotaPeriodUSec=50000 CPUQuotaPerSecUSec=500000", v2: "CPUQuotaPeriodUSec=50000 CPUQuotaPerSecUSec=500000"},
		{name: "half a processor, old systemd", version: 241, res: specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(25000)), Period: new(uint64(50000))}},
			v1: "CPUQuotaPerSecUSec=500000", v2: "CPUQuotaPerSecUSec=500000"},
		{name: "rounded up", res: specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(33333))}}, v1: "CPUQuotaPerSecUSec=340000", v2: "CPUQuotaPerSecUSec=340000"},
		{name: "no quota", res: specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(-1))}}, v1: "CPUQuotaPerSecUSec=" + infinity, v2: "CPUQuotaPerSecUSec=" + infinity},
		{name: "sets", version: 244, res: specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0-2,9", Mems: "0"}}, v2: "AllowedCPUs=[7 2] AllowedMemoryNodes=[1]"},
		{name: "sets, old systemd", version: 243, res: specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0-2,9", Mems: "0"}}},
		{name: "bad set", version: 244, res: specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "2-1"}}, v2Error: `linux.resources.cpu.cpus: "2-1" is not a list`},
		{name: "huge set", version: 244, res: specs.LinuxResources{CPU: &specs.LinuxCPU{Mems: "0-4294967295"}}, v2Error: "linux.resources.cpu.mems"},
		{name: "unified", version: 252, res: specs.LinuxResources{Unified: map[string]string{
			"memory.high": "1000 ", "memory.max": "max", "pids.max": "7", "cpu.max": "50000", "cpuset.cpus": "1", "cpu.weight": "5", "io.max": "8:0 rbps=1", "hugetlb.2MB.max": "0"}},
			v2: "CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=500000 CPUWeight=5 AllowedCPUs=[2] MemoryHigh=1000 MemoryMax=" + infinity + " TasksMax=7"},
		{name: "bad unified number", res: specs.LinuxResources{Unified: map[string]string{"memory.high": "1k"}}, v2Error: `linux.resources.unified.memory.high: "1k" is neither a number nor max`},
		{name: "bad unified quota", res: specs.LinuxResources{Unified: map[string]string{"cpu.max": "a b"}}, v2Error: `linux.resources.unified.cpu.max: "a b" is not a quota and a period`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v1 := properties{version: func() int { return test.version }}
			v1.addV1(&test.res)
			if got := describeProperties(v1.list); got != test.v1 {
				t.Errorf("v1:\n got %s\nwant %s", got, test.v1)
			}
			v2 := properties{version: v1.version}
			err := v2.addV2(&test.res, func(string) string { return "" })
			if test.v2Error != "" {
				if err == nil || !strings.Contains(err.Error(), test.v2Error) {
					t.Errorf("v2: error %v, want one with %q", err, test.v2Error)
				}
			} else if got := describeProperties(v2.list); err != nil || got != test.v2 {
				t.Errorf("v2: %v\n got %s\nwant %s", err, got, test.v2)
			}
		})
	}
}

func TestDeviceProperties(t *testing.T) {
	rule := func(allow bool, kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: &major, Minor: &minor, Access: access}
	}
	deny := specs.LinuxDeviceCgroup{Access: "rwm"}
	const reset = "DeviceAllow=[]"
	tests := []struct {
		name   string
		rules  []specs.LinuxDeviceCgroup
		v1, v2 string
		err    string // on v1
	}{
		{name: "nothing asked"},
		{name: "defaults", rules: DeviceRules(nil), v1: "DevicePolicy=strict " + reset + " DeviceAllow=[{char-* m} {block-* m} {/dev/char/1:3 rwm} {/dev/char/1:5 rwm} " +
			"{/dev/char/1:7 rwm} {/dev/char/1:8 rwm} {/dev/char/1:9 rwm} {/dev/char/5:0 rwm} {/dev/char/5:2 rwm} {char-136 rwm}]"},
		{name: "a disk", rules: []specs.LinuxDeviceCgroup{deny, rule(true, "b", 8, 0, "r")}, v1: "DevicePolicy=strict " + reset + " DeviceAllow=[{/dev/block/8:0 r}]"},
		{name: "everything", rules: []specs.LinuxDeviceCgroup{deny, {Allow: true}}, v1: "DevicePolicy=auto " + reset + " " + reset},
		{name: "all but one", rules: []specs.LinuxDeviceCgroup{{Allow: true}, rule(false, "c", 1, 3, "w")}, v1: "DevicePolicy=auto " + reset + " " + reset},
		{name: "a minor number", rules: []specs.LinuxDeviceCgroup{deny, rule(true, "c", wild, 3, "r")}, v2: "DevicePolicy=auto " + reset + " " + reset,
			err: "linux.resources.devices: not supported here: systemd cannot allow a minor number of every major one: allow c *:3 r"},
		{name: "exception", rules: []specs.LinuxDeviceCgroup{deny, rule(true, "c", 1, wild, "r"), rule(false, "c", 1, 3, "r")}, v2: "DevicePolicy=auto " + reset + " " + reset,
			err: "cannot make an exception"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := (&Group{mode: V1, scope: &scope{}}).deviceProperties(test.rules)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("v1: error %v, want one with %q", err, test.err)
				}
			} else if text := describeProperties(got); err != nil || text != test.v1 {
				t.Errorf("v1: %v\n got %s\nwant %s", err, text, test.v1)
			}
			want := test.v2
			if want == "" {
				want = test.v1
			}
			got, err = (&Group{mode: V2, scope: &scope{}}).deviceProperties(test.rules)
			if text := describeProperties(got); err != nil || text != want {
				t.Errorf("v2: %v\n got %s\nwant %s", err, text, want)
			}
			user := &Group{mode: V2, scope: &scope{unit: systemd.Unit{User: true}}}
			if got, err := user.deviceProperties(test.rules); err != nil || got != nil {
				t.Errorf("user: %v, %v", got, err)
			}
		})
	}
}
