package objstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
)

// listAhead is how many keys of each bucket a union listing holds ready: so the buckets are
// asked for their pages at the same time.
const listAhead = 1024

// listed is a step of one bucket's listing.
type listed struct {
	info Info
	err  error
}

// source is the listing of one bucket: its head, and where the rest comes from.
type source struct {
	replica *replica
	next    chan listed // closed at the end
	head    listed
	open    bool // head is valid
}

func (s *source) advance() { s.head, s.open = <-s.next }

// List implements Bucket; see Replicated on when it is complete. A bucket that failed lately is
// left out if the listing is complete without it.
func (r *Replicated) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		inner, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()

		var sources []*source
		var failures []error
		out := r.leftOut()
		for _, b := range r.replicas {
			if out[b] {
				r.cfg.Meter.Fallback(b.name, "list", "avoided")
				continue
			}
			s := &source{replica: b, next: make(chan listed, listAhead)}
			running.Go(func() { s.run(inner, prefix, after) })
			sources = append(sources, s)
		}
		for _, s := range sources {
			s.advance()
		}
		for {
			if err := ctx.Err(); err != nil {
				yield(Info{}, fmt.Errorf("list: %w", err))
				return
			}
			var first *source
			for _, s := range sources {
				if s.open && s.head.err != nil {
					r.note(s.replica, "list", s.head.err)
					failures = append(failures, s.head.err)
					s.open = false
				}
				if s.open && (first == nil || s.head.info.Key < first.head.info.Key) {
					first = s
				}
			}
			if first == nil {
				break
			}
			info := first.head.info
			if !yield(info, nil) {
				return
			}
			for _, s := range sources {
				if s.open && s.head.err == nil && s.head.info.Key == info.Key {
					s.advance()
				}
			}
		}
		lacking := len(failures) + len(out)
		switch {
		case len(failures) == 0 || lacking < r.quorum:
		case len(failures) == len(r.replicas):
			yield(Info{}, fmt.Errorf("list: no bucket could be listed: %w", errors.Join(failures...)))
		default:
			yield(Info{}, fmt.Errorf("list: %w: %d of %d buckets could not be listed, and with a write quorum of %d there may be objects that only they have: %w",
				ErrIncomplete, lacking, len(r.replicas), r.quorum, errors.Join(failures...)))
		}
	}
}

// leftOut returns the buckets that failed lately, or none if a listing without them would not
// be complete.
func (r *Replicated) leftOut() map[*replica]bool {
	out := make(map[*replica]bool)
	for _, b := range r.replicas {
		if r.avoided(b) {
			out[b] = true
		}
	}
	if len(out) >= r.quorum {
		return nil
	}
	return out
}

func (s *source) run(ctx context.Context, prefix, after string) {
	defer close(s.next)
	for info, err := range s.replica.List(ctx, prefix, after) {
		select {
		case s.next <- listed{info, err}:
		case <-ctx.Done():
			return
		}
	}
}
