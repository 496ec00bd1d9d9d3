package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"winbox/internal/leanjson"
)

// A Store is the images of a data root. The zero value is of no use.
type Store struct {
	dataRoot string
}

// Open gives the store of a data root, which need not exist.
func Open(dataRoot string) *Store { return &Store{dataRoot} }

// Dir is the folder of the store, an OCI image layout.
func (s *Store) Dir() string { return filepath.Join(s.dataRoot, "images") }

func (s *Store) ingestDir() string { return filepath.Join(s.Dir(), "ingest") }

// Tree is the folder of an unpacked layer.
func (s *Store) Tree(diffID Digest) string {
	return filepath.Join(s.Dir(), "layers", diffID.hex())
}

func (s *Store) blob(d Digest) string { return filepath.Join(s.Dir(), "blobs/sha256", d.hex()) }

// layoutFile marks an OCI image layout (image specification, "oci-layout file").
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// make makes the folders of the store. What images bring is for nobody's programs but those in containers.
func (s *Store) make() error {
	if err := os.MkdirAll(s.dataRoot, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(s.Dir(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, dir := range []string{"blobs", "blobs/sha256", "layers", "ingest", "mnt"} {
		if err := os.Mkdir(filepath.Join(s.Dir(), dir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	name := filepath.Join(s.Dir(), "oci-layout")
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return replace(name, []byte(layoutFile))
}

// A Digest is "sha256:" and 64 hexadecimal digits in lower case. Others are not known here.
type Digest string

const digestPrefix = "sha256:"

// Check refuses what is no digest.
func (d Digest) Check() error {
	digits, ok := strings.CutPrefix(string(d), digestPrefix)
	if !ok || len(digits) != 2*sha256.Size || strings.Trim(digits, "0123456789abcdef") != "" {
		return fmt.Errorf("%.100q is not a SHA-256 digest", string(d))
	}
	return nil
}

// hex gives the digits of a digest that has been checked.
func (d Digest) hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// DigestOf gives the digest of data.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return Digest(digestPrefix + hex.EncodeToString(sum[:]))
}

// A Hold keeps all that is in the store from being removed, until it is closed.
type Hold struct{ dir *os.File }

// Close lets go. It may be called twice, and for nil.
func (h *Hold) Close() {
	if h != nil {
		h.dir.Close()
	}
}

// Hold makes the store if there is none, waits for a removal to end, and keeps the next from beginning. What others that
// were killed have left is removed.
func (s *Store) Hold() (*Hold, error) {
	if err := s.make(); err != nil {
		return nil, fmt.Errorf("image store: %w", s.Explain(err))
	}
	h, err := s.hold(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	if err := s.clean(); err != nil {
		h.Close()
		return nil, fmt.Errorf("image store: %w", err)
	}
	return h, nil
}

// Peek is a Hold for who only reads, and takes neither the time nor the rights to mend anything.
func (s *Store) Peek() (*Hold, error) {
	h, err := s.hold(unix.LOCK_SH)
	if errors.Is(err, fs.ErrNotExist) {
		return s.Hold()
	}
	return h, err
}

func (s *Store) hold(how int) (*Hold, error) {
	f, err := os.OpenFile(s.Dir(), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := flock(f, how); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", s.Dir(), err)
	}
	return &Hold{f}, nil
}

// holdAlone waits until nobody has a hold, and keeps others from having one.
func (s *Store) holdAlone(ctx context.Context) (*Hold, error) {
	for {
		h, err := s.hold(unix.LOCK_EX | unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return h, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for others that use the store: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// flock locks a file until it is closed (flock(2)).
func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

// lockFor locks a file as flock does, but gives up with the context.
func lockFor(ctx context.Context, f *os.File) error {
	for {
		err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// same tells whether a path still leads to the file that is open.
func same(f *os.File, name string) bool {
	var a, b unix.Stat_t
	return unix.Fstat(int(f.Fd()), &a) == nil && unix.Lstat(name, &b) == nil && a.Ino == b.Ino && a.Dev == b.Dev
}

// Explain adds to an error what its user can do about it.
func (s *Store) Explain(err error) error {
	if IsFull(err) {
		return fmt.Errorf("the disk of %s is full: remove what is not needed there, or run `winbox image prune` (%w)", s.Dir(), err)
	}
	return err
}

// ExplainAt does so for an error of what is written to another folder than the store's.
func ExplainAt(dir string, err error) error {
	if IsFull(err) {
		return fmt.Errorf("the disk of %s is full: remove what is not needed there (%w)", dir, err)
	}
	return err
}

// IsFull tells whether a disk, or the caller's quota of it, is full.
func IsFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// replace writes a file as a whole or not at all, and so that it outlives the machine's end. Others that replace it at the
// same time, if any, write the same.
func replace(name string, data []byte) error {
	draft := filepath.Join(filepath.Dir(name), "."+filepath.Base(name))
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(draft, name)
	}
	if errors.Is(err, fs.ErrNotExist) { // another has been faster
		_, err = os.Lstat(name)
		return err
	}
	if err != nil {
		os.Remove(draft)
		return err
	}
	return syncFolder(filepath.Dir(name))
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// maxDocument is the largest manifest, index or configuration that is read; registries take manifests of up to 4 MiB
// (distribution specification, "Pushing Manifests").
const maxDocument = 8 << 20

// Read reads a small blob, such as a manifest, and checks its digest.
//
// # Errors
//
// Wraps [fs.ErrNotExist].
func (s *Store) Read(d Digest) ([]byte, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	f, err := os.Open(s.blob(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("blob %s: larger than %d bytes", d, maxDocument)
	}
	if got := DigestOf(data); got != d {
		return nil, fmt.Errorf("blob %s is damaged: its digest is %s; remove the image and get it anew", d, got)
	}
	return data, nil
}

// Has tells whether a blob is in the store.
func (s *Store) Has(d Digest) bool {
	info, err := os.Lstat(s.blob(d))
	return d.Check() == nil && err == nil && info.Mode().IsRegular()
}

// HasTree tells whether a layer is unpacked.
func (s *Store) HasTree(diffID Digest) bool {
	info, err := os.Lstat(s.Tree(diffID))
	return diffID.Check() == nil && err == nil && info.IsDir()
}

// OpenBlob opens a blob; its digest was checked when it was added.
func (s *Store) OpenBlob(d Digest) (*os.File, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	return os.Open(s.blob(d))
}

// index is the file index.json (image specification, "image-index"). Fields that are not known are lost: it is ours.
type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []Descriptor `json:"manifests"`
}

// A Descriptor says what a blob is (image specification, "Descriptors").
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      Digest            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// nameAnnotation is what an image is called in a layout (image specification, "annotations").
const nameAnnotation = "org.opencontainers.image.ref.name"

// Name is what an image is called.
func (d Descriptor) Name() string { return d.Annotations[nameAnnotation] }

// names reads the index; without one, there are no images.
func (s *Store) names() (*index, error) {
	x := &index{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []Descriptor{}}
	file := filepath.Join(s.Dir(), "index.json")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return nil, err
	}
	if err := leanjson.Unmarshal(data, x); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, d := range x.Manifests {
		if err := d.Digest.Check(); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return x, nil
}

// change changes the index under a lock.
func (s *Store) change(ctx context.Context, how func(*index) error) error {
	lock, err := os.OpenFile(filepath.Join(s.Dir(), "index.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return s.Explain(err)
	}
	defer lock.Close()
	if err := lockFor(ctx, lock); err != nil {
		return err
	}
	x, err := s.names()
	if err != nil {
		return err
	}
	if err := how(x); err != nil {
		return err
	}
	data, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return err
	}
	return s.Explain(replace(filepath.Join(s.Dir(), "index.json"), append(data, '\n')))
}
