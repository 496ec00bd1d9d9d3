package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"sync"
)

// Ahead reads a stream ahead of who reads from it, and computes the digest meanwhile: to decompress, to digest and to write
// files take a processor each.
type Ahead struct {
	free, out chan []byte
	stop      context.CancelFunc
	ended     sync.WaitGroup
	hash      hash.Hash
	// err is what the stream ended with. It is set before out is closed.
	err       error
	block     []byte // what is being read
	remaining []byte
}

const (
	aheadBlock  = 256 << 10 // bytes
	aheadBlocks = 6
)

// ReadAhead reads a stream until its end, or that of the context. Who calls it closes the result before the stream.
func ReadAhead(ctx context.Context, from io.Reader) *Ahead {
	ctx, stop := context.WithCancel(ctx)
	a := &Ahead{free: make(chan []byte, aheadBlocks), out: make(chan []byte, aheadBlocks), stop: stop, hash: sha256.New()}
	for range aheadBlocks {
		a.free <- make([]byte, aheadBlock)
	}
	read := make(chan []byte, aheadBlocks)
	a.ended.Go(func() {
		defer close(read)
		a.err = a.fill(ctx, from, read)
	})
	a.ended.Go(func() {
		defer close(a.out)
		for block := range read {
			a.hash.Write(block)
			a.out <- block // there is room for all blocks
		}
	})
	return a
}

// fill reads blocks until there are no more.
func (a *Ahead) fill(ctx context.Context, from io.Reader, to chan<- []byte) error {
	for {
		var block []byte
		select {
		case <-ctx.Done():
			return ctx.Err()
		case block = <-a.free:
		}
		block = block[:aheadBlock]
		n, err := 0, error(nil)
		for n < len(block) && err == nil {
			var more int
			more, err = contextReader{ctx, from}.Read(block[n:])
			n += more
		}
		to <- block[:n]
		if err != nil {
			return err
		}
	}
}

func (a *Ahead) Read(p []byte) (int, error) {
	for len(a.remaining) == 0 {
		if a.block != nil {
			a.free <- a.block
		}
		var ok bool
		if a.block, ok = <-a.out; !ok {
			return 0, a.err
		}
		a.remaining = a.block
	}
	n := copy(p, a.remaining)
	a.remaining = a.remaining[n:]
	return n, nil
}

// Digest is that of the stream, when it has been read to its end.
func (a *Ahead) Digest() Digest { return Digest(digestPrefix + hex.EncodeToString(a.hash.Sum(nil))) }

// Close ends the reading.
func (a *Ahead) Close() {
	a.stop()
	a.ended.Wait()
}
