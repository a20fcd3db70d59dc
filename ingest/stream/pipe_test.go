package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"oklog/ingest/stream/embedded"
	"oklog/objstore/segment"
)

func TestPublishConsumeAck(t *testing.T) {
	s := testStream(t, Config{})
	body := string([]byte{0, '%', '\r', '\n', 0xff, 'd'})
	mustPublish(t, s, "app.web_1-x", "id-1", body)
	c := mustConsume(t, s, ConsumeConfig{})
	m := mustNext(t, c)
	if m.Topic != "app.web_1-x" || string(m.Body) != body || m.Delivered != 1 || m.Sequence != 1 || time.Since(m.Stored).Abs() > time.Hour {
		t.Errorf("delivered %+v", m)
	}
	if p, err := s.Pending(t.Context()); err != nil || p.Messages != 1 || p.AckPending != 1 || p.Bytes == 0 {
		t.Errorf("pending %+v, %v", p, err)
	}
	mustAck(t, m)
	mustAck(t, m) // twice is fine
	eventually(t, "an acked batch leaves the stream", func() bool { return pendingMessages(t, s) == 0 })
}

func TestPublishRefuses(t *testing.T) {
	s := testStream(t, Config{})
	ctx := t.Context()
	if _, err := s.Publish(ctx, "Bad Topic", "1", nil); !errors.Is(err, segment.ErrTopic) || Retryable(err) {
		t.Errorf("topic: %v", err)
	}
	for _, id := range []string{"", "a b", "a\r\nX: y", strings.Repeat("x", maxID+1)} {
		if _, err := s.Publish(ctx, "t", id, nil); err == nil {
			t.Errorf("took the id %q", id)
		}
	}
	if _, err := s.Publish(ctx, "t", "1", make([]byte, s.MaxBatch()+1)); !errors.Is(err, ErrTooLarge) || Retryable(err) {
		t.Errorf("size: %v", err)
	}
	// The greatest batch under the longest topic and id passes, also through the dead letters.
	long := strings.Repeat("x", segment.MaxTopic)
	mustPublish(t, s, long, strings.Repeat("i", maxID), string(make([]byte, s.MaxBatch())))
	m := mustNext(t, mustConsume(t, s, ConsumeConfig{}))
	if err := s.DeadLetter(testContext(t), m, strings.Repeat("é\n", 5000)); err != nil {
		t.Error(err)
	}
}

// The same id is stored once, and the second publish is told the same as the first.
func TestPublishTwiceStoresOnce(t *testing.T) {
	s := testStream(t, Config{})
	for range 3 {
		mustPublish(t, s, "t", "same", "x")
	}
	mustPublish(t, s, "t", "other", "x")
	if n := pendingMessages(t, s); n != 2 {
		t.Errorf("%d batches", n)
	}
}

// Publishes wait for room, and give up with their context.
func TestPublishIsBoundedInBytes(t *testing.T) {
	s := testStream(t, Config{MaxInFlight: 100 << 10})
	ctx, cancel := context.WithCancel(testContext(t))
	if err := s.room.Acquire(ctx, 100<<10); err != nil { // as publishes without an answer would
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := s.Publish(ctx, "t", "1", []byte("x"))
		failed <- err
	}()
	select {
	case err := <-failed:
		t.Fatalf("published without room: %v", err)
	default:
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.room.Release(100 << 10)
	// Far more than has room at once, each one of them over the whole bound.
	var acks []*Ack
	for i := range 50 {
		a, err := s.Publish(testContext(t), "t", fmt.Sprint("big", i), make([]byte, 200<<10))
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, a)
	}
	for _, a := range acks {
		if err := a.Err(); err != nil {
			t.Error(err)
		}
	}
	if n := pendingMessages(t, s); n != 50 {
		t.Errorf("%d batches", n)
	}
}

func TestFullStreamPushesBack(t *testing.T) {
	s := testStream(t, Config{MaxBytes: 1 << 20})
	ctx := testContext(t)
	body := make([]byte, 100<<10)
	var full error
	stored := 0
	for i := 0; full == nil && i < 100; i++ {
		a, err := s.Publish(ctx, "t", fmt.Sprint(i), body)
		if err != nil {
			t.Fatal(err)
		}
		if full = a.Wait(ctx); full == nil {
			stored++
		}
	}
	if !errors.Is(full, ErrFull) || !Retryable(full) || !strings.Contains(full.Error(), "--nats-max-bytes") || stored == 0 {
		t.Fatalf("after %d batches: %v", stored, full)
	}
	c := mustConsume(t, s, ConsumeConfig{})
	mustAck(t, mustNext(t, c))
	id := fmt.Sprint(stored) // the one that found no room, again
	eventually(t, "there is room again", func() bool {
		a, err := s.Publish(ctx, "t", id, body)
		if err == nil {
			err = a.Wait(ctx)
		}
		if err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		return err == nil
	})
	for range stored {
		mustAck(t, mustNext(t, c))
	}
}

// A batch that is neither acked nor extended comes again; InProgress keeps it; Nak returns it at once.
func TestRedelivery(t *testing.T) {
	s := testStream(t, Config{AckWait: time.Second})
	c := mustConsume(t, s, ConsumeConfig{})
	mustPublish(t, s, "t", "1", "first")
	m := mustNext(t, c)
	again := mustNext(t, c)
	if again.Delivered != 2 || again.Sequence != m.Sequence || string(again.Body) != "first" {
		t.Fatalf("delivered %+v", again)
	}
	if err := again.Nak(0); err != nil {
		t.Fatal(err)
	}
	if m = mustNext(t, c); m.Delivered != 3 {
		t.Fatalf("after Nak: delivered %d times", m.Delivered)
	}

	// While m is extended, three others, one after the other, live through a whole ack wait.
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := m.InProgress(); err != nil {
					t.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	for i := range 3 {
		mustPublish(t, s, "other", fmt.Sprint("o", i), "x")
		for delivered := 1; delivered <= 2; delivered++ {
			o := mustNext(t, c)
			if o.Topic != "other" || o.Delivered != delivered {
				t.Fatalf("delivered %+v", o)
			}
			if delivered == 2 {
				mustAck(t, o)
			}
		}
	}
	cancel()
	wg.Wait()
	mustAck(t, m)
	eventually(t, "all is acked", func() bool { return pendingMessages(t, s) == 0 })
}

func TestConsumersShareTheWork(t *testing.T) {
	const batches = 500
	s := testStream(t, Config{})
	other := testConnect(t, Config{URL: s.cfg.URL})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{}
	took := make([]int, 2)
	var wg sync.WaitGroup
	for i, from := range []*Stream{s, other} {
		c := mustConsume(t, from, ConsumeConfig{})
		wg.Go(func() {
			for {
				m, err := c.Next(ctx)
				if err != nil {
					return
				}
				if err := m.Ack(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen[string(m.Body)]++
				took[i]++
				if len(seen) == batches {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	pad := strings.Repeat("x", 64<<10) // more than one pull takes
	for i := range batches {
		if _, err := s.Publish(ctx, "t", fmt.Sprint(i), []byte(fmt.Sprint(i, pad))); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if len(seen) != batches || took[0] == 0 || took[1] == 0 {
		t.Errorf("%d of %d batches seen, shared %v", len(seen), batches, took)
	}
	eventually(t, "all is acked", func() bool { return pendingMessages(t, s) == 0 })
}

// What a stopped consumer had been given goes to another one at once, and not after AckWait, which is an hour here.
func TestStopReturnsWhatWasDelivered(t *testing.T) {
	s := testStream(t, Config{AckWait: time.Hour})
	for i := range 20 {
		mustPublish(t, s, "t", fmt.Sprint(i), fmt.Sprint(i))
	}
	first := mustConsume(t, s, ConsumeConfig{})
	kept := mustNext(t, first)
	eventually(t, "all is delivered", func() bool {
		p, err := s.Pending(t.Context())
		return err == nil && p.AckPending == 20
	})
	first.Stop()
	first.Stop() // twice is fine
	if _, err := first.Next(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("next after stop: %v", err)
	}
	second := mustConsume(t, s, ConsumeConfig{})
	for range 19 {
		m := mustNext(t, second)
		if m.Sequence == kept.Sequence {
			t.Error("a batch that was taken came again")
		}
		mustAck(t, m)
	}
	mustAck(t, kept) // taken before the stop
	eventually(t, "all is acked", func() bool { return pendingMessages(t, s) == 0 })
}

// A pull whose deliveries go nowhere is noticed and made anew.
func TestWatchdogReplacesSilentPull(t *testing.T) {
	s := testStream(t, Config{AckWait: time.Second})
	mustPublish(t, s, "t", "1", "x")
	pulls := 0 // used by one goroutine
	c, err := s.consume(testContext(t), ConsumeConfig{Idle: 100 * time.Millisecond}, func(h jetstream.MessageHandler) jetstream.MessageHandler {
		if pulls++; pulls <= 2 {
			return func(jetstream.Msg) {}
		}
		return h
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	mustAck(t, mustNext(t, c))
	if c.Restarts() < 2 {
		t.Errorf("%d restarts", c.Restarts())
	}
}

// An idle pull that is made anew over and over loses nothing.
func TestWatchdogLosesNothing(t *testing.T) {
	s := testStream(t, Config{AckWait: time.Hour})
	c := mustConsume(t, s, ConsumeConfig{Idle: time.Millisecond})
	for i := range 200 {
		mustPublish(t, s, "t", fmt.Sprint(i), fmt.Sprint(i))
		m := mustNext(t, c)
		if string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("batch %s instead of %d", m.Body, i)
		}
		mustAck(t, m)
	}
	if c.Restarts() == 0 {
		t.Error("the pull was never made anew")
	}
}

func TestConsumerSurvivesDeletion(t *testing.T) {
	s := testStream(t, Config{})
	ctx := testContext(t)
	c := mustConsume(t, s, ConsumeConfig{})
	mustPublish(t, s, "t", "1", "one")
	mustAck(t, mustNext(t, c))
	eventually(t, "all is acked", func() bool { return pendingMessages(t, s) == 0 })

	if err := s.js.DeleteConsumer(ctx, "OKLOG", consumerName); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, "t", "2", "two")
	if m := mustNext(t, c); string(m.Body) != "two" {
		t.Errorf("batch %s", m.Body)
	} else {
		mustAck(t, m)
	}

	if err := s.js.DeleteStream(ctx, "OKLOG"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream is made anew", func() bool {
		_, err := s.Pending(ctx)
		return err == nil
	})
	mustPublish(t, s, "t", "3", "three")
	if m := mustNext(t, c); string(m.Body) != "three" {
		t.Errorf("batch %s", m.Body)
	}
}

func TestDeadLetter(t *testing.T) {
	s := testStream(t, Config{})
	ctx := testContext(t)
	mustPublish(t, s, "app.web", "1", "poison")
	m := mustNext(t, mustConsume(t, s, ConsumeConfig{}))
	if err := s.DeadLetter(ctx, m, "bad magic\n\xff"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the batch leaves the stream", func() bool { return pendingMessages(t, s) == 0 })
	// A repetition, as after a lost ack, stores nothing twice.
	if err := s.DeadLetter(ctx, m, "bad magic"); err != nil {
		t.Fatal(err)
	}
	str, err := s.js.Stream(ctx, "OKLOG_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	if n := str.CachedInfo().State.Msgs; n != 1 {
		t.Fatalf("%d dead letters", n)
	}
	dead, err := str.GetMsg(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	h := dead.Header
	stored, err := time.Parse(time.RFC3339Nano, h.Get(HeaderStored))
	if dead.Subject != "oklog-dead.app.web" || string(dead.Data) != "poison" || h.Get(HeaderReason) != "bad magic??" ||
		h.Get(HeaderSubject) != "oklog.app.web" || h.Get(HeaderSequence) != "1" || err != nil || !stored.Equal(m.Stored) {
		t.Errorf("dead letter on %s: %q %v", dead.Subject, dead.Data, h)
	}
}

// A foreign publisher's message: a topic that breaks the rules, and too large to be one dead letter.
func TestDeadLetterOfForeignMessage(t *testing.T) {
	s := testStream(t, Config{})
	ctx := testContext(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if len(body) <= s.MaxBatch() {
		t.Fatal("not over the limit")
	}
	if _, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: "oklog.NOT-a.Topic$", Data: body}); err != nil {
		t.Fatal(err)
	}
	m := mustNext(t, mustConsume(t, s, ConsumeConfig{MaxBytes: 1})) // raised
	if m.Topic != "NOT-a.Topic$" || !bytes.Equal(m.Body, body) {
		t.Errorf("topic %s, %d bytes", m.Topic, len(m.Body))
	}
	if err := s.DeadLetter(ctx, m, "bad topic"); err != nil {
		t.Fatal(err)
	}
	str, err := s.js.Stream(ctx, "OKLOG_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for i := range uint64(2) {
		part, err := str.GetMsg(ctx, i+1)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%d/2", i+1); part.Header.Get(HeaderPart) != want {
			t.Errorf("part %q, want %q", part.Header.Get(HeaderPart), want)
		}
		got = append(got, part.Data...)
	}
	if !bytes.Equal(got, body) {
		t.Error("the parts are not the body")
	}
}

// What anybody may publish under a subject as long as the server takes ends no connection.
func TestDeadLetterOfLongSubject(t *testing.T) {
	s := testStream(t, Config{})
	ctx := testContext(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.cfg.URL, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	topic := strings.Repeat("a", 4060)
	if _, err := fmt.Fprintf(conn, "CONNECT {\"verbose\":false}\r\nPUB oklog.%s 3\r\nbad\r\n", topic); err != nil {
		t.Fatal(err)
	}
	m := mustNext(t, mustConsume(t, s, ConsumeConfig{}))
	if m.Topic != topic {
		t.Fatalf("topic %.100s of %d bytes", m.Topic, len(m.Topic))
	}
	if err := s.DeadLetter(ctx, m, "bad topic"); err != nil {
		t.Fatal(err)
	}
	str, err := s.js.Stream(ctx, "OKLOG_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	dead, err := str.GetMsg(ctx, 1)
	if err != nil || string(dead.Data) != "bad" || !strings.HasPrefix(dead.Header.Get(HeaderSubject), "oklog.aaa") || dead.Subject != "oklog-dead.LONG" {
		t.Errorf("%+v, %v", dead, err)
	}
	if p, err := s.Pending(ctx); err != nil || p.Messages != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

// When the dead letters cannot be stored, the batch stays.
func TestDeadLetterFails(t *testing.T) {
	s := testStream(t, Config{AckWait: time.Second})
	ctx := testContext(t)
	mustPublish(t, s, "t", "1", "poison")
	c := mustConsume(t, s, ConsumeConfig{})
	m := mustNext(t, c)
	if err := s.js.DeleteStream(ctx, "OKLOG_DEAD"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeadLetter(ctx, m, "r"); !errors.Is(err, ErrNoStream) {
		t.Fatal(err)
	}
	if err := s.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	if m = mustNext(t, c); m.Delivered != 2 {
		t.Errorf("delivered %d times", m.Delivered)
	}
	if err := s.DeadLetter(ctx, m, "r"); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	srv := testServer(t, embedded.Config{})
	s := testStream(t, Config{URL: srv.ClientURL()})
	ctx := testContext(t)
	c := mustConsume(t, s, ConsumeConfig{})
	var acks []*Ack
	for i := range 100 {
		a, err := s.Publish(ctx, "t", fmt.Sprint(i), make([]byte, 10<<10))
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, a)
	}
	m, late := mustNext(t, c), mustNext(t, c)
	c.Stop()
	mustAck(t, m)
	if err := errors.Join(s.Close(ctx), s.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	for _, a := range acks {
		if err := a.Err(); err != nil {
			t.Fatalf("a publish before Close: %v", err)
		}
	}
	if _, err := s.Publish(ctx, "t", "late", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("publish: %v", err)
	}
	if _, err := s.Pending(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("pending: %v", err)
	}
	if err := late.Ack(); !errors.Is(err, ErrClosed) {
		t.Errorf("ack: %v", err)
	}
	// The ack that was on its way has arrived.
	if n := pendingMessages(t, testConnect(t, Config{URL: srv.ClientURL()})); n != 99 {
		t.Errorf("%d batches", n)
	}
}

// A consumer whose connection was closed under it ends.
func TestConsumerEndsWithItsConnection(t *testing.T) {
	s := testStream(t, Config{})
	c := mustConsume(t, s, ConsumeConfig{})
	if err := s.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
