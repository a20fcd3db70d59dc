package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"oklog/objstore/segment"
)

// input is a batch as an input of the merge. It takes note of damage, so that one bad batch can
// be told from the others.
type input struct {
	segment.Input
	b *batch
}

func (in input) Next() (*segment.Block, error) {
	blk, err := in.Input.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		in.b.damage = err
	}
	return blk, err
}

// merger has what a merge needs, made once: an encoder's tables take longer to make than a small segment.
type merger struct {
	w *segment.Writer
	d *segment.Decoder
}

func newMerger() (*merger, error) {
	w, err := segment.NewWriter(segment.WriterConfig{Filter: true})
	if err != nil {
		return nil, err
	}
	d, err := segment.NewDecoder()
	return &merger{w, d}, err
}

// merge makes segments of a load, and emits each as soon as it is written. Batches that are damaged are left
// out, and marked; segments of what was sound in them may have been emitted.
func (in *Ingester) merge(m *merger, l *load, emit func(segment.Name, []byte) error) error {
	future := segment.MakeID(uint64(in.cfg.Clock().Add(in.cfg.Skew).UnixMilli()), 0, 0)
	good := l.batches
	for {
		var received, written, skewed int64
		days, err := m.w.Days(segment.DaysConfig{MaxText: in.cfg.FlushSize, Emit: func(n segment.Name, data []byte) error {
			written += n.Records
			return emit(n, data)
		}})
		if err != nil {
			return err
		}
		inputs := make([]segment.Input, len(good))
		for i, b := range good {
			inputs[i] = input{m.input(b), b}
			received += b.seg.Records()
		}
		err = segment.Merge(inputs, false, func(c *segment.Cursor, n int) error {
			if k := c.CountBelow(future); k < n {
				skewed += int64(n - k)
			}
			return days.Take(c, n)
		})
		if err == nil {
			err = days.Close()
		}
		if err == nil {
			in.metrics.duplicates.WithLabelValues(l.topic).Add(float64(received - written))
			in.metrics.skewed.WithLabelValues(l.topic).Add(float64(skewed))
			return nil
		}
		damaged := func(b *batch) bool { return b.damage != nil }
		if !slices.ContainsFunc(good, damaged) {
			return fmt.Errorf("merge batches of %s: %w", l.topic, err)
		}
		// The merge ended at the first damage. Where there is one there may be more: all are looked at before
		// what is left is merged anew.
		for _, b := range good {
			if b.damage == nil {
				b.damage = m.verify(b)
			}
		}
		good = slices.DeleteFunc(slices.Clone(good), damaged)
	}
}

func (m *merger) input(b *batch) segment.Input { return b.seg.Input(m.d, bytes.NewReader(b.msg.Body)) }

// verify decodes all of a batch.
func (m *merger) verify(b *batch) error {
	for in := m.input(b); ; {
		if _, err := in.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// need is the most memory that merging a load takes at once, in bytes: for the batches whose records
// overlap, decoded, for the block being written, and for segments that are not put yet.
func (l *load) need() int64 {
	type edge struct {
		id    ulid.ULID
		delta int64
	}
	edges := make([]edge, 0, 2*len(l.batches))
	for _, b := range l.batches {
		edges = append(edges, edge{b.seg.First(), b.decoded}, edge{b.seg.Last(), -b.decoded})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if c := a.id.Compare(b.id); c != 0 {
			return c
		}
		return int(max(min(b.delta-a.delta, 1), -1)) // a batch begins before another ends
	})
	var now, most int64
	for _, e := range edges {
		now += e.delta
		most = max(most, now)
	}
	return most + min(2*segment.BlockSize, 2*l.text) + l.weight
}

// returnWait is how long batches that could not be flushed, for a reason of their own, stay away.
const returnWait = 5 * time.Second

// flush makes a load durable and acks it. It returns once that is done, or ctx is; then what is not acked is returned
// to the stream.
func (in *Ingester) flush(ctx context.Context, l *load) {
	start := in.cfg.Clock()
	weight := l.weight
	defer in.held.Release(weight)
	err := in.store(ctx, l)
	if err != nil {
		in.cfg.Logger.Warn("batches go back to the stream, for another ingester", "topic", l.topic, "batches", len(l.batches), "cause", err)
		wait := returnWait
		if ctx.Err() != nil {
			wait = 0 // this one is stopping
		}
		for _, b := range l.batches {
			if err := b.msg.Nak(wait); err != nil {
				in.cfg.Logger.Debug("a batch could not be returned; it comes again by itself", "cause", err)
			}
			in.drop(b)
		}
		return
	}
	in.metrics.flushSeconds.Observe(in.cfg.Clock().Sub(start).Seconds())
}

// store puts a load into the bucket while it is being merged, and acks it.
func (in *Ingester) store(ctx context.Context, l *load) error {
	turn := in.turn(l.topic)
	if err := turn.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for a turn: %w", err)
	}
	defer turn.Release(1)
	need := min(l.need(), in.cfg.MergeBytes)
	if err := in.merging.Acquire(ctx, need); err != nil {
		return fmt.Errorf("wait for memory: %w", err)
	}
	defer in.merging.Release(need)

	puts, pctx := errgroup.WithContext(ctx)
	puts.SetLimit(loadUploads)
	m := <-in.mergers
	err := in.merge(m, l, func(n segment.Name, data []byte) error {
		puts.Go(func() error { return in.put(pctx, l.topic, n, data) }) // waits for room: the merge goes no faster than the puts
		return pctx.Err()
	})
	in.mergers <- m
	if failed := puts.Wait(); failed != nil {
		return failed // what the merge says, if it does, follows from that
	}
	if err != nil {
		return err
	}
	damaged := func(b *batch) bool { return b.damage != nil }
	for _, b := range l.batches {
		if damaged(b) {
			in.deadLetter(ctx, b.msg, b.damage)
			in.drop(b)
		}
	}
	l.batches = slices.DeleteFunc(l.batches, damaged)
	for _, b := range l.batches {
		if err := b.msg.Ack(); err != nil {
			// It is durable. Delivered again, it is stored again and shown once.
			in.cfg.Logger.Debug("an ack was lost", "cause", err)
		} else {
			in.metrics.acked.WithLabelValues(l.topic).Add(float64(b.seg.Records()))
		}
		in.drop(b)
	}
	return nil
}

// put stores a segment, and tries until it has or ctx is done.
func (in *Ingester) put(ctx context.Context, topic string, name segment.Name, data []byte) error {
	if err := in.uploads.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait to put a segment of %s: %w", topic, err)
	}
	defer in.uploads.Release(1)
	key := name.Key(topic)
	for wait := in.cfg.RetryWait; ; wait = min(2*wait, 30*in.cfg.RetryWait) {
		err := in.cfg.Bucket.Put(ctx, key, bytes.NewReader(data), int64(len(data)))
		if err == nil {
			in.metrics.segments.WithLabelValues(topic).Inc()
			in.metrics.stored.WithLabelValues(topic).Add(float64(name.Records))
			in.metrics.storedText.WithLabelValues(topic).Add(float64(name.RawBytes))
			in.metrics.storedBytes.WithLabelValues(topic).Add(float64(len(data)))
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("put segment: %w", err)
		}
		in.metrics.putRetries.Inc()
		in.cfg.Logger.Warn("a segment could not be stored; trying again, its batches are safe in the stream", "key", key, "in", wait, "cause", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("put segment: %w", errors.Join(ctx.Err(), err))
		}
	}
}
