package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"winbox/images/layer"
	"winbox/images/store"
)

// Formats of [Save].
const (
	OCIArchive    = "oci-archive"
	OCILayout     = "oci"
	DockerArchive = "docker-archive"
)

// refName is what an image is called in a layout; containerdName is what containerd and docker write besides.
const (
	refName        = "org.opencontainers.image.ref.name"
	containerdName = "io.containerd.image.name"
)

// named is an image of a layout or archive, and what it is called there.
type named struct {
	image v1.Image
	names []string
}

// Load adds the images of an OCI layout or an archive to a store, under the names they have there, or, when there is
// only one, under the name called. It gives the names. Who calls it has a hold.
func Load(ctx context.Context, s *store.Store, from, called string, opt Options) (names []string, err error) {
	list, clean, err := openAll(from, s.Draft, opt.Limits)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", from, s.Explain(err))
	}
	defer func() { err = errors.Join(err, clean()) }()
	if called != "" && len(list) != 1 {
		return nil, fmt.Errorf("load %s: it has %d images, and there is one name for them", from, len(list))
	}
	for _, n := range list {
		if called != "" {
			n.names = []string{called}
		}
		if len(n.names) == 0 {
			return names, fmt.Errorf("load %s: an image in it has no name: give it one with --tag", from)
		}
		for _, as := range n.names {
			if _, err := store.CheckName(as); err != nil {
				return names, fmt.Errorf("load %s: %w", from, err)
			}
			if _, err := Import(ctx, s, n.image, as, opt); err != nil {
				return names, fmt.Errorf("load %s: %s: %w", from, as, err)
			}
			names = append(names, as)
		}
	}
	return names, nil
}

// openAll finds the images of a layout or an archive; draft makes a folder, for what has to be unpacked to be read.
func openAll(from string, draft func() (string, func() error, error), limits layer.Limits) (list []named, clean func() error, err error) {
	clean = func() error { return nil }
	info, err := os.Stat(from)
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		list, err = allOfLayout(from)
		return list, clean, err
	}
	isLayout, err := hasEntry(from, "oci-layout")
	if err != nil {
		return nil, nil, err
	}
	if !isLayout {
		list, err = allOfDocker(from)
		return list, clean, err
	}
	dir, clean, err := draft()
	if err != nil {
		return nil, nil, err
	}
	if err = unarchive(from, dir, limits); err == nil {
		list, err = allOfLayout(dir)
	}
	if err != nil {
		return nil, nil, errors.Join(err, clean())
	}
	return list, clean, nil
}

// allOfLayout lists the images of a layout: in each list of images for several platforms, the one for ours.
func allOfLayout(dir string) (list []named, err error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var names [][]string
	var roots []v1.Descriptor
	for _, d := range manifest.Manifests {
		if !d.MediaType.IsImage() && !d.MediaType.IsIndex() || d.Platform != nil && !d.Platform.Satisfies(platform) {
			continue
		}
		called := d.Annotations[containerdName]
		if called == "" {
			called = d.Annotations[refName]
		}
		at := slices.IndexFunc(roots, func(r v1.Descriptor) bool { return r.Digest == d.Digest })
		if at < 0 {
			at = len(roots)
			roots, names = append(roots, d), append(names, nil)
		}
		if called != "" {
			names[at] = append(names[at], called)
		}
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("it has no image for %s", platform)
	}
	for i, d := range roots {
		image, err := fromDescriptor(index, d, platform, 0)
		if err != nil {
			return nil, err
		}
		list = append(list, named{image, names[i]})
	}
	return list, nil
}

// allOfDocker lists the images of an archive of docker's.
func allOfDocker(file string) (list []named, err error) {
	open := func() (io.ReadCloser, error) { return os.Open(file) }
	manifest, err := tarball.LoadManifest(open)
	if err != nil {
		return nil, fmt.Errorf("not an archive of images: %w", err)
	}
	for _, d := range manifest {
		if len(d.RepoTags) == 0 && len(manifest) > 1 {
			return nil, errors.New("of several images in it, one has no name")
		}
		var tag *name.Tag
		if len(manifest) > 1 {
			t, err := name.NewTag(d.RepoTags[0])
			if err != nil {
				return nil, err
			}
			tag = &t
		}
		image, err := tarball.Image(open, tag)
		if err != nil {
			return nil, err
		}
		list = append(list, named{image, d.RepoTags})
	}
	return list, nil
}

// Save writes images of a store to a file, or, as a layout, to a new folder. Nothing is left of it when it fails. Who calls
// it has a hold.
func Save(s *store.Store, names []string, to, format string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save to %s: %w", to, err)
		}
	}()
	var list []*store.Image
	for _, called := range names {
		i, err := s.Find(called)
		if err != nil {
			return err
		}
		list = append(list, i)
	}
	if format == OCILayout {
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		if err := writeLayout(s, list, folderWriter(to)); err != nil {
			return errors.Join(err, os.RemoveAll(to))
		}
		return nil
	}
	// Under a name of its own until it is whole; what is no regular file, such as a pipe, is written to.
	draft := to
	if info, err := os.Stat(to); err != nil || info.Mode().IsRegular() {
		draft = filepath.Join(filepath.Dir(to), "."+filepath.Base(to)+".part")
	}
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	switch format {
	case DockerArchive:
		err = writeDocker(s, list, f)
	case OCIArchive:
		w := tar.NewWriter(f)
		if err = writeLayout(s, list, archiveWriter(w)); err == nil {
			err = w.Close()
		}
	default:
		err = fmt.Errorf("--format %q: want %s, %s or %s", format, OCIArchive, OCILayout, DockerArchive)
	}
	if err = errors.Join(err, f.Close()); draft == to {
		return err
	}
	if err == nil {
		err = os.Rename(draft, to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	return nil
}

// A putter writes a file of a layout.
type putter func(name string, size int64, from io.Reader) error

func folderWriter(dir string) putter {
	return func(name string, _ int64, from io.Reader) error {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, from)
		return errors.Join(err, f.Close())
	}
}

// archiveWriter writes files without times, so that the same images make the same archive.
func archiveWriter(w *tar.Writer) putter {
	return func(name string, size int64, from io.Reader) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
			return err
		}
		_, err := io.Copy(w, from)
		return err
	}
}

// writeLayout writes an OCI image layout (image specification, "image-layout").
func writeLayout(s *store.Store, list []*store.Image, put putter) error {
	text := func(name string, data []byte) error { return put(name, int64(len(data)), bytes.NewReader(data)) }
	if err := text("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	written := make(map[store.Digest]bool)
	for _, i := range list {
		index.Manifests = append(index.Manifests, v1.Descriptor{
			MediaType: types.MediaType(i.MediaType), Digest: hashOf(i.Digest), Size: i.Descriptor.Size, Platform: &platform,
			// What podman and skopeo read is a tag, what containerd and docker read is a whole name.
			Annotations: map[string]string{refName: i.Name(), containerdName: i.Name()},
		})
		for _, d := range append([]store.Descriptor{i.Descriptor, i.Manifest.Config}, i.Manifest.Layers...) {
			if written[d.Digest] {
				continue
			}
			written[d.Digest] = true
			f, err := s.OpenBlob(d.Digest)
			if err != nil {
				return err
			}
			err = put("blobs/sha256/"+hashOf(d.Digest).Hex, d.Size, f)
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
	}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return text("index.json", data)
}

// writeDocker writes what `docker load` takes.
func writeDocker(s *store.Store, list []*store.Image, to io.Writer) error {
	images := make(map[name.Tag]v1.Image)
	for _, i := range list {
		tag, err := name.NewTag(i.Name())
		if err != nil {
			return err
		}
		if images[tag], _, err = stored(s, i.Name()); err != nil {
			return err
		}
	}
	return tarball.MultiWrite(images, to)
}
