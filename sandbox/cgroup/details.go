package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Details is what a group's counters tell beyond [Stats]. What a host does not
// count is zero or empty.
type Details struct {
	Stats
	// PerCPU, PerCPUUser and PerCPUKernel are nanoseconds for each processor; v1 only.
	PerCPU, PerCPUUser, PerCPUKernel []uint64
	// MemoryStat is the content of memory.stat. The names differ between v1 and v2.
	MemoryStat map[string]uint64
	// PageCache is memory that holds the content of files.
	PageCache uint64
	// Kernel and KernelTCP are memory of the kernel, and of its TCP buffers; v1
	// only, and part of Stats.Memory there.
	Kernel, KernelTCP MemoryStats
	// CPUs and Mems are the processors and memory nodes that the group may use.
	CPUs, Mems []uint16
	// CPUSet holds the other settings of a v1 cpuset, by the name after "cpuset.".
	CPUSet map[string]int64
	// ServiceBytes and Serviced count bytes and operations of block devices.
	ServiceBytes, Serviced []BlockIOCount
	// HugePages are the huge pages in use, by their size ("2MB"); without a limit.
	HugePages map[string]MemoryStats
}

// BlockIOCount counts for one device and kind of operation.
type BlockIOCount struct {
	Major, Minor uint64
	// Op is what v1 calls it: Read, Write, Sync, Async, Discard or Total.
	Op    string
	Value uint64
}

// cpusetSettings are the files of a v1 cpuset that hold one number (kernel:
// admin-guide/cgroup-v1/cpusets).
var cpusetSettings = []string{
	"cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab", "memory_pressure",
	"sched_load_balance", "sched_relax_domain_level",
}

// Details reads all of the group's counters, some dozens of files; [Group.Stats]
// has the important ones for less.
func (g *Group) Details() (*Details, error) {
	stats, err := g.Stats()
	if err != nil {
		return nil, err
	}
	d := &Details{Stats: *stats}
	read := d.readV1
	if g.mode == V2 {
		read = d.readV2
	}
	if err := read(g); err != nil {
		return nil, fmt.Errorf("statistics of cgroup %s: %w", g.path, err)
	}
	return d, nil
}

func (d *Details) readV1(g *Group) error {
	var err error
	if d.MemoryStat, err = parseFlat(g.read("memory.stat")); err != nil {
		return fmt.Errorf("memory.stat: %w", err)
	}
	d.PageCache = d.MemoryStat["cache"]
	d.Kernel, d.KernelTCP = g.memoryEntry("memory.kmem"), g.memoryEntry("memory.kmem.tcp")
	if err := d.perCPU(g); err != nil {
		return err
	}
	if d.CPUs, err = parseList(g.read("cpuset.cpus")); err != nil {
		return fmt.Errorf("cpuset.cpus: %w", err)
	}
	if d.Mems, err = parseList(g.read("cpuset.mems")); err != nil {
		return fmt.Errorf("cpuset.mems: %w", err)
	}
	d.CPUSet = map[string]int64{}
	for _, name := range cpusetSettings {
		if value, err := strconv.ParseInt(g.read("cpuset."+name), 10, 64); err == nil {
			d.CPUSet[name] = value
		}
	}
	if d.ServiceBytes, err = g.blkioV1("io_service_bytes"); err != nil {
		return err
	}
	if d.Serviced, err = g.blkioV1("io_serviced"); err != nil {
		return err
	}
	if h := g.hierarchy("hugetlb"); h != nil {
		d.HugePages = hugePages(h.dir(), "usage_in_bytes", func(size string) MemoryStats { return g.memoryEntry("hugetlb." + size) })
	} else if h := g.unified(); h != nil {
		d.HugePages = hugePagesV2(h.dir())
	}
	return nil
}

// perCPU reads the counters of cpuacct. The file usage_all has the columns
// processor, user and system after a line of titles (Linux 4.8).
func (d *Details) perCPU(g *Group) error {
	var err error
	if d.PerCPU, err = parseNumbers(g.read("cpuacct.usage_percpu")); err != nil {
		return fmt.Errorf("cpuacct.usage_percpu: %w", err)
	}
	first := true
	for line := range strings.Lines(g.read("cpuacct.usage_all")) {
		if first {
			first = false
			continue
		}
		row, err := parseNumbers(line)
		if err != nil || len(row) != 3 {
			return fmt.Errorf("cpuacct.usage_all: line %q is not three numbers", line)
		}
		d.PerCPUUser, d.PerCPUKernel = append(d.PerCPUUser, row[1]), append(d.PerCPUKernel, row[2])
	}
	return nil
}

// memoryEntry reads the files that v1 has for each kind of memory.
func (g *Group) memoryEntry(prefix string) MemoryStats {
	return MemoryStats{
		Usage: g.number(prefix + ".usage_in_bytes"), Peak: g.number(prefix + ".max_usage_in_bytes"),
		Limit: unlimited(g.number(prefix + ".limit_in_bytes")), Failures: g.number(prefix + ".failcnt"),
	}
}

// number reads a file with one number; 0 where the kernel does not count.
func (g *Group) number(file string) uint64 {
	value, _ := strconv.ParseUint(g.read(file), 10, 64)
	return value
}

// blkioV1 reads the counters of the I/O scheduler where it counts, else those of
// the throttling layer; with the groups below where the kernel adds them up.
func (g *Group) blkioV1(name string) ([]BlockIOCount, error) {
	for _, file := range []string{"blkio.bfq." + name + "_recursive", "blkio.throttle." + name + "_recursive", "blkio.throttle." + name} {
		counts, err := parseBlkioV1(g.read(file))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(counts) > 0 {
			return counts, nil
		}
	}
	return nil, nil
}

// parseBlkioV1 reads lines such as "8:0 Read 4096". The sum over all devices, at
// the end, is left out.
func parseBlkioV1(text string) ([]BlockIOCount, error) {
	var counts []BlockIOCount
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		c := BlockIOCount{Op: fields[1]}
		var err error
		if c.Major, c.Minor, err = parseDevice(fields[0]); err != nil {
			return nil, err
		}
		if c.Value, err = strconv.ParseUint(fields[2], 10, 64); err != nil {
			return nil, err
		}
		counts = append(counts, c)
	}
	return counts, nil
}

func (d *Details) readV2(g *Group) error {
	var err error
	if d.MemoryStat, err = parseFlat(g.read("memory.stat")); err != nil {
		return fmt.Errorf("memory.stat: %w", err)
	}
	d.PageCache = d.MemoryStat["file"]
	if d.CPUs, err = parseList(g.read("cpuset.cpus.effective")); err != nil {
		return fmt.Errorf("cpuset.cpus.effective: %w", err)
	}
	if d.Mems, err = parseList(g.read("cpuset.mems.effective")); err != nil {
		return fmt.Errorf("cpuset.mems.effective: %w", err)
	}
	if d.ServiceBytes, d.Serviced, err = parseIOStat(g.read("io.stat")); err != nil {
		return fmt.Errorf("io.stat: %w", err)
	}
	d.HugePages = hugePagesV2(g.unified().dir())
	return nil
}

// parseIOStat reads lines such as "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0
// dios=0" (kernel: admin-guide/cgroup-v2, io.stat).
func parseIOStat(text string) (bytes, operations []BlockIOCount, err error) {
	ops := map[byte]string{'r': "Read", 'w': "Write", 'd': "Discard"}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 { // a device without counters
			continue
		}
		major, minor, err := parseDevice(fields[0])
		if err != nil {
			return nil, nil, err
		}
		for _, field := range fields[1:] {
			key, text, _ := strings.Cut(field, "=")
			var list *[]BlockIOCount
			switch {
			case key == "" || ops[key[0]] == "":
				continue // of an I/O controller
			case key[1:] == "bytes":
				list = &bytes
			case key[1:] == "ios":
				list = &operations
			default:
				continue
			}
			value, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return nil, nil, err
			}
			*list = append(*list, BlockIOCount{Major: major, Minor: minor, Op: ops[key[0]], Value: value})
		}
	}
	return bytes, operations, nil
}

// hugePagesV2 reads the counters of the hugetlb controller of cgroup2.
func hugePagesV2(dir string) map[string]MemoryStats {
	return hugePages(dir, "current", func(size string) MemoryStats {
		prefix := dir + "/hugetlb." + size
		current, _ := readFile(prefix + ".current")
		usage, _ := strconv.ParseUint(strings.TrimSpace(string(current)), 10, 64)
		events, _ := readFile(prefix + ".events")
		counts, _ := parseFlat(string(events))
		return MemoryStats{Usage: usage, Failures: counts["max"]}
	})
}

// hugePages finds the sizes that the group counts, by the files hugetlb.SIZE.suffix.
func hugePages(dir, suffix string, read func(size string) MemoryStats) map[string]MemoryStats {
	files, _ := filepath.Glob(dir + "/hugetlb.*." + suffix) // the pattern is well-formed
	pages := map[string]MemoryStats{}
	for _, file := range files {
		size := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "hugetlb."), "."+suffix)
		if !strings.HasSuffix(size, ".rsvd") { // what is reserved, not what is used
			pages[size] = read(size)
		}
	}
	return pages
}

// parseFlat reads lines of a name and a number.
func parseFlat(text string) (map[string]uint64, error) {
	values := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, err
		}
		values[name] = value
	}
	return values, nil
}

func parseNumbers(text string) ([]uint64, error) {
	var list []uint64
	for field := range strings.FieldsSeq(text) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// parseList reads a list of numbers such as "0-3,6" (cpuset(7), "List format").
func parseList(text string) ([]uint16, error) {
	var list []uint16
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return nil, err
		}
		last, err := strconv.ParseUint(to, 10, 16)
		if err != nil {
			return nil, err
		}
		for n := first; n <= last; n++ {
			list = append(list, uint16(n))
		}
	}
	slices.Sort(list)
	return list, nil
}

func parseDevice(text string) (major, minor uint64, err error) {
	if _, err := fmt.Sscanf(text, "%d:%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("%q is not a device number", text)
	}
	return major, minor, nil
}
