package spread

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/query"
)

// member works on pieces, for coordinators elsewhere and for the one here.
type member struct {
	cfg     *Config
	metrics *metrics
	slots   chan struct{}

	packers sync.Pool // they take memory that is worth keeping

	mu     sync.Mutex
	tasks  map[uint64]*task
	closed bool
	work   sync.WaitGroup
}

// sink is where a task's units and its end go to. It is called from one goroutine.
type sink interface {
	// unit sends records.
	unit(raw []byte) error
	// end is called once, at the end. An error of a task that was cancelled is of no interest.
	end(ans *query.Answer, err error)
}

// task is a piece that is being worked on.
type task struct {
	id      uint64
	cancel  context.CancelCauseFunc
	changed chan struct{} // that credit is more

	mu     sync.Mutex
	credit uint32 // units that may be sent
	heard  time.Time
}

// errStopped says that no more records are wanted, but what is known so far.
var errStopped = errors.New("stopped")

// errLeaving says that the member ends before its work does.
var errLeaving = errors.New("the querier stops")

// errOrphan says that nobody seems to wait for the answer.
var errOrphan = errors.New("the coordinator is gone")

// allow raises the number of units that may be sent.
func (t *task) allow(units uint32, now time.Time) {
	t.mu.Lock()
	t.credit = max(t.credit, units)
	t.heard = now
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// await waits until unit n, from 0, may be sent.
func (t *task) await(ctx context.Context, n uint32) error {
	for {
		t.mu.Lock()
		ok := n < t.credit
		t.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-t.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// assignment is what a member is to work on.
type assignment struct {
	id     uint64
	query  query.Query
	times  bool // are counted
	after  *ulid.ULID
	credit uint32
	run    func(context.Context, query.Query, func(query.Record) error) (*query.Answer, error)
	count  func(context.Context, query.Query, func(ms uint64, n int64) error) (*query.Answer, error)
	to     sink
	forced bool        // whether there is a slot or not
	watch  func(*task) // runs beside it, if it is not nil
}

// start begins to work on something, unless no slot is free. The context ends the work.
func (m *member) start(ctx context.Context, a assignment) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.tasks[a.id] != nil {
		return false
	}
	if !a.forced {
		select {
		case m.slots <- struct{}{}:
		default:
			return false
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t := &task{id: a.id, cancel: cancel, changed: make(chan struct{}, 1), credit: a.credit, heard: m.cfg.now()}
	m.tasks[a.id] = t
	m.work.Go(func() {
		defer cancel(nil)
		ans, err := m.do(ctx, t, a)
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errStopped):
			err = nil // what is known so far was asked for
		case errors.Is(cause, errLeaving):
			err = cause // somebody else does it at once, then
		}
		m.mu.Lock()
		delete(m.tasks, a.id)
		m.mu.Unlock()
		if !a.forced {
			<-m.slots
		}
		a.to.end(ans, err)
	})
	if a.watch != nil {
		m.work.Go(func() { a.watch(t) })
	}
	return true
}

// do runs the query of an assignment.
func (m *member) do(ctx context.Context, t *task, a assignment) (*query.Answer, error) {
	if a.times {
		return m.doTimes(ctx, t, a)
	}
	if a.query.CountOnly {
		return a.run(ctx, a.query, nil)
	}
	p, ok := m.packers.Get().(*packer)
	if !ok {
		var err error
		if p, err = newPacker(); err != nil {
			return &query.Answer{}, err
		}
	}
	defer m.packers.Put(p)
	p.reset(a.query.Newest)
	var units uint32
	var sent time.Time
	send := func() error {
		unit, err := p.unit()
		if unit == nil || err != nil {
			return err
		}
		if err := t.await(ctx, units); err != nil {
			return err
		}
		units++
		sent = m.cfg.now()
		return a.to.unit(unit)
	}
	var failed error // of sending when the query was idle
	a.query.Idle = func() {
		if failed == nil && p.n > 0 && m.cfg.now().Sub(sent) >= m.cfg.linger {
			failed = send()
		}
	}
	ans, err := a.run(ctx, a.query, func(r query.Record) error {
		if failed != nil {
			return failed
		}
		if a.after != nil && !behind(a.query.Newest, r.ID, *a.after) {
			return nil
		}
		if p.add(r) {
			return send()
		}
		return nil
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		err = send()
	}
	return ans, err
}

// behind tells whether id comes behind last in the order of a query.
func behind(newest bool, id, last ulid.ULID) bool {
	if newest {
		return id.Compare(last) < 0
	}
	return id.Compare(last) > 0
}

// tell passes what a coordinator says to the task that it is about, and tells whether there is one.
func (m *member) tell(msg message) bool {
	m.mu.Lock()
	t := m.tasks[msg.attempt]
	m.mu.Unlock()
	if t == nil {
		return false
	}
	switch msg.kind {
	case kindCredit:
		t.allow(msg.seq, m.cfg.now())
	case kindStop:
		t.cancel(errStopped)
	case kindCancel:
		t.cancel(context.Canceled)
	}
	return true
}

// close cancels what is being worked on, and waits for its end.
func (m *member) close() {
	m.mu.Lock()
	m.closed = true
	for _, t := range m.tasks {
		t.cancel(errLeaving)
	}
	m.mu.Unlock()
	m.work.Wait()
}

// receive takes a message from another querier.
func (m *member) receive(raw []byte, reply string) {
	msg, err := decode(raw)
	if err != nil {
		m.cfg.Logger.Debug("a message is left alone", "cause", err)
		return
	}
	if msg.kind != kindRun {
		m.tell(msg)
		return
	}
	if reply == "" {
		return
	}
	to := &remoteSink{m: m, reply: reply, attempt: msg.attempt, most: max(m.cfg.Transport.MaxMessage()-headerSize-1, 1<<10)}
	q, after, times, err := decodeOrder(msg.body)
	if err != nil {
		m.cfg.Logger.Warn("cannot work on a query", "cause", err)
		to.end(nil, err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	to.ended = make(chan struct{})
	to.stop = cancel
	if !m.start(ctx, assignment{id: msg.attempt, query: q, times: times, after: after, credit: msg.seq, run: m.cfg.Engine.RunCold, count: m.cfg.Engine.CountTimesCold, to: to, watch: to.beat}) {
		cancel()
		to.send(message{kind: kindBusy, attempt: msg.attempt}.encode())
	}
}

// remoteSink sends to a coordinator elsewhere.
type remoteSink struct {
	m       *member
	reply   string
	attempt uint64
	most    int // bytes of a part
	ended   chan struct{}
	stop    context.CancelFunc

	mu   sync.Mutex // what is counted is sent in that order
	sent uint32     // parts
}

func (s *remoteSink) send(raw []byte) {
	// What cannot be sent is lost, and the coordinator notices.
	if err := s.m.cfg.Transport.Send(s.reply, "", raw); err != nil {
		s.m.cfg.Logger.Debug("could not send to a coordinator", "cause", err)
	}
}

func (s *remoteSink) unit(raw []byte) error {
	s.parts(raw, 0)
	return nil
}

func (s *remoteSink) parts(raw []byte, flags byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for first := true; first || len(raw) > 0; first = false {
		n := min(len(raw), s.most)
		f := flags
		if n < len(raw) {
			f |= flagMore
		}
		s.send(message{kindPart, s.attempt, s.sent, []byte{f}}.encode(raw[:n]...))
		s.sent++
		raw = raw[n:]
	}
}

func (s *remoteSink) end(ans *query.Answer, err error) {
	if s.ended != nil {
		close(s.ended)
		defer s.stop()
	}
	if errors.Is(err, context.Canceled) {
		return // nobody waits for it
	}
	r := report{Answer: ans}
	if err == nil {
		s.m.metrics.other.Inc()
	} else {
		r = report{Error: err.Error()}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		raw = []byte(`{"error":"the answer cannot be encoded"}`)
	}
	s.parts(raw, flagAnswer)
}

// beat tells the coordinator that the task lives, until it has ended, and ends it if the coordinator does not answer.
func (s *remoteSink) beat(t *task) {
	tick := time.NewTicker(s.m.cfg.beat)
	defer tick.Stop()
	for {
		s.mu.Lock()
		s.send(message{kind: kindBeat, attempt: s.attempt, seq: s.sent}.encode())
		s.mu.Unlock()
		select {
		case <-tick.C:
		case <-s.ended:
			return
		}
		t.mu.Lock()
		silent := s.m.cfg.now().Sub(t.heard)
		t.mu.Unlock()
		if silent > s.m.cfg.orphan {
			t.cancel(errOrphan)
		}
	}
}

var _ sink = (*remoteSink)(nil)
