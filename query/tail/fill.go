package tail

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"oklog/objstore/segment"
	"oklog/query"
)

const (
	fillBlock   = 256 << 10 // bytes of text that are filtered at once
	fillTries   = 5         // a server that has just come back may not answer yet
	fillPause   = 500 * time.Millisecond
	fillMargin  = 10 * time.Second // by which clocks and the times of records may differ, in a session
	clockMargin = time.Minute      // by which the clock of a session may be behind that was not heard of before
	fillReach   = time.Hour        // how far back what was missed is looked for
	activeSince = time.Minute      // sessions that were heard of within it before a loss say where to begin
)

// fill is a query for what is missing, on its way: holes in sessions, or everything since the connection was lost. What it wants is found out
// before, since the tracker goes on meanwhile.
type fill struct {
	holes   []hole // of which what is not found is given up
	catchUp bool
	rng     query.Range
	wanted  map[uint64]spans // the records that are missing, by session; of a catch-up: what is not before the tail began
	from    uint64           // catch-up: of other sessions, what is not older, Unix ms

	cancel context.CancelFunc
	done   chan struct{}

	// The result, when done is closed.
	have   map[uint64]spans // found
	match  map[uint64][]segment.Record
	over   map[uint64]spans // found, and too much
	room   *query.Share     // of what match takes
	ranOut bool             // of time
	err    error
	lacks  int // parts of what is stored could not be read
}

// fillOf looks for what is missing in holes.
func (r *reader) fillOf(holes []hole) *fill {
	f := &fill{holes: holes, wanted: map[uint64]spans{}}
	var from, to time.Time
	for _, h := range holes {
		f.wanted[h.session] = f.wanted[h.session].add(span{lo: h.lo, hi: h.hi, first: h.first, last: h.last})
		a, b := time.UnixMilli(int64(min(h.first, h.last))), time.UnixMilli(int64(max(h.first, h.last)))
		if from.IsZero() || a.Before(from) {
			from = a
		}
		if to.IsZero() || b.After(to) {
			to = b
		}
	}
	from, to = from.Add(-fillMargin), to.Add(fillMargin)
	if far := to.Add(-fillReach); from.Before(far) {
		from = far
	}
	f.rng = query.Range{From: segment.AtTime(from), To: segment.AtTime(to)}
	return f
}

// catchUp looks for everything since the loss.
func (r *reader) catchUp() *fill {
	f := &fill{catchUp: true, wanted: map[uint64]spans{}, from: uint64(max(r.began.UnixMilli(), 0))}
	from := r.lost.Add(-clockMargin)
	for id, s := range r.track.sessions {
		if !s.live {
			continue
		}
		f.wanted[id] = spans{{lo: s.base, hi: 1 << 32}}
		if last := time.UnixMilli(int64(s.last)); s.seen.After(r.lost.Add(-activeSince)) && last.Before(from) {
			from = last
		}
	}
	if far := r.lost.Add(-fillReach); from.Before(far) {
		from = far
	}
	f.rng = query.Range{From: segment.AtTime(from), To: segment.AtTime(r.now().Add(query.Ahead))}
	return f
}

// wants tells whether a record is one of those that are missing.
func (f *fill) wants(ms, session, counter uint64) bool {
	if s, ok := f.wanted[session]; ok || !f.catchUp {
		return s.has(counter)
	}
	return ms >= f.from
}

// startFill has the query run beside the live batches.
func (r *reader) startFill(ctx context.Context, f *fill) {
	ctx, f.cancel = context.WithTimeout(ctx, r.t.cfg.FillTime)
	f.done = make(chan struct{})
	r.fill = f
	if r.t.cfg.Runner == nil {
		close(f.done)
		return
	}
	topic, filter := r.q.Topic, query.NewFilter(r.q)
	f.room = query.NewShare(r.t.cfg.MaxBytes/4, r.t.cfg.Spare)
	runner := r.t.cfg.Runner
	go func() {
		defer close(f.done)
		if err := pause(ctx, settle); err != nil {
			f.ranOut = true
			return
		}
		for n := 1; ; n++ {
			f.have, f.match, f.over = map[uint64]spans{}, map[uint64][]segment.Record{}, map[uint64]spans{}
			f.room.Close()
			f.err = f.run(ctx, runner, topic, filter)
			if f.err == nil || n == fillTries || pause(ctx, fillPause) != nil {
				f.ranOut = f.err != nil && ctx.Err() != nil
				return
			}
		}
	}()
}

// run reads what is stored.
func (f *fill) run(ctx context.Context, runner query.Runner, topic string, filter *query.Filter) error {
	block := &segment.Block{Sources: segment.Sources{}}
	flush := func() {
		f.sort(block, filter)
		block.Reset()
		block.Sources = segment.Sources{}
	}
	// No pattern: which records there are tells what is skipped.
	ans, err := runner.Run(ctx, query.Query{Topic: topic, Range: f.rng}, func(rec query.Record) error {
		ms, session, counter := segment.SplitID(rec.ID)
		if !f.wants(ms, session, uint64(counter)) {
			return nil
		}
		block.Append(rec.ID, rec.Text, rec.Piece)
		block.Sources[session] = rec.Source
		if len(block.Text) >= fillBlock {
			flush()
		}
		return nil
	})
	flush()
	f.lacks = len(ans.Problems) + ans.Unlisted
	return err
}

// sort puts the records of a block to what was found.
func (f *fill) sort(block *segment.Block, filter *query.Filter) {
	if block.Len() == 0 {
		return
	}
	into := f.have
	found := filter.Find(block)
	var size int64
	for _, rec := range found {
		size += recordSize(rec)
	}
	if len(f.over) > 0 || !f.room.Take(size) { // once there is too much, what follows is too much as well
		into, found = f.over, nil
	}
	for _, rec := range found {
		_, session, _ := segment.SplitID(rec.ID)
		rec.Text = bytes.Clone(rec.Text)
		f.match[session] = append(f.match[session], rec)
	}
	for session, have := range sessionsOf([]*segment.Block{block}) {
		for _, x := range have {
			into[session] = into[session].add(x)
		}
	}
}

// filled takes in what a fill has found.
func (r *reader) filled(now time.Time) {
	f := r.fill
	r.fill = nil
	f.cancel()
	defer f.close()
	t := r.track
	for session, have := range f.have {
		t.take(session, have, f.match[session], "", now)
	}
	// By session they are in order; beside each other they are in the order of their IDs.
	slices.SortStableFunc(t.out, func(a, b Event) int {
		if a.Kind != Match || b.Kind != Match {
			return int(min(b.Kind, 1)) - int(min(a.Kind, 1))
		}
		return a.Record.ID.Compare(b.Record.ID)
	})
	why := whyMissing
	switch {
	case r.t.cfg.Runner == nil:
		why = whyNoBucket
	case f.ranOut || f.err != nil || f.lacks > 0:
		why = whyUnknown
	}
	t.giveUp(f.holes, why, now)
	if f.catchUp {
		text := f.caughtUp(r.t.cfg)
		if r.away {
			text = "connected again: " + text
		}
		r.lost, r.away = time.Time{}, false
		t.out = append([]Event{{Kind: Notice, Text: text}}, t.out...)
	}
	if len(f.over) > 0 {
		// Some of it may have come live, meanwhile.
		for it, ok := r.item(); ok; it, ok = r.item() {
			r.process(it)
		}
	}
	for session, have := range f.over {
		t.take(session, have, nil, whyTooFar, now)
	}
	r.nextAt = now.Add(r.t.cfg.Hold / 2)
}

// caughtUp says how it went.
func (f *fill) caughtUp(cfg Config) string {
	const counted = "is counted as skipped where more of its session comes"
	switch {
	case cfg.Runner == nil:
		return "what was missed meanwhile " + counted
	case f.ranOut:
		return fmt.Sprintf("what was missed meanwhile could not be read within %s, and %s", cfg.FillTime, counted)
	case f.err != nil:
		return fmt.Sprintf("what was missed meanwhile could not be read, and %s: %v", counted, f.err)
	case f.lacks > 0:
		return fmt.Sprintf("of what was missed meanwhile %d parts could not be read", f.lacks)
	}
	return "what was missed meanwhile has been read"
}

// endFill waits until nothing is under way.
func (r *reader) endFill() {
	if r.fill != nil {
		r.fill.cancel()
		<-r.fill.done
		r.fill.close()
	}
}

// close lets go of what was found.
func (f *fill) close() {
	f.match = nil
	if f.room != nil {
		f.room.Close()
	}
}
