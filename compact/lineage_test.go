package compact

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

// nth are IDs that follow each other without a gap.
func nth(n int) ulid.ULID { return segment.MakeID(uint64(day0.UnixMilli()), 7, uint32(1000+n)) }

func TestRest(t *testing.T) {
	s := &Segment{Topic: "web", Name: segment.Name{First: nth(10), Last: nth(19)}}
	type c struct {
		after, through int
		bad            bool
	}
	f := func(name string, of []c, want string) {
		t.Helper()
		for range 3 { // in whatever order
			cl := claims{}
			for _, c := range of {
				cl[s.Name] = append(cl[s.Name], claim{nth(c.after), nth(c.through), &Segment{damaged: c.bad}})
			}
			rand.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
			have := ""
			if rest, open := cl.rest(s, readable); open {
				have = fmt.Sprintf("%d-%d", counter(rest.from)-1000, counter(rest.to)-1000)
			}
			if have != want {
				t.Errorf("%s: have %q, want %q", name, have, want)
			}
		}
	}
	f("nothing is claimed", nil, "10-19")
	f("all of it", []c{{9, 19, false}}, "")
	f("more than that", []c{{0, 99, false}}, "")
	f("all but the first", []c{{10, 19, false}}, "10-10")
	f("all but the last", []c{{9, 18, false}}, "19-19")
	f("the beginning", []c{{9, 12, false}}, "13-19")
	f("the end", []c{{12, 19, false}}, "10-12")
	f("the middle", []c{{11, 14, false}}, "10-19")
	f("all but the middle", []c{{9, 12, false}, {15, 19, false}}, "13-15")
	f("in two that follow each other", []c{{9, 12, false}, {12, 19, false}}, "")
	f("in two that overlap", []c{{9, 15, false}, {11, 19, false}}, "")
	f("one within another", []c{{9, 17, false}, {11, 13, false}}, "18-19")
	f("one record between two", []c{{9, 12, false}, {13, 19, false}}, "13-13")
	f("two gaps", []c{{9, 11, false}, {12, 14, false}, {16, 19, false}}, "12-16")
	f("before and behind it", []c{{0, 9, false}, {19, 30, false}}, "10-19")
	f("a straddler on both sides", []c{{0, 12, false}, {15, 30, false}}, "13-15")
	f("one that does not count", []c{{9, 19, true}}, "10-19")
	f("one that does not count fills no gap", []c{{9, 12, false}, {11, 16, true}, {15, 19, false}}, "13-15")
	f("the same twice", []c{{9, 12, false}, {9, 12, false}}, "13-19")

	greatest := segment.MakeID(segment.MaxTime, segment.MaxSession, 1<<32-1)
	last := &Segment{Name: segment.Name{First: nth(1), Last: greatest}}
	if _, open := (claims{last.Name: {{nth(0), greatest, &Segment{}}}}).rest(last, readable); open {
		t.Error("the greatest ID there is counts as not covered")
	}
}

func counter(id ulid.ULID) int {
	_, _, n := segment.SplitID(id)
	return int(n)
}

// What rest says is what a look at every single ID says.
func TestRestAsTold(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		first := rnd.IntN(10)
		last := first + rnd.IntN(30)
		s := &Segment{Name: segment.Name{First: nth(first), Last: nth(last)}}
		cl := claims{}
		for range rnd.IntN(8) {
			after := rnd.IntN(45) - 3
			by := &Segment{damaged: rnd.IntN(5) == 0, In: Set(rnd.IntN(4))}
			cl[s.Name] = append(cl[s.Name], claim{nth(after), nth(after + 1 + rnd.IntN(15)), by})
		}
		counts := func(by *Segment) bool { return !by.damaged && by.In.Has(1) }
		from, to := -1, -1
		for n := first; n <= last; n++ {
			if slices.ContainsFunc(cl[s.Name], func(c claim) bool {
				return counts(c.by) && nth(n).Compare(c.after) > 0 && nth(n).Compare(c.through) <= 0
			}) {
				continue
			}
			if from < 0 {
				from = n
			}
			to = n
		}
		rest, open := cl.rest(s, counts)
		if open != (from >= 0) || open && (rest.from != nth(from) || rest.to != nth(to)) {
			t.Fatalf("seed %d: have %v (%d-%d), want %d-%d", seed, open, counter(rest.from)-1000, counter(rest.to)-1000, from, to)
		}
	}
}

// A lineage that cannot be true claims nothing.
func TestClaimsAreTakenWithCare(t *testing.T) {
	by, of := numbered(1, 1, 0, 9, 1), numbered(2, 0, 0, 9, 1)
	elsewhere := *of
	elsewhere.Topic = "mail"
	for name, l := range map[string]segment.Lineage{
		"of another topic": {After: at(-1), Through: at(9), Replaces: []string{elsewhere.Key()}},
		"of itself":        {After: at(-1), Through: at(9), Replaces: []string{by.Key()}},
		"of no segment":    {After: at(-1), Through: at(9), Replaces: []string{"web/2026-11-20/what", "_oklog/clock", ""}},
		"of nothing":       {After: at(9), Through: at(9), Replaces: []string{of.Key()}},
		"of less":          {After: at(9), Through: at(0), Replaces: []string{of.Key()}},
	} {
		cl := claims{}
		cl.add(by, l)
		if len(cl) > 0 {
			t.Errorf("%s: %v", name, cl)
		}
	}
	cl := claims{}
	cl.add(by, segment.Lineage{After: at(-1), Through: at(9), Replaces: []string{of.Key()}})
	if _, open := cl.rest(of, readable); open {
		t.Error("a good one does not count")
	}
}

// Only the lineage of what may replace something is read.
func TestClaimants(t *testing.T) {
	names := func(segs ...*Segment) string {
		slices.SortFunc(segs, byFirst)
		var all []string
		for _, s := range claimants(segs) {
			all = append(all, fmt.Sprint(s.Name.Hash[3]))
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	f := func(what, want string, segs ...*Segment) {
		t.Helper()
		if have := names(segs...); have != want {
			t.Errorf("%s: have %q, want %q", what, have, want)
		}
	}
	f("fresh ones", "", numbered(1, 0, 0, 9, 1), numbered(2, 0, 5, 9, 1))
	f("one over a fresh one", "1", numbered(1, 1, 0, 9, 1), numbered(2, 0, 5, 9, 1))
	f("one that touches a fresh one's end", "2", numbered(1, 0, 0, 9, 1), numbered(2, 1, 9, 19, 1))
	f("one beside a fresh one", "", numbered(1, 0, 0, 8, 1), numbered(2, 1, 9, 19, 1))
	f("ones of the same generation", "", numbered(1, 1, 0, 9, 1), numbered(2, 1, 5, 9, 1))
	f("a chain", "2 3", numbered(1, 0, 0, 9, 1), numbered(2, 1, 0, 9, 1), numbered(3, 2, 0, 9, 1))
	f("a long fresh one before others", "3", numbered(1, 0, 0, 99, 1), numbered(2, 0, 5, 6, 1), numbered(3, 1, 50, 60, 1))
	bad := numbered(1, 1, 0, 9, 1)
	bad.damaged = true
	f("a damaged one", "", bad, numbered(2, 0, 5, 9, 1))
}
