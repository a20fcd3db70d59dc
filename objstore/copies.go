package objstore

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"
)

// listAhead is how many keys of each bucket a union of listings holds ready: so the buckets are
// asked for their pages at the same time.
const listAhead = 1024

// Copies is an object as several buckets list it.
type Copies struct {
	Info // as the first of the buckets that list it has it
	// Sizes of the copies, by bucket; -1 where none is listed. They are overwritten by the next step, as is
	// when the copies were written.
	Sizes   []int64
	Written []time.Time
}

// Count is how many of the buckets list the object.
func (c Copies) Count() (n int) {
	for _, size := range c.Sizes {
		if size >= 0 {
			n++
		}
	}
	return n
}

// Differ tells whether copies are not of the same size: of an object that never changes, all but one are damaged then.
func (c Copies) Differ() bool {
	for _, size := range c.Sizes {
		if size >= 0 && size != c.Size {
			return true
		}
	}
	return false
}

// ListCopies yields the union of the listings of several buckets, each object once, in the order of the keys: prefix and after
// are those of Bucket.List. A bucket whose listing fails is told to failed, once, and counts from then on as if it
// listed nothing more. An error is the last pair, and is that of ctx.
func ListCopies(ctx context.Context, buckets []Bucket, prefix, after string, failed func(bucket int, err error)) iter.Seq2[Copies, error] {
	return func(yield func(Copies, error) bool) {
		inner, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()

		heads := make([]*listHead, len(buckets))
		for i, b := range buckets {
			heads[i] = &listHead{next: make(chan listed, listAhead)}
			running.Go(func() { heads[i].run(inner, b, prefix, after) })
		}
		for _, h := range heads {
			h.advance()
		}
		sizes, written := make([]int64, len(buckets)), make([]time.Time, len(buckets))
		for {
			if err := ctx.Err(); err != nil {
				yield(Copies{}, fmt.Errorf("list: %w", err))
				return
			}
			var first *listHead
			for i, h := range heads {
				if h.open && h.err != nil {
					failed(i, h.err)
					h.open = false
				}
				if h.open && (first == nil || h.info.Key < first.info.Key) {
					first = h
				}
			}
			if first == nil {
				return
			}
			info := first.info
			for i, h := range heads {
				sizes[i] = -1
				if h.open && h.info.Key == info.Key {
					sizes[i], written[i] = h.info.Size, h.info.Modified
				}
			}
			if !yield(Copies{info, sizes, written}, nil) {
				return
			}
			for _, h := range heads {
				if h.open && h.info.Key == info.Key {
					h.advance()
				}
			}
		}
	}
}

// listed is a step of one bucket's listing.
type listed struct {
	info Info
	err  error
}

// listHead is the listing of one bucket: where it stands, and where the rest comes from.
type listHead struct {
	next   chan listed // closed at the end
	listed             // valid while open
	open   bool
}

func (h *listHead) advance() { h.listed, h.open = <-h.next }

func (h *listHead) run(ctx context.Context, b Bucket, prefix, after string) {
	defer close(h.next)
	for info, err := range b.List(ctx, prefix, after) {
		select {
		case h.next <- listed{info, err}:
		case <-ctx.Done():
			return
		}
	}
}
