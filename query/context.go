package query

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"oklog/objstore/segment"
)

// Bounds on what a query with context has in hand: matches that were found and are not looked around yet, and records that are about to be put out.
const (
	chunkRecords, chunkBytes = 4096, 1 << 20
	batchRecords, batchBytes = 16384, 8 << 20
)

// RunContext answers q with the records around those that match: matches finds these, and around reads what stands beside them. Both see
// the same buckets and batches. Where q wants no context, matches answers it.
//
//	matches ──▶ chunks of records ──▶ lanes: who stands beside them ──▶ batches: their texts ──▶ emit
//	            with their texts      walks over IDs, a source each      blocks, each read once
//
// Records are put out in the order of their IDs, but for one thing. Those that lead to a record (the older ones; the
// newer ones, newest first) stand right before it, where another source has put out something in between. A source may have been
// silent for days, and what leads to its next match is known only when that has been found: holding back
// all else until then would take any memory. The records of one source are always in order.
//
// A piece of a record that was cut counts as a record. Problems and the cost of both parts are in the answer.
func RunContext(ctx context.Context, matches Runner, around *Engine, q Query, emit func(Record) error) (*Answer, error) {
	if q.Before == 0 && q.After == 0 || q.CountOnly {
		q.Before, q.After = 0, 0
		return matches.Run(ctx, q, emit)
	}
	if err := q.checkContext(emit); err != nil {
		return &Answer{}, err
	}
	c := &contextRun{run: &run{e: around, q: q, emit: emit, ans: &Answer{}, start: around.cfg.Now()}, hot: &held{}}
	return c.answer(ctx, matches)
}

// runContext is RunContext of an engine alone: its batches are held once.
func (e *Engine) runContext(ctx context.Context, q Query, emit func(Record) error) (*Answer, error) {
	if err := q.checkContext(emit); err != nil {
		return &Answer{}, err
	}
	c := &contextRun{run: &run{e: e, q: q, emit: emit, ans: &Answer{}, start: e.cfg.Now()}, held: true}
	hot, err := c.holdHot(ctx)
	if err != nil {
		c.ans.Stats = c.meter.stats()
		return c.ans, err
	}
	c.hot = hot
	return c.answer(ctx, heldRunner{e, hot})
}

// heldRunner is an engine whose batches are held already.
type heldRunner struct {
	e   *Engine
	hot *held
}

// Run implements Runner.
func (h heldRunner) Run(ctx context.Context, q Query, emit func(Record) error) (*Answer, error) {
	return h.e.runWith(ctx, q, emit, h.hot, nil)
}

func (q *Query) checkContext(emit func(Record) error) error {
	if emit == nil {
		return errors.New("query: nowhere to put the records")
	}
	if err := q.check(); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return nil
}

// contextRun is a query with context. run is its second part, and counts what that costs.
type contextRun struct {
	*run
	hot  *held
	held bool // hot is what there is
	view *view

	lead, trail int // context that is put out before, and after, a match
	lanes       map[uint32]*lane
	owing       owing
	batch       []output
	bytes       int // of it, roughly
	begun       bool
	matched     int64 // put out; the pieces of a record once
}

func (c *contextRun) answer(ctx context.Context, matches Runner) (*Answer, error) {
	c.lead, c.trail = c.q.Before, c.q.After
	if c.q.Newest {
		c.lead, c.trail = c.trail, c.lead
	}
	c.lanes = map[uint32]*lane{}
	c.owing.c = c
	defer func() { c.hot.letGo() }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := newHandover()
	defer context.AfterFunc(ctx, found.stop)()
	var first *Answer
	var firstErr error
	var group sync.WaitGroup
	group.Go(func() {
		defer found.end()
		first, firstErr = c.find(ctx, matches, found)
	})
	err := c.follow(ctx, found)
	stopped := errors.Is(err, segment.ErrStop)
	if err != nil {
		cancel()
	}
	group.Wait()
	switch {
	case stopped:
		err = nil
	case firstErr != nil && (err == nil || errors.Is(err, context.Canceled)):
		err = firstErr
	}
	c.ans.Stats = c.meter.stats()
	// What the first part counted of segments is what there is. What they were opened for again shows in the requests.
	cost := &c.ans.Stats
	hot, used := cost.Segments.Hot, cost.Segments.HotUsed
	cost.Segments = SegmentStats{Mended: cost.Segments.Mended}
	if c.held { // otherwise the first part has counted them, too
		cost.Segments.Hot, cost.Segments.HotUsed = hot, used
	}
	cost.Listings = 0
	if c.view != nil {
		cost.Listings = c.view.gen - 1
	}
	start := cost.Time.First
	first.Add(c.ans)
	first.Count = c.matched
	first.Stats.Records.Found = c.found
	first.Stats.Time.First, first.Stats.Time.Total = start, c.e.cfg.Now().Sub(c.start)
	return first, err
}

// find has the matches found, and hands them over.
func (c *contextRun) find(ctx context.Context, matches Runner, to *handover) (*Answer, error) {
	q := c.q
	q.Before, q.After, q.Idle = 0, 0, nil
	return matches.Run(ctx, q, func(r Record) error {
		if !to.add(r) {
			return context.Canceled
		}
		return nil
	})
}

// follow puts out the matches and what stands around them.
func (c *contextRun) follow(ctx context.Context, from *handover) error {
	for {
		if c.q.Idle != nil && !from.ready() {
			c.q.Idle()
		}
		next := from.take()
		if err := ctx.Err(); err != nil {
			return err
		}
		if next == nil {
			break
		}
		if err := c.chunk(ctx, next); err != nil {
			return err
		}
	}
	if c.view != nil {
		if err := c.drain(c.end()); err != nil {
			return err
		}
	}
	return c.flush()
}

func (c *contextRun) chunk(ctx context.Context, next *chunk) error {
	if c.view == nil {
		// Only now: what the matches were found in is seen here, too.
		if err := c.hold(ctx); err != nil {
			return err
		}
		var err error
		if c.view, err = newView(ctx, c.run, c.hot.sources); err != nil {
			return err
		}
	}
	lanes := make([]*lane, len(next.records))
	for i, r := range next.records {
		lanes[i] = c.lane(r)
	}
	c.warm(next.records, lanes)
	for i, r := range next.records {
		if err := c.match(lanes[i], r); err != nil {
			return err
		}
	}
	// What was found is out before its memory is used again.
	if err := c.flush(); err != nil {
		return err
	}
	c.release()
	return c.view.afford()
}

// release lets go of what walkers hold on to, when all that is kept has changed: nobody else does when their sources are silent.
func (c *contextRun) release() {
	if !c.view.turned() {
		return
	}
	for _, l := range c.lanes {
		if l.fwd != nil {
			l.fwd.release()
		}
	}
}

// hold holds the batches as they are now, unless they are those that the matches are found in.
func (c *contextRun) hold(ctx context.Context) error {
	if c.held {
		return nil
	}
	c.hot.letGo()
	hot, err := c.holdHot(ctx)
	if err != nil {
		return err
	}
	c.hot = hot
	return nil
}
