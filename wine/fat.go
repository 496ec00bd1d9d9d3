package wine

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"winbox/preload/stub"
	"winbox/quota"
)

// A Tree is a folder, file or link of the host, and the place in an image that it is for. Of folders that are for the same
// place the image has the content of all; of files, that of the last.
type Tree struct{ From, At string }

// imageName is what the runtime of a fat image is called, whatever its name was.
const imageName = "image"

// imageWinbox is where a fat image has winbox.
const imageWinbox = "/usr/bin/winbox"

// ImageEntry is the entry point of a fat image: the program and its arguments are to follow.
var ImageEntry = []string{imageWinbox, "init"}

// CutImageEntry takes the entry point of a fat image off a command that begins with it, with its flags, of which each is
// `--annotation NAME=VALUE`.
func CutImageEntry(command []string) []string {
	if len(command) < 2 || path.Base(command[0]) != path.Base(imageWinbox) || command[1] != ImageEntry[1] {
		return command
	}
	command = command[2:]
	for len(command) > 1 && command[0] == AnnotationFlag {
		command = command[2:]
	}
	return command
}

// AnnotationFlag goes before an annotation in the entry point.
const AnnotationFlag = "--annotation"

// ImageTrees are what a fat image has besides the application: see [InImage]. What is not there yet is made in the new
// folder draft, which must be kept until the image is made; winbox is the file of this program.
//
// # Errors
//
// The runtime is not one that was built: what a distribution has installed besides Wine, and which of it Wine needs, is
// not known.
func (t *Template) ImageTrees(draft, winbox string) ([]Tree, error) {
	r := t.Runtime
	if !r.built {
		return nil, fmt.Errorf("the runtime %s cannot be put into an image, as it is not known what of this host it needs: "+
			"build one with `winbox runtime build`, or of the Wine that is installed with `winbox runtime build --from /`", r.Name)
	}
	if err := t.makeImageFiles(draft); err != nil {
		return nil, fmt.Errorf("prepare the files of the image: %w", err)
	}
	var trees []Tree
	add := func(from, at string) { trees = append(trees, Tree{from, at}) }
	add(t.Root(), "/")
	for _, p := range r.visible() {
		add(filepath.Join(r.root, p.path), p.path)
	}
	for _, name := range []string{zoneInfo, caBundle} {
		if from := r.ownFile(name); from != "" {
			add(from, name)
		}
	}
	for _, file := range []string{t.Prefix(), t.locales(), t.pipes(), filepath.Join(t.Dir, stopFile(AMD64)), filepath.Join(t.Dir, stopFile(I386))} {
		add(file, path.Join(imageDir, filepath.Base(file)))
	}
	add(winbox, imageWinbox)
	add(draft, "/")
	return trees, nil
}

// makeImageFiles makes what only a fat image has: links in place of what containers have mounts for, and folders that any
// user of the container can make something in.
func (t *Template) makeImageFiles(draft string) error {
	top, err := os.OpenRoot(draft)
	if err != nil {
		return err
	}
	defer top.Close()
	if err := top.MkdirAll(rel(imageDir), 0o755); err != nil {
		return err
	}
	for _, p := range t.Runtime.preloaded() {
		machine := p.process.Arch()
		preloader, err := stub.Preloader(machine)
		if err != nil {
			return err
		}
		library, err := quota.LibraryFile(machine)
		if err != nil {
			return err
		}
		if err := errors.Join(
			top.MkdirAll(rel(path.Dir(p.at)), 0o755), top.WriteFile(rel(p.at), preloader, 0o755),
			top.WriteFile(rel(Scratch(imageDir).library(machine)), library, 0o755),
		); err != nil {
			return err
		}
	}
	record := t.Runtime.Record()
	record.Name = imageName
	record.KeepsReserved, record.SmallestStack = t.Runtime.keepsReserved, t.Runtime.smallestStack
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	for _, dir := range []string{t.Runtime.WindowsDir, t.Runtime.Windows32Dir} { // where the links of the prefix lead
		if dir == "" {
			continue
		}
		if err := symlinkIn(top, dir, path.Join(imageDir, "prefix", path.Base(dir))); err != nil {
			return err
		}
	}
	for _, name := range []string{"system.reg", "user.reg", "userdef.reg"} {
		text, err := os.ReadFile(filepath.Join(t.Prefix(), name))
		if err != nil {
			return err
		}
		if err := top.WriteFile(rel(path.Join(imageDir, "prefix", name)), settled(text, t.Runtime.Digest), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range []string{path.Dir(runDir), "/tmp"} { // and nothing in it: who copies a folder to a tmpfs may leave out the mode
		if err := top.MkdirAll(rel(dir), 0o755); err != nil {
			return err
		}
		if err := top.Chmod(rel(dir), 0o777|fs.ModeSticky); err != nil {
			return err
		}
	}
	return errors.Join(
		top.WriteFile(rel(imageRecord), text, 0o644),
		symlinkIn(top, "/", path.Join(imageDir, "root")), // [Template.Root]
		symlinkIn(top, path.Join(imageDir, localeFile), path.Join(t.Runtime.DataDir, "nls", localeFile)),
	)
}

// What differs from one making of a template to the next: the times of keys, of each section's first line and of a mark of
// its own, and values that are drawn at random or tell the time.
var (
	sectionTime  = pattern(`(?m)^(\[.*\]) [0-9]+$`)
	markTime     = pattern(`(?m)^#time=[0-9a-f]+$`)
	driverDate   = pattern(`(?m)^"DriverDateData"=hex:[0-9a-f,]+$`)
	randomValues = pattern(`(?m)^"(MachineGuid|VideoID)"="(\{?)[0-9a-f-]{36}(\}?)"$`)
)

// settled is a registry file with the same in place of that for each runtime, so that all make the same image of it.
func settled(registry []byte, runtime string) []byte {
	sum := sha256.Sum256([]byte(runtime))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80 // RFC 9562, "UUID Version 4"
	guid := fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	registry = sectionTime().ReplaceAll(registry, []byte("$1 0"))
	registry = markTime().ReplaceAll(registry, []byte("#time=0"))
	registry = driverDate().ReplaceAll(registry, []byte(`"DriverDateData"=hex:00,00,00,00,00,00,00,00`))
	return randomValues().ReplaceAll(registry, []byte(`"$1"="${2}`+guid+`${3}"`))
}

// symlinkIn makes a link, and the folders above it.
func symlinkIn(top *os.Root, target, at string) error {
	if err := top.MkdirAll(rel(path.Dir(at)), 0o755); err != nil {
		return err
	}
	return top.Symlink(target, rel(at))
}
