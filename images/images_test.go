package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"winbox/images/layer"
	"winbox/images/store"
	"winbox/preload/pe/petest"
)

// newStore makes a store that is held until the test ends.
func newStore(t *testing.T) *store.Store {
	t.Helper()
	s := store.Open(t.TempDir())
	hold, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hold.Close)
	return s
}

// application makes a folder of files, PATH=CONTENT; "exe" is a program, "link:TO" a link.
func application(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		at := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if to, isLink := strings.CutPrefix(content, "link:"); isLink {
			err = os.Symlink(to, at)
		} else if err == nil && content == "exe" {
			err = os.WriteFile(at, petest.Image{}.Bytes(), 0o600)
		} else if err == nil {
			err = os.WriteFile(at, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func pack(t *testing.T, s *store.Store, opt PackOptions) (store.Descriptor, []string, error) {
	t.Helper()
	var warnings []string
	if opt.Compression == "" {
		opt.Compression = Gzip
	}
	if opt.Time.IsZero() {
		opt.Time = DefaultTime
	}
	opt.Warn = func(text string) { warnings = append(warnings, text) }
	d, err := Pack(t.Context(), s, opt)
	return d, warnings, err
}

// unpacked lists what an image of a store has, by its layers.
func unpacked(t *testing.T, s *store.Store, d store.Descriptor) (list []string) {
	t.Helper()
	image, err := s.Image(d)
	if err == nil {
		err = UnpackLayers(t.Context(), s, image, layer.DefaultLimits, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range image.Config.RootFS.DiffIDs {
		var names []string
		err := filepath.Walk(s.Tree(id), func(path string, info fs.FileInfo, err error) error {
			if err != nil {
				return err
			}
			if rel, _ := filepath.Rel(s.Tree(id), path); !info.IsDir() {
				names = append(names, strings.TrimPrefix(rel, "app/"))
			} else if rel != "." && (info.Mode().Perm() != 0o755 || !info.ModTime().Equal(DefaultTime)) {
				t.Errorf("%s: %v, %v", rel, info.Mode(), info.ModTime())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		list = append(list, strings.Join(names, " "))
	}
	return list
}

// TestPackReproducible packs the same files twice, from other folders, with other times, and with both compressions.
func TestPackReproducible(t *testing.T) {
	files := []string{"app.exe=exe", "a/b.txt=b", "a/c=c", "a.b/d=d", "z=" + strings.Repeat("text ", 1<<19), "l=link:a/c"}
	s := newStore(t)
	for _, how := range []Compression{Gzip, Zstd} {
		var digests []store.Digest
		for i := range 2 {
			dir := application(t, files...)
			if i > 0 {
				os.Chmod(filepath.Join(dir, "a"), 0o700)
				os.Chtimes(filepath.Join(dir, "z"), time.Now(), time.Unix(5, 0))
				if err := os.Link(filepath.Join(dir, "a/c"), filepath.Join(t.TempDir(), "outside")); err != nil {
					t.Fatal(err)
				}
			}
			d, _, err := pack(t, s, PackOptions{From: dir, Compression: how, Labels: map[string]string{"a": "1", "b": "2"}})
			if err != nil {
				t.Fatal(err)
			}
			digests = append(digests, d.Digest)
			if got := fmt.Sprint(unpacked(t, s, d)); got != "[a/b.txt a/c a.b/d app.exe l z]" {
				t.Errorf("the image has %s", got)
			}
		}
		if digests[0] != digests[1] {
			t.Errorf("%s: the digests differ", how)
		}
	}
	d, _, err := pack(t, s, PackOptions{From: application(t, files...), Time: time.Unix(1000000000, 0).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	image, err := s.Image(d)
	if err != nil || image.Config.Created != "2001-09-09T01:46:40Z" {
		t.Errorf("%v, %v", image, err)
	}
}

// TestPackEntrypoint finds the program.
func TestPackEntrypoint(t *testing.T) {
	two := []string{"bin/a.exe=exe", "bin/b.exe=exe"}
	for name, test := range map[string]struct {
		files []string
		opt   PackOptions
		want  string
		fails string
	}{
		"only one":            {files: []string{"x/a.exe=exe", "b.dll=exe", "readme=1"}, want: "/app/x/a.exe"},
		"at the top":          {files: append(two, "c.exe=exe", "not.exe=text"), want: "/app/c.exe"},
		"two":                 {files: two, fails: "--entrypoint: bin/a.exe, bin/b.exe"},
		"chosen":              {files: two, opt: PackOptions{Choose: func(p []string) (string, error) { return p[1], nil }}, want: "/app/bin/b.exe"},
		"named":               {files: two, opt: PackOptions{Entrypoint: "bin/a.exe"}, want: "/app/bin/a.exe"},
		"named as in Windows": {files: two, opt: PackOptions{Entrypoint: `.\bin\a.exe`}, want: "/app/bin/a.exe"},
		"by drive":            {files: two, opt: PackOptions{Entrypoint: `C:\app\bin\a.exe`}, want: "/app/bin/a.exe"},
		"Windows' own":        {files: two, opt: PackOptions{Entrypoint: `C:\windows\system32\cmd.exe`}, want: `C:\windows\system32\cmd.exe`},
		"missing":             {files: two, opt: PackOptions{Entrypoint: "c.exe"}, fails: "there is no file c.exe"},
		"outside":             {files: two, opt: PackOptions{Entrypoint: "../c.exe"}, fails: "there is no file"},
		"none":                {files: []string{"a=1"}, fails: "no Windows program"},
		"nothing":             {opt: PackOptions{Entrypoint: `C:\windows\system32\cmd.exe`}, fails: "no files"},
	} {
		s := newStore(t)
		test.opt.From = application(t, test.files...)
		d, _, err := pack(t, s, test.opt)
		if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
			t.Errorf("%s: %v, want %q", name, err, test.fails)
		}
		if err != nil {
			continue
		}
		image, err := s.Image(d)
		if err != nil || !slices.Equal(image.Config.Config.Entrypoint, []string{test.want}) {
			t.Errorf("%s: %v, %v", name, image, err)
		}
	}
	file := filepath.Join(application(t, "a.exe=exe", "b.exe=exe", "text=1"), "a.exe")
	s := newStore(t)
	d, _, err := pack(t, s, PackOptions{From: file})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(unpacked(t, s, d)); got != "[a.exe]" {
		t.Errorf("a program alone: %s", got)
	}
	if _, _, err := pack(t, s, PackOptions{From: filepath.Join(filepath.Dir(file), "text")}); err == nil || !strings.Contains(err.Error(), "text") {
		t.Errorf("a text as program: %v", err)
	}
}

// TestPackLayers splits an application, so that a change of the program leaves the layers of the rest as they are.
func TestPackLayers(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", smallLayer/16+1)
	files := []string{"app.exe=exe", "app.dll=1", "vcruntime140.dll=" + big, "node_modules/x/i.js=js", "data/d=" + big, "data/e=2", "assets/a=3", "top.txt=" + big}
	s := newStore(t)
	layers := func(change string, opt PackOptions) []string {
		t.Helper()
		opt.From = application(t, append(files, change)...)
		d, _, err := pack(t, s, opt)
		if err != nil {
			t.Fatal(err)
		}
		return unpacked(t, s, d)
	}
	if got, want := layers("z=1", PackOptions{}), "[node_modules/x/i.js vcruntime140.dll|assets/a data/d data/e top.txt z|app.dll app.exe]"; "["+strings.Join(got, "|")+"]" != want {
		t.Errorf("layers %q, want %s", got, want)
	}
	if got, want := layers("z=1", PackOptions{Layers: []string{"data", "*.TXT"}}), "[data/d data/e|top.txt|node_modules/x/i.js vcruntime140.dll|app.dll app.exe assets/a z]"; "["+strings.Join(got, "|")+"]" != want {
		t.Errorf("layers %q, want %s", got, want)
	}
	shared := func(change string) store.Digest {
		d, _, err := pack(t, s, PackOptions{From: application(t, append(files, change)...)})
		if err != nil {
			t.Fatal(err)
		}
		image, err := s.Image(d)
		if err != nil {
			t.Fatal(err)
		}
		return image.Manifest.Layers[0].Digest
	}
	if shared("z=1") != shared("z=2") {
		t.Error("the dependencies' layer changes with the program")
	}
}

// TestPackFolders lists a folder in those layers only that have something of it, and an empty one in the last.
func TestPackFolders(t *testing.T) {
	dir := application(t, "app.exe=exe", "data/d="+strings.Repeat("0123456789abcdef", smallLayer/16+1))
	if err := os.MkdirAll(filepath.Join(dir, "empty/too"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	d, _, err := pack(t, s, PackOptions{From: dir})
	if err != nil {
		t.Fatal(err)
	}
	unpacked(t, s, d)
	image, err := s.Image(d)
	if err != nil || len(image.Config.RootFS.DiffIDs) != 2 {
		t.Fatalf("%+v, %v", image, err)
	}
	for i, want := range []string{"[data]", "[app.exe empty]"} {
		tree := filepath.Join(s.Tree(image.Config.RootFS.DiffIDs[i]), "app")
		var got []string
		entries, err := os.ReadDir(tree)
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if fmt.Sprint(got) != want || err != nil {
			t.Errorf("layer %d has %v, want %s; %v", i, got, want, err)
		}
		if _, err := os.Stat(filepath.Join(tree, "empty/too")); (err == nil) != (i == 1) {
			t.Errorf("layer %d: the empty folder: %v", i, err)
		}
	}
}

// TestPackWarns tells what a Windows program will not find.
func TestPackWarns(t *testing.T) {
	dir := application(t, "app.exe=exe", "Readme=1", "README=2", "d/A=1", "d/a=2", "out=link:/etc/passwd", "in=link:d/a")
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, warnings, err := pack(t, newStore(t), PackOptions{From: dir})
	if err != nil || d.Digest == "" {
		t.Fatal(err)
	}
	slices.Sort(warnings)
	for i, want := range []string{`"README" and "Readme" differ`, `"d/A" and "d/a" differ`, "out is a link to /etc/passwd", "pipe is neither"} {
		if len(warnings) != 4 || !strings.Contains(warnings[i], want) {
			t.Errorf("warnings %q, want %q", warnings, want)
			break
		}
	}
}

// A server is a registry on the loopback interface, through which requests can be watched and broken.
type server struct {
	host string
	mu   sync.Mutex
	// log are the requests.
	log []string
	// broken answers a request itself, if it likes.
	broken func(w http.ResponseWriter, r *http.Request) bool
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.log = append(s.log, r.Method+" "+r.URL.Path+" "+r.Header.Get("Range"))
		broken := s.broken
		s.mu.Unlock()
		if broken == nil || !broken(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(web.Close)
	s.host = strings.TrimPrefix(web.URL, "http://")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	return s
}

func options() Options { return Options{Limits: layer.DefaultLimits} }

// TestRegistry pushes an image, and pulls it into another store.
func TestRegistry(t *testing.T) {
	web, from, to := newServer(t), newStore(t), newStore(t)
	d, _, err := pack(t, from, PackOptions{From: application(t, "app.exe=exe", "z="+strings.Repeat("x", 1<<20)), Compression: Zstd})
	if err != nil {
		t.Fatal(err)
	}
	if err := from.Tag(t.Context(), "app:1", d); err != nil {
		t.Fatal(err)
	}
	name := web.host + "/team/app:1.0"
	var last [2]int64
	for range 2 { // the second time all is there
		if err := Push(t.Context(), from, "app:1", name, func(done, total int64) { last = [2]int64{done, total} }); err != nil {
			t.Fatal(err)
		}
		if last[0] != last[1] || last[0] == 0 {
			t.Errorf("progress ends at %d of %d", last[0], last[1])
		}
	}
	opt := options()
	opt.Progress = func(done, total int64) { last = [2]int64{done, total} }
	for _, called := range []string{name, web.host + "/team/app@" + string(d.Digest)} {
		got, err := Pull(t.Context(), to, called, opt)
		if err != nil || got.Digest != d.Digest {
			t.Fatalf("%v, %v", got, err)
		}
		if last[0] != last[1] || last[0] == 0 {
			t.Errorf("progress ends at %d of %d", last[0], last[1])
		}
	}
	if image, err := to.Find(name); err != nil || !to.HasTree(image.Config.RootFS.DiffIDs[0]) {
		t.Errorf("%v, %v", image, err)
	}
	if got := fmt.Sprint(unpacked(t, to, d)); got != "[app.exe z]" {
		t.Errorf("the image has %s", got)
	}
	blobs := 0
	for _, line := range web.log {
		if strings.HasPrefix(line, "GET") && strings.Contains(line, "/blobs/") {
			blobs++
		}
	}
	if blobs > 3 { // a layer, and twice the configuration
		t.Errorf("%d blobs were fetched: %q", blobs, web.log)
	}
	for called, want := range map[string]string{"none": "no such image", "app:1": "not the name of", "192.0.2.1:5000/a": "without TLS"} {
		if called == "none" {
			err = Push(t.Context(), from, called, name, nil)
		} else if called == "app:1" {
			err = Push(t.Context(), from, called, "://", nil)
		} else {
			_, err = Pull(t.Context(), to, "http://"+called, options())
		}
		if err == nil {
			t.Errorf("%s: no error, want %q", called, want)
		}
	}
}

// TestRegistryLogin needs a password, which is in docker's configuration.
func TestRegistryLogin(t *testing.T) {
	web, s := newServer(t), newStore(t)
	web.broken = func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "me" && password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	d, _, err := pack(t, s, PackOptions{From: application(t, "app.exe=exe")})
	if err == nil {
		err = s.Tag(t.Context(), "app", d)
	}
	if err != nil {
		t.Fatal(err)
	}
	to := web.host + "/app"
	if err := Push(t.Context(), s, "app", to, nil); err == nil {
		t.Error("it works without a password")
	}
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, web.host, auth)
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Push(t.Context(), s, "app", to, nil); err != nil {
		t.Error(err)
	}
	if _, err := Pull(t.Context(), newStore(t), to, options()); err != nil {
		t.Error(err)
	}
}

// TestPullGoesOn has a registry that breaks off, and one that cannot begin in the middle.
func TestPullGoesOn(t *testing.T) {
	pause = time.Millisecond
	for _, ranges := range []bool{true, false} {
		web, s := newServer(t), newStore(t)
		data := make([]byte, 3<<20)
		for i := range data {
			data[i] = byte(i * i >> 7)
		}
		l := static.NewLayer(tarOf(t, tar.Header{Name: "a", Size: int64(len(data))}), types.OCIUncompressedLayer)
		image, err := mutate.AppendLayers(platformed(t, empty.Image), l)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(web.host + "/app")
		if err == nil {
			err = remote.Write(ref, image)
		}
		if err != nil {
			t.Fatal(err)
		}
		digest, _ := l.Digest()
		cut := 3
		web.broken = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.String()) {
				return false
			}
			if !ranges {
				r.Header.Del("Range")
			}
			if cut--; cut < 0 {
				return false
			}
			raw, _ := l.Compressed()
			all, _ := io.ReadAll(raw)
			at := 0
			if ranges {
				fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(all)-at))
			if at > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(all)-1, len(all)))
				w.WriteHeader(http.StatusPartialContent)
			}
			w.Write(all[at : at+(1<<19)])
			panic(http.ErrAbortHandler)
		}
		if _, err := Pull(t.Context(), s, ref.Name(), options()); err != nil {
			t.Errorf("ranges %v: %v", ranges, err)
		}
		if cut >= 0 {
			t.Errorf("it was broken off %d times less than it should", cut+1)
		}
		asked := strings.Join(web.log, "\n")
		if ranges && !strings.Contains(asked, "bytes=1572864-") {
			t.Errorf("it was not gone on with:\n%s", asked)
		}

		// Given up, and called again: what had come is not fetched again.
		s = newStore(t)
		cut = 1 << 30
		web.broken = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.String()) {
				return false
			}
			if cut--; cut < 1<<30-1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			raw, _ := l.Compressed()
			all, _ := io.ReadAll(raw)
			w.Header().Set("Content-Length", fmt.Sprint(len(all)))
			w.Write(all[:1<<20])
			panic(http.ErrAbortHandler)
		}
		if _, err := Pull(t.Context(), s, ref.Name(), options()); err == nil || !strings.Contains(err.Error(), "1048576 of them came") {
			t.Errorf("broken off for good: %v", err)
		}
		web.broken, web.log = nil, nil
		if _, err := Pull(t.Context(), s, ref.Name(), options()); err != nil {
			t.Error(err)
		}
		if asked := strings.Join(web.log, "\n"); !strings.Contains(asked, "bytes=1048576-") {
			t.Errorf("it was not gone on with:\n%s", asked)
		}
	}
}

// tarOf makes an archive. Files have zeros.
func tarOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// platformed gives an image for the platform.
func platformed(t *testing.T, image v1.Image) v1.Image {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = platform.OS, platform.Architecture
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// TestHostile loads images that are not what they say, or too much: a clear error, nothing outside the store, and nothing
// in it.
func TestHostile(t *testing.T) {
	gz := func(from io.Reader) []byte {
		var b bytes.Buffer
		w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		if _, err := io.Copy(w, from); err != nil {
			t.Fatal(err)
		}
		w.Close()
		return b.Bytes()
	}
	// plain is an image of a layer that is not compressed.
	plain := func(entries ...tar.Header) v1.Image {
		image, err := mutate.AppendLayers(platformed(t, empty.Image), static.NewLayer(tarOf(t, entries...), types.OCIUncompressedLayer))
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	good := tarOf(t, tar.Header{Name: "a", Size: 10})
	// changed is an image with another manifest.
	changed := func(change func(m *v1.Manifest)) func(dir string) error {
		return func(dir string) error {
			p, err := layout.Write(dir, empty.Index)
			if err != nil {
				return err
			}
			image, err := mutate.AppendLayers(platformed(t, empty.Image), static.NewLayer(gz(bytes.NewReader(good)), types.OCILayer))
			if err != nil {
				return err
			}
			if err := p.AppendImage(image); err != nil {
				return err
			}
			m, err := image.Manifest()
			if err != nil {
				return err
			}
			m = m.DeepCopy()
			change(m)
			data, err := json.Marshal(m)
			if err != nil {
				return err
			}
			h, n, err := v1.SHA256(bytes.NewReader(data))
			if err != nil {
				return err
			}
			index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{{MediaType: types.OCIManifestSchema1, Digest: h, Size: n}}})
			if err != nil {
				return err
			}
			return firstOf(os.WriteFile(filepath.Join(dir, "blobs/sha256", h.Hex), data, 0o644), os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
		}
	}
	image := func(i v1.Image) func(dir string) error {
		return func(dir string) error {
			p, err := layout.Write(dir, empty.Index)
			if err != nil {
				return err
			}
			return p.AppendImage(i)
		}
	}
	// bomb is a layer that is larger than its rule allows.
	free := freeOfRule
	freeOfRule = 1 << 20
	t.Cleanup(func() { freeOfRule = free })
	bomb := func() v1.Image {
		var head bytes.Buffer
		w := tar.NewWriter(&head)
		w.WriteHeader(&tar.Header{Name: "bomb", Typeflag: tar.TypeReg, Size: 10 << 30, Format: tar.FormatGNU})
		data := gz(io.MultiReader(&head, io.LimitReader(zeros{}, 4<<20)))
		l := static.NewLayer(data, types.OCILayer)
		i, err := mutate.Append(platformed(t, empty.Image), mutate.Addendum{Layer: fixedDiffID{l}})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	for name, test := range map[string]struct {
		make  func(dir string) error
		opt   Options
		fails string
	}{
		"dots":             {make: image(plain(tar.Header{Name: "../a", Size: 1})), fails: "leads out"},
		"link out":         {make: image(plain(tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, tar.Header{Name: "l/passwd", Size: 1})), fails: "leads nowhere"},
		"hard link out":    {make: image(plain(tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"})), fails: "no such file"},
		"bomb":             {make: image(bomb()), fails: "larger than the limit"},
		"too large":        {make: image(plain(tar.Header{Name: "a", Size: 1 << 20})), opt: Options{Limits: layer.Limits{Bytes: 1 << 19, Entries: 10}}, fails: "larger than the limit"},
		"too many files":   {make: image(plain(tar.Header{Name: "a"}, tar.Header{Name: "b"}, tar.Header{Name: "c"})), opt: Options{Limits: layer.Limits{Bytes: 1 << 20, Entries: 2}}, fails: "more files than the limit, 2; --max-files"},
		"another platform": {make: image(empty.Image), fails: "want linux/amd64"},
		"unknown type":     {make: changed(func(m *v1.Manifest) { m.Layers[0].MediaType = "application/x-mystery" }), fails: "application/x-mystery, which is not understood"},
		"foreign layer": {make: changed(func(m *v1.Manifest) {
			m.Layers[0].MediaType = types.DockerForeignLayer
			m.Layers[0].URLs = []string{"http://192.0.2.1/"}
		}), fails: "which is not understood"},
		"wrong digest": {make: func(dir string) error {
			var hex string
			err := changed(func(m *v1.Manifest) { hex = m.Layers[0].Digest.Hex })(dir)
			file := filepath.Join(dir, "blobs/sha256", hex)
			data, readErr := os.ReadFile(file)
			data[len(data)-1] ^= 1
			return firstOf(err, readErr, os.WriteFile(file, data, 0o644))
		}, fails: "its digest is"},
		"truncated": {make: func(dir string) error {
			var hex string
			err := changed(func(m *v1.Manifest) { hex = m.Layers[0].Digest.Hex })(dir)
			return firstOf(err, os.Truncate(filepath.Join(dir, "blobs/sha256", hex), 20))
		}, fails: "20 of them came"},
		"missing layer": {make: func(dir string) error {
			var hex string
			err := changed(func(m *v1.Manifest) { hex = m.Layers[0].Digest.Hex })(dir)
			return firstOf(err, os.Remove(filepath.Join(dir, "blobs/sha256", hex)))
		}, fails: "no such file"},
		"wrong diff ID":    {make: changed(func(m *v1.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }), fails: "it has 2 layers, and digests of 1"},
		"lying size":       {make: changed(func(m *v1.Manifest) { m.Layers[0].Size = 5 }), fails: "its digest is"},
		"negative size":    {make: changed(func(m *v1.Manifest) { m.Layers[0].Size = -5 }), fails: "has a size of -5"},
		"huge size":        {make: changed(func(m *v1.Manifest) { m.Layers[0].Size = 1 << 62 }), fails: "of them came"},
		"no configuration": {make: changed(func(m *v1.Manifest) { m.Config.Digest.Hex = strings.Repeat("0", 64) }), fails: "no such file"},
		"another digest":   {make: changed(func(m *v1.Manifest) { m.Layers[0].Digest.Hex = "../../../etc/passwd" }), fails: ""},
		"not a layer":      {make: image(mustAppend(t, static.NewLayer([]byte("no archive"), types.OCILayer))), fails: "layer 1 of 1"},
		"a list without our platform": {make: func(dir string) error {
			return firstOf(image(platformed(t, empty.Image))(dir), rewriteIndex(dir, func(d *v1.Descriptor) { d.Platform = &v1.Platform{OS: "windows", Architecture: "arm64"} }))
		}, fails: "no image for linux/amd64"},
		"empty index": {make: func(dir string) error { _, err := layout.Write(dir, empty.Index); return err }, fails: "no image for"},
		"no layout":   {make: func(dir string) error { return nil }, fails: "index.json"},
	} {
		t.Run(name, func(t *testing.T) {
			pause = time.Millisecond
			work := t.TempDir()
			dir := filepath.Join(work, "layout")
			if err := firstOf(os.Mkdir(dir, 0o755), test.make(dir)); err != nil {
				t.Fatal(err)
			}
			s := store.Open(filepath.Join(work, "data"))
			hold, err := s.Hold()
			if err != nil {
				t.Fatal(err)
			}
			opt := test.opt
			if opt.Limits == (layer.Limits{}) {
				opt.Limits = layer.DefaultLimits
			}
			if _, err = Load(t.Context(), s, dir, "hostile", opt); err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%v, want %q", err, test.fails)
			}
			if left, _ := os.ReadDir(filepath.Join(s.Dir(), "layers")); len(left) > 0 {
				t.Errorf("layers %v are left", left)
			}
			hold.Close()
			if _, err := s.Prune(t.Context(), store.PruneOptions{}); err != nil {
				t.Error(err)
			}
			for _, sub := range []string{"blobs/sha256", "layers", "ingest"} {
				if left, err := os.ReadDir(filepath.Join(s.Dir(), sub)); len(left) > 0 || err != nil {
					t.Errorf("%s: %v, %v", sub, left, err)
				}
			}
			if list, err := s.List(); len(list) > 0 || err != nil {
				t.Errorf("images %v, %v", list, err)
			}
		})
	}
}

// fixedDiffID is a layer of which nobody unpacks all to know its digest.
type fixedDiffID struct{ v1.Layer }

func (fixedDiffID) DiffID() (v1.Hash, error) {
	return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, nil
}

func mustAppend(t *testing.T, l v1.Layer) v1.Image {
	t.Helper()
	image, err := mutate.AppendLayers(platformed(t, empty.Image), fixedDiffID{l})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func rewriteIndex(dir string, change func(*v1.Descriptor)) error {
	file := filepath.Join(dir, "index.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return err
	}
	for i := range index.Manifests {
		change(&index.Manifests[i])
	}
	if data, err = json.Marshal(index); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestSaveLoad moves images by way of all formats.
func TestSaveLoad(t *testing.T) {
	from := newStore(t)
	for _, app := range []string{"one:1", "example.org/two:2"} {
		d, _, err := pack(t, from, PackOptions{From: application(t, app[:3]+".exe=exe", "shared=1")})
		if err == nil {
			err = from.Tag(t.Context(), app, d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range []string{OCIArchive, OCILayout, DockerArchive} {
		for _, names := range [][]string{{"one:1"}, {"one:1", "example.org/two:2"}} {
			file := filepath.Join(t.TempDir(), "saved")
			if err := Save(from, names, file, format); err != nil {
				t.Fatal(err)
			}
			to := newStore(t)
			got, err := Load(t.Context(), to, file, "", options())
			slices.Sort(got)
			want := slices.Sorted(slices.Values(names))
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v, %v, want %v", format, got, err, want)
				continue
			}
			for _, called := range names {
				was, err := from.Find(called)
				if err != nil {
					t.Fatal(err)
				}
				is, err := to.Find(called)
				if err != nil || format != DockerArchive && is.Digest != was.Digest || !slices.Equal(is.Config.RootFS.DiffIDs, was.Config.RootFS.DiffIDs) {
					t.Errorf("%s: %s: %+v, %v", format, called, is, err)
				}
			}
			if _, err := Load(t.Context(), to, file, "other", options()); (err == nil) != (len(names) == 1) {
				t.Errorf("%s: a name for %d images: %v", format, len(names), err)
			}
			if err := Save(from, []string{"none"}, file+"2", format); err == nil {
				t.Error("what is not there was saved")
			}
			if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
				t.Errorf("left: %v", left)
			}
		}
	}
	if err := Save(from, []string{"one:1"}, filepath.Join(t.TempDir(), "saved"), "zip"); err == nil {
		t.Error("a format that there is not")
	}
}

// TestImportWarns warns of names of an image, of all its layers, that Windows would not tell apart.
func TestImportWarns(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	for _, test := range []struct {
		layers [][]tar.Header
		want   string
	}{
		{[][]tar.Header{{file("app/Readme"), file("app/README")}}, `"app/README" and "app/Readme" differ in case only`},
		{[][]tar.Header{{file("app/Readme")}, {file("app/README")}}, `"app/README" and "app/Readme" differ in case only`},
		{[][]tar.Header{{file("App/a")}, {file("app/b")}}, `"App" and "app" differ in case only`},
		{[][]tar.Header{{file("app/Readme")}, {file("app/Readme"), file("app/other"), file("other/README")}}, ""},
		{[][]tar.Header{{file("app/Readme")}, {file("app/.wh.Readme"), file("app/README")}}, ""},
		{[][]tar.Header{{file("app/sub/Readme")}, {file("app/sub/.wh..wh..opq"), file("app/sub/README")}}, ""},
		{[][]tar.Header{{file("app/sub/Readme"), file("app/sub/README")}, {file("app/.wh.sub")}, {file("app/sub/x")}}, ""},
		{[][]tar.Header{{file("usr/share/terminfo/A/x"), file("usr/share/terminfo/a/x")}}, ""},
	} {
		image := empty.Image
		for _, entries := range test.layers {
			var err error
			if image, err = mutate.AppendLayers(image, static.NewLayer(tarOf(t, entries...), types.OCIUncompressedLayer)); err != nil {
				t.Fatal(err)
			}
		}
		var warnings []string
		opt := options()
		opt.Warn = func(text string) { warnings = append(warnings, text) }
		if _, err := Import(t.Context(), newStore(t), platformed(t, image), "warns", opt); err != nil {
			t.Errorf("%v: %v", test.layers, err)
		}
		if got := strings.Join(warnings, "; "); (got != "") != (test.want != "") || !strings.Contains(got, test.want) {
			t.Errorf("%v: %q, want %q", test.layers, got, test.want)
		}
	}
}

// TestUnpackStored unpacks layers that replace and remove what is below them.
func TestUnpackStored(t *testing.T) {
	image := platformed(t, empty.Image)
	for _, entries := range [][]tar.Header{
		{{Name: "a/b", Size: 1}, {Name: "a/c", Size: 1}, {Name: "d", Size: 1}},
		{{Name: "a/.wh.b"}, {Name: "d", Size: 5}, {Name: "e", Typeflag: tar.TypeSymlink, Linkname: "/a/c"}},
	} {
		var err error
		if image, err = mutate.AppendLayers(image, static.NewLayer(tarOf(t, entries...), types.OCIUncompressedLayer)); err != nil {
			t.Fatal(err)
		}
	}
	s := newStore(t)
	if _, err := Import(t.Context(), s, image, "app", options()); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "root")
	if err := UnpackStored(t.Context(), s, "app", to, layer.DefaultLimits); err != nil {
		t.Fatal(err)
	}
	var have []string
	filepath.Walk(to, func(path string, info fs.FileInfo, err error) error {
		have = append(have, fmt.Sprint(strings.TrimPrefix(path, to), " ", info.Mode().IsRegular(), " ", info.Size() == 5))
		return err
	})
	if got := strings.Join(have, "|"); !strings.Contains(got, "/a/c true") || !strings.Contains(got, "/d true true") || strings.Contains(got, "/a/b") || !strings.Contains(got, "/e false") {
		t.Errorf("there are %s", got)
	}
	if err := UnpackStored(t.Context(), s, "app", to, layer.DefaultLimits); err == nil {
		t.Error("it unpacks over what is there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := UnpackStored(ctx, s, "app", to+"2", layer.DefaultLimits); err == nil {
		t.Error("it does not stop")
	}
	if left, _ := os.ReadDir(filepath.Dir(to)); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}
