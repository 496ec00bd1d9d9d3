package cgroup

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/containerd/cgroups/v3/cgroup2"
	"golang.org/x/sys/unix"
)

// setDevicesV2 attaches a filter program to the group and detaches the ones that
// were there.
//
// The library only ever adds programs, and the kernel wants all of them to agree,
// so that with it an update could forbid but never allow.
func (g *Group) setDevicesV2(rules []rule) error {
	dir, err := os.Open(g.unified().dir())
	if err != nil {
		return err
	}
	defer dir.Close()
	old, err := link.QueryPrograms(link.QueryOptions{Target: int(dir.Fd()), Attach: ebpf.AttachCGroupDevice})
	if err != nil {
		return fmt.Errorf("list device filters of %s: %w", dir.Name(), err)
	}
	if _, err := cgroup2.LoadAttachCgroupDeviceFilter(deviceFilter(rules), "Apache", int(dir.Fd())); err != nil {
		return fmt.Errorf("attach a device filter to %s (CONFIG_CGROUP_BPF): %w", dir.Name(), err)
	}
	if g.scope != nil {
		return nil // systemd's own is not ours to detach
	}
	for _, p := range old.Programs {
		if err := detach(int(dir.Fd()), p.ID); err != nil {
			return fmt.Errorf("detach the old device filter of %s: %w", dir.Name(), err)
		}
	}
	return nil
}

func detach(dir int, id ebpf.ProgramID) error {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return err
	}
	defer program.Close()
	return link.RawDetachProgram(link.RawDetachProgramOptions{Target: dir, Program: program, Attach: ebpf.AttachCGroupDevice})
}

// deviceFilter compiles rules to a BPF_PROG_TYPE_CGROUP_DEVICE program, which
// returns 1 to allow. The last rule about a device decides, for each kind of
// access by itself; what no rule names is denied.
//
// The library's DeviceFilter is not used: it takes a rule that allows reading for
// one that allows opening for reading and writing, since it asks for any
// common bit, and it dereferences numbers that the spec lets be left out.
func deviceFilter(rules []rule) asm.Instructions {
	// struct bpf_cgroup_dev_ctx (uapi/linux/bpf.h): access_type (kind in the low
	// half, access in the high), major, minor.
	const (
		kind  = asm.R2
		want  = asm.R3 // the bits of access not decided yet
		major = asm.R4
		minor = asm.R5
		tmp   = asm.R1 // the context, once it has been read
	)
	prog := asm.Instructions{
		asm.LoadMem(kind, asm.R1, 0, asm.Word),
		asm.Mov.Reg32(want, kind),
		asm.And.Imm32(kind, 0xffff),
		asm.RSh.Imm32(want, 16),
		asm.LoadMem(major, asm.R1, 4, asm.Word),
		asm.LoadMem(minor, asm.R1, 8, asm.Word),
	}
	for i := len(rules) - 1; i >= 0; i-- {
		r := &rules[i]
		next := fmt.Sprintf("next%d", i)
		device := int32(unix.BPF_DEVCG_DEV_CHAR)
		if r.kind == 'b' {
			device = unix.BPF_DEVCG_DEV_BLOCK
		}
		prog = append(prog, asm.JNE.Imm32(kind, device, next))
		if r.major != wild {
			prog = append(prog, asm.JNE.Imm32(major, int32(r.major), next))
		}
		if r.minor != wild {
			prog = append(prog, asm.JNE.Imm32(minor, int32(r.minor), next))
		}
		if r.allow {
			prog = append(prog,
				asm.And.Imm32(want, int32(accessAll&^r.access)),
				asm.JNE.Imm32(want, 0, next),
				asm.Mov.Imm32(asm.R0, 1),
				asm.Return())
		} else {
			prog = append(prog,
				asm.Mov.Reg32(tmp, want),
				asm.And.Imm32(tmp, int32(r.access)),
				asm.JEq.Imm32(tmp, 0, next),
				asm.Mov.Imm32(asm.R0, 0),
				asm.Return())
		}
		prog = append(prog, asm.Mov.Reg32(tmp, want).WithSymbol(next)) // a place to jump to
	}
	return append(prog, asm.Mov.Imm32(asm.R0, 0), asm.Return())
}
