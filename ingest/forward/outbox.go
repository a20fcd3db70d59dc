package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// maxInFlight bounds the bytes of messages published and not acked, and of those that wait in memory to be.
const maxInFlight = 32 << 20

// message is a part of a batch on its way.
type message struct {
	part
	index   int    // among the parts of its entry
	entry   *entry // nil without a journal
	batch   *batchDone
	ack     Ack
	counted bool // among the published
}

// batchDone closes done when the last of a batch's messages is settled.
type batchDone struct {
	pending int
	done    chan struct{}
}

// outbox holds messages from when they are made until they are acked: first they wait, then they are in
// flight. Messages are published in order, and again, in order, when that failed.
type outbox struct {
	topic     string
	mode      Mode
	full      WhenFull
	bound     int64 // bytes that wait; under Spool of those in memory
	publisher Publisher
	permanent func(error) bool
	journal   *journal // nil: none
	meters    *meters
	log       *slog.Logger
	backoff   [2]time.Duration // first and longest

	queue  queue
	flight []*message
	flying int64 // bytes in flight
	outage outage
}

// queue is what waits. Its methods may be called by two goroutines: one puts, one takes.
type queue struct {
	mu      sync.Mutex
	waiting []*message
	bytes   int64 // of the bodies in memory
	closed  bool
	changed chan struct{} // for the taker, room for one
	room    chan struct{} // for the putter, room for one
}

func (o *outbox) init() {
	o.queue.changed, o.queue.room = make(chan struct{}, 1), make(chan struct{}, 1)
	o.outage.log = o.log
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put takes a batch over. It waits while the outbox is full and blocks.
func (o *outbox) put(ctx context.Context, b *batch, e *entry) error {
	done := &batchDone{pending: len(b.parts), done: b.done}
	for i, p := range b.parts {
		m := &message{part: p, index: i, entry: e, batch: done}
		for {
			ok, err := o.tryPut(m)
			if err != nil {
				return err
			}
			if ok {
				break
			}
			select {
			case <-o.queue.room:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		signal(o.queue.changed)
	}
	return nil
}

func (o *outbox) tryPut(m *message) (bool, error) {
	q := &o.queue
	q.mu.Lock()
	var dropped []*message
	size := int64(len(m.body))
	over := func() bool { return q.bytes > 0 && (q.bytes+size > o.bound || len(q.waiting) >= maxWaiting) }
	switch {
	case o.full == Block && over():
		q.mu.Unlock()
		return false, nil
	case o.full == DropOldest:
		for over() {
			// What an earlier run has left in the journal comes first, and takes no memory.
			i := slices.IndexFunc(q.waiting, func(m *message) bool { return m.body != nil })
			old := q.waiting[i]
			if i == 0 { // mostly, and there may be many
				q.waiting = q.waiting[1:]
			} else {
				q.waiting = slices.Delete(q.waiting, i, i+1)
			}
			q.bytes -= int64(len(old.body))
			dropped = append(dropped, old)
		}
	case o.full == Spool && over():
		m.body, size = nil, 0 // it is in the journal
	}
	q.waiting = append(q.waiting, m)
	q.bytes += size
	q.mu.Unlock()
	for _, old := range dropped {
		o.meters.dropped.add(old.Records)
		o.outage.dropped(old.Records)
		if err := o.settle(old); err != nil {
			return true, err
		}
	}
	return true, nil
}

// awaitSpool waits, under Spool, until the journal has room.
func (o *outbox) awaitSpool(ctx context.Context, limit int64) error {
	for o.full == Spool && o.journal.full(limit) {
		select {
		case <-o.queue.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// replay puts what an earlier run left in the journal. It comes before anything else.
func (o *outbox) replay() {
	var records int64
	for _, e := range o.journal.entries {
		done := &batchDone{pending: len(e.parts)}
		for i, p := range e.parts {
			records += p.Records
			o.queue.waiting = append(o.queue.waiting, &message{part: p, index: i, entry: e, batch: done})
		}
	}
	if records > 0 {
		o.meters.replayed.add(records)
		o.log.Info("publishing again what the journal holds of an earlier run", "records", records, "batches", len(o.queue.waiting))
	}
}

// close says that no more will be put.
func (o *outbox) close() {
	o.queue.mu.Lock()
	o.queue.closed = true
	o.queue.mu.Unlock()
	signal(o.queue.changed)
}

// next takes the first message that waits, if it fits into the flight.
func (o *outbox) next() (m *message, finished bool) {
	q := &o.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, q.closed && len(o.flight) == 0
	}
	m = q.waiting[0]
	if len(o.flight) > 0 && (o.flying+m.Size > maxInFlight || o.mode == Durable) {
		return nil, false
	}
	q.waiting = q.waiting[1:]
	q.bytes -= int64(len(m.body))
	signal(q.room)
	return m, false
}

// again puts messages whose publishing failed back to the front.
func (o *outbox) again(failed []*message) {
	q := &o.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(failed, q.waiting...)
	for _, m := range failed {
		q.bytes += int64(len(m.body))
	}
}

// send publishes what is put until all is acked, behind close. It ends early with ctx, or
// with an error that repeating does not mend.
func (o *outbox) send(ctx context.Context) error {
	delay := o.backoff[0]
	defer func() { o.meters.inFlight.Set(0) }()
	for {
		failed, acked, err := o.reap()
		if err != nil {
			return err
		}
		if acked && len(failed) == 0 {
			delay = o.backoff[0]
		}
		var m *message
		if len(failed) == 0 {
			var finished bool
			if m, finished = o.next(); finished {
				return nil
			}
			if m != nil {
				if err := o.publish(ctx, m); err != nil {
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					if o.permanent(err) || errors.Is(err, ErrState) {
						return fmt.Errorf("publish %d records: %w", m.Records, err)
					}
					o.outage.failed(err)
					failed = []*message{m}
				}
			}
		}
		o.meters.inFlight.Set(float64(len(o.flight)))
		switch {
		case len(failed) > 0:
			o.again(failed)
			if err := pause(ctx, delay); err != nil {
				return err
			}
			delay = min(2*delay, o.backoff[1])
		case m == nil:
			if err := o.wait(ctx); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
}

// wait returns when there is a message, or the answer to the first in flight.
func (o *outbox) wait(ctx context.Context) error {
	var first <-chan struct{}
	if len(o.flight) > 0 {
		first = o.flight[0].ack.Done()
	}
	select {
	case <-first:
	case <-o.queue.changed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (o *outbox) publish(ctx context.Context, m *message) error {
	if m.body == nil {
		b, err := o.journal.body(m.entry, m.index)
		if err != nil {
			return err
		}
		m.body = b
	}
	ack, err := o.publisher.Publish(ctx, o.topic, m.ID, m.body)
	if err != nil {
		return err
	}
	m.ack = ack
	if !m.counted {
		m.counted = true
		o.meters.published.add(m.Records)
	}
	o.flight = append(o.flight, m)
	o.flying += m.Size
	return nil
}

// reap takes the messages with answers from the front of the flight, and returns those to be published again.
func (o *outbox) reap() (failed []*message, acked bool, err error) {
	for len(o.flight) > 0 {
		m := o.flight[0]
		select {
		case <-m.ack.Done():
		default:
			return failed, acked, nil
		}
		o.flight = o.flight[1:]
		o.flying -= m.Size
		if err := m.ack.Err(); err != nil {
			if o.permanent(err) {
				return failed, acked, fmt.Errorf("publish %d records: %w", m.Records, err)
			}
			o.outage.failed(err)
			m.ack = nil
			failed = append(failed, m)
			continue
		}
		acked = true
		o.outage.over()
		o.meters.acked.add(m.Records)
		if err := o.settle(m); err != nil {
			return failed, acked, err
		}
	}
	return failed, acked, nil
}

// settle is what follows when a message is acked or dropped.
func (o *outbox) settle(m *message) error {
	m.body = nil
	o.queue.mu.Lock() // messages are dropped by who puts and acked by who sends
	m.batch.pending--
	last := m.batch.pending == 0
	o.queue.mu.Unlock()
	if last && m.batch.done != nil {
		close(m.batch.done)
	}
	if m.entry != nil {
		if _, err := o.journal.settle(m.entry); err != nil {
			return err
		}
		signal(o.queue.room)
	}
	return nil
}

// outage says through the logger when publishing fails and when it works again, and not too often.
type outage struct {
	log *slog.Logger

	mu   sync.Mutex
	from time.Time // of the first failure; zero: all is well
	told time.Time // when failure was last told
	said bool      // this outage was

	lost     int64 // records dropped since that was last told
	lostTold time.Time
}

// tellEvery is how often a lasting trouble is told again.
const tellEvery = 10 * time.Second

func (o *outage) failed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.from.IsZero() {
		o.from, o.said = now, false
	}
	if now.Sub(o.told) >= tellEvery {
		o.told, o.said = now, true
		o.log.Warn("cannot publish, trying again", "for", now.Sub(o.from).Round(time.Second), "err", err)
	}
}

func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.said {
		o.log.Info("publishing works again", "after", time.Since(o.from).Round(time.Millisecond))
	}
	o.from, o.said = time.Time{}, false
}

func (o *outage) dropped(records int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lost += records
	if now := time.Now(); now.Sub(o.lostTold) >= tellEvery {
		o.log.Warn("dropped the oldest records that wait, the pipeline is full", "records", o.lost)
		o.lostTold, o.lost = now, 0
	}
}
