package spread

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
)

// A unit of times, for who counts records by them, is pairs of uvarints: by how many milliseconds a time is later than the one before it,
// from 0, and how many records are of it. Times ascend, and are never in two units: a unit that has been put out tells where to go on.
const defaultUnitTimes = 64 << 10 // bytes of a unit, about

// maxAtTime bounds the records of a millisecond in a piece.
const maxAtTime = 1 << 48

// tally makes units of times.
type tally struct {
	unit   []byte
	full   int    // bytes of a unit
	last   uint64 // in the unit
	ms     uint64 // not in the unit yet
	n      int64
	send   func(unit []byte) error
	behind *ulid.ULID // nil: all
}

func (t *tally) add(ms uint64, n int64) error {
	if t.behind != nil && ms <= t.behind.Time() {
		return nil
	}
	if ms == t.ms && t.n > 0 {
		t.n += n
		return nil
	}
	t.flush()
	t.ms, t.n = ms, n
	if len(t.unit) >= t.full {
		return t.end()
	}
	return nil
}

func (t *tally) flush() {
	if t.n == 0 {
		return
	}
	t.unit = binary.AppendUvarint(binary.AppendUvarint(t.unit, t.ms-t.last), uint64(t.n))
	t.last, t.n = t.ms, 0
}

// end sends what is in the unit, if there is something.
func (t *tally) end() error {
	if len(t.unit) == 0 {
		return nil
	}
	unit := t.unit
	t.unit, t.last = nil, 0
	return t.send(unit)
}

// eachTime calls f with the times of a unit, ascending, and how many records are of each. Errors are a badUnitError, or f's.
func eachTime(unit []byte, f func(ms uint64, n int64) error) error {
	var ms uint64
	for first := true; len(unit) > 0; first = false {
		later, a := binary.Uvarint(unit)
		n, b := binary.Uvarint(unit[max(a, 0):])
		if a <= 0 || b <= 0 || later == 0 && !first || later > segment.MaxTime-ms || n == 0 || n > maxAtTime {
			return badUnitError{fmt.Errorf("%w: no times, %d bytes before the end", errMessage, len(unit))}
		}
		ms += later
		if err := f(ms, int64(n)); err != nil {
			return err
		}
		unit = unit[a+b:]
	}
	return nil
}

// time takes how many records of a time an attempt has found.
func (j *job) time(a *attempt, ms uint64, n int64, first func()) error {
	at := segment.MakeID(ms, segment.MaxSession, 1<<32-1)
	if a.any && at.Compare(a.lastID) <= 0 || ms < a.st.From.Time() || ms > segment.Before(a.st.To).Time() {
		return badUnitError{fmt.Errorf("%w: the time %d is out of order, or out of the piece", errMessage, ms)}
	}
	a.lastID, a.any = at, true
	o := &j.out
	if o.any && at.Compare(o.last) <= 0 {
		return nil // from an attempt before this one
	}
	o.last, o.any = at, true
	o.count += n
	first()
	return j.count(ms, n)
}

// doTimes is do of an assignment that counts by time.
func (m *member) doTimes(ctx context.Context, t *task, a assignment) (*query.Answer, error) {
	var units uint32
	c := tally{full: m.cfg.unitTimes, behind: a.after, send: func(unit []byte) error {
		if err := t.await(ctx, units); err != nil {
			return err
		}
		units++
		return a.to.unit(unit)
	}}
	ans, err := a.count(ctx, a.query, c.add)
	if err == nil {
		c.flush()
		err = c.end()
	}
	return ans, err
}

var _ query.TimeCounter = (*Spreader)(nil)

// CountTimes implements query.TimeCounter.
func (s *Spreader) CountTimes(ctx context.Context, q query.Query, count func(ms uint64, n int64) error) (*query.Answer, error) {
	if count == nil {
		return &query.Answer{}, errors.New("query: nowhere to put the counts")
	}
	q.IDsOnly, q.CountOnly, q.Before, q.After = true, false, 0, 0
	if q.Limit > 0 {
		return s.Run(ctx, q, func(r query.Record) error {
			if r.Joined {
				return nil
			}
			return count(r.ID.Time(), 1)
		})
	}
	q.Newest = false
	s.peers.refreshSoon()
	if s.alone() || q.Range.Empty() {
		return s.cfg.Engine.CountTimes(ctx, q, count)
	}
	return s.answer(ctx, q, nil, count)
}
