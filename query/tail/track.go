package tail

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"oklog/objstore/segment"
)

// Bounds on what is known of sessions.
const (
	maxSessions = 1 << 16
	maxSpans    = 1 << 10 // of each kind, in a session
)

// Reasons for records that are skipped.
const (
	whyMissing  = "they were not published, or have gone since"
	whySlow     = "the output is slower than the records come"
	whyTooMuch  = "too much came at once"
	whyTooFar   = "too much was missed to be read again"
	whyUnknown  = "what was missed could not be read again"
	whyNoBucket = "what was missed is not looked up here"
)

// session is what is known of one session's counters:
//
//	    late            base ──────── next   hole   beyond
//	────██──█───────────████████████████████░░░░░░██████░░░██──▶ counter
//	before the tail     put out, in order         held back
//	began, or shown     (skipped: told so)
type session struct {
	live       bool // base and next are known: something of it came live
	base, next uint64
	last       uint64 // time of the record before next, Unix ms
	seen       time.Time

	shown   spans            // put out by the history
	late    spans            // below base, and put out
	skipped spans            // told as skipped, and not come since
	beyond  spans            // behind a hole
	held    []segment.Record // that match, of beyond
}

// tracker puts out each record once, those of a session in the order of their counters, and counts what does not come. It is pure: time
// and batches are passed in, and what is to be put out is in out.
type tracker struct {
	hold     time.Duration // how long records wait for those before them
	maxHeld  int64         // bytes of records that wait
	sessions map[uint64]*session
	open     map[uint64]*session // those with a hole
	held     int64
	out      []Event
}

func newTracker(hold time.Duration, maxHeld int64) *tracker {
	return &tracker{hold: hold, maxHeld: maxHeld, sessions: map[uint64]*session{}, open: map[uint64]*session{}}
}

func (t *tracker) session(id uint64, now time.Time) *session {
	s := t.sessions[id]
	if s == nil {
		t.evict()
		s = &session{}
		t.sessions[id] = s
	}
	s.seen = now
	return s
}

// evict forgets the sessions that have been silent for longest, if there are too many.
func (t *tracker) evict() {
	if len(t.sessions) < maxSessions {
		return
	}
	var times []time.Time
	for _, s := range t.sessions {
		times = append(times, s.seen)
	}
	slices.SortFunc(times, time.Time.Compare)
	bound := times[len(times)/4]
	for id, s := range t.sessions {
		if _, open := t.open[id]; !open && !s.seen.After(bound) {
			delete(t.sessions, id)
		}
	}
}

// show notes that the history has put out a record.
func (t *tracker) show(r segment.Record, now time.Time) {
	ms, id, counter := segment.SplitID(r.ID)
	s := t.session(id, now)
	s.shown = s.shown.add(span{lo: uint64(counter), hi: uint64(counter) + 1, first: ms, last: ms})
}

// known are the records of the session from lo up to hi that matter no more: put out, passed over, or waiting.
func (s *session) known(lo, hi uint64) spans {
	k := slices.Clone(s.late.around(lo, hi))
	if s.next > s.base {
		k = k.add(span{lo: s.base, hi: s.next, last: s.last})
	}
	k = append(k, s.beyond.around(lo, hi)...)
	for _, x := range s.skipped.around(lo, hi) {
		k = k.cut(x)
	}
	return k
}

// take takes in records of a session: which there are, and those among them that match. With a reason, they are skipped.
func (t *tracker) take(id uint64, have spans, match []segment.Record, why string, now time.Time) {
	if len(have) == 0 {
		return
	}
	s := t.session(id, now)
	if !s.live {
		s.live, s.base, s.next, s.last = true, have[0].lo, have[0].lo, have[0].first
	}
	known := s.known(have[0].lo, have[len(have)-1].hi)
	var fresh, back spans
	for _, x := range have {
		fresh = known.without(fresh, x)
	}
	if len(fresh) == 0 {
		return // a repetition
	}
	for _, x := range fresh {
		back = s.skipped.within(back, x)
	}
	if why != "" {
		for _, x := range back {
			fresh = fresh.cut(x)
		}
		t.skip(s, fresh, why)
		match = nil
	} else if len(back) > 0 {
		for _, x := range back {
			s.skipped = s.skipped.cut(x)
		}
		t.out = append(t.out, Event{Kind: Recovered, N: back.count()})
	}
	for _, x := range fresh {
		x.at = now.UnixNano()
		if x.lo < s.base {
			below := x
			below.hi = min(x.hi, s.base)
			s.late = s.late.add(below).shrink(maxSpans)
			x.lo = below.hi
		}
		if x.lo < x.hi && x.hi > s.next { // else it has come back
			x.lo = max(x.lo, s.next)
			s.beyond = s.beyond.add(x)
		}
	}
	before := s.next
	s.advance()
	byCounter := func(a, b segment.Record) int { return cmp.Compare(counterOf(a), counterOf(b)) }
	if !slices.IsSortedFunc(match, byCounter) {
		match = slices.Clone(match)
		slices.SortStableFunc(match, byCounter)
	}
	var ready []segment.Record
	for _, r := range match {
		c := counterOf(r)
		if !fresh.has(c) || s.shown.has(c) {
			continue
		}
		if c < s.next {
			ready = append(ready, r)
			continue
		}
		r.Text = bytes.Clone(r.Text)
		s.held = append(s.held, r)
		t.held += recordSize(r)
	}
	if s.next > before {
		ready = append(ready, t.release(s)...)
		if !slices.IsSortedFunc(ready, byCounter) {
			slices.SortStableFunc(ready, byCounter)
		}
	}
	for _, r := range ready {
		t.put(r)
	}
	t.keep(id, s, now)
}

// skip tells that records will not be put out.
func (t *tracker) skip(s *session, which spans, why string) {
	n := which.count()
	if n == 0 {
		return
	}
	for _, x := range which {
		s.skipped = s.skipped.add(x)
	}
	if n := len(s.skipped) - maxSpans; n > 0 {
		s.skipped = slices.Delete(s.skipped, 0, n) // should they come, they are dropped: told is told
	}
	t.out = append(t.out, Event{Kind: Skipped, N: n, Text: why})
}

// advance closes up to what is beyond.
func (s *session) advance() {
	for len(s.beyond) > 0 && s.beyond[0].lo <= s.next {
		s.next, s.last = max(s.next, s.beyond[0].hi), s.beyond[0].last
		s.beyond = s.beyond[1:]
	}
	if len(s.beyond) == 0 {
		s.beyond = nil
	}
}

// release takes the records that wait no longer.
func (t *tracker) release(s *session) (ready []segment.Record) {
	wait := s.held[:0]
	for _, r := range s.held {
		if counterOf(r) < s.next {
			ready = append(ready, r)
			t.held -= recordSize(r)
		} else {
			wait = append(wait, r)
		}
	}
	clear(s.held[len(wait):])
	s.held = wait
	return ready
}

// keep notes whether the session has a hole, and gives holes up where too much waits behind them.
func (t *tracker) keep(id uint64, s *session, now time.Time) {
	if len(s.beyond) == 0 {
		delete(t.open, id)
		return
	}
	t.open[id] = s
	if len(s.beyond) > maxSpans {
		t.giveUp(s.holes(nil, id, now), whyTooMuch, now)
	}
	if t.held > t.maxHeld {
		t.giveUp(t.due(now.Add(t.hold)), whyTooMuch, now)
	}
}

func (t *tracker) put(r segment.Record) { t.out = append(t.out, Event{Record: recordOf(r)}) }

// hole is records of a session that did not come, though later ones did.
type hole struct {
	session uint64
	span    // its times are those of the records beside it
}

// holes appends those of a session that are followed by something that came at a time or before.
func (s *session) holes(dst []hole, id uint64, came time.Time) []hole {
	lo, last := s.next, s.last
	for _, x := range s.beyond {
		if x.at <= came.UnixNano() {
			dst = append(dst, hole{id, span{lo: lo, hi: x.lo, first: last, last: x.first}})
		}
		lo, last = x.hi, x.last
	}
	return dst
}

// due are the holes that records have waited for long enough.
func (t *tracker) due(now time.Time) (due []hole) {
	for id, s := range t.open {
		due = s.holes(due, id, now.Add(-t.hold))
	}
	slices.SortFunc(due, func(a, b hole) int { return cmp.Or(cmp.Compare(a.session, b.session), cmp.Compare(a.lo, b.lo)) })
	return due
}

// wait is how long it takes until a hole is due; false if there is none.
func (t *tracker) wait(now time.Time) (d time.Duration, ok bool) {
	for _, s := range t.open {
		for _, x := range s.beyond {
			left := time.Unix(0, x.at).Add(t.hold).Sub(now)
			if !ok || left < d {
				d, ok = left, true
			}
		}
	}
	return max(d, 0), ok
}

// giveUp tells what is still missing in holes as skipped, and puts out what waits behind it.
func (t *tracker) giveUp(holes []hole, why string, now time.Time) {
	for _, h := range holes {
		s := t.sessions[h.session]
		if s == nil || h.hi <= s.next {
			continue
		}
		h.lo = max(h.lo, s.next)
		missing := s.beyond.without(nil, h.span)
		t.skip(s, missing, why)
		for _, x := range missing {
			x.at = now.UnixNano()
			s.beyond = s.beyond.add(x)
		}
		s.advance()
		ready := t.release(s)
		slices.SortStableFunc(ready, func(a, b segment.Record) int { return cmp.Compare(counterOf(a), counterOf(b)) })
		for _, r := range ready {
			t.put(r)
		}
		if len(s.beyond) == 0 {
			delete(t.open, h.session)
		}
	}
}

// flush takes what is to be put out.
func (t *tracker) flush() []Event {
	out := t.out
	t.out = nil
	return out
}

func counterOf(r segment.Record) uint64 {
	_, _, c := segment.SplitID(r.ID)
	return uint64(c)
}

func recordSize(r segment.Record) int64 { return int64(len(r.Text)) + recordCost }
