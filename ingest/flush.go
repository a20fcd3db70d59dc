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

// object is a segment that is ready to be put.
type object struct {
	name segment.Name
	data []byte
}

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
	w, err := segment.NewWriter(segment.WriterConfig{})
	if err != nil {
		return nil, err
	}
	d, err := segment.NewDecoder()
	return &merger{w, d}, err
}

// merge makes segments of a load. What was damaged is left out, and returned.
func (in *Ingester) merge(m *merger, l *load, now time.Time) (objects []object, bad []*batch, err error) {
	future := segment.MakeID(uint64(now.Add(in.cfg.Skew).UnixMilli()), 0, 0)
	good := l.batches
	for {
		objects = nil
		var records, skewed int64
		days, err := m.w.Days(in.cfg.FlushSize, func(n segment.Name, data []byte) error {
			objects = append(objects, object{n, data})
			records += n.Records
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
		inputs := make([]segment.Input, len(good))
		var received int64
		for i, b := range good {
			inputs[i] = input{b.seg.Input(m.d, bytes.NewReader(b.msg.Body)), b}
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
			in.metrics.duplicates.WithLabelValues(l.topic).Add(float64(received - records))
			in.metrics.skewed.WithLabelValues(l.topic).Add(float64(skewed))
			return objects, bad, nil
		}
		// The merge ends at the first damage; what is left is merged anew.
		n := len(bad)
		for _, b := range good {
			if b.damage != nil {
				bad = append(bad, b)
			}
		}
		if len(bad) == n {
			return nil, nil, fmt.Errorf("merge batches of %s: %w", l.topic, err)
		}
		good = slices.DeleteFunc(slices.Clone(good), func(b *batch) bool { return b.damage != nil })
	}
}

// need is the most memory that merging a load takes at once, in bytes: for the texts of the batches whose
// records overlap, and for the segments made.
func (l *load) need() int64 {
	type edge struct {
		id    ulid.ULID
		delta int64
	}
	edges := make([]edge, 0, 2*len(l.batches))
	for _, b := range l.batches {
		edges = append(edges, edge{b.seg.First(), b.text}, edge{b.seg.Last(), -b.text})
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
	return most + 2*segment.BlockSize + l.weight
}

// flush makes a load durable and acks it. It returns once that is done, or ctx is; then what is not acked is returned
// to the stream.
func (in *Ingester) flush(ctx context.Context, l *load) {
	start := in.cfg.Clock()
	weight := l.weight
	defer in.held.Release(weight)
	err := in.store(ctx, l)
	if err != nil {
		in.cfg.Logger.Warn("batches go back to the stream, for another ingester", "topic", l.topic, "batches", len(l.batches), "cause", err)
		for _, b := range l.batches {
			if err := b.msg.Nak(0); err != nil {
				in.cfg.Logger.Debug("a batch could not be returned; it comes again by itself", "cause", err)
			}
			in.drop(b)
		}
		return
	}
	in.metrics.flushSeconds.Observe(in.cfg.Clock().Sub(start).Seconds())
}

func (in *Ingester) store(ctx context.Context, l *load) error {
	need := min(l.need(), in.cfg.MergeBytes)
	if err := in.merging.Acquire(ctx, need); err != nil {
		return fmt.Errorf("wait for memory: %w", err)
	}
	m := <-in.mergers
	objects, bad, err := in.merge(m, l, in.cfg.Clock())
	in.mergers <- m
	in.merging.Release(need)
	if err != nil {
		return err
	}
	for _, b := range bad {
		in.deadLetter(ctx, b.msg, b.damage)
		in.drop(b)
	}
	if len(bad) > 0 {
		l.batches = slices.DeleteFunc(l.batches, func(b *batch) bool { return b.damage != nil })
	}
	for _, b := range l.batches {
		b.msg.Body = nil // the segments hold it now
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, o := range objects {
		g.Go(func() error { return in.put(gctx, l.topic, o) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
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
func (in *Ingester) put(ctx context.Context, topic string, o object) error {
	if err := in.uploads.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait to put a segment of %s: %w", topic, err)
	}
	defer in.uploads.Release(1)
	key := o.name.Key(topic)
	for wait := in.cfg.RetryWait; ; wait = min(2*wait, 30*in.cfg.RetryWait) {
		err := in.cfg.Bucket.Put(ctx, key, bytes.NewReader(o.data), int64(len(o.data)))
		if err == nil {
			in.metrics.segments.WithLabelValues(topic).Inc()
			in.metrics.stored.WithLabelValues(topic).Add(float64(o.name.Records))
			in.metrics.storedText.WithLabelValues(topic).Add(float64(o.name.RawBytes))
			in.metrics.storedBytes.WithLabelValues(topic).Add(float64(len(o.data)))
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
