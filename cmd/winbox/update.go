package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"winbox/internal/sizes"
	"winbox/oci"
	"winbox/sandbox"
	"winbox/wine"
)

// limitFlag is a flag of update that sets one limit.
type limitFlag struct {
	name, usage string
	set         func(res *specs.LinuxResources, text string) error
}

var limitFlags = []limitFlag{
	{"blkio-weight", "share of block device time, 10 to 1000", func(r *specs.LinuxResources, s string) error {
		return number(&r.BlockIO.Weight, s, func(s string) (uint16, error) {
			n, err := strconv.ParseUint(s, 10, 16)
			return uint16(n), err
		})
	}},
	{"cpu-period", "length of a period for cpu-quota, in microseconds", func(r *specs.LinuxResources, s string) error { return number(&r.CPU.Period, s, parseUint) }},
	{"cpu-quota", "processor time in a period, in microseconds; -1 for no limit", func(r *specs.LinuxResources, s string) error { return number(&r.CPU.Quota, s, parseInt) }},
	{"cpu-burst", "unused processor time that may be added to a later period, in microseconds", func(r *specs.LinuxResources, s string) error { return number(&r.CPU.Burst, s, parseUint) }},
	{"cpu-share", "share of processor time, 2 to 262144; 1024 is usual", func(r *specs.LinuxResources, s string) error { return number(&r.CPU.Shares, s, parseUint) }},
	{"cpu-rt-period", "length of a period for cpu-rt-runtime, in microseconds", func(r *specs.LinuxResources, s string) error { return number(&r.CPU.RealtimePeriod, s, parseUint) }},
	{"cpu-rt-runtime", "real-time processor time in a period, in microseconds", func(r *specs.LinuxResources, s string) error { return number(&r.CPU.RealtimeRuntime, s, parseInt) }},
	{"cpu-idle", "1: run only when nobody else wants a processor; 0: as usual", func(r *specs.LinuxResources, s string) error { return number(&r.CPU.Idle, s, parseInt) }},
	{"cpuset-cpus", "processors to use, such as 0-2,4", func(r *specs.LinuxResources, s string) error { r.CPU.Cpus = s; return nil }},
	{"cpuset-mems", "memory nodes to use", func(r *specs.LinuxResources, s string) error { r.CPU.Mems = s; return nil }},
	{"memory", "memory, such as 512m; -1 for no limit", func(r *specs.LinuxResources, s string) error { return number(&r.Memory.Limit, s, parseSize) }},
	{"memory-reservation", "memory that is left when memory runs short", func(r *specs.LinuxResources, s string) error { return number(&r.Memory.Reservation, s, parseSize) }},
	{"memory-swap", "memory and swap together; -1 for no limit", func(r *specs.LinuxResources, s string) error { return number(&r.Memory.Swap, s, parseSize) }},
	{"memory-swappiness", "how readily memory is swapped out, 0 to 100; cgroup v1 only", func(r *specs.LinuxResources, s string) error { return number(&r.Memory.Swappiness, s, parseUint) }},
	{"pids-limit", "number of tasks; -1 for no limit", func(r *specs.LinuxResources, s string) error { return number(&r.Pids.Limit, s, parseInt) }},
}

// obsoleteLimits are flags of runc that have no effect any more.
var obsoleteLimits = []string{"kernel-memory", "kernel-memory-tcp"}

func updateCommand(g *globals) *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "resources", Aliases: []string{"r"}, Usage: "`FILE` with limits as in linux.resources of config.json; - is standard input"},
	}
	for _, f := range limitFlags {
		flags = append(flags, &cli.StringFlag{Name: f.name, Usage: f.usage})
	}
	for _, name := range obsoleteLimits {
		flags = append(flags, &cli.StringFlag{Name: name, Usage: "obsolete", Hidden: true})
	}
	flags = append(flags,
		&cli.StringFlag{Name: "l3-cache-schema", Usage: "share of the level 3 cache, a `LINE` of resctrl's schemata such as L3:0=f0;1=f"},
		&cli.StringFlag{Name: "mem-bw-schema", Usage: "share of memory bandwidth, a `LINE` of resctrl's schemata such as MB:0=20;1=70"},
	)
	return &cli.Command{
		Name:  "update",
		Usage: "change the limits of a container",
		Description: `Limits that are not given, or zero, stay as they are; --cpu-burst, --cpu-idle,
--memory-swappiness and --pids-limit may be zero. Rules for devices are left alone.

    winbox update --memory 512m --pids-limit 100 box1
    echo '{"cpu": {"quota": 50000, "period": 100000}}' | winbox update -r - box1`,
		ArgsUsage: "ID",
		Flags:     flags,
		Action: g.onContainer(func(c *cli.Context, ct *sandbox.Container) error {
			res, err := resources(c)
			if err != nil {
				return err
			}
			if err := ct.Update(res); err != nil {
				return err
			}
			for _, dir := range ct.Scratch() { // a Windows container's
				if err := wine.Scratch(dir).UpdateLimits(res); err != nil {
					return fmt.Errorf("tell the programs of the new limits: %w", err)
				}
			}
			l3Cache, bandwidth := c.String("l3-cache-schema"), c.String("mem-bw-schema")
			if l3Cache == "" && bandwidth == "" {
				return nil
			}
			return ct.UpdateResctrl(l3Cache, bandwidth)
		}),
	}
}

// noLimits has the sections for limitFlags, without a limit.
func noLimits() *specs.LinuxResources {
	return &specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, BlockIO: &specs.LinuxBlockIO{}, Pids: &specs.LinuxPids{}}
}

// resources are the limits of --resources or of the other flags.
func resources(c *cli.Context) (*specs.LinuxResources, error) {
	for _, name := range obsoleteLimits {
		if c.IsSet(name) {
			slog.Warn("--" + name + " has no effect: kernels no longer have this limit; --memory covers kernel memory")
		}
	}
	res := noLimits()
	file := c.String("resources")
	for _, f := range limitFlags {
		switch {
		case !c.IsSet(f.name):
			continue
		case file != "":
			return nil, fmt.Errorf("--%s: it cannot be combined with --resources; put it there", f.name)
		}
		if err := f.set(res, c.String(f.name)); err != nil {
			return nil, fmt.Errorf("--%s: %q is not a number that fits", f.name, c.String(f.name))
		}
		if c.String(f.name) == "0" && !slices.Contains([]string{"cpu-burst", "cpu-idle", "pids-limit", "memory-swappiness", "cpuset-cpus", "cpuset-mems"}, f.name) {
			slog.Warn("--" + f.name + " 0: no effect; the limit stays as it is")
		}
	}
	if file == "" {
		if c.NumFlags() == 0 {
			return nil, errors.New("update: no limit is given (see --help)")
		}
		return res, nil
	}
	in := c.App.Reader
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("--resources: %w", err)
		}
		defer f.Close()
		in = f
	}
	res, err := oci.DecodeResources(in)
	if err != nil {
		return nil, fmt.Errorf("--resources %s: %w", file, err)
	}
	return res, nil
}

// number sets an optional number.
func number[T any](to **T, text string, parse func(string) (T, error)) error {
	n, err := parse(text)
	if err == nil {
		*to = &n
	}
	return err
}

func parseInt(s string) (int64, error)   { return strconv.ParseInt(s, 10, 64) }
func parseUint(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

// parseSize takes a number of bytes or one with a unit (512m); -1 is no limit.
func parseSize(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	return sizes.Parse(s)
}
