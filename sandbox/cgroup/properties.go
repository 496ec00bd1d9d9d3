package cgroup

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/godbus/dbus/v5"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"winbox/sandbox/cgroup/systemd"
)

// properties collects what systemd is told of limits (systemd.resource-control(5)).
type properties struct {
	list    []systemd.Property
	version func() int // systemd's; asked for only when it matters
}

func (p *properties) add(name string, value any) {
	p.list = append(p.list, systemd.NewProperty(name, value))
}

// limit adds a number, of which -1 is none: systemd's infinity is the largest.
func (p *properties) limit(name string, v *int64) {
	if set(v) {
		p.add(name, uint64(*v))
	}
}

// limitProperties are the limits that systemd has properties for. It is told of
// them although they are written to the files as well: whenever it writes a
// group's files anew, it writes what it knows. Where its properties are coarser
// than the files, or missing in an old version, the files have the exact limit.
func (g *Group) limitProperties(res *specs.LinuxResources, version func() int) ([]systemd.Property, error) {
	p := &properties{version: version}
	var err error
	if g.mode == V2 {
		err = p.addV2(res, g.read)
	} else {
		p.addV1(res)
	}
	return p.list, err
}

func (p *properties) addV1(res *specs.LinuxResources) {
	if m := res.Memory; m != nil {
		p.limit("MemoryLimit", m.Limit)
	}
	if c := res.CPU; c != nil {
		if set(c.Shares) {
			p.add("CPUShares", *c.Shares)
		}
		p.addQuota(c.Quota, c.Period)
	}
	if b := res.BlockIO; b != nil && set(b.Weight) {
		p.add("BlockIOWeight", uint64(*b.Weight))
	}
	p.addPids(res.Pids)
}

func (p *properties) addV2(res *specs.LinuxResources, read func(string) string) error {
	if m := res.Memory; m != nil {
		p.limit("MemoryMax", m.Limit)
		p.limit("MemoryLow", m.Reservation)
		swap, ok, err := swapV2(m, read)
		if err != nil {
			return err
		}
		if ok {
			p.add("MemorySwapMax", uint64(swap))
		}
	}
	if c := res.CPU; c != nil {
		idle := c.Idle != nil && *c.Idle == 1
		switch {
		case idle && p.version() >= 252: // since then, weight 0 means so
			p.add("CPUWeight", uint64(0))
		case set(c.Shares) && !idle:
			p.add("CPUWeight", cgroup2.ConvertCPUSharesToCgroupV2Value(*c.Shares))
		}
		p.addQuota(c.Quota, c.Period)
		if err := p.addSets(c.Cpus, c.Mems); err != nil {
			return err
		}
	}
	if b := res.BlockIO; b != nil && set(b.Weight) && *b.Weight >= 10 && *b.Weight <= 1000 {
		p.add("IOWeight", uint64(ioWeight(*b.Weight)))
	}
	p.addPids(res.Pids)
	for _, key := range sortedKeys(res.Unified) {
		if err := p.addUnified(key, strings.TrimSpace(res.Unified[key])); err != nil {
			return fmt.Errorf("linux.resources.unified.%s: %w", key, err)
		}
	}
	return nil
}

func (p *properties) addPids(pids *specs.LinuxPids) {
	if pids != nil {
		p.limit("TasksMax", pids.Limit)
	}
}

// defaultPeriod is the kernel's, in microseconds (scheduler/sched-bwc).
const defaultPeriod = 100_000

// addQuota adds processor time. systemd counts it in hundredths of a second, so
// that a quota is rounded up: the file then holds a little less, which the
// group above must not undercut.
func (p *properties) addQuota(quota *int64, period *uint64) {
	length := uint64(defaultPeriod)
	if set(period) {
		length = *period
		if p.version() >= 242 {
			p.add("CPUQuotaPeriodUSec", length)
		}
	}
	switch {
	case !set(quota):
		// A new period alone does not change the share; what it is now, only the file knows.
	case *quota < 0:
		p.add("CPUQuotaPerSecUSec", uint64(math.MaxUint64))
	default:
		const hundredth = 10_000 // microseconds
		perSecond := uint64(math.Ceil(float64(*quota) * 1e6 / float64(length)))
		p.add("CPUQuotaPerSecUSec", (perSecond+hundredth-1)/hundredth*hundredth)
	}
}

// addSets adds processors and memory nodes. Their names are in systemd since version 244.
func (p *properties) addSets(cpus, mems string) error {
	for _, s := range []struct{ property, field, list string }{{"AllowedCPUs", "cpus", cpus}, {"AllowedMemoryNodes", "mems", mems}} {
		if s.list == "" {
			continue
		}
		mask, err := bitMask(s.list)
		if err != nil {
			return fmt.Errorf("linux.resources.cpu.%s: %w", s.field, err)
		}
		if p.version() >= 244 {
			p.add(s.property, mask)
		}
	}
	return nil
}

// bitMask turns a list such as "0-2,7" into the bytes that systemd takes, the
// lowest bit of the first for number 0.
func bitMask(list string) ([]byte, error) {
	const most = 1 << 16 // more than any kernel has
	var mask []byte
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(from, 10, 32)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(to, 10, 32)
		}
		if err != nil || last < first || last >= most {
			return nil, fmt.Errorf("%q is not a list such as 0-2,7", list)
		}
		for n := first; n <= last; n++ {
			for uint64(len(mask)) <= n/8 {
				mask = append(mask, 0)
			}
			mask[n/8] |= 1 << (n % 8)
		}
	}
	return mask, nil
}

// unifiedNumbers are the files that hold one number, or "max", which systemd has a property for.
var unifiedNumbers = map[string]string{
	"memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin", "memory.max": "MemoryMax",
	"memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax", "cpu.weight": "CPUWeight",
}

// addUnified adds what linux.resources.unified says, as far as systemd knows it.
func (p *properties) addUnified(key, value string) error {
	if name := unifiedNumbers[key]; name != "" {
		n := uint64(math.MaxUint64)
		if value != "max" {
			var err error
			if n, err = strconv.ParseUint(value, 10, 64); err != nil {
				return fmt.Errorf("%q is neither a number nor max", value)
			}
		}
		p.add(name, n)
		return nil
	}
	switch key {
	case "cpuset.cpus":
		return p.addSets(value, "")
	case "cpuset.mems":
		return p.addSets("", value)
	case "cpu.max":
		fields := strings.Fields(value)
		if len(fields) == 0 || len(fields) > 2 {
			return fmt.Errorf("%q is not a quota and a period", value)
		}
		quota, period := int64(-1), uint64(defaultPeriod)
		var err error
		if fields[0] != "max" {
			quota, err = strconv.ParseInt(fields[0], 10, 64)
		}
		if len(fields) == 2 && err == nil {
			period, err = strconv.ParseUint(fields[1], 10, 64)
		}
		if err != nil {
			return fmt.Errorf("%q is not a quota and a period", value)
		}
		p.addQuota(&quota, &period)
	}
	return nil
}

// deviceAllow is an entry of the property DeviceAllow.
type deviceAllow struct{ Device, Access string }

// deviceProperties are the rules for devices. A user's manager cannot enforce any.
//
// systemd has a list of what is allowed, and nothing else is. What cannot be
// said so leaves everything to the filter that is put in force here; on v1 that
// would be undone by systemd's next daemon-reload, so it is refused.
func (g *Group) deviceProperties(asked []specs.LinuxDeviceCgroup) ([]systemd.Property, error) {
	if g.scope.unit.User || len(asked) == 0 {
		return nil, nil
	}
	rules, err := parseRules(asked)
	if err != nil {
		return nil, err
	}
	policy, list := "strict", []deviceAllow{}
	normal, err := normalizeV1(rules)
	if err == nil && !normal[0].Allow {
		for _, rule := range normal[1:] {
			name, ok := deviceName(&rule)
			if !ok {
				err = fmt.Errorf("%w: systemd cannot allow a minor number of every major one: %s", ErrUnsupported, describe(rule))
				break
			}
			list = append(list, deviceAllow{name, rule.Access})
		}
	}
	if err != nil && g.mode == V1 {
		return nil, fmt.Errorf("linux.resources.devices: %w", err)
	}
	if err != nil || normal[0].Allow {
		policy, list = "auto", list[:0]
	}
	return []systemd.Property{
		systemd.NewProperty("DevicePolicy", policy),
		// An empty list clears what systemd adds by itself.
		{Name: "DeviceAllow", Value: dbus.MakeVariant([]deviceAllow{})},
		{Name: "DeviceAllow", Value: dbus.MakeVariant(slices.Clone(list))},
	}, nil
}

// deviceName writes a device, or all of one driver or kind, as DeviceAllow has it.
func deviceName(rule *specs.LinuxDeviceCgroup) (name string, ok bool) {
	kind := "char"
	if rule.Type == "b" {
		kind = "block"
	}
	switch {
	case *rule.Major == wild && *rule.Minor == wild:
		return kind + "-*", true
	case *rule.Major == wild:
		return "", false
	case *rule.Minor == wild:
		return fmt.Sprintf("%s-%d", kind, *rule.Major), true
	}
	return fmt.Sprintf("/dev/%s/%d:%d", kind, *rule.Major, *rule.Minor), true
}
