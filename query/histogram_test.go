package query

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/querytest"
)

// naiveBuckets counts what a query puts out, each piece of one that was cut with the first.
func naiveBuckets(want []querytest.Entry, newest bool, limit int64, step time.Duration) []Bucket {
	all := []Bucket{}
	counts := map[time.Time]int64{}
	var n int64
	for i, e := range want {
		if i > 0 {
			a, b := want[i-1], e
			if newest {
				a, b = b, a
			}
			if a.Piece&segment.Continued != 0 && b.Piece&segment.Continues != 0 && segment.After(a.ID) == b.ID {
				continue
			}
		}
		if n++; limit > 0 && n > limit {
			break
		}
		counts[ulid.Time(e.ID.Time()).UTC().Add(-time.Duration(e.ID.Time()%uint64(step/time.Millisecond))*time.Millisecond)]++
	}
	var first, last time.Time
	for t := range counts {
		if first.IsZero() || t.Before(first) {
			first = t
		}
		if t.After(last) {
			last = t
		}
	}
	for t := first; len(counts) > 0 && !t.After(last); t = t.Add(step) {
		all = append(all, Bucket{t, counts[t]})
	}
	return all
}

// Histograms and records without text are what a filter over all records gives, in any layout.
func TestHistogramOracle(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 21))
			all := querytest.World(rnd, 50+rnd.IntN(800), 20)
			b := objstore.NewMemory("test", time.Now)
			hot := scatter(t, rnd, b, "web", all)
			e := newEngine(t, Config{Bucket: b, Hot: hot, MaxBytes: []int64{1, 5_000, 0}[rnd.IntN(3)]})
			for range 12 {
				p := randomPattern(rnd, all)
				q := Query{Topic: "web", Range: randomRange(rnd, all), Pattern: compile(t, p), Newest: rnd.IntN(2) == 0}
				want := all
				if rnd.IntN(3) == 0 {
					cond := []string{"host=h0", "host!=h0", "host=absent"}[rnd.IntN(3)]
					s, err := ParseSources([]string{cond})
					if err != nil {
						t.Fatal(err)
					}
					q.Sources = s
					want = slices.DeleteFunc(slices.Clone(all), func(e querytest.Entry) bool { return !s.Match(e.Source) })
				}
				want, count := naive(want, q, p)

				q.IDsOnly = true
				have, ans := ask(t, e, q)
				bare := slices.Clone(want)
				for i := range bare {
					bare[i].Text = ""
				}
				same(t, bare, have)
				if ans.Count != count {
					t.Fatalf("%+v %+v: %d without text, want %d", q, p, ans.Count, count)
				}

				if rnd.IntN(3) == 0 {
					q.Limit = 1 + rnd.Int64N(30)
				}
				step := []time.Duration{time.Minute, 7 * time.Minute, time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}[rnd.IntN(5)]
				h, err := Histogram(t.Context(), e, q, Steps{Length: step})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(naiveBuckets(want, q.Newest, q.Limit, step), h.Buckets); diff != "" {
					t.Fatalf("%+v %+v, step %s: %s", q, p, step, diff)
				}
				auto, err := Histogram(t.Context(), e, q, Steps{})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(naiveBuckets(want, q.Newest, q.Limit, auto.Step), auto.Buckets); diff != "" {
					t.Fatalf("%+v %+v, step %s of its own choice: %s", q, p, auto.Step, diff)
				}
				finer := 0 // buckets with the step before
				for i, step := range niceSteps[1:] {
					if step == auto.Step {
						finer = len(naiveBuckets(want, q.Newest, q.Limit, niceSteps[i]))
					}
				}
				if len(auto.Buckets) > AutoBuckets || auto.Step != time.Second && finer <= AutoBuckets {
					t.Fatalf("%d buckets of %s, and there would be %d", len(auto.Buckets), auto.Step, finer)
				}
				var sum int64
				for _, b := range h.Buckets {
					sum += b.Count
				}
				if sum != h.Answer.Count {
					t.Fatalf("%+v %+v: the buckets hold %d of %d", q, p, sum, h.Answer.Count)
				}
			}
		})
	}
}

// Where nobody looks at texts, they are not decompressed.
func TestBareBlocks(t *testing.T) {
	all := querytest.World(rand.New(rand.NewPCG(3, 4)), 500, 20)
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 1, 4000, all)
	e := newEngine(t, Config{Bucket: b})
	for _, q := range []Query{{IDsOnly: true}, {CountOnly: true}, {IDsOnly: true, Newest: true}, {IDsOnly: true, Limit: 20}, {IDsOnly: true, Before: 2, After: 1}} {
		q.Topic, q.Range = "web", everything()
		ans, err := e.Run(t.Context(), q, func(r Record) error {
			if len(r.Text) > 0 || len(r.Source) == 0 {
				return fmt.Errorf("record %s has text %q and source %q", r.ID, r.Text, r.Source)
			}
			return nil
		})
		if err != nil || ans.Stats.Requests.Decoded != 0 || ans.Stats.Blocks.Read == 0 {
			t.Errorf("%+v: %v, %d bytes decoded of %d blocks", q, err, ans.Stats.Requests.Decoded, ans.Stats.Blocks.Read)
		}
	}
}

// An expression looks at the texts, also where they are not put out.
func TestIDsOfWhatHolds(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	all := lines(1, querytest.Day0, 100)
	for i := range all {
		all[i].Text = fmt.Sprintf(`{"n":%d}`, i)
	}
	querytest.Store(t, b, "web", 1, 400, all)
	e := newEngine(t, Config{Bucket: b})
	q, err := (&Request{Topic: "web", From: "2026-11-20", To: "2026-11-21", Where: []string{"n >= 90"}}).Compile(querytest.Day0)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Histogram(t.Context(), e, q, Steps{Length: time.Minute})
	if err != nil || len(h.Buckets) != 1 || h.Buckets[0] != (Bucket{querytest.Day0.Add(time.Minute), 10}) {
		t.Errorf("%v %v", h.Buckets, err)
	}
	q.CountOnly = true
	if ans, err := e.Run(t.Context(), q, nil); err != nil || ans.Count != 10 {
		t.Errorf("counted %d, %v", ans.Count, err)
	}
	if est, err := e.Estimate(t.Context(), q); err != nil || est.Records != 100 {
		t.Errorf("%+v %v", est, err)
	}
	if found := NewFilter(q).Find(querytest.Block(all)); len(found) != 10 || string(found[0].Text) != `{"n":90}` {
		t.Errorf("the filter finds %d records", len(found))
	}
}

// at is a record of a time.
func at(t time.Time, counter uint32) querytest.Entry {
	source, _ := segment.ParseSource([]string{"host=a"})
	return querytest.Entry{ID: segment.MakeID(uint64(t.UnixMilli()), 7, counter), Source: source, Text: "x"}
}

// A step that makes too many buckets is refused at once, and a longer one is not.
func TestHistogramBounds(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	all := []querytest.Entry{at(time.UnixMilli(5), 0), at(querytest.Day0, 1), at(querytest.Day0.Add(MaxBuckets*time.Second-1), 2), at(querytest.Day0.Add(MaxBuckets*time.Second), 3)}
	querytest.Store(t, b, "web", 0, 0, all)
	e := newEngine(t, Config{Bucket: b})
	f := func(buckets int, from, to ulid.ULID, step time.Duration) {
		t.Helper()
		h, err := Histogram(t.Context(), e, Query{Topic: "web", Range: Range{from, to}}, Steps{Length: step})
		if buckets > 0 {
			if err != nil || len(h.Buckets) != buckets {
				t.Errorf("step %s: want %d buckets, have %d: %v", step, buckets, len(h.Buckets), err)
			}
			return
		}
		if p, ok := errors.AsType[*ParamError](err); !ok || p.Param != "step" || !strings.Contains(err.Error(), "--step "+step.String()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("step %s: want an error about it, have %v", step, err)
		}
		if len(h.Buckets) > MaxBuckets {
			t.Errorf("step %s: %d buckets", step, len(h.Buckets))
		}
	}
	end := everything().To
	f(MaxBuckets, all[1].ID, all[3].ID, time.Second)
	f(0, all[1].ID, end, time.Second)
	f(0, ulid.ULID{}, end, time.Hour)
	f(MaxBuckets/60+1, all[1].ID, end, time.Minute)
	f(int(querytest.Day0.Unix()/(7*24*3600))+1, ulid.ULID{}, end, 7*24*time.Hour)
	f(1, all[1].ID, end, 24*time.Hour)
	f(0, all[1].ID, end, -time.Second)
	f(0, all[1].ID, end, time.Microsecond)
	f(0, all[1].ID, end, -time.Second)
	f(0, all[1].ID, end, 1500*time.Microsecond)
	f(1, ulid.ULID{}, end, time.Duration(1<<62).Truncate(time.Millisecond))
}

// Other runners may come to records in another order, and fail in the middle.
func TestHistogramOfRunner(t *testing.T) {
	broken := errors.New("broken")
	r := runnerFunc(func(_ context.Context, q Query, emit func(Record) error) (*Answer, error) {
		if !q.IDsOnly || q.CountOnly || q.Before+q.After > 0 {
			t.Errorf("asked for %+v", q)
		}
		for i, minute := range []int{3, 1, 3, 1, 5} {
			rec := Record{Record: segment.Record{ID: at(querytest.Day0.Add(time.Duration(minute)*time.Minute), uint32(i)).ID}, Context: i == 4}
			if err := emit(rec); err != nil {
				t.Error(err)
			}
		}
		return &Answer{Count: 4}, broken
	})
	h, err := Histogram(t.Context(), r, Query{Topic: "web", CountOnly: true, Before: 1, After: 1}, Steps{Length: time.Minute})
	want := []Bucket{{querytest.Day0.Add(time.Minute), 2}, {querytest.Day0.Add(2 * time.Minute), 0}, {querytest.Day0.Add(3 * time.Minute), 2}}
	if diff := cmp.Diff(want, h.Buckets); diff != "" || !errors.Is(err, broken) || h.Answer.Count != 4 {
		t.Errorf("%v %s", err, diff)
	}
}

type runnerFunc func(ctx context.Context, q Query, emit func(Record) error) (*Answer, error)

func (f runnerFunc) Run(ctx context.Context, q Query, emit func(Record) error) (*Answer, error) {
	return f(ctx, q, emit)
}

// Some step does for all times that there are.
func TestHistogramOfAllTime(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	querytest.Store(t, b, "web", 0, 0, []querytest.Entry{at(time.UnixMilli(0), 0), at(querytest.Day0, 1), at(time.UnixMilli(segment.MaxTime-1), 2)})
	h, err := Histogram(t.Context(), newEngine(t, Config{Bucket: b}), Query{Topic: "web", Range: everything()}, Steps{})
	if err != nil || h.Answer.Count != 3 || len(h.Buckets) < 2 || len(h.Buckets) > AutoBuckets {
		t.Errorf("%d buckets of %s, %d records: %v", len(h.Buckets), h.Step, h.Answer.Count, err)
	}
}

func BenchmarkHistogram(b *testing.B) {
	bucket, texts := corpus(b, 1<<40)
	var size int64
	for _, text := range texts {
		size += int64(len(text))
	}
	e := newEngine(b, Config{Bucket: bucket})
	for _, bench := range []struct {
		name    string
		pattern match.Pattern
	}{{"common", match.Pattern{Texts: []string{"from"}}}, {"everything", match.Pattern{}}} {
		q := Query{Topic: "bench", Range: Range{From: segment.AtTime(querytest.Day0), To: segment.AtTime(querytest.Day0.Add(24 * time.Hour))}, Pattern: compile(b, bench.pattern)}
		b.Run(bench.name+" counted", func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			q := q
			q.CountOnly = true
			for b.Loop() {
				if ans, err := e.Run(b.Context(), q, nil); err != nil || ans.Partial() {
					b.Fatal(err, ans.Problems)
				}
			}
		})
		b.Run(bench.name+" by time", func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				h, err := Histogram(b.Context(), e, q, Steps{Length: time.Second})
				if err != nil || h.Answer.Partial() {
					b.Fatal(err, h.Answer.Problems)
				}
				b.ReportMetric(float64(h.Answer.Count), "records")
			}
		})
	}
}
