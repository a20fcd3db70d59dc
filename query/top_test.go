package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/querytest"
	"oklog/query/where"
)

func parsePath(t testing.TB, text string) where.Path {
	t.Helper()
	p, err := where.ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The most frequent values are those that counting all of them gives.
func TestTop(t *testing.T) {
	rnd := rand.New(rand.NewPCG(21, 22))
	all := querytest.World(rnd, 700, 20)
	all = slices.DeleteFunc(all, func(e querytest.Entry) bool { return e.Piece != 0 }) // see TestTopOfPieces
	said := withFields(rnd, all)
	b := objstore.NewMemory("test", time.Now)
	e := newEngine(t, Config{Bucket: b, Hot: scatter(t, rnd, b, "web", all)})
	f := func(path string, q Query, field func(fields) string) {
		t.Helper()
		q.Topic = "web"
		counts := map[string]int64{}
		var with, lacking int64
		for _, e := range all {
			if e.ID.Compare(q.Range.From) < 0 || e.ID.Compare(q.Range.To) >= 0 || q.Where != nil && !q.Where.Matcher().Match([]byte(e.Text)) {
				continue
			}
			if v := field(saidBy(said, e.Text)); v != "" {
				counts[v]++
				with++
			} else {
				lacking++
			}
		}
		var want []ValueCount
		for v, n := range counts {
			want = append(want, ValueCount{Value: v, Count: n})
		}
		slices.SortFunc(want, func(a, b ValueCount) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
		})
		for _, n := range []int{1, 3, 1000} {
			have, err := Top(t.Context(), e, q, parsePath(t, path), n)
			if err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(want[:min(n, len(want))], have.Values); d != "" {
				t.Errorf("%s: %s", path, d)
			}
			if have.With != with || have.Lacking != lacking || have.Distinct != int64(len(counts)) || have.Approximate || have.MaxError != 0 || have.Answer.Count != with+lacking {
				t.Errorf("%s: %+v, want %d with the field, %d without, %d values", path, have, with, lacking, len(counts))
			}
		}
	}
	user := func(f fields) string { return f.user }
	f("user.name", Query{Range: everything()}, user)
	f("user.name", Query{Range: randomRange(rnd, all), Newest: true}, user)
	f("level", Query{Range: everything(), CountOnly: true, Where: parseWhere(t, "user.name=~/^rare/ or status=250")}, func(f fields) string { return f.level })
}

func TestTopOfPieces(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	all := lines(1, querytest.Day0, 4)
	for i := range all {
		all[i].ID = segment.MakeID(uint64(querytest.Day0.UnixMilli()), 1, uint32(i))
		all[i].Text = fmt.Sprintf(`{"tags":["a","b%d","a"]}`, i)
	}
	all[1].Piece, all[2].Piece = segment.Continued, segment.Continues
	querytest.Store(t, b, "web", 0, 0, all)
	e := newEngine(t, Config{Bucket: b})
	have, err := Top(t.Context(), e, Query{Topic: "web", Range: everything()}, parsePath(t, "tags[]"), 2)
	if err != nil || have.With != 3 || have.Answer.Count != 3 {
		t.Fatalf("have %+v, %v", have, err)
	}
	if d := gocmp.Diff([]ValueCount{{Value: "a", Count: 3}, {Value: "b0", Count: 1}}, have.Values); d != "" {
		t.Error(d)
	}
	if _, err := Top(t.Context(), e, Query{Topic: "web", Range: everything()}, parsePath(t, "tags[]"), 0); err == nil {
		t.Error("the 0 most frequent values")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if have, err := Top(ctx, e, Query{Topic: "web", Range: everything()}, parsePath(t, "x"), 1); !errors.Is(err, context.Canceled) || have == nil {
		t.Errorf("have %v, %v", have, err)
	}
}

// Beyond its memory a tally is as wrong as it says, and no more.
func TestTallyIsBounded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(31, 32))
	for _, max := range []int64{1, 2_000, 20_000, 1 << 30} {
		tally := newTally(max)
		zipf := rand.NewZipf(rnd, 1.2, 1, 5000)
		exact := map[string]int64{}
		for range 50_000 {
			v := fmt.Sprintf("value %d", zipf.Uint64())
			exact[v]++
			tally.record++
			tally.add([]byte(v))
			if tally.size > max {
				t.Fatalf("%d bytes of %d", tally.size, max)
			}
		}
		for v, n := range exact {
			c := tally.counts[v]
			if c == nil && n > tally.floor {
				t.Fatalf("max %d: %s is lacking, was there %d times: more than %d", max, v, n, tally.floor)
			}
			if c != nil && (c.Count > n || c.Count+c.MaxError < n || c.MaxError > tally.floor) {
				t.Fatalf("max %d: %s: %+v, of %d", max, v, *c, n)
			}
		}
		if exactly := tally.floor == 0; exactly != (max == 1<<30) {
			t.Errorf("max %d: floor %d", max, tally.floor)
		}
		if max == 20_000 && (len(tally.top(3)) != 3 || tally.top(3)[0].Value != "value 0") {
			t.Errorf("have %v", tally.top(3))
		}
	}
}
