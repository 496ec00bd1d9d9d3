package images

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestCompressor compresses streams of sizes around those of blocks: others must read them, and they must not depend on
// the number of processors.
func TestCompressor(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for how, f := range map[Compression]format{Gzip: gzipFormat, Zstd: zstdFormat} {
		for _, size := range []int{0, 1, 100, f.block - 1, f.block, f.block + 1, 3*f.block + 5} {
			data := make([]byte, size)
			random.Read(data)
			for i := range data {
				data[i] &= 7 // to be compressed
			}
			var first []byte
			for _, n := range []int{1, 4} {
				before := runtime.GOMAXPROCS(n)
				var out bytes.Buffer
				c, err := newCompressor(&out, how)
				if err != nil {
					t.Fatal(err)
				}
				for rest := data; len(rest) > 0; {
					n := min(len(rest), 300_000)
					c.Write(rest[:n])
					rest = rest[n:]
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				runtime.GOMAXPROCS(before)
				if n > 1 && !bytes.Equal(out.Bytes(), first) {
					t.Errorf("%s, %d bytes: another result with more processors", how, size)
				}
				first = out.Bytes()
			}
			var back []byte
			var err error
			if how == Gzip {
				var r *gzip.Reader
				if r, err = gzip.NewReader(bytes.NewReader(first)); err == nil {
					back, err = io.ReadAll(r)
				}
			} else {
				var r *zstd.Decoder
				if r, err = zstd.NewReader(bytes.NewReader(first)); err == nil {
					back, err = io.ReadAll(r)
				}
			}
			if err != nil || !bytes.Equal(back, data) {
				t.Errorf("%s, %d bytes: %v, other data", how, size, err)
			}
			cmd := exec.Command(string(how), "-dc")
			if _, err := exec.LookPath(string(how)); err != nil {
				continue
			}
			cmd.Stdin = bytes.NewReader(first)
			if out, err := cmd.Output(); err != nil || !bytes.Equal(out, data) {
				t.Errorf("%s -d, %d bytes: %v", how, size, err)
			}
		}
	}
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

// TestCompressorFails reports that nothing can be written, and ends.
func TestCompressorFails(t *testing.T) {
	c, err := newCompressor(fullWriter{}, Zstd)
	if err != nil {
		t.Fatal(err)
	}
	c.Write(make([]byte, 40<<20))
	if err := c.Close(); err == nil || err.Error() != "full" {
		t.Error(err)
	}
}
