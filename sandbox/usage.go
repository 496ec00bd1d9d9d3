package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// WindowsUsage is what the processes of a Windows container use: all but its process 1 and the wineserver, which Windows
// has in its kernel.
type WindowsUsage struct {
	Processes, Threads int
	// Private is memory, in bytes, that a process has to itself; Shared what it shares with others, each page by the part
	// that falls to it (proc_pid_smaps_rollup(5): Pss).
	Private, Shared uint64
}

// WindowsUsage looks at each process; one that ends meanwhile is left out.
//
// # Errors
//
// Those of [Container.Stats].
func (c *Container) WindowsUsage() (*WindowsUsage, error) {
	pids, err := c.programs()
	if err != nil {
		return nil, err
	}
	u := &WindowsUsage{}
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		threads, err := os.ReadDir(dir + "/task")
		if err != nil {
			continue
		}
		private, pss, err := memoryOf(dir + "/smaps_rollup")
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue
			}
			return nil, err
		}
		u.Processes++
		u.Threads += len(threads)
		u.Private += private
		u.Shared += pss - min(pss, private)
	}
	return u, nil
}

// programs are the processes of a container that Windows would call so.
func (c *Container) programs() ([]int, error) {
	g, err := c.needGroup("there are no statistics")
	if err != nil {
		return nil, err
	}
	pids, err := g.Pids()
	return slices.DeleteFunc(pids, func(pid int) bool {
		return pid == c.rec.PID || strings.HasPrefix(processName(pid), "wineserver")
	}), err
}

// ProcessName gives the name, as far as the kernel keeps it, and the host's id of the process that has this id in the
// container; an empty one when there is none.
func (c *Container) ProcessName(pid int) (name string, hostPID int) {
	pids, err := c.programs()
	if err != nil {
		return "", 0
	}
	for _, host := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(host) + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) { // proc_pid_status(5): the last number is that of the innermost namespace
			if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
				if fields := strings.Fields(ids); len(fields) > 0 && fields[len(fields)-1] == strconv.Itoa(pid) {
					return processName(host), host
				}
			}
		}
	}
	return "", 0
}

// processName is what the kernel calls a process, at most 15 bytes of its program's name; empty for one that is gone.
func processName(pid int) string {
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(name), "\n")
}

// memoryOf reads private memory and the proportional part of all memory from a smaps_rollup, in bytes.
func memoryOf(file string) (private, pss uint64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		n, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // others are not numbers
		switch name {
		case "Private_Clean", "Private_Dirty":
			private += n << 10
		case "Pss":
			pss = n << 10
		}
	}
	return private, pss, nil
}

// NetworkUsage are bytes that have gone through the network interfaces of a container, but for loopback.
type NetworkUsage struct {
	Received, Sent uint64
}

// NetworkUsage reads the counters of the container's network namespace; nil when it has the host's.
func (c *Container) NetworkUsage() (*NetworkUsage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(c.rec.PID))
	var own, host unix.Stat_t
	if err := errors.Join(unix.Stat(dir+"/ns/net", &own), unix.Stat("/proc/self/ns/net", &host)); err != nil {
		return nil, fmt.Errorf("network namespace of container %s: %w", c.rec.ID, err)
	}
	if own.Ino == host.Ino {
		return nil, nil
	}
	text, err := os.ReadFile(dir + "/net/dev")
	if err != nil {
		return nil, err
	}
	return parseNetDev(string(text))
}

// parseNetDev adds up the lines of a /proc/net/dev (proc_net(5)): after the name, eight numbers of what was received, the
// first of them bytes, and eight of what was sent.
func parseNetDev(text string) (*NetworkUsage, error) {
	u := &NetworkUsage{}
	for line := range strings.Lines(text) {
		name, counts, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "lo" {
			continue
		}
		fields := strings.Fields(counts)
		if len(fields) < 9 {
			return nil, fmt.Errorf("/proc/net/dev: %q has no sixteen numbers", strings.TrimSpace(line))
		}
		received, err := strconv.ParseUint(fields[0], 10, 64)
		sent, sentErr := strconv.ParseUint(fields[8], 10, 64)
		if err := errors.Join(err, sentErr); err != nil {
			return nil, fmt.Errorf("/proc/net/dev: %w", err)
		}
		u.Received += received
		u.Sent += sent
	}
	return u, nil
}
