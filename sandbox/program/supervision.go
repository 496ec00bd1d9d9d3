package program

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// supervision puts the operand of [OpSupervise] that says how process 1 goes
// about it into the data: struct supervision of sandbox/init/init.c.
func (c *compiler) supervision() Operand {
	statuses := c.bytes(nil, "")
	for _, s := range exitStatuses {
		c.record("", s.code, s.status)
	}
	text := fmt.Sprintf("grace=%d", c.opt.StopGrace)
	linger := uint64(0)
	if c.opt.Linger {
		linger, text = 1, text+", linger"
	}
	signals := slices.Sorted(maps.Keys(c.opt.Stops))
	argvs := make([]Operand, len(signals))
	for i, signal := range signals {
		argvs[i] = c.vector(c.opt.Stops[signal])
		text += ", " + unix.SignalName(signal) + "=" + argvs[i].Text
	}
	stops := c.bytes(nil, "")
	for i, signal := range signals {
		stop := c.record("", uint64(signal), uint64(0), uint64(0))
		c.pointer(stop.Value+8, argvs[i])
	}
	console, nested := Operand{}, uint64(0)
	if len(c.opt.Resize) > 0 {
		// The size is written into the last argument: it must not be a string that others share.
		argv := c.vector(append(slices.Clone(c.opt.Resize), ""))
		size := c.bytes([]byte(terminalSize+"\x00"), "")
		console = c.record("", [6]uint64{})
		c.pointer(console.Value, argv)
		c.pointer(console.Value+8, size)
		binary.LittleEndian.PutUint64(c.p.Data[argv.Value+uint64(8*len(c.opt.Resize)):], size.Value)
		text += ", SIGWINCH=" + argv.Text
	}
	if c.joins {
		nested, text = 1, text+", nested"
	}
	if c.opt.OOMEvent != 0 {
		text += fmt.Sprintf(", oom=%d,%d", c.opt.OOMEvent, c.opt.OOMCount)
	}
	how := c.record("{"+text+"}", uint64(c.opt.StopGrace), linger, uint64(0), uint64(len(exitStatuses)), uint64(0), uint64(len(signals)),
		uint64(c.opt.OOMEvent), uint64(c.opt.OOMCount), nested, uint64(0))
	c.pointer(how.Value+16, statuses)
	c.pointer(how.Value+32, stops)
	if len(c.opt.Resize) > 0 {
		c.pointer(how.Value+72, console)
	}
	return how
}

// terminalSize has room for the columns and rows of a terminal (SIZE_FORMAT of sandbox/init/init.c).
const terminalSize = "00000x00000"

// exitStatuses are the exit statuses for exit codes of Windows that need more
// than eight bits and have a meaning: the statuses of NT (Microsoft's
// [MS-ERREF], section 2.3) with which the system ends a program, and the codes
// of exceptions that no C++ or .NET program has caught. The status is that of a
// Linux program to which the same has happened: 128 + the signal; and of a
// shell, 126 and 127 for what cannot be started. Any other code gives its low
// eight bits, or 1 when these are zero. docs/windows.md has the table.
var exitStatuses = []struct{ code, status uint32 }{
	{0x40000015, 134}, // STATUS_FATAL_APP_EXIT: abort, SIGABRT
	{0x40010004, 143}, // DBG_TERMINATE_PROCESS: ended with its session, SIGTERM
	{0x40010005, 130}, // DBG_CONTROL_C: SIGINT
	{0x80000002, 135}, // STATUS_DATATYPE_MISALIGNMENT: SIGBUS
	{0x80000003, 133}, // STATUS_BREAKPOINT: SIGTRAP
	{0x80000004, 133}, // STATUS_SINGLE_STEP: SIGTRAP
	{0xC0000005, 139}, // STATUS_ACCESS_VIOLATION: SIGSEGV
	{0xC0000006, 135}, // STATUS_IN_PAGE_ERROR: SIGBUS
	{0xC000001D, 132}, // STATUS_ILLEGAL_INSTRUCTION: SIGILL
	{0xC000007B, 126}, // STATUS_INVALID_IMAGE_FORMAT
	{0xC000008E, 136}, // STATUS_FLOAT_DIVIDE_BY_ZERO: SIGFPE
	{0xC0000090, 136}, // STATUS_FLOAT_INVALID_OPERATION: SIGFPE
	{0xC0000091, 136}, // STATUS_FLOAT_OVERFLOW: SIGFPE
	{0xC0000093, 136}, // STATUS_FLOAT_UNDERFLOW: SIGFPE
	{0xC0000094, 136}, // STATUS_INTEGER_DIVIDE_BY_ZERO: SIGFPE
	{0xC0000095, 136}, // STATUS_INTEGER_OVERFLOW: SIGFPE
	{0xC0000096, 139}, // STATUS_PRIVILEGED_INSTRUCTION: SIGSEGV, as on Linux
	{0xC00000FD, 139}, // STATUS_STACK_OVERFLOW: SIGSEGV
	{0xC0000135, 127}, // STATUS_DLL_NOT_FOUND
	{0xC0000138, 127}, // STATUS_ORDINAL_NOT_FOUND
	{0xC0000139, 127}, // STATUS_ENTRYPOINT_NOT_FOUND
	{0xC000013A, 130}, // STATUS_CONTROL_C_EXIT: SIGINT
	{0xC0000142, 126}, // STATUS_DLL_INIT_FAILED
	{0xC0000374, 134}, // STATUS_HEAP_CORRUPTION: SIGABRT
	{0xC0000409, 134}, // STATUS_STACK_BUFFER_OVERRUN, which abort() and __fastfail give: SIGABRT
	{0xC0000417, 134}, // STATUS_INVALID_CRUNTIME_PARAMETER: SIGABRT
	{0xC0000420, 134}, // STATUS_ASSERTION_FAILURE: SIGABRT
	{0xE0434352, 134}, // an exception of .NET: SIGABRT
	{0xE06D7363, 134}, // an exception of C++: SIGABRT
}
