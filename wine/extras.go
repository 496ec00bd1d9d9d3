package wine

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// zoneInfo is the data base of time zones, caBundle the certificates of authorities that Wine's crypt32 imports.
	zoneInfo = "/usr/share/zoneinfo"
	caBundle = "/etc/ssl/certs/ca-certificates.crt"

	// caFolder is where Debian has them one by one: a package's script makes one file of them, and none runs here.
	caFolder = "/usr/share/ca-certificates"
	// largestBundle is more than any distribution's certificates have, in bytes.
	largestBundle = 8 << 20

	liberation = "/usr/share/fonts/truetype/liberation"
)

// caBundles are where distributions have the certificates in one file: Debian and Arch, Fedora, SUSE.
var caBundles = []string{caBundle, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"}

// textFonts are those of the family Liberation that Wine takes for Arial, Times New Roman and Courier New. Its own fonts
// have none for these.
var textFonts = []string{"LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf", "LiberationSerif-Regular.ttf", "LiberationMono-Regular.ttf"}

// extras keeps what programs expect beside Wine and is there: text fonts and time zones.
func (t *trimmer) extras() error {
	for _, name := range textFonts {
		if from := path.Join(liberation, name); hasFile(rootFiles{t.root}, from) {
			t.kept[path.Join(t.wine.DataDir, "fonts", name)] = from
		}
	}
	return t.zones()
}

// zones keeps the files of the data base of time zones: those with a zone, under all its names.
func (t *trimmer) zones() error {
	err := fs.WalkDir(t.root.FS(), rel(zoneInfo), func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); base == "right" || base == "posix" { // the same once more, for other clocks
				return fs.SkipDir
			}
			return nil
		}
		if isZone(t.root, name) {
			t.kept["/"+name] = "/" + name
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// isZone says whether a file has a time zone in it (RFC 8536).
func isZone(root *os.Root, name string) bool {
	f, err := root.Open(name)
	if err != nil { // a link out of the root: the host's own zone
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && string(magic[:]) == "TZif"
}

// copyCertificates gives a new tree the certificates of a root file system, if it has any.
func copyCertificates(root *os.Root, tree string) error {
	bundle, err := certificates(root)
	if err != nil || len(bundle) == 0 {
		return err
	}
	to := filepath.Join(tree, caBundle)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, bundle, 0o644); err != nil {
		return err
	}
	return os.Chmod(to, 0o644) // whatever the umask
}

// certificates gives the certificates of a root file system in one piece; none when it has none.
func certificates(root *os.Root) ([]byte, error) {
	for _, name := range caBundles {
		if hasFile(rootFiles{root}, name) {
			return readSmall(root, name, largestBundle)
		}
	}
	var files []string
	err := fs.WalkDir(root.FS(), rel(caFolder), func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.HasSuffix(name, ".crt") {
			files = append(files, "/"+name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	slices.Sort(files)
	var bundle []byte
	for _, name := range files {
		data, err := readSmall(root, name, largestBundle-int64(len(bundle)))
		if err != nil {
			return nil, err
		}
		bundle = append(bundle, data...)
		if !strings.HasSuffix(string(data), "\n") {
			bundle = append(bundle, '\n')
		}
	}
	return bundle, nil
}

// readSmall reads a file of at most so many bytes.
func readSmall(root *os.Root, name string, most int64) ([]byte, error) {
	f, err := root.Open(rel(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("too large for certificates")}
	}
	return data, err
}

// ownFile gives where a runtime of the store has a file or folder of this path; empty when it has none. The host's own
// Wine has none: what the host has is for the host to give.
func (r *Runtime) ownFile(name string) string {
	if !r.built {
		return ""
	}
	at := filepath.Join(r.root, name)
	if !isFile(at) && !isFolder(at) {
		return ""
	}
	return at
}

// zones is where the time zones are for containers of the runtime: its own, else the host's; empty when neither has any.
func (r *Runtime) zones() string {
	if own := r.ownFile(zoneInfo); own != "" {
		return own
	}
	if isFolder(zoneInfo) {
		return zoneInfo
	}
	return ""
}
