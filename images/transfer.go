package images

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"winbox/images/layer"
	"winbox/images/store"
)

// Progress is told how many bytes of how many have been moved.
type Progress func(done, total int64)

// Options are what adding images to a store has in common.
type Options struct {
	// Limits are those of each image, unpacked.
	Limits layer.Limits
	// Progress may be nil, and is called from several goroutines, one at a time.
	Progress Progress
	// Warn is told of what was left out.
	Warn func(string)
}

// Bombs: a layer may become this many times larger than it is compressed, or this large in any case. Programs compress to
// a third, zeros to a thousandth.
const mostTimes = 100

var freeOfRule int64 = 1 << 30 // tests have less

// limitsFor are the limits of a layer.
func limitsFor(limits layer.Limits, compressed int64) layer.Limits {
	if most := max(freeOfRule, mostTimes*compressed); compressed < limits.Bytes/mostTimes && most < limits.Bytes {
		limits.Bytes = most
	}
	return limits
}

// fetch gives a layer from an offset on, or from before it; at says from where.
type fetch func(ctx context.Context, offset int64) (stream io.ReadCloser, at int64, err error)

// Import adds an image to a store under a name, and unpacks its layers: whatever is wrong with it shows now. Who calls it
// has a hold. When it fails, nothing of the image is named; what came of it, a later call goes on with or the next prune
// removes.
func Import(ctx context.Context, s *store.Store, image v1.Image, called string, opt Options) (store.Descriptor, error) {
	return importImage(ctx, s, image, called, opt, func(l v1.Layer) fetch {
		return func(context.Context, int64) (io.ReadCloser, int64, error) {
			stream, err := l.Compressed()
			return stream, 0, err
		}
	})
}

func importImage(ctx context.Context, s *store.Store, image v1.Image, called string, opt Options, open func(v1.Layer) fetch) (d store.Descriptor, err error) {
	raw, err := image.RawManifest()
	if err != nil {
		return d, err
	}
	config, layers, err := examine(image)
	if err != nil {
		return d, err
	}
	// What launches the image reads it with these.
	manifest, err := store.ParseManifest(raw)
	if err != nil {
		return d, err
	}
	text, err := image.RawConfigFile()
	if err != nil {
		return d, err
	}
	if _, err := store.ParseConfig(text); err != nil {
		return d, err
	}
	i := &importer{Options: opt, ctx: ctx, store: s}
	for _, l := range manifest.Layers {
		i.total += l.Size
	}
	if err := i.layers(manifest.Layers, layers, config.RootFS.DiffIDs, open); err != nil {
		return d, err
	}
	if opt.Warn != nil {
		var diffIDs []store.Digest
		for _, id := range config.RootFS.DiffIDs {
			diffIDs = append(diffIDs, store.Digest(id.String()))
		}
		if err := warnOfCollisions(s, diffIDs, opt.Warn); err != nil {
			return d, err
		}
	}
	if _, err := s.Put(ctx, text); err != nil {
		return d, err
	}
	kind, err := image.MediaType()
	if err != nil {
		return d, err
	}
	d = store.Descriptor{MediaType: string(kind), Size: int64(len(raw))}
	if d.Digest, err = s.Put(ctx, raw); err != nil {
		return d, err
	}
	return d, s.Tag(ctx, called, d)
}

// An importer adds the layers of an image.
type importer struct {
	Options
	ctx         context.Context
	store       *store.Store
	mu          sync.Mutex // of what follows, and of progress
	done, total int64
	unpacking   sync.Mutex // one layer at a time, for the limits
}

// parallel is how many layers are fetched at once.
const parallel = 3

func (i *importer) layers(descriptors []store.Descriptor, layers []v1.Layer, diffIDs []v1.Hash, open func(v1.Layer) fetch) error {
	ctx, cancel := context.WithCancelCause(i.ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	free := make(chan bool, parallel)
	for n, l := range layers {
		all.Go(func() {
			free <- true
			defer func() { <-free }()
			if ctx.Err() != nil {
				return
			}
			err := i.blob(ctx, descriptors[n], open(l))
			if err == nil {
				err = i.unpack(ctx, descriptors[n], store.Digest(diffIDs[n].String()))
			}
			if err != nil {
				cancel(fmt.Errorf("layer %d of %d: %w", n+1, len(layers), err))
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// add notes how much has been moved.
func (i *importer) add(n int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done += n; i.Progress != nil {
		i.Progress(i.done, i.total)
	}
}

// attempts is how often a layer is asked for until nothing more comes of it.
const attempts = 5

// pause is how long to wait before the first new attempt; it doubles.
var pause = 500 * time.Millisecond

// blob adds a layer as it is. What breaks off is gone on with.
func (i *importer) blob(ctx context.Context, d store.Descriptor, open fetch) error {
	b, err := i.store.Blob(ctx, d.Digest)
	if err != nil {
		return err
	}
	if b == nil {
		i.add(d.Size)
		return nil
	}
	if b.Size() > d.Size {
		if err := b.Reset(); err != nil {
			return errors.Join(err, b.Abort())
		}
	}
	i.add(b.Size())
	for failed, wait := 0, pause; b.Size() < d.Size; {
		before := b.Size()
		err := i.part(ctx, b, d.Size, open)
		if b.Size() == d.Size {
			break
		}
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		if b.Size() > before {
			failed, wait = 0, pause
		}
		var final *finalError
		if failed++; failed == attempts || ctx.Err() != nil || errors.As(err, &final) {
			err = fmt.Errorf("%w: it has %d bytes, %d of them came", err, d.Size, b.Size())
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if final != nil || b.Size() == 0 {
				return errors.Join(err, b.Abort())
			}
			return errors.Join(err, b.Suspend())
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait *= 2
	}
	_, err = b.Commit()
	return err
}

// finalError is one that no repetition makes better.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// part fetches the rest of a layer, as far as it comes.
func (i *importer) part(ctx context.Context, b *store.Blob, size int64, open fetch) error {
	stream, at, err := open(ctx, b.Size())
	if err != nil {
		return err
	}
	defer stream.Close()
	if at != b.Size() {
		i.add(-b.Size())
		if err := b.Reset(); err != nil {
			return &finalError{err}
		}
	}
	// Whatever is sent beyond its size: the digest cannot be right, and the disk is not theirs to fill.
	_, err = io.Copy(counted{b, i.add}, io.LimitReader(stream, size-b.Size()))
	return err
}

type counted struct {
	b   *store.Blob
	add func(int64)
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.b.Write(p)
	if err != nil {
		err = &finalError{err}
	}
	c.add(int64(n))
	return n, err
}

// unpack unpacks a layer of the store.
func (i *importer) unpack(ctx context.Context, d store.Descriptor, diffID store.Digest) error {
	i.unpacking.Lock()
	defer i.unpacking.Unlock()
	return UnpackLayer(ctx, i.store, d, diffID, &i.Limits, i.Warn)
}

// UnpackLayer unpacks a layer of a store that is not unpacked yet, and takes what it has from the limits. Who calls it has
// a hold.
func UnpackLayer(ctx context.Context, s *store.Store, d store.Descriptor, diffID store.Digest, limits *layer.Limits, warn func(string)) error {
	mine := limitsFor(*limits, d.Size)
	before := mine
	sum, err := s.Unpack(ctx, diffID, func() (io.ReadCloser, error) { return openLayer(s, d) }, &mine)
	limits.Bytes -= before.Bytes - mine.Bytes
	limits.Entries -= before.Entries - mine.Entries
	switch {
	case errors.Is(err, layer.ErrTooLarge):
		return fmt.Errorf("%w: more than %d bytes of %d compressed ones; --max-size allows more", err, before.Bytes, d.Size)
	case errors.Is(err, layer.ErrTooMany):
		return fmt.Errorf("%w, %d; --max-files allows more", err, before.Entries)
	case err != nil:
		return err
	}
	if warn != nil && sum.Skipped > 0 {
		warn(fmt.Sprintf("%d devices and pipes were left out: containers have their own", sum.Skipped))
	}
	if warn != nil && sum.Stripped > 0 {
		warn(fmt.Sprintf("%d files lost setuid, setgid or a capability: containers cannot gain privileges", sum.Stripped))
	}
	return nil
}

// UnpackLayers unpacks all layers of an image that are not unpacked yet. Who calls it has a hold.
func UnpackLayers(ctx context.Context, s *store.Store, image *store.Image, limits layer.Limits, warn func(string)) error {
	for n, d := range image.Manifest.Layers {
		if err := UnpackLayer(ctx, s, d, image.Config.RootFS.DiffIDs[n], &limits, warn); err != nil {
			return fmt.Errorf("image %s: layer %d of %d: %w", image.Name(), n+1, len(image.Manifest.Layers), err)
		}
	}
	return nil
}

// UnpackStored unpacks an image of a store into a folder that is made for it, one layer over the other, with owners if the
// caller is root. Nothing is left of it when it fails. Who calls it has a hold.
func UnpackStored(ctx context.Context, s *store.Store, called, to string, limits layer.Limits) (err error) {
	image, err := s.Find(called)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("unpack %s: %w", called, store.ExplainAt(filepath.Dir(to), err)), os.RemoveAll(to))
		}
	}()
	for n, d := range image.Manifest.Layers {
		stream, err := openLayer(s, d)
		if err != nil {
			return err
		}
		mine := limitsFor(limits, d.Size)
		before := mine
		opt := layer.Options{Limits: &mine, Whiteouts: true, Owners: store.KeepsOwners()}
		err = apply(ctx, stream, image.Config.RootFS.DiffIDs[n], to, opt)
		stream.Close()
		limits.Bytes -= before.Bytes - mine.Bytes
		limits.Entries -= before.Entries - mine.Entries
		if err != nil {
			return fmt.Errorf("layer %d of %d: %w", n+1, len(image.Manifest.Layers), err)
		}
	}
	return nil
}

// openLayer opens a layer of a store, no longer compressed.
func openLayer(s *store.Store, d store.Descriptor) (io.ReadCloser, error) {
	f, err := s.OpenBlob(d.Digest)
	if err != nil {
		return nil, err
	}
	return decompressed(f)
}

// decompressed gives what a file holds: a layer, or an archive of an image. It is closed with what is given, and on an error.
func decompressed(f io.ReadSeekCloser) (io.ReadCloser, error) {
	var head [4]byte
	n, _ := io.ReadFull(f, head[:])
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// By content: docker names a type that is always gzip's, whatever the layer is.
	switch {
	case n >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		r, err := gzip.NewReader(bufio.NewReaderSize(f, 256<<10))
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return readCloser{r, f.Close}, nil
	case n == 4 && string(head[:]) == "\x28\xb5\x2f\xfd":
		r, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(32<<20))
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return readCloser{r, func() error { r.Close(); return f.Close() }}, nil
	}
	return f, nil
}

type readCloser struct {
	io.Reader
	close func() error
}

func (r readCloser) Close() error { return r.close() }

// reference reads the name of an image in a registry, which must not be spoken to without TLS unless it is on this host.
func reference(called string) (name.Reference, error) {
	ref, err := name.ParseReference(called)
	if err != nil {
		return nil, fmt.Errorf("neither a file nor the name of an image: %w", err)
	}
	if registry := ref.Context().Registry; registry.Scheme() == "http" && !isLoopback(registry.RegistryStr()) {
		// Addresses of private networks, which the library would take for safe.
		return nil, fmt.Errorf("the registry %s would be spoken to without TLS: only one on this host may be", registry)
	}
	return ref, nil
}

// Pull gets an image from a registry, with the passwords of docker's or podman's configuration. What a pull that was
// broken off has fetched is not fetched again. Who calls it has a hold.
func Pull(ctx context.Context, s *store.Store, called string, opt Options) (d store.Descriptor, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("pull %s: %w", called, err)
		}
	}()
	ref, err := reference(called)
	if err != nil {
		return d, err
	}
	image, err := pull(ctx, called, platform)
	if err != nil {
		return d, err
	}
	local := called
	if digest, ok := ref.(name.Digest); ok { // without a tag, it is named by its digest
		local = digest.Context().Name() + ":sha256-" + digest.DigestStr()[len("sha256:"):]
	}
	client, err := clientFor(ctx, ref)
	if err != nil {
		return d, err
	}
	return importImage(ctx, s, image, local, opt, func(l v1.Layer) fetch {
		return func(ctx context.Context, offset int64) (io.ReadCloser, int64, error) {
			digest, err := l.Digest()
			if err != nil {
				return nil, 0, err
			}
			u := url.URL{Scheme: ref.Context().Scheme(), Host: ref.Context().RegistryStr(), Path: "/v2/" + ref.Context().RepositoryStr() + "/blobs/" + digest.String()}
			size, err := l.Size()
			if err != nil {
				return nil, 0, err
			}
			return get(ctx, client, u.String(), offset, size)
		}
	})
}

// clientFor makes a client that has logged in to a registry.
func clientFor(ctx context.Context, ref name.Reference) (*http.Client, error) {
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, ref.Context())
	if err != nil {
		return nil, err
	}
	t, err := transport.NewWithContext(ctx, ref.Context().Registry, auth, remote.DefaultTransport, []string{ref.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 5 {
			return errors.New("too many redirections")
		}
		if r.URL.Scheme != "https" && !isLoopback(r.URL.Host) {
			return fmt.Errorf("the registry sends us to %s, without TLS", r.URL.Host)
		}
		return nil
	}}, nil
}

// get fetches what is behind an address, of a size, from an offset on, if its server can do that.
func get(ctx context.Context, client *http.Client, from string, offset, size int64) (io.ReadCloser, int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, 0, &finalError{err}
	}
	if offset > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, size-1))
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	switch code := response.StatusCode; {
	case code == http.StatusOK:
		return response.Body, 0, nil
	case code == http.StatusPartialContent:
		var at int64
		if _, err := fmt.Sscanf(response.Header.Get("Content-Range"), "bytes %d-", &at); err == nil && at == offset {
			return response.Body, at, nil
		}
		response.Body.Close()
		return nil, 0, fmt.Errorf("the registry answers with the range %.40q to one from %d", response.Header.Get("Content-Range"), offset)
	case code == http.StatusRequestedRangeNotSatisfiable && offset > 0:
		response.Body.Close()
		return get(ctx, client, from, 0, size)
	default:
		response.Body.Close()
		err := fmt.Errorf("the registry answers %s", response.Status)
		if code < 500 && code != http.StatusTooManyRequests && code != http.StatusRequestTimeout {
			return nil, 0, &finalError{err}
		}
		return nil, 0, err
	}
}

// stored gives an image of the store as the library has it.
func stored(s *store.Store, called string) (v1.Image, *store.Image, error) {
	i, err := s.Find(called)
	if err != nil {
		return nil, nil, err
	}
	dir, err := layout.FromPath(s.Dir())
	if err != nil {
		return nil, nil, err
	}
	image, err := dir.Image(hashOf(i.Digest))
	return image, i, err
}

// Push puts an image of the store into a registry, under the name to. Layers that are there already are not sent. Who
// calls it has a hold.
func Push(ctx context.Context, s *store.Store, called, to string, progress Progress) (err error) {
	ref, err := reference(to)
	if err != nil {
		return fmt.Errorf("push %s: %w", to, err)
	}
	image, _, err := stored(s, called)
	if err != nil {
		return err
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithJobs(parallel)}
	var done sync.WaitGroup
	if progress != nil {
		updates := make(chan v1.Update, 16)
		options = append(options, remote.WithProgress(updates))
		done.Go(func() {
			for u := range updates {
				if u.Error == nil {
					progress(u.Complete, u.Total)
				}
			}
		})
	}
	err = remote.MultiWrite(map[name.Reference]remote.Taggable{ref: image}, options...)
	done.Wait()
	if err != nil {
		return fmt.Errorf("push %s: %w", to, err)
	}
	return nil
}

// understood tells whether layers of a kind can be unpacked.
func understood(kind types.MediaType) bool { return slices.Contains(layerTypes, kind) }
