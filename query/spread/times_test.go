package spread

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query"
	"oklog/query/querytest"
	"oklog/query/where"
)

// worldOfJSON is a world in which some records are objects.
func worldOfJSON(rnd *rand.Rand, n int) []querytest.Entry {
	all := querytest.World(rnd, n, 5)
	for i := range all {
		if rnd.IntN(3) > 0 {
			all[i].Text = []string{`{"status":200,"user":"ann"}`, `{"status":500,"user":"bob"}`, `{"status":404}`, `{"user":["ann","eve"]}`}[rnd.IntN(4)]
		}
	}
	return all
}

// Counts by time, and by value, are an engine's: with where-expressions, without texts, and through a network that loses messages.
func TestHistogramAndTop(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 8))
	all := worldOfJSON(rnd, 3000)
	// Many forwarders at once: pieces end between records of one millisecond.
	for session := range uint64(200) {
		for n := range uint32(3) {
			all = append(all, querytest.Entry{ID: segment.MakeID(uint64(querytest.Day0.UnixMilli())+uint64(n), 1000+session, n), Text: "at once, " + strings.Repeat("x", rnd.IntN(200))})
		}
	}
	slices.SortFunc(all, func(a, b querytest.Entry) int { return a.ID.Compare(b.ID) })
	b := objstore.NewMemory("test", time.Now)
	hot := scatter(t, rnd, b, "web", all)
	cfg := small("")
	cfg.beat, cfg.lost, cfg.unitTimes = 30*time.Millisecond, 200*time.Millisecond, 4
	members := group(t, 3, cfg, func(int) query.Config { return query.Config{Bucket: b, Hot: hot, Workers: 1} },
		func(i int, tr Transport) Transport {
			return &unsound{Transport: tr, rnd: rand.New(rand.NewPCG(uint64(i), 9)), loss: .03}
		})
	here, local := members[0], members[0].cfg.Engine
	expr, err := where.Parse("status>=400")
	if err != nil {
		t.Fatal(err)
	}
	user, err := where.ParsePath("user")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 24 {
		q := randomQuery(t, rnd, all)
		if i%3 == 0 {
			q.Where = expr
		}
		q.IDsOnly = i%4 == 0
		if d := differ(ask(t.Context(), local, q), ask(t.Context(), here, q)); d != "" {
			t.Fatalf("query %d %+v: %s", i, q, d)
		}
		if i%2 == 0 {
			q.Range, q.Limit = everything(), 0
		}
		step := []time.Duration{time.Minute, 17 * time.Minute, time.Hour}[rnd.IntN(3)]
		want, err := query.Histogram(t.Context(), local, q, query.Steps{Length: step})
		have, haveErr := query.Histogram(t.Context(), here, q, query.Steps{Length: step})
		if err != nil || haveErr != nil || !reflect.DeepEqual(want.Buckets, have.Buckets) || want.Answer.Count != have.Answer.Count || have.Answer.Partial() {
			t.Fatalf("histogram %d of %+v: %d in %v, %v %v, want %d in %v, %v", i, q, have.Answer.Count, have.Buckets, have.Answer.Problems, haveErr, want.Answer.Count, want.Buckets, err)
		}
		wantTop, err := query.Top(t.Context(), local, q, user, 5)
		haveTop, haveErr := query.Top(t.Context(), here, q, user, 5)
		if err != nil || haveErr != nil || !reflect.DeepEqual(wantTop.Values, haveTop.Values) || wantTop.With != haveTop.With || wantTop.Lacking != haveTop.Lacking {
			t.Fatalf("top %d of %+v: %+v %v, want %+v %v", i, q, haveTop, haveErr, wantTop, err)
		}
	}
	for _, s := range members {
		idle(t, s)
	}
	if testutil.ToFloat64(here.metrics.given) == 0 {
		t.Error("nothing was counted elsewhere")
	}
}

// Units of times are what was counted, wherever they go on.
func TestTimes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 8))
	want := map[uint64]int64{}
	var order []uint64
	for ms := uint64(0); len(order) < 2000; ms += rnd.Uint64N(1 << rnd.IntN(20)) {
		order = append(order, ms)
		want[ms] += rnd.Int64N(5) + 1
	}
	for _, full := range []int{1, 100, defaultUnitTimes} {
		have := map[uint64]int64{}
		var last uint64
		c := tally{full: full}
		c.send = func(unit []byte) error {
			if len(unit) > full+20 {
				t.Errorf("a unit of %d bytes", len(unit))
			}
			return eachTime(unit, func(ms uint64, n int64) error {
				if have[ms] > 0 || ms < last {
					t.Errorf("%d comes after %d", ms, last)
				}
				have[ms], last = n, ms
				return nil
			})
		}
		seen := map[uint64]bool{}
		for i, ms := range order {
			if i == 1000 { // another attempt goes on
				at := segment.MakeID(last, segment.MaxSession, 0)
				c = tally{full: full, send: c.send, behind: &at}
				if len(have) == 0 {
					c.behind = nil
				}
				clear(seen)
				for _, ms := range order[:1000] {
					if !seen[ms] {
						seen[ms] = true
						if err := c.add(ms, want[ms]); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if seen[ms] {
				continue
			}
			seen[ms] = true
			for n := want[ms]; n > 0; n-- {
				if err := c.add(ms, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.flush()
		if err := c.end(); err != nil || !reflect.DeepEqual(want, have) {
			t.Errorf("in units of %d bytes: %d times of %d, %v", full, len(have), len(want), err)
		}
	}
}

func FuzzTimes(f *testing.F) {
	f.Add([]byte{0, 1, 5, 2})
	f.Add([]byte{200, 1, 1, 0, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := tally{full: len(raw) + 1}
		sent := []byte{}
		c.send = func(unit []byte) error { sent = unit; return nil }
		if err := eachTime(raw, c.add); err != nil {
			return
		}
		c.flush()
		if err := c.end(); err != nil || len(sent) > len(raw) {
			t.Fatalf("%x becomes %x, %v", raw, sent, err)
		}
		again := bytes.Clone(sent)
		if err := eachTime(again, c.add); err != nil {
			t.Fatal(err)
		}
	})
}

// What has no place in counts by time is refused, whatever came before it.
func TestBadTimes(t *testing.T) {
	good := []byte{5, 1, 2, 3}
	for _, bad := range [][]byte{
		{0, 1}, {1, 0}, {1}, {0x80}, {1, 0x80},
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1}, // a time beyond all times
		{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, // so many records
	} {
		n := 0
		err := eachTime(append(bytes.Clone(good), bad...), func(uint64, int64) error { n++; return nil })
		if _, ok := errors.AsType[badUnitError](err); !ok || n != 2 {
			t.Errorf("%x: %d times, %v", bad, n, err)
		}
	}
}
