package preload

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"winbox/preload/pe"
)

// A Process is a live process, read through /proc. Nothing in it is stopped or
// changed. All that it says of itself is hostile: it may change while it is read.
//
// Whoever opens it is asked by the kernel for the right to trace it (ptrace(2),
// PTRACE_MODE_ATTACH_FSCREDS, for its memory). A file system in user space that
// the process has mapped from can keep a reader waiting.
type Process struct {
	// dir is /proc/PID: once it is open it cannot come to mean another process.
	dir     *os.File
	mem     *os.File
	pagemap *os.File
}

// OpenProcess opens a process by its number on the host.
//
// # Errors
//
// [fs.ErrNotExist] when there is none, [fs.ErrPermission] when it may not be read.
func OpenProcess(pid int) (*Process, error) {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return nil, err
	}
	p := &Process{dir: dir}
	if p.mem, err = os.Open(p.path("mem")); err == nil {
		p.pagemap, err = os.Open(p.path("pagemap"))
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return p, nil
}

// Close closes what OpenProcess has opened.
func (p *Process) Close() error {
	err := p.dir.Close()
	for _, f := range []*os.File{p.mem, p.pagemap} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// path names a file of the process through the open directory.
func (p *Process) path(name string) string {
	return "/proc/self/fd/" + strconv.Itoa(int(p.dir.Fd())) + "/" + name
}

// Mappings reads the memory map.
//
// # Errors
//
// Those of ParseMaps; syscall.ESRCH when the process has ended.
func (p *Process) Mappings() ([]Mapping, error) {
	f, err := os.Open(p.path("maps"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseMaps(f)
}

// ReadAt reads memory at an address.
func (p *Process) ReadAt(b []byte, address int64) (int, error) { return p.mem.ReadAt(b, address) }

// Start tells when the process began, in clock ticks after boot
// (proc_pid_stat(5), field 22).
func (p *Process) Start() (uint64, error) {
	stat, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return 0, errors.New("stat of a process: too few fields")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// Facts reads what of the process decides which addresses it can have. What
// cannot be read is as winbox makes it.
func (p *Process) Facts() ProcessFacts {
	f := ProcessFacts{Personality: noRandomize}
	if b, err := os.ReadFile(p.path("personality")); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 16, 64); err == nil {
			f.Personality = n
		}
	}
	b, _ := os.ReadFile(p.path("limits"))
	f.AddressSpace = parseLimit(string(b))
	return f
}

// Image opens the PE file that a mapping shows; the caller closes it. The file
// itself is found through map_files, whatever has become of its name since; that
// takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE (proc(5)), so that others get
// what the process has at that path now.
//
// # Errors
//
// Those of pe.Open, and of opening.
func (p *Process) Image(m Mapping) (*pe.Image, io.Closer, error) {
	f, err := p.mapped(m)
	if errors.Is(err, syscall.EPERM) {
		f, err = p.named(m)
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: m.Path, Err: fs.ErrInvalid}
	}
	var img *pe.Image
	if err == nil {
		img, err = pe.Open(f, info.Size())
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return img, f, nil
}

// mapped opens the file of a mapping itself.
func (p *Process) mapped(m Mapping) (*os.File, error) {
	fd, err := syscall.Open(p.path(fmt.Sprintf("map_files/%x-%x", m.Range.Start, m.Range.End)), openPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: m.Path, Err: err}
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: m.Path, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG { // a device may act on being opened
		return nil, &fs.PathError{Op: "open", Path: m.Path, Err: fs.ErrInvalid}
	}
	return os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// named opens what is at the path of a mapping in the process's root directory,
// and nothing outside of that.
func (p *Process) named(m Mapping) (*os.File, error) {
	root, err := os.OpenRoot(p.path("root"))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name := strings.TrimPrefix(m.Path, "/")
	if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, error(&fs.PathError{Op: "open", Path: m.Path, Err: fs.ErrInvalid}))
	}
	return root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// openPath is O_PATH of open(2), which package syscall lacks.
const openPath = 0x200000

// Bits of an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).
const (
	pageExclusive = 1 << 56 // mapped by nobody else
	pageOfFile    = 1 << 61 // of a file or shared
	pageSwapped   = 1 << 62
	pagePresent   = 1 << 63
)

// maxCounted bounds the range that Private looks at: an image of the largest
// size, or any stack.
const maxCounted = 4 << 30

// Private counts the memory in r that this process alone has, in bytes: pages
// that it has written to, present or swapped out.
//
// # Errors
//
// A range of more than 4 GiB, or a page map that cannot be read.
func (p *Process) Private(r Range) (uint64, error) {
	if r.Empty() || r.Size() > maxCounted {
		return 0, fmt.Errorf("%s of memory at %#x are too much to count", FormatSize(r.Size()), r.Start)
	}
	var pages uint64
	entries := make([]byte, min(64<<10, 8*(r.Size()/pageSize+1)))
	for page, end := r.Start/pageSize, r.End/pageSize; page < end; {
		chunk := entries[:min(uint64(len(entries)), 8*(end-page))]
		n, err := p.pagemap.ReadAt(chunk, int64(8*page))
		if n == 0 {
			return 0, fmt.Errorf("page map at %#x: %w", page*pageSize, err)
		}
		for ; n >= 8; n -= 8 {
			e := binary.LittleEndian.Uint64(chunk[:8])
			chunk = chunk[8:]
			page++
			if e&pageSwapped != 0 || e&pagePresent != 0 && e&pageOfFile == 0 && e&pageExclusive != 0 {
				pages++
			}
		}
	}
	return pages * pageSize, nil
}
