package compact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
)

const (
	// Small segments are read so many at once, ahead of the merge, and up to so many bytes that it has not come to.
	fetchers   = 16
	fetchAhead = 8 << 20
	// What a merge takes besides inputs and output: the encoder's tables (40 MiB), the block being written, signatures.
	mergeOverhead = 56 << 20
)

// merge does a job: it puts the segments that come out into the copies, and returns those that are durable in enough of
// them. What it returns is good, also with an error.
func (c *Compactor) merge(ctx context.Context, job *Job) (made []*Segment, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := c.writer()
	if err != nil {
		return nil, err
	}
	defer c.giveBack(w)
	dec, err := segment.NewDecoder()
	if err != nil {
		return nil, err
	}
	readers := make([]*reader, len(job.Inputs))
	inputs := make([]segment.Input, len(job.Inputs))
	for i, s := range job.Inputs {
		readers[i] = &reader{c: c, ctx: ctx, s: s, job: job, dec: dec, opened: make(chan struct{})}
		inputs[i] = readers[i]
	}
	var ahead sync.WaitGroup
	defer ahead.Wait()
	defer cancel()
	ahead.Go(func() { fetch(ctx, readers) })

	replaced := replaces(job)
	after := job.After
	days, err := w.Days(segment.DaysConfig{
		MaxSize:    job.maxSize,
		Generation: job.Generation,
		Room:       min(job.Size, job.maxSize*5/4),
		Lineage: func(last ulid.ULID, final bool) segment.Lineage {
			l := segment.Lineage{After: after, Through: last}
			if final {
				l.Through = job.Through
			}
			l.Replaces = replaced(l.After, l.Through)
			after = l.Through
			return l
		},
		Emit: func(n segment.Name, data []byte) error {
			s, err := c.put(ctx, job.Topic, n, data)
			if err == nil {
				made = append(made, s)
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	err = segment.Merge(inputs, false, func(cur *segment.Cursor, n int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		before := cur.Left()
		if err := days.Take(cur, n); err != nil {
			return err
		}
		c.progress.merged(before - cur.Left())
		return nil
	})
	if err == nil {
		err = days.Close()
	}
	return made, err
}

// replaces tells which inputs have records in a stretch. It is called with stretches that follow each other.
func replaces(job *Job) func(after, through ulid.ULID) []string {
	rest := job.Inputs
	return func(after, through ulid.ULID) (keys []string) {
		kept := make([]*Segment, 0, len(rest))
		for i, s := range rest {
			if s.Name.First.Compare(through) > 0 {
				kept = append(kept, rest[i:]...)
				break
			}
			if s.Name.Last.Compare(after) > 0 {
				keys = append(keys, s.Key())
			}
			if s.Name.Last.Compare(through) > 0 {
				kept = append(kept, s)
			}
		}
		rest = kept
		return keys
	}
}

// fetch reads the small inputs ahead of the merge, in the order in which it comes to them.
func fetch(ctx context.Context, readers []*reader) {
	room := newRoom(fetchAhead)
	slots := make(chan struct{}, fetchers)
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, room.close)
	defer stop()
	for _, r := range readers {
		if r.s.Size > wholeSize {
			continue
		}
		if !room.take(r.s.Size) {
			return
		}
		slots <- struct{}{}
		all.Go(func() {
			r.get()
			<-slots
			select {
			case <-r.opened: // from now on it counts as an input that is being merged
			case <-ctx.Done():
			}
			room.release(r.s.Size)
		})
	}
}

// put stores a segment in all the copies that are there; an error unless enough have it.
func (c *Compactor) put(ctx context.Context, topic string, n segment.Name, data []byte) (*Segment, error) {
	key := n.Key(topic)
	in, err := c.store(ctx, key, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	return &Segment{Topic: topic, Name: n, Size: int64(len(data)), In: in, Stored: c.now, Settled: c.now}, nil
}

// compactDay does what is to be done on a day, in rounds: a merge may make another one possible.
func (c *Compactor) compactDay(ctx context.Context, d *day) error {
	const maxRounds = 2 * MaxGeneration
	for range maxRounds {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("merge: %w", err)
		}
		cl, err := c.readClaims(ctx, d)
		if err != nil {
			return err
		}
		jobs := makePlan(d, cl, c.rules(d))
		if len(jobs) == 0 {
			return nil
		}
		if c.cfg.DryRun {
			c.report.plan(jobs)
			return nil
		}
		changed := false
		for _, job := range jobs {
			c.progress.planned(job.Records)
		}
		for _, job := range jobs {
			did, err := c.do(ctx, d, job)
			if err != nil {
				return err
			}
			changed = changed || did
		}
		if !changed {
			return nil // no input has a record up to the cutoff: there will be some later
		}
	}
	return nil
}

// do does a job and brings the day up to date, and tells whether it has changed.
func (c *Compactor) do(ctx context.Context, d *day, job *Job) (changed bool, err error) {
	need := min(job.memory+mergeOverhead, c.cfg.Memory)
	if err := c.memory.Acquire(ctx, need); err != nil {
		return false, fmt.Errorf("wait for memory: %w", err)
	}
	defer c.memory.Release(need)
	if err := c.checkQuorum(); err != nil {
		return false, err
	}
	start := time.Now()
	c.progress.begin(job.Topic)
	made, err := c.merge(ctx, job)
	for _, s := range made {
		s.late = job.Inputs[0].late // as are all of them
		d.add(s)
	}
	c.report.merged(job, made, err == nil)
	log := c.cfg.Logger.With("topic", job.Topic, "day", job.Day, "segments", len(job.Inputs), "bytes", job.Size, "into", len(made))
	damage, damaged := errors.AsType[*damageError](err)
	switch {
	case err == nil:
		var out int64
		for _, s := range made {
			out += s.Size
		}
		took := time.Since(start)
		c.metrics.merged(job, made, took)
		log.Info("merged", "bytes_out", out, "ratio", ratio(job.Size, out), "text", job.Text, "generation", job.Generation, "took", took.Round(time.Millisecond))
		return len(made) > 0, nil
	case damaged:
		damage.s.damaged = true
		c.report.damage(damage.s, damage.err)
		c.metrics.damaged.Inc()
		log.Error("a segment is damaged in all the buckets that have it: it is left alone, and its neighbours are merged without it",
			"key", damage.s.Key(), "cause", damage.err)
		return true, nil // the next round does what is left
	case errors.Is(err, errGone):
		// Another compactor was faster. What it has made shows in the next run's listing.
		log.Info("somebody else has replaced a segment meanwhile", "cause", err)
		gone := job.Inputs
		d.segments = slices.DeleteFunc(d.segments, func(s *Segment) bool { return slices.Contains(gone, s) })
		return true, nil
	}
	return len(made) > 0, fmt.Errorf("merge segments of %s on %s: %w", job.Topic, job.Day, err)
}

// add puts in a segment that was made, or made again.
func (d *day) add(s *Segment) {
	i, found := slices.BinarySearchFunc(d.segments, s, byFirst)
	if found {
		old := d.segments[i]
		old.In, old.Odd, old.Size = old.In|s.In, old.Odd&^s.In, s.Size
		old.Settled, old.damaged = s.Settled, false // it is new in some copy, or was damaged there
		return
	}
	d.segments = slices.Insert(d.segments, i, s)
}

// ratio of two sizes, to two digits.
func ratio(a, b int64) float64 {
	return float64(100*a/max(b, 1)) / 100
}

// readClaims reads what the segments of a day say that they replace.
func (c *Compactor) readClaims(ctx context.Context, d *day) (claims, error) {
	found := claimants(d.segments)
	type answer struct {
		l   segment.Lineage
		err error
	}
	answers := make([]answer, len(found))
	segments := make(map[segment.Name]*Segment, len(d.segments))
	for _, s := range d.segments {
		segments[s.Name] = s
	}
	slots := make(chan struct{}, fetchers)
	var all sync.WaitGroup
	for i, s := range found {
		if l, ok := c.lineages.get(s.Key()); ok {
			answers[i].l = l
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			answers[i].l, answers[i].err = c.lineage(ctx, s, segments)
			<-slots
		})
	}
	all.Wait()
	cl := claims{}
	for i, s := range found {
		a := answers[i]
		damage, damaged := errors.AsType[*damageError](a.err)
		switch {
		case a.err == nil:
			c.lineages.put(s.Key(), a.l)
			cl.add(s, a.l)
		case damaged:
			s.damaged = true
			c.report.damage(s, damage.err)
		case errors.Is(a.err, errGone):
			s.damaged = true // it says nothing any more, and is not there to be merged
		default:
			return nil, a.err
		}
	}
	return cl, nil
}

// room is bytes that are taken and given back. Anything gets in when nothing else is.
type room struct {
	mu     sync.Mutex
	cond   *sync.Cond
	used   int64
	size   int64
	closed bool
}

func newRoom(size int64) *room {
	r := &room{size: size}
	r.cond = sync.NewCond(&r.mu)
	return r
}

// take waits for n bytes; false when the room is closed.
func (r *room) take(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.used > 0 && r.used+n > r.size && !r.closed {
		r.cond.Wait()
	}
	r.used += n
	return !r.closed
}

func (r *room) release(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	r.cond.Broadcast()
}

func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.cond.Broadcast()
}
