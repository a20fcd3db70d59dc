package tail

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oklog/objstore/segment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var day0 = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// oneSpan is a span without times.
func oneSpan(lo, hi uint64) span { return span{lo: lo, hi: hi} }

// Spans are compared with a set of numbers.
func TestSpans(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		var s spans
		set := map[uint64]bool{}
		for range 1 + rnd.IntN(12) {
			lo := rnd.Uint64N(60)
			x := oneSpan(lo, lo+1+rnd.Uint64N(8))
			in, out := s.within(nil, x), s.without(nil, x)
			for c := x.lo; c < x.hi; c++ {
				if in.has(c) != set[c] || out.has(c) == set[c] || s.has(c) != set[c] {
					t.Fatalf("%v and %v: within %v, without %v at %d", s, x, in, out, c)
				}
			}
			if in.count()+out.count() != int64(x.hi-x.lo) {
				t.Fatalf("%v and %v: within %v, without %v", s, x, in, out)
			}
			cut := rnd.IntN(3) == 0
			if cut {
				s = s.cut(x)
			} else {
				s = s.add(x)
			}
			for c := x.lo; c < x.hi; c++ {
				set[c] = !cut
			}
			n := 0
			for _, is := range set {
				if is {
					n++
				}
			}
			if s.count() != int64(n) {
				t.Fatalf("%v has %d, want %d", s, s.count(), n)
			}
			for i := 1; i < len(s); i++ {
				if s[i-1].hi >= s[i].lo {
					t.Fatalf("%v is not ascending", s)
				}
			}
		}
		for _, x := range s {
			for c := x.lo; c < x.hi; c++ {
				if !set[c] {
					t.Fatalf("%v holds %d", s, c)
				}
			}
		}
		if small := s.shrink(2); len(small) > 2 || len(s) > 0 && small[len(small)-1].hi != s[len(s)-1].hi {
			t.Fatalf("%v shrinks to %v", s, small)
		}
	}
}

// part is what a test's batch has of one session.
type part struct {
	session uint64
	have    spans
	match   []segment.Record
	lost    bool // never comes
	stored  bool // a fill finds it
}

// makeParts makes the batches of a session: of each, counters that follow each other, or every second one, as where times are parsed.
func makeParts(rnd *rand.Rand, session uint64) (parts []part) {
	counter := uint32(rnd.IntN(3) * 100)
	ms := uint64(day0.UnixMilli())
	batches := 5 + rnd.IntN(25)
	for b := range batches {
		n := uint32(1 + rnd.IntN(6))
		two := [2]part{{session: session}, {session: session}}
		split := b > 0 && b < batches-1 && rnd.IntN(8) == 0
		for i := range n {
			ms += rnd.Uint64N(20)
			p := &two[0]
			if split {
				p = &two[i%2]
			}
			p.have = p.have.add(span{uint64(counter), uint64(counter) + 1, ms, ms, 0})
			if rnd.IntN(3) > 0 {
				p.match = append(p.match, segment.Record{ID: segment.MakeID(ms, session, counter), Text: fmt.Appendf(nil, "%d.%d", session, counter)})
			}
			counter++
		}
		for _, p := range two {
			if len(p.have) == 0 {
				continue
			}
			p.lost, p.stored = rnd.IntN(6) == 0, rnd.IntN(2) == 0
			parts = append(parts, p)
		}
	}
	parts[0].lost, parts[len(parts)-1].lost = false, false // else nothing tells
	return parts
}

// deliver is an order in which batches come: some late, some several times, those of different sessions in between.
func deliver(rnd *rand.Rand, all [][]part) (order []part) {
	type due struct {
		at float64
		part
	}
	var dues []due
	for _, parts := range all {
		for i, p := range parts {
			if p.lost {
				continue
			}
			at := float64(i) + rnd.Float64()
			first := i == 0 || i == len(parts)-1
			if i == len(parts)-1 {
				at += 20
			}
			if !first && rnd.IntN(5) == 0 {
				at += 12 * rnd.Float64()
			}
			if i == 0 {
				at = -1
			}
			dues = append(dues, due{at, p})
			for rnd.IntN(5) == 0 {
				dues = append(dues, due{at + 30*rnd.Float64(), p})
			}
		}
	}
	slices.SortStableFunc(dues, func(a, b due) int {
		if a.at < b.at {
			return -1
		}
		return 1
	})
	for _, d := range dues {
		order = append(order, d.part)
	}
	return order
}

// Whatever comes, and in whatever order: a record is put out once or counted, those of a session in order but for what had been given up.
func TestTrackerTakesEverythingOnce(t *testing.T) {
	recovered, skipped := int64(0), int64(0)
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		tr := newTracker(time.Second, 1<<20)
		if rnd.IntN(10) == 0 {
			tr.maxHeld = 300
		}
		var all [][]part
		for s := range 1 + rnd.IntN(4) {
			all = append(all, makeParts(rnd, uint64(s+1)))
		}
		now := day0
		seen := map[string]int{}
		last := map[uint64]uint64{}
		var told, back int64
		overload := map[string]bool{} // of batches that were dropped
		count := func() {
			late := false
			for _, e := range tr.flush() {
				switch e.Kind {
				case Match:
					_, session, counter := segment.SplitID(e.Record.ID)
					if !late && uint64(counter) < last[session] {
						t.Fatalf("seed %d: %s is out of order, behind %d", seed, e.Record.Text, last[session])
					}
					last[session] = max(last[session], uint64(counter))
					seen[string(e.Record.Text)]++
				case Skipped:
					told += e.N
				case Recovered:
					back += e.N
					late = true
				}
			}
		}
		fill := func() {
			holes := tr.due(now)
			if len(holes) == 0 {
				return
			}
			for _, parts := range all {
				for _, p := range parts {
					if p.lost && !p.stored {
						continue
					}
					if !p.lost && rnd.IntN(2) == 0 {
						continue // it is not stored yet
					}
					for _, h := range holes {
						if h.session != p.session {
							continue
						}
						in := p.have
						var part spans
						for _, x := range in {
							part = spans{h.span}.within(part, x)
						}
						var match []segment.Record
						for _, r := range p.match {
							if part.has(counterOf(r)) {
								match = append(match, r)
							}
						}
						// What comes from the fill may come before the end of the hole, in any order.
						tr.take(p.session, part, match, "", now)
						count()
					}
				}
			}
			tr.giveUp(holes, whyMissing, now)
			count()
		}
		for _, p := range deliver(rnd, all) {
			now = now.Add(time.Duration(rnd.IntN(300)) * time.Millisecond)
			why := ""
			if rnd.IntN(25) == 0 {
				why = whySlow
			}
			tr.take(p.session, p.have, p.match, why, now)
			count()
			if why != "" {
				for _, r := range p.match {
					overload[string(r.Text)] = true
				}
			}
			if rnd.IntN(3) == 0 {
				fill()
			}
		}
		now = now.Add(time.Minute)
		fill()
		if len(tr.open) > 0 || tr.held != 0 {
			t.Fatalf("seed %d: %d sessions have holes in the end, %d bytes wait", seed, len(tr.open), tr.held)
		}
		var total, matching, missing int64
		for _, parts := range all {
			for _, p := range parts {
				total += p.have.count()
				for _, r := range p.match {
					matching++
					switch n := seen[string(r.Text)]; {
					case n > 1:
						t.Fatalf("seed %d: %s was put out %d times", seed, r.Text, n)
					case n == 0:
						missing++
						if !p.lost && !overload[string(r.Text)] {
							t.Fatalf("seed %d: %s came and was not put out", seed, r.Text)
						}
					}
				}
			}
		}
		// Exactly: what was counted and has not come back is what is known of the sessions' skipped records, and holds all that was not put out.
		var open int64
		missed := map[string]bool{}
		for _, parts := range all {
			for _, p := range parts {
				for _, r := range p.match {
					if tr.sessions[p.session].skipped.has(counterOf(r)) {
						missed[string(r.Text)] = true
					}
				}
			}
		}
		for id, s := range tr.sessions {
			open += s.skipped.count()
			if end := all[id-1][len(all[id-1])-1].have; s.next != end[len(end)-1].hi {
				t.Fatalf("seed %d: session %d ends at %d, want %d", seed, id, s.next, end[len(end)-1].hi)
			}
		}
		if told-back != open {
			t.Fatalf("seed %d: %d were told as skipped, %d came back, and %d are skipped", seed, told, back, open)
		}
		if int64(len(missed)) != missing {
			t.Fatalf("seed %d: %d of %d are missing, and %d are among the %d of %d that were counted", seed, missing, matching, len(missed), open, total)
		}
		skipped, recovered = skipped+told, recovered+back
	}
	if skipped == 0 || recovered == 0 {
		t.Errorf("%d were skipped and %d recovered: nothing was tested", skipped, recovered)
	}
}

func TestTrackerWaitsForAHole(t *testing.T) {
	tr := newTracker(time.Second, 1<<20)
	now := day0
	take := func(lo, hi uint64, why string) (out []string) {
		var match []segment.Record
		for c := lo; c < hi; c++ {
			match = append(match, segment.Record{ID: segment.MakeID(1000+c, 5, uint32(c)), Text: fmt.Append(nil, c)})
		}
		tr.take(5, spans{{lo, hi, 1000 + lo, 1000 + hi - 1, 0}}, match, why, now)
		return texts(tr.flush())
	}
	check := func(have []string, want ...string) {
		t.Helper()
		if !slices.Equal(have, want) {
			t.Errorf("want %q, have %q", want, have)
		}
	}
	check(take(10, 12, ""), "10", "11")
	check(take(10, 12, ""))
	check(take(14, 16, ""))
	if d, ok := tr.wait(now); !ok || d != time.Second {
		t.Errorf("waits %s, %v", d, ok)
	}
	check(take(12, 14, ""), "12", "13", "14", "15")
	if _, ok := tr.wait(now); ok {
		t.Error("waits though there is no hole")
	}
	check(take(7, 9, ""), "7", "8") // before the first that was seen: late, and not a repetition
	check(take(7, 9, ""))
	check(take(18, 19, ""))
	now = now.Add(time.Second)
	due := tr.due(now)
	if want := []hole{{5, span{16, 18, 1015, 1018, 0}}}; !slices.Equal(due, want) {
		t.Fatalf("due are %v, want %v", due, want)
	}
	tr.giveUp(due, whyMissing, now)
	check(texts(tr.flush()), "skipped 2", "18")
	check(take(16, 17, ""), "recovered 1", "16")
	check(take(16, 17, ""))
	check(take(19, 22, whySlow), "skipped 3")
	check(take(22, 23, ""), "22")
	check(take(20, 23, ""), "recovered 2", "20", "21")
	check(take(1<<32-1, 1<<32, ""))
}

// texts are events as words.
func texts(events []Event) (out []string) {
	for _, e := range events {
		switch e.Kind {
		case Match:
			out = append(out, string(e.Record.Text))
		case Skipped:
			out = append(out, fmt.Sprintf("skipped %d", e.N))
		case Recovered:
			out = append(out, fmt.Sprintf("recovered %d", e.N))
		case Notice:
			out = append(out, e.Text)
		}
	}
	return out
}

// What waits is bounded, and so are the sessions.
func TestTrackerIsBounded(t *testing.T) {
	tr := newTracker(time.Second, 10_000)
	text := make([]byte, 1000)
	for c := uint64(0); c < 400; c += 2 {
		tr.take(1, spans{{c, c + 1, 0, 0, 0}}, []segment.Record{{ID: segment.MakeID(1, 1, uint32(c)), Text: text}}, "", day0)
		if tr.held > 12_000 {
			t.Fatalf("%d bytes wait", tr.held)
		}
	}
	n := int64(0)
	for _, e := range tr.flush() {
		n += e.N
	}
	if n < 150 {
		t.Errorf("%d are told as skipped", n)
	}
	for c := uint64(1000); c < 10_000; c += 2 {
		tr.take(2, spans{{c, c + 1, 0, 0, 0}}, nil, "", day0)
		if len(tr.sessions[2].beyond) > maxSpans+1 || len(tr.sessions[2].skipped) > maxSpans {
			t.Fatal("the spans of a session are not bounded")
		}
	}
	for id := range uint64(maxSessions + 1000) {
		tr.take(id+10, spans{{0, 1, 0, 0, 0}}, nil, "", day0.Add(time.Duration(id)*time.Millisecond))
	}
	if n := len(tr.sessions); n > maxSessions {
		t.Errorf("%d sessions are known", n)
	}
	if _, ok := tr.sessions[maxSessions+1000]; !ok {
		t.Error("the newest session was forgotten")
	}
	if keys := slices.Collect(maps.Keys(tr.open)); !slices.Contains(keys, 2) {
		t.Error("a session with a hole was forgotten")
	}
}
