package test

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// layerOf makes a layer of a folder, with little compression: that is slow.
func layerOf(t *testing.T, dir string) v1.Layer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "layer.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		h.Name, _ = filepath.Rel(dir, path)
		if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		from, err := os.Open(path)
		if err != nil {
			return err
		}
		defer from.Close()
		_, err = io.Copy(w, from)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromFile(file, tarball.WithCompressionLevel(gzip.HuffmanOnly))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// imageOf makes an image of one layer, with labels.
func imageOf(t *testing.T, layer v1.Layer, labels map[string]string) v1.Image {
	t.Helper()
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Labels = "linux", "amd64", labels
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// TestRuntimeInstall installs a runtime from a registry, from a layout and from a docker archive, and runs a program on it.
func TestRuntimeInstall(t *testing.T) {
	t.Parallel()
	b := newRuntimeBox(t, "new")
	own := filepath.Join(b.dir, "data")
	b.env = []string{"WINBOX_DATA=" + own}
	b.runtime = ""
	c := b.call("runtime", "build", "none", "--wow64", "none", "--from", filepath.Join(runtimesRoot(), "runtimes/new/root"))
	if c.wait(); c.code() != 0 {
		t.Fatalf("%s: exit code %d\n%s", c, c.code(), c.err.String())
	}
	tree, err := os.Readlink(filepath.Join(own, "runtimes/none"))
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(own, "runtimes/none/root")
	layer := layerOf(t, root)
	whole := imageOf(t, layer, map[string]string{"io.winbox.runtime": strings.Replace(tree, "-", ":", 1)})

	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	image := strings.TrimPrefix(server.URL, "http://") + "/wine:10"
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, whole); err != nil {
		t.Fatal(err)
	}
	path, err := layout.Write(filepath.Join(b.dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(imageOf(t, layer, nil)); err != nil { // to be trimmed, which leaves nothing out
		t.Fatal(err)
	}
	archive := filepath.Join(b.dir, "archive.tar")
	if err := tarball.WriteToFile(archive, ref, whole); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"pulled": image, "from-layout": "./layout", "from-archive": "archive.tar"} {
		if c := b.call("runtime", "install", from, name).wait(); c.code() != 0 || c.text() != name+"\n" {
			t.Fatalf("%s: exit code %d, output %q, error %s", c, c.code(), c.text(), c.err.String())
		}
		if to, err := os.Readlink(filepath.Join(own, "runtimes", name)); to != tree || err != nil {
			t.Errorf("%s is %s, want %s (%v)", name, to, tree, err)
		}
		b.call("runtime", "verify", name).wait().want(0, "")
	}
	b.run("--runtime", "pulled", "cmd.exe", "/c", "exit 7").want(7, "")

	for from, says := range map[string]string{
		strings.Replace(image, ":10", ":11", 1): "MANIFEST_UNKNOWN",
		"./nothing":                             "no such file",
		"10.0.0.1:5000/wine":                    "without TLS",
		"7zip.tar":                              "not an archive of an image",
	} {
		writeFile(t, b.dir, "7zip.tar", []byte("7z"))
		if c := b.call("runtime", "install", from, "bad").wait(); c.code() != 1 || !strings.Contains(c.err.String(), says) {
			t.Errorf("%s says %q, want %q", c, c.err.String(), says)
		}
	}
	if left, err := filepath.Glob(filepath.Join(own, "runtimes/.new*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
