package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/querytest"
)

// lines makes n records of one source, a second apart, from the given time on.
func lines(session uint64, from time.Time, n int) []querytest.Entry {
	source, _ := segment.ParseSource([]string{"host=a"})
	var all []querytest.Entry
	for i := range n {
		id := segment.MakeID(uint64(from.UnixMilli())+uint64(i)*1000, session, uint32(i))
		all = append(all, querytest.Entry{ID: id, Source: source, Text: fmt.Sprintf("record %d of session %d", i, session)})
	}
	return all
}

// Every kind of line comes out as it went in, whatever else is in its block.
func TestNastyLines(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	texts := append(slices.Clone(querytest.Nasty), strings.Repeat("long ", 1<<20/5), strings.Repeat("\n", 1000))
	var all []querytest.Entry
	for i, text := range texts {
		all = append(all, querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli()), 7, uint32(i)), Text: text})
	}
	querytest.Store(t, b, "web", 0, 0, all)
	e := newEngine(t, Config{Bucket: b})
	have, _ := ask(t, e, Query{Topic: "web", Range: everything()})
	same(t, all, have)
	have, _ = ask(t, e, Query{Topic: "web", Range: everything(), Newest: true})
	slices.Reverse(have)
	same(t, all, have)
}

func TestNothing(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 0, 0, lines(1, querytest.Day0, 10))
	e := newEngine(t, Config{Bucket: b})
	for _, q := range []Query{
		{Topic: "other", Range: everything()},
		{Topic: "web", Range: Range{From: segment.AtTime(querytest.Day0.Add(time.Hour)), To: segment.AtTime(querytest.Day0.Add(2 * time.Hour))}},
		{Topic: "web"},
		{Topic: "web", Range: everything(), Pattern: compile(t, match.Pattern{Texts: []string{"absent"}})},
	} {
		have, ans := ask(t, e, q)
		if len(have) != 0 || ans.Count != 0 || ans.Partial() {
			t.Errorf("%+v: %v %+v", q, have, ans)
		}
	}
}

func TestBadQueries(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an engine without a bucket")
	}
	b := objstore.NewMemory("test", time.Now)
	for _, cfg := range []Config{{Bucket: b, Workers: -1}, {Bucket: b, MaxBytes: -1}, {Bucket: b, MaxHotBytes: -1}, {Bucket: b, Fetches: 1 << 20}, {Bucket: b, Listings: -1}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
	e := newEngine(t, Config{Bucket: b})
	sink := func(Record) error { return nil }
	if _, err := e.Run(t.Context(), Query{Topic: "Web"}, sink); !errors.Is(err, segment.ErrTopic) {
		t.Errorf("topic: %v", err)
	}
	if _, err := e.Run(t.Context(), Query{Topic: "web", Limit: -1}, sink); err == nil {
		t.Error("a negative limit")
	}
	if _, err := e.Run(t.Context(), Query{Topic: "web"}, nil); err == nil {
		t.Error("nowhere to put the records")
	}
}

// What is damaged is skipped, named and counted, and the rest is found.
func TestDamage(t *testing.T) {
	cut := func(n int) func([]byte) []byte { return func(p []byte) []byte { return p[:len(p)-n] } }
	flip := func(at int) func([]byte) []byte {
		return func(p []byte) []byte {
			p = slices.Clone(p)
			p[(at+len(p))%len(p)] ^= 4
			return p
		}
	}
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
		block  bool // only a block is lost
		is     error
	}{
		{"truncated", cut(10), false, segment.ErrCorrupt},
		{"truncated to nothing", func([]byte) []byte { return nil }, false, segment.ErrCorrupt},
		{"longer", func(p []byte) []byte { return append(slices.Clone(p), 'x') }, false, segment.ErrCorrupt},
		{"foreign", func([]byte) []byte { return bytes.Repeat([]byte("something else\n"), 1000) }, false, segment.ErrCorrupt},
		{"bit of the trailer", flip(-20), false, segment.ErrCorrupt},
		{"bit of the index", flip(-250), false, segment.ErrCorrupt},
		{"bit of the first block", flip(12), true, segment.ErrCorrupt},
	} {
		for _, newest := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, newest), func(t *testing.T) {
				b := objstore.NewMemory("test", time.Now)
				one, two := lines(1, querytest.Day0, 300), lines(2, querytest.Day0.Add(100*time.Second), 300)
				querytest.Store(t, b, "web", 0, 2000, one)
				keys := querytest.Store(t, b, "web", 0, 2000, two)
				replace(t, b, keys[0], c.damage(content(t, b, keys[0])))
				have, ans := ask(t, newEngine(t, Config{Bucket: b}), Query{Topic: "web", Range: everything(), Newest: newest})
				if len(ans.Problems) != 1 || ans.Problems[0].Key != keys[0] || !errors.Is(ans.Problems[0].Err, c.is) || !ans.Partial() {
					t.Fatalf("problems: %v", ans.Problems)
				}
				p := ans.Problems[0]
				if p.First != two[0].ID || !c.block && p.Last != two[299].ID {
					t.Errorf("lacking: %s to %s", p.First, p.Last)
				}
				// What is there is what is not in the gap.
				var want []querytest.Entry
				want = append(want, one...)
				for _, e := range two {
					if e.ID.Compare(p.Last) > 0 {
						want = append(want, e)
					}
				}
				if c.block == (len(want) == len(one)) {
					t.Errorf("%d records of the damaged segment", len(want)-len(one))
				}
				slices.SortFunc(want, querytest.ByID)
				if newest {
					slices.Reverse(want)
				}
				same(t, want, have)
			})
		}
	}
}

func TestForeignAndMisnamed(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	all := lines(1, querytest.Day0, 10)
	querytest.Store(t, b, "web", 0, 0, all)
	replace(t, b, "web/2026-11-20/00/README.md", []byte("hello"))
	// A sound segment under the name of another.
	var other string
	for name, data := range querytest.Encode(t, 0, 0, lines(2, querytest.Day0.Add(time.Minute), 10)) {
		name.Records++
		other = name.Key("web")
		replace(t, b, other, data)
	}
	have, ans := ask(t, newEngine(t, Config{Bucket: b}), Query{Topic: "web", Range: everything()})
	same(t, all, have)
	if len(ans.Problems) != 2 || !errors.Is(ans.Problems[0].Err, ErrForeign) || ans.Problems[1].Key != other || !errors.Is(ans.Problems[1].Err, segment.ErrMisnamed) {
		t.Errorf("problems: %v", ans.Problems)
	}
}

func TestManyProblems(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	for i := range 150 {
		replace(t, b, fmt.Sprintf("web/2026-11-20/00/junk-%d", i), nil)
	}
	_, ans := ask(t, newEngine(t, Config{Bucket: b}), Query{Topic: "web", Range: everything()})
	if len(ans.Problems) != MaxProblems || ans.Unlisted != 50 {
		t.Errorf("%d problems and %d more", len(ans.Problems), ans.Unlisted)
	}
}

// Reads that fail make the answer partial, too; the query goes on.
func TestUnreadable(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	one, two := lines(1, querytest.Day0, 50), lines(2, querytest.Day0, 50)
	querytest.Store(t, mem, "web", 0, 0, one)
	keys := querytest.Store(t, mem, "web", 0, 0, two)
	cause := errors.New("the disk is on fire")
	b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		if key == keys[0] {
			return 0, cause
		}
		return mem.Get(ctx, key, off, p)
	}}
	have, ans := ask(t, newEngine(t, Config{Bucket: b}), Query{Topic: "web", Range: everything()})
	same(t, one, have)
	if len(ans.Problems) != 1 || !errors.Is(ans.Problems[0].Err, cause) {
		t.Errorf("problems: %v", ans.Problems)
	}
	want := keys[0] + " (2026-11-20T00:00:00.000Z to 2026-11-20T00:00:49.000Z): read tail: the disk is on fire"
	if have := ans.Problems[0].String(); have != want {
		t.Errorf("want %s\nhave %s", want, have)
	}
}

func TestListingFails(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	querytest.Store(t, mem, "web", 0, 0, lines(1, querytest.Day0, 50))
	cause := errors.New("no listings today")
	b := &bucketFunc{Bucket: mem, list: func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
		return func(yield func(objstore.Info, error) bool) {
			for info, err := range mem.List(ctx, prefix, after) {
				if !yield(info, err) {
					return
				}
			}
			yield(objstore.Info{}, cause)
		}
	}}
	_, err := newEngine(t, Config{Bucket: b}).Run(t.Context(), Query{Topic: "web", Range: Range{segment.AtTime(querytest.Day0), segment.AtTime(querytest.Day0.Add(time.Hour))}},
		func(Record) error { return nil })
	if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "list segments: ") {
		t.Errorf("have %v", err)
	}
}

// A listing that may lack what only a dead bucket has: what there is is shown, and the answer says that it is partial.
func TestIncompleteListing(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	querytest.Store(t, mem, "web", 0, 0, lines(1, querytest.Day0, 100))
	b := &bucketFunc{Bucket: mem, list: func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
		return func(yield func(objstore.Info, error) bool) {
			for info, err := range mem.List(ctx, prefix, after) {
				if !yield(info, err) {
					return
				}
			}
			yield(objstore.Info{}, fmt.Errorf("list: %w: bucket two is away", objstore.ErrIncomplete))
		}
	}}
	n := 0
	ans, err := newEngine(t, Config{Bucket: b}).Run(t.Context(), Query{Topic: "web", Range: Range{segment.AtTime(querytest.Day0), segment.AtTime(querytest.Day0.Add(48 * time.Hour))}},
		func(Record) error { n++; return nil })
	if err != nil || n != 100 {
		t.Errorf("%d records, %v, want 100", n, err)
	}
	if len(ans.Problems) != 1 || !errors.Is(ans.Problems[0].Err, objstore.ErrIncomplete) {
		t.Errorf("problems %v, want the one bucket, once", ans.Problems)
	}
}

// Records that are flushed while the query begins are seen: in the batch, or in the listing.
func TestHotFirst(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	old, moving, hot := lines(1, querytest.Day0, 100), lines(2, querytest.Day0.Add(time.Minute), 100), lines(3, querytest.Day0.Add(time.Minute), 100)
	querytest.Store(t, b, "web", 0, 0, old)
	h := &querytest.Batches{}
	for _, body := range querytest.Encode(t, 0, 0, hot) {
		h.Bodies = append(h.Bodies, body)
	}
	// An ingester flushes and acks what is not yielded any more.
	h.Before = func() { querytest.Store(t, b, "web", 0, 0, moving) }
	want := slices.Concat(old, moving, hot)
	slices.SortFunc(want, querytest.ByID)
	have, ans := ask(t, newEngine(t, Config{Bucket: b, Hot: h}), Query{Topic: "web", Range: everything()})
	same(t, want, have)
	if ans.Stats.Segments.Hot != 1 || ans.Stats.Segments.HotUsed != 1 || ans.Stats.Records.Duplicates != 0 {
		t.Errorf("stats: %+v", ans.Stats)
	}
}

// The same batch delivered twice, flushed twice and still unflushed is shown once.
func TestDuplicates(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	all := lines(1, querytest.Day0, 500)
	h := &querytest.Batches{}
	for _, body := range querytest.Encode(t, 0, 0, all) {
		h.Bodies = append(h.Bodies, body, body)
	}
	querytest.Store(t, b, "web", 0, 0, all)
	querytest.Store(t, b, "web", 0, 700, all)
	querytest.Store(t, b, "web", 1, 0, all[100:200])
	for _, newest := range []bool{false, true} {
		have, ans := ask(t, newEngine(t, Config{Bucket: b, Hot: h}), Query{Topic: "web", Range: everything(), Newest: newest})
		if newest {
			slices.Reverse(have)
		}
		same(t, all, have)
		if ans.Stats.Records.Duplicates != 1600 {
			t.Errorf("%d duplicates", ans.Stats.Records.Duplicates)
		}
	}
}

// stage is a world of its own for each seed, and an empty bucket for it.
func stage(seed, salt uint64) (*rand.Rand, *objstore.Memory, []querytest.Entry) {
	rnd := rand.New(rand.NewPCG(seed, salt))
	return rnd, objstore.NewMemory("test", time.Now), querytest.World(rnd, 1000, 20)
}

// A compactor replaces segments under a running query: the query lists again and misses and repeats nothing.
func TestCompactedUnderway(t *testing.T) {
	for seed := range uint64(20) {
		rnd, mem, all := stage(seed, 9)
		var keys []string
		for chunk := range slices.Chunk(all, 100) {
			keys = append(keys, querytest.Store(t, mem, "web", 0, 500, chunk)...)
		}
		q := Query{Topic: "web", Range: everything(), Newest: seed%2 == 1}
		b := compactedUnderway(t, mem, keys, all, rnd.Int64N(60))
		e := newEngine(t, Config{Bucket: b, MaxBytes: 3000, Fetches: 2})
		want, count := naive(all, q, match.Pattern{})
		have, ans := ask(t, e, q)
		same(t, want, have)
		if ans.Partial() || ans.Count != count || ans.Stats.Listings > 2 {
			t.Fatalf("%d listings, count %d of %d, %v", ans.Stats.Listings, ans.Count, count, ans.Problems)
		}
	}
}

// What compaction has replaced, and left for the grace, is not read as long as what replaces it can be.
func TestReplaced(t *testing.T) {
	for seed := range uint64(20) {
		rnd, mem, all := stage(seed, 17)
		var keys []string
		parts := make([][]querytest.Entry, 5)
		for _, e := range all {
			i := rnd.IntN(len(parts))
			parts[i] = append(parts[i], e)
		}
		for _, part := range parts {
			keys = append(keys, querytest.Store(t, mem, "web", 0, 500, part)...)
		}
		merged := querytest.Replace(t, mem, "web", 1, 900, all, keys)
		if seed%3 == 0 { // once more
			merged = querytest.Replace(t, mem, "web", 2, 700, all, merged)
		}
		q := Query{Topic: "web", Range: everything(), Newest: seed%2 == 1}
		want, _ := naive(all, q, match.Pattern{})
		have, ans := ask(t, newEngine(t, Config{Bucket: mem}), q)
		same(t, want, have)
		if s := ans.Stats; s.Blocks.Replaced == 0 || s.Records.Duplicates != 0 || s.Records.Scanned != int64(len(all)) || s.Listings != 1 || ans.Partial() {
			t.Fatalf("%+v %v", s, ans.Problems)
		}
		est, err := newEngine(t, Config{Bucket: mem}).Estimate(t.Context(), q)
		if err != nil || est.Records != int64(len(all)) || est.Answer.Stats.Blocks.Replaced != ans.Stats.Blocks.Replaced {
			t.Fatalf("estimated %d of %d records, %+v, %v", est.Records, len(all), est.Answer.Stats.Blocks, err)
		}
		q.Brute = true
		if est, err := newEngine(t, Config{Bucket: mem}).Estimate(t.Context(), q); err != nil || est.Records < 2*int64(len(all)) {
			t.Fatalf("brute: estimated %d of %d records, %v", est.Records, len(all), err)
		}
		have, ans = ask(t, newEngine(t, Config{Bucket: mem}), q)
		same(t, want, have)
		if s := ans.Stats; s.Blocks.Replaced != 0 || s.Records.Duplicates < int64(len(all)) {
			t.Fatalf("brute: %+v", s)
		}
		q.Brute = false
		// Some have been deleted, but a bucket that was away still lists them.
		deleted := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
			if slices.Contains(keys, key) {
				return 0, objstore.ErrNotFound
			}
			return mem.Get(ctx, key, off, p)
		}}
		if est, err := newEngine(t, Config{Bucket: deleted}).Estimate(t.Context(), q); err != nil || est.Answer.Partial() || est.Records != int64(len(all)) {
			t.Fatalf("seed %d: estimated %d of %d records, %v %v", seed, est.Records, len(all), est.Answer.Problems, err)
		}
		have, ans = ask(t, newEngine(t, Config{Bucket: deleted}), q)
		same(t, want, have)
		if ans.Partial() || ans.Stats.Listings != 1 {
			t.Fatalf("seed %d: %d listings, problems: %v", seed, ans.Stats.Listings, ans.Problems)
		}
		// One of them is damaged: its records are found in what it replaces, and the answer says what could not be read.
		key := merged[rnd.IntN(len(merged))]
		data := content(t, mem, key)
		for i := range len(data) / 4 {
			data[i] ^= 0xff
		}
		if err := mem.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
		have, ans = ask(t, newEngine(t, Config{Bucket: mem}), q)
		same(t, want, have)
		if len(ans.Problems) == 0 || slices.ContainsFunc(ans.Problems, func(p Problem) bool { return p.Key != key }) {
			t.Fatalf("seed %d, %s: problems: %v, %+v", seed, key, ans.Problems, ans.Stats)
		}
	}
}

func TestCompactedWhileCounting(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	all := lines(1, querytest.Day0, 1000)
	var keys []string
	for chunk := range slices.Chunk(all, 100) {
		keys = append(keys, querytest.Store(t, mem, "web", 0, 500, chunk)...)
	}
	moved := false
	var mu sync.Mutex
	b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		mu.Lock()
		if !moved && key == keys[9] {
			moved = true
			querytest.Store(t, mem, "web", 1, 900, all)
			for _, k := range keys {
				if err := mem.Delete(context.Background(), k); err != nil {
					t.Error(err)
				}
			}
		}
		mu.Unlock()
		return mem.Get(ctx, key, off, p)
	}}
	ans, err := newEngine(t, Config{Bucket: b}).Run(t.Context(), Query{Topic: "web", Range: everything(), CountOnly: true}, nil)
	if err != nil || ans.Count != 1000 || ans.Partial() || ans.Stats.Listings != 2 {
		t.Errorf("%+v %v", ans, err)
	}
}

// An object that a listing goes on to show and that is not there is a problem, not an endless search.
func TestGone(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	one := lines(1, querytest.Day0, 50)
	querytest.Store(t, mem, "web", 0, 0, one)
	keys := querytest.Store(t, mem, "web", 0, 0, lines(2, querytest.Day0.Add(20*time.Second), 50))
	b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		if key == keys[0] {
			return 0, objstore.ErrNotFound
		}
		return mem.Get(ctx, key, off, p)
	}}
	have, ans := ask(t, newEngine(t, Config{Bucket: b}), Query{Topic: "web", Range: everything()})
	same(t, one, have)
	if len(ans.Problems) != 1 || !errors.Is(ans.Problems[0].Err, ErrGone) || ans.Stats.Listings != 2 {
		t.Errorf("%d listings, problems: %v", ans.Stats.Listings, ans.Problems)
	}
}

// The first records are put out while later objects cannot be read yet.
func TestStreams(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	var all []querytest.Entry
	var last string
	for i := range 10 {
		part := lines(uint64(i), querytest.Day0.Add(time.Duration(i)*time.Hour), 100)
		all = append(all, part...)
		last = querytest.Store(t, mem, "web", 0, 0, part)[0]
	}
	first := make(chan struct{})
	var once sync.Once
	b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		if key == last {
			select {
			case <-first: // only then
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return mem.Get(ctx, key, off, p)
	}}
	idle := 0
	var have []querytest.Entry
	_, err := newEngine(t, Config{Bucket: b}).Run(t.Context(), Query{Topic: "web", Range: everything(), Idle: func() {
		idle++
		if len(have) == 900 {
			once.Do(func() { close(first) })
		}
	}}, func(r Record) error {
		have = append(have, querytest.EntryOf(r.Record))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, all, have)
	if idle == 0 {
		t.Error("never idle")
	}
}

// A limit ends the reading: of many segments few are opened.
func TestLimitEndsReading(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	var all []querytest.Entry
	for i := range 300 {
		part := lines(uint64(i), querytest.Day0.Add(time.Duration(i)*time.Minute), 20)
		all = append(all, part...)
		querytest.Store(t, mem, "web", 0, 0, part)
	}
	e := newEngine(t, Config{Bucket: mem, Fetches: 1, MaxBytes: 16 << 10})
	for _, newest := range []bool{false, true} {
		have, ans := ask(t, e, Query{Topic: "web", Range: everything(), Limit: 30, Newest: newest})
		want := all[:30]
		if newest {
			want = slices.Clone(all[len(all)-30:])
			slices.Reverse(want)
		}
		same(t, want, have)
		if ans.Stats.Segments.Opened > 2*openAhead+10 || ans.Stats.Segments.InRange != 300 {
			t.Errorf("stats: %+v", ans.Stats)
		}
	}
	// A problem behind the limit is none of this answer's.
	keys := querytest.Store(t, mem, "web", 0, 0, lines(5000, querytest.Day0.Add(20*time.Hour), 10))
	replace(t, mem, keys[0], []byte("damaged"))
	if _, ans := ask(t, e, Query{Topic: "web", Range: everything(), Limit: 5}); ans.Partial() {
		t.Errorf("problems: %v", ans.Problems)
	}
}

// With a limit, neighbouring blocks come with one read, and are looked at only as far as they are needed.
func TestLimitReadsNeighbours(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	rnd := rand.New(rand.NewPCG(5, 6))
	const blocks, perBlock = 12, 1400
	var all []querytest.Entry
	for i := range blocks * perBlock {
		text := make([]byte, 90)
		for k := range text {
			text[k] = byte('!' + rnd.IntN(90))
		}
		all = append(all, querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(i), 1, uint32(i)), Text: strings.Repeat(string(text), 20)})
	}
	querytest.Store(t, mem, "web", 0, perBlock*1801, all)
	e := newEngine(t, Config{Bucket: mem, Workers: 1})
	for _, newest := range []bool{false, true} {
		want := slices.Clone(all)
		if newest {
			slices.Reverse(want)
		}
		read := func(limit int) RequestStats {
			t.Helper()
			have, ans := ask(t, e, Query{Topic: "web", Range: everything(), Limit: int64(limit), Newest: newest})
			same(t, want[:limit], have)
			b := ans.Stats.Blocks
			if most := limit/perBlock + 4; b.Total < blocks || b.Read > most {
				t.Errorf("newest %v: %d of %d blocks were read for %d records, want at most %d of %d", newest, b.Read, b.Total, limit, most, blocks)
			}
			return ans.Stats.Requests
		}
		few, many := read(10), read(8*perBlock)
		if few.Gets > 4 || few.Fetched > 2*aheadSize {
			t.Errorf("newest %v: ten records take %d reads of %d bytes", newest, few.Gets, few.Fetched)
		}
		if many.Gets > few.Gets+2 {
			t.Errorf("newest %v: eight blocks take %d reads", newest, many.Gets)
		}
	}
}

// A limit that the first block meets ends the reading also while nobody takes what was found.
func TestLimitIsMetBehindTheMerge(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	const blocks, perBlock = 12, 200
	var all []querytest.Entry
	for i := range blocks * perBlock {
		all = append(all, querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(i), 1, uint32(i)), Text: fmt.Sprintf("line %06d", i)})
	}
	querytest.Store(t, mem, "web", 0, perBlock*12, all)
	e := newEngine(t, Config{Bucket: mem, Workers: 1})
	for _, newest := range []bool{false, true} {
		for _, count := range []bool{false, true} {
			want := slices.Clone(all)
			if newest {
				slices.Reverse(want)
			}
			var cost func() Stats
			q := Query{Topic: "web", Range: everything(), Limit: 10, Newest: newest, CountOnly: count, Watch: func(f func() Stats) { cost = f }}
			waited := false
			q.Idle = func() { // the merge is held up for as long as the others go on, or might
				for late := time.Now().Add(200 * time.Millisecond); !waited && cost().Blocks.Read < blocks && time.Now().Before(late); {
					time.Sleep(time.Millisecond)
				}
				waited = true
			}
			ans, have := &Answer{}, []querytest.Entry(nil)
			var err error
			if count {
				ans, err = e.Run(t.Context(), q, nil)
			} else {
				have, ans = ask(t, e, q)
				same(t, want[:10], have)
			}
			if err != nil || ans.Count != 10 || ans.Stats.Blocks.Total != blocks || ans.Stats.Blocks.Read > 4 {
				t.Errorf("newest %v, count %v: %d of %d blocks were read for %d records: %v", newest, count, ans.Stats.Blocks.Read, ans.Stats.Blocks.Total, ans.Count, err)
			}
		}
	}
}

// A limit within a block that matches throughout.
func TestLimitWithinBlock(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	all := make([]querytest.Entry, 20_000)
	for i := range all {
		all[i] = querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(i), 1, uint32(i)), Text: fmt.Sprintf("line %d of a block of some length, all of which match", i)}
		if i%7 == 6 {
			all[i].Text = "another"
		}
	}
	querytest.Store(t, mem, "web", 0, 4<<20, all)
	p := match.Pattern{Texts: []string{"match"}}
	for _, newest := range []bool{false, true} {
		for _, limit := range []int64{1, 2, 99, 10_000, 15_000, 30_000} {
			for _, pattern := range []*match.Program{nil, compile(t, p)} {
				q := Query{Topic: "web", Range: Range{From: all[100].ID, To: all[19_900].ID}, Limit: limit, Newest: newest, Pattern: pattern}
				var want []querytest.Entry
				for _, e := range all[100:19_900] {
					if pattern == nil || e.Text != "another" {
						want = append(want, e)
					}
				}
				if newest {
					slices.Reverse(want)
				}
				want = want[:min(int(limit), len(want))]
				have, ans := ask(t, newEngine(t, Config{Bucket: mem}), q)
				same(t, want, have)
				if ans.Count != int64(len(want)) {
					t.Errorf("count %d, want %d", ans.Count, len(want))
				}
			}
		}
	}
}

// What is in flight stays within the budget, but for one block for each segment that overlaps.
func TestBudget(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	var all []querytest.Entry
	const segments = 30
	for i := range segments {
		part := lines(uint64(i), querytest.Day0, 400)
		all = append(all, part...)
		querytest.Store(t, mem, "web", 0, 1000, part)
	}
	slices.SortFunc(all, querytest.ByID)
	for _, max := range []int64{1, 10_000, 1 << 20} {
		for _, newest := range []bool{false, true} {
			e := newEngine(t, Config{Bucket: mem, MaxBytes: max, Workers: 2})
			have, _ := ask(t, e, Query{Topic: "web", Range: everything(), Newest: newest})
			if newest {
				slices.Reverse(have)
			}
			same(t, all, have)
		}
	}
}

func TestBudgetAdmits(t *testing.T) {
	b := budget{max: 10, soft: 10, cond: sync.NewCond(&sync.Mutex{})}
	ctx, cancel := context.WithCancel(t.Context())
	must := func(n int64) {
		t.Helper()
		if err := b.acquire(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	must(100) // nothing else is in
	in := make(chan struct{})
	go func() { _ = b.acquire(ctx, 5); close(in) }()
	b.release(90)
	select {
	case <-in:
		t.Fatal("15 of 10 admitted")
	default:
	}
	b.release(5)
	<-in
	// Someone waits for what is not started.
	what, ch := new(int), make(chan struct{})
	b.hurry(what, ch)
	must(1000)
	must(1000)
	close(ch)
	b.started(what)
	b.hurry(what, ch) // started already: no hurry
	done := make(chan error)
	go func() { done <- b.acquire(ctx, 1) }()
	cancel()
	b.wake()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
}

// Whenever it is cut off, a query ends at once, with the context's error, and leaves nothing running.
func TestCancel(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	for i := range 40 {
		querytest.Store(t, mem, "web", 0, 300, lines(uint64(i), querytest.Day0.Add(time.Duration(i)*time.Second), 100))
	}
	for n := range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
			if calls.Add(1) >= int64(n) {
				cancel()
				<-ctx.Done() // and hangs for as long as it may
				return 0, ctx.Err()
			}
			return mem.Get(ctx, key, off, p)
		}}
		_, err := newEngine(t, Config{Bucket: b, MaxBytes: 2000}).Run(ctx, Query{Topic: "web", Range: everything()}, func(Record) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d reads: %v", n, err)
		}
		cancel()
	}
	// While records are put out.
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := newEngine(t, Config{Bucket: mem}).Run(ctx, Query{Topic: "web", Range: everything()}, func(Record) error {
		if n++; n == 50 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n >= 4000 {
		t.Errorf("%d records, %v", n, err)
	}
	// The sink fails.
	cause := errors.New("no room")
	if _, err := newEngine(t, Config{Bucket: mem}).Run(t.Context(), Query{Topic: "web", Range: everything()}, func(Record) error { return cause }); !errors.Is(err, cause) {
		t.Errorf("have %v", err)
	}
	// The sink has enough.
	if ans, err := newEngine(t, Config{Bucket: mem}).Run(t.Context(), Query{Topic: "web", Range: everything()}, func(Record) error { return segment.ErrStop }); err != nil || ans.Count != 1 {
		t.Errorf("%+v %v", ans, err)
	}
}

func TestStats(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	inside := lines(1, querytest.Day0, 400)
	querytest.Store(t, b, "web", 0, 1000, inside)
	querytest.Store(t, b, "web", 0, 0, lines(2, querytest.Day0.Add(5*time.Hour), 10))
	querytest.Store(t, b, "web", 0, 0, lines(3, querytest.Day0.Add(50*time.Minute), 10))
	var ticks atomic.Int64
	e := newEngine(t, Config{Bucket: b, Now: func() time.Time { return querytest.Day0.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }})
	q := Query{Topic: "web", Range: Range{inside[100].ID, inside[200].ID}, Pattern: compile(t, match.Pattern{Texts: []string{"record 15"}})}
	have, ans := ask(t, e, q)
	want, _ := naive(inside, q, match.Pattern{Texts: []string{"record 15"}})
	same(t, want, have)
	s := ans.Stats
	if s.Segments != (SegmentStats{Listed: 2, InRange: 1, Opened: 1, Sifted: 1}) {
		t.Errorf("segments: %+v", s.Segments)
	}
	if s.Blocks.Total < 8 || s.Blocks.OutOfRange+s.Blocks.Pruned+s.Blocks.Read != s.Blocks.Total || s.Blocks.Pruned == 0 || s.Blocks.Matched == 0 || s.Blocks.Matched > s.Blocks.Read {
		t.Errorf("blocks: %+v", s.Blocks)
	}
	if s.Records.Found != 10 || s.Records.Scanned < 10 || s.Records.Scanned > 250 {
		t.Errorf("records: %+v", s.Records)
	}
	if s.Requests.Lists != 2 || s.Requests.Gets != 1 || s.Requests.Fetched == 0 || s.Requests.Decoded < 10*20 {
		t.Errorf("requests: %+v", s.Requests)
	}
	if s.Time.List <= 0 || s.Time.Open <= 0 || s.Time.Decode <= 0 || s.Time.Match <= 0 || s.Time.First <= 0 || s.Time.Total <= s.Time.First {
		t.Errorf("times: %+v", s.Time)
	}
}

// Neighbouring blocks come in one read; a small segment comes with its tail.
func TestFewReads(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	rnd := rand.New(rand.NewPCG(5, 6))
	all := lines(1, querytest.Day0, 3000)
	for i := range all {
		p := make([]byte, 600)
		for k := range p {
			p[k] = byte('!' + rnd.IntN(90))
		}
		all[i].Text = string(p)
	}
	querytest.Store(t, mem, "web", 0, 64<<10, all)
	for _, newest := range []bool{false, true} {
		var mu sync.Mutex
		var sizes []int
		b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
			mu.Lock()
			sizes = append(sizes, len(p))
			mu.Unlock()
			return mem.Get(ctx, key, off, p)
		}}
		have, ans := ask(t, newEngine(t, Config{Bucket: b}), Query{Topic: "web", Range: everything(), Newest: newest})
		if newest {
			slices.Reverse(have)
		}
		same(t, all, have)
		if ans.Stats.Blocks.Read < 20 || len(sizes) > 4 || slices.Max(sizes) > readSize {
			t.Errorf("%d blocks in reads of %v bytes", ans.Stats.Blocks.Read, sizes)
		}
		if ans.Stats.Requests.Gets != len(sizes) {
			t.Errorf("%d reads, %d counted", len(sizes), ans.Stats.Requests.Gets)
		}
	}
}

var _ io.ReaderAt = bytesAt(nil)

// What a query meets again after a new listing is told once.
func TestProblemsAreToldOnce(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	torn := querytest.Store(t, mem, "web", 0, 0, lines(1, querytest.Day0, 100))[0]
	replace(t, mem, torn, content(t, mem, torn)[:300])
	replace(t, mem, "web/2026-11-20/00/notes.txt", []byte("foreign"))
	gone := querytest.Store(t, mem, "web", 0, 0, lines(2, querytest.Day0.Add(time.Second), 100))[0]
	b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		if key == gone {
			return 0, objstore.ErrNotFound
		}
		return mem.Get(ctx, key, off, p)
	}}
	ans, err := newEngine(t, Config{Bucket: b}).Run(t.Context(), Query{Topic: "web", Range: everything(), CountOnly: true}, nil)
	if err != nil || len(ans.Problems) != 3 || ans.Stats.Listings != 2 {
		t.Errorf("%v, %d listings: %v", err, ans.Stats.Listings, ans.Problems)
	}
}
