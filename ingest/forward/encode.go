package forward

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"oklog/objstore/segment"
)

// batch is what the assembler hands on: a block of records, and where its inputs are behind it.
type batch struct {
	block *segment.Block
	files []fileState   // of all followed or checkpointed files
	done  chan struct{} // closed when every part is acked or dropped
	parts []part        // the block, encoded
}

// part is one message: all of a batch, or a piece of one whose encoding is too large for a message.
type part struct {
	ID      string `json:"id"`
	Records int64  `json:"records"`
	Size    int64  `json:"size"` // of body, in bytes
	CRC     uint32 `json:"crc"`  // CRC-32C of body
	body    []byte
}

// encoder makes messages of blocks. It is not safe for concurrent use.
type encoder struct {
	w      *segment.Writer
	buf    bytes.Buffer
	limit  func() int
	target *atomic.Int64 // bytes of text in a block, lowered where blocks come out too large
	batch  int64         // the greatest target
}

const minTarget = 64 << 10

func newEncoder(batch, record int, limit func() int, target *atomic.Int64) (*encoder, error) {
	// One block, always: see assembler.lines for how long a text gets.
	w, err := segment.NewWriter(segment.WriterConfig{BlockSize: batch + record + 1})
	if err != nil {
		return nil, fmt.Errorf("make encoder: %w", err)
	}
	return &encoder{w: w, limit: limit, target: target, batch: int64(batch)}, nil
}

// encode turns a block into messages of at most limit bytes.
func (e *encoder) encode(b *segment.Block) ([]part, error) {
	b.Sort()
	parts, err := e.split(nil, b, e.limit())
	if err != nil {
		return nil, err
	}
	// What did not compress enough is better read in smaller blocks than encoded several times.
	switch target := e.target.Load(); {
	case len(parts) > 1:
		e.target.Store(max(target/2, min(minTarget, e.batch)))
	case parts[0].Size < int64(e.limit())/3 && target < e.batch:
		e.target.Store(min(target*2, e.batch))
	}
	return parts, nil
}

func (e *encoder) split(parts []part, b *segment.Block, limit int) ([]part, error) {
	e.buf.Reset()
	e.w.Reset(&e.buf)
	c := b.Cursor()
	if err := e.w.Take(&c, b.Len()); err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	name, err := e.w.Finish()
	if err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	if e.buf.Len() <= limit {
		body := bytes.Clone(e.buf.Bytes())
		return append(parts, part{
			ID: name.String(), Records: int64(b.Len()), Size: int64(len(body)), CRC: crc32.Checksum(body, castagnoli), body: body,
		}), nil
	}
	if b.Len() == 1 {
		return nil, fmt.Errorf("encode batch: a record needs a message of %d bytes and the server takes %d: lower --record-limit, or raise the server's max_payload",
			e.buf.Len(), limit)
	}
	c = b.Cursor()
	for n := b.Len() / 2; c.Left() > 0; n = c.Left() {
		half := &segment.Block{Sources: b.Sources}
		c.AppendTo(half, n)
		if parts, err = e.split(parts, half, limit); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// encodeAll is the stage between assembler and journal. It gives the blocks back.
func (f *Forwarder) encodeAll(ctx context.Context, in <-chan *batch, out chan<- *batch) error {
	defer close(out)
	e, err := newEncoder(f.cfg.Limits.Batch, f.cfg.Limits.Record, f.cfg.Publisher.MaxBatch, &f.target)
	if err != nil {
		return err
	}
	for b := range in {
		if b.parts, err = e.encode(b.block); err != nil {
			return err
		}
		f.meters.batches.add(int64(len(b.parts)))
		f.free <- b.block // never waits: there is room for every block
		b.block = nil
		if err := send(ctx, out, b); err != nil {
			return err
		}
	}
	return nil
}

// send is a send that ends with ctx.
func send[T any](ctx context.Context, c chan<- T, v T) error {
	select {
	case c <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
