package preload

import (
	"os"
	"strconv"
	"strings"
)

// HostOptions returns Options with the facts of this host: vm.mmap_min_addr. A
// fact that cannot be read keeps its default.
func HostOptions() Options {
	var opt Options
	if b, err := os.ReadFile("/proc/sys/vm/mmap_min_addr"); err == nil {
		opt.MmapMinAddr, _ = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	}
	return opt
}
