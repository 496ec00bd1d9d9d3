package sandbox

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OOMKill is a process that the kernel has killed for want of memory.
type OOMKill struct {
	// Process is what the kernel calls it, at most 15 bytes of its program's name.
	Process string `json:"process"`
	// PID is its process id on the host.
	PID int `json:"pid"`
}

// kernelLog reads the kernel's messages from now on: it is the only one to say whom the OOM killer has chosen.
type kernelLog struct{ fd int }

// openKernelLog gives nil where the messages cannot be read, as for ordinary users (sysctl kernel.dmesg_restrict).
func openKernelLog() *kernelLog {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		unix.Close(fd)
		return nil
	}
	return &kernelLog{fd}
}

func (l *kernelLog) close() {
	if l != nil {
		unix.Close(l.fd)
	}
}

// kills are those in a control group and below that it tells of since the last call. The kernel leaves messages out when
// there are too many.
func (l *kernelLog) kills(group string) (list []OOMKill) {
	if l == nil {
		return nil
	}
	record := make([]byte, 8<<10) // one message for each read (kernel: ABI/testing/dev-kmsg)
	for {
		n, err := unix.Read(l.fd, record)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) { // EPIPE: some have been overwritten
			continue
		}
		if err != nil || n <= 0 {
			return list
		}
		if kill, at, ok := parseOOMKill(string(record[:n])); ok && (at == group || strings.HasPrefix(at, group+"/")) {
			list = append(list, kill)
		}
	}
}

// parseOOMKill reads a message such as "6,1,2,-;oom-kill:constraint=…,task_memcg=/GROUP,task=NAME,pid=1,uid=0"
// (mm/oom_kill.c: dump_oom_victim).
func parseOOMKill(record string) (kill OOMKill, group string, ok bool) {
	_, text, _ := strings.Cut(record, ";")
	text, _, _ = strings.Cut(text, "\n")
	if !strings.HasPrefix(text, "oom-kill:") {
		return kill, "", false
	}
	_, text, _ = strings.Cut(text, ",task_memcg=")
	group, text, ok = strings.Cut(text, ",task=")
	// A name may hold anything.
	end := strings.LastIndex(text, ",pid=")
	if !ok || end < 0 {
		return kill, "", false
	}
	pid, _, _ := strings.Cut(text[end+len(",pid="):], ",")
	var err error
	kill.Process = text[:end]
	kill.PID, err = strconv.Atoi(pid)
	return kill, group, err == nil
}
