package compact

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// at is the ID of a test's record number n, a millisecond apart from the next.
func at(n int) ulid.ULID { return segment.MakeID(uint64(day0.UnixMilli())+uint64(n), 7, 7) }

// numbered makes a segment whose name differs from all others'.
func numbered(n int, gen uint8, first, last int, size int64) *Segment {
	s := &Segment{Topic: "web", Size: size, In: 1, Stored: day0, Settled: day0}
	s.Name = segment.Name{First: at(first), Last: at(last), Generation: gen, Records: int64(last - first + 1), RawBytes: 10 * size}
	s.Name.Hash = [8]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return s
}

// in is a segment with all of its stretch.
func in(s *Segment) input { return input{s, stretch{s.Name.First, s.Name.Last}} }

// span is a segment of a table: its stretch, size and generation.
type span struct {
	first, last int
	size        int64
	gen         uint8
}

// unweighed takes away what the IDs and sessions of inputs weigh.
func unweighed(all ...input) []input {
	for _, in := range all {
		in.Name.Records = 0
	}
	return all
}

func inputs(spans []span) (all []input) {
	for i, s := range spans {
		all = append(all, in(numbered(i, s.gen, s.first, s.last, s.size)))
	}
	slices.SortFunc(all, byStart)
	return all
}

// describe names inputs by the milliseconds that they begin and end with.
func describe(groups [][]input) string {
	var all []string
	for _, g := range groups {
		var one []string
		for _, in := range g {
			one = append(one, fmt.Sprintf("%d-%d", in.from.Time()-at(0).Time(), in.to.Time()-at(0).Time()))
		}
		all = append(all, strings.Join(one, " "))
	}
	return strings.Join(all, " | ")
}

func TestRuns(t *testing.T) {
	r := rules{target: 400} // small: below 100
	f := func(name string, spans, walls []span, want string) {
		t.Helper()
		if have := describe(runs(inputs(spans), inputs(walls), r)); have != want {
			t.Errorf("%s: have %q, want %q", name, have, want)
		}
	}
	f("nothing", nil, nil, "")
	f("one small one", []span{{0, 9, 5, 0}}, nil, "")
	f("one large one", []span{{0, 9, 500, 0}}, nil, "")
	f("two small ones", []span{{0, 9, 5, 0}, {20, 29, 5, 0}}, nil, "0-9 20-29")
	f("a gap of any length", []span{{0, 9, 5, 0}, {20_000_000, 20_000_009, 5, 0}}, nil, "0-9 20000000-20000009")
	f("at the size from which they are not small", []span{{0, 9, 99, 0}, {20, 29, 100, 0}, {30, 39, 99, 0}}, nil, "")
	f("a large one parts them", []span{{0, 9, 5, 0}, {10, 19, 5, 0}, {20, 29, 100, 0}, {30, 39, 5, 0}, {40, 49, 5, 0}}, nil, "0-9 10-19 | 30-39 40-49")
	f("large ones that overlap", []span{{0, 9, 500, 0}, {5, 19, 500, 0}}, nil, "0-9 5-19")
	f("large ones that share an ID", []span{{0, 9, 500, 0}, {9, 19, 500, 0}}, nil, "0-9 9-19")
	f("large ones that touch", []span{{0, 9, 500, 0}, {10, 19, 500, 0}}, nil, "")
	f("through others", []span{{0, 9, 500, 0}, {30, 39, 500, 0}, {8, 31, 500, 0}}, nil, "0-9 8-31 30-39")
	f("one within another, and behind that", []span{{0, 99, 500, 0}, {10, 19, 500, 0}, {50, 59, 500, 0}}, nil, "0-99 10-19 50-59")
	f("a cluster and its small neighbours", []span{{0, 9, 5, 0}, {10, 19, 500, 0}, {12, 29, 500, 0}, {30, 39, 5, 0}}, nil, "0-9 10-19 12-29 30-39")
	f("a wall between", []span{{0, 9, 5, 0}, {20, 29, 5, 0}, {40, 49, 5, 0}, {50, 59, 5, 0}}, []span{{30, 35, 9, MaxGeneration}}, "0-9 20-29 | 40-49 50-59")
	f("a wall before, one behind", []span{{10, 19, 5, 0}, {20, 29, 5, 0}}, []span{{0, 5, 9, MaxGeneration}, {40, 45, 9, MaxGeneration}}, "10-19 20-29")
	f("a wall that overlaps anyhow", []span{{10, 19, 5, 0}, {20, 29, 5, 0}}, []span{{15, 25, 9, MaxGeneration}}, "10-19 20-29")
	f("a wall leaves one alone", []span{{10, 19, 5, 0}, {30, 39, 5, 0}}, []span{{22, 25, 9, MaxGeneration}}, "")
}

func TestWorthwhile(t *testing.T) {
	f := func(name string, spans []span, want string) {
		t.Helper()
		if have := describe(worthwhile(inputs(spans), 100)); have != want {
			t.Errorf("%s: have %q, want %q", name, have, want)
		}
	}
	f("one", []span{{0, 9, 5, 0}}, "")
	f("two of the same size", []span{{0, 9, 5, 1}, {10, 19, 5, 1}}, "")
	f("three of the same size", []span{{0, 9, 5, 1}, {10, 19, 5, 1}, {20, 29, 5, 1}}, "0-9 10-19 20-29")
	f("just too little", []span{{0, 9, 10, 1}, {10, 19, 10, 1}, {20, 29, 9, 1}}, "")
	f("before and behind the largest", []span{{0, 1, 5, 0}, {2, 3, 5, 0}, {4, 5, 5, 0}, {10, 19, 90, 1}, {20, 21, 5, 1}, {22, 23, 5, 1}, {24, 25, 5, 1}}, "0-1 2-3 4-5 | 20-21 22-23 24-25")
	f("within the largest", []span{{0, 99, 90, 1}, {2, 3, 5, 0}, {4, 5, 5, 0}, {98, 105, 5, 0}}, "2-3 4-5 98-105")
	f("fresh ones of any size", []span{{0, 9, 500, 0}, {10, 19, 1, 0}}, "0-9 10-19")
	// What has been merged and is not small: 100 and up.
	f("one late one across all", []span{{0, 9, 500, 2}, {10, 19, 500, 2}, {20, 29, 500, 2}, {30, 39, 400, 2}, {0, 39, 5, 0}}, "")
	f("late ones across all", []span{{0, 9, 500, 2}, {10, 19, 500, 2}, {20, 29, 500, 2}, {0, 29, 5, 0}, {1, 28, 5, 0}, {2, 29, 5, 0}}, "0-29 1-28 2-29")
	f("many late ones in one place", []span{{0, 9, 500, 2}, {10, 19, 600, 2}, {20, 29, 500, 2}, {5, 9, 5, 0}, {8, 11, 5, 0}, {12, 13, 600, 0}, {14, 15, 599, 0}}, "8-11 10-19 12-13 14-15")
	f("large ones that are fresh", []span{{0, 9, 500, 0}, {5, 12, 500, 0}, {11, 19, 500, 0}}, "0-9 5-12 11-19")
	f("the last arrivals", []span{{0, 9, 90, 1}, {10, 19, 30, 1}, {20, 29, 10, 1}, {30, 31, 5, 0}, {32, 33, 5, 0}}, "30-31 32-33")
	f("enough has come together", []span{{0, 9, 90, 1}, {10, 19, 30, 1}, {20, 29, 10, 1}, {30, 31, 10, 0}, {32, 33, 10, 0}}, "20-29 30-31 32-33")
}

func TestFitting(t *testing.T) {
	const large = chunkSize + blockMemory // what a large one takes
	f := func(name string, memory int64, spans []span, want string) {
		t.Helper()
		g := unweighed(inputs(spans)...)
		have := fitting(g, memory)
		if d := describe([][]input{have}); d != want {
			t.Errorf("%s: have %q, want %q", name, d, want)
		}
		if most := depth(have, math.MaxInt64, nil); most > memory && len(have) > 2 {
			t.Errorf("%s: %d bytes, of %d", name, most, memory)
		}
	}
	f("all of it", 3*large, []span{{0, 9, 3 << 20, 0}, {1, 9, 3 << 20, 0}, {2, 9, 3 << 20, 0}}, "0-9 1-9 2-9")
	f("one too many", 3*large-1, []span{{0, 9, 3 << 20, 0}, {1, 9, 4 << 20, 0}, {2, 9, 3 << 20, 0}}, "0-9 2-9")
	f("no two at once", 2*large, []span{{0, 9, 3 << 20, 0}, {10, 19, 3 << 20, 0}, {19, 29, 3 << 20, 0}, {30, 39, 3 << 20, 0}}, "0-9 10-19 19-29 30-39")
	f("the deep place only", 2*large, []span{{0, 9, 3 << 20, 0}, {10, 19, 3 << 20, 0}, {11, 19, 5 << 20, 0}, {12, 19, 3 << 20, 0}, {30, 39, 9 << 20, 0}}, "0-9 10-19 12-19 30-39")
	f("two are left, whatever they take", 1, []span{{0, 9, 3 << 20, 0}, {1, 9, 4 << 20, 0}, {2, 9, 5 << 20, 0}}, "0-9 1-9")
	f("small ones take their size and a block", 2*(1<<20+blockMemory), []span{{0, 9, 1 << 20, 0}, {1, 9, 1 << 20, 0}}, "0-9 1-9")
}

func TestDepth(t *testing.T) {
	w := func(size int64) int64 { return unweighed(in(numbered(0, 0, 0, 1, size)))[0].weight() }
	for _, c := range []struct {
		spans []span
		want  int64
	}{
		{nil, 0},
		{[]span{{0, 9, 1000, 0}}, w(1000)},
		{[]span{{0, 9, 1000, 0}, {10, 19, 2000, 0}}, w(2000)},
		{[]span{{0, 9, 1000, 0}, {9, 19, 2000, 0}}, w(1000) + w(2000)},
		{[]span{{0, 99, 1000, 0}, {10, 19, 2000, 0}, {20, 29, 3000, 0}}, w(1000) + w(3000)},
		{[]span{{0, 99, 50 << 20, 0}, {10, 19, 60 << 20, 0}}, 2 * (chunkSize + blockMemory)},
	} {
		if have := depth(unweighed(inputs(c.spans)...), math.MaxInt64, nil); have != c.want {
			t.Errorf("%v: have %d, want %d", c.spans, have, c.want)
		}
	}
	if have, want := w(1000), int64(1000+10_000); have != want {
		t.Errorf("a segment of 1,000 bytes with 10,000 of text takes %d, want %d", have, want)
	}
	s := numbered(0, 0, 0, 49, 1000)
	if have, want := in(s).weight(), w(1000)+50*(idMemory+sessionMemory); have != want {
		t.Errorf("with 50 records it takes %d, want %d", have, want)
	}
	s.Name.Records = 1000
	if have, want := in(s).weight(), w(1000)+1000*idMemory+1000/sessionSize*sessionMemory; have != want {
		t.Errorf("with 1,000 records it takes %d, want %d", have, want)
	}
}

func TestCut(t *testing.T) {
	group := make([]input, maxInputs+10)
	for i := range group {
		group[i] = in(numbered(i, 0, 2*i, 2*i+1, 1))
	}
	if n, _ := cut(group[:maxInputs]); n != maxInputs {
		t.Errorf("of %d: %d", maxInputs, n)
	}
	if n, end := cut(group); n != maxInputs || end != at(2*maxInputs) {
		t.Errorf("of %d: %d, up to %s", len(group), n, end)
	}
	j := makeJob(&day{topic: "web"}, group, rules{target: 1 << 20, memory: 1 << 30})
	if len(j.Inputs) != maxInputs || j.Through != at(2*maxInputs-1) {
		t.Errorf("a job of %d, through %s", len(j.Inputs), j.Through)
	}
	// Those that begin together are not parted, unless they are too many.
	for i := maxInputs - 5; i < maxInputs+5; i++ {
		group[i] = in(numbered(i, 0, 2*(maxInputs-5), 3*maxInputs, 1))
	}
	n, end := cut(group)
	if n != maxInputs-5 || end != at(2*(maxInputs-5)) {
		t.Errorf("where ten begin together: %d, up to %s", n, end)
	}
	for i := range maxInputs - 5 {
		group[i] = in(numbered(i, 0, 2*i, 3*maxInputs, 1))
	}
	// They reach beyond the cut: of these only what comes before it is taken.
	if j := makeJob(&day{topic: "web"}, group, rules{target: 1 << 20, memory: 1 << 30}); j.Through != segment.Before(end) {
		t.Errorf("through %s, want %s", j.Through, segment.Before(end))
	}
	for i := range group {
		group[i] = in(numbered(i, 0, 0, 5+i, 1))
	}
	if n, end := cut(group); n != maxInputs || end != (ulid.ULID{}) {
		t.Errorf("all begin together: %d, up to %s", n, end)
	}
}

func TestMakeJob(t *testing.T) {
	r := rules{target: 100 << 20, memory: 200 << 20}
	d := &day{topic: "web", date: "2026-11-20"}
	f := func(name string, spans []span, r rules, check func(*Job) bool) {
		t.Helper()
		if j := makeJob(d, inputs(spans), r); !check(j) {
			t.Errorf("%s: %+v", name, j)
		}
	}
	f("it says what is merged", []span{{5, 9, 1000, 0}, {20, 29, 2000, 3}}, r, func(j *Job) bool {
		return j.Topic == "web" && j.Day == "2026-11-20" && len(j.Inputs) == 2 && j.Generation == 4 && j.Size == 3000 && j.Text == 30_000 && j.Records == 15 &&
			j.After == segment.Before(at(5)) && j.Through == at(29)
	})
	f("through the latest of the ends", []span{{0, 99, 1000, 0}, {20, 29, 2000, 0}}, r, func(j *Job) bool { return j.Through == at(99) })
	// What comes out is of about the same size: 250 MiB make three, not two full ones and a half.
	var sum float64
	f("balanced", []span{{0, 9, 125 << 20, 1}, {10, 19, 125 << 20, 1}}, r, func(j *Job) bool {
		sum = blocksPart * 250 * (1 << 20) / 3
		return float64(j.maxSize) > 1.04*sum && float64(j.maxSize) < 1.06*sum
	})
	f("what is fresh shrinks", []span{{0, 9, 55 << 20, 0}, {10, 19, 55 << 20, 0}}, r, func(j *Job) bool {
		return float64(j.maxSize) > 0.85*110*blocksPart*(1<<20) && float64(j.maxSize) <= blocksPart*(100<<20)
	})
	f("one that fits is not cut", []span{{0, 9, 45 << 20, 1}, {10, 19, 45 << 20, 1}}, r, func(j *Job) bool {
		return float64(j.maxSize) >= blocksPart*(90<<20)
	})
	f("within the memory", []span{{0, 9, 300 << 20, 1}, {0, 9, 300 << 20, 1}, {1, 9, 300 << 20, 1}}, rules{target: 100 << 20, memory: 60 << 20}, func(j *Job) bool {
		return j.memory <= 60<<20 && float64(j.maxSize) <= blocksPart*(60<<20-3*(chunkSize+blockMemory))
	})
	f("never without a size", []span{{0, 9, 1, 1}, {10, 19, 1, 1}}, rules{target: 1, memory: 100 << 20}, func(j *Job) bool { return j.maxSize >= 1 })
}

// A plan leaves alone what cannot, should not, or need not be merged, and says from where to where.
func TestMakePlan(t *testing.T) {
	const size = 1 << 20
	far := at(1 << 40)
	plan := func(r rules, cl claims, segs ...*Segment) []*Job {
		slices.SortFunc(segs, byFirst)
		r.target, r.memory = 128<<20, 200<<20
		if r.cutoff == (ulid.ULID{}) {
			r.cutoff = far
		}
		return makePlan(&day{topic: "web", segments: segs}, cl, r)
	}
	a, b, c := numbered(1, 0, 0, 99, size), numbered(2, 0, 50, 149, size), numbered(3, 0, 100, 199, size)
	settled := rules{settled: true}
	if jobs := plan(settled, nil, a, b); len(jobs) != 1 || jobs[0].After != segment.Before(at(0)) || jobs[0].Through != at(149) {
		t.Errorf("all of two: %+v", jobs)
	}
	if jobs := plan(rules{}, nil, numbered(1, 1, 0, 99, size), numbered(2, 1, 50, 149, size)); len(jobs) != 0 {
		t.Errorf("while the day goes on, a merge of two is not worthwhile: %+v", jobs)
	}
	if jobs := plan(rules{}, nil, a, b, c); len(jobs) != 1 || len(jobs[0].Inputs) != 3 {
		t.Errorf("one of three is: %+v", jobs)
	}
	if jobs := plan(rules{cutoff: at(190)}, nil, a, b, c, numbered(4, 0, 101, 199, size)); len(jobs) != 1 || jobs[0].Through != at(190) || len(jobs[0].Inputs) != 4 {
		t.Errorf("up to the cutoff: %+v", jobs)
	}
	a1, b1 := numbered(1, 1, 0, 99, size), numbered(2, 1, 50, 149, size)
	if jobs := plan(rules{cutoff: at(110)}, nil, a1, b1, c); len(jobs) != 0 {
		t.Errorf("a little of c is before the cutoff: %+v", jobs)
	}
	if jobs := plan(rules{cutoff: at(99)}, nil, a1, b1, c); len(jobs) != 0 {
		t.Errorf("one that begins behind the cutoff: %+v", jobs)
	}
	if jobs := plan(rules{cutoff: at(99), settled: true}, nil, a, b, c); len(jobs) != 1 || len(jobs[0].Inputs) != 2 || jobs[0].Through != at(99) {
		t.Errorf("one that begins behind the cutoff is not merged: %+v", jobs)
	}
	// Resumed: of a and b, what is up to 120 is in m already.
	m := numbered(4, 1, 0, 119, size)
	cl := claims{}
	cl.add(m, segment.Lineage{After: segment.Before(at(0)), Through: at(120), Replaces: []string{a.Key(), b.Key()}})
	if jobs := plan(settled, cl, a, b, c, m); len(jobs) != 1 || len(jobs[0].Inputs) != 3 || slices.Contains(jobs[0].Inputs, a) || jobs[0].After != segment.Before(at(0)) {
		t.Errorf("a is replaced, b in part, and m is new: %+v", jobs)
	}
	m.Size = 100 << 20 // it is as it should be
	if jobs := plan(settled, cl, a, b, c, m); len(jobs) != 1 || len(jobs[0].Inputs) != 3 || jobs[0].Through != at(199) {
		t.Errorf("c overlaps m: %+v", jobs)
	}
	c2 := numbered(3, 0, 130, 199, size)
	if jobs := plan(settled, cl, a, b, c2, m); len(jobs) != 1 || len(jobs[0].Inputs) != 2 || jobs[0].After != segment.After(at(120)) && jobs[0].After != at(120) {
		t.Errorf("the rest of b, and c: %+v", jobs)
	}
	// What is left of a segment that others hold in part is written anew at last, on its own if need be.
	rest := numbered(5, 0, 110, 199, size)
	cl.add(m, segment.Lineage{After: segment.Before(at(0)), Through: at(120), Replaces: []string{rest.Key()}})
	if jobs := plan(settled, cl, m, rest); len(jobs) != 1 || len(jobs[0].Inputs) != 1 || jobs[0].After != at(120) {
		t.Errorf("the rest of one: %+v", jobs)
	}
	if jobs := plan(rules{}, cl, m, rest); len(jobs) != 0 {
		t.Errorf("the rest of one, while the day goes on: %+v", jobs)
	}
	// Left alone.
	for name, change := range map[string]func(*Segment){
		"damaged":                         func(s *Segment) { s.damaged = true },
		"expired":                         func(s *Segment) { s.expired = true },
		"of another size in another copy": func(s *Segment) { s.Odd = 2 },
		"rewritten often":                 func(s *Segment) { s.Name.Generation = MaxGeneration },
	} {
		bad := numbered(2, 0, 50, 149, size)
		change(bad)
		jobs := plan(settled, nil, a, bad, c)
		if len(jobs) != 1 || len(jobs[0].Inputs) != 2 || slices.Contains(jobs[0].Inputs, bad) {
			t.Errorf("one that is %s: %+v", name, jobs)
		}
	}
	if jobs := plan(settled, nil, numbered(1, MaxGeneration-1, 0, 9, size), a); len(jobs) != 1 || jobs[0].Generation != MaxGeneration {
		t.Errorf("the last generation: %+v", jobs)
	}
}

func TestIsSettled(t *testing.T) {
	end := day0.AddDate(0, 0, 1)
	fresh, rewritten := numbered(1, 0, 0, 9, 1), numbered(2, 1, 0, 9, 1)
	fresh.Stored = end.Add(30 * time.Minute)
	rewritten.Stored = end.Add(24 * time.Hour)
	f := func(name, date string, now time.Time, want bool, segs ...*Segment) {
		t.Helper()
		d := &day{topic: "web", date: date, segments: segs}
		if have := d.isSettled(now, 10*time.Minute, time.Hour); have != want {
			t.Errorf("%s: %v", name, have)
		}
	}
	date := day0.Format(time.DateOnly)
	f("it goes on", date, end.Add(-time.Second), false)
	f("late records may still come", date, end.Add(10*time.Minute-1), false)
	f("it is over", date, end.Add(10*time.Minute), true)
	f("something has just come in", date, end.Add(time.Hour), false, fresh)
	f("some time ago", date, end.Add(90*time.Minute), true, fresh)
	f("what a merge has made does not count", date, end.Add(24*time.Hour), true, fresh, rewritten)
	f("it is none", "somewhere", end, false)
	f("in the year 10889", "10889-08-02", end, false)
}

// model is a day of segments whose records are known, and what merges would make of it.
type model struct {
	t testing.TB
	rules
	day
	cl       claims
	records  map[*Segment][]int // ascending
	perWhole float64            // bytes of a record in a fresh segment
	n        int
	rewrites map[int]int // by record
	read     int         // inputs of all merges
}

func newModel(t testing.TB, r rules, perRecord float64) *model {
	return &model{t: t, rules: r, day: day{topic: "web"}, cl: claims{}, records: map[*Segment][]int{}, perWhole: perRecord, rewrites: map[int]int{}}
}

func (m *model) bytes(records int, gen uint8) int64 {
	if gen > 0 {
		return int64(float64(records) * m.perWhole * rewritten)
	}
	return int64(float64(records) * m.perWhole)
}

func (m *model) add(gen uint8, records []int) *Segment {
	slices.Sort(records)
	records = slices.Compact(records)
	m.n++
	s := numbered(m.n, gen, records[0], records[len(records)-1], m.bytes(len(records), gen))
	s.Name.Records = int64(len(records))
	m.records[s] = records
	i, _ := slices.BinarySearchFunc(m.segments, s, byFirst)
	m.segments = slices.Insert(m.segments, i, s)
	return s
}

// do does a job as a merge does.
func (m *model) do(j *Job) {
	var all []int
	for _, s := range j.Inputs {
		for _, r := range m.records[s] {
			if at(r).Compare(j.After) > 0 && at(r).Compare(j.Through) <= 0 {
				all = append(all, r)
			}
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, r := range all {
		m.rewrites[r]++
	}
	replaced := replaces(j)
	after := j.After
	for len(all) > 0 {
		n := 0
		for n < len(all) && blocksPart*float64(m.bytes(n, 1)) < float64(j.maxSize) {
			n++
		}
		s := m.add(j.Generation, all[:n:n])
		l := segment.Lineage{After: after, Through: at(all[n-1])}
		all = all[n:]
		if len(all) == 0 {
			l.Through = j.Through
		}
		l.Replaces = replaced(l.After, l.Through)
		after = l.Through
		m.cl.add(s, l)
	}
}

// round plans and does it, and tells how many segments that made.
func (m *model) round() (made int) {
	m.t.Helper()
	jobs := makePlan(&m.day, m.cl, m.rules)
	used := map[*Segment]bool{}
	for _, j := range jobs {
		group := make([]input, len(j.Inputs))
		for i, s := range j.Inputs {
			if used[s] {
				m.t.Fatalf("%s is an input of two merges", s.Key())
			}
			used[s] = true
			if s.Name.Generation >= MaxGeneration {
				m.t.Fatalf("generation %d is rewritten", s.Name.Generation)
			}
			rest, open := m.cl.rest(s, readable)
			if !open {
				m.t.Fatalf("%s is merged, and is replaced", s.Key())
			}
			group[i] = input{s, rest}
		}
		if len(group) < 2 && !(m.settled && group[0].partial()) {
			m.t.Fatalf("a merge of %d", len(group))
		}
		if j.Through.Compare(m.cutoff) > 0 || j.After.Compare(j.Through) >= 0 {
			m.t.Fatalf("from %s to %s, the cutoff being %s", j.After, j.Through, m.cutoff)
		}
		if j.memory > m.memory || depth(group, math.MaxInt64, nil) > m.inputMemory() {
			m.t.Fatalf("a merge takes %d bytes of %d, its inputs %d", j.memory, m.memory, depth(group, math.MaxInt64, nil))
		}
		if j.maxSize > m.target {
			m.t.Fatalf("segments of %d bytes, the target being %d", j.maxSize, m.target)
		}
	}
	n := m.n
	for _, j := range jobs {
		m.read += len(j.Inputs)
		m.do(j)
	}
	return m.n - n
}

// drop deletes what is replaced.
func (m *model) drop() {
	gone := map[*Segment]bool{}
	for _, s := range m.segments {
		if _, open := m.cl.rest(s, readable); !open {
			gone[s] = true
		}
	}
	m.segments = slices.DeleteFunc(m.segments, func(s *Segment) bool { return gone[s] })
	for s := range gone {
		delete(m.cl, s.Name)
		delete(m.records, s)
	}
}

// settle has a day that is over merged until nothing is left to do.
func (m *model) settle() (rounds int) {
	m.t.Helper()
	m.settled, m.cutoff = true, at(1<<40)
	for m.round() > 0 {
		if rounds++; rounds > MaxGeneration {
			m.t.Fatalf("it does not come to an end: %d segments", len(m.segments))
		}
	}
	m.drop()
	return rounds
}

// held is all the records that there are.
func (m *model) held() map[int]bool {
	all := map[int]bool{}
	for _, s := range m.segments {
		for _, r := range m.records[s] {
			all[r] = true
		}
	}
	return all
}

// Whatever lies there, plans come to an end, take no more memory than they may, lose nothing, and in the end nothing overlaps.
func TestPlansConverge(t *testing.T) {
	const perRecord = 128 << 10
	most := 0
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		m := newModel(t, rules{target: 16 << 20, memory: 4*(chunkSize+blockMemory) + 4<<20 + rnd.Int64N(1<<(20+rnd.IntN(8)))}, perRecord)
		span := 100 + rnd.IntN(5000)
		highest := rnd.IntN(3) == 0
		for range 1 + rnd.IntN(80) {
			from, width := rnd.IntN(span), 1+rnd.IntN(1+span/(1+rnd.IntN(40)))
			var records []int
			for range 1 + rnd.IntN(1<<rnd.IntN(9)) {
				records = append(records, from+rnd.IntN(width))
			}
			gen := uint8(0)
			if rnd.IntN(3) == 0 {
				gen = uint8(rnd.IntN(5))
			}
			if highest && rnd.IntN(10) == 0 {
				gen = MaxGeneration - uint8(rnd.IntN(2))
			}
			m.add(gen, records)
		}
		want := m.held()
		m.cutoff = at(rnd.IntN(span))
		for range rnd.IntN(4) { // while the day goes on
			for n := 0; m.round() > 0; n++ {
				if n > MaxGeneration {
					t.Fatalf("seed %d: it does not come to an end before the day is over", seed)
				}
			}
			if rnd.IntN(2) == 0 {
				m.drop()
			}
			m.cutoff = later(m.cutoff, at(rnd.IntN(span)))
		}
		most = max(most, m.settle())
		if have := m.held(); len(have) != len(want) {
			t.Fatalf("seed %d: %d records of %d are left", seed, len(have), len(want))
		}
		var last ulid.ULID
		walled := false
		for _, s := range m.segments {
			walled = walled || s.Name.Generation == MaxGeneration
		}
		for i, s := range m.segments {
			if i > 0 && s.Name.First.Compare(last) <= 0 && !walled {
				t.Fatalf("seed %d: in the end %s overlaps another one", seed, s.Key())
			}
			last = later(last, s.Name.Last)
			if s.Name.Generation > MaxGeneration {
				t.Fatalf("seed %d: generation %d", seed, s.Name.Generation)
			}
		}
		var size int64
		for _, s := range m.segments {
			size += s.Size
		}
		if most := int(size/m.small()) + 2; len(m.segments) > most && !walled {
			t.Errorf("seed %d: %d bytes are left as %d segments, want at most %d", seed, size, len(m.segments), most)
		}
	}
	t.Logf("%d rounds at most", most)
}

// A record is rewritten a few times, however much comes in, and also where clocks are wrong.
func TestRewrites(t *testing.T) {
	const (
		minute  = 60_000
		perRun  = 10 * minute
		cutoff  = 10 * minute
		records = 20 // of a segment
		writers = 3
	)
	for _, c := range []struct {
		name     string
		perRun   int64 // bytes
		segments int   // that come in between two runs, from each of the writers
		ahead    int   // ms that the clock of one source, a tenth of the records, is ahead
		mean     float64
		highest  int
	}{
		{"a little", 100 << 10, 1, 0, 8, 9},
		{"some", 5 << 20, 2, 0, 8, 9},
		{"much", 100 << 20, 5, 0, 8, 9},
		{"very much", 2 << 30, 10, 0, 8, 9},
		{"ahead by a minute", 5 << 20, 2, minute, 8, 9},
		{"ahead by an hour", 5 << 20, 2, 60 * minute, 8, 9},
		{"ahead by hours", 5 << 20, 2, 5 * 60 * minute, 8, 20},
		{"late by an hour", 5 << 20, 2, -60 * minute, 8, 9},
		{"late by hours", 5 << 20, 2, -5 * 60 * minute, 8, 9},
		{"late by many hours", 5 << 20, 2, -20 * 60 * minute, 8, 9},
		{"late by hours, a little", 100 << 10, 1, -5 * 60 * minute, 8, 12},
		{"late by hours, much", 100 << 20, 5, -5 * 60 * minute, 8, 9},
	} {
		rnd := rand.New(rand.NewPCG(1, 2))
		m := newModel(t, rules{target: 128 << 20, memory: 200 << 20}, float64(c.perRun)/float64(writers*c.segments*records))
		n := 0
		for run := range 144 {
			now := (run + 1) * perRun
			for w := range writers {
				for i := range c.segments {
					from := run*perRun + (perRun*i+perRun*w/writers)/c.segments
					var all []int
					for range records {
						r := from + rnd.IntN(perRun/c.segments)
						if skewed := r + c.ahead; rnd.IntN(10) == 0 && skewed >= 0 && skewed < 24*60*minute {
							r = skewed
						}
						all = append(all, r)
					}
					m.add(0, all)
					n += len(slices.Compact(all))
				}
			}
			m.cutoff = at(now - cutoff)
			for k := 0; m.round() > 0; k++ {
				if k == 2*MaxGeneration {
					t.Errorf("%s: run %d does not come to an end", c.name, run)
					break
				}
			}
			if run%6 == 5 {
				m.drop() // the grace is over
			}
		}
		m.settle()
		sum, most := 0, 0
		for _, k := range m.rewrites {
			sum += k
			most = max(most, k)
		}
		var gen uint8
		for _, s := range m.segments {
			gen = max(gen, s.Name.Generation)
		}
		mean := float64(sum) / float64(len(m.rewrites))
		t.Logf("%s: %d segments, each read %.1f times, %.1f rewrites per record, %d at most, generation %d, %d segments are left",
			c.name, m.n, float64(m.read)/float64(m.n), mean, most, gen, len(m.segments))
		if mean > c.mean || most > c.highest {
			t.Errorf("%s: %.1f rewrites per record, %d at most: want %.1f and %d", c.name, mean, most, c.mean, c.highest)
		}
	}
}
