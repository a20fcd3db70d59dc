package objstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// List implements Bucket; see Replicated on when it is complete. A bucket that failed lately is
// left out if the listing is complete without it.
func (r *Replicated) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		var buckets []Bucket
		var asked []*replica
		var failures []error
		out := r.leftOut()
		for _, b := range r.replicas {
			if out[b] {
				r.cfg.Meter.Fallback(b.name, "list", "avoided")
				continue
			}
			buckets, asked = append(buckets, b.Bucket), append(asked, b)
		}
		failed := func(i int, err error) {
			r.note(asked[i], "list", err)
			failures = append(failures, err)
		}
		for c, err := range ListCopies(ctx, buckets, prefix, after, failed) {
			if !yield(c.Info, err) || err != nil {
				return
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
