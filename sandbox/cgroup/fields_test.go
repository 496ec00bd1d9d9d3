package cgroup

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"winbox/internal/specfields"
)

// everyLimit has something in each field of linux.resources.
func everyLimit() *specs.LinuxResources {
	device := specs.LinuxThrottleDevice{Rate: 1000}
	device.Major, device.Minor = 8, 0
	weight := specs.LinuxWeightDevice{Weight: new(uint16(200)), LeafWeight: new(uint16(300))}
	weight.Major, weight.Minor = 8, 0
	res := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: true, Type: "c", Major: new(int64(1)), Minor: new(int64(3)), Access: "r"}},
		Memory: &specs.LinuxMemory{
			Limit: new(int64(8 << 20)), Reservation: new(int64(4 << 20)), Swap: new(int64(16 << 20)), KernelTCP: new(int64(1 << 20)),
			Swappiness: new(uint64(50)), DisableOOMKiller: new(false), UseHierarchy: new(true), CheckBeforeUpdate: new(false),
		},
		CPU: &specs.LinuxCPU{
			Shares: new(uint64(2)), Quota: new(int64(50000)), Burst: new(uint64(1000)), Period: new(uint64(100000)),
			RealtimeRuntime: new(int64(1000)), RealtimePeriod: new(uint64(100000)), Cpus: "0", Mems: "0", Idle: new(int64(0)),
		},
		Pids: &specs.LinuxPids{Limit: new(int64(10))},
		BlockIO: &specs.LinuxBlockIO{
			Weight: new(uint16(100)), LeafWeight: new(uint16(100)), WeightDevice: []specs.LinuxWeightDevice{weight},
			ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{device}, ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{device},
			ThrottleReadIOPSDevice: []specs.LinuxThrottleDevice{device}, ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{device},
		},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 2 << 20}},
		Network:        &specs.LinuxNetwork{ClassID: new(uint32(1)), Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 1}}},
		Rdma:           map[string]specs.LinuxRdma{"mlx": {HcaHandles: new(uint32(1)), HcaObjects: new(uint32(2))}},
		Unified:        map[string]string{"memory.high": "4194304"},
	}
	//lint:ignore SA1019 engines may still send it
	res.Memory.Kernel = new(int64(0))
	return res
}

// TestEveryField changes each field of linux.resources: on both versions of
// cgroups, something else must be planned, or the field be refused or warned of.
func TestEveryField(t *testing.T) {
	// Fields that are not limits, and why.
	elsewhere := map[string]string{
		"devices.allow": "TestDevices", "devices.type": "TestDevices", "devices.major": "TestDevices", "devices.minor": "TestDevices", "devices.access": "TestDevices",
		"memory.checkBeforeUpdate": "TestCheckBeforeUpdate",
	}
	has := func(string) bool { return true }
	read := func(string) string { return "" }
	for version, plan := range map[string]func(*specs.LinuxResources) plan{
		"v1": func(res *specs.LinuxResources) plan { return planV1(res, has, false) },
		"v2": func(res *specs.LinuxResources) plan { return planV2(res, has, read) },
	} {
		before := allOf(plan(everyLimit()))
		for _, path := range specfields.List(reflect.TypeFor[specs.LinuxResources]()) {
			if elsewhere[path] != "" {
				continue
			}
			res := everyLimit()
			if err := specfields.Change(res, path); err != nil {
				t.Errorf("the sample lacks a field: %v", err)
				continue
			}
			field := strings.Split(path, ".")
			named := strings.Contains(before, "linux.resources."+path+":") || strings.Contains(before, "linux.resources."+field[0]+"."+field[min(1, len(field)-1)])
			if allOf(plan(res)) == before && !named {
				t.Errorf("%s: %s has no effect and is not refused", version, path)
			}
		}
	}
}

// allOf is everything that a plan says.
func allOf(p plan) string {
	var b strings.Builder
	for _, s := range p.steps {
		fmt.Fprintf(&b, "%s %s %q %v", s.field, s.file, s.raw, s.optional)
		deep(&b, reflect.ValueOf(s.v2))
		b.WriteByte('\n')
	}
	for _, err := range p.errs {
		fmt.Fprintln(&b, err)
	}
	return b.String() + strings.Join(p.warnings, "\n")
}

// deep prints a value with what its pointers lead to.
func deep(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			deep(b, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fmt.Fprintf(b, " %s:", v.Type().Field(i).Name)
			deep(b, v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			deep(b, v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			fmt.Fprintf(b, " %v:", key)
			deep(b, v.MapIndex(key))
		}
	default:
		fmt.Fprintf(b, "%v", v)
	}
}
