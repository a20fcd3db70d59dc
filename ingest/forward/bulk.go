package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"oklog/objstore/segment"
)

// maxPuts is how many segments are on their way to the bucket at once.
const maxPuts = 4

// runBulk runs the stages of Bulk:
//
//	readAll ─ blocks ─▶ collect ─ a segment's worth ─▶ merge ─ segments ─▶ put, several at once
func (f *Forwarder) runBulk(ctx, hard context.Context) error {
	r, err := f.newReader()
	if err != nil {
		return err
	}
	blocks := make(chan *batch)
	heaps := make(chan []*segment.Block)
	r.out = blocks
	var readErr error
	g, gctx := errgroup.WithContext(hard)
	g.Go(func() error {
		defer close(blocks)
		readErr = r.run(gctx, ctx.Done())
		return nil
	})
	g.Go(func() error { return f.collect(gctx, blocks, heaps) })
	g.Go(func() error { return f.write(gctx, heaps) })
	err = g.Wait()
	if cause := context.Cause(hard); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	if err != nil {
		return err
	}
	return readErr
}

// collect puts together what is sorted together.
func (f *Forwarder) collect(ctx context.Context, in <-chan *batch, out chan<- []*segment.Block) error {
	defer close(out)
	var heap []*segment.Block
	var size int64
	most := cap(f.free)/2 - 1 // the other half is being written, and one block filled
	for b := range in {
		heap = append(heap, b.block)
		size += int64(len(b.block.Text))
		if size+int64(f.cfg.Limits.Batch) > f.cfg.Limits.Flush || len(heap) >= most {
			if err := send(ctx, out, heap); err != nil {
				return err
			}
			heap, size = nil, 0
		}
	}
	if len(heap) == 0 {
		return nil
	}
	return send(ctx, out, heap)
}

// write merges blocks to segments and puts those into the bucket.
func (f *Forwarder) write(ctx context.Context, in <-chan []*segment.Block) error {
	puts, pctx := errgroup.WithContext(ctx)
	puts.SetLimit(maxPuts)
	days, err := segment.NewDays(segment.WriterConfig{Filter: true}, f.cfg.Limits.Flush, func(name segment.Name, data []byte) error {
		if pctx.Err() != nil {
			return context.Cause(pctx) // of the put that failed
		}
		f.meters.batches.add(1)
		f.meters.published.add(name.Records)
		puts.Go(func() error { return f.put(pctx, name, data) })
		return nil
	})
	if err != nil {
		return fmt.Errorf("make segments: %w", err)
	}
	err = f.mergeAll(in, days)
	if putErr := puts.Wait(); putErr != nil {
		return putErr // err, if any, only follows from it
	}
	return err
}

func (f *Forwarder) mergeAll(in <-chan []*segment.Block, days *segment.Days) error {
	for heap := range in {
		inputs := make([]segment.Input, len(heap))
		for i, b := range heap {
			b.Sort()
			inputs[i] = &single{b: b, first: b.First()}
		}
		err := segment.Merge(inputs, false, days.Take)
		if err == nil {
			err = days.Close()
		}
		for _, b := range heap {
			f.free <- b // never waits: there is room for every block
		}
		if err != nil {
			return fmt.Errorf("make segments: %w", err)
		}
	}
	return nil
}

// single is an input of one block.
type single struct {
	b     *segment.Block
	first ulid.ULID
}

func (s *single) First() ulid.ULID { return s.first }

func (s *single) Next() (*segment.Block, error) {
	if s.b == nil {
		return nil, io.EOF
	}
	b := s.b
	s.b = nil
	return b, nil
}

// put stores a segment, and tries until that works or cannot.
func (f *Forwarder) put(ctx context.Context, name segment.Name, data []byte) error {
	out := outage{log: f.cfg.Logger}
	key := name.Key(f.cfg.Topic)
	for delay := f.wait.backoff[0]; ; delay = min(2*delay, f.wait.backoff[1]) {
		err := f.cfg.Putter.Put(ctx, key, bytes.NewReader(data), int64(len(data)))
		if err == nil {
			out.over()
			f.meters.acked.add(name.Records)
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if f.cfg.Permanent(err) {
			return fmt.Errorf("put segment of %d records: %w", name.Records, err)
		}
		out.failed(err)
		if err := pause(ctx, delay); err != nil {
			return err
		}
	}
}
