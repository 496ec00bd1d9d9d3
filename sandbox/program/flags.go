package program

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// flagName is a bit and its name, for printing.
type flagName struct {
	bit  uint64
	name string
}

var openFlagNames = []flagName{
	{unix.O_WRONLY, "O_WRONLY"},
	{unix.O_RDWR, "O_RDWR"},
	{unix.O_CREAT, "O_CREAT"},
	{unix.O_NOCTTY, "O_NOCTTY"},
	{unix.O_NONBLOCK, "O_NONBLOCK"},
	{unix.O_NOFOLLOW, "O_NOFOLLOW"},
	{unix.O_DIRECTORY, "O_DIRECTORY"},
	{unix.O_PATH, "O_PATH"},
	{unix.O_CLOEXEC, "O_CLOEXEC"},
}

var mountAttrNames = []flagName{
	{unix.MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"},
	{unix.MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"},
	{unix.MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"},
	{unix.MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"},
	{unix.MOUNT_ATTR_NODIRATIME, "MOUNT_ATTR_NODIRATIME"},
	{unix.MOUNT_ATTR_NOSYMFOLLOW, "MOUNT_ATTR_NOSYMFOLLOW"},
}

var propagationNames = []flagName{
	{unix.MS_SHARED, "MS_SHARED"},
	{unix.MS_SLAVE, "MS_SLAVE"},
	{unix.MS_PRIVATE, "MS_PRIVATE"},
	{unix.MS_UNBINDABLE, "MS_UNBINDABLE"},
}

// flagText names the bits of value; none prints as zero.
func flagText(value uint64, names []flagName, zero string) string {
	var parts []string
	for _, f := range names {
		if value&f.bit == f.bit && f.bit != 0 {
			parts = append(parts, f.name)
		}
	}
	if len(parts) == 0 {
		return zero
	}
	return strings.Join(parts, "|")
}

// openFlags is the flags operand of openat; every descriptor is close-on-exec.
func openFlags(flags int) Operand {
	value := uint64(flags | unix.O_CLOEXEC)
	return named(value, openFlagText(value))
}

func openFlagText(value uint64) string {
	text := flagText(value, openFlagNames, "0")
	if value&(unix.O_WRONLY|unix.O_RDWR|unix.O_PATH) == 0 {
		text = "O_RDONLY|" + text
	}
	return text
}

// mountAttrText names the bits of a mount attribute, including the
// access-time mode, which is a number in its own bits.
func mountAttrText(attr uint64) string {
	text := flagText(attr, mountAttrNames, "")
	atime := ""
	switch attr & unix.MOUNT_ATTR__ATIME {
	case unix.MOUNT_ATTR__ATIME:
		atime = "MOUNT_ATTR__ATIME"
	case unix.MOUNT_ATTR_NOATIME:
		atime = "MOUNT_ATTR_NOATIME"
	case unix.MOUNT_ATTR_STRICTATIME:
		atime = "MOUNT_ATTR_STRICTATIME"
	}
	switch {
	case text == "" && atime == "":
		return "0"
	case text == "":
		return atime
	case atime == "":
		return text
	}
	return text + "|" + atime
}

// mode is a file mode operand.
func mode(m uint32) Operand { return named(uint64(m), modeText(m)) }

func modeText(m uint32) string {
	kinds := map[uint32]string{unix.S_IFREG: "S_IFREG|", unix.S_IFCHR: "S_IFCHR|", unix.S_IFBLK: "S_IFBLK|", unix.S_IFIFO: "S_IFIFO|"}
	return kinds[m&unix.S_IFMT] + "0" + strconv.FormatUint(uint64(m&^unix.S_IFMT), 8)
}
