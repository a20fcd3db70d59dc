package query

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"oklog/query/match"
	"oklog/query/querytest"
	"oklog/query/where"
)

// A filter finds in blocks what a query finds in segments.
func TestFilterFindsWhatAQueryFinds(t *testing.T) {
	found := 0
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		all := querytest.World(rnd, 10+rnd.IntN(300), 20)
		q := Query{Topic: "t", Range: everything(), Limit: 1, Newest: true} // the last two do not matter to a filter
		if rnd.IntN(4) > 0 {
			q.Pattern = compile(t, randomPattern(rnd, all))
		}
		var err error
		if rnd.IntN(3) == 0 {
			if q.Sources, err = ParseSources([]string{fmt.Sprintf("host%sh%d", []string{"=", "!=", "=~", "!~"}[rnd.IntN(4)], rnd.IntN(3))}); err != nil {
				t.Fatal(err)
			}
		}
		if rnd.IntN(3) == 0 {
			if q.Where, err = where.Parse([]string{"status=500", "status>=300", "NOT status=200", "status=200 OR status=400"}[rnd.IntN(4)]); err != nil {
				t.Fatal(err)
			}
		}
		f := NewFilter(q)
		var have []string
		for rest := all; len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(60))
			for _, r := range f.Find(querytest.Block(rest[:n])) {
				have = append(have, fmt.Sprintf("%s %q {%s} %d", r.ID, r.Text, r.Source, r.Piece))
			}
			rest = rest[n:]
		}
		var want []string
		var search *match.Searcher
		if q.Pattern != nil {
			search = q.Pattern.Searcher()
		}
		for _, e := range all {
			if search != nil && !search.Match([]byte(e.Text)) || q.Sources != nil && !q.Sources.Match(e.Source) ||
				q.Where != nil && !q.Where.Matcher().Match([]byte(e.Text)) {
				continue
			}
			want = append(want, fmt.Sprintf("%s %q {%s} %d", e.ID, e.Text, e.Source, e.Piece))
		}
		if !slices.Equal(have, want) {
			t.Fatalf("seed %d: %d found, want %d:\n%q\n%q", seed, len(have), len(want), have, want)
		}
		found += len(have)
	}
	if found == 0 {
		t.Error("nothing was found")
	}
}
