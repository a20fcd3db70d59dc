package query

import (
	"bytes"
	"context"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/querytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scatter stores entries in overlapping segments of all kinds, some of them several times, and returns what is hot.
func scatter(t testing.TB, rnd *rand.Rand, b objstore.Bucket, topic string, all []querytest.Entry) *querytest.Batches {
	hot := &querytest.Batches{}
	parts := 1 + rnd.IntN(8)
	split := make([][]querytest.Entry, parts)
	for i, e := range all {
		k := rnd.IntN(parts)
		if rnd.IntN(2) == 0 {
			k = i * parts / len(all) // mostly by time
		}
		split[k] = append(split[k], e)
		if rnd.IntN(5) == 0 {
			k = rnd.IntN(parts)
			if n := len(split[k]); n == 0 || split[k][n-1].ID != e.ID {
				split[k] = append(split[k], e)
			}
		}
	}
	for _, part := range split {
		if len(part) == 0 {
			continue
		}
		blockSize := []int{1, 60, 500, 4000, 0}[rnd.IntN(5)]
		if rnd.IntN(4) == 0 {
			for _, body := range querytest.Encode(t, 0, blockSize, part) {
				hot.Bodies = append(hot.Bodies, body)
			}
			if rnd.IntN(2) == 0 {
				continue // else flushed, too
			}
		}
		if rnd.IntN(2) == 0 {
			// As an ingester flushes: small ones, many of them within an hour.
			for chunk := range slices.Chunk(part, 1+rnd.IntN(50)) {
				querytest.Store(t, b, topic, 0, blockSize, chunk)
			}
			continue
		}
		querytest.Store(t, b, topic, uint8(rnd.IntN(3)), blockSize, part)
	}
	return hot
}

func newEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// ask runs a query and returns what it put out.
func ask(t testing.TB, e *Engine, q Query) ([]querytest.Entry, *Answer) {
	t.Helper()
	var got []querytest.Entry
	ans, err := e.Run(t.Context(), q, func(r Record) error {
		got = append(got, querytest.EntryOf(r.Record))
		return nil
	})
	if err != nil {
		t.Fatalf("query %+v: %v", q, err)
	}
	return got, ans
}

func same(t testing.TB, want, have []querytest.Entry) {
	t.Helper()
	for i := range max(len(want), len(have)) {
		w, h := "nothing", "nothing"
		if i < len(want) {
			w = want[i].String()
		}
		if i < len(have) {
			h = have[i].String()
		}
		if w != h {
			t.Fatalf("record %d of %d: want %s, have %s (of %d)", i, len(want), w, h, len(have))
		}
	}
}

func everything() Range { return Range{To: segment.AtTime(time.UnixMilli(segment.MaxTime))} }

// bucketFunc wraps a bucket and lets some calls go another way.
type bucketFunc struct {
	objstore.Bucket
	get  func(ctx context.Context, key string, off int64, p []byte) (int, error)
	list func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error]
}

func (b *bucketFunc) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	if b.get != nil {
		return b.get(ctx, key, off, p)
	}
	return b.Bucket.Get(ctx, key, off, p)
}

func (b *bucketFunc) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	if b.list != nil {
		return b.list(ctx, prefix, after)
	}
	return b.Bucket.List(ctx, prefix, after)
}

// compactedUnderway is a bucket in which segments are replaced by others of all the entries after some reads.
func compactedUnderway(t testing.TB, mem objstore.Bucket, keys []string, all []querytest.Entry, reads int64) objstore.Bucket {
	var once sync.Once
	var gets atomic.Int64
	return &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		if gets.Add(1) > reads {
			once.Do(func() {
				querytest.Replace(t, mem, "web", 1, 900, all, keys)
				for _, k := range keys {
					if err := mem.Delete(context.Background(), k); err != nil {
						t.Error(err)
					}
				}
			})
		}
		return mem.Get(ctx, key, off, p)
	}}
}

// content reads an object whole.
func content(t testing.TB, b objstore.Bucket, key string) []byte {
	t.Helper()
	info, err := b.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, info.Size)
	if _, err := io.ReadFull(io.NewSectionReader(objstore.ReaderAt(t.Context(), b, key), 0, info.Size), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func replace(t testing.TB, b objstore.Bucket, key string, data []byte) {
	t.Helper()
	if err := b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}
