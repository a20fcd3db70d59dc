package query

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/cache"
	"oklog/query/match"
	"oklog/query/querytest"
)

// regexps are a pattern's texts as regular expressions.
func regexps(p match.Pattern) (all []*regexp.Regexp) {
	for _, text := range p.Texts {
		if !p.Regex {
			text = regexp.QuoteMeta(text)
		}
		if p.IgnoreCase {
			text = "(?i)" + text
		}
		all = append(all, regexp.MustCompile(text))
	}
	return all
}

// naive is what a query has to answer.
func naive(all []querytest.Entry, q Query, p match.Pattern) (want []querytest.Entry, count int64) {
	res := regexps(p)
	for _, e := range all {
		if e.ID.Compare(q.Range.From) < 0 || e.ID.Compare(q.Range.To) >= 0 {
			continue
		}
		match := len(res) == 0
		for i, re := range res {
			if p.Regex || p.IgnoreCase {
				match = match || re.MatchString(e.Text)
			} else {
				match = match || strings.Contains(e.Text, p.Texts[i])
			}
		}
		if match != p.Invert {
			want = append(want, e)
		}
	}
	if q.Newest {
		slices.Reverse(want)
	}
	for i, e := range want {
		joined := false
		if i > 0 && !q.Newest {
			l := want[i-1]
			joined = l.Piece&segment.Continued != 0 && e.Piece&segment.Continues != 0 && segment.After(l.ID) == e.ID
		} else if i > 0 {
			l := want[i-1]
			joined = l.Piece&segment.Continues != 0 && e.Piece&segment.Continued != 0 && segment.After(e.ID) == l.ID
		}
		if !joined {
			count++
		}
	}
	return want, count
}

func randomPattern(rnd *rand.Rand, all []querytest.Entry) match.Pattern {
	texts := []string{"", "status=500", "Error", "line 1", "absent", "a\nb", "\n", "k", "GRÜSSE", "grüße", "KÖLN", "%d", "\x00", "ks", "K", "10.0.1.", "=", "sure %"}
	exprs := []string{"", "^$", "status=(500|200)$", "^line", "a.b", `(?s)a.b`, `(?m)^\tat`, `\d+\.\d+\.`, "[[:upper:]]rror", "x*", "^plain$", `\x{fffd}`, `connect (Error|error) [0-9a-f]+`, `status=(200|300) *$`, `l[ij]ne \d+ of [0-2]`}
	p := match.Pattern{Regex: rnd.IntN(3) == 0, IgnoreCase: rnd.IntN(3) == 0, Invert: rnd.IntN(4) == 0}
	for range rnd.IntN(3) {
		e := all[rnd.IntN(len(all))].Text
		from := rnd.IntN(len(e) + 1)
		part := e[from : from+rnd.IntN(min(len(e)-from, 24)+1)] // long enough for filters to matter
		switch {
		case p.Regex && rnd.IntN(2) == 0 && utf8.ValidString(part):
			p.Texts = append(p.Texts, regexp.QuoteMeta(part)+[]string{"", "[0-9]*", "(x|)", "$", ".* "}[rnd.IntN(5)])
		case p.Regex:
			p.Texts = append(p.Texts, exprs[rnd.IntN(len(exprs))])
		case rnd.IntN(2) == 0 && utf8.ValidString(part):
			p.Texts = append(p.Texts, part)
		default:
			p.Texts = append(p.Texts, texts[rnd.IntN(len(texts))])
		}
	}
	return p
}

func randomRange(rnd *rand.Rand, all []querytest.Entry) Range {
	any := func() (r Range) {
		a, b := all[rnd.IntN(len(all))].ID, all[rnd.IntN(len(all))].ID
		if a.Compare(b) > 0 {
			a, b = b, a
		}
		return Range{From: a, To: b}
	}
	switch rnd.IntN(5) {
	case 0:
		return everything()
	case 1:
		at := querytest.Day0.Add(time.Duration(rnd.Int64N(int64(4 * 24 * time.Hour))))
		return Range{From: segment.AtTime(at), To: segment.AtTime(at.Add(time.Duration(rnd.Int64N(int64(30 * time.Hour)))))}
	case 2:
		r := any()
		r.To = segment.After(r.From) // a single one
		return r
	default:
		return any()
	}
}

// compile makes a program of a pattern.
func compile(t testing.TB, p match.Pattern) *match.Program {
	t.Helper()
	m, err := match.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// smallCache holds a part of a test's world.
func smallCache(t testing.TB) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Config{Memory: 40_000, PageSize: 512})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// A query over any layout of segments and batches answers what a filter over all records does.
func TestOracle(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			all := querytest.World(rnd, 50+rnd.IntN(800), 20)
			b := objstore.NewMemory("test", time.Now)
			hot := scatter(t, rnd, b, "web", all)
			scatter(t, rnd, b, "web-2", querytest.World(rnd, 50, 20)) // not to be found
			cfg := Config{
				Bucket: b, Hot: hot, Workers: 1 + rnd.IntN(4), Fetches: 1 + rnd.IntN(8),
				MaxBytes: []int64{1, 5_000, 0}[rnd.IntN(3)],
			}
			if len(hot.Bodies) == 0 {
				cfg.Hot = nil
			}
			if rnd.IntN(2) == 0 {
				cfg.Cache = smallCache(t)
			}
			e := newEngine(t, cfg)
			for i := range 15 {
				p := randomPattern(rnd, all)
				q := Query{Topic: "web", Range: randomRange(rnd, all), Pattern: compile(t, p), Newest: rnd.IntN(2) == 0, Brute: rnd.IntN(3) == 0}
				want, count := naive(all, q, p)
				have, ans := ask(t, e, q)
				same(t, want, have)
				if ans.Partial() || ans.Count != count || ans.Stats.Records.Found != int64(len(want)) {
					t.Fatalf("%+v %+v: count %d, want %d; %v", q, p, ans.Count, count, ans.Problems)
				}
				q.CountOnly = true
				if ans, err := e.Run(t.Context(), q, nil); err != nil || ans.Count != count {
					t.Fatalf("%+v %+v: counted %d, %v, want %d", q, p, ans.Count, err, count)
				}
				q.Limit = 1 + rnd.Int64N(20)
				if ans, err := e.Run(t.Context(), q, nil); err != nil || ans.Count != min(count, q.Limit) {
					t.Fatalf("%+v %+v: counted %d, %v, want %d", q, p, ans.Count, err, min(count, q.Limit))
				}
				q.CountOnly = false
				have, ans = ask(t, e, q)
				if ans.Count != min(count, q.Limit) {
					t.Fatalf("limit %d: count %d of %d", q.Limit, ans.Count, count)
				}
				same(t, want[:len(have)], have)
				if i == 0 {
					page(t, e, q, want)
				}
			}
		})
	}
}

// page reads an answer in pages, the last ULID of one being the bound of the next.
func page(t *testing.T, e *Engine, q Query, want []querytest.Entry) {
	t.Helper()
	var have []querytest.Entry
	for {
		got, _ := ask(t, e, q)
		if len(got) == 0 {
			break
		}
		have = append(have, got...)
		last := got[len(got)-1].ID
		if q.Newest {
			q.Range.To = last
		} else {
			q.Range.From = segment.After(last)
		}
		if len(have) > 100 {
			same(t, want[:len(have)], have)
			return
		}
	}
	same(t, want, have)
}
