package pe_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"winbox/preload/pe/petest"
)

var update = flag.Bool("update", false, "rewrite the seed corpus of FuzzOpen")

// seeds are the files of testdata/fuzz/FuzzOpen, which fuzzing starts from.
func seeds() map[string][]byte {
	all := full(0x8664).Bytes()
	return map[string][]byte{
		"empty":              nil,
		"text":               []byte("plain text\n"),
		"mz":                 []byte("MZ"),
		"amd64":              petest.Image{}.Bytes(),
		"amd64-everything":   all,
		"i386-everything":    full(0x14c).Bytes(),
		"arm64":              petest.Image{Machine: 0xaa64}.Bytes(),
		"truncated":          all[:0x700],
		"many-sections":      patch(all, coff+2, uint16(65535)),
		"overlap":            patch(all, sections+40+12, uint32(0x1008)),
		"huge-image":         patch(all, optional+56, uint32(0xffffffff)),
		"zero-alignment":     patch(all, optional+32, uint32(0)),
		"base-near-the-top":  patch(all, optional+24, uint64(0xffffffffffff0000)),
		"imports-in-headers": patch(all, dirs+8, uint32(1)),
	}
}

// TestSeedCorpus keeps the corpus in step with the builder of the images; the
// files themselves are run by FuzzOpen in every "go test".
func TestSeedCorpus(t *testing.T) {
	dir := filepath.Join("testdata", "fuzz", "FuzzOpen")
	for name, b := range seeds() {
		path, want := filepath.Join(dir, name), fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", b)
		if *update {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: out of step (rewrite with -update): %v", path, err)
		}
	}
}
