package wine

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/oci"
	"winbox/preload"
)

// A windowsSection is what the section `windows` of a configuration asks for (runtime-spec, config-windows.md), on its way into
// the section `linux`, which is what the container is built of.
type windowsSection struct {
	asked *specs.Windows
	// processors are those of the host, by number.
	processors []int
	warnings   []string
}

// readWindows carries the section `windows` over into spec.Linux, but for its storage, which depends on where drive C: is:
// see [windowsSection.storage]. What nobody can do here is refused or warned of.
func readWindows(spec *specs.Spec, processors []int) (*windowsSection, error) {
	s := &windowsSection{asked: spec.Windows, processors: processors}
	if s.asked == nil {
		return s, nil
	}
	if spec.Linux == nil {
		s.addLinux(spec)
	}
	if err := s.refuse(); err != nil {
		return s, err
	}
	asked := s.asked.Resources
	if asked == nil {
		return s, nil
	}
	var res specs.LinuxResources
	if spec.Linux.Resources != nil {
		res = *spec.Linux.Resources
	}
	if err := s.memory(&res, asked.Memory); err != nil {
		return s, fmt.Errorf("windows.resources.memory.%w", err)
	}
	if err := s.cpu(&res, asked.CPU); err != nil {
		return s, fmt.Errorf("windows.resources.cpu.%w", err)
	}
	linux := *spec.Linux
	linux.Resources, spec.Linux = &res, &linux
	return s, nil
}

func (s *windowsSection) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// addLinux gives a configuration that was written for Windows alone what there is no word for in it: namespaces of its
// own, and the file systems of the kernel.
func (s *windowsSection) addLinux(spec *specs.Spec) {
	standard := oci.NewSpec()
	spec.Linux = standard.Linux
	have := func(m specs.Mount) bool {
		return m.Type == "cgroup" || slices.ContainsFunc(spec.Mounts, func(own specs.Mount) bool { return own.Destination == m.Destination })
	}
	spec.Mounts = append(slices.DeleteFunc(standard.Mounts, have), spec.Mounts...)
}

// refuse finds what is not for Wine, nor for a container of Linux.
func (s *windowsSection) refuse() error {
	w := s.asked
	switch {
	case len(w.Devices) > 0:
		return fmt.Errorf("windows.devices: %q: devices of Windows, which have drivers there, are not to be had; for devices of Linux there is linux.devices", w.Devices[0].ID)
	case w.HyperV != nil:
		return errors.New("windows.hyperv: winbox has no virtual machine; leave it out for the isolation of a Linux container")
	case w.CredentialSpec != nil:
		return errors.New("windows.credentialSpec: group managed service accounts are not to be had: Wine is in no domain")
	case w.Servicing:
		return errors.New("windows.servicing: there is no Windows Update here")
	}
	if len(w.LayerFolders) > 0 {
		s.warn("windows.layerFolders: not used: the image is in root.path")
	}
	if w.IgnoreFlushesDuringBoot {
		s.warn("windows.ignoreFlushesDuringBoot: no effect: nothing is flushed while Wine boots")
	}
	if n := w.Network; n != nil {
		switch {
		case len(n.EndpointList) > 0:
			return errors.New("windows.network.endpointList: there is no Host Network Service here; the network is that of the network namespace in linux.namespaces")
		case n.NetworkSharedContainerName != "":
			return errors.New("windows.network.networkSharedContainerName: name the other container's network namespace in linux.namespaces")
		case n.NetworkNamespace != "":
			return errors.New("windows.network.networkNamespace: name it in linux.namespaces")
		case len(n.DNSSearchList) > 0:
			return errors.New("windows.network.DNSSearchList: mount an /etc/resolv.conf that has it")
		}
	}
	return nil
}

// memory takes a limit for what Windows counts: memory that is committed, in memory or in the page file. So swap is in it.
func (s *windowsSection) memory(res *specs.LinuxResources, asked *specs.WindowsMemoryResources) error {
	if asked == nil || asked.Limit == nil || *asked.Limit == 0 {
		return nil
	}
	if *asked.Limit > math.MaxInt64 {
		return fmt.Errorf("limit: %d bytes are more than there can be", *asked.Limit)
	}
	limit := int64(*asked.Limit)
	var m specs.LinuxMemory
	if res.Memory != nil {
		m = *res.Memory
	}
	m.Limit = s.stricter("memory.limit", m.Limit, limit)
	m.Swap = s.stricter("memory.swap", m.Swap, max(limit, *m.Limit))
	res.Memory = &m
	return nil
}

// stricter is the lower of two limits, of which that of linux.resources may be absent, zero or -1 for none.
func (s *windowsSection) stricter(field string, linux *int64, windows int64) *int64 {
	if linux == nil || *linux <= 0 {
		return &windows
	}
	if *linux != windows {
		s.both(field, fmt.Sprint(*linux), fmt.Sprint(windows), fmt.Sprint(min(*linux, windows)))
	}
	return new(min(*linux, windows))
}

// both warns that the two sections ask for different things.
func (s *windowsSection) both(field, linux, windows, counts string) {
	s.warn("linux.resources.%s asks for %s, the section windows for %s: %s counts", field, linux, windows, counts)
}

// Bounds of processor time on Linux, in microseconds (kernel: scheduler/sched-bwc).
const (
	usualPeriod   = 100_000
	longestPeriod = 1_000_000
	smallestQuota = 1_000
)

// highest is the largest value of cpu.shares and cpu.maximum.
const highest = 10_000

// cpu takes over processor time. Windows has one kind of limit at a time, of count, shares and maximum; here they go
// together.
func (s *windowsSection) cpu(res *specs.LinuxResources, asked *specs.WindowsCPUResources) error {
	if asked == nil {
		return nil
	}
	var c specs.LinuxCPU
	if res.CPU != nil {
		c = *res.CPU
	}
	share := math.Inf(1) // processors
	if asked.Count != nil && *asked.Count > 0 {
		share = float64(*asked.Count)
		if n := len(s.processors); *asked.Count > uint64(n) {
			s.warn("windows.resources.cpu.count: %d are more processors than there are; %d count", *asked.Count, n)
			share = float64(n)
		}
	}
	if asked.Maximum != nil && *asked.Maximum > 0 {
		if *asked.Maximum > highest {
			return fmt.Errorf("maximum: %d is not between 1 and %d, hundredths of a percent of all processors", *asked.Maximum, highest)
		}
		maximum := float64(*asked.Maximum) / highest * float64(len(s.processors))
		if !math.IsInf(share, 1) && maximum != share {
			s.warn("windows.resources.cpu.count and maximum are both given: the stricter, %v processors, counts", min(share, maximum))
		}
		share = min(share, maximum)
	}
	if err := s.quota(&c, share); err != nil {
		return err
	}
	if asked.Shares != nil && *asked.Shares > 0 {
		if *asked.Shares > highest {
			return fmt.Errorf("shares: %d is not between 0 and %d", *asked.Shares, highest)
		}
		shares := linuxShares(*asked.Shares)
		if c.Shares != nil && *c.Shares > 0 && *c.Shares != shares {
			s.both("cpu.shares", fmt.Sprint(*c.Shares), fmt.Sprint(shares), fmt.Sprint(min(*c.Shares, shares)))
			shares = min(*c.Shares, shares)
		}
		c.Shares = &shares
	}
	if len(asked.Affinity) > 0 {
		if err := s.affinity(&c, asked.Affinity); err != nil {
			return fmt.Errorf("affinity%w", err)
		}
	}
	res.CPU = &c
	return nil
}

// linuxShares gives the weight among containers on Linux for one on Windows. Both are proportions; the usual one is 1024
// here and 5000 there (hcsshim's weight of a job that says nothing: 5 of 9, for 5000 of 10000). Linux's least is 2.
func linuxShares(windows uint16) uint64 {
	return max(2, (uint64(windows)*1024+2500)/5000)
}

// quota limits processor time to so many processors, unless less is asked for already.
func (s *windowsSection) quota(c *specs.LinuxCPU, share float64) error {
	if math.IsInf(share, 1) {
		return nil
	}
	if c.Quota != nil && *c.Quota > 0 {
		period := float64(usualPeriod)
		if c.Period != nil && *c.Period > 0 {
			period = float64(*c.Period)
		}
		have := float64(*c.Quota) / period
		if have != share {
			s.both("cpu.quota", fmt.Sprintf("%v processors", have), fmt.Sprintf("%v processors", share), fmt.Sprintf("%v", min(have, share)))
		}
		if have <= share {
			return nil
		}
	}
	period := float64(usualPeriod)
	if share*period < smallestQuota {
		period = longestPeriod
	}
	if share*period < smallestQuota {
		return fmt.Errorf("maximum: %v of a processor is less than Linux can limit to, %v", share, float64(smallestQuota)/longestPeriod)
	}
	c.Period, c.Quota = new(uint64(period)), new(int64(math.Round(share*period)))
	return nil
}

// affinity takes over the processors to run on. A group has 64 of them (Microsoft, "Processor Groups").
func (s *windowsSection) affinity(c *specs.LinuxCPU, asked []specs.WindowsCPUGroupAffinity) error {
	var list []int
	for i, a := range asked {
		if a.Mask == 0 {
			return fmt.Errorf("[%d].mask: no processor is in it", i)
		}
		for bit := range 64 {
			if a.Mask>>bit&1 == 0 {
				continue
			}
			n := int(min(a.Group, math.MaxInt32/64))*64 + bit
			if !slices.Contains(s.processors, n) {
				return fmt.Errorf("[%d]: group %d has no processor %d here (the processors are %s)", i, a.Group, bit, formatList(s.processors))
			}
			list = append(list, n)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if c.Cpus != "" {
		others, err := parseList(c.Cpus)
		if err != nil {
			return fmt.Errorf(": linux.resources.cpu.cpus: %w", err)
		}
		if !slices.Equal(list, others) {
			common := slices.DeleteFunc(slices.Clone(list), func(n int) bool { return !slices.Contains(others, n) })
			if len(common) == 0 {
				return fmt.Errorf(": it has no processor in common with linux.resources.cpu.cpus: %s and %s", formatList(list), c.Cpus)
			}
			s.both("cpu.cpus", c.Cpus, formatList(list), formatList(common))
			list = common
		}
	}
	c.Cpus = formatList(list)
	return nil
}

// storage limits reading and writing of the block device on which drive C: lies, each by itself: the kernel has no limit for
// their sum. dir is the folder of drive C:, or where it will be.
func (s *windowsSection) storage(spec *specs.Spec, dir string) error {
	if s.asked == nil || s.asked.Resources == nil || s.asked.Resources.Storage == nil {
		return nil
	}
	asked := s.asked.Resources.Storage
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	if size := asked.SandboxSize; size != nil && *size > 0 {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return fmt.Errorf("windows.resources.storage.sandboxSize: %s: %w", dir, err)
		}
		if free := st.Bavail * uint64(st.Bsize); free < *size {
			return fmt.Errorf("windows.resources.storage.sandboxSize: %s are asked for at least, and %s, where drive C: lies, has %s",
				preload.FormatSize(*size), dir, preload.FormatSize(free))
		}
	}
	limits := []struct {
		field string
		value *uint64
		lists func(*specs.LinuxBlockIO) [2]*[]specs.LinuxThrottleDevice
	}{
		{"iops", asked.Iops, func(b *specs.LinuxBlockIO) [2]*[]specs.LinuxThrottleDevice {
			return [2]*[]specs.LinuxThrottleDevice{&b.ThrottleReadIOPSDevice, &b.ThrottleWriteIOPSDevice}
		}},
		{"bps", asked.Bps, func(b *specs.LinuxBlockIO) [2]*[]specs.LinuxThrottleDevice {
			return [2]*[]specs.LinuxThrottleDevice{&b.ThrottleReadBpsDevice, &b.ThrottleWriteBpsDevice}
		}},
	}
	var blockIO specs.LinuxBlockIO
	if r := spec.Linux.Resources; r != nil && r.BlockIO != nil {
		blockIO = *r.BlockIO
	}
	limited := false
	for _, l := range limits {
		if l.value == nil || *l.value == 0 {
			continue
		}
		major, minor, err := blockDevice(dir)
		if err != nil {
			return fmt.Errorf("windows.resources.storage.%s: %w", l.field, err)
		}
		limited = true
		for _, list := range l.lists(&blockIO) {
			*list = s.throttle(slices.Clone(*list), l.field, major, minor, *l.value)
		}
	}
	if limited {
		res := *spec.Linux.Resources
		res.BlockIO = &blockIO
		linux := *spec.Linux
		linux.Resources, spec.Linux = &res, &linux
	}
	return nil
}

// throttle adds a rate for a device to a list, or lowers the one that it has.
func (s *windowsSection) throttle(list []specs.LinuxThrottleDevice, field string, major, minor int64, rate uint64) []specs.LinuxThrottleDevice {
	for i := range list {
		d := &list[i]
		if d.Major != major || d.Minor != minor || d.Rate == 0 {
			continue
		}
		if d.Rate != rate {
			s.both(fmt.Sprintf("blockIO of %d:%d", major, minor), fmt.Sprint(d.Rate), fmt.Sprintf("storage.%s %d", field, rate), fmt.Sprint(min(d.Rate, rate)))
			d.Rate = min(d.Rate, rate)
		}
		return list
	}
	return append(list, specs.LinuxThrottleDevice{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: major, Minor: minor}, Rate: rate})
}

// blockDevice finds the disk of a folder. The kernel limits whole disks, not partitions (block/blk-cgroup.c:
// blkg_conf_open_bdev).
func blockDevice(dir string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", dir, err)
	}
	none := fmt.Errorf("drive C: lies in %s, on no disk that can be limited (a tmpfs, a network's or a composed file system)", dir)
	if unix.Major(st.Dev) == 0 {
		return 0, 0, none
	}
	at := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	if _, err := os.Stat(at + "/partition"); err == nil {
		at += "/.."
	}
	text, err := os.ReadFile(at + "/dev")
	if err != nil {
		return 0, 0, none
	}
	if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("%s/dev: %w", at, err)
	}
	return major, minor, nil
}

// hostProcessors lists the processors of the host that are in use.
func hostProcessors() ([]int, error) {
	const file = "/sys/devices/system/cpu/online"
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := parseList(strings.TrimSpace(string(text)))
	if err != nil || len(list) == 0 {
		return nil, fmt.Errorf("%s: %q is no list of processors", file, text)
	}
	return list, nil
}

// parseList reads a list such as 0-2,7 (cpuset(7), "List format"), in order.
func parseList(text string) ([]int, error) {
	set := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		const most = 1 << 16 // more than any kernel has
		first, err := strconv.Atoi(from)
		last, lastErr := strconv.Atoi(to)
		if err != nil || lastErr != nil || first < 0 || last < first || last >= most {
			return nil, fmt.Errorf("%q is not a list such as 0-2,7", text)
		}
		for n := first; n <= last; n++ {
			set[n] = true
		}
	}
	return slices.Sorted(maps.Keys(set)), nil
}

// formatList writes a list in order as [parseList] reads it.
func formatList(list []int) string {
	var parts []string
	for i := 0; i < len(list); {
		end := i
		for end+1 < len(list) && list[end+1] == list[end]+1 {
			end++
		}
		part := strconv.Itoa(list[i])
		if end > i {
			part += "-" + strconv.Itoa(list[end])
		}
		parts, i = append(parts, part), end+1
	}
	return strings.Join(parts, ",")
}
