package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"winbox/images/layer"
)

// A Blob is a blob that is being added.
type Blob struct {
	store *Store
	file  *os.File
	hash  hash.Hash
	size  int64
	want  Digest // empty when that is not known before
}

// What the names of drafts begin with. A half blob of a known digest is called by its digits: it is gone on with.
const (
	newBlob  = "new-"
	newLayer = "layer-"
	oldLayer = "gone-" // one that is being removed
)

// NewBlob begins a blob of which the digest will come out. Who calls it has a hold.
func (s *Store) NewBlob() (*Blob, error) {
	for {
		f, err := os.CreateTemp(s.ingestDir(), newBlob)
		if err != nil {
			return nil, s.Explain(err)
		}
		if err := flock(f, unix.LOCK_EX); err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		if same(f, f.Name()) { // else somebody has taken it for a leftover before it was locked
			return &Blob{store: s, file: f, hash: sha256.New()}, nil
		}
		f.Close()
	}
}

// Blob begins a blob of a digest, or goes on with what there is of it already, [Blob.Size] bytes. It waits for others that
// add the same. The result is nil when the blob is in the store. Who calls it has a hold.
func (s *Store) Blob(ctx context.Context, d Digest) (*Blob, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	name := filepath.Join(s.ingestDir(), d.hex())
	for {
		if s.Has(d) {
			return nil, nil
		}
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, s.Explain(err)
		}
		if err := lockFor(ctx, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if !same(f, name) { // who had the lock has finished it, or given up
			f.Close()
			continue
		}
		b := &Blob{store: s, file: f, hash: sha256.New(), want: d}
		if b.size, err = io.Copy(b.hash, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return b, nil
	}
}

// Size is how much of the blob there is.
func (b *Blob) Size() int64 { return b.size }

// Reset begins anew.
func (b *Blob) Reset() error {
	b.hash.Reset()
	b.size = 0
	_, err := b.file.Seek(0, io.SeekStart)
	return errors.Join(err, b.file.Truncate(0))
}

func (b *Blob) Write(data []byte) (int, error) {
	n, err := b.file.Write(data)
	b.hash.Write(data[:n])
	b.size += int64(n)
	if err != nil {
		err = b.store.Explain(err)
	}
	return n, err
}

// Digest is that of what has been written.
func (b *Blob) Digest() Digest { return Digest(digestPrefix + hex.EncodeToString(b.hash.Sum(nil))) }

// Commit ends the blob and adds it to the store.
//
// # Errors
//
// It has another digest than it should have: nothing is left of it then.
func (b *Blob) Commit() (Digest, error) {
	got := b.Digest()
	if b.want != "" && got != b.want {
		return "", errors.Join(fmt.Errorf("its digest is %s, not %s", got, b.want), b.Abort())
	}
	if err := b.file.Chmod(0o644); err != nil {
		return "", errors.Join(err, b.Abort())
	}
	if err := b.file.Sync(); err != nil {
		return "", errors.Join(b.store.Explain(err), b.Abort())
	}
	if err := os.Rename(b.file.Name(), b.store.blob(got)); err != nil {
		return "", errors.Join(err, b.Abort())
	}
	return got, errors.Join(b.file.Close(), syncFolder(filepath.Join(b.store.Dir(), "blobs/sha256")))
}

// Abort ends the blob and leaves nothing of it.
func (b *Blob) Abort() error {
	return errors.Join(os.Remove(b.file.Name()), b.file.Close())
}

// Suspend ends the blob; who adds it next goes on with what there is.
func (b *Blob) Suspend() error { return b.file.Close() }

// Draft makes a folder that done removes, or, when this process is killed, whoever uses the store next. Who calls it has a
// hold.
func (s *Store) Draft() (dir string, done func() error, err error) {
	for {
		if dir, err = os.MkdirTemp(s.ingestDir(), newBlob); err != nil {
			return "", nil, s.Explain(err)
		}
		f, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = flock(f, unix.LOCK_EX)
		}
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
		if same(f, dir) {
			return dir, func() error { return errors.Join(os.RemoveAll(dir), f.Close()) }, nil
		}
		f.Close()
	}
}

// Put adds data, such as a manifest.
func (s *Store) Put(ctx context.Context, data []byte) (Digest, error) {
	d := DigestOf(data)
	b, err := s.Blob(ctx, d)
	if b == nil || err != nil {
		return d, err
	}
	if err := b.Reset(); err != nil {
		return "", errors.Join(err, b.Abort())
	}
	if _, err := io.Copy(b, bytes.NewReader(data)); err != nil {
		return "", errors.Join(err, b.Abort())
	}
	return b.Commit()
}

// Unpack unpacks a layer, once for all images and containers. open gives the layer, no longer compressed. It waits for
// others that unpack the same. Who calls it has a hold.
//
// # Errors
//
// Those of [layer.Extract]; its digest is not diffID. Nothing is left then.
func (s *Store) Unpack(ctx context.Context, diffID Digest, open func() (io.ReadCloser, error), limits *layer.Limits) (sum layer.Summary, err error) {
	if err := diffID.Check(); err != nil {
		return sum, err
	}
	draft := filepath.Join(s.ingestDir(), newLayer+diffID.hex())
	var lock *os.File
	for {
		if s.HasTree(diffID) {
			return sum, nil
		}
		if err := os.Mkdir(draft, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return sum, s.Explain(err)
		}
		if lock, err = os.Open(draft); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return sum, err
		}
		if err := lockFor(ctx, lock); err != nil {
			return sum, errors.Join(err, lock.Close())
		}
		if same(lock, draft) && !s.HasTree(diffID) {
			break
		}
		lock.Close()
	}
	defer lock.Close()
	tree := filepath.Join(draft, "tree")
	// What somebody who was killed has left of it.
	if err := errors.Join(os.RemoveAll(tree), os.Mkdir(tree, 0o755)); err != nil {
		return sum, s.Explain(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	stream, err := open()
	if err != nil {
		return sum, err
	}
	defer stream.Close()
	ahead := ReadAhead(ctx, stream)
	defer ahead.Close()
	opt := layer.Options{Limits: limits, Whiteouts: true, Owners: KeepsOwners()}
	if sum, err = layer.Extract(tree, ahead, opt); err != nil {
		return sum, s.Explain(err)
	}
	if got := ahead.Digest(); got != diffID {
		return sum, fmt.Errorf("unpacked, its digest is %s, not %s", got, diffID)
	}
	// A tree with half its files would be found complete after the machine's end.
	if err := unix.Syncfs(int(lock.Fd())); err != nil {
		return sum, s.Explain(err)
	}
	if err := os.Rename(tree, s.Tree(diffID)); err != nil {
		return sum, err
	}
	return sum, syncFolder(filepath.Join(s.Dir(), "layers"))
}

// KeepsOwners tells whether files can be given the owners that an image says: by root, unless owners are mapped.
func KeepsOwners() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return os.Geteuid() == 0 && err == nil && strings.Join(strings.Fields(string(data)), " ") == "0 0 4294967295"
}

// ContextReader reads until its context ends.
func ContextReader(ctx context.Context, from io.Reader) io.Reader { return contextReader{ctx, from} }

type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
