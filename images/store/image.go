package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"winbox/internal/leanjson"
)

// ErrNoImage says that a name or digest is not that of an image.
var ErrNoImage = errors.New("no such image")

// An Image is an image of the store.
type Image struct {
	// Descriptor is that of the manifest, with the name.
	Descriptor
	Manifest Manifest
	Config   Config
}

// A Manifest is an image's (image specification, "manifest"; docker's is the same in what is here).
type Manifest struct {
	Config      Descriptor        `json:"config"`
	Layers      []Descriptor      `json:"layers"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// A Config is an image's configuration (image specification, "config").
type Config struct {
	Created      string `json:"created,omitempty"`
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		User       string            `json:"User,omitempty"`
		Env        []string          `json:"Env,omitempty"`
		Entrypoint []string          `json:"Entrypoint,omitempty"`
		Cmd        []string          `json:"Cmd,omitempty"`
		WorkingDir string            `json:"WorkingDir,omitempty"`
		Labels     map[string]string `json:"Labels,omitempty"`
		StopSignal string            `json:"StopSignal,omitempty"`
	} `json:"config"`
	RootFS struct {
		DiffIDs []Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// maxLayers is the most layers of an image: docker has no more than 127, the kernel's overlay 500.
const maxLayers = 500

// Size is that of all blobs of the image, in bytes.
func (i *Image) Size() int64 {
	size := i.Descriptor.Size + i.Manifest.Config.Size
	for _, l := range i.Manifest.Layers {
		size += l.Size
	}
	return size
}

// Annotation gives what the image says under a name that winbox reads: its manifest's annotations go before the labels
// of its configuration.
func (i *Image) Annotation(name string) string {
	if value, ok := i.Manifest.Annotations[name]; ok {
		return value
	}
	return i.Config.Config.Labels[name]
}

// List lists the names of the store, in their order, each with its manifest.
func (s *Store) List() ([]Descriptor, error) {
	x, err := s.names()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	slices.SortFunc(x.Manifests, func(a, b Descriptor) int { return strings.Compare(a.Name(), b.Name()) })
	return x.Manifests, nil
}

// Find gives the image of a name, of a digest or of its first eight digits or more.
//
// # Errors
//
// [ErrNoImage]; more than one digest begins so; the image is damaged.
func (s *Store) Find(name string) (*Image, error) {
	d, err := s.find(name)
	if err != nil {
		return nil, err
	}
	i, err := s.Image(d)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	return i, nil
}

func (s *Store) find(name string) (Descriptor, error) {
	x, err := s.names()
	if err != nil {
		return Descriptor{}, err
	}
	if full, err := CheckName(name); err == nil {
		for _, d := range x.Manifests {
			if d.Name() == full {
				return d, nil
			}
		}
	}
	digits := strings.TrimPrefix(name, digestPrefix)
	var found []Descriptor
	if len(digits) >= 8 && len(digits) <= 64 && strings.Trim(digits, "0123456789abcdef") == "" {
		for _, d := range x.Manifests {
			if strings.HasPrefix(d.Digest.hex(), digits) && !slices.ContainsFunc(found, func(f Descriptor) bool { return f.Digest == d.Digest }) {
				found = append(found, d)
			}
		}
	}
	switch len(found) {
	case 0:
		return Descriptor{}, fmt.Errorf("%w: %s", ErrNoImage, name)
	case 1:
		return found[0], nil
	}
	return Descriptor{}, fmt.Errorf("image %s: %d digests begin with that", name, len(found))
}

// Image reads the image of a manifest.
func (s *Store) Image(d Descriptor) (*Image, error) {
	i := &Image{Descriptor: d}
	data, err := s.Read(d.Digest)
	if err != nil {
		return nil, err
	}
	if i.Manifest, err = ParseManifest(data); err != nil {
		return nil, err
	}
	if data, err = s.Read(i.Manifest.Config.Digest); err != nil {
		return nil, err
	}
	if i.Config, err = ParseConfig(data); err != nil {
		return nil, err
	}
	if n := len(i.Config.RootFS.DiffIDs); n != len(i.Manifest.Layers) {
		return nil, fmt.Errorf("it has %d layers, and digests of %d", len(i.Manifest.Layers), n)
	}
	return i, nil
}

// ParseManifest reads a manifest, and refuses what is none that can be carried out.
func ParseManifest(data []byte) (m Manifest, err error) {
	if err := leanjson.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	if len(m.Layers) > maxLayers {
		return m, fmt.Errorf("manifest: it has %d layers, at most %d are possible", len(m.Layers), maxLayers)
	}
	for _, d := range append([]Descriptor{m.Config}, m.Layers...) {
		if err := d.Digest.Check(); err != nil {
			return m, fmt.Errorf("manifest: %w", err)
		}
		if d.Size < 0 {
			return m, fmt.Errorf("manifest: %s has a size of %d", d.Digest, d.Size)
		}
	}
	return m, nil
}

// ParseConfig reads a configuration.
func ParseConfig(data []byte) (c Config, err error) {
	if err := leanjson.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := d.Check(); err != nil {
			return c, fmt.Errorf("configuration: rootfs.diff_ids: %w", err)
		}
	}
	return c, nil
}

// Tag gives a manifest of the store a name, which another may have had. Who calls it has a hold.
func (s *Store) Tag(ctx context.Context, name string, d Descriptor) error {
	full, err := CheckName(name)
	if err != nil {
		return err
	}
	return s.change(ctx, func(x *index) error {
		x.Manifests = slices.DeleteFunc(x.Manifests, func(d Descriptor) bool { return d.Name() == full })
		x.Manifests = append(x.Manifests, Descriptor{
			MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Annotations: map[string]string{nameAnnotation: full},
		})
		return nil
	})
}

// Untag removes a name, or for a digest all names of that image.
func (s *Store) Untag(ctx context.Context, name string) error {
	return s.change(ctx, func(x *index) error {
		d, err := s.find(name)
		if err != nil {
			return err
		}
		full, _ := CheckName(name)
		named := d.Name() == full
		x.Manifests = slices.DeleteFunc(x.Manifests, func(other Descriptor) bool {
			return other.Digest == d.Digest && (!named || other.Name() == full)
		})
		return nil
	})
}

// useFile is where the folder of a container says which image it uses.
const useFile = "image.json"

// use is its content.
type use struct {
	Image Descriptor `json:"image"`
	// State is the container's state directory: as long as that is there, so is the container.
	State string `json:"state"`
}

// Use makes the folder of a container that uses an image: neither its blobs nor its layers are removed while the
// container's state directory is there, or the result is open, in whatever process. Who calls it has a hold.
func (s *Store) Use(container, state string, i *Image) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(container), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(container, 0o755); err != nil {
		return nil, err
	}
	data, err := json.Marshal(use{i.Descriptor, state})
	if err == nil {
		err = os.WriteFile(filepath.Join(container, useFile), data, 0o644)
	}
	var lock *os.File
	if err == nil {
		lock, err = os.Open(container)
	}
	if err == nil {
		err = flock(lock, unix.LOCK_SH)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(container))
	}
	return lock, nil
}

// A User is a container that uses an image.
type User struct {
	// Container is the name of its folder, which begins with its ID.
	Container string
	Image     Descriptor
	// gone tells that it was killed before it had a state directory, or lost that.
	gone bool
}

// Users lists the containers that use images.
func (s *Store) Users() ([]User, error) {
	all, err := s.users()
	return slices.DeleteFunc(all, func(u User) bool { return u.gone }), err
}

func (s *Store) users() ([]User, error) {
	files, err := filepath.Glob(filepath.Join(s.containers(), "*", useFile))
	if err != nil {
		return nil, err
	}
	var users []User
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return nil, err
		}
		var u use
		if err = leanjson.Unmarshal(data, &u); err == nil {
			err = u.Image.Digest.Check()
		}
		if err != nil { // killed while it wrote it
			users = append(users, User{Container: filepath.Base(filepath.Dir(file)), gone: !s.held(filepath.Dir(file))})
			continue
		}
		_, err = os.Lstat(u.State)
		users = append(users, User{
			Container: filepath.Base(filepath.Dir(file)), Image: u.Image, gone: errors.Is(err, fs.ErrNotExist) && !s.held(filepath.Dir(file)),
		})
	}
	return users, nil
}

func (s *Store) containers() string { return filepath.Join(s.dataRoot, "containers") }

// held tells whether somebody has the result of Use open.
func (s *Store) held(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	return flock(f, unix.LOCK_EX|unix.LOCK_NB) != nil
}

// MountPoint is an empty folder, on which the root file system of a container is mounted in a mount namespace of its own.
func (s *Store) MountPoint() string { return filepath.Join(s.Dir(), "mnt") }
