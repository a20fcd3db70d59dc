package query

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/querytest"
)

// gated is a bucket in which the blocks of one object wait.
type gated struct {
	objstore.Bucket
	key  string
	gate chan struct{}
}

func (g *gated) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	if key == g.key && off == 0 {
		select {
		case <-g.gate:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return g.Bucket.Get(ctx, key, off, p)
}

// Segments in which nothing was found cost next to nothing while the merge waits for a slow one before them.
func TestNothingHeldBehindSlow(t *testing.T) {
	const segments, records = 400, 40
	mem := objstore.NewMemory("m", time.Now)
	rnd := rand.New(rand.NewPCG(1, 2))
	bucket := &gated{Bucket: mem, gate: make(chan struct{})}
	for i := range segments {
		n := records
		if i == 0 {
			n = 3 * records // its blocks are not in the tail
		}
		entries := make([]querytest.Entry, n)
		for j := range entries {
			text := make([]byte, 1000)
			for k := range text {
				text[k] = byte('!' + rnd.IntN(90))
			}
			entries[j] = querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(i)*1000+uint64(j), uint64(i+1), uint32(j)), Text: string(text)}
		}
		keys := querytest.Store(t, mem, "app", 0, 4<<20, entries)
		if i == 0 {
			bucket.key = keys[0]
		}
	}
	m := compile(t, match.Pattern{Texts: []string{"no such text"}})
	r := &run{e: newEngine(t, Config{Bucket: bucket}), q: Query{Topic: "app", Range: everything(), Pattern: m, CountOnly: true}, ans: &Answer{}, start: time.Now()}
	infos, err := r.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sc := newScan(r, nil, true)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // the first leaves what a sync.Pool holds
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	done := make(chan error)
	go func() { done <- sc.merge(t.Context(), makePlan(infos, "app", r.q.Range, false).candidates, nil) }()
	read := func() int {
		r.meter.mu.Lock()
		defer r.meter.mu.Unlock()
		return r.meter.s.Blocks.Read
	}
	for read() < segments-1 {
		runtime.Gosched()
	}
	held := heap() - before
	close(bucket.gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if most := int64(segments * records * 1000 / 4); held > most {
		t.Errorf("%d bytes are held, want less than %d", held, most)
	}
	if len(r.ans.Problems) > 0 || read() != segments || sc.budget.used != 0 {
		t.Errorf("%v, %d blocks read, %d bytes of the budget not given back", r.ans.Problems, read(), sc.budget.used)
	}
}

// Whatever a query is like, in the end everything is given back.
func TestBudgetComesBack(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	mem := objstore.NewMemory("m", time.Now)
	entries := querytest.World(rnd, 3000, 20)
	for i := range 5 {
		querytest.Store(t, mem, "app", uint8(i), 512, entries[i*400:i*400+1000])
	}
	for _, max := range []int64{1, 4000, 1 << 20, 1 << 30} {
		for _, q := range []Query{{}, {Newest: true}, {CountOnly: true}, {Limit: 1 << 40}, {Limit: 1 << 40, Newest: true}} {
			for _, text := range []string{"", "status", "absent from all"} {
				t.Run(fmt.Sprintf("%d-%v-%v-%d-%s", max, q.Newest, q.CountOnly, q.Limit, text), func(t *testing.T) {
					q := q
					q.Topic, q.Range = "app", everything()
					if text != "" {
						q.Pattern = compile(t, match.Pattern{Texts: []string{text}})
					}
					r := &run{e: newEngine(t, Config{Bucket: mem, MaxBytes: max}), q: q, ans: &Answer{}, start: time.Now()}
					if !q.CountOnly {
						r.emit = func(Record) error { return nil }
					}
					infos, err := r.list(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					sc := newScan(r, nil, true)
					if err := sc.merge(t.Context(), makePlan(infos, "app", q.Range, q.Newest).candidates, nil); err != nil {
						t.Fatal(err)
					}
					if sc.budget.used != 0 || sc.budget.more != 0 || len(r.ans.Problems) > 0 {
						t.Errorf("%d bytes are not given back, and %d; %v", sc.budget.used, sc.budget.more, r.ans.Problems)
					}
				})
			}
		}
	}
}

// Of segments that all overlap and all match, one block each is decoded at a time beyond the budget, and packed.
func TestOverlapWithinMemory(t *testing.T) {
	const segments, records = 40, 20000
	mem := objstore.NewMemory("m", time.Now)
	line := fmt.Sprintf("%0100d", 7)
	for i := range segments {
		entries := make([]querytest.Entry, records)
		for j := range entries {
			entries[j] = querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(j)*400, uint64(i+1), uint32(j)), Text: line}
		}
		querytest.Store(t, mem, "app", 0, 1<<20, entries)
	}
	e := newEngine(t, Config{Bucket: mem, MaxBytes: 4 << 20, Workers: 2})
	var first, middle runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&first)
	n := 0
	if _, err := e.Run(t.Context(), Query{Topic: "app", Range: everything()}, func(Record) error {
		if n++; n == segments*records/4 {
			runtime.GC()
			runtime.ReadMemStats(&middle)
		}
		return nil
	}); err != nil || n != segments*records {
		t.Fatal(n, err)
	}
	// The text of a block of each segment would be 40 MiB, and of two, 80.
	if held := int64(middle.HeapAlloc) - int64(first.HeapAlloc); held > 36<<20 {
		t.Errorf("%d MiB are held", held>>20)
	}
}
