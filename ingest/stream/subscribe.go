package stream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"oklog/objstore/segment"
)

const (
	// subscribeBytes bounds what waits for a receiver that is busy; beyond it batches are dropped, and that is told.
	subscribeBytes = 32 << 20

	subscribePause = 200 * time.Millisecond // between attempts to learn that the server has the subscription
)

// Subscribe passes on the batches of a topic as they are published, without taking anything from the stream: a core subscription on its
// subject sees what the stream is sent. It sees what is repeated after a lost ack, too, and what the stream refuses.
//
// whole(true) says that from now on every batch that is published is passed to batch; the first time is when the server has
// the subscription. whole(false) says that some may be missing: the connection was lost, or the receiver was too slow. Both are called
// from one goroutine at a time and should return soon; a body belongs to the receiver. It returns when ctx is done, with its error, or with
// ErrClosed or segment.ErrTopic, and calls neither afterwards.
func (s *Stream) Subscribe(ctx context.Context, topic string, batch func(body []byte), whole func(bool)) error {
	if err := segment.CheckTopic(topic); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	status := s.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer s.nc.RemoveStatusListener(status)
	l := &subscription{nc: s.nc, batch: batch, whole: whole, reconnects: s.nc.Stats().Reconnects}
	l.mu.Lock()
	sub, err := s.nc.Subscribe(s.prefix+topic, l.take)
	l.sub = sub
	l.mu.Unlock()
	if err == nil {
		err = sub.SetPendingLimits(-1, subscribeBytes)
	}
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w: %w", s.prefix+topic, ErrClosed, err)
	}
	defer l.end()
	for {
		retry := l.confirm(ctx)
		t := time.NewTimer(subscribePause)
		if !retry {
			t.Stop()
		}
		select {
		case <-status:
			l.notice()
		case <-t.C:
		case <-s.over:
			err = ErrClosed
		case <-ctx.Done():
			err = ctx.Err()
		}
		t.Stop()
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", s.prefix+topic, err)
		}
	}
}

// subscription is one call of Subscribe.
type subscription struct {
	nc    *nats.Conn
	batch func(body []byte)
	whole func(bool)

	mu         sync.Mutex // held while batch and whole are called
	sub        *nats.Subscription
	over       bool
	sound      bool   // whole(true) was called last
	reconnects uint64 // of the connection, that were noticed
	dropped    int    // batches of the subscription, that were noticed
}

// take is called by nats.go for each message, from one goroutine.
func (l *subscription) take(m *nats.Msg) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.look()
	l.batch(m.Data)
}

// look notices what happened since. Of a reconnection and of drops the counters tell before the callbacks do, and
// before the next message is passed on. Batches are dropped where others wait, so that there is a next one.
func (l *subscription) look() {
	if n := l.nc.Stats().Reconnects; n != l.reconnects {
		l.reconnects = n
		l.lose()
	}
	if n, err := l.sub.Dropped(); err == nil && n != l.dropped {
		l.dropped = n
		if l.sound {
			l.whole(false)
			l.whole(true)
		}
	}
}

func (l *subscription) lose() {
	if l.sound {
		l.sound = false
		l.whole(false)
	}
}

// notice is look, where the connection may be lost.
func (l *subscription) notice() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look()
	if !l.nc.IsConnected() {
		l.lose()
	}
}

// confirm makes sure that the server has the subscription, and tells whether to try again soon.
func (l *subscription) confirm(ctx context.Context) (retry bool) {
	l.mu.Lock()
	sound := l.sound
	l.mu.Unlock()
	if sound || !l.nc.IsConnected() {
		return false // the connection's status wakes us
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	before := l.nc.Stats().Reconnects
	if err := l.nc.FlushWithContext(ctx); err != nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look()
	if l.reconnects != before {
		return true
	}
	l.sound = true
	l.whole(true)
	return false
}

// end waits until nothing is called any more.
func (l *subscription) end() {
	_ = l.sub.Unsubscribe() // of a connection that is closed, nothing is left
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}
