package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"oklog/objstore/segment"
)

const (
	// publishTimeout is how long an answer may take. A server that fsyncs the whole MaxInFlight first is well within it.
	publishTimeout = 30 * time.Second

	// minWeight is what the smallest publish counts against MaxInFlight: it bounds their number.
	minWeight = 8 << 10

	maxID = 256 // bytes of a publish's ID
)

// Ack is the server's answer to a Publish, when it comes.
type Ack struct {
	done    chan struct{}
	err     error // of the publish; set before done is closed
	subject string
	weight  int64
}

// Done is closed when the answer is there.
func (a *Ack) Done() <-chan struct{} { return a.done }

// Err is nil when the stream holds the batch, durably as the server has it; a duplicate of
// one that it held already is as good. Otherwise it is ErrFull, ErrUnavailable, ErrNoStream, ErrTooLarge or
// ErrClosed. It waits for Done.
func (a *Ack) Err() error {
	<-a.done
	return a.err
}

// Wait is Err, until ctx is done.
func (a *Ack) Wait(ctx context.Context) error {
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return fmt.Errorf("await the ack of %s: %w", a.subject, ctx.Err())
	}
}

// Publish sends a batch of a topic and does not wait for the answer, but for room: no more than
// Config.MaxInFlight bytes are on their way. The id (1 to 256 printable bytes) tells a repetition from a new batch. body must not
// change until the answer is there. Errors: as Ack.Err has them, segment.ErrTopic and ctx's.
func (s *Stream) Publish(ctx context.Context, topic, id string, body []byte) (*Ack, error) {
	if err := segment.CheckTopic(topic); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	subject := s.prefix + topic
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("publish to %s: %w", subject, err)
	}
	if limit := s.MaxBatch(); len(body) > limit {
		return nil, fmt.Errorf("publish to %s: %w: %d bytes, the server takes %d: make batches smaller or raise its max_payload",
			subject, ErrTooLarge, len(body), limit)
	}
	if !s.nc.IsConnected() && !s.nc.IsClosed() {
		// nats.go would keep some of them for later, but not all, and not say which.
		return nil, fmt.Errorf("publish to %s: %w: no connection to %s", subject, ErrUnavailable, s.where)
	}
	a := &Ack{done: make(chan struct{}), subject: subject, weight: s.weight(len(body))}
	if err := s.room.Acquire(ctx, a.weight); err != nil {
		return nil, fmt.Errorf("publish to %s: await room: %w", subject, err)
	}
	m := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{
		jetstream.MsgIDHeader:          []string{id},
		jetstream.ExpectedStreamHeader: []string{s.cfg.Stream},
	}}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.room.Release(a.weight)
		return nil, fmt.Errorf("publish to %s: %w", subject, ErrClosed)
	}
	s.flight[m] = a
	s.mu.Unlock()
	if _, err := s.js.PublishMsgAsync(m); err != nil {
		s.answered(m, err)
		return nil, a.Err()
	}
	return a, nil
}

// checkID keeps what would break a header out of one.
func checkID(id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("bad id of %d bytes: want 1 to %d", len(id), maxID)
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return fmt.Errorf("bad id %q: want printable ASCII without spaces", id)
		}
	}
	return nil
}

// weight is what a body counts against MaxInFlight. A body over the whole bound goes out alone.
func (s *Stream) weight(size int) int64 {
	return min(max(int64(size), minWeight), s.cfg.MaxInFlight)
}

// answered resolves the publish of m, if it is not resolved yet. nats.go may call it with its locks held.
func (s *Stream) answered(m *nats.Msg, err error) {
	s.mu.Lock()
	a, ok := s.flight[m]
	delete(s.flight, m)
	s.mu.Unlock()
	if ok {
		s.resolve(m, a, err)
	}
}

func (s *Stream) resolve(m *nats.Msg, a *Ack, err error) {
	if err != nil {
		a.err = s.publishError(m.Subject, err)
	}
	s.room.Release(a.weight)
	close(a.done)
}
