package spread

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query"
)

const (
	// The units of an attempt that were granted or wait to be put out are so many at first, and one more with each that comes, up to so many:
	// what few are found in keeps little memory from the others.
	firstWindow, window = 2, 16
	// What a unit that was granted and has not come counts, in bytes.
	grantBytes = 128 << 10
	// So many attempts of a piece may fail elsewhere; then it is done here.
	maxFailed = 3
	// After so long without a free slot anywhere the piece that is waited for is begun here all the same.
	patience = 200 * time.Millisecond
	// A member that was busy, or lost, is left alone for so long.
	busyFor, lostFor = 50 * time.Millisecond, 5 * time.Second
	// A piece that takes so many times as long as most, and so long at least, is given to another member as well; before so many are
	// done, one that takes very long.
	slowTimes, slowLeast, slowFirst = 3, time.Second, 3 * time.Second
	tickEvery                       = 25 * time.Millisecond
)

// job is a query that is spread. A goroutine gives out pieces, the one that runs the query puts out what comes back.
//
//	pieces ──▶ schedule ──▶ attempts ──▶ units, in memory ──▶ put out, in order ──▶ emit
//	              ▲             │ failed, lost, busy                 │
//	              └─────────────┴──────────── credit ◀───────────────┘
type job struct {
	s      *Spreader
	q      query.Query
	survey *query.Survey
	whole  func(context.Context, query.Query, func(query.Record) error) (*query.Answer, error) // all of it, here
	count  func(ms uint64, n int64) error                                                      // nil: records are wanted
	inbox  string

	mu       sync.Mutex
	steps    []*step // in the query's order
	attempts map[uint64]*attempt
	buffered int64 // bytes that are waiting, or were granted
	place    int   // of the step that is put out
	begun    int   // steps before it have been begun
	flight   int   // steps from the place on that may be begun
	times    []time.Duration
	closed   bool
	ending   bool   // no more records are wanted
	shown    output // out, as of the last unit
	spent    query.Stats

	out   output        // of the goroutine that puts out
	kick  chan struct{} // for the scheduler
	ready chan struct{} // for the one that puts out
	local sync.WaitGroup
}

// step is a piece and what has become of it.
type step struct {
	piece
	running []*attempt
	failed  map[string]bool // members
	fails   int
	waiting time.Time // since when no slot is free
	done    *attempt
	best    *attempt // whose units are put out
	base    int64    // output.count when its turn came
	err     error    // why it cannot be done
}

// attempt is a member's work on a step.
type attempt struct {
	id       uint64
	st       *step
	to       string // the member; "": here
	begun    time.Time
	heard    time.Time
	asked    time.Time // whether it is still there
	next     uint32
	partial  []byte
	units    [][]byte
	received uint32
	credit   uint32
	lastID   ulid.ULID // of its records, as they are read
	any      bool
	answer   *query.Answer
}

// output is what was put out.
type output struct {
	count int64 // as Answer.Count counts
	last  ulid.ULID
	piece segment.Piece
	any   bool
	found int64
	first time.Duration
}

// run answers the query piece by piece.
func (j *job) run(ctx context.Context, pieces []piece, emit func(query.Record) error, g *gauge) (*query.Answer, error) {
	j.q.MaxBytes = 0 // the survey has seen to that
	s, q := j.s, j.q
	for _, p := range pieces {
		j.steps = append(j.steps, &step{piece: p, failed: map[string]bool{}})
	}
	if q.Newest {
		slices.Reverse(j.steps)
	}
	j.flight = len(j.steps)
	if q.Limit > 0 {
		j.flight = 1
	}
	start := s.cfg.now()
	inbox, closeInbox, err := s.cfg.Transport.Inbox(j.receive)
	if err != nil {
		s.cfg.Logger.Warn("a query is not spread", "cause", err)
		q.Watch = g.set
		return j.whole(ctx, q, emit)
	}
	j.inbox = inbox
	s.metrics.queries.Inc()
	j.spent.Add(j.survey.Answer().Stats)
	g.set(j.cost)
	ctx, cancel := context.WithCancel(ctx)
	var scheduler sync.WaitGroup
	scheduler.Go(func() { j.schedule(ctx) })
	ans, err := j.answer(ctx, emit, start)
	cancel()
	scheduler.Wait()
	j.close()
	if closeErr := closeInbox(); closeErr != nil {
		s.cfg.Logger.Debug("could not close an address", "cause", closeErr)
	}
	if !q.CountOnly {
		ans.Count = j.out.count
	}
	if !q.CountOnly && j.count == nil {
		ans.Stats.Records.Found = j.out.found
	}
	ans.Stats.Time.First = j.out.first
	return ans, err
}

// close cancels what is still running, and waits for what of it is here.
func (j *job) close() {
	j.mu.Lock()
	j.closed = true
	for _, a := range j.attempts {
		j.drop(a, kindCancel)
	}
	j.mu.Unlock()
	j.local.Wait()
}

// cost is what the query has cost so far.
func (j *job) cost() query.Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.spent
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// answer puts out the steps, one after the other.
func (j *job) answer(ctx context.Context, emit func(query.Record) error, start time.Time) (*query.Answer, error) {
	whole := &query.Answer{}
	whole.Add(j.survey.Answer())
	u, err := newUnpacker(j.q.Newest)
	if err != nil {
		return whole, err
	}
	first := func() {
		if j.out.first == 0 {
			j.out.first = max(j.s.cfg.now().Sub(start), 1)
		}
	}
	for _, st := range j.steps {
		if err := j.putOut(ctx, u, st, emit, first); err != nil {
			return whole, err
		}
		whole.Add(st.done.answer)
		j.mu.Lock()
		if j.q.CountOnly {
			if j.out.count += st.done.answer.Count; j.q.Limit > 0 && j.out.count >= j.q.Limit {
				j.out.count, j.ending = j.q.Limit, true
			}
			if whole.Count = j.out.count; whole.Count > 0 {
				first()
			}
		}
		j.shown = j.out
		j.place++
		j.flight = min(2*j.flight, len(j.steps))
		st.done.answer, st.done.units = nil, nil
		ending := j.ending
		j.grantAll()
		j.mu.Unlock()
		wake(j.kick)
		if ending {
			break
		}
	}
	return whole, nil
}

// putOut puts out the records of a step, until it is done.
func (j *job) putOut(ctx context.Context, u *unpacker, st *step, emit func(query.Record) error, first func()) error {
	j.mu.Lock()
	st.base = j.out.count
	if j.count != nil {
		j.out.any = false // two pieces may have records of the millisecond between them
		j.shown = j.out
	}
	j.grantAll()
	j.mu.Unlock()
	for {
		a, unit, err := j.take(st)
		if err != nil {
			return err
		}
		if unit == nil && a != nil {
			return nil
		}
		if unit == nil {
			if j.q.Idle != nil {
				j.q.Idle()
			}
			select {
			case <-j.ready:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if j.count != nil {
			err = eachTime(unit, func(ms uint64, n int64) error { return j.time(a, ms, n, first) })
		} else {
			err = u.each(unit, func(rec segment.Record) error { return j.record(a, rec, emit, first) })
		}
		j.mu.Lock()
		j.shown = j.out
		j.mu.Unlock()
		if _, bad := errors.AsType[badUnitError](err); bad {
			j.mu.Lock()
			j.fail(a, err)
			j.mu.Unlock()
			continue
		}
		if errors.Is(err, segment.ErrStop) {
			j.stop(st)
			continue
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// take is the next unit of a step; none, but an attempt, if the step is done; and neither if something is to be waited for.
func (j *job) take(st *step) (*attempt, []byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if st.err != nil {
		return nil, nil, st.err
	}
	if st.done != nil {
		st.best = st.done // the others were given up
	} else if st.best == nil && len(st.running) > 0 {
		st.best = st.running[0]
	}
	a := st.best
	switch {
	case a == nil:
		return nil, nil, nil
	case len(a.units) > 0:
		unit := a.units[0]
		a.units[0] = nil
		a.units = a.units[1:]
		j.buffered -= int64(len(unit))
		if j.ending {
			unit = nil
			for _, more := range a.units {
				j.buffered -= int64(len(more))
			}
			a.units = nil
		}
		j.grantAll()
		if unit != nil {
			return a, unit, nil
		}
	}
	if a == st.done {
		return a, nil, nil
	}
	return nil, nil, nil
}

// record takes a record of a's, in a's order.
func (j *job) record(a *attempt, r segment.Record, emit func(query.Record) error, first func()) error {
	if a.any && !behind(j.q.Newest, r.ID, a.lastID) || r.ID.Compare(a.st.From) < 0 || r.ID.Compare(a.st.To) >= 0 {
		return badUnitError{fmt.Errorf("%w: record %s is out of order, or out of the piece", errMessage, r.ID)}
	}
	a.lastID, a.any = r.ID, true
	o := &j.out
	if o.any && !behind(j.q.Newest, r.ID, o.last) {
		return nil // from an attempt before this one
	}
	rec := query.Record{Record: r, Joined: o.any && j.q.Joins(o.last, o.piece, r)}
	if j.q.Limit > 0 && o.count == j.q.Limit && !rec.Joined {
		return segment.ErrStop // the piece before it goes on in one that was not found
	}
	o.last, o.piece, o.any = r.ID, r.Piece, true
	if !rec.Joined {
		o.count++
	}
	o.found++
	first()
	if err := emit(rec); err != nil {
		return err
	}
	if j.q.Limit > 0 && o.count >= j.q.Limit && !j.q.GoesOn(r.Piece) {
		return segment.ErrStop
	}
	return nil
}

// stop has a step, the last one, end with what is known of it: problems, above all.
func (j *job) stop(st *step) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ending = true
	for _, a := range slices.Clone(st.running) {
		if a == st.best {
			j.tell(a, kindStop)
		} else {
			j.drop(a, kindCancel)
		}
	}
	for _, other := range j.steps[j.place+1:] {
		for _, a := range slices.Clone(other.running) {
			j.drop(a, kindCancel)
		}
	}
}

// grantAll allows attempts to send more, as far as there is memory: the front's always some. The lock is held.
func (j *job) grantAll() {
	if j.closed || j.ending || j.q.CountOnly {
		return
	}
	for i, st := range j.steps[j.place:max(j.place, j.begun)] {
		for _, a := range st.running {
			before := a.credit
			for int(a.credit-a.received)+len(a.units) < min(firstWindow+int(a.received), window) && (i == 0 || j.buffered+grantBytes <= j.s.cfg.BufferBytes) {
				a.credit++
				j.buffered += grantBytes
			}
			if a.credit > before {
				j.tell(a, kindCredit)
			}
		}
	}
}

// tell sends an attempt's member a word about it. The lock is held.
func (j *job) tell(a *attempt, k kind) {
	if a.to != "" {
		// What is lost is made good: credit is told again with each sign of life, and who hears nothing ends. The address to answer to
		// makes it known at once if the member is not there any more.
		reply := ""
		if k == kindCredit {
			reply = j.inbox + "." + token(a.id)
		}
		if err := j.s.cfg.Transport.Send(a.to, reply, message{kind: k, attempt: a.id, seq: a.credit}.encode()); err != nil {
			j.s.cfg.Logger.Debug("could not send to a querier", "address", a.to, "cause", err)
		}
		return
	}
	j.s.member.tell(message{kind: k, attempt: a.id, seq: a.credit})
}

// drop lets go of an attempt, and tells its member so. The lock is held.
func (j *job) drop(a *attempt, k kind) {
	if j.attempts[a.id] != a {
		return
	}
	delete(j.attempts, a.id)
	a.st.running = slices.DeleteFunc(a.st.running, func(b *attempt) bool { return a == b })
	if a.st.best == a {
		a.st.best = nil
	}
	j.buffered -= int64(a.credit-a.received) * grantBytes
	for _, unit := range a.units {
		j.buffered -= int64(len(unit))
	}
	a.units, a.partial = nil, nil
	j.s.peers.done(a.to)
	if k != 0 {
		j.tell(a, k)
	}
	wake(j.kick)
}

// fail drops an attempt that did not come to its end. What fails here is not tried again. The lock is held.
func (j *job) fail(a *attempt, err error) {
	if j.attempts[a.id] != a && a.st.done != a {
		return
	}
	j.drop(a, kindCancel)
	st := a.st
	if st.done == a {
		for _, unit := range a.units {
			j.buffered -= int64(len(unit))
		}
		st.done, st.best = nil, nil
	}
	st.fails++
	st.failed[a.to] = true
	if a.to == "" {
		st.err = err
		wake(j.ready)
		return
	}
	j.s.metrics.repeats.Inc()
	j.s.cfg.Logger.Warn("a piece of a query is done again", "address", a.to, "piece", st.From, "cause", err)
}

// finish takes an attempt's answer. The lock is held.
func (j *job) finish(a *attempt, ans *query.Answer) {
	st := a.st
	a.answer, st.done = ans, a
	units := a.units
	a.units = nil // drop is not to let go of them
	j.drop(a, 0)
	a.units = units
	for _, other := range slices.Clone(st.running) {
		j.drop(other, kindCancel)
	}
	j.times = append(j.times, j.s.cfg.now().Sub(a.begun))
	j.spent.Add(ans.Stats)
	wake(j.ready)
	wake(j.kick)
}

// receive takes a message from a member.
func (j *job) receive(tok string, raw []byte) {
	var m message
	if raw != nil {
		var err error
		if m, err = decode(raw); err != nil || token(m.attempt) != tok {
			j.s.cfg.Logger.Debug("a message is left alone", "cause", err)
			return
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if raw == nil {
		j.gone(tok)
		return
	}
	a := j.attempts[m.attempt]
	if a == nil || a.to == "" || j.closed {
		return
	}
	a.heard = j.s.cfg.now()
	switch m.kind {
	case kindBusy:
		j.s.peers.avoid(a.to, busyFor)
		j.drop(a, 0)
	case kindBeat:
		if m.seq != a.next {
			j.fail(a, fmt.Errorf("%w: %d parts were sent, %d have come", errMessage, m.seq, a.next))
			return
		}
		if j.ending {
			j.tell(a, kindStop) // the first time it may have been lost
		} else {
			j.tell(a, kindCredit)
		}
	case kindPart:
		j.part(a, m)
	}
}

// gone gives what a member has to others: it is not there. The lock is held.
func (j *job) gone(tok string) {
	for _, a := range j.attempts {
		if a.to == "" || token(a.id) != tok {
			continue
		}
		j.s.peers.gone(a.to)
		for _, other := range j.attempts {
			if other.to == a.to {
				j.drop(other, 0)
			}
		}
		return
	}
}

// part takes a part of a unit. The lock is held.
func (j *job) part(a *attempt, m message) {
	flags, body := m.body[0], m.body[1:]
	if m.seq != a.next || len(a.partial)+len(body) > maxUnit {
		j.fail(a, fmt.Errorf("%w: part %d of %d bytes, where number %d was to come", errMessage, m.seq, len(body), a.next))
		return
	}
	if a.st != j.steps[min(j.place, len(j.steps)-1)] && j.kept()+int64(len(body)) > 2*j.s.cfg.BufferBytes+maxUnit {
		j.drop(a, kindCancel) // units are larger than was expected, or somebody sends what nobody would: it is begun again when there is room
		return
	}
	a.next++
	unit := append(a.partial, body...)
	if a.partial = unit; flags&flagMore != 0 {
		return
	}
	a.partial = nil
	if flags&flagAnswer == 0 {
		j.unit(a, unit)
		return
	}
	ans, err := decodeReport(unit)
	if err != nil {
		j.fail(a, err)
		return
	}
	j.finish(a, ans)
}

// kept is how many bytes have come and wait, without those that were granted and have not come. The lock is held.
func (j *job) kept() int64 {
	n := j.buffered
	for _, a := range j.attempts {
		n += int64(len(a.partial)) - int64(a.credit-a.received)*grantBytes
	}
	return n
}

// unit takes a unit of records. The lock is held.
func (j *job) unit(a *attempt, unit []byte) {
	if a.received == a.credit {
		j.fail(a, fmt.Errorf("%w: more units than were asked for", errMessage))
		return
	}
	a.received++
	a.units = append(a.units, unit)
	j.buffered += int64(len(unit)) - grantBytes
	if a.st == j.steps[min(j.place, len(j.steps)-1)] {
		wake(j.ready)
	}
	j.grantAll()
}

// localSink takes what comes of a piece that is worked on here.
type localSink struct {
	j *job
	a *attempt
}

func (l localSink) unit(raw []byte) error {
	l.j.mu.Lock()
	defer l.j.mu.Unlock()
	if l.j.attempts[l.a.id] == l.a {
		l.j.unit(l.a, raw)
	}
	return nil
}

func (l localSink) end(ans *query.Answer, err error) {
	defer l.j.local.Done()
	l.j.mu.Lock()
	defer l.j.mu.Unlock()
	switch {
	case l.j.attempts[l.a.id] != l.a:
	case err != nil:
		l.j.fail(l.a, err)
	default:
		l.j.finish(l.a, ans)
	}
}

// draw makes the name of an attempt.
func draw() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return binary.BigEndian.Uint64(b[:])
}
