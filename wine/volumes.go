package wine

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"unicode"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"winbox/preload/pe"
)

// volumes is the variable by which the boot program learns that somebody is to answer for the drives, and what
// (boot/volumes.c).
const volumes = "WINBOX_VOLUMES"

// volumeCalls are the functions that ask the device of a drive. All others about drives do without one.
var volumeCalls = []string{"GetVolumeInformationA", "GetVolumeInformationW"}

// asksVolumes says whether a program imports any of them. An import table that cannot be read asks for nothing: whoever runs
// the program says what is wrong with it.
func asksVolumes(image *pe.Image) bool {
	imports, err := image.Imports()
	if err != nil {
		return false
	}
	delayed, err := image.DelayImports()
	if err != nil {
		return false
	}
	for _, dll := range slices.Concat(imports, delayed) {
		if slices.ContainsFunc(dll.Functions, func(name string) bool { return slices.Contains(volumeCalls, name) }) {
			return true
		}
	}
	return false
}

// needsVolumes says whether a program started with these arguments is to have answers about volumes, which cost a process and
// its start. The command interpreter asks in few of its commands only.
func (i *Image) needsVolumes(program string, args []string) bool {
	if !i.asksVolumes {
		return false
	}
	if base := program[strings.LastIndexAny(program, `/\`)+1:]; !strings.EqualFold(base, "cmd.exe") {
		return true
	}
	line := strings.ToLower(strings.Join(args, " "))
	if !strings.Contains(line, "/c") {
		return true // it reads commands
	}
	for _, word := range []string{"dir", "vol", "label", ".bat", ".cmd", "call", "<"} {
		if strings.Contains(line, word) {
			return true
		}
	}
	return false
}

// A volume is what is answered for a drive.
type volume struct {
	letter   byte
	readOnly bool
	serial   uint32
	label    string
}

// volumeOf tells the label and the serial number of the file system that a path of the host is on. A file system that has none
// gives none.
func volumeOf(letter byte, source string, readOnly bool) volume {
	v := volume{letter: letter, readOnly: readOnly}
	dir, err := os.Open(source)
	if err != nil {
		return v // whoever mounts it says why
	}
	defer dir.Close()
	var st unix.Statfs_t
	if unix.Fstatfs(int(dir.Fd()), &st) == nil {
		v.serial = uint32(st.Fsid.Val[0]) ^ uint32(st.Fsid.Val[1])
		v.readOnly = v.readOnly || st.Flags&unix.ST_RDONLY != 0
	}
	const getLabel = 0x81009431 // FS_IOC_GETFSLABEL of linux/fs.h
	var label [256]byte         // FSLABEL_MAX
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), getLabel, uintptr(unsafe.Pointer(&label))); errno == 0 {
		v.label = windowsLabel(unix.ByteSliceToString(label[:]))
	}
	return v
}

// windowsLabel is a label as Windows can have it: of at most 32 characters, none of them special in paths (Microsoft,
// "SetVolumeLabelW").
func windowsLabel(s string) string {
	var label []rune
	for _, r := range s {
		if len(label) < 32 && r < 0x10000 && !unicode.IsControl(r) && !strings.ContainsRune(`*?/\|.,;:+=[]<>"`, r) && r != unicode.ReplacementChar {
			label = append(label, r)
		}
	}
	return string(label)
}

// setting is the variable for some drives.
func volumesSetting(list []volume) string {
	slices.SortFunc(list, func(a, b volume) int { return int(a.letter) - int(b.letter) }) // as the boot program numbers them
	entries := make([]string, 0, len(list))
	for _, v := range list {
		readOnly := 0
		if v.readOnly {
			readOnly = 1
		}
		entries = append(entries, fmt.Sprintf("%c%d%08x%s", v.letter-'a'+'A', readOnly, v.serial, v.label))
	}
	return volumes + "=" + strings.Join(entries, "|")
}

// volumes are the drives of a launched program; prefix is what C: is on.
func (d *drives) volumes(prefix string) []volume {
	list := []volume{volumeOf('c', prefix, false)}
	for _, letter := range d.letters() {
		v := volume{letter: letter} // of a drive that has only mounts below it
		for _, m := range d.mounts {
			if m.target.drive == letter && len(m.target.parts) == 0 {
				v = volumeOf(letter, m.source, m.readOnly)
			}
		}
		list = append(list, v)
	}
	return list
}

// volumes are the drives of a bundle; the root of its own is in the prefix. Under a read-only root that drive is read-only
// unless it shows a writable volume. Drive C: never is as a whole.
func (b *Bundle) volumes(onDrives []specs.Mount, prefix string) []volume {
	list := []volume{volumeOf('c', prefix, false)}
	if b.shown.letter != 0 {
		list = append(list, volumeOf(b.shown.letter, prefix, b.spec.Root.Readonly && !b.shown.writable))
	}
	for _, d := range b.shown.given {
		list = append(list, volume{letter: d.letter, readOnly: d.path == "/" && b.spec.Root.Readonly})
	}
	for _, letter := range b.drives.letters() {
		v := volume{letter: letter}
		for _, m := range onDrives {
			if m.Destination != path.Join(drivesDir, string(letter)) {
				continue
			}
			if v.readOnly = readOnlyMount(&m); path.IsAbs(m.Source) {
				v = volumeOf(letter, m.Source, v.readOnly)
			}
		}
		list = append(list, v)
	}
	return list
}
