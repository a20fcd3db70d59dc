package spread

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/query"
	"oklog/query/match"
	"oklog/query/querytest"
)

// randomQuery draws what is asked, but for the range.
func randomQuery(t testing.TB, rnd *rand.Rand, all []querytest.Entry) query.Query {
	q := query.Query{Topic: "web", Range: randomRange(rnd, all), Newest: rnd.IntN(2) == 0, CountOnly: rnd.IntN(3) == 0, Brute: rnd.IntN(4) == 0}
	if rnd.IntN(3) == 0 {
		q.Limit = 1 + rnd.Int64N(60)
	}
	switch rnd.IntN(4) {
	case 0:
		q.Pattern = pattern(t, "Error")
	case 1:
		m, err := match.Compile(match.Pattern{Texts: []string{"status=500"}, Invert: true})
		if err != nil {
			t.Fatal(err)
		}
		q.Pattern = m
	case 2:
		q.Pattern = pattern(t, all[rnd.IntN(len(all))].Text)
	}
	return q
}

// A query that is spread answers what an engine does by itself.
func TestOracle(t *testing.T) {
	url := natsServer(t)
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			all := querytest.World(rnd, 500+rnd.IntN(3000), 5)
			b := objstore.NewMemory("test", time.Now)
			hot := scatter(t, rnd, b, "web", all)
			members := 2 + rnd.IntN(3)
			var first *Spreader
			var local *query.Engine
			for i := range members {
				cfg := small(url)
				cfg.Group = fmt.Sprint("oracle ", seed)
				cfg.BufferBytes = []int64{1, 300_000, 0}[rnd.IntN(3)]
				cfg.Engine = newEngine(t, query.Config{Bucket: b, Hot: hot, Workers: 1})
				s := join(t, url, cfg)
				if i == 0 {
					first, local = s, cfg.Engine
				}
			}
			knows(t, first, members)
			for i := range 25 {
				q := randomQuery(t, rnd, all)
				q.IDsOnly = !q.CountOnly && rnd.IntN(4) == 0
				want, have := ask(t.Context(), local, q), ask(t.Context(), first, q)
				if d := differ(want, have); d != "" || want.err != nil {
					t.Fatalf("query %d %+v: %s %v", i, q, d, want.err)
				}
				const step = time.Hour
				one, err := query.Histogram(t.Context(), local, q, query.Steps{Length: step})
				if err != nil {
					t.Fatal(err)
				}
				if all, err := query.Histogram(t.Context(), first, q, query.Steps{Length: step}); err != nil || !slices.Equal(one.Buckets, all.Buckets) || one.Answer.Count != all.Answer.Count {
					t.Fatalf("query %d %+v: by time %d records, want %d, %v", i, q, all.Answer.Count, one.Answer.Count, err)
				}
			}
		})
	}
}
