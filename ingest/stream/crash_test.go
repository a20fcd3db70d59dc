package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// keepPublishing publishes a batch until it is stored, as a forwarder does that blocks.
func keepPublishing(ctx context.Context, s *Stream, topic, id string, body []byte) (failures int, err error) {
	for ctx.Err() == nil {
		a, err := s.Publish(ctx, topic, id, body)
		if err == nil {
			err = a.Wait(ctx)
		}
		if err == nil {
			return failures, nil
		}
		if !Retryable(err) {
			return failures, err
		}
		failures++
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return failures, ctx.Err()
}

// The server is killed with -9 three times, between publishes and acks, and started again on the same port and folder.
// What was acked to the publisher is delivered; who publishes goes on by repeating; the consumer goes on by itself.
func TestServerIsKilledAndStartedAgain(t *testing.T) {
	const batches, kills = 400, 3
	dir := t.TempDir()
	srv := startProcess(t, dir, "127.0.0.1:0")
	listen := strings.TrimPrefix(srv.url, "nats://")
	changes := make(chan bool, 100)
	var logs logBuffer
	s := testConnect(t, Config{URL: srv.url, AckWait: 2 * time.Second, Logger: logs.logger(), OnConnection: func(up bool) { changes <- up }})
	ctx := testContext(t)
	if err := s.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	c := mustConsume(t, s, ConsumeConfig{})

	killAt := make(chan struct{})
	var wg sync.WaitGroup
	failures := 0
	wg.Go(func() {
		for i := range batches {
			if i > 0 && i%(batches/(kills+1)) == 0 && i/(batches/(kills+1)) <= kills {
				killAt <- struct{}{}
			}
			n, err := keepPublishing(ctx, s, "t", fmt.Sprint("b", i), []byte(fmt.Sprint(i, strings.Repeat("x", 20<<10))))
			if err != nil {
				t.Errorf("batch %d: %v", i, err)
				return
			}
			failures += n
		}
	})
	// It goes on until all is acked: acks get lost, too, and their batches come again.
	seen := map[string]bool{}
	consuming, consumed := context.WithCancel(ctx)
	defer consumed()
	var consumer sync.WaitGroup
	consumer.Go(func() {
		for {
			m, err := c.Next(consuming)
			if err != nil {
				return
			}
			seen[string(m.Body)] = true
			if err := m.Ack(); err != nil {
				t.Error(err)
			}
		}
	})
	for range kills {
		<-killAt
		srv.kill()
		eventually(t, "the loss is noticed", func() bool { return !s.Connected() })
		if _, err := s.Publish(ctx, "t", "away", nil); !errors.Is(err, ErrUnavailable) {
			t.Errorf("publish while the server is away: %v", err)
		}
		srv = startProcess(t, dir, listen)
	}
	wg.Wait()
	if failures == 0 {
		t.Error("no publish ever failed: nothing was tested")
	}
	eventually(t, "all is acked", func() bool {
		p, err := s.Pending(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return p.Messages == 0
	})
	consumed()
	consumer.Wait()
	if len(seen) != batches {
		t.Errorf("%d of %d batches were delivered", len(seen), batches)
	}
	ups := 0
	for len(changes) > 0 {
		if <-changes {
			ups++
		}
	}
	if ups != kills+1 || !logs.has("lost the connection") || !logs.has("connected to NATS again") {
		t.Errorf("connected %d times", ups)
	}
}

// Publishes in flight when the server dies fail and give their room back.
func TestPublishesInFlightFailWithTheServer(t *testing.T) {
	srv := startProcess(t, t.TempDir(), "127.0.0.1:0")
	s := testConnect(t, Config{URL: srv.url, MaxInFlight: 4 << 20})
	ctx := testContext(t)
	if err := s.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	var acks []*Ack
	var failed error
	for i := 0; failed == nil; i++ {
		a, err := s.Publish(ctx, "t", fmt.Sprint(i), make([]byte, 100<<10))
		if err != nil {
			failed = err
			continue
		}
		if acks = append(acks, a); i == 30 {
			srv.kill()
		}
	}
	if !errors.Is(failed, ErrUnavailable) {
		t.Error(failed)
	}
	for _, a := range acks {
		if err := a.Wait(ctx); err != nil && !Retryable(err) {
			t.Error(err)
		}
	}
	if err := s.room.Acquire(ctx, 4<<20); err != nil {
		t.Errorf("room is missing: %v", err)
	}
	s.room.Release(4 << 20)
}

// A consumer is stopped, and a connection closed, in bounded time while the server is away.
func TestStopWhileTheServerIsAway(t *testing.T) {
	srv := startProcess(t, t.TempDir(), "127.0.0.1:0")
	s := testStream(t, Config{URL: srv.url})
	mustPublish(t, s, "t", "1", "x")
	mustPublish(t, s, "t", "2", "x")
	c := mustConsume(t, s, ConsumeConfig{})
	m := mustNext(t, c)
	srv.kill()
	eventually(t, "the loss is noticed", func() bool { return !s.Connected() })
	mustAck(t, m) // kept for when the server is back
	c.Stop()
	if err := s.Close(testContext(t)); err != nil {
		t.Error(err)
	}
}
