package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winbox/preload/pe"
	"winbox/preload/pe/petest"
	"winbox/preload/prelink"
)

// TestImagePrelinkGolden prints what becomes of a small application, twice.
func TestImagePrelinkGolden(t *testing.T) {
	start, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	im := petest.Image{Characteristics: uint16(pe.DLL | pe.LargeAddressAware), Base: 0x180000000, Relocations: []uint32{0x1000}}
	signed := im
	signed.Signed = true
	inDirectory(t, map[string][]byte{
		"app.exe": petest.Image{}.Bytes(), "a.dll": im.Bytes(), "b.dll": im.Bytes(), "signed.dll": signed.Bytes(),
		"old.dll":       petest.Image{Machine: 0x14c, Characteristics: uint16(pe.DLL), Base: 0x20000000, Relocations: []uint32{0x1000}}.Bytes(),
		"\x1b[2Jno.dll": []byte("text"),
	})
	if err := os.Link("a.dll", "twin.dll"); err != nil {
		t.Fatal(err)
	}
	for _, run := range []struct {
		name string
		opt  prelink.Options
		json bool
	}{
		{"dry-run.json", prelink.Options{DryRun: true}, true},
		{"first.txt", prelink.Options{}, false},
		{"second.txt", prelink.Options{}, false},
		{"signed.txt", prelink.Options{DropSignatures: true}, false},
	} {
		var out bytes.Buffer
		if err := prelinkFolder(&out, ".", run.opt, run.json); err != nil {
			t.Error(err)
		}
		if run.json && !json.Valid(out.Bytes()) || bytes.Contains(out.Bytes(), []byte("\x1b")) {
			t.Errorf("%s: not JSON, or an escape from a name", run.name)
		}
		here, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		t.Chdir(start)
		golden(t, "prelink-"+run.name, out.Bytes())
		t.Chdir(here)
	}
}

func TestImageErrors(t *testing.T) {
	c := command{t, filepath.Join(t.TempDir(), "state")}
	c.fail("image prelink: needs one folder", "image", "prelink")
	c.fail("image prelink: needs one folder", "image", "prelink", "a", "b")
	c.fail("image: what to do? (winbox image "+imageVerbs+")", "image")
	c.fail("image: \"burn\" is none of "+strings.ReplaceAll(imageVerbs, "|", ", "), "image", "burn", "a")
	c.fail("image ls: needs no arguments", "image", "ls", "a")
	c.fail("image ls: has no flag --tag", "image", "ls", "--tag", "a")
	c.fail("--memory: \"1k\" is not a size such as 512m, of 16 MiB at least", "image", "pack", "a", "--memory", "1k")
	c.fail("image pack: annotations: io.winbox.boot: boot profile \"fast\": want minimal, auto or full", "image", "pack", "a", "--boot", "fast")
	c.fail("image pack: annotations: io.winbox.drives: \"data\": want LETTER=PATH[,...], such as z=/", "image", "pack", "a", "--drive", "data")
	c.fail("--max-size: \"much\" is not a size such as 100g", "image", "pull", "a", "--max-size", "much")
	c.fail("image prelink: open none: no such file or directory", "image", "prelink", "none")
}
