package query

import (
	"context"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// MaxBuckets is how many buckets a histogram has at most.
const MaxBuckets = 10_000

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

// niceSteps are those that people like to read, ascending.
var niceSteps = [...]time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

// NiceStep is the least of the usual steps with which a histogram of the range has up to so many rows; for very long ranges a week
// doubled until it has.
func NiceStep(r Range, rows int) time.Duration {
	if r.Empty() || rows < 1 {
		return niceSteps[len(niceSteps)-1]
	}
	first, last := r.From.Time(), segment.Before(r.To).Time()
	fits := func(step time.Duration) bool {
		ms := uint64(step / time.Millisecond)
		return last/ms-first/ms < uint64(rows)
	}
	for _, step := range niceSteps {
		if fits(step) {
			return step
		}
	}
	const longest = 1 << 62 // of a time.Duration, doubled: it does not reach over all times of ULIDs
	step := niceSteps[len(niceSteps)-1]
	for !fits(step) && step < longest/2 {
		step *= 2
	}
	return step
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

// Histogram counts the records that match by time, in buckets of a step, which begin at multiples of it since 1970 in UTC: those of whole
// days at midnight. Pieces of one that was cut count once, as in Answer.Count. A step with which there would be more than MaxBuckets
// buckets is a *ParamError about step, which is told as soon as that shows. As with Run, another error comes with what is known until there.
func Histogram(ctx context.Context, r Runner, q Query, step time.Duration) (*HistogramAnswer, error) {
	h := &HistogramAnswer{Step: step, Answer: &Answer{}}
	if step < time.Millisecond || step%time.Millisecond != 0 {
		return h, paramError("step", "--step %s: want whole milliseconds, at least 1ms", step)
	}
	q = timesOnly(q)
	c := counts{step: uint64(step / time.Millisecond), of: map[uint64]int64{}}
	var err error
	if t, ok := r.(TimeCounter); ok {
		h.Answer, err = t.CountTimes(ctx, q, c.add)
	} else {
		h.Answer, err = r.Run(ctx, q, countEach(c.add))
	}
	h.Buckets = c.buckets()
	return h, err
}

// counts are those of a histogram.
type counts struct {
	step        uint64 // ms
	of          map[uint64]int64
	lowest, top uint64
	at          uint64 // the bucket of what came last, which is not in the map
	n           int64
}

func (c *counts) add(ms uint64, n int64) error {
	at := ms / c.step
	if c.n > 0 && at == c.at {
		c.n += n
		return nil
	}
	lowest, top := at, at
	if c.n > 0 {
		lowest, top = min(c.lowest, at), max(c.top, at)
	}
	if top-lowest >= MaxBuckets {
		step := time.Duration(c.step) * time.Millisecond
		return paramError("step", "--step %s: the records lie further apart than %d steps: want a longer step, or a shorter range (--from, --to)", step, MaxBuckets)
	}
	if c.n > 0 {
		c.of[c.at] += c.n
	}
	c.at, c.n, c.lowest, c.top = at, n, lowest, top
	return nil
}

func (c *counts) buckets() []Bucket {
	all := []Bucket{}
	if c.n == 0 {
		return all
	}
	c.of[c.at] += c.n
	c.n = 0
	for at := c.lowest; at <= c.top; at++ {
		all = append(all, Bucket{time.UnixMilli(int64(at * c.step)).UTC(), c.of[at]})
	}
	return all
}
