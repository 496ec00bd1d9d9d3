package store

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"winbox/images/layer"
)

// tarOf makes a layer of files, NAME=CONTENT.
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// add adds an image of layers that are not compressed, unpacked, under a name.
func add(t testing.TB, s *Store, name string, layers ...[]byte) Descriptor {
	t.Helper()
	d, err := tryAdd(t.Context(), s, name, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tryAdd(ctx context.Context, s *Store, name string, layers ...[]byte) (d Descriptor, err error) {
	hold, err := s.Hold()
	if err != nil {
		return d, err
	}
	defer hold.Close()
	var m Manifest
	var c Config
	c.OS, c.Architecture = "linux", "amd64"
	for _, l := range layers {
		digest, err := s.Put(ctx, l)
		if err != nil {
			return d, err
		}
		limits := layer.DefaultLimits
		if _, err := s.Unpack(ctx, digest, func() (io.ReadCloser, error) { return s.OpenBlob(digest) }, &limits); err != nil {
			return d, err
		}
		m.Layers = append(m.Layers, Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: digest, Size: int64(len(l))})
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return d, err
	}
	if m.Config.Digest, err = s.Put(ctx, data); err != nil {
		return d, err
	}
	if data, err = json.Marshal(m); err != nil {
		return d, err
	}
	d = Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: int64(len(data))}
	if d.Digest, err = s.Put(ctx, data); err != nil {
		return d, err
	}
	return d, s.Tag(ctx, name, d)
}

// contents lists what there is in the folders of a store: how many blobs, layers and drafts.
func contents(t *testing.T, s *Store) string {
	t.Helper()
	var counts []int
	for _, dir := range []string{"blobs/sha256", "layers", "ingest"} {
		entries, err := os.ReadDir(filepath.Join(s.Dir(), dir))
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, len(entries))
	}
	return fmt.Sprint(counts)
}

// TestStore adds images, finds, names and removes them.
func TestStore(t *testing.T) {
	s := Open(filepath.Join(t.TempDir(), "data"))
	if list, err := s.List(); err != nil || len(list) > 0 {
		t.Fatalf("a store that is not there has %v, %v", list, err)
	}
	shared, own := tarOf(t, "a=1"), tarOf(t, "b=2")
	one := add(t, s, "one", shared)
	two := add(t, s, "example.org:5000/team/two:2.0", shared, own)
	if got := contents(t, s); got != "[6 2 0]" {
		t.Errorf("contents %s", got)
	}
	for name, want := range map[string]Digest{
		"one": one.Digest, "one:latest": one.Digest, "example.org:5000/team/two:2.0": two.Digest, "one:2": "", "two": "", "example.org:5000/team/two": "",
		string(one.Digest): one.Digest, one.Digest.hex()[:8]: one.Digest, one.Digest.hex()[:7]: "", "": "", "../x": "", "sha256:": "",
	} {
		i, err := s.Find(name)
		if want == "" {
			if !errors.Is(err, ErrNoImage) {
				t.Errorf("%q: %v, want ErrNoImage", name, err)
			}
		} else if err != nil || i.Digest != want {
			t.Errorf("%q: %v, %v", name, i, err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(s.Tree(DigestOf(own)), "b")); err != nil || string(data) != "2" {
		t.Errorf("b: %q, %v", data, err)
	}
	if _, err := s.Read(Digest(digestPrefix + "../../../../../../../../../../../etc/passwd")); err == nil {
		t.Error("a path is read as a digest")
	}

	// The container that uses it keeps an image that has lost its name.
	box := filepath.Join(s.dataRoot, "containers", "box-1")
	image, err := s.Find("one")
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	lock, err := s.Use(box, filepath.Join(state, "box"), image)
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, "one", own)
	if err := s.Untag(t.Context(), "example.org:5000/team/two:2.0"); err != nil {
		t.Fatal(err)
	}
	prune := func(opt PruneOptions, want string) {
		t.Helper()
		list, err := s.Prune(t.Context(), opt)
		var got []string
		for _, p := range list {
			got = append(got, p.Kind)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("prune %+v: %v, %v, want %s", opt, got, err, want)
		}
	}
	prune(PruneOptions{Dry: true}, "blob blob")
	prune(PruneOptions{}, "blob blob") // manifest and configuration of "two"
	prune(PruneOptions{}, "")
	if !s.HasTree(DigestOf(shared)) || !s.Has(one.Digest) {
		t.Error("what the container uses is gone")
	}
	if err := errors.Join(os.Mkdir(filepath.Join(state, "box"), 0o755), lock.Close()); err != nil {
		t.Fatal(err)
	}
	prune(PruneOptions{}, "") // it has a state directory by now
	if err := os.Remove(filepath.Join(state, "box")); err != nil {
		t.Fatal(err)
	}
	prune(PruneOptions{}, "container blob blob blob layer") // and now it was killed
	prune(PruneOptions{All: true}, "name blob blob blob layer")
	if got := contents(t, s); got != "[0 0 0]" {
		t.Errorf("contents %s", got)
	}
	if list, err := s.List(); err != nil || len(list) > 0 {
		t.Errorf("images %v, %v", list, err)
	}
}

// TestPruneWaits keeps what is not yet named while its maker has a hold.
func TestPruneWaits(t *testing.T) {
	s := Open(t.TempDir())
	hold, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Put(t.Context(), []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), PruneOptions{Try: true}); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Prune(ctx, PruneOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Prune(t.Context(), PruneOptions{})
		done <- err
	}()
	if !s.Has(d) {
		t.Error("it is gone")
	}
	hold.Close()
	if err := <-done; err != nil || s.Has(d) {
		t.Errorf("pruned: %v, %v", !s.Has(d), err)
	}
}

// TestPruneDrafts removes drafts outside of the store that nobody makes any more.
func TestPruneDrafts(t *testing.T) {
	s := Open(t.TempDir())
	hold, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	hold.Close()
	drafts := t.TempDir()
	forget := make(map[string]func() error)
	for _, name := range []string{"left", "made", "gone", "done"} {
		dir := filepath.Join(drafts, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second takes the place of one that was killed
			if forget[name], err = s.NoteDraft(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	made, err := os.Open(filepath.Join(drafts, "made"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(flock(made, unix.LOCK_EX), os.Remove(filepath.Join(drafts, "gone")), forget["done"]()); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		dry    bool
		pruned int
		left   string
	}{{true, 2, "[done left made]"}, {false, 2, "[done made]"}, {false, 0, "[done made]"}} {
		list, err := s.Prune(t.Context(), PruneOptions{Dry: step.dry})
		if err != nil || len(list) != step.pruned {
			t.Errorf("%+v: pruned %+v, %v", step, list, err)
		}
		var left []string
		entries, err := os.ReadDir(drafts)
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if fmt.Sprint(left) != step.left || err != nil {
			t.Errorf("%+v: left %v, %v", step, left, err)
		}
	}
	if err := errors.Join(made.Close(), forget["made"]()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(s.ingestDir()); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestBlobGoesOn suspends a blob and goes on with it, as after a broken download.
func TestBlobGoesOn(t *testing.T) {
	s := Open(t.TempDir())
	hold, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	data := []byte("first half, second half")
	d := DigestOf(data)
	for _, part := range [][]byte{data[:10], data[10:]} {
		b, err := s.Blob(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if at := int64(bytes.Index(data, part)); b.Size() != at {
			t.Errorf("size %d, want %d", b.Size(), at)
		}
		if _, err := b.Write(part); err != nil {
			t.Fatal(err)
		}
		if b.Digest() == d {
			_, err = b.Commit()
		} else {
			err = b.Suspend()
		}
		if err != nil {
			t.Error(err)
		}
	}
	if got, err := s.Read(d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q, %v", got, err)
	}
	b, err := s.Blob(t.Context(), DigestOf([]byte("good")))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(b, "bad")
	if _, err := b.Commit(); err == nil || contents(t, s) != "[1 0 0]" {
		t.Errorf("a wrong digest: %v, %s", err, contents(t, s))
	}
}

// TestStoreConcurrent adds the same and other images from many goroutines, each with descriptors of its own, as processes
// would, with removals between.
func TestStoreConcurrent(t *testing.T) {
	root := t.TempDir()
	shared := tarOf(t, "shared="+strings.Repeat("s", 100<<10))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			s := Open(root)
			own := tarOf(t, fmt.Sprintf("own=%d", i%4))
			for range 5 {
				if _, err := tryAdd(t.Context(), s, fmt.Sprintf("image%d", i), shared, own); err != nil {
					t.Error(err)
				}
				if i == 0 {
					if _, err := s.Prune(t.Context(), PruneOptions{}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	s := Open(root)
	list, err := s.List()
	if err != nil || len(list) != 8 {
		t.Errorf("images %v, %v", list, err)
	}
	verify(t, s)
}

// verify checks that all that is named is there, whole, and that what has its final name is what that says.
func verify(t *testing.T, s *Store) {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		image, err := s.Image(d)
		if err != nil {
			t.Errorf("%s: %v", d.Name(), err)
			continue
		}
		for i, l := range image.Manifest.Layers {
			if !s.Has(l.Digest) || !s.HasTree(image.Config.RootFS.DiffIDs[i]) {
				t.Errorf("%s lacks a layer", d.Name())
			}
		}
	}
	blobs, err := os.ReadDir(filepath.Join(s.Dir(), "blobs/sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		data, err := os.ReadFile(filepath.Join(s.Dir(), "blobs/sha256", b.Name()))
		if err != nil || DigestOf(data).hex() != b.Name() {
			t.Errorf("blob %s: %v", b.Name(), err)
		}
	}
	trees, err := os.ReadDir(filepath.Join(s.Dir(), "layers"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range trees {
		blob, err := os.Open(filepath.Join(s.Dir(), "blobs/sha256", tree.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // who was killed has removed it, and not yet the layer
		}
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(blob); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			want, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(s.Dir(), "layers", tree.Name(), h.Name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("layer %s: %s: %v", tree.Name(), h.Name, err)
			}
		}
		blob.Close()
	}
}

// child makes the test binary run a part of a test in a process of its own.
const child = "WINBOX_STORE_TEST"

func TestMain(m *testing.M) {
	switch root := os.Getenv(child); {
	case root == "":
		os.Exit(m.Run())
	case strings.HasPrefix(root, "full:"):
		os.Exit(fullMain(strings.TrimPrefix(root, "full:")))
	default:
		os.Exit(killedMain(root))
	}
}

// killedMain adds and removes images until it is killed.
func killedMain(root string) int {
	s := Open(root)
	for i := 0; ; i++ {
		// Of many files, so that there is a chance to be killed among them.
		var files []string
		for f := range 50 {
			files = append(files, fmt.Sprintf("%d/%d=%d", f%5, f, i%3))
		}
		var t testing.B // for tarOf, which cannot fail
		if _, err := tryAdd(context.Background(), s, fmt.Sprintf("image%d", i%3), tarOf(&t, files...)); err != nil {
			fmt.Println(err)
			return 1
		}
		if i%4 == 3 {
			if _, err := s.Prune(context.Background(), PruneOptions{All: i%8 == 3}); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	}
}

// TestStoreKilled kills processes that add and remove, at any time: whatever they leave, the store is whole, goes on, and
// nothing is left of them in the end.
func TestStoreKilled(t *testing.T) {
	root := t.TempDir()
	s := Open(root)
	for range 25 {
		var children []*exec.Cmd
		for range 2 {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), child+"="+root)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			children = append(children, cmd)
		}
		time.Sleep(time.Duration(10+rand.IntN(60)) * time.Millisecond)
		for _, cmd := range children {
			if err := cmd.Process.Kill(); err != nil {
				t.Errorf("it ended by itself: %v", err)
			}
			cmd.Wait()
			if out := cmd.Stdout.(*bytes.Buffer); out.Len() > 0 {
				t.Errorf("it said %s", out)
			}
		}
		if _, err := os.Stat(filepath.Join(s.Dir(), "layers")); err == nil { // it has come so far
			verify(t, s)
		}
	}
	add(t, s, "last", tarOf(t, "a=1"))
	verify(t, s)
	if _, err := s.Prune(t.Context(), PruneOptions{All: true}); err != nil {
		t.Error(err)
	}
	if got := contents(t, s); got != "[0 0 0]" {
		t.Errorf("contents %s", got)
	}
	if left, err := filepath.Glob(filepath.Join(s.Dir(), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestStoreFull fills the disk.
func TestStoreFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), child+"=full:"+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// fullMain fills a small file system of its own, that its mount namespace alone has.
func fullMain(root string) int {
	fail := func(format string, args ...any) int {
		fmt.Printf(format+"\n", args...)
		return 1
	}
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m")); err != nil {
		return fail("%v", err)
	}
	s := Open(root)
	ctx := context.Background()
	hold, err := s.Hold()
	if err != nil {
		return fail("%v", err)
	}
	defer hold.Close()
	// A blob that is too large, and a layer that is, of a blob that is not here.
	var t testing.B
	big := tarOf(&t, "a="+strings.Repeat("x", 2<<20))
	_, blob := s.Put(ctx, big)
	limits := layer.DefaultLimits
	_, tree := s.Unpack(ctx, DigestOf(big), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(big)), nil }, &limits)
	for _, err := range []error{blob, tree} {
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "is full") {
			return fail("%v", err)
		}
	}
	if entries, err := os.ReadDir(s.ingestDir()); err != nil || len(entries) > 0 {
		return fail("left: %v, %v", entries, err)
	}
	return 0
}

// TestNames checks what an image can be called.
func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"app": "app:latest", "app:1.0": "app:1.0", "a/b-c_d.e:V1": "a/b-c_d.e:V1", "localhost:5000/app": "localhost:5000/app:latest",
		"Registry.Example.org/app": "Registry.Example.org/app:latest", "[::1]:5000/app:1": "[::1]:5000/app:1",
		"": "", ":": "", "app:": "", "App": "", "a//b": "", "/a": "", "a/": "", "../a": "", ".a": "", "a:.b": "", "a b": "", "a@sha256:00": "", "a:b:c": "", "-a": "",
		strings.Repeat("a", 64): "", strings.Repeat("a", 256): "", "a\n": "", "a:" + strings.Repeat("1", 129): "",
	} {
		got, err := CheckName(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", name, got, err, want)
		}
	}
}

// TestDamaged finds damage, and refuses what is no image.
func TestDamaged(t *testing.T) {
	s := Open(t.TempDir())
	d := add(t, s, "app", tarOf(t, "a=1"))
	if err := os.WriteFile(s.blob(d.Digest), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find("app"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v", err)
	}
	if _, err := s.Prune(t.Context(), PruneOptions{}); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("prune: %v", err)
	}
	if err := s.Untag(t.Context(), "app"); err != nil {
		t.Error(err)
	}
	if _, err := s.Prune(t.Context(), PruneOptions{}); err != nil || contents(t, s) != "[0 0 0]" {
		t.Errorf("prune: %v, %s", err, contents(t, s))
	}
	if _, err := s.Read(d.Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	hash := Digest(digestPrefix + strings.Repeat("0", 64))
	for _, bad := range []string{
		"", "[]", `{"config":{}}`, `{"config":{"digest":"sha256:0"}}`, `{"config":{"digest":"` + string(hash) + `","size":-1}}`,
		`{"config":{"digest":"` + string(hash) + `"},"layers":[{"digest":"../x"}]}`,
		`{"config":{"digest":"` + string(hash) + `"},"layers":[` + strings.Join(slices.Repeat([]string{`{"digest":"` + string(hash) + `"}`}, maxLayers+1), ",") + `]}`,
	} {
		if _, err := ParseManifest([]byte(bad)); err == nil {
			t.Errorf("%.80q is taken for a manifest", bad)
		}
	}
	if _, err := ParseConfig([]byte(`{"rootfs":{"diff_ids":["sha256:/../x"]}}`)); err == nil {
		t.Error("a path is taken for a diff ID")
	}
}

// FuzzDocuments reads manifests and configurations.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"` + digestPrefix + strings.Repeat("0", 64) + `","size":5},"layers":[{"digest":"` + digestPrefix + strings.Repeat("1", 64) + `"}]}`))
	f.Add([]byte(`{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Labels":{"a":"b"}},"rootfs":{"diff_ids":["` + digestPrefix + strings.Repeat("0", 64) + `"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := ParseManifest(data); err == nil {
			for _, d := range append(m.Layers, m.Config) {
				if strings.ContainsAny(d.Digest.hex(), "./") || d.Size < 0 {
					t.Errorf("%+v", d)
				}
			}
		}
		if c, err := ParseConfig(data); err == nil {
			for _, d := range c.RootFS.DiffIDs {
				if strings.ContainsAny(d.hex(), "./") {
					t.Errorf("%q", d)
				}
			}
		}
	})
}
