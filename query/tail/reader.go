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

// reader is one Run.
type reader struct {
	t      *Tail
	q      query.Query
	emit   func(Event) error
	began  time.Time
	filter *query.Filter
	in     *inbox
	track  *tracker

	lost    time.Time // since when batches may be missing; zero: they are not
	away    bool      // the connection was lost then, and that was told
	fill    *fill     // that is under way; nil: none
	nextAt  time.Time // no fill before
	last    segment.Record
	any     bool  // last is set
	matched int64 // records put out; pieces of one count once
}

func (r *reader) now() time.Time { return r.t.cfg.Clock() }

func (r *reader) run(ctx context.Context, lines int) error {
	defer r.endFill()
	if err := r.ready(ctx); err != nil {
		return err
	}
	if lines > 0 && r.t.cfg.Runner != nil {
		if err := r.history(ctx, lines); err != nil {
			return err
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if it, ok := r.item(); ok {
			r.process(it)
			if err := r.flush(); err != nil {
				return err
			}
			continue
		}
		if err := r.await(ctx); err != nil {
			return err
		}
		if err := r.flush(); err != nil {
			return err
		}
	}
}

// ready waits for the subscription.
func (r *reader) ready(ctx context.Context) error {
	late := time.NewTimer(time.Second)
	defer late.Stop()
	for {
		whole, err := r.in.status()
		if err != nil {
			return fmt.Errorf("tail %s: %w", r.q.Topic, err)
		}
		if whole {
			return pause(ctx, settle)
		}
		select {
		case <-r.in.wake:
		case <-late.C:
			if err := r.notice("there is no connection: waiting for one"); err != nil {
				return err
			}
			r.idle()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// history puts out the newest records that are stored, and what has come meanwhile.
func (r *reader) history(ctx context.Context, lines int) error {
	q := r.q
	q.Newest, q.Limit, q.CountOnly, q.Idle = true, int64(lines), false, nil
	q.Range.To = segment.AtTime(r.now().Add(query.Ahead))
	var found []segment.Record
	room := query.NewShare(r.t.cfg.MaxBytes/4, r.t.cfg.Spare)
	defer room.Close()
	tooMuch := false
	ans, err := r.t.cfg.Runner.Run(ctx, q, func(rec query.Record) error {
		if tooMuch = !room.Take(recordSize(rec.Record)); tooMuch {
			return segment.ErrStop
		}
		rec.Text = bytes.Clone(rec.Text)
		found = append(found, rec.Record)
		return nil
	})
	if err != nil {
		return fmt.Errorf("tail %s: read the last records: %w", r.q.Topic, err)
	}
	if ans.Partial() {
		if err := r.notice(fmt.Sprintf("of what is stored %d parts could not be read: the last records may be incomplete", len(ans.Problems)+ans.Unlisted)); err != nil {
			return err
		}
	}
	if tooMuch {
		if err := r.notice(fmt.Sprintf("there is no memory for so many of the last records: %d of them are shown", len(found))); err != nil {
			return err
		}
	}
	var newest segment.Record
	for _, rec := range found {
		r.track.show(rec, r.began)
		if rec.ID.Compare(newest.ID) > 0 {
			newest = rec
		}
	}
	// What came while the query ran belongs in between, as far as it is older than the newest that was found.
	var rest []Event
	for r.lost.IsZero() {
		it, ok := r.item()
		if !ok {
			break
		}
		r.process(it)
		for _, e := range r.track.flush() {
			if e.Kind == Match && e.Record.ID.Compare(newest.ID) < 0 {
				found = append(found, e.Record.Record)
			} else {
				rest = append(rest, e)
			}
		}
	}
	slices.SortFunc(found, func(a, b segment.Record) int { return a.ID.Compare(b.ID) })
	for _, rec := range found {
		if err := r.put(Event{Record: recordOf(rec)}); err != nil {
			return err
		}
	}
	return r.putAll(append(rest, r.track.flush()...))
}

// item is the next thing to do with the inbox. What comes while something is missed waits until that was caught up with.
func (r *reader) item() (item, bool) {
	if !r.lost.IsZero() {
		return item{}, false
	}
	return r.in.next()
}

// process takes in an item of the inbox.
func (r *reader) process(it item) {
	now := r.now()
	switch {
	case it.batch != nil:
		r.takeBatch(it.batch, now)
	case it.dropped != nil:
		for id, have := range it.dropped {
			r.track.take(id, have, nil, whySlow, now)
		}
	case it.bad != nil:
		r.track.out = append(r.track.out, Event{Kind: Notice,
			Text: fmt.Sprintf("%d batches cannot be read: the last one because of: %v", it.badN, it.bad)})
	default:
		r.lost = it.lost
		if whole, _ := r.in.status(); !whole {
			r.away = true
			r.track.out = append(r.track.out, Event{Kind: Notice, Text: "the connection is lost: waiting for it"})
		}
	}
}

func (r *reader) takeBatch(b *batch, now time.Time) {
	match := map[uint64][]segment.Record{}
	for _, block := range b.blocks {
		for _, rec := range r.filter.Find(block) {
			_, id, _ := segment.SplitID(rec.ID)
			match[id] = append(match[id], rec)
		}
	}
	var order []uint64
	for id := range b.sessions {
		order = append(order, id)
	}
	slices.Sort(order)
	for _, id := range order {
		r.track.take(id, b.sessions[id], match[id], "", now)
	}
}

// await waits until there is something to do, and does it if it is no item of the inbox.
func (r *reader) await(ctx context.Context) error {
	r.idle()
	whole, err := r.in.status()
	if err != nil {
		return fmt.Errorf("tail %s: %w", r.q.Topic, err)
	}
	now := r.now()
	var timer <-chan time.Time
	if r.fill == nil && whole {
		if !r.lost.IsZero() {
			r.startFill(ctx, r.catchUp())
		} else if d, ok := r.track.wait(now); ok {
			d = max(d, r.nextAt.Sub(now))
			if d <= 0 {
				r.startFill(ctx, r.fillOf(r.track.due(now)))
			} else {
				t := time.NewTimer(d)
				defer t.Stop()
				timer = t.C
			}
		}
	}
	var done <-chan struct{}
	if r.fill != nil {
		done = r.fill.done
	}
	select {
	case <-r.in.wake:
	case <-timer:
	case <-done:
		r.filled(r.now())
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (r *reader) idle() {
	if r.q.Idle != nil {
		r.q.Idle()
	}
}

// flush puts out what the tracker has ready.
func (r *reader) flush() error { return r.putAll(r.track.flush()) }

func (r *reader) putAll(events []Event) error {
	for _, e := range events {
		if err := r.put(e); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) notice(text string) error { return r.put(Event{Kind: Notice, Text: text}) }

func (r *reader) put(e Event) error {
	if e.Kind != Match {
		return r.emit(e)
	}
	rec := &e.Record
	rec.Joined = r.any && rec.Piece&segment.Continues != 0 && r.last.Piece&segment.Continued != 0 && segment.After(r.last.ID) == rec.ID
	if !rec.Joined {
		if r.q.Limit > 0 && r.matched == r.q.Limit {
			return segment.ErrStop // the piece before it goes on in one that was not found
		}
		r.matched++
	}
	r.last, r.any = segment.Record{ID: rec.ID, Piece: rec.Piece}, true
	if err := r.emit(e); err != nil {
		return err
	}
	if r.q.Limit > 0 && r.matched == r.q.Limit && rec.Piece&segment.Continued == 0 {
		return segment.ErrStop
	}
	return nil
}

func recordOf(r segment.Record) query.Record { return query.Record{Record: r} }
