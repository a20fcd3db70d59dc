package compact

import (
	"context"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/buckettest"
)

// hooked is a bucket that does something before calls.
type hooked struct {
	objstore.Bucket
	before func(op buckettest.Op, key string)
}

func (b hooked) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	b.before(buckettest.Put, key)
	return b.Bucket.Put(ctx, key, body, size)
}

func (b hooked) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	b.before(buckettest.Get, key)
	return b.Bucket.Get(ctx, key, off, p)
}

func (b hooked) Delete(ctx context.Context, key string) error {
	b.before(buckettest.Delete, key)
	return b.Bucket.Delete(ctx, key)
}

func (b hooked) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	b.before(buckettest.List, prefix)
	return b.Bucket.List(ctx, prefix, after)
}

// Whatever clocks do, and however long a bucket takes, nothing is deleted before the grace is over, and it is deleted some time after it.
func TestGraceByAnyClock(t *testing.T) {
	const grace = time.Hour
	never := func(*clock, buckettest.Op, string) {}
	for name, f := range map[string]struct {
		offset time.Duration // of the compactor's clock
		within func(ours *clock, op buckettest.Op, key string)
		takes  func(all *clock, op buckettest.Op, key string)
	}{
		"the same":            {0, never, never},
		"ahead by a day":      {24 * time.Hour, never, never},
		"behind by ten hours": {-10 * time.Hour, never, never},
		"the bucket takes half an hour to write": {0, never, func(all *clock, op buckettest.Op, key string) {
			if op == buckettest.Put && key == clockKey {
				all.advance(30 * time.Minute)
			}
		}},
		"it is set ahead meanwhile": {0, func(ours *clock, op buckettest.Op, key string) {
			if op == buckettest.List && key == "web/" {
				ours.advance(5 * time.Hour)
			}
		}, never},
		"it is set ahead and back by turns": {0, func() func(ours *clock, op buckettest.Op, key string) {
			by := 3 * time.Hour
			var mu sync.Mutex
			return func(ours *clock, _ buckettest.Op, _ string) {
				mu.Lock()
				defer mu.Unlock()
				ours.advance(by)
				by = -by
			}
		}(), never},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, 1)
			for range 5 {
				w.put("web", 1, w.records("web", 50, day0, time.Hour))
			}
			w.clock.advance(24 * time.Hour)
			offset := &clock{at: time.Unix(0, 0).Add(f.offset)} // how far the compactor's clock is ahead
			cfg := w.config()
			cfg.Grace = grace
			cfg.Now = func() time.Time { return w.clock.now().Add(offset.now().Sub(time.Unix(0, 0))) }
			var mu sync.Mutex
			var merged, deleted time.Time
			cfg.Copies[0].Bucket = hooked{w.copies[0], func(op buckettest.Op, key string) {
				f.takes(w.clock, op, key)
				f.within(offset, op, key)
				mu.Lock()
				defer mu.Unlock()
				if op == buckettest.Put && strings.HasPrefix(key, "web/") {
					merged = w.clock.now()
				}
				if op == buckettest.Delete && deleted.IsZero() {
					deleted = w.clock.now()
				}
			}}
			for range 60 {
				w.clock.advance(20 * time.Minute)
				if _, err := w.compactor(cfg).Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.check(w.copies[0], "after a run")
			}
			if merged.IsZero() || deleted.IsZero() || deleted.Sub(merged) < grace {
				t.Errorf("merged at %s, deleted at %s", merged.Format(time.TimeOnly), deleted.Format(time.TimeOnly))
			}
		})
	}
}

// A bucket that does not show what was just written tells no time, and nothing is deleted by it.
func TestClockThatIsNotListed(t *testing.T) {
	w := newWorld(t, 3, 2)
	cfg := w.config()
	cfg.Quorum = 1
	cfg.Copies[1].Bucket = hidesClock{w.copies[1]}
	for range 5 {
		w.put("web", 3, w.records("web", 50, day0, time.Hour))
	}
	for range 5 {
		w.clock.advance(5 * time.Hour)
		r, err := w.compactor(cfg).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Deleted > 0 || len(r.Away) != 1 {
			t.Fatalf("%s, without %v", r, r.Away)
		}
	}
}

// hidesClock does not list the clock.
type hidesClock struct{ objstore.Bucket }

func (b hidesClock) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range b.Bucket.List(ctx, prefix, after) {
			if info.Key != clockKey && !yield(info, err) {
				return
			}
		}
	}
}
