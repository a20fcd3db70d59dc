package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/querytest"
)

func TestHotProblems(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	all := lines(1, querytest.Day0, 500)
	h := &querytest.Batches{Bodies: [][]byte{[]byte("not a batch")}}
	for chunk := range slices.Chunk(all, 100) {
		for _, body := range querytest.Encode(t, 0, 0, chunk) {
			h.Bodies = append(h.Bodies, body)
		}
	}
	have, ans := ask(t, newEngine(t, Config{Bucket: b, Hot: h}), Query{Topic: "web", Range: everything()})
	same(t, all, have)
	if len(ans.Problems) != 1 || !errors.Is(ans.Problems[0].Err, segment.ErrCorrupt) {
		t.Errorf("problems: %v", ans.Problems)
	}
	if want := "unflushed records: batch 1: "; !strings.HasPrefix(ans.Problems[0].String(), want) {
		t.Errorf("have %s", ans.Problems[0])
	}

	limit := int64(len(h.Bodies[1]) + len(h.Bodies[2]))
	have, ans = ask(t, newEngine(t, Config{Bucket: b, Hot: h, MaxHotBytes: limit}), Query{Topic: "web", Range: everything()})
	same(t, all[:200], have)
	if len(ans.Problems) != 2 || !errors.Is(ans.Problems[1].Err, ErrHotTooLarge) {
		t.Errorf("problems: %v", ans.Problems)
	}
	// Batches out of the range take nothing of the limit.
	r := Range{From: all[400].ID, To: segment.AtTime(querytest.Day0.Add(time.Hour))}
	have, _ = ask(t, newEngine(t, Config{Bucket: b, Hot: h, MaxHotBytes: limit}), Query{Topic: "web", Range: r})
	same(t, all[400:], have)

	h.Err = errors.New("the server went away")
	if _, err := newEngine(t, Config{Bucket: b, Hot: h}).Run(t.Context(), Query{Topic: "web", Range: everything()},
		func(Record) error { return nil }); !errors.Is(err, h.Err) {
		t.Errorf("have %v", err)
	}
}

// batchesOf are entries in batches of so many.
func batchesOf(t *testing.T, all []querytest.Entry, n int) *querytest.Batches {
	h := &querytest.Batches{}
	for chunk := range slices.Chunk(all, n) {
		for _, body := range querytest.Encode(t, 0, 0, chunk) {
			h.Bodies = append(h.Bodies, body)
		}
	}
	return h
}

// Who needs more than its share has what nobody else has, as long as it runs, however it ends.
func TestHotSpare(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	all := lines(1, querytest.Day0, 500)
	h := batchesOf(t, all, 100)
	var size int64
	for _, body := range h.Bodies {
		size += int64(len(body))
	}
	spare := NewSpare(size)
	one, other := newEngine(t, Config{Bucket: b, Hot: h, MaxHotBytes: 1, Spare: spare}), newEngine(t, Config{Bucket: b, Hot: h, MaxHotBytes: 1, Spare: spare})
	q := Query{Topic: "web", Range: everything()}
	f := func(what string, run func(ctx context.Context, during func()) (*Answer, error), want error) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		ans, err := run(ctx, func() {
			if n++; n > 1 {
				return
			}
			if left := spare.Left(); left != 1 {
				t.Errorf("%s: %d of %d bytes are left meanwhile", what, left, size)
			}
			if have, ans := ask(t, other, q); len(have) != 0 || len(ans.Problems) != 1 || !errors.Is(ans.Problems[0].Err, ErrHotTooLarge) {
				t.Errorf("%s: another query found %d records meanwhile: %v", what, len(have), ans.Problems)
			}
			if want != nil && errors.Is(want, context.Canceled) {
				cancel()
			}
		})
		if n == 0 || !errors.Is(err, want) || ans.Partial() {
			t.Errorf("%s: %v %v %d", what, err, ans.Problems, n)
		}
		if left := spare.Left(); left != size {
			t.Errorf("%s: %d of %d bytes are left at the end", what, left, size)
		}
		have, ans := ask(t, other, q)
		same(t, all, have)
		if ans.Partial() {
			t.Errorf("%s: after it: %v", what, ans.Problems)
		}
	}
	run := func(q Query, err error) func(context.Context, func()) (*Answer, error) {
		return func(ctx context.Context, during func()) (*Answer, error) {
			return one.Run(ctx, q, func(Record) error { during(); return err })
		}
	}
	failed := errors.New("nobody reads")
	f("records", run(q, nil), nil)
	f("a few", run(q, segment.ErrStop), nil)
	f("a failure", run(q, failed), failed)
	around := q
	around.Pattern, around.After = compile(t, match.Pattern{Texts: []string{"record 7 "}}), 3
	f("context", run(around, nil), nil)
	f("context that fails", run(around, failed), failed)
	f("context of other engines", func(ctx context.Context, during func()) (*Answer, error) {
		return RunContext(ctx, newEngine(t, Config{Bucket: b, Hot: h}), one, around, func(Record) error { during(); return nil })
	}, nil)
	f("times", func(ctx context.Context, during func()) (*Answer, error) {
		return one.CountTimes(ctx, q, func(uint64, int64) error { during(); return nil })
	}, nil)
	f("a survey", func(ctx context.Context, during func()) (*Answer, error) {
		s, err := one.Survey(ctx, q, func(int64, bool) int64 { return 0 })
		if err != nil {
			return s.Answer(), err
		}
		defer s.Close()
		if _, err := s.Part(ctx, q, func(Record) error { return nil }); err != nil {
			return s.Answer(), err
		}
		return s.Run(ctx, q, func(Record) error { during(); return nil })
	}, nil)
	f("cancelled", func(ctx context.Context, during func()) (*Answer, error) {
		return one.Run(ctx, q, func(Record) error { during(); return ctx.Err() })
	}, context.Canceled)
	for _, lookup := range []func() (*Answer, error){
		func() (*Answer, error) { _, ans, err := one.SourcesOf(t.Context(), q); return ans, err },
		func() (*Answer, error) { est, err := one.Estimate(t.Context(), q); return est.Answer, err },
	} {
		if ans, err := lookup(); err != nil || ans.Partial() || spare.Left() != size {
			t.Errorf("%v %v, %d of %d bytes are left", err, ans.Problems, spare.Left(), size)
		}
	}
	h.Err = errors.New("the server went away")
	if _, err := one.Run(t.Context(), q, func(Record) error { return nil }); !errors.Is(err, h.Err) || spare.Left() != size {
		t.Errorf("%v, %d of %d bytes are left", err, spare.Left(), size)
	}
}

// Where not all batches can be held, those are in which something is found.
func TestHotSifted(t *testing.T) {
	for seed := range uint64(12) {
		rnd, b, all := stage(seed, 51)
		h := batchesOf(t, all, 20+rnd.IntN(40))
		most := 0
		for _, body := range h.Bodies {
			most = max(most, len(body))
		}
		cfg := Config{Bucket: b, Hot: h}
		free := newEngine(t, cfg)
		cfg.MaxHotBytes = int64(most * (1 + rnd.IntN(6)))
		tight := newEngine(t, cfg)
		whole := 0
		for range 8 {
			needle := all[rnd.IntN(len(all))]
			q := Query{Topic: "web", Range: everything(), Newest: rnd.IntN(2) == 0, Pattern: compile(t, match.Pattern{Texts: []string{needle.Text}, Invert: rnd.IntN(8) == 0})}
			if rnd.IntN(3) == 0 {
				q.Limit = 1 + rnd.Int64N(3)
			}
			if rnd.IntN(3) == 0 {
				q.Range.From = all[rnd.IntN(len(all))].ID
			}
			if q.Pattern.All() {
				continue
			}
			want, _ := ask(t, free, q)
			have, ans := ask(t, tight, q)
			if ans.Partial() {
				if !errors.Is(ans.Problems[0].Err, ErrHotTooLarge) {
					t.Fatal(ans.Problems)
				}
				continue
			}
			whole++
			same(t, want, have)
		}
		if whole == 0 {
			t.Errorf("seed %d: every answer is partial", seed)
		}
	}
}

// Batches that cannot be read are not taken for such in which nothing is.
func TestHotSiftedDamage(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	h := batchesOf(t, lines(1, querytest.Day0, 500), 100)
	h.Bodies[3][10] ^= 1
	e := newEngine(t, Config{Bucket: b, Hot: h, MaxHotBytes: int64(len(h.Bodies[0])) * 3})
	have, ans := ask(t, e, Query{Topic: "web", Range: everything(), Pattern: compile(t, match.Pattern{Texts: []string{"record 42 "}})})
	if len(have) != 1 || len(ans.Problems) != 1 || !errors.Is(ans.Problems[0].Err, segment.ErrCorrupt) {
		t.Errorf("%v %v", have, ans.Problems)
	}
}

// Batches of other sources take no memory.
func TestHotSources(t *testing.T) {
	b := objstore.NewMemory("test", time.Now)
	var all []querytest.Entry
	for i := range 5 {
		source, err := segment.ParseSource([]string{fmt.Sprintf("host=h%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range lines(uint64(i), querytest.Day0.Add(time.Duration(i)*time.Hour), 100) {
			e.Source = source
			all = append(all, e)
		}
	}
	h := batchesOf(t, all, 100)
	sources, err := ParseSources([]string{"host=h3"})
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, Config{Bucket: b, Hot: h, MaxHotBytes: int64(len(h.Bodies[3]))})
	have, ans := ask(t, e, Query{Topic: "web", Range: everything(), Sources: sources})
	same(t, all[300:400], have)
	if ans.Partial() || ans.Stats.Segments.HotUsed != 5 {
		t.Errorf("%+v", ans)
	}
}
