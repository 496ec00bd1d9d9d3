package prelink

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"winbox/preload"
	"winbox/preload/pe"
)

// Action is what Folder has done with a file. The values are stable: they are
// in the JSON that "winbox image prelink" prints.
type Action string

// What can become of a file.
const (
	// Moved: it has another base, and its sections are aligned.
	Moved Action = "moved"
	// Aligned: it has its old base; its sections are aligned, or something was
	// dropped for which loaders would have moved it.
	Aligned Action = "aligned"
	// Kept: there was nothing to do.
	Kept Action = "kept"
	// LeftAlone: something is in the way; Reason says what.
	LeftAlone Action = "left alone"
	// Failed: it could not be read or replaced; Reason says why.
	Failed Action = "failed"
)

// File is what became of one library.
type File struct {
	// Path is relative to the folder. Links are further names of the same file
	// in the folder, which stay links to it.
	Path  string
	Links []string
	// Machine is the library's; 0 when the file is no PE image.
	Machine pe.Machine
	// OldBase and NewBase are the image bases before and after; ImageSize is what
	// it takes of the address space, in bytes.
	OldBase, NewBase, ImageSize uint64
	// Action is what was done with it, Reason why.
	Action Action
	Reason string
}

// Options say how Folder goes about it.
type Options struct {
	// DryRun writes nothing: the result is what would have become of the files.
	DryRun bool
	// DropSignatures rewrites signed files too, which then are no longer signed.
	// Otherwise they are left alone.
	DropSignatures bool
	// Programs rewrites programs too: they keep their bases, but their sections
	// are aligned. Those with something behind their sections are left alone.
	Programs bool
}

// ErrBusy says that somebody else prelinks the same folder.
var ErrBusy = errors.New("it is being prelinked by another winbox")

// Folder prelinks the libraries in dir and the folders below it, and gives what
// became of each, sorted by path. They avoid each other and the programs of the
// folder, which are loaded first and hence at their bases. What cannot move is
// aligned all the same. Libraries of Wine and of Windows' own folders are left alone.
//
// # Errors
//
// ErrBusy, or the system's for dir itself. What is wrong with a single file or
// folder below is in the result.
func Folder(dir string, opt Options) ([]File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f := &folder{root: root, opt: opt}
	if !opt.DryRun {
		lock, err := root.Open(".")
		if err != nil {
			return nil, err
		}
		defer lock.Close()
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == syscall.EWOULDBLOCK {
			return nil, &fs.PathError{Op: "lock", Path: dir, Err: ErrBusy}
		} else if err != nil {
			return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
		}
	}
	if err := f.list(); err != nil {
		return nil, err
	}
	f.each(f.look)
	f.assign()
	f.each(f.rewrite)
	var files []File
	for _, it := range f.items {
		if it.Action != "" {
			files = append(files, it.File)
		}
	}
	return files, nil
}

// folder is one run of Folder.
type folder struct {
	root  *os.Root
	opt   Options
	items []*item
}

// item is a file that may be a program or library. Without an Action it is not
// reported.
type item struct {
	File
	info  fs.FileInfo
	image *Image
}

// each calls do for all items, some at a time.
func (f *folder) each(do func(*item)) {
	todo := make(chan *item)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for it := range todo {
				do(it)
			}
		})
	}
	for _, it := range f.items {
		todo <- it
	}
	close(todo)
	workers.Wait()
}

// list finds the regular files. The names of one file become one item.
func (f *folder) list() error {
	type inode struct{ dev, ino uint64 }
	known := map[inode]*item{}
	for dirs := []string{"."}; len(dirs) > 0; {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		names, err := f.names(dir)
		if err != nil && dir == "." {
			return err
		}
		if err != nil {
			f.items = append(f.items, &item{File: File{Path: dir, Action: Failed, Reason: reason(err)}})
		}
		for _, name := range names {
			path := filepath.Join(dir, name)
			info, err := f.root.Lstat(path)
			switch {
			case err != nil:
				f.items = append(f.items, &item{File: File{Path: path, Action: Failed, Reason: reason(err)}})
			case info.IsDir():
				dirs = append(dirs, path)
			case info.Mode().Type() == fs.ModeSymlink && isLibraryName(name):
				f.items = append(f.items, &item{File: File{Path: path, Action: LeftAlone, Reason: "a symbolic link"}})
			case !info.Mode().IsRegular():
			case strings.HasPrefix(name, temporary):
				// Of a run that was killed: the folder is locked, nobody else uses it.
				if !f.opt.DryRun {
					f.root.Remove(path)
				}
			default:
				st := info.Sys().(*syscall.Stat_t)
				id := inode{uint64(st.Dev), st.Ino}
				if first := known[id]; st.Nlink > 1 && first != nil {
					first.Links = append(first.Links, path)
					continue
				}
				it := &item{File: File{Path: path}, info: info}
				known[id] = it
				f.items = append(f.items, it)
			}
		}
	}
	slices.SortFunc(f.items, func(a, b *item) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

func (f *folder) names(dir string) ([]string, error) {
	d, err := f.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// isLibraryName tells names for which it is worth a word that the file is no library.
func isLibraryName(name string) bool { return strings.EqualFold(filepath.Ext(name), ".dll") }

// ofWindows reports whether a path leads into the folders of Windows itself,
// whose libraries Wine has its own of.
func ofWindows(path string) bool {
	parts := strings.Split(strings.ToLower(path), "/")
	for i, part := range parts[:len(parts)-1] {
		if part == "windows" && slices.Contains([]string{"system32", "syswow64", "winsxs"}, parts[i+1]) {
			return true
		}
	}
	return false
}

// errChanged says that a file is not what it was when the folder was read.
var errChanged = errors.New("it has changed meanwhile")

// open opens the file that the item was made of, and no other.
func (f *folder) open(it *item) (*os.File, *pe.Image, error) {
	// O_NONBLOCK: it may be a pipe by now.
	file, err := f.root.OpenFile(it.Path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !same(info, it.info) {
		err = errChanged
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	img, err := pe.Open(file, info.Size())
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, img, nil
}

// same reports whether a file is still the same and has not been written to.
func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Mode() == b.Mode() && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// look finds out what the file is.
func (f *folder) look(it *item) {
	if it.Action != "" {
		return
	}
	file, img, err := f.open(it)
	if err != nil {
		var other *pe.NotPEError
		if errors.As(err, &other) && !isLibraryName(it.Path) {
			return
		}
		it.leave(err)
		return
	}
	defer file.Close()
	it.image = &Image{Base: img.ImageBase, Size: uint64(img.SizeOfImage)}
	it.Machine, it.OldBase, it.NewBase, it.ImageSize = img.Machine, img.ImageBase, img.ImageBase, uint64(img.SizeOfImage)
	if !img.IsDLL() && !f.opt.Programs {
		return
	}
	if err := f.obstacle(it, img); err != nil {
		it.leave(err)
		return
	}
	it.image.Movable, it.image.Settled = img.IsDLL() && img.Movable() == nil, img.Rebased()
	it.Action, it.Reason = Kept, "nothing to do"
	if !it.image.Settled {
		it.Action, it.Reason = Aligned, "sections are not as a loader maps them"
	}
}

// obstacle is why the file is to be left alone.
func (f *folder) obstacle(it *item, img *pe.Image) error {
	switch {
	case slices.ContainsFunc(append([]string{it.Path}, it.Links...), ofWindows):
		return &pe.RebaseError{Reason: "in a folder of Windows itself"}
	case img.OfWine():
		return &pe.RebaseError{Reason: "part of Wine"}
	case !img.IsDLL() && img.HasOverlay():
		return &pe.RebaseError{Reason: "a program with data behind its sections, which it may look for"}
	}
	return img.Rebasable(f.opt.DropSignatures)
}

// leave notes what keeps the file from being prelinked: something about the
// file, or a failure.
func (it *item) leave(err error) {
	it.Action, it.Reason, it.NewBase = Failed, reason(err), it.OldBase
	var refused *pe.RebaseError
	var format *pe.FormatError
	var truncated *pe.TruncatedError
	var other *pe.NotPEError
	if errors.As(err, &refused) || errors.As(err, &format) || errors.As(err, &truncated) || errors.As(err, &other) {
		it.Action = LeftAlone
	}
}

// reason is an error without the path, which stands beside it.
func reason(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err.Error()
	case errors.As(err, &link):
		return link.Err.Error()
	}
	return err.Error()
}

// assign decides on the bases, for each machine by itself: a process has images
// of one machine only.
func (f *folder) assign() {
	for _, machine := range []pe.Machine{pe.MachineAMD64, pe.MachineI386} {
		var items []*item
		var images []Image
		for _, it := range f.items {
			if it.image != nil && it.Machine == machine {
				items, images = append(items, it), append(images, *it.image)
			}
		}
		for i, p := range Assign(preload.LibraryRanges(machine), images) {
			it := items[i]
			switch {
			case !it.image.Movable || p.Base == it.OldBase:
			case p.Base == 0:
				it.Action, it.Reason = LeftAlone, "no room is left for it"
			default:
				it.NewBase, it.Action, it.Reason = p.Base, Moved, "outside the ranges for libraries"
				if p.Obstacle >= 0 {
					it.Reason = items[p.Obstacle].Path + " is there"
				}
			}
		}
	}
}

// rewrite makes the new file and puts it in the place of the old one.
func (f *folder) rewrite(it *item) {
	if it.Action != Moved && it.Action != Aligned {
		return
	}
	if err := f.tryRewrite(it); err != nil {
		it.leave(err)
	}
}

func (f *folder) tryRewrite(it *item) error {
	file, img, err := f.open(it)
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := img.Rebase(it.NewBase)
	if err != nil {
		return err
	}
	if info, err := file.Stat(); err != nil || !same(info, it.info) {
		return cmp.Or(err, errChanged)
	}
	if f.opt.DryRun {
		return nil
	}
	if err := f.replace(it, file, data); err != nil {
		return fmt.Errorf("replace it: %w", err)
	}
	return nil
}
