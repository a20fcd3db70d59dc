package compact

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"oklog/objstore/buckettest"
	"oklog/objstore/segment"
)

func (w *world) at(d time.Duration) {
	w.clock.mu.Lock()
	defer w.clock.mu.Unlock()
	w.clock.at = day0.Add(d)
}

// lacking is how many of the records a query does not find.
func (w *world) lacking(records []entry) (n int) {
	have := ask(w.t, w.copies[0], "web", false)
	for _, e := range records {
		if _, ok := slices.BinarySearchFunc(have, e, byID); !ok {
			n++
		}
	}
	return n
}

// goesOn writes to a topic on each day, so that what is old is no large part of it.
func (w *world) goesOn(days int, run func()) {
	for i := range days {
		w.at(22*time.Hour + time.Duration(i+1)*oneDay)
		w.put("web", 1, w.records("web", 200, w.clock.now().Add(-time.Hour), time.Hour))
		run()
	}
}

// What comes in late is kept for as long as its topic is from then on, also beside what expires before; and it is compacted with its like.
func TestLateIsKept(t *testing.T) {
	const keep = 10 * oneDay
	w := newWorld(t, 1, 1)
	w.at(22 * time.Hour)
	w.setPolicy(keep, nil)
	early := w.records("web", 50, day0.Add(20*time.Hour), time.Hour)
	w.put("web", 1, early)
	w.goesOn(9, func() { w.run(w.config()) })
	w.at(keep + 2*time.Hour)
	var late []entry
	for range 3 {
		some := w.records("web", 50, day0, 30*time.Minute)
		w.put("web", 1, some)
		late = append(late, some...)
	}
	stored, merged, expired := w.clock.now(), 0, false
	for w.clock.advance(time.Hour); w.clock.now().Sub(stored) < keep; w.clock.advance(3 * time.Hour) {
		r := w.run(w.config())
		merged += r.Merges
		if r.Merges == 0 && r.Backlog > 0 && w.clock.now().Sub(stored) > 6*time.Hour {
			t.Fatalf("%d segments are left to be merged", r.Backlog)
		}
		if n := w.lacking(late); n > 0 {
			t.Fatalf("%d of %d have gone %s after they were stored", n, len(late), w.clock.now().Sub(stored))
		}
		expired = expired || w.lacking(early) == len(early)
	}
	if !expired || merged == 0 {
		t.Errorf("the rest of the day has expired: %v; %d merges", expired, merged)
	}
	for range 30 { // a merge writes it anew
		w.clock.advance(oneDay)
		w.run(w.config())
	}
	if n := w.lacking(late); n != len(late) {
		t.Errorf("%d of %d late records have gone in the end", n, len(late))
	}
}

// What is taken back out of the trash is kept for as long as its topic is from then on.
func TestRestoredIsKept(t *testing.T) {
	const keep = 10 * oneDay
	w := newWorld(t, 1, 1)
	cfg := w.config()
	cfg.Target = 3000 // so small that the two are not merged before
	w.at(22 * time.Hour)
	w.setPolicy(keep, nil)
	old := w.records("web", 20, day0, 30*time.Minute)
	w.put("web", 1, old)
	w.put("web", 1, w.records("web", 20, day0.Add(20*time.Hour), time.Hour))
	w.goesOn(10, func() {})
	w.at(keep + 2*time.Hour)
	cfg.OlderThan = keep + oneDay
	w.run(cfg)
	c := w.compactor(w.config())
	all := trashed(t, c, "")
	if len(all) != 1 || w.lacking(old) != len(old) {
		t.Fatalf("%d in the trash, %d of %d gone", len(all), w.lacking(old), len(old))
	}
	// A move that was broken off had left it in its place, too.
	w.at(22 * time.Hour)
	buckettest.MustPut(t, w.copies[0], all[0].Key(), []byte(keysOf(t, w.copies[0])[all[0].trashKey()]))
	w.at(keep + 3*time.Hour)
	if err := c.Restore(context.Background(), all[0]); err != nil {
		t.Fatal(err)
	}
	cfg = w.config()
	cfg.Target = 20_000
	for restored := w.clock.now(); w.clock.now().Sub(restored) < keep-time.Hour; w.clock.advance(3 * time.Hour) {
		w.run(cfg)
		if n := w.lacking(old); n > 0 {
			t.Fatalf("%d of %d are gone again after %s", n, len(old), w.clock.now().Sub(restored))
		}
	}
}

// depths are those of the definition: what overlaps at some ID, one place after another.
func TestDepthIsThatOfItsDefinition(t *testing.T) {
	w := newWorld(t, 1, 1)
	for range 300 {
		var group []input
		for i := range w.rnd.IntN(40) {
			from := w.rnd.IntN(50)
			name := segment.Name{First: segment.MakeID(uint64(from), 1, 0), Last: segment.MakeID(uint64(from+w.rnd.IntN(20)), 1, 0), Records: 1 + int64(i)}
			in := input{Segment: &Segment{Name: name, Size: 1 + w.rnd.Int64N(1000)}, stretch: stretch{name.First, name.Last}}
			group = append(group, in)
		}
		slices.SortFunc(group, byStart)
		at := func(of []input) (most int64) {
			for ms := range uint64(70) {
				id, sum := segment.MakeID(ms, 1, 0), int64(0)
				for _, in := range of {
					if in.from.Compare(id) <= 0 && in.to.Compare(id) >= 0 {
						sum += in.weight()
					}
				}
				most = max(most, sum)
			}
			return most
		}
		whole := at(group)
		if have := depth(group, math.MaxInt64, nil); have != whole {
			t.Fatalf("have %d, want %d", have, whole)
		}
		memory := w.rnd.Int64N(whole + 1)
		fit := fitting(group, memory)
		two := int64(0) // that may be left, however heavy
		for _, in := range fit {
			two = max(two, 2*in.weight())
		}
		if have := at(fit); have > max(memory, two) || whole <= memory && len(fit) != len(group) {
			t.Fatalf("%d of %d inputs weigh %d of %d", len(fit), len(group), have, memory)
		}
	}
}

// BenchmarkPlan plans a settled day of which every segment spans some hours, since one host's clock is behind.
func BenchmarkPlan(b *testing.B) {
	const n, span = 172_800, 5 * 3600 * 1000
	d := &day{topic: "web", date: "2026-11-20"}
	for i := range n {
		at := uint64(day0.UnixMilli()) + uint64(float64(i)*(19*3600*1000)/n)
		d.segments = append(d.segments, &Segment{Topic: "web", Size: 3000, In: 1, Name: segment.Name{
			First: segment.MakeID(at, 1, uint32(i)), Last: segment.MakeID(at+span, 1, uint32(i)), Records: 100, RawBytes: 10_000}})
	}
	r := rules{target: DefaultTarget, memory: DefaultMemory - mergeOverhead, cutoff: segment.MakeID(segment.MaxTime, 0, 0), settled: true}
	b.ReportAllocs()
	for b.Loop() {
		if len(makePlan(d, claims{}, r)) == 0 {
			b.Fatal("there is nothing to do")
		}
	}
}
