package images

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"winbox/images/layer"
	"winbox/images/store"
)

// platform is that of the images: what a runtime has for 32-bit programs lies in an amd64 image, too.
var platform = v1.Platform{OS: "linux", Architecture: "amd64"}

// layerTypes are the kinds of layers that are understood. Those that an image names to be fetched from elsewhere
// ("foreign") are not.
var layerTypes = []types.MediaType{
	types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer, types.DockerLayer, types.DockerUncompressedLayer,
	"application/vnd.docker.image.rootfs.diff.tar.zstd",
}

// Unpack unpacks an image into a folder that is made for it: that of an OCI layout (a folder), of an OCI or docker archive
// (a tar file), or of a registry, when there is no such file. It gives the labels of the image.
//
// Registries get the passwords of docker's or podman's configuration. Only those on this host are spoken to without TLS.
//
// progress is told how many of how many layers are done; it may be nil.
func Unpack(ctx context.Context, from, to string, limits layer.Limits, progress func(done, total int)) (labels map[string]string, err error) {
	image, clean, err := open(ctx, from, filepath.Dir(to), limits, platform)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, clean()) }()
	if labels, err = unpack(ctx, image, to, limits, progress); err != nil {
		return nil, fmt.Errorf("image %s: %w", from, err)
	}
	return labels, nil
}

// open finds an image for a platform; temporary is a folder in which it may make one, which clean removes.
func open(ctx context.Context, from, temporary string, limits layer.Limits, want v1.Platform) (image v1.Image, clean func() error, err error) {
	clean = func() error { return nil }
	info, err := os.Stat(from)
	switch {
	case err != nil && (strings.HasPrefix(from, "/") || strings.HasPrefix(from, ".")):
		return nil, nil, err
	case err != nil:
		image, err = pull(ctx, from, want)
	case info.IsDir():
		image, err = fromLayout(from, want)
	default:
		var plain string
		if plain, err = inflate(from, temporary, limits); err != nil {
			return nil, nil, err
		}
		if plain != from {
			from, clean = plain, func() error { return os.Remove(plain) }
		}
		var isLayout bool
		if isLayout, err = hasEntry(from, "oci-layout"); err != nil {
			break
		}
		if !isLayout {
			image, err = tarball.ImageFromPath(from, nil)
			break
		}
		var dir string
		if dir, err = os.MkdirTemp(temporary, "layout-"); err != nil {
			break
		}
		file := clean
		clean = func() error { return errors.Join(file(), os.RemoveAll(dir)) }
		if err = unarchive(from, dir, limits); err == nil {
			image, err = fromLayout(dir, want)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, clean())
	}
	return image, clean, nil
}

// inflate gives an archive as a file that is not compressed: itself, or a temporary one for what gzip or zstd has made.
func inflate(archive, temporary string, limits layer.Limits) (plain string, err error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	r, err := decompressed(f)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if r == io.ReadCloser(f) {
		return archive, nil
	}
	to, err := os.CreateTemp(temporary, "archive-")
	if err != nil {
		return "", err
	}
	n, err := io.Copy(to, io.LimitReader(r, limits.Bytes+1))
	if err == nil && n > limits.Bytes {
		err = layer.ErrTooLarge
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("decompress the archive: %w", err), os.Remove(to.Name()))
	}
	return to.Name(), nil
}

// pull finds an image for a platform in a registry.
func pull(ctx context.Context, from string, want v1.Platform) (v1.Image, error) {
	ref, err := reference(from)
	if err != nil {
		return nil, err
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithPlatform(want), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	image, err := remote.Image(ref, options...)
	if err != nil && want.Equals(platform) {
		if _, other := remote.Image(ref, append(options, remote.WithPlatform(windowsPlatform))...); other == nil {
			err = fmt.Errorf("it is for Windows only: %s", convertHint)
		}
	}
	return image, err
}

func isLoopback(registry string) bool {
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// fromLayout finds the image in an OCI layout: the only one, or the only one for the platform.
func fromLayout(dir string, want v1.Platform) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	return fromIndex(index, want, 0)
}

func fromIndex(index v1.ImageIndex, want v1.Platform, depth int) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	fits := slices.DeleteFunc(slices.Clone(manifest.Manifests), func(d v1.Descriptor) bool {
		return !d.MediaType.IsImage() && !d.MediaType.IsIndex() || d.Platform != nil && !d.Platform.Satisfies(want)
	})
	if want.OS == windowsPlatform.OS && len(fits) > 1 { // for several versions of Windows: the newest
		slices.SortStableFunc(fits, func(a, b v1.Descriptor) int { return strings.Compare(osVersion(b), osVersion(a)) })
		fits = fits[:1]
	}
	if len(fits) != 1 {
		return nil, fmt.Errorf("it has %d images for %s, want one", len(fits), want)
	}
	return fromDescriptor(index, fits[0], want, depth)
}

// osVersion is the version of Windows that an image is for, such as 10.0.20348.1.
func osVersion(d v1.Descriptor) string {
	if d.Platform == nil {
		return ""
	}
	return d.Platform.OSVersion
}

// fromDescriptor finds an image that an index lists, or the only one for the platform of a list that it lists.
func fromDescriptor(index v1.ImageIndex, d v1.Descriptor, want v1.Platform, depth int) (v1.Image, error) {
	if d.MediaType.IsIndex() {
		if depth == 3 {
			return nil, errors.New("its lists of images have lists in them, too many times")
		}
		inner, err := index.ImageIndex(d.Digest)
		if err != nil {
			return nil, err
		}
		raw, err := inner.RawManifest()
		if err != nil {
			return nil, err
		}
		if err := check(raw, d.Digest); err != nil {
			return nil, err
		}
		return fromIndex(inner, want, depth+1)
	}
	image, err := index.Image(d.Digest)
	if err != nil {
		return nil, err
	}
	raw, err := image.RawManifest()
	if err != nil {
		return nil, err
	}
	return image, check(raw, d.Digest)
}

// check compares data with its digest.
func check(data []byte, want v1.Hash) error {
	got, _, err := v1.SHA256(bytes.NewReader(data))
	if err == nil && got != want {
		err = fmt.Errorf("its digest is %s, not %s", got, want)
	}
	return err
}

func unpack(ctx context.Context, image v1.Image, to string, limits layer.Limits, progress func(done, total int)) (map[string]string, error) {
	config, layers, err := examine(image)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return nil, err
	}
	opt := layer.Options{Limits: &limits, Whiteouts: true, RelativeLinks: true}
	for i, l := range layers {
		if progress != nil {
			progress(i, len(layers))
		}
		stream, err := l.Uncompressed()
		if err == nil {
			err = errors.Join(apply(ctx, stream, store.Digest(config.RootFS.DiffIDs[i].String()), to, opt), stream.Close())
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	return config.Config.Labels, nil
}

// examine reads an image's configuration and checks that it and the layers are what the manifest says and winbox takes.
func examine(image v1.Image) (*v1.ConfigFile, []v1.Layer, error) { return examineFor(image, platform) }

// convertHint says what can be done with an image for Windows.
const convertHint = "`winbox image convert` makes one of it that can be run"

// examineFor examines an image for a platform. Layers of one for Windows may have to be fetched from elsewhere: they are
// those of Windows itself.
func examineFor(image v1.Image, want v1.Platform) (*v1.ConfigFile, []v1.Layer, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return nil, nil, err
	}
	for _, l := range manifest.Layers {
		if !understood(l.MediaType) && (want.OS == platform.OS || l.MediaType.IsDistributable()) {
			return nil, nil, fmt.Errorf("it has a layer of the kind %s, which is not understood", l.MediaType)
		}
	}
	raw, err := image.RawConfigFile()
	if err != nil {
		return nil, nil, err
	}
	if err := check(raw, manifest.Config.Digest); err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	if config.OS != want.OS || config.Architecture != want.Architecture {
		err := fmt.Errorf("it is for %s/%s, want %s", config.OS, config.Architecture, want)
		if config.OS == windowsPlatform.OS {
			err = fmt.Errorf("%w: %s", err, convertHint)
		}
		return nil, nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, nil, err
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return nil, nil, fmt.Errorf("it has %d layers, and digests of %d", len(layers), len(config.RootFS.DiffIDs))
	}
	return config, layers, nil
}

// apply applies a layer to those below it and checks that it is what the configuration says.
func apply(ctx context.Context, stream io.Reader, want store.Digest, to string, opt layer.Options) (err error) {
	draft, err := os.MkdirTemp(filepath.Dir(to), ".layer-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	ahead := store.ReadAhead(ctx, stream)
	defer ahead.Close()
	var flated flate.CorruptInputError
	sum, err := layer.Extract(draft, ahead, opt)
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &flated) {
		// Is it no layer, or one that something has happened to?
		if _, rest := io.Copy(io.Discard, ahead); rest != nil || ahead.Digest() != want {
			err = fmt.Errorf("damaged, not %s: %w", want, err)
		}
		return err
	} else if err != nil {
		return err
	}
	if got := ahead.Digest(); got != want {
		return fmt.Errorf("its digest is %s, not %s", got, want)
	}
	if err := os.Chmod(draft, 0o755); err != nil {
		return err
	}
	return layer.Merge(draft, to, sum)
}

// hasEntry looks for a file in a tar file.
func hasEntry(file, want string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, fmt.Errorf("not an archive of an image: %w", err)
		case strings.TrimPrefix(h.Name, "./") == want:
			return true, nil
		}
	}
}

// unarchive unpacks an archive of an OCI layout, which has no links.
func unarchive(file, to string, limits layer.Limits) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = layer.Extract(to, f, layer.Options{Limits: &limits, NoLinks: true})
	return err
}
