package wine

import (
	"os"
	"path"
	"path/filepath"

	"github.com/moby/sys/userns"

	"winbox/internal/kernel"
)

// An Overlay says of a container's mount of type overlay what its options cannot: package sandbox/program says how.
type Overlay struct {
	// Lower are the lower layers in place of the option lowerdir, the uppermost first.
	Lower []*os.File
	// Memory has the upper layer in memory, of at most MemorySize bytes; 0 is the kernel's default.
	Memory     bool
	MemorySize int64
	// ReadOnly are folders that are read-only, Writable are those below them that are not.
	ReadOnly, Writable []string
	// Views are folders of the overlay, and where they are shown read-only as well.
	Views map[string]string
}

// An OwnerMapper clones the mounts of folders, so that the files of root belong to another user there, by the ids of the
// caller.
type OwnerMapper func(dirs []string, uid, gid int) ([]*os.File, error)

// overPrefix makes the overlays of a container.
func overPrefix(o *Overlay) map[string]Overlay {
	if o == nil {
		return nil
	}
	return map[string]Overlay{prefixDir: *o}
}

// lowerLayers are the folders below a prefix, the uppermost first: the template's prefix, and below that the runtime's
// folders of PE files, which the prefix's links lead to.
func (t *Template) lowerLayers(lean bool) []string {
	var layers []string
	if lean && isFolder(t.leanDir()) {
		layers = append(layers, t.leanDir())
	}
	return append(append(layers, t.Prefix()), t.modules()...)
}

// mapLayers gives the lower layers as they belong to the program's user; lean is the number of those that only a lean
// prefix has. There are none where that user has the files already, or where it is not possible: on a kernel before 5.19,
// or a file system that cannot map owners. The user then has folders of its own above the template's, and may not write
// over Wine's own files.
func (t *Template) mapLayers(mapOwners OwnerMapper, owner Owner) (layers []*os.File, lean int) {
	if mapOwners == nil || owner.self() || os.Geteuid() != 0 || userns.RunningInUserNS() {
		return nil, 0
	}
	if able, err := kernel.Since(5, 19); err != nil || !able {
		return nil, 0
	}
	dirs := t.lowerLayers(true)
	layers, err := mapOwners(dirs, owner.UID, owner.GID)
	if err != nil {
		return nil, 0
	}
	return layers, len(dirs) - len(t.lowerLayers(false))
}

// protect makes a prefix one of a read-only root file system: what is written to it is in memory, and only the registry,
// the users' folders and those of temporary files can be. limit is that of the container's memory, in bytes, or 0; of that,
// files may take half.
func (o *Overlay) protect(t *Template, limit int64) {
	o.Memory, o.MemorySize = true, max(0, limit)/2
	o.ReadOnly = []string{"drive_c"}
	for _, dir := range []string{t.Runtime.WindowsDir, t.Runtime.Windows32Dir} {
		if dir != "" {
			o.ReadOnly = append(o.ReadOnly, path.Base(dir)) // where links of C: lead
		}
	}
	for _, dir := range []string{"drive_c/users", "drive_c/windows/temp"} {
		if isFolder(filepath.Join(t.Prefix(), dir)) {
			o.Writable = append(o.Writable, dir)
		}
	}
}
