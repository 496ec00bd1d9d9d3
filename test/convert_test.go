package test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
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
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"winbox/images/hive"
	"winbox/images/hive/hivetest"
)

// windowsLayer makes a layer as Windows does.
func windowsLayer(t *testing.T, files ...tar.Header) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range files {
		data := h.PAXRecords["MSWINDOWS.rawsd"] // the test's content travels there
		h.Size, h.Format = int64(len(data)), tar.FormatPAX
		h.PAXRecords = map[string]string{"MSWINDOWS.fileattr": "32", "MSWINDOWS.rawsd": "AQAAgA=="}
		if h.Linkname != "" {
			h.Size = 0
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func windowsFile(name, data string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, PAXRecords: map[string]string{"MSWINDOWS.rawsd": data}}
}

// TestImageConvert converts an image for Windows from a folder and from a registry, and runs it: its program, whose files
// are beside those of Windows, sees the registry of the layers.
func TestImageConvert(t *testing.T) {
	t.Parallel()
	b := newImageBox(t)
	key := func(path string, leaf hivetest.Key) hivetest.Key {
		names := strings.Split(path, `\`)
		for i := len(names) - 1; i >= 0; i-- {
			leaf.Name = names[i]
			leaf = hivetest.Key{Keys: []hivetest.Key{leaf}}
		}
		return leaf
	}
	text := func(name, value string) hive.Value {
		return hive.Value{Name: name, Type: 1, Data: hivetest.Text(value)}
	}
	software := key(`Vendor [x]\App`, hivetest.Key{Values: []hive.Value{text("Dir", `C:\Program Files\App "1"`), text("Old", "1"), text("Gone", "1"), {Name: "Größe", Type: 4, Data: []byte{5, 0, 0, 0}}}})
	software.Keys = append(software.Keys, key(`Microsoft\Windows NT\CurrentVersion`, hivetest.Key{Values: []hive.Value{text("CurrentVersion", "6.3")}}).Keys...)
	system := key(`ControlSet001\Control\Session Manager\Environment`, hivetest.Key{Values: []hive.Value{text("FROM_IMAGE", "yes it is")}})
	system.Keys[0].Keys = append(system.Keys[0].Keys, key(`Services\Thing`, hivetest.Key{Values: []hive.Value{text("ImagePath", "x")}}).Keys...)
	user := key(`Software\Vendor`, hivetest.Key{Values: []hive.Value{text("Mine", "mine")}})
	second := key(`Vendor [x]\App`, hivetest.Key{Values: []hive.Value{text("Old", "2"), {Name: "Gone", Gone: true}}})
	foreign := static.NewLayer([]byte("not there"), types.OCIRestrictedLayer)
	image, err := mutate.Append(empty.Image,
		mutate.Addendum{Layer: foreign, MediaType: types.OCIRestrictedLayer, URLs: []string{"https://example.invalid/base"}},
		mutate.Addendum{Layer: windowsLayer(t, windowsFile("Files/Windows/notepad.exe", "x"), windowsFile("Files/Windows/System32/ntdll.dll", "x"), windowsFile("Hives/Software_Base", "x"))},
		mutate.Addendum{Layer: windowsLayer(t,
			tar.Header{Name: "Files", Typeflag: tar.TypeDir}, tar.Header{Name: `Files\Program Files`, Typeflag: tar.TypeDir},
			windowsFile("Files/Program Files/App/7za.exe", readFile(t, sevenZip(t))), windowsFile("Files/Program Files/App/old.txt", "old"),
			windowsFile("Files/data/in.txt", "in"), windowsFile("Files/Windows/System32/drivers/x.sys", "x"),
			windowsFile("Files/Windows/WinSxS/one", "12345"), windowsFile("Files/Windows/Logs/two", "123"),
			windowsFile("Files/data/two/Readme", "1"), windowsFile("Files/data/two/README", "2"),
			tar.Header{Name: "Files/data/hard.txt", Typeflag: tar.TypeLink, Linkname: "Files/data/in.txt"},
			tar.Header{Name: "Files/data/link.txt", Typeflag: tar.TypeSymlink, Linkname: `C:\data\in.txt`},
			tar.Header{Name: "Files/data/away.txt", Typeflag: tar.TypeSymlink, Linkname: `\\?\Volume{1}\x`},
			windowsFile("Files/Users/ContainerAdministrator/NTUSER.DAT", string(hivetest.Write(user))),
			windowsFile("Hives/Software_Delta", string(hivetest.Write(software))), windowsFile("Hives/System_Delta", string(hivetest.Write(system))),
		)},
		mutate.Addendum{Layer: windowsLayer(t, windowsFile("Files/Program Files/App/.wh.old.txt", ""), windowsFile("Hives/Software_Delta", string(hivetest.Write(second))))})
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.OSVersion = "windows", "amd64", "10.0.20348.1"
	config.Config.Entrypoint, config.Config.Cmd, config.Config.ArgsEscaped = []string{`cmd "/S"`}, []string{"/C", "type in.txt"}, true
	config.Config.WorkingDir, config.Config.Env, config.Config.User = `C:\data`, []string{"SET=set"}, "ContainerAdministrator"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(web.Close)
	remoteName := strings.TrimPrefix(web.URL, "http://") + "/team/windows:1"
	ref, err := name.ParseReference(remoteName)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "windows", Architecture: "amd64", OSVersion: config.OSVersion}}})
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	if line := b.call("image", "pull", remoteName).wait().wantLine(1); !strings.Contains(line, "winbox image convert") {
		t.Error(line)
	}
	c := b.call("image", "convert", remoteName, "-t", "win").wait()
	if c.code() != 0 {
		t.Fatalf("exit code %d\n%s", c.code(), c.err.String())
	}
	for _, want := range []string{`layers of Windows itself: "layer 1 of 4" and 1 more`, `drivers: "Windows/System32/drivers/x.sys"`, `lead elsewhere: "data/away.txt"`,
		`files that Windows keeps for itself (component store, configuration, logs): 2, of 8 bytes`, `"data/two/README" and another name differ in case only`,
		`services and drivers of the registry`, `registry keys of Windows itself`, `the user`} {
		if !strings.Contains(c.err.String(), want) {
			t.Errorf("it does not say %s:\n%s", want, c.err.String())
		}
	}
	b.run("win").want(0, "in")
	writeFile(t, b.dir, "query.cmd", []byte(strings.Join([]string{
		"@echo off", `"C:\Program Files\App\7za.exe" i >nul && cd`, `type C:\data\hard.txt`, `type C:\data\link.txt`, "echo %SET% %FROM_IMAGE%",
		`if exist "C:\Program Files\App\old.txt" echo old`, `if exist C:\data\away.txt echo away`,
		`reg query "HKLM\Software\Vendor [x]\App"`, `reg query HKCU\Software\Vendor /v Mine`, "",
	}, "\r\n")))
	got := b.run("win", "/c", `D:\query.cmd`)
	for _, want := range []string{"C:\\data\n", "inin", "set yes it is", `C:\Program Files\App "1"`, "Old    REG_SZ    2", "REG_DWORD    0x5", "Mine    REG_SZ    mine"} {
		if !strings.Contains(got.text(), want) {
			t.Errorf("no %q in:\n%s%s", want, got.text(), got.err.String())
		}
	}
	for _, not := range []string{"\nold\n", "\naway\n", "Gone"} {
		if strings.Contains(got.text(), not) {
			t.Errorf("%q in:\n%s", not, got.text())
		}
	}
	broken, err := mutate.AppendLayers(image, windowsLayer(t, windowsFile("Hives/Software_Delta", fmt.Sprintf("regf%4096s", ""))))
	if err != nil {
		t.Fatal(err)
	}
	out, err := mutate.AppendLayers(image, windowsLayer(t, windowsFile("Files/../../x", "x")))
	if err != nil {
		t.Fatal(err)
	}
	for want, image := range map[string]v1.Image{"damaged registry hive": broken, "leads out": out} {
		dir := filepath.Join(newDir(t), "layout")
		if _, err := layout.Write(dir, empty.Index); err != nil {
			t.Fatal(err)
		}
		base, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		small, err := mutate.AppendLayers(empty.Image, base[2], base[4])
		if err == nil {
			small, err = mutate.ConfigFile(small, windowsConfig(t, small))
		}
		if err == nil {
			_, err = layout.Write(dir, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: small}))
		}
		if err != nil {
			t.Fatal(err)
		}
		if line := b.call("image", "convert", dir, "-t", "bad").wait().wantLine(1); !strings.Contains(line, want) {
			t.Error(line)
		}
	}
}

// windowsConfig is the configuration of an image, for Windows.
func windowsConfig(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "windows", "amd64"
	return config
}
