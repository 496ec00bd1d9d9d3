package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"winbox/images/deflate"
)

// Compression is how layers are compressed.
type Compression string

// Gzip is understood by every engine, Zstd by newer ones; it is faster, above all to unpack.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// check refuses what is none.
func (c Compression) check() error {
	if c != Gzip && c != Zstd {
		return fmt.Errorf("compression %q: want %s or %s", string(c), Gzip, Zstd)
	}
	return nil
}

// mediaType is that of a layer (image specification, "Filesystem Layers").
func (c Compression) mediaType() string {
	return "application/vnd.oci.image.layer.v1.tar+" + string(c)
}

// A format compresses blocks independently of each other, so that it can be done in parallel and comes out the same
// whatever the number of processors. What the blocks make, one after the other, is a single stream of the format.
type format struct {
	block int // bytes
	// workers is how many blocks are compressed at once at most: more would need more memory.
	workers int
	// open gives a function that appends to out what a block compresses to; it is used by one goroutine. before is the
	// end of the block before, last tells that there is no other behind it.
	open func() (func(out, block, before []byte, last bool) ([]byte, error), error)
	// head and tail enclose the stream; size is that of what was compressed, sum what checksum makes of it.
	head     []byte
	checksum func(sum uint32, data []byte) uint32
	tail     func(size int64, sum uint32) []byte
}

// workers is how many goroutines there are for what can be done in so many.
func workers(most int) int { return min(runtime.GOMAXPROCS(0), most) }

// gzipFormat is one member (RFC 1952) of blocks that each end at a byte, as Z_SYNC_FLUSH makes them, and refer to the
// block before. Its header has neither name nor time.
var gzipFormat = format{
	block: 1 << 20, workers: 4,
	open: func() (func(out, block, before []byte, last bool) ([]byte, error), error) {
		var e deflate.Encoder
		var src []byte
		return func(out, block, before []byte, last bool) ([]byte, error) {
			src = append(append(src[:0], before...), block...)
			return e.Encode(out, src, len(before), last), nil
		}, nil
	},
	head:     []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255},
	checksum: func(sum uint32, data []byte) uint32 { return crc32.Update(sum, crc32.IEEETable, data) },
	tail: func(size int64, sum uint32) []byte {
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, sum), uint32(size))
	},
}

// zstdFormat is a frame for each block (RFC 8878, "Frames"), of the size of the largest window that every decoder has
// memory for ("Window Descriptor"). Layers have digests: frames need no checksums.
var zstdFormat = format{
	block: 8 << 20, workers: 2,
	open: func() (func(out, block, before []byte, last bool) ([]byte, error), error) {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20), zstd.WithLowerEncoderMem(true),
			zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false))
		return func(out, block, before []byte, _ bool) ([]byte, error) {
			if len(block) == 0 && before != nil { // behind a stream that is a multiple of the block
				return nil, nil
			}
			return w.EncodeAll(block, out), nil
		}, err
	},
	checksum: func(uint32, []byte) uint32 { return 0 },
	tail:     func(int64, uint32) []byte { return nil },
}

// A compressor compresses what is written to it, and computes its digest.
type compressor struct {
	format
	block  []byte // that is being filled
	before []byte
	jobs   chan job
	// order has the results in the order of the blocks; free and outs the blocks that can be used again.
	order      chan chan result
	free, outs chan []byte
	plain      hash.Hash
	done       chan error
}

type job struct {
	block, before []byte
	last          bool
	result        chan result
}

type result struct {
	out, block []byte
	err        error
}

// newCompressor compresses to a writer. Close ends the stream and waits; without it, goroutines stay.
func newCompressor(to io.Writer, how Compression) (*compressor, error) {
	c := &compressor{format: gzipFormat, jobs: make(chan job), plain: sha256.New(), done: make(chan error, 1)}
	if how == Zstd {
		c.format = zstdFormat
	}
	n := workers(c.workers)
	c.order, c.free, c.outs = make(chan chan result, n-1), make(chan []byte, n+2), make(chan []byte, n+2)
	for range n {
		compress, err := c.open()
		if err != nil {
			close(c.jobs)
			return nil, err
		}
		go func() {
			for j := range c.jobs {
				out, err := compress(take(c.outs, c.format.block/2), j.block, j.before, j.last)
				j.result <- result{out, j.block, err}
			}
		}()
	}
	go func() { c.done <- c.write(to) }()
	return c, nil
}

// take takes a block that can be used again, or makes one.
func take(from chan []byte, size int) []byte {
	select {
	case block := <-from:
		return block[:0]
	default:
		return make([]byte, 0, size)
	}
}

// give keeps a block for who needs one.
func give(to chan []byte, block []byte) {
	select {
	case to <- block:
	default:
	}
}

// write writes what comes out, in order.
func (c *compressor) write(to io.Writer) error {
	_, err := to.Write(c.head)
	var size int64
	var sum uint32
	for next := range c.order {
		r := <-next
		if err == nil {
			err = r.err
		}
		if err == nil {
			_, err = to.Write(r.out)
		}
		if err == nil {
			c.plain.Write(r.block)
			size, sum = size+int64(len(r.block)), c.checksum(sum, r.block)
		}
		give(c.free, r.block)
		give(c.outs, r.out)
	}
	if err == nil {
		_, err = to.Write(c.tail(size, sum))
	}
	return err
}

func (c *compressor) Write(data []byte) (int, error) {
	n := len(data)
	for len(data) > 0 {
		if c.block == nil {
			c.block = take(c.free, c.format.block)
		}
		part := min(len(data), c.format.block-len(c.block))
		c.block = append(c.block, data[:part]...)
		if data = data[part:]; len(c.block) == c.format.block {
			c.send(false)
		}
	}
	return n, nil
}

// send hands a block on to be compressed.
func (c *compressor) send(last bool) {
	j := job{c.block, c.before, last, make(chan result, 1)}
	c.before = bytes.Clone(c.block[max(0, len(c.block)-deflate.Window):])
	c.block = nil
	c.order <- j.result
	c.jobs <- j
}

// Close ends the stream.
func (c *compressor) Close() error {
	c.send(true)
	close(c.jobs)
	close(c.order)
	return <-c.done
}

// Digest is that of what was compressed, after Close.
func (c *compressor) Digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(c.plain.Sum(nil))}
}
