package images

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"

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
	// open gives a function that compresses a block; it is used by one goroutine. before is the end of the block
	// before, last tells that there is no other behind it.
	open func() (func(block, before []byte, last bool) ([]byte, error), error)
	// head and tail enclose the stream; size and sum are those of what was compressed.
	head []byte
	tail func(size int64, sum uint32) []byte
}

// workers is how many blocks are compressed at once: more would need more memory.
func workers() int { return min(runtime.GOMAXPROCS(0), 3) }

// gzipFormat is one member (RFC 1952) of blocks that each end at a byte, as Z_SYNC_FLUSH makes them, and refer to the
// block before. Its header has neither name nor time.
var gzipFormat = format{
	block: 1 << 20,
	open: func() (func(block, before []byte, last bool) ([]byte, error), error) {
		var e deflate.Encoder
		var src []byte
		return func(block, before []byte, last bool) ([]byte, error) {
			src = append(append(src[:0], before...), block...)
			return e.Encode(make([]byte, 0, len(block)/2+1024), src, len(before), last), nil
		}, nil
	},
	head: []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255},
	tail: func(size int64, sum uint32) []byte {
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, sum), uint32(size))
	},
}

// zstdFormat is a frame for each block (RFC 8878, "Frames").
var zstdFormat = format{
	block: 4 << 20,
	open: func() (func(block, before []byte, last bool) ([]byte, error), error) {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(4<<20), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
		return func(block, before []byte, _ bool) ([]byte, error) {
			if len(block) == 0 && before != nil { // behind a stream that is a multiple of the block
				return nil, nil
			}
			return w.EncodeAll(block, make([]byte, 0, len(block)/2)), nil
		}, err
	},
	tail: func(int64, uint32) []byte { return nil },
}

// A compressor compresses what is written to it.
type compressor struct {
	format
	block  []byte // that is being filled
	before []byte
	size   int64
	sum    uint32
	jobs   chan job
	// order has the results in the order of the blocks; free the blocks that can be used again.
	order chan chan result
	free  chan []byte
	done  chan error
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
	c := &compressor{format: gzipFormat, jobs: make(chan job), done: make(chan error, 1)}
	if how == Zstd {
		c.format = zstdFormat
	}
	n := workers()
	c.order, c.free = make(chan chan result, n), make(chan []byte, 2*n+2)
	for range n {
		compress, err := c.open()
		if err != nil {
			close(c.jobs)
			return nil, err
		}
		go func() {
			for j := range c.jobs {
				out, err := compress(j.block, j.before, j.last)
				j.result <- result{out, j.block, err}
			}
		}()
	}
	go func() {
		_, err := to.Write(c.head)
		for next := range c.order {
			r := <-next
			if err == nil {
				err = r.err
			}
			if err == nil {
				_, err = to.Write(r.out)
			}
			select {
			case c.free <- r.block:
			default:
			}
		}
		if err == nil {
			_, err = to.Write(c.tail(c.size, c.sum))
		}
		c.done <- err
	}()
	return c, nil
}

func (c *compressor) Write(data []byte) (int, error) {
	n := len(data)
	c.size += int64(n)
	c.sum = crc32.Update(c.sum, crc32.IEEETable, data)
	for len(data) > 0 {
		if c.block == nil {
			select {
			case c.block = <-c.free:
				c.block = c.block[:0]
			default:
				c.block = make([]byte, 0, c.format.block)
			}
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
