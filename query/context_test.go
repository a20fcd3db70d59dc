package query

import (
	"context"
	"errors"
	"fmt"
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

// shown is what a query with context puts out.
type shown struct {
	querytest.Entry
	context, apart bool
}

func (s shown) String() string {
	mark := ":"
	if s.context {
		mark = "-"
	}
	if s.apart {
		mark = "--\n" + mark
	}
	return mark + s.Entry.String()
}

func showAll(t testing.TB, run func(Query, func(Record) error) (*Answer, error), q Query) ([]shown, *Answer) {
	t.Helper()
	var got []shown
	ans, err := run(q, func(r Record) error {
		got = append(got, shown{querytest.EntryOf(r.Record), r.Context, r.Apart})
		return nil
	})
	if err != nil {
		t.Fatalf("query %+v: %v", q, err)
	}
	return got, ans
}

// naiveContext is what a query with context has to answer.
func naiveContext(all []querytest.Entry, q Query, p match.Pattern) (want []shown, count int64) {
	matches, _ := naive(all, Query{Range: q.Range, Newest: q.Newest}, p)
	matches = slices.DeleteFunc(matches, func(e querytest.Entry) bool { return q.Sources != nil && !q.Sources.Match(e.Source) })
	found := map[string]bool{}
	for i, e := range matches {
		joined := false
		if i > 0 {
			a, b := matches[i-1], e
			if q.Newest {
				a, b = b, a
			}
			joined = a.Piece&segment.Continued != 0 && b.Piece&segment.Continues != 0 && segment.After(a.ID) == b.ID
		}
		if !joined {
			if q.Limit > 0 && count == q.Limit {
				break
			}
			count++
		}
		found[e.ID.String()] = true
	}
	all = slices.Clone(all)
	all = slices.DeleteFunc(all, func(e querytest.Entry) bool { return e.ID.Compare(q.Range.From) < 0 || e.ID.Compare(q.Range.To) >= 0 })
	lead, trail := q.Before, q.After
	if q.Newest {
		slices.Reverse(all)
		lead, trail = trail, lead
	}
	type lane struct {
		seen  []shown // not put out
		gap   bool    // something was left out
		owed  int
		begun bool
	}
	lanes := map[string]*lane{}
	put := func(l *lane, s shown) {
		s.apart = len(want) > 0 && (l.gap || !l.begun)
		l.gap, l.begun = false, true
		want = append(want, s)
	}
	for _, e := range all {
		l := lanes[e.Source.String()]
		if l == nil {
			l = &lane{}
			lanes[e.Source.String()] = l
		}
		switch {
		case found[e.ID.String()]:
			from := max(0, len(l.seen)-lead)
			l.gap = l.gap || from > 0
			for _, s := range l.seen[from:] {
				put(l, s)
			}
			l.seen = nil
			put(l, shown{Entry: e})
			l.owed = trail
		case l.owed > 0:
			l.owed--
			put(l, shown{Entry: e, context: true})
		default:
			l.seen = append(l.seen, shown{Entry: e, context: true})
		}
	}
	return want, count
}

func sameShown(t testing.TB, want, have []shown) {
	t.Helper()
	equal := func(a, b shown) bool {
		return a.ID == b.ID && slices.Equal(a.Source, b.Source) && a.Text == b.Text && a.Piece == b.Piece && a.context == b.context && a.apart == b.apart
	}
	for i := range max(len(want), len(have)) {
		w, h := "nothing", "nothing"
		switch {
		case i < len(want) && i < len(have) && equal(want[i], have[i]):
			continue
		case i < len(want):
			w = want[i].String()
		}
		if i < len(have) {
			h = have[i].String()
		}
		t.Fatalf("record %d of %d: want %.300s, have %.300s (of %d)", i, len(want), w, h, len(have))
	}
}

// fewSources makes some sessions the same source's.
func fewSources(rnd *rand.Rand, all []querytest.Entry) []segment.Source {
	var sources []segment.Source
	for i := range 1 + rnd.IntN(3) {
		s, _ := segment.ParseSource([]string{fmt.Sprintf("host=h%d", i), "job=test"})
		sources = append(sources, s)
	}
	of := map[uint64]segment.Source{}
	for i := range all {
		_, session, _ := segment.SplitID(all[i].ID)
		if of[session] == nil {
			of[session] = sources[rnd.IntN(len(sources))]
		}
		all[i].Source = of[session]
	}
	return sources
}

// mixed makes records of sources that go on at the same time.
func mixed(rnd *rand.Rand, n int) (all []querytest.Entry) {
	sources := 2 + rnd.IntN(4)
	for s := range sources {
		session := rnd.Uint64N(segment.MaxSession)
		ms := uint64(querytest.Day0.UnixMilli()) + 23*3600*1000
		step := uint64(1) << rnd.IntN(20)
		for i := range n / sources {
			ms += rnd.Uint64N(step)
			all = append(all, querytest.Entry{ID: segment.MakeID(ms, session, uint32(i)), Text: fmt.Sprintf("line %d of %d status=%d", i, s, 200+100*rnd.IntN(4))})
		}
	}
	slices.SortFunc(all, querytest.ByID)
	return all
}

// Context over any layout of segments and batches is what it is over a list of all records.
func TestContextOracle(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 7))
			all := querytest.World(rnd, 50+rnd.IntN(800), 20)
			if seed%2 == 1 {
				all = mixed(rnd, 50+rnd.IntN(800))
			}
			fewSources(rnd, all)
			b := objstore.NewMemory("test", time.Now)
			hot := scatter(t, rnd, b, "web", all)
			cfg := Config{Bucket: b, Hot: hot, Workers: 1 + rnd.IntN(4), Fetches: 1 + rnd.IntN(8), MaxBytes: []int64{1, 50_000, 0}[rnd.IntN(3)]}
			if len(hot.Bodies) == 0 {
				cfg.Hot = nil
			}
			if rnd.IntN(2) == 0 {
				cfg.Cache = smallCache(t)
			}
			e := newEngine(t, cfg)
			for range 20 {
				p := randomPattern(rnd, all)
				q := Query{Topic: "web", Range: randomRange(rnd, all), Pattern: compile(t, p), Newest: rnd.IntN(2) == 0, Brute: rnd.IntN(3) == 0,
					Before: rnd.IntN(4), After: rnd.IntN(4)}
				if rnd.IntN(8) == 0 {
					q.Before = rnd.IntN(MaxContext)
				}
				if rnd.IntN(3) == 0 {
					q.Limit = 1 + rnd.Int64N(20)
				}
				if rnd.IntN(4) == 0 {
					q.Sources, _ = ParseSources([]string{"host=h0"})
				}
				if q.Before+q.After == 0 {
					q.After = 1
				}
				want, count := naiveContext(all, q, p)
				run := func(q Query, emit func(Record) error) (*Answer, error) { return e.Run(t.Context(), q, emit) }
				if rnd.IntN(3) == 0 {
					run = func(q Query, emit func(Record) error) (*Answer, error) {
						return RunContext(t.Context(), e, newEngine(t, cfg), q, emit)
					}
				}
				have, ans := showAll(t, run, q)
				sameShown(t, want, have)
				if ans.Partial() || ans.Count != count || ans.Stats.Records.Found != int64(len(want)) {
					t.Fatalf("%+v %+v: count %d, want %d; found %d, want %d; %v", q, p, ans.Count, count, ans.Stats.Records.Found, len(want), ans.Problems)
				}
				if cfg.Hot != nil && ans.Stats.Segments.Hot != len(hot.Bodies) {
					t.Fatalf("%+v: %d batches are counted, want %d", q, ans.Stats.Segments.Hot, len(hot.Bodies))
				}
			}
		})
	}
}

func runner(t *testing.T, e *Engine) func(Query, func(Record) error) (*Answer, error) {
	return func(q Query, emit func(Record) error) (*Answer, error) { return e.Run(t.Context(), q, emit) }
}

// A compactor replaces segments under a running query with context.
func TestContextCompactedUnderway(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 10))
		mem := objstore.NewMemory("test", time.Now)
		all := querytest.World(rnd, 1000, 20)
		if seed%3 == 1 {
			all = mixed(rnd, 1000)
		}
		fewSources(rnd, all)
		var keys []string
		for chunk := range slices.Chunk(all, 100) {
			keys = append(keys, querytest.Store(t, mem, "web", 0, 500, chunk)...)
		}
		p := match.Pattern{Texts: []string{[]string{"Error", "status=500", "10.0.1.", "line 7"}[rnd.IntN(4)]}}
		q := Query{Topic: "web", Range: everything(), Newest: seed%2 == 1, Pattern: compile(t, p), Before: rnd.IntN(5), After: 1 + rnd.IntN(5)}
		b := compactedUnderway(t, mem, keys, all, rnd.Int64N(160))
		want, count := naiveContext(all, q, p)
		have, ans := showAll(t, runner(t, newEngine(t, Config{Bucket: b, MaxBytes: 3000, Fetches: 2})), q)
		sameShown(t, want, have)
		if ans.Partial() || ans.Count != count {
			t.Fatalf("count %d of %d, %v", ans.Count, count, ans.Problems)
		}
	}
}

// What cannot be read is a problem of the answer, told once, and the context is what there is besides.
func TestContextDamage(t *testing.T) {
	for _, newest := range []bool{false, true} {
		b := objstore.NewMemory("test", time.Now)
		one, two := lines(1, querytest.Day0, 300), lines(2, querytest.Day0.Add(10*time.Second), 300)
		for i := range two {
			two[i].Source = one[0].Source
		}
		querytest.Store(t, b, "web", 0, 2000, one)
		keys := querytest.Store(t, b, "web", 0, 2000, two)
		replace(t, b, keys[0], []byte("damaged"))
		p := match.Pattern{Texts: []string{one[150].Text}}
		q := Query{Topic: "web", Range: everything(), Newest: newest, Pattern: compile(t, p), Before: 200, After: 200}
		want, _ := naiveContext(one, q, p)
		have, ans := showAll(t, runner(t, newEngine(t, Config{Bucket: b})), q)
		sameShown(t, want, have)
		if len(ans.Problems) != 1 || ans.Problems[0].Key != keys[0] || !errors.Is(ans.Problems[0].Err, segment.ErrCorrupt) {
			t.Errorf("problems: %v", ans.Problems)
		}
	}
}

// A rare match costs as little with context as without: also where its source is silent for long, since only IDs are read then.
func TestContextCost(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	busy, _ := segment.ParseSource([]string{"host=busy"})
	quiet, _ := segment.ParseSource([]string{"host=quiet"})
	rnd := rand.New(rand.NewPCG(1, 3))
	var all []querytest.Entry
	for i := range 20_000 {
		e := querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(i), 1, uint32(i)), Source: busy, Text: fmt.Sprintf("%x some text %x", rnd.Uint64(), rnd.Uint64())}
		if i%2000 == 1000 {
			_, _, counter := segment.SplitID(e.ID)
			e.ID, e.Source = segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(i), 2, counter), quiet
		}
		all = append(all, e)
	}
	for chunk := range slices.Chunk(all, 5000) {
		querytest.Store(t, mem, "web", 1, 10_000, chunk)
	}
	e := newEngine(t, Config{Bucket: mem})
	for _, i := range []int{7777, 9000} {
		p := match.Pattern{Texts: []string{all[i].Text}}
		q := Query{Topic: "web", Range: everything(), Pattern: compile(t, p), Before: 2, After: 2}
		want, _ := naiveContext(all, q, p)
		have, ans := showAll(t, runner(t, e), q)
		sameShown(t, want, have)
		if len(want) != 5 || ans.Stats.Blocks.Read > 8 || ans.Stats.Blocks.Total < 80 || ans.Stats.Listings != 1 {
			t.Errorf("%d: %d records, %+v", i, len(want), ans.Stats)
		}
	}
	// The bound on what is read holds for context, too.
	q := Query{Topic: "web", Range: everything(), Before: 1, MaxBytes: 1000}
	if _, err := e.Run(t.Context(), q, func(Record) error { return nil }); err == nil {
		t.Error("no error")
	} else if _, ok := errors.AsType[*TooMuchError](err); !ok {
		t.Error(err)
	}
}

// Context larger than what is taken at once comes whole.
func TestContextLarge(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	source, _ := segment.ParseSource([]string{"host=h"})
	var all []querytest.Entry
	for i := range 120 {
		text := "small"
		if i >= 60 {
			text = strings.Repeat(fmt.Sprint(i), 200_000)
		}
		all = append(all, querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(i), 1, uint32(i)), Source: source, Text: text})
	}
	all[59].Text = "needle"
	querytest.Store(t, mem, "web", 0, 0, all)
	for _, newest := range []bool{false, true} {
		p := match.Pattern{Texts: []string{"needle"}}
		q := Query{Topic: "web", Range: everything(), Newest: newest, Pattern: compile(t, p), Before: 100, After: 100}
		want, _ := naiveContext(all, q, p)
		have, _ := showAll(t, runner(t, newEngine(t, Config{Bucket: mem})), q)
		if len(have) != 120 {
			t.Errorf("%d records", len(have))
		}
		sameShown(t, want, have)
	}
}

// The first match is put out, with what leads to it, while later objects cannot be read yet.
func TestContextStreams(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	var last string
	for i := range 10 {
		last = querytest.Store(t, mem, "web", 0, 0, lines(1, querytest.Day0.Add(time.Duration(i)*time.Hour), 100))[0]
	}
	first := make(chan struct{})
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
	n := 0
	q := Query{Topic: "web", Range: everything(), Before: 2, Idle: func() {
		if n == 900 {
			n++
			close(first)
		}
	}}
	if _, err := newEngine(t, Config{Bucket: b}).Run(t.Context(), q, func(Record) error { n++; return nil }); err != nil || n != 1001 {
		t.Errorf("%d records, %v", n, err)
	}
}

func TestContextEnds(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	for i := range 40 {
		querytest.Store(t, mem, "web", 0, 300, lines(1, querytest.Day0.Add(time.Duration(i)*time.Minute), 100))
	}
	q := Query{Topic: "web", Range: everything(), Before: 1, After: 1, Pattern: compile(t, match.Pattern{Texts: []string{"7"}})}
	for n := range 60 {
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
			if calls.Add(1) >= int64(n) {
				cancel()
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return mem.Get(ctx, key, off, p)
		}}
		if _, err := newEngine(t, Config{Bucket: b, MaxBytes: 2000}).Run(ctx, q, func(Record) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d reads: %v", n, err)
		}
		cancel()
	}
	e := newEngine(t, Config{Bucket: mem})
	cause := errors.New("no room")
	if _, err := e.Run(t.Context(), q, func(Record) error { return cause }); !errors.Is(err, cause) {
		t.Errorf("have %v", err)
	}
	n := 0
	ans, err := e.Run(t.Context(), q, func(Record) error {
		if n++; n == 3 {
			return segment.ErrStop
		}
		return nil
	})
	if err != nil || ans.Count == 0 || ans.Count > 3 || ans.Stats.Records.Found != 3 {
		t.Errorf("%+v %v", ans, err)
	}
	// Listings and batches that fail.
	failing := &bucketFunc{Bucket: mem}
	lists := 0
	failing.list = func(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
		if lists++; lists > 1 {
			return func(yield func(objstore.Info, error) bool) { yield(objstore.Info{}, cause) }
		}
		return mem.List(ctx, prefix, after)
	}
	if _, err := newEngine(t, Config{Bucket: failing}).Run(t.Context(), q, func(Record) error { return nil }); !errors.Is(err, cause) {
		t.Errorf("have %v", err)
	}
	if _, err := newEngine(t, Config{Bucket: mem, Hot: &querytest.Batches{Err: cause}}).Run(t.Context(), q, func(Record) error { return nil }); !errors.Is(err, cause) {
		t.Errorf("have %v", err)
	}
	q.CountOnly = true
	if ans, err := e.Run(t.Context(), q, nil); err != nil || ans.Count == 0 {
		t.Errorf("%+v %v", ans, err)
	}
	q.CountOnly, q.Before = false, -1
	for _, bad := range []Query{q, {Topic: "web", Before: MaxContext + 1}, {Topic: "a/b", After: 1}} {
		if ans, err := e.Run(t.Context(), bad, func(Record) error { return nil }); err == nil || ans == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

// A match that is not there any more when it is looked around is put out, with what is left around it.
func TestContextOfWhatHasGone(t *testing.T) {
	all := lines(1, querytest.Day0, 6)
	for i := range all {
		all[i].Text = []string{"x", "match 1", "x", "x", "match 2", "x"}[i]
	}
	q := Query{Topic: "web", Range: everything(), Pattern: compile(t, match.Pattern{Texts: []string{"match"}}), Before: 1}
	for _, deleted := range []bool{true, false} {
		mem := objstore.NewMemory("test", time.Now)
		querytest.Store(t, mem, "web", 0, 0, all[:3])
		second := querytest.Store(t, mem, "web", 0, 0, all[3:])[0]
		var mu sync.Mutex
		reads := 0
		b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
			if key != second {
				return mem.Get(ctx, key, off, p)
			}
			mu.Lock()
			defer mu.Unlock()
			if reads++; !deleted && reads >= 2 && reads <= 4 {
				return 0, errors.New("slow down")
			}
			n, err := mem.Get(ctx, key, off, p)
			if deleted && reads == 1 {
				if err := mem.Delete(ctx, second); err != nil {
					t.Error(err)
				}
			}
			return n, err
		}}
		have, ans := ask(t, newEngine(t, Config{Bucket: b}), q)
		same(t, []querytest.Entry{all[0], all[1], all[2], all[4]}, have)
		if ans.Count != 2 || ans.Partial() == deleted {
			t.Errorf("counted %d: %v", ans.Count, ans.Problems)
		}
	}
}
