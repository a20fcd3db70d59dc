package query

import (
	"context"
	"maps"
	"slices"
	"time"

	"oklog/objstore"
)

// MaxBuckets is how many buckets a histogram has at most, and AutoBuckets how many where no step is asked for.
const (
	MaxBuckets  = 10_000
	AutoBuckets = 60
)

// Bucket counts the records of a stretch of time.
type Bucket struct {
	Start time.Time `json:"start"` // UTC
	Count int64     `json:"count"`
}

// HistogramAnswer is how many records match, by time.
type HistogramAnswer struct {
	Step time.Duration `json:"step_ns"` // of a bucket
	// Buckets from the first to the last in which there is something, in the order of time, and the empty ones between them.
	Buckets []Bucket `json:"buckets"`
	Answer  *Answer  `json:"answer"` // its Count is the sum
}

// TimeCounter is a Runner that counts faster than it puts out records.
type TimeCounter interface {
	Runner
	// CountTimes is Run of a query for records without texts, pieces of one that was cut as one: it calls count with Unix milliseconds and how
	// many records of these come next.
	CountTimes(ctx context.Context, q Query, count func(ms uint64, n int64) error) (*Answer, error)
}

var _ TimeCounter = (*Engine)(nil)

// CountTimes implements TimeCounter.
func (e *Engine) CountTimes(ctx context.Context, q Query, count func(ms uint64, n int64) error) (*Answer, error) {
	return e.countWith(ctx, q, count, nil, nil)
}

// CountTimesCold is CountTimes of what is in the bucket alone.
func (e *Engine) CountTimesCold(ctx context.Context, q Query, count func(ms uint64, n int64) error) (*Answer, error) {
	return e.countWith(ctx, q, count, &held{}, nil)
}

// countWith is runWith for times.
func (e *Engine) countWith(ctx context.Context, q Query, count func(ms uint64, n int64) error, held *held, listed *[]objstore.Info) (*Answer, error) {
	r, err := e.begin(timesOnly(q))
	if err != nil {
		return r.ans, err
	}
	r.tally, r.emit = count, countEach(count)
	r.held, r.listed = held, listed
	err = r.answer(ctx)
	r.end()
	return r.ans, err
}

// countEach counts what is put out.
func countEach(count func(ms uint64, n int64) error) func(Record) error {
	return func(rec Record) error {
		if rec.Joined || rec.Context {
			return nil
		}
		return count(rec.ID.Time(), 1)
	}
}

// timesOnly is q for those who want to know about the times of records only.
func timesOnly(q Query) Query {
	q.IDsOnly, q.CountOnly, q.Before, q.After = true, false, 0, 0
	if q.Limit == 0 {
		q.Newest = false // which makes no difference but costs more
	}
	return q
}

// Histogram counts the records that match by time, in steps. Pieces of one that was cut count once, as in Answer.Count. Steps with which there would be
// more than MaxBuckets buckets are a *ParamError about step, which is told as soon as that shows. As with Run, another error comes with what is known
// until there.
func Histogram(ctx context.Context, r Runner, q Query, steps Steps) (*HistogramAnswer, error) {
	h := &HistogramAnswer{Step: steps.Length, Answer: &Answer{}}
	if steps.Length < 0 || steps.Length%time.Millisecond != 0 {
		return h, paramError("step", "--step %s: want whole milliseconds, at least 1ms", steps.Length)
	}
	q = timesOnly(q)
	c := counts{steps: steps, of: map[int64]int64{}}
	if c.auto = steps.Length == 0; c.auto {
		c.steps.Length = niceSteps[0]
	}
	var err error
	if t, ok := r.(TimeCounter); ok {
		h.Answer, err = t.CountTimes(ctx, q, c.add)
	} else {
		h.Answer, err = r.Run(ctx, q, countEach(c.add))
	}
	h.Buckets = c.buckets()
	h.Step = c.steps.Length
	return h, err
}

// counts are those of a histogram. Buckets are named by their first milliseconds.
type counts struct {
	steps       Steps
	auto        bool // the steps grow with what comes
	of          map[int64]int64
	lowest, top int64
	at, end     int64 // the bucket of what came last, which is not in the map
	n           int64
}

func (c *counts) add(ms uint64, n int64) error {
	t := int64(ms)
	if c.n > 0 && c.at <= t && t < c.end {
		c.n += n
		return nil
	}
	at := c.steps.start(t)
	lowest, top := at, at
	if c.n > 0 {
		lowest, top = min(c.lowest, at), max(c.top, at)
	}
	for c.auto && c.n > 0 && c.are(lowest, top) > MaxBuckets {
		c.widen()
		at = c.steps.start(t)
		lowest, top = min(c.lowest, at), max(c.top, at)
	}
	if c.are(lowest, top) > MaxBuckets {
		return paramError("step", "--step %s: the records lie further apart than %d steps: want a longer step, or a shorter range (--from, --to)", c.steps.Length, MaxBuckets)
	}
	if c.n > 0 {
		c.of[c.at] += c.n
	}
	c.at, c.end, c.n, c.lowest, c.top = at, c.steps.next(at), n, lowest, top
	return nil
}

// are is how many buckets there are from lowest to top.
func (c *counts) are(lowest, top int64) int64 { return (top-lowest)/c.steps.Length.Milliseconds() + 1 }

// widen makes the steps longer.
func (c *counts) widen() {
	c.of[c.at] += c.n
	c.n = 0
	c.steps.Length = wider(c.steps.Length)
	of := make(map[int64]int64, len(c.of))
	for at, n := range c.of {
		of[c.steps.start(at)] += n
	}
	c.of = of
	c.lowest, c.top, c.at = c.steps.start(c.lowest), c.steps.start(c.top), c.steps.start(c.at)
	c.end, c.n = c.steps.next(c.at), c.of[c.at]
	delete(c.of, c.at)
}

func (c *counts) buckets() []Bucket {
	all := []Bucket{}
	if c.n == 0 {
		return all
	}
	for c.auto && c.are(c.lowest, c.top) > AutoBuckets {
		c.widen()
	}
	c.of[c.at] += c.n
	c.n = 0
	for _, at := range slices.Sorted(maps.Keys(c.of)) {
		for n := len(all); n > 0 && c.steps.next(all[n-1].Start.UnixMilli()) < at; n++ {
			all = append(all, Bucket{Start: time.UnixMilli(c.steps.next(all[n-1].Start.UnixMilli())).UTC()})
		}
		all = append(all, Bucket{time.UnixMilli(at).UTC(), c.of[at]})
	}
	return all
}
