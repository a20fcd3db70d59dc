package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/cache"
	"oklog/query/match"
	"oklog/query/querytest"
	"oklog/query/required"
)

// What a query asks filters: an expression over grams, in which too short a literal is true of every block.
func TestSieve(t *testing.T) {
	grams := func(text string) int { return len(segment.AppendGrams(nil, []byte(text))) }
	for _, tt := range []struct {
		pattern match.Pattern
		any     bool
		leaves  int // distinct grams
	}{
		{match.Pattern{Texts: []string{"short"}}, true, 0},
		{match.Pattern{Texts: []string{"sixsix"}}, false, 1},
		{match.Pattern{Texts: []string{"SixSix", "sixsix"}, IgnoreCase: true}, false, 1},
		{match.Pattern{Texts: []string{"3f9c1be07ad2"}}, false, grams("3f9c1be07ad2")},
		{match.Pattern{Texts: []string{"a long text has many grams, and some of them are enough"}}, false, gramsEach},
		{match.Pattern{Texts: []string{"first text", "other"}}, true, 0},
		{match.Pattern{Texts: []string{"first text", "other text"}}, false, grams("first text") + grams("other text")},
		{match.Pattern{Texts: []string{"a regex.*with literals"}, Regex: true}, false, grams("a regex") + grams("with literals")},
		{match.Pattern{Texts: []string{"no.*use"}, Regex: true}, true, 0},
		{match.Pattern{Texts: []string{"absent text"}, Invert: true}, true, 0},
	} {
		s := newSieve(compile(t, tt.pattern).Required())
		switch {
		case (s == nil) != tt.any:
			t.Errorf("%v: every block: %v, want %v", tt.pattern, s == nil, tt.any)
		case s != nil && len(s.grams) != tt.leaves:
			t.Errorf("%v: %d grams, want %d", tt.pattern, len(s.grams), tt.leaves)
		}
	}
	if s := newSieve(required.Or()); s == nil || s.blocks(segment.NewSet(3, true), told{plain: segment.NewSet(3, false)}).Has(1) {
		t.Error("what matches nothing leaves blocks")
	}
}

// The sieve is the expression: where one says that a text may match, so does the other.
func TestSieveAgrees(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	all := querytest.World(rnd, 500, 20)
	for range 2000 {
		p := randomPattern(rnd, all)
		s := newSieve(compile(t, p).Required())
		if s == nil {
			continue
		}
		text := all[rnd.IntN(len(all))].Text
		has := map[segment.Gram]bool{}
		for _, g := range segment.AppendGrams(nil, []byte(text)) {
			has[g] = true
		}
		sets := make([]segment.Set, len(s.grams))
		for i, g := range s.grams {
			sets[i] = segment.NewSet(1, has[g])
		}
		plain := segment.NewSet(1, !segment.Escaped([]byte(text)))
		if s.blocks(segment.NewSet(1, true), told{sets, plain}).Has(0) {
			continue
		}
		if compile(t, p).Searcher().Match([]byte(text)) {
			t.Fatalf("%+v matches %q and the sieve leaves it out", p, text)
		}
	}
}

// hexLines are records with something that is nowhere else.
func hexLines(session uint64, at time.Time, n int) []querytest.Entry {
	rnd := rand.New(rand.NewPCG(session, 9))
	all := make([]querytest.Entry, n)
	for i := range all {
		all[i] = querytest.Entry{ID: segment.MakeID(uint64(at.UnixMilli())+uint64(i), session, uint32(i)), Text: fmt.Sprintf("request %016x of user-%d done", rnd.Uint64(), i%7)}
	}
	return all
}

// A filter that is damaged, in any byte, never hides a record: its blocks are scanned, and that is counted.
func TestDamagedFilterIsScanned(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	all := hexLines(1, querytest.Day0, 2000)
	key := querytest.Store(t, mem, "web", 0, 4000, all)[0]
	data := content(t, mem, key)
	q := Query{Topic: "web", Range: everything(), Pattern: compile(t, match.Pattern{Texts: []string{all[1234].Text[8:24]}})}
	_, ans := ask(t, newEngine(t, Config{Bucket: mem}), q)
	if s := ans.Stats; s.Segments.Sifted != 1 || s.Blocks.Pruned < s.Blocks.Total/2 || s.Blocks.Matched != 1 {
		t.Fatalf("a sound filter: %+v %+v", s.Segments, s.Blocks)
	}
	filter := bytes.LastIndex(data, []byte{0x5b, 0x2a, 0x4d, 0x18}) // the trailer; the filter is far before it
	damaged := 0
	for i := len(data) * 3 / 5; i < filter; i += 211 {
		bad := bytes.Clone(data)
		bad[i] ^= 4
		replace(t, mem, key, bad)
		e := newEngine(t, Config{Bucket: mem, Cache: smallCache(t)})
		for range 2 { // from the cache, too
			have, ans := ask(t, e, q)
			if ans.Partial() {
				continue // it was not the filter
			}
			same(t, all[1234:1235], have)
			damaged += ans.Stats.Segments.Damaged
			if n := ans.Stats.Segments.Damaged; n > 0 && (ans.Stats.Blocks.Pruned != 0 || ans.Stats.Blocks.Read != ans.Stats.Blocks.Total) {
				t.Fatalf("byte %d: %+v %+v", i, ans.Stats.Segments, ans.Stats.Blocks)
			}
		}
	}
	if damaged == 0 {
		t.Error("no damage was met")
	}
}

// Without a filter, or without asking it, every block is read.
func TestBrute(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	all := hexLines(1, querytest.Day0, 1000)
	querytest.Store(t, mem, "web", 0, 4000, all)
	querytest.Store(t, mem, "web", 0, 4001, hexLines(2, querytest.Day0.Add(time.Hour), 1000)) // has no filter
	e := newEngine(t, Config{Bucket: mem})
	q := Query{Topic: "web", Range: everything(), Pattern: compile(t, match.Pattern{Texts: []string{all[77].Text[8:24]}})}
	have, ans := ask(t, e, q)
	same(t, all[77:78], have)
	if s := ans.Stats; s.Segments.Sifted != 1 || s.Segments.Bare != 1 || s.Blocks.Pruned == 0 || s.Blocks.Read < 10 {
		t.Errorf("with filters: %+v %+v", s.Segments, s.Blocks)
	}
	q.Brute = true
	have, ans = ask(t, e, q)
	same(t, all[77:78], have)
	if s := ans.Stats; s.Segments.Sifted != 0 || s.Blocks.Pruned != 0 || s.Blocks.Read != s.Blocks.Total {
		t.Errorf("brute: %+v %+v", s.Segments, s.Blocks)
	}
}

// A query that may not read much says how much it would, before it does.
func TestMaxBytes(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	all := hexLines(1, querytest.Day0, 80_000)
	for i := range 4 {
		querytest.Store(t, mem, "web", 0, 100_000, all[i*20_000:(i+1)*20_000])
	}
	c, err := cache.New(cache.Config{Memory: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it holds nothing
	e := newEngine(t, Config{Bucket: mem, Cache: c})
	q := Query{Topic: "web", Range: everything(), MaxBytes: 800_000, Pattern: compile(t, match.Pattern{Texts: []string{"user-3"}})}
	n := 0
	ans, err := e.Run(t.Context(), q, func(Record) error { n++; return nil })
	tooMuch, ok := errors.AsType[*TooMuchError](err)
	if !ok || tooMuch.Bytes < 800_000 || tooMuch.Segments != 4 || n > 0 || ans.Stats.Blocks.Read > 0 {
		t.Errorf("%d records, %+v, %v", n, ans.Stats.Blocks, err)
	}
	// What filters leave is little.
	q.Pattern = compile(t, match.Pattern{Texts: []string{all[7777].Text[8:24]}})
	have, ans := ask(t, e, q)
	same(t, all[7777:7778], have)
	if ans.Stats.Segments.Opened != 4 {
		t.Errorf("%+v", ans.Stats.Segments)
	}
	q.MaxBytes = 10 << 20
	q.Pattern = nil
	if have, _ := ask(t, e, q); len(have) != len(all) {
		t.Errorf("%d records of %d", len(have), len(all))
	}
}

// slow is a bucket in which a request takes time.
type slow struct {
	objstore.Bucket
	each time.Duration
}

func (s slow) Get(ctx context.Context, key string, off int64, p []byte) (int, error) {
	time.Sleep(s.each) // in a bubble's time
	return s.Bucket.Get(ctx, key, off, p)
}

// However many segments there are, requests wait for each other at most four times in a row: listing, tails, filters, blocks.
func TestRoundTrips(t *testing.T) {
	for _, segments := range []int{1, 10, 100} {
		synctest.Test(t, func(t *testing.T) {
			mem := objstore.NewMemory("test", time.Now)
			var needle string
			for i := range segments {
				// A filter of over 256 KiB, so that it does not come with the tail.
				part := hexLines(uint64(i), querytest.Day0.Add(time.Duration(i)*time.Second), 40_000)
				querytest.Store(t, mem, "web", 0, 400_000, part)
				needle = part[100].Text[8:24]
			}
			const each = 30 * time.Millisecond
			b := &bucketFunc{Bucket: slow{mem, each}}
			e := newEngine(t, Config{Bucket: b, Fetches: 64})
			q := Query{Topic: "web", Range: everything(), Pattern: compile(t, match.Pattern{Texts: []string{needle}})}
			start := time.Now()
			have, ans := ask(t, e, q)
			if len(have) != 1 || ans.Stats.Segments.Sifted != segments {
				t.Fatalf("%d found; %+v", len(have), ans.Stats.Segments)
			}
			// The listing here takes no time: it is the fourth.
			if took := time.Since(start); took > 3*each {
				t.Errorf("%d segments: requests took %v, which is %d in a row", segments, took, took/each)
			}
		})
	}
}

// What was read is not read again, from memory or from disk.
func TestCached(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	all := hexLines(1, querytest.Day0, 20_000)
	querytest.Store(t, mem, "web", 0, 100_000, all)
	var gets atomic.Int64
	b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		gets.Add(1)
		return mem.Get(ctx, key, off, p)
	}}
	dir := filepath.Join(t.TempDir(), "cache")
	q := Query{Topic: "web", Range: everything(), Pattern: compile(t, match.Pattern{Texts: []string{"user-3"}})}
	for i := range 2 {
		c, err := cache.New(cache.Config{Memory: 64 << 20, Dir: dir, Disk: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		e := newEngine(t, Config{Bucket: b, Cache: c})
		for j := range 2 {
			before := gets.Load()
			have, ans := ask(t, e, q)
			if len(have) != (20_000+3)/7 {
				t.Errorf("%d found", len(have))
			}
			if cold := i+j == 0; (gets.Load() > before) != cold || !cold && ans.Stats.Requests.Cached == 0 || (ans.Stats.Requests.Gets > 0) != cold {
				t.Errorf("engine %d, query %d: %d reads; %+v", i, j, gets.Load()-before, ans.Stats.Requests)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

// Buckets that share a cache's folder are told apart: what is in one says nothing of another.
func TestCacheOfTwoBuckets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	all := hexLines(1, querytest.Day0, 100)
	one, other := objstore.NewMemory("one", time.Now), objstore.NewMemory("other", time.Now)
	key := querytest.Store(t, one, "web", 0, 0, all)[0]
	for range 2 {
		for _, b := range []*objstore.Memory{one, other} {
			c, err := cache.New(cache.Config{Memory: 64 << 20, Dir: dir, Disk: 1 << 30})
			if err != nil {
				t.Fatal(err)
			}
			name := "one"
			if b == other {
				name = "other"
				replace(t, other, key, make([]byte, len(content(t, one, key)))) // of the same name and size
			}
			have, ans := ask(t, newEngine(t, Config{Bucket: b, Cache: c, CacheSpace: name}), Query{Topic: "web", Range: everything()})
			if b == one {
				same(t, all, have)
			}
			if ans.Partial() != (b == other) {
				t.Errorf("%s: %d found, %v", name, len(have), ans.Problems)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A block in which nothing is found costs a few allocations, whatever is in it.
func TestAllocationsForBlocks(t *testing.T) {
	allocs := func(records int) (n float64, blocks int) {
		mem := objstore.NewMemory("test", time.Now)
		querytest.Store(t, mem, "web", 0, 10_000, hexLines(1, querytest.Day0, records))
		e := newEngine(t, Config{Bucket: mem, Workers: 1})
		q := Query{Topic: "web", Range: everything(), Brute: true, Pattern: compile(t, match.Pattern{Texts: []string{"user-[89].*done"}, Regex: true})}
		return testing.AllocsPerRun(10, func() { _, ans := ask(t, e, q); blocks = ans.Stats.Blocks.Read }), blocks
	}
	few, fewBlocks := allocs(10_000)
	many, manyBlocks := allocs(60_000)
	if each := (many - few) / float64(manyBlocks-fewBlocks); each > 12 {
		t.Errorf("%.1f allocations for each of %d blocks", each, manyBlocks-fewBlocks)
	}
}

// A query with a limit goes through any number of segments, and ends when it is told to.
func TestLimitOverManySegments(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	const segments = 400
	var all []querytest.Entry
	for i := range segments {
		part := hexLines(uint64(i), querytest.Day0.Add(time.Duration(i)*time.Second), 3)
		all = append(all, part...)
		querytest.Store(t, mem, "web", 0, 0, part)
	}
	for _, workers := range []int{1, 3} {
		e := newEngine(t, Config{Bucket: mem, Workers: workers})
		for _, newest := range []bool{false, true} {
			q := Query{Topic: "web", Range: everything(), Newest: newest, Limit: 7, Pattern: compile(t, match.Pattern{Texts: []string{"nowhere at all"}})}
			if have, ans := ask(t, e, q); len(have) != 0 || ans.Stats.Segments.Opened != segments {
				t.Errorf("%d found, %+v", len(have), ans.Stats.Segments)
			}
			q.Pattern, q.Limit = nil, int64(len(all))-2
			if have, _ := ask(t, e, q); len(have) != len(all)-2 {
				t.Errorf("%d of %d", len(have), len(all)-2)
			}
		}
	}
}

// Sources that many segments name are no reason to take more memory the more segments there are.
func TestTablesAreBounded(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	const segments, sources = 300, 400
	for i := range segments {
		var part []querytest.Entry
		for j := range sources {
			var attrs []string
			for k := range 30 {
				attrs = append(attrs, fmt.Sprintf("key%02d=value-%d-%d-%d", k, i, j, k))
			}
			source, err := segment.ParseSource(attrs)
			if err != nil {
				t.Fatal(err)
			}
			part = append(part, querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(i), uint64(i*sources+j), 0), Source: source, Text: "x"})
		}
		querytest.Store(t, mem, "web", 0, 0, part)
	}
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var first atomic.Bool
		r := &run{e: newEngine(t, Config{Bucket: mem}), q: Query{Topic: "web", Range: everything(), CountOnly: true}, ans: &Answer{}, start: time.Now()}
		infos, err := r.list(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.e.cfg.Bucket = &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
			if key == infos[0].Key && !first.Swap(true) {
				<-gate // the first segment opens last
			}
			return mem.Get(ctx, key, off, p)
		}}
		sc := newScan(r, nil, true)
		done := make(chan error)
		go func() { done <- sc.merge(t.Context(), makePlan(infos, "web", r.q.Range, false).candidates, nil) }()
		synctest.Wait()
		opened := r.meter.stats().Segments.Opened
		close(gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if opened < 10 || opened >= segments/2 || r.ans.Count != segments*sources {
			t.Errorf("%d of %d segments were open at once; %d records", opened, segments, r.ans.Count)
		}
	})
}
