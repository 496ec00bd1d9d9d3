package test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/pem"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
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
	"github.com/klauspost/compress/zstd"
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

// TestRuntimeInstall installs a runtime from a registry with a certificate of its own, from a layout and from docker archives,
// and runs a program on it. What cannot be trusted or read is refused, and nothing stays of it.
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

	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	insecure, server := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(insecure.Close)
	t.Cleanup(server.Close)
	image := strings.TrimPrefix(server.URL, "https://") + "/wine:10"
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	mistrusting := b.env
	trusting := append(slices.Clone(b.env), "SSL_CERT_FILE="+writeFile(t, b.dir, "ca.pem", certificate), "SSL_CERT_DIR=/nonexistent")
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, whole, remote.WithTransport(server.Client().Transport)); err != nil {
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
	compressed, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.dir, "archive.tar.zst", compressed.EncodeAll([]byte(readFile(t, archive)), nil))
	for name, from := range map[string]string{
		"pulled": image, "from-layout": "./layout", "from-archive": "archive.tar", "from-zstd": "archive.tar.zst",
	} {
		b.env = mistrusting
		if from == image {
			b.env = trusting
		}
		if c := b.call("runtime", "install", from, name).wait(); c.code() != 0 || c.text() != name+"\n" {
			t.Fatalf("%s: exit code %d, output %q, error %s", c, c.code(), c.text(), c.err.String())
		}
		if to, err := os.Readlink(filepath.Join(own, "runtimes", name)); to != tree || err != nil {
			t.Errorf("%s is %s, want %s (%v)", name, to, tree, err)
		}
		b.call("runtime", "verify", name).wait().want(0, "")
	}
	b.env = mistrusting
	b.run("--runtime", "pulled", "cmd.exe", "/c", "exit 7").want(7, "")

	// A byte of the layer is another.
	blobs, err := filepath.Glob(filepath.Join(b.dir, "layout/blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range blobs {
		if info, err := os.Stat(blob); err == nil && info.Size() > 1<<20 {
			data := []byte(readFile(t, blob))
			data[len(data)/2] ^= 1
			if err := os.WriteFile(blob, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	plain := strings.TrimPrefix(insecure.URL, "http://")
	for from, says := range map[string]string{
		plain + "/wine:11":   "MANIFEST_UNKNOWN",
		image:                "certificate",
		"./layout":           "damaged, not sha256:",
		"7zip.tar.zst":       "decompress the archive",
		"./nothing":          "no such file",
		"10.0.0.1:5000/wine": "without TLS",
		"7zip.tar":           "not an archive of an image",
	} {
		writeFile(t, b.dir, "7zip.tar", []byte("7z"))
		writeFile(t, b.dir, "7zip.tar.zst", []byte("\x28\xb5\x2f\xfd\x04\x00"))
		if c := b.call("runtime", "install", from, "bad").wait(); c.code() != 1 || !strings.Contains(c.err.String(), says) || strings.Count(c.err.String(), "\n") != 2 { // what it does, and the error
			t.Errorf("%s says %q, want %q", c, c.err.String(), says)
		}
	}
	entries, err := os.ReadDir(filepath.Join(own, "runtimes"))
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	slices.Sort(left)
	if want := []string{"from-archive", "from-layout", "from-zstd", "none", "pulled", tree}; !slices.Equal(slices.DeleteFunc(left, func(name string) bool { return name == ".lock" }), want) {
		t.Errorf("there are %v, want %v", left, want)
	}
}
