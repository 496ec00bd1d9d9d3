package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// images runs `winbox image` and gives what it prints; it must succeed.
func (b *box) images(words ...string) string {
	b.t.Helper()
	c := b.call(append([]string{"image"}, words...)...).wait()
	if c.code() != 0 || c.err.Len() > 0 {
		b.t.Fatalf("%s: exit code %d\n%s%s", c, c.code(), c.text(), c.err.String())
	}
	return c.text()
}

// newImageBox makes a box with images of its own, and the templates of the others.
func newImageBox(t *testing.T) *box {
	t.Helper()
	b := newBox(t)
	root := newDir(t)
	if err := os.Symlink(filepath.Join(dataRoot, "templates"), filepath.Join(root, "templates")); err != nil {
		t.Fatal(err)
	}
	b.env = []string{"WINBOX_DATA=" + root, "DOCKER_CONFIG=" + root}
	t.Cleanup(func() {
		if left, err := filepath.Glob(filepath.Join(root, "containers", "*")); len(left) > 0 || err != nil {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	return b
}

// data is the box's data root.
func (b *box) data() string { return strings.TrimPrefix(b.env[0], "WINBOX_DATA=") }

// TestImageLaunch packs programs, and launches the images as if they were programs.
func TestImageLaunch(t *testing.T) {
	t.Parallel()
	b := newImageBox(t)
	app := filepath.Join(b.dir, "app")
	writeFile(t, app, "bin/7za.exe", []byte(readFile(t, sevenZip(t))))
	writeFile(t, app, "bin/licence.txt", []byte("free"))
	first := b.images("pack", app, "-t", "seven:1", "--label", "a=b")
	if again := b.images("pack", app, "--tag", "again", "--label", "a=b"); again != first {
		t.Errorf("the same files make the images %s and %s", first, again)
	}
	work := newDir(t)
	b.dir = work
	want := makeTree(t, filepath.Join(work, "in"), 20)
	for _, how := range []struct {
		name  string
		flags []string
	}{{"plain", nil}, {"user namespace", []string{"--rootless"}}} {
		run := func(words ...string) *call {
			return b.run(append(append([]string{}, how.flags...), words...)...)
		}
		if c := run("seven:1", "a", "-bso0", "-bsp0", how.name+".7z", "in"); c.code() != 0 || c.err.Len() > 0 {
			t.Fatalf("%s: exit code %d\n%s%s", how.name, c.code(), c.text(), c.err.String())
		}
		if c := run("seven:1", "x", "-bso0", "-bsp0", "-oout", how.name+".7z"); c.code() != 0 || c.err.Len() > 0 {
			t.Fatalf("%s: exit code %d\n%s%s", how.name, c.code(), c.text(), c.err.String())
		}
		if got := readTree(t, filepath.Join(work, "out/in")); !maps.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%s: %d files came out of the archive, %d are in it, or others", how.name, len(got), len(want))
		}
		if err := os.RemoveAll(filepath.Join(work, "out")); err != nil {
			t.Fatal(err)
		}
		if c := run("seven:1", "t", "none.7z"); c.code() != 2 {
			t.Errorf("%s: exit code %d, want 2", how.name, c.code())
		}
	}
	// What a program writes to its own folder is the container's: the image stays as it is.
	b.images("pack", app, "-t", "shell", "--entrypoint", `C:\windows\system32\cmd.exe`, "--env", "MINE=yours", "--workdir", `C:\app\bin`)
	for range 2 {
		b.run("shell", "/c", `cd& echo %MINE%& type licence.txt& if exist new.txt (echo kept)& echo x>new.txt`).want(0, "C:\\app\\bin\nyours\nfree")
	}
	c := b.run("--env", "MINE=mine", "-w", `D:\in`, "--read-only", "shell", "/c", `cd& echo %MINE%& echo x>new.txt 2>nul& if not exist new.txt (echo read-only)`)
	if c.code() != 0 || !strings.HasPrefix(c.text(), "D:\\in\nmine\n") || !strings.Contains(c.text(), "read-only\n") {
		t.Errorf("exit code %d, %q, %q", c.code(), c.text(), c.err.String())
	}
	status := filepath.Join(work, "status.json")
	b.run("--memory", "64m", "--status-file", status, "shell", "/c", "exit 70001").want(70001&0xff, "")
	var s struct {
		WindowsExitCode uint32
		Memory          struct{ LimitBytes int64 }
	}
	if err := json.Unmarshal([]byte(readFile(t, status)), &s); err != nil || s.WindowsExitCode != 70001 || s.Memory.LimitBytes != 64<<20 {
		t.Errorf("status %+v, %v", s, err)
	}
	for words, want := range map[string]string{
		"none:1":                        "file does not exist",
		"--network moon seven:1":        "--network",
		"--boot fast seven:1":           "boot profile",
		"-w E:\\x seven:1":              "no such",
		"--mount /none:E: seven:1":      "no such file",
		"--status-file /none/s seven:1": "--status-file",
	} {
		if line := b.run(strings.Fields(words)...).wantLine(125, 127); !strings.Contains(line, want) {
			t.Errorf("%s: %s", words, line)
		}
	}
	writeFile(t, app, "run.sh", []byte("#!/bin/sh\n"))
	b.images("pack", app, "-t", "linux", "--entrypoint", "run.sh")
	if line := b.run("linux").wantLine(125); !strings.Contains(line, "not a Windows program") {
		t.Error(line)
	}
	// Each layer is unpacked once, for all images that have it.
	trees, err := os.ReadDir(filepath.Join(b.data(), "images/layers"))
	if err != nil || len(trees) != 2 {
		t.Errorf("%d layers are unpacked, %v", len(trees), err)
	}
}

// TestImageManyLayers launches an image of more layers than the options of mount(2) have room for, by a user with a name.
func TestImageManyLayers(t *testing.T) {
	t.Parallel()
	b := newImageBox(t)
	app := filepath.Join(b.dir, "app")
	writeFile(t, app, "app/7za.exe", []byte(readFile(t, sevenZip(t))))
	writeFile(t, app, "etc/passwd", []byte("root:x:0:0::/:\nmary:x:1234:56::/:\n"))
	writeFile(t, app, "etc/group", []byte("root:x:0:\nstaff:x:57:\n"))
	image, err := mutate.AppendLayers(empty.Image, layerOfFiles(t, app, "app", "etc"))
	for n := range 127 - 1 {
		if err == nil {
			name := fmt.Sprintf("n%d", n)
			image, err = mutate.AppendLayers(image, layerOfFiles(t, filepath.Dir(writeFile(t, filepath.Join(b.dir, "layers", name), "app/"+name, nil)), name))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{"mary": "1234:56", "mary:staff": "1234:57", "1234": "1234:56", "7:staff": "7:57"} {
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", "amd64"
		config.Config.User, config.Config.Entrypoint = user, []string{"/app/7za.exe"}
		made, err := mutate.ConfigFile(image, config)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(newDir(t), "layout")
		if _, err := layout.Write(dir, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: made})); err != nil {
			t.Fatal(err)
		}
		b.images("load", dir, "-t", "many")
		if user == "mary" {
			if c := b.run("many", "i"); c.code() != 0 || !strings.Contains(c.text(), "7-Zip") {
				t.Errorf("exit code %d\n%s%s", c.code(), c.text(), c.err.String())
			}
		}
		bundle := filepath.Join(newDir(t), "bundle")
		b.images("unpack", "many", bundle)
		var spec struct {
			Process struct{ User struct{ UID, GID int } }
		}
		if err := json.Unmarshal([]byte(readFile(t, filepath.Join(bundle, "config.json"))), &spec); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d:%d", spec.Process.User.UID, spec.Process.User.GID); got != want {
			t.Errorf("user %s: %s, want %s", user, got, want)
		}
	}
}

// layerOfFiles makes a layer of the files and folders of a folder.
func layerOfFiles(t *testing.T, dir string, names ...string) v1.Layer {
	t.Helper()
	file := filepath.Join(newDir(t), "layer.tar")
	if out, err := exec.Command("tar", append([]string{"-C", dir, "-cf", file}, names...)...).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	l, err := tarball.LayerFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestImageUser packs and launches as an ordinary user.
func TestImageUser(t *testing.T) {
	t.Parallel()
	b := newUserBox(t)
	writeFile(t, filepath.Dir(b.winbox), "winbox-images", []byte(readFile(t, winbox+"-images")))
	seven := writeFile(t, b.dir, "7za.exe", []byte(readFile(t, sevenZip(t))))
	b.images("pack", seven, "-t", "seven")
	writeFile(t, b.dir, "in.txt", []byte("text"))
	b.run("cmd", "/c", "exit 0") // says that it makes the template
	if c := b.run("seven", "a", "-bso0", "-bsp0", "out.7z", "in.txt"); c.code() != 0 || c.err.Len() > 0 {
		t.Errorf("exit code %d\n%s%s", c.code(), c.text(), c.err.String())
	}
	info, err := os.Stat(filepath.Join(b.dir, "out.7z"))
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != b.attr.Credential.Uid {
		t.Errorf("%v, %v", info, err)
	}
	b.images("rm", "seven")
}

// TestImageRegistry pushes an image to a registry, gets it from there into another store, and makes a bundle and archives
// of it.
func TestImageRegistry(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(web.Close)
	name := strings.TrimPrefix(web.URL, "http://") + "/team/seven:1"
	b, other := newImageBox(t), newImageBox(t)
	digest := b.images("pack", sevenZip(t), "-t", "seven", "--compression", "zstd")
	b.images("push", "seven", name)
	if got := other.images("pull", name); got != digest {
		t.Errorf("pushed %s, pulled %s", digest, got)
	}
	for _, format := range []string{"oci-archive", "oci", "docker-archive"} {
		file := filepath.Join(b.dir, format)
		b.images("save", "seven", "-o", file, "--format", format)
		if got := other.images("load", file, "-t", format); got != format+"\n" {
			t.Errorf("loaded %q", got)
		}
		if c := other.run(format, "i"); c.code() != 0 || !strings.Contains(c.text(), "Codecs:") {
			t.Errorf("%s: exit code %d\n%s%s", format, c.code(), c.text(), c.err.String())
		}
	}
	bundle := filepath.Join(b.dir, "bundle")
	other.images("unpack", name, bundle)
	if c := other.call("run", "--bundle", bundle, "image-bundle").wait(); c.code() != 0 || !strings.Contains(c.text(), "7-Zip") {
		t.Errorf("exit code %d\n%s%s", c.code(), c.text(), c.err.String())
	}
	if line := other.call("image", "unpack", name, bundle).wait().wantLine(1); !strings.Contains(line, "exists") {
		t.Error(line)
	}
	var list []struct{ Name, Digest string }
	if err := json.Unmarshal([]byte(other.images("ls", "--json")), &list); err != nil || len(list) != 4 || list[0].Name != name || list[0].Digest != strings.TrimSpace(digest) {
		t.Errorf("images %+v, %v", list, err)
	}
	if line := other.call("image", "pull", strings.Replace(name, "seven", "none", 1)).wait().wantLine(1); !strings.Contains(line, "NAME_UNKNOWN") && !strings.Contains(line, "MANIFEST_UNKNOWN") {
		t.Error(line)
	}
}

// TestImageInUse removes and prunes while a container runs: it keeps what it has.
func TestImageInUse(t *testing.T) {
	t.Parallel()
	b := newImageBox(t)
	app := filepath.Join(b.dir, "app")
	if err := os.Mkdir(app, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(b.dir, b.program("base")), filepath.Join(app, "base.exe")); err != nil {
		t.Fatal(err)
	}
	b.images("pack", app, "-t", "base")
	c := b.launch("base")
	stdin := c.follow()
	c.line()
	b.images("rm", "base")
	call := b.call("image", "prune", "--all").wait()
	trees, err := os.ReadDir(filepath.Join(b.data(), "images/layers"))
	if call.code() != 0 || err != nil || len(trees) != 1 {
		t.Errorf("exit code %d, %d layers, %v\n%s", call.code(), len(trees), err, call.err.String())
	}
	id, _ := b.container()
	if got := b.call("exec", id, system32+"cmd.exe", "/c", `if exist D:\app\base.exe echo there& if exist C:\app\base.exe echo there`).wait(); !strings.Contains(got.text(), "there") {
		t.Errorf("exit code %d, %q, %q", got.code(), got.text(), got.err.String())
	}
	stdin.Close()
	if c.wait(); c.code() != 0 {
		t.Errorf("exit code %d\n%s", c.code(), c.err.String())
	}
	b.call("image", "prune").wait()
	for _, dir := range []string{"layers", "blobs/sha256", "ingest"} {
		if left, err := os.ReadDir(filepath.Join(b.data(), "images", dir)); len(left) > 0 || err != nil {
			t.Errorf("%s: %v, %v", dir, left, err)
		}
	}
}

// TestImageKilled kills winbox-images at system calls of pack, pull and unpack, and winbox at those of a launch: the next call does
// it, and nothing is left in the end.
func TestImageKilled(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(web.Close)
	name := strings.TrimPrefix(web.URL, "http://") + "/seven"
	b := newImageBox(t)
	program := sevenZip(t)
	digest := b.images("pack", program, "-t", "seven")
	b.images("push", "seven", name)
	bundle := filepath.Join(newDir(t), "bundle")
	for verb, words := range map[string][]string{
		"unpack": {"image", "unpack", "seven", bundle}, "pack": {"image", "pack", program, "-t", "seven"}, "pull": {"image", "pull", name}, "launch": {"launch", "seven", "i"},
	} {
		killed := 0
		for at := 3; at < 100; at += 12 {
			if err := os.RemoveAll(bundle); err != nil {
				t.Fatal(err)
			}
			if verb == "launch" || verb == "unpack" {
				b.images("pack", program, "-t", "seven")
			} else {
				b.images("rm", strings.TrimSpace(digest))
			}
			done := inject(t, injection{
				At: at, KillInit: verb != "launch", Dir: b.dir, Args: append([]string{"env", b.env[0], b.env[1], b.winbox, "--root", b.root}, words...),
			})
			for _, id := range b.containers() {
				b.call("delete", "--force", id).wait()
			}
			if verb == "unpack" && !done.Killed {
				break // it is there
			}
			again := b.call(words...).wait()
			if again.code() != 0 || (verb == "pack" || verb == "pull") && again.text() != digest {
				t.Errorf("%s, killed at %s (%d): the next: exit code %d, %q\n%s", verb, done.Call, at, again.code(), again.text(), again.err.String())
			}
			if !done.Killed {
				break
			}
			killed++
		}
		if killed < 3 {
			t.Errorf("%s was killed %d times", verb, killed)
		}
	}
	// Where winbox itself is killed, nobody removes the half bundle until prune does.
	b.images("pack", program, "-t", "seven")
	for at := 40; at < 200; at += 30 {
		if err := os.RemoveAll(bundle); err != nil {
			t.Fatal(err)
		}
		done := inject(t, injection{At: at, Dir: b.dir, Args: append([]string{"env", b.env[0], b.env[1], b.winbox, "--root", b.root}, "image", "unpack", "seven", bundle)})
		if c := b.call("image", "prune").wait(); c.code() != 0 {
			t.Errorf("prune after %s: %s", done.Call, c.err.String())
		}
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(bundle), ".*")); len(left) > 0 || err != nil {
			t.Errorf("killed at %s: %v, %v", done.Call, left, err)
		}
	}
	if c := b.call("image", "prune", "--all").wait(); c.code() != 0 {
		t.Errorf("prune: %s", c.err.String())
	}
	if left, err := os.ReadDir(filepath.Dir(bundle)); len(left) > 1 || err != nil {
		t.Errorf("beside the bundle: %v, %v", left, err)
	}
	for _, dir := range []string{"layers", "blobs/sha256", "ingest"} {
		if left, err := os.ReadDir(filepath.Join(b.data(), "images", dir)); len(left) > 0 || err != nil {
			t.Errorf("%s: %v, %v", dir, left, err)
		}
	}
}

// TestImageFull fills the disk by pack, pull, load and unpack: they say so, and leave nothing.
func TestImageFull(t *testing.T) {
	t.Parallel()
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	web := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(web.Close)
	name := strings.TrimPrefix(web.URL, "http://") + "/seven"
	b := newImageBox(t)
	app := filepath.Join(b.dir, "app")
	writeFile(t, app, "7za.exe", []byte(readFile(t, sevenZip(t))))
	media := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{1}).Read(media)
	writeFile(t, app, "media.bin", media)
	archive := filepath.Join(b.dir, "app.tar")
	b.images("pack", app, "-t", "seven")
	b.images("push", "seven", name)
	b.images("save", "seven", "-o", archive)
	if line := b.call("image", "unpack", "seven", filepath.Join(small, "bundle")).wait().wantLine(1); !strings.Contains(line, "the disk of "+small) {
		t.Errorf("unpack: %s", line)
	}
	if left, err := os.ReadDir(small); len(left) > 0 || err != nil {
		t.Errorf("unpack left %v, %v", left, err)
	}
	b.env[0] = "WINBOX_DATA=" + small
	for _, words := range [][]string{{"pack", app, "-t", "seven"}, {"pull", name}, {"load", archive}} {
		if line := b.call(append([]string{"image"}, words...)...).wait().wantLine(1); !strings.Contains(line, "the disk of "+small) || !strings.Contains(line, "is full") {
			t.Errorf("%s: %s", words, line)
		}
		if text := b.images("ls"); strings.Count(text, "\n") != 1 {
			t.Errorf("%s: %s", words, text)
		}
		for _, dir := range []string{"layers", "blobs/sha256", "ingest"} {
			if left, err := os.ReadDir(filepath.Join(small, "images", dir)); len(left) > 0 || err != nil {
				t.Errorf("%s: %s: %v, %v", words, dir, left, err)
			}
		}
	}
}
