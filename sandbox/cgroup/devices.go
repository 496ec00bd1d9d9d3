package cgroup

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/moby/sys/userns"
)

// DeviceRules returns the rules for a container whose linux.resources.devices is
// asked: nothing is allowed to begin with, then asked in its order, then
// [DefaultDeviceRules] at the end, where a rule that is asked cannot take them
// away. That is runc's order.
func DeviceRules(asked []specs.LinuxDeviceCgroup) []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Type: "a", Access: "rwm"}}
	rules = append(rules, asked...)
	return append(rules, DefaultDeviceRules()...)
}

// DefaultDeviceRules returns the rules that make a container usable: the devices
// that the runtime spec (config-linux.md, default devices) supplies, terminals,
// and making any node, which is no access to the device behind it. The system
// console, 5:1, is not among them: a container's /dev/console is a terminal.
// The numbers are those of the kernel's admin-guide/devices.
func DefaultDeviceRules() []specs.LinuxDeviceCgroup {
	allow := func(kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: access}
	}
	return []specs.LinuxDeviceCgroup{
		allow("c", wild, wild, "m"),
		allow("b", wild, wild, "m"),
		allow("c", 1, 3, "rwm"),      // null
		allow("c", 1, 5, "rwm"),      // zero
		allow("c", 1, 7, "rwm"),      // full
		allow("c", 1, 8, "rwm"),      // random
		allow("c", 1, 9, "rwm"),      // urandom
		allow("c", 5, 0, "rwm"),      // tty
		allow("c", 5, 2, "rwm"),      // ptmx
		allow("c", 136, wild, "rwm"), // pts/*
	}
}

// wild as a device number stands for all of them.
const wild = -1

// access is a set of ways to use a device, with the kernel's bits
// (uapi/linux/bpf.h: BPF_DEVCG_ACC_*).
type access uint32

const (
	accessMknod access = 1 << iota
	accessRead
	accessWrite
	accessAll = accessMknod | accessRead | accessWrite
)

func (a access) String() string {
	var s strings.Builder
	for _, bit := range []struct {
		a access
		r byte
	}{{accessRead, 'r'}, {accessWrite, 'w'}, {accessMknod, 'm'}} {
		if a&bit.a != 0 {
			s.WriteByte(bit.r)
		}
	}
	return s.String()
}

// rule is a device rule with everything filled in.
type rule struct {
	kind         byte // 'c' or 'b'
	major, minor int64
	access       access
	allow        bool
}

// overlaps reports whether the two can be about one device.
func (r *rule) overlaps(o *rule) bool {
	match := func(a, b int64) bool { return a == wild || b == wild || a == b }
	return r.kind == o.kind && match(r.major, o.major) && match(r.minor, o.minor)
}

func (r *rule) sameDevices(o *rule) bool {
	return r.kind == o.kind && r.major == o.major && r.minor == o.minor
}

func (r *rule) spec() specs.LinuxDeviceCgroup {
	return specs.LinuxDeviceCgroup{Allow: r.allow, Type: string(r.kind), Major: &r.major, Minor: &r.minor, Access: r.access.String()}
}

// parseRules checks device rules and fills in what the runtime spec lets be left
// out: type means both kinds, a number all numbers. A rule for both kinds
// becomes one for each.
func parseRules(asked []specs.LinuxDeviceCgroup) ([]rule, error) {
	var rules []rule
	for i, d := range asked {
		field := fmt.Sprintf("linux.resources.devices[%d]", i)
		r := rule{allow: d.Allow, major: wild, minor: wild}
		for _, n := range []struct {
			name string
			from *int64
			to   *int64
		}{{"major", d.Major, &r.major}, {"minor", d.Minor, &r.minor}} {
			if n.from == nil {
				continue
			}
			if *n.from < wild || *n.from > math.MaxUint32 {
				return nil, fmt.Errorf("%s.%s: %d is not a device number", field, n.name, *n.from)
			}
			*n.to = *n.from
		}
		for _, c := range d.Access {
			switch c {
			case 'r':
				r.access |= accessRead
			case 'w':
				r.access |= accessWrite
			case 'm':
				r.access |= accessMknod
			default:
				return nil, fmt.Errorf("%s.access: %q has letters other than r, w and m", field, d.Access)
			}
		}
		if r.access == 0 { // left out
			r.access = accessAll
		}
		switch d.Type {
		case "", "a":
			r.kind = 'c'
			rules = append(rules, r)
			r.kind = 'b'
		case "c", "u":
			r.kind = 'c'
		case "b":
			r.kind = 'b'
		default:
			return nil, fmt.Errorf("%s.type: %q is not a, b or c", field, d.Type)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// setDevices puts device rules in force in the place of those there.
func (g *Group) setDevices(asked []specs.LinuxDeviceCgroup) error {
	if len(asked) == 0 {
		return nil
	}
	rules, err := parseRules(asked)
	if err != nil {
		return err
	}
	if userns.RunningInUserNS() || os.Geteuid() != 0 {
		// Neither version lets device rules be set there. Nothing is lost: a
		// device node made in a user namespace opens nothing, so that the
		// container has just the nodes that are bind-mounted into it. Only a
		// rule that forbids one of those would be missed.
		if slices.ContainsFunc(asked, func(d specs.LinuxDeviceCgroup) bool {
			return !d.Allow && (d.Major != nil && *d.Major != wild || d.Minor != nil && *d.Minor != wild)
		}) {
			g.warnings = append(g.warnings, "linux.resources.devices: not enforced without root's rights; device nodes made in a user namespace cannot be opened anyway")
		}
		return nil
	}
	if g.mode == V2 {
		err = g.setDevicesV2(rules)
	} else {
		err = g.setDevicesV1(rules)
	}
	if err != nil {
		return fmt.Errorf("linux.resources.devices: %w", err)
	}
	return nil
}

func (g *Group) setDevicesV1(rules []rule) error {
	h := g.hierarchy("devices")
	if h == nil {
		return fmt.Errorf("%w: the devices controller has no hierarchy below %s", ErrUnsupported, mountRoot)
	}
	normal, err := normalizeV1(rules)
	if err != nil {
		return err
	}
	for _, d := range normal {
		verb, text, _ := strings.Cut(describe(d), " ")
		if err := writeFile(h.dir()+"/devices."+verb, text); err != nil {
			return err
		}
	}
	return nil
}

// normalizeV1 turns an ordered list of rules into the shortest one that means the
// same to the v1 controller: deny or allow everything, then the exceptions
// (admin-guide/cgroup-v1/devices). Each rule costs a system call or three, and
// engines name many twice.
//
// The controller keeps a set of exceptions, not an order, and an exception can be
// taken back only as it was made. A rule that would cut a piece out of a
// wider one is refused: the kernel would take it and do nothing.
func normalizeV1(rules []rule) ([]specs.LinuxDeviceCgroup, error) {
	var exceptions []rule
	// A new group has what its parent has. Only a rule for everything makes the
	// start known.
	base, known := false, false
	for i := 0; i < len(rules); i++ {
		r := rules[i]
		if everything(rules[i:]) {
			base, known = r.allow, true
			exceptions = nil
			i++ // its second half, for block devices
			continue
		}
		if !known {
			base, known = !r.allow, true
		}
		at := -1
		for j := range exceptions {
			if exceptions[j].sameDevices(&r) {
				at = j
			}
		}
		switch {
		case r.allow == base:
			// Back to the rule: the exception goes, as far as r reaches.
			for j := range exceptions {
				if j != at && exceptions[j].overlaps(&r) && exceptions[j].access&r.access != 0 {
					e := exceptions[j].spec()
					return nil, fmt.Errorf("%w: cgroup v1 cannot make an exception (%s) to an exception (%s)", ErrUnsupported, describe(r.spec()), describe(e))
				}
			}
			if at >= 0 {
				exceptions[at].access &^= r.access
				if exceptions[at].access == 0 {
					exceptions = append(exceptions[:at], exceptions[at+1:]...)
				}
			}
		case at >= 0:
			exceptions[at].access |= r.access
		default:
			exceptions = append(exceptions, r)
		}
	}
	normal := []specs.LinuxDeviceCgroup{{Allow: base, Type: "a", Access: accessAll.String()}}
	for i := range exceptions {
		normal = append(normal, exceptions[i].spec())
	}
	return normal, nil
}

// everything reports whether the list begins with the two halves of a rule for
// all devices and every access.
func everything(rules []rule) bool {
	if len(rules) < 2 {
		return false
	}
	c, b := rules[0], rules[1]
	whole := rule{kind: 'c', major: wild, minor: wild, access: accessAll, allow: c.allow}
	if c != whole {
		return false
	}
	whole.kind = 'b'
	return b == whole
}

// describe writes a rule as the v1 files do: the file after "devices.", and the text.
func describe(d specs.LinuxDeviceCgroup) string {
	number := func(n *int64) string {
		if n == nil || *n == wild {
			return "*"
		}
		return fmt.Sprint(*n)
	}
	verb := "deny"
	if d.Allow {
		verb = "allow"
	}
	return fmt.Sprintf("%s %s %s:%s %s", verb, d.Type, number(d.Major), number(d.Minor), d.Access)
}
