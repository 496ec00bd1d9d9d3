package preload

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Mapping is one line of /proc/PID/maps (proc(5)).
type Mapping struct {
	// Range is where it is.
	Range Range
	// Perms are "rwxp", with "-" for what is missing and "s" for shared.
	Perms string
	// Offset is the position in the file, in bytes.
	Offset uint64
	// Device and Inode name the file; inode 0 is none.
	Device string
	Inode  uint64
	// Path is the file as the process sees it, with a trailing " (deleted)" if
	// so; a name in brackets such as "[stack]"; or empty. The kernel writes a
	// line feed in a name as "\012"; it is left so.
	Path string
}

// Caps for ParseMaps: far above vm.max_map_count's default of 65,530, and a
// path of PATH_MAX (4,096) with every byte escaped.
const (
	maxMappings = 1 << 20
	maxMapsLine = 32 << 10
)

// ParseMaps reads /proc/PID/maps: mappings that ascend and do not overlap.
//
// # Errors
//
// A message with the number of the line that is not of the form, or r's error.
func ParseMaps(r io.Reader) ([]Mapping, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxMapsLine)
	var maps []Mapping
	for n := 1; lines.Scan(); n++ {
		m, err := parseMapping(lines.Text())
		if err == nil && len(maps) > 0 && m.Range.Start < maps[len(maps)-1].Range.End {
			err = fmt.Errorf("%s is not above the mapping before it", m.Range)
		}
		if err == nil && len(maps) == maxMappings {
			err = fmt.Errorf("more than %d mappings", maxMappings)
		}
		if err != nil {
			return nil, fmt.Errorf("maps: line %d: %w", n, err)
		}
		maps = append(maps, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("maps: %w", err)
	}
	return maps, nil
}

func parseMapping(line string) (Mapping, error) {
	var m Mapping
	// address perms offset dev inode, then padding and the path, which may
	// hold spaces itself.
	var fields [5]string
	rest := line
	for i := range fields {
		var ok bool
		if fields[i], rest, ok = strings.Cut(rest, " "); !ok && i < len(fields)-1 {
			return m, fmt.Errorf("%d fields, want at least %d", i+1, len(fields))
		}
	}
	start, end, _ := strings.Cut(fields[0], "-")
	var err [4]error
	m.Range.Start, err[0] = strconv.ParseUint(start, 16, 64)
	m.Range.End, err[1] = strconv.ParseUint(end, 16, 64)
	m.Offset, err[2] = strconv.ParseUint(fields[2], 16, 64)
	m.Inode, err[3] = strconv.ParseUint(fields[4], 10, 64)
	for _, err := range err {
		if err != nil {
			return m, err
		}
	}
	if m.Range.Empty() || len(fields[1]) != 4 {
		return m, fmt.Errorf("%q is no mapping", line)
	}
	m.Perms, m.Device = fields[1], fields[3]
	m.Path = strings.TrimLeft(rest, " ")
	return m, nil
}

// Native reports whether m belongs to ELF code: a shared object, or what the
// kernel sets up for the native program. Other files prove nothing: Windows
// programs map all sorts.
func (m *Mapping) Native() bool {
	switch {
	case strings.HasPrefix(m.Path, "[anon"): // named by prctl(2), PR_SET_VMA
		return false
	case strings.HasPrefix(m.Path, "["):
		return true
	}
	base := m.file()
	return strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.")
}

// file is the last part of the path, without what the kernel adds to it.
func (m *Mapping) file() string {
	path := strings.TrimSuffix(m.Path, " (deleted)")
	return path[strings.LastIndexByte(path, '/')+1:]
}
