package query

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/match"
)

// shown is what a query with context puts out.
type shown struct {
	entry
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
	return mark + s.entry.String()
}

func show2(t testing.TB, run func(Query, func(Record) error) (*Answer, error), q Query) ([]shown, *Answer) {
	t.Helper()
	var got []shown
	ans, err := run(q, func(r Record) error {
		got = append(got, shown{entry{r.ID, r.Source, string(r.Text), r.Piece}, r.Context, r.Apart})
		return nil
	})
	if err != nil {
		t.Fatalf("query %+v: %v", q, err)
	}
	return got, ans
}

// naiveContext is what a query with context has to answer.
func naiveContext(all []entry, q Query, p match.Pattern) (want []shown, count int64) {
	matches, _ := naive(all, Query{Range: q.Range, Newest: q.Newest}, p)
	matches = slices.DeleteFunc(matches, func(e entry) bool { return q.Sources != nil && !q.Sources.Match(e.source) })
	found := map[string]bool{}
	for i, e := range matches {
		joined := false
		if i > 0 {
			a, b := matches[i-1], e
			if q.Newest {
				a, b = b, a
			}
			joined = a.piece&segment.Continued != 0 && b.piece&segment.Continues != 0 && segment.After(a.id) == b.id
		}
		if !joined {
			if q.Limit > 0 && count == q.Limit {
				break
			}
			count++
		}
		found[e.id.String()] = true
	}
	all = slices.Clone(all)
	all = slices.DeleteFunc(all, func(e entry) bool { return e.id.Compare(q.Range.From) < 0 || e.id.Compare(q.Range.To) >= 0 })
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
		l := lanes[e.source.String()]
		if l == nil {
			l = &lane{}
			lanes[e.source.String()] = l
		}
		switch {
		case found[e.id.String()]:
			from := max(0, len(l.seen)-lead)
			l.gap = l.gap || from > 0
			for _, s := range l.seen[from:] {
				put(l, s)
			}
			l.seen = nil
			put(l, shown{entry: e})
			l.owed = trail
		case l.owed > 0:
			l.owed--
			put(l, shown{entry: e, context: true})
		default:
			l.seen = append(l.seen, shown{entry: e, context: true})
		}
	}
	return want, count
}

func sameShown(t testing.TB, want, have []shown) {
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

// fewSources makes some sessions the same source's.
func fewSources(rnd *rand.Rand, all []entry) []segment.Source {
	var sources []segment.Source
	for i := range 1 + rnd.IntN(3) {
		s, _ := segment.ParseSource([]string{fmt.Sprintf("host=h%d", i), "job=test"})
		sources = append(sources, s)
	}
	of := map[uint64]segment.Source{}
	for i := range all {
		_, session, _ := segment.SplitID(all[i].id)
		if of[session] == nil {
			of[session] = sources[rnd.IntN(len(sources))]
		}
		all[i].source = of[session]
	}
	return sources
}

// Context over any layout of segments and batches is what it is over a list of all records.
func TestContextOracle(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 7))
			all := world(rnd, 50+rnd.IntN(800))
			fewSources(rnd, all)
			b := objstore.NewMemory("test", time.Now)
			hot := scatter(t, rnd, b, "web", all)
			cfg := Config{Bucket: b, Hot: hot, Workers: 1 + rnd.IntN(4), Fetches: 1 + rnd.IntN(8), MaxBytes: []int64{1, 50_000, 0}[rnd.IntN(3)]}
			if len(hot.bodies) == 0 {
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
				have, ans := show2(t, run, q)
				sameShown(t, want, have)
				if ans.Partial() || ans.Count != count || ans.Stats.Records.Found != int64(len(want)) {
					t.Fatalf("%+v %+v: count %d, want %d; found %d, want %d; %v", q, p, ans.Count, count, ans.Stats.Records.Found, len(want), ans.Problems)
				}
			}
		})
	}
}
