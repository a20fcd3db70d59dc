package query

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/querytest"
)

// compacting is a bucket in which all is compacted, into the keys returned by into, before the when-th read.
func compacting(t *testing.T, mem objstore.Bucket, keys []string, when int, into func()) objstore.Bucket {
	var mu sync.Mutex
	gets := 0
	return &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if gets++; gets == when {
			into()
			for _, k := range keys {
				if err := mem.Delete(context.Background(), k); err != nil {
					t.Error(err)
				}
			}
		}
		return mem.Get(ctx, key, off, p)
	}}
}

// An estimate tells what the query then reads, block for block and request for request.
func TestEstimateIsWhatIsRead(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 31))
			all := querytest.World(rnd, 100+rnd.IntN(800), 20)
			b := objstore.NewMemory("test", time.Now)
			hot := scatter(t, rnd, b, "web", all)
			e := newEngine(t, Config{Bucket: b, Hot: hot, Workers: 1 + rnd.IntN(3)})
			for range 12 {
				p := randomPattern(rnd, all)
				q := Query{Topic: "web", Range: randomRange(rnd, all), Pattern: compile(t, p), Brute: rnd.IntN(4) == 0}
				if rnd.IntN(3) == 0 {
					q.Sources, _ = ParseSources([]string{"host!=h0"})
				}
				est, err := e.Estimate(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				_, ans := ask(t, e, q)
				want, have := ans.Stats, est.Answer.Stats
				reads := int64(have.Requests.Gets + est.Reads)
				if est.Blocks != want.Blocks.Read || est.Records != want.Records.Scanned || est.Text != want.Requests.Decoded || reads != int64(want.Requests.Gets) ||
					have.Requests.Fetched+est.Bytes < want.Requests.Fetched || est.Segments > want.Segments.Opened+want.Segments.HotUsed {
					t.Fatalf("%+v %+v: estimate %+v (and %+v), read %+v", q, p, est, have, want)
				}
				want.Blocks.Read, want.Blocks.Matched = 0, 0
				if have.Blocks != want.Blocks || have.Segments != want.Segments || have.Requests.Hot != want.Requests.Hot ||
					est.Answer.Required != ans.Required || est.Answer.Sieved != ans.Sieved || est.Answer.Partial() {
					t.Fatalf("%+v %+v: estimate %+v, query %+v", q, p, est.Answer, ans)
				}
			}
		})
	}
}

// What a query reads more of than is allowed is told by the same numbers.
func TestEstimateAndMaxBytes(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 1, 2000, lines(1, querytest.Day0, 3000))
	e := newEngine(t, Config{Bucket: b, Cache: smallCache(t)})
	q := Query{Topic: "web", Range: everything(), MaxBytes: 10}
	est, err := e.Estimate(t.Context(), q)
	if err != nil || est.Bytes == 0 {
		t.Fatal(est, err)
	}
	_, err = e.Run(t.Context(), q, func(Record) error { return nil })
	if much, ok := errors.AsType[*TooMuchError](err); !ok || much.Bytes < est.Bytes || much.Segments != est.Segments {
		t.Errorf("estimate %+v, and %v", est, err)
	}
}

// Compacted underway, nothing counts twice.
func TestSurveyCompactedUnderway(t *testing.T) {
	for _, when := range []int{1, 4, 9} {
		all := querytest.World(rand.New(rand.NewPCG(uint64(when), 9)), 500, 20)
		// engine has a bucket that is compacted at that read.
		engine := func() *Engine {
			mem := objstore.NewMemory("test", time.Now)
			var keys []string
			for chunk := range slices.Chunk(all, 100) {
				keys = append(keys, querytest.Store(t, mem, "web", 0, 500, chunk)...)
			}
			return newEngine(t, Config{Bucket: compacting(t, mem, keys, when, func() { querytest.Store(t, mem, "web", 1, 900, all) })})
		}
		q := Query{Topic: "web", Range: everything()}
		est, err := engine().Estimate(t.Context(), q)
		if err != nil || est.Records != int64(len(all)) || est.Answer.Partial() || est.Answer.Stats.Listings > 2 {
			t.Fatalf("compacted at read %d: %+v of %d records, %v", when, est, len(all), err)
		}
		mem := objstore.NewMemory("test", time.Now)
		querytest.Store(t, mem, "web", 1, 900, all)
		want := sourcesIn(t, mem, &querytest.Batches{}, q)
		have, ans, err := engine().SourcesOf(t.Context(), q)
		if err != nil || len(have) != len(want) || ans.Partial() {
			t.Fatalf("compacted at read %d: %v, want %v: %v %v", when, have, want, err, ans.Problems)
		}
		for i := range have {
			if have[i].Sessions != want[i].Sessions || have[i].Source.String() != want[i].Source.String() {
				t.Errorf("compacted at read %d: %v, want %v", when, have[i], want[i])
			}
		}
	}
}

// Compacted underway, a histogram counts each record once.
func TestHistogramCompactedUnderway(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 19))
		mem := objstore.NewMemory("test", time.Now)
		all := querytest.World(rnd, 1000, 20)
		if seed%2 == 0 {
			for i := range all {
				all[i].Piece = 0 // whole runs count at once
			}
		}
		var keys []string
		for chunk := range slices.Chunk(all, 100) {
			keys = append(keys, querytest.Store(t, mem, "web", 0, 500, chunk)...)
		}
		b := compacting(t, mem, keys, 1+rnd.IntN(60), func() { querytest.Store(t, mem, "web", 1, 900, all) })
		h, err := Histogram(t.Context(), newEngine(t, Config{Bucket: b, MaxBytes: 3000, Fetches: 2}), Query{Topic: "web", Range: everything()}, Steps{Length: time.Hour})
		if diff := cmp.Diff(naiveBuckets(all, false, 0, time.Hour), h.Buckets); err != nil || diff != "" || h.Answer.Partial() {
			t.Fatalf("%v %v %s", err, h.Answer.Problems, diff)
		}
	}
}

// What cannot be read is told, and what can be counts.
func TestSurveyProblems(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	querytest.Store(t, mem, "web", 0, 0, lines(1, querytest.Day0, 300))
	torn := querytest.Store(t, mem, "web", 0, 0, lines(2, querytest.Day0.Add(time.Hour), 300))[0]
	replace(t, mem, torn, content(t, mem, torn)[:500])
	gone := querytest.Store(t, mem, "web", 0, 0, lines(3, querytest.Day0.Add(2*time.Hour), 300))[0]
	denied := querytest.Store(t, mem, "web", 0, 0, lines(4, querytest.Day0.Add(3*time.Hour), 300))[0]
	b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, key string, off int64, p []byte) (int, error) {
		switch key {
		case gone:
			return 0, objstore.ErrNotFound
		case denied:
			return 0, objstore.ErrDenied
		}
		return mem.Get(ctx, key, off, p)
	}}
	hot := &querytest.Batches{Bodies: [][]byte{[]byte("no segment")}}
	check := func(ans *Answer, err error) {
		t.Helper()
		if err != nil || len(ans.Problems) != 4 {
			t.Fatalf("%v, problems: %v", err, ans.Problems)
		}
		for key, is := range map[string]error{"": segment.ErrCorrupt, torn: segment.ErrCorrupt, gone: ErrGone, denied: objstore.ErrDenied} {
			if !slices.ContainsFunc(ans.Problems, func(p Problem) bool { return p.Key == key && errors.Is(p.Err, is) }) {
				t.Errorf("no problem about %q that is %v: %v", key, is, ans.Problems)
			}
		}
	}
	e := newEngine(t, Config{Bucket: b, Hot: hot})
	q := Query{Topic: "web", Range: everything()}
	est, err := e.Estimate(t.Context(), q)
	check(est.Answer, err)
	if est.Records != 300 {
		t.Errorf("%d records", est.Records)
	}
	sources, ans, err := e.SourcesOf(t.Context(), q)
	check(ans, err)
	if len(sources) != 1 || sources[0].Sessions != 1 || sources[0].Segments != 1 {
		t.Errorf("sources: %+v", sources)
	}
	h, err := Histogram(t.Context(), e, q, Steps{Length: time.Hour})
	check(h.Answer, err)
	if len(h.Buckets) != 1 || h.Buckets[0] != (Bucket{querytest.Day0, 300}) {
		t.Errorf("buckets: %v", h.Buckets)
	}
}

// A survey that cannot be done, or is given up, says so.
func TestSurveyFails(t *testing.T) {
	mem := objstore.NewMemory("test", time.Now)
	querytest.Store(t, mem, "web", 0, 0, lines(1, querytest.Day0, 300))
	ctx, cancel := context.WithCancel(t.Context())
	b := &bucketFunc{Bucket: mem, get: func(ctx context.Context, _ string, _ int64, _ []byte) (int, error) {
		cancel()
		<-ctx.Done()
		return 0, ctx.Err()
	}}
	e := newEngine(t, Config{Bucket: b})
	q := Query{Topic: "web", Range: everything()}
	if est, err := e.Estimate(ctx, q); !errors.Is(err, context.Canceled) || est.Answer == nil {
		t.Errorf("have %v", err)
	}
	if _, ans, err := e.SourcesOf(ctx, q); !errors.Is(err, context.Canceled) || ans == nil {
		t.Errorf("have %v", err)
	}
	q.Topic = "A B"
	if est, err := e.Estimate(t.Context(), q); !errors.Is(err, segment.ErrTopic) || est.Answer == nil {
		t.Errorf("have %v", err)
	}
	if _, ans, err := e.SourcesOf(t.Context(), q); !errors.Is(err, segment.ErrTopic) || ans == nil {
		t.Errorf("have %v", err)
	}
	hot := &querytest.Batches{Err: errors.New("stream is away")}
	if _, _, err := newEngine(t, Config{Bucket: mem, Hot: hot}).SourcesOf(t.Context(), Query{Topic: "web", Range: everything()}); !errors.Is(err, hot.Err) {
		t.Errorf("have %v", err)
	}
	if sources, ans, err := newEngine(t, Config{Bucket: mem}).SourcesOf(t.Context(), Query{Topic: "web"}); err != nil || len(sources) > 0 || ans.Count != 0 {
		t.Errorf("in an empty range: %v %v", sources, err)
	}
}

// sourcesIn are the sources of all segments and batches that have a block in the range, by decoding them.
func sourcesIn(t *testing.T, b objstore.Bucket, hot *querytest.Batches, q Query) []SourceInfo {
	t.Helper()
	bodies := slices.Clone(hot.Bodies)
	for info, err := range b.List(t.Context(), q.Topic+"/", "") {
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, content(t, b, info.Key))
	}
	dec, err := segment.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	type key struct {
		text    string
		session uint64
	}
	sessions := map[key]bool{}
	found := map[string]*SourceInfo{}
	for _, body := range bodies {
		seg, err := dec.Open(bytesAt(body), int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		touched := false
		here := map[string]segment.Source{}
		for _, info := range seg.Blocks {
			var blk segment.Block
			if err := dec.Block(&blk, seg, info, body[info.Offset:][:info.Size()]); err != nil {
				t.Fatal(err)
			}
			touched = touched || q.Range.Overlaps(blk.First(), blk.Last())
			for _, r := range blk.Runs {
				here[blk.Sources[r.Session].String()] = blk.Sources[r.Session]
			}
		}
		if !touched {
			continue
		}
		first, last := ulid.Time(seg.First().Time()).UTC(), ulid.Time(seg.Last().Time()).UTC()
		for session, source := range seg.Sources {
			sessions[key{source.String(), session}] = true
		}
		for text, source := range here {
			if q.Sources != nil && !q.Sources.Match(source) {
				continue
			}
			s := found[text]
			if s == nil {
				s = &SourceInfo{Source: source, First: first, Last: last}
				found[text] = s
			}
			if first.Before(s.First) {
				s.First = first
			}
			if last.After(s.Last) {
				s.Last = last
			}
			s.Segments++
		}
	}
	all := []SourceInfo{}
	for text, s := range found {
		for k := range sessions {
			if k.text == text {
				s.Sessions++
			}
		}
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b SourceInfo) int { return strings.Compare(a.Source.String(), b.Source.String()) })
	return all
}

func TestSourcesOracle(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 41))
			all := querytest.World(rnd, 100+rnd.IntN(500), 20)
			again := querytest.World(rnd, 100, 20) // the same sources in other sessions
			b := objstore.NewMemory("test", time.Now)
			hot := scatter(t, rnd, b, "web", append(all, again...))
			e := newEngine(t, Config{Bucket: b, Hot: hot})
			for range 12 {
				q := Query{Topic: "web", Range: randomRange(rnd, all), Pattern: compile(t, randomPattern(rnd, all))}
				if cond := []string{"", "host=h1", "host!=h0", "host=~h[12]"}[rnd.IntN(4)]; cond != "" {
					q.Sources, _ = ParseSources([]string{cond})
				}
				want := sourcesIn(t, b, hot, q)
				have, ans, err := e.SourcesOf(t.Context(), q)
				if err != nil || ans.Partial() || ans.Count != int64(len(want)) || ans.Stats.Blocks.Read > 0 || ans.Stats.Requests.Decoded > 0 {
					t.Fatalf("%v %+v", err, ans)
				}
				if diff := cmp.Diff(want, have); diff != "" {
					t.Fatalf("%+v: %s", q, diff)
				}
			}
		})
	}
}

// Sources whose texts look the same are told apart, and one without attributes is one, too.
func TestSourcesLookAlike(t *testing.T) {
	var all []querytest.Entry
	for i, pairs := range [][]string{{"a=1 b=2"}, {"a=1", "b=2"}, nil} {
		source, err := segment.ParseSource(pairs)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range lines(uint64(i+1), querytest.Day0, 3) {
			e.Source = source
			all = append(all, e)
		}
	}
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 0, 0, all)
	have, _, err := newEngine(t, Config{Bucket: b}).SourcesOf(t.Context(), Query{Topic: "web", Range: everything()})
	if err != nil || len(have) != 3 || len(have[0].Source) != 0 || have[2].Sessions != 1 {
		t.Errorf("%+v, %v", have, err)
	}
}

// Sources beyond the bound are left out, which is told.
func TestManySources(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	const n = 560
	value := strings.Repeat("x", segment.MaxAttrValue)
	var all []querytest.Entry
	for i := range n {
		var source segment.Source
		for k := range segment.MaxAttrs {
			source = append(source, segment.Attr{Key: fmt.Sprintf("%02d", k), Value: value})
		}
		source[0].Value = fmt.Sprint(i)
		e := lines(uint64(i+1), querytest.Day0.Add(time.Duration(i)*time.Minute), 1)[0]
		e.Source = source
		if all = append(all, e); len(all) == 50 || i == n-1 {
			querytest.Store(t, b, "web", 0, 0, all)
			all = nil
		}
	}
	have, ans, err := newEngine(t, Config{Bucket: b}).SourcesOf(t.Context(), Query{Topic: "web", Range: everything()})
	if err != nil || len(have) < 400 || len(have) == n || len(ans.Problems) != 1 || !errors.Is(ans.Problems[0].Err, ErrManySources) {
		t.Errorf("%d sources, %v, problems: %v", len(have), err, ans.Problems)
	}
}
