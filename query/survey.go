package query

import (
	"context"
	"errors"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// GoesOn tells whether a piece is followed, in the order of the query, by another one of the same record.
func (q *Query) GoesOn(p segment.Piece) bool {
	if q.Newest {
		return p&segment.Continues != 0
	}
	return p&segment.Continued != 0
}

// Joins tells whether rec is the piece next to the one with the ID last, in the order of the query: the next of the same record.
func (q *Query) Joins(last ulid.ULID, piece segment.Piece, rec segment.Record) bool {
	if rec.Piece == 0 || !q.GoesOn(piece) {
		return false
	}
	if q.Newest {
		return rec.Piece&segment.Continued != 0 && segment.After(rec.ID) == last
	}
	return rec.Piece&segment.Continues != 0 && segment.After(last) == rec.ID
}

// Extent is a stretch of IDs, both ends included, and how much is stored of it.
type Extent struct {
	Key         string // of the segment
	First, Last ulid.ULID
	Bytes       int64
}

// Survey is what a query has before it: the unflushed batches, in memory, and behind that a listing. Parts of the query that
// are run on it see these batches, whatever becomes of them meanwhile, and list after they were held.
type Survey struct {
	// Extents are what is stored in the range: a segment each, or parts of one that is larger than was asked for. Ascending by
	// First.
	Extents []Extent
	// Hot are the stretches of unflushed batches that are held.
	Hot []Extent
	// Sieved tells that filters can be asked: most blocks may not have to be read, but of each segment a part of its filter has.
	Sieved bool

	e      *Engine
	held   *held
	listed []objstore.Info
	ans    *Answer
}

const surveyReads = 32 // indexes of large segments read at once

// Survey holds the unflushed batches of a query's topic and range, and then lists its segments. Of those that are larger than large
// says, which is told how many bytes there are of all, it reads the index; where that cannot be had, the segment is one extent.
// With Query.MaxBytes it fails as Run would. The survey is never nil; close it when the query has ended.
func (e *Engine) Survey(ctx context.Context, q Query, large func(stored int64, sieved bool) int64) (*Survey, error) {
	r, err := e.begin(q)
	s := &Survey{e: e, held: &held{}, ans: r.ans, Sieved: r.sieve != nil}
	if err != nil {
		return s, err
	}
	if err = s.look(ctx, r, large); err != nil {
		s.Close()
	}
	s.ans.Stats = r.meter.stats()
	s.ans.Stats.Segments.Opened, s.ans.Stats.Segments.Listed = 0, 0 // who runs a part counts them
	return s, err
}

func (s *Survey) look(ctx context.Context, r *run, limit func(stored int64, sieved bool) int64) (err error) {
	hot, err := r.holdHot(ctx)
	if err != nil {
		return err
	}
	if s.held = hot; r.q.Range.Empty() {
		return nil
	}
	for _, h := range s.held.sources {
		for _, b := range h.seg.Blocks {
			s.Hot = append(s.Hot, Extent{First: b.First, Last: b.Last, Bytes: int64(b.Size())})
		}
	}
	if s.listed, err = r.list(ctx); err != nil {
		return err
	}
	p := makePlan(s.listed, r.q.Topic, r.q.Range, false)
	for _, f := range p.foreign {
		s.ans.note(f)
	}
	sc := newScan(r, nil, true)
	if r.q.MaxBytes > 0 {
		if err := sc.afford(ctx, p.candidates); err != nil {
			return err
		}
	}
	r.sieve = nil // only indexes are read
	var stored int64
	for _, c := range p.candidates {
		stored += c.size
	}
	large := limit(stored, s.Sieved)
	parts := make([][]Extent, len(p.candidates))
	opened, ctx := errgroup.WithContext(ctx)
	opened.SetLimit(surveyReads)
	sc.ctx = ctx
	for i, c := range p.candidates {
		parts[i] = []Extent{{c.key, c.name.First, c.name.Last, c.size}}
		if c.size <= large {
			continue
		}
		opened.Go(func() error {
			if found := sc.extents(c, large/4); found != nil {
				parts[i] = found
			}
			return ctx.Err()
		})
	}
	if err := opened.Wait(); err != nil {
		return err
	}
	for _, part := range parts {
		s.Extents = append(s.Extents, part...)
	}
	return nil
}

// extents are a segment's blocks in the range, joined to stretches of some bytes; nil if its index cannot be read.
func (sc *scan) extents(c candidate, size int64) (all []Extent) {
	s := &source{sc: sc, candidate: c, first: c.name.First, last: c.name.Last}
	s.open()
	sc.opened.Add(-s.tables)
	defer s.tail.letGo()
	if s.err != nil {
		return nil
	}
	for _, b := range s.seg.Blocks {
		if !sc.q.Range.Overlaps(b.First, b.Last) {
			continue
		}
		if n := len(all); n > 0 && all[n-1].Bytes < size {
			all[n-1].Last = b.Last
			all[n-1].Bytes += int64(b.Size())
			continue
		}
		all = append(all, Extent{c.key, b.First, b.Last, int64(b.Size())})
	}
	return all
}

// Close lets go of the batches.
func (s *Survey) Close() { s.held.letGo() }

// Answer is what the survey itself came to: its cost, and problems. It is part of the answer of whoever runs parts of the query.
func (s *Survey) Answer() *Answer { return s.ans }

// Run answers the query that was surveyed, all of it.
func (s *Survey) Run(ctx context.Context, q Query, emit func(Record) error) (*Answer, error) {
	q.MaxBytes = 0 // the survey has seen to that
	return s.whole(s.e.runWith(ctx, q, emit, s.held, &s.listed))
}

// CountTimes is Engine.CountTimes of all of the query that was surveyed.
func (s *Survey) CountTimes(ctx context.Context, q Query, count func(ms uint64, n int64) error) (*Answer, error) {
	q.MaxBytes = 0
	return s.whole(s.e.countWith(ctx, q, count, s.held, &s.listed))
}

// CountTimesPart is Part for those who count by time.
func (s *Survey) CountTimesPart(ctx context.Context, q Query, count func(ms uint64, n int64) error) (*Answer, error) {
	return s.e.countWith(ctx, q, count, s.held, nil)
}

// whole adds what the survey came to.
func (s *Survey) whole(ans *Answer, err error) (*Answer, error) {
	whole := *s.ans
	whole.Problems = append([]Problem(nil), s.ans.Problems...)
	total := ans.Stats.Time.Total
	whole.Add(ans)
	whole.Stats.Time.Total = total
	return &whole, err
}

// Part answers a part of it, or the query with another limit: it lists anew.
func (s *Survey) Part(ctx context.Context, q Query, emit func(Record) error) (*Answer, error) {
	return s.e.runWith(ctx, q, emit, s.held, nil)
}

// RunCold answers of what is in the bucket alone.
func (e *Engine) RunCold(ctx context.Context, q Query, emit func(Record) error) (*Answer, error) {
	return e.runWith(ctx, q, emit, &held{}, nil)
}

// Note adds a problem to an answer, unless it names it already.
func (a *Answer) Note(p Problem) {
	if errors.Is(p.Err, objstore.ErrIncomplete) {
		for _, q := range a.Problems {
			if errors.Is(q.Err, objstore.ErrIncomplete) {
				return // one bucket is away: it lacks in every listing
			}
		}
	}
	a.note(p)
}
