package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"oklog/objstore/segment"
)

// publishAll publishes each body to its topic and waits for all the answers.
func publishAll(t testing.TB, s *Stream, n int, topicAndBody func(i int) (topic, body string)) {
	t.Helper()
	ctx := testContext(t)
	acks := make([]*Ack, n)
	for i := range acks {
		topic, body := topicAndBody(i)
		var err error
		if acks[i], err = s.Publish(ctx, topic, fmt.Sprintf("%s/%d/%d", topic, i, len(body)), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range acks {
		if err := a.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func unflushed(t testing.TB, s *Stream, topic string) []string {
	t.Helper()
	var bodies []string
	for body, err := range s.Unflushed(testContext(t), topic) {
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(body))
	}
	return bodies
}

// Over several requests and topics, exactly what is not acked, in order, also where one topic's name begins another's.
func TestUnflushedIsWhatIsNotAcked(t *testing.T) {
	const n = 9000 // one topic has more than one request brings
	topics := []string{"app", "app.web", "app-web"}
	topicOf := func(i int) string {
		if i%3 == 0 && i > 4*unflushedMessages/3 {
			return topics[i%2+1]
		}
		return topics[0]
	}
	s := testStream(t, Config{})
	want := map[string][]string{}
	publishAll(t, s, n, func(i int) (string, string) {
		body := fmt.Sprint("body ", i)
		want[topicOf(i)] = append(want[topicOf(i)], body)
		return topicOf(i), body
	})
	check := func(when string) {
		t.Helper()
		for _, topic := range topics {
			if have := unflushed(t, s, topic); !slices.Equal(have, want[topic]) {
				t.Errorf("%s, topic %s: %d of %d batches", when, topic, len(have), len(want[topic]))
			}
		}
		if have := unflushed(t, s, "nobody"); len(have) != 0 {
			t.Errorf("%s: %d batches of a topic without any", when, len(have))
		}
	}
	if len(want["app"]) <= unflushedMessages {
		t.Fatal("one request would do")
	}
	check("before any ack")

	c := mustConsume(t, s, ConsumeConfig{})
	random := rand.New(rand.NewPCG(1, 2))
	acked := map[string]bool{}
	for range n - 100 {
		if m := mustNext(t, c); random.IntN(3) > 0 {
			mustAck(t, m)
			acked[string(m.Body)] = true
		}
	}
	for topic := range want {
		want[topic] = slices.DeleteFunc(want[topic], func(b string) bool { return acked[b] })
	}
	eventually(t, "the acks have arrived", func() bool { return pendingMessages(t, s) == uint64(n-len(acked)) })
	check("after some acks")
}

func TestUnflushedOfEmptyStreamAndBadTopic(t *testing.T) {
	s := testStream(t, Config{})
	if have := unflushed(t, s, "t"); len(have) != 0 {
		t.Errorf("%d batches of an empty stream", len(have))
	}
	for _, topic := range []string{"", ">", "*", "a.*", "a b"} {
		n := 0
		for _, err := range s.Unflushed(t.Context(), topic) {
			if n++; !errors.Is(err, segment.ErrTopic) {
				t.Errorf("topic %q: %v", topic, err)
			}
		}
		if n != 1 {
			t.Errorf("topic %q: %d answers", topic, n)
		}
	}
	// A stream that held something and is empty again.
	mustPublish(t, s, "t", "1", "x")
	mustAck(t, mustNext(t, mustConsume(t, s, ConsumeConfig{})))
	eventually(t, "all is acked", func() bool { return pendingMessages(t, s) == 0 })
	if have := unflushed(t, s, "t"); len(have) != 0 {
		t.Errorf("%d batches after the ack", len(have))
	}
}

// Large batches: many requests, since each is bounded in bytes. A caller that has seen enough ends it.
func TestUnflushedLargeAndCutShort(t *testing.T) {
	s := testStream(t, Config{})
	pad := strings.Repeat("x", 900<<10)
	publishAll(t, s, 30, func(i int) (string, string) { return "t", fmt.Sprint(i, pad) })
	have := unflushed(t, s, "t")
	if len(have) != 30 {
		t.Fatalf("%d batches", len(have))
	}
	for i, b := range have {
		if b != fmt.Sprint(i, pad) {
			t.Fatalf("batch %d is another", i)
		}
	}
	n := 0
	for range s.Unflushed(testContext(t), "t") {
		if n++; n == 12 {
			break
		}
	}
	if n != 12 {
		t.Errorf("%d batches", n)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	var last error
	defer cancel()
	for _, err := range s.Unflushed(ctx, "t") {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("after its context was done: %v", last)
	}
}

// While ingesters ack and publishers publish, no batch is missed that was there before the call and is after it.
func TestUnflushedWhileOthersAck(t *testing.T) {
	const n = 3000
	s := testStream(t, Config{})
	publishAll(t, s, n, func(i int) (string, string) { return fmt.Sprint("t", i%3), fmt.Sprint(i) })
	keep := map[string]bool{} // a third is never acked
	for i := range n {
		if i%9 < 3 {
			keep[fmt.Sprint(i)] = true
		}
	}
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	c := mustConsume(t, s, ConsumeConfig{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			m, err := c.Next(ctx)
			if err != nil {
				return
			}
			if keep[string(m.Body)] || strings.HasPrefix(string(m.Body), "new") {
				continue
			}
			if err := m.Ack(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for i := 0; ctx.Err() == nil && i < 2000; i++ {
			if _, err := s.Publish(ctx, fmt.Sprint("t", i%3), fmt.Sprint("new", i), []byte(fmt.Sprint("new", i))); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	for round := 0; round < 5 || pendingMessages(t, s) > uint64(len(keep))+2000; round++ {
		have := map[string]bool{}
		for topic := range 3 {
			for _, b := range unflushed(t, s, fmt.Sprint("t", topic)) {
				if have[b] {
					t.Errorf("round %d: batch %s twice", round, b)
				}
				have[b] = true
			}
		}
		for b := range maps.Keys(keep) {
			if !have[b] {
				t.Fatalf("round %d: batch %s is missing among %d", round, b, len(have))
			}
		}
	}
	cancel()
	wg.Wait()
}

// The leader has the last word: where a batch request finds nothing, what the leader still has is found.
func TestUnflushedAsksTheLeader(t *testing.T) {
	s := testStream(t, Config{})
	for i := range 3 {
		mustPublish(t, s, "t", fmt.Sprint(i), fmt.Sprint("body", i))
		mustPublish(t, s, "other", fmt.Sprint("o", i), "x")
	}
	var have []string
	next := uint64(1)
	for next <= 5 {
		var err error
		if next, err = s.getFromLeader(testContext(t), "oklog.t", next, 5, func(b []byte) bool {
			have = append(have, string(b))
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"body0", "body1", "body2"}; !slices.Equal(have, want) {
		t.Errorf("have %v", have)
	}
	for _, c := range []struct{ next, last uint64 }{{2, 2}, {6, 9}} {
		next, err := s.getFromLeader(testContext(t), "oklog.t", c.next, c.last, func([]byte) bool {
			t.Errorf("from %d to %d: something", c.next, c.last)
			return true
		})
		if err != nil || next != c.last+1 {
			t.Errorf("from %d to %d: go on at %d, %v", c.next, c.last, next, err)
		}
	}
}

// The requests that bring nothing are repeated, and then the answer is an error, not a short one.
func TestUnflushedWithoutAnswer(t *testing.T) {
	s := testStream(t, Config{})
	mustPublish(t, s, "t", "1", "x")
	// Nobody answers direct gets of a stream that is not there: as a server does that has just started.
	wrong := &Stream{cfg: Config{Stream: "OTHER"}, nc: s.nc, js: s.js}
	b := wrong.getBatch(testContext(t), "oklog.t", 1, 9, func([]byte) bool { return true })
	if b.err == nil || b.stopped || b.next != 1 {
		t.Errorf("batch %+v", b)
	}
	if _, err := wrong.getFromLeader(testContext(t), "oklog.t", 1, 9, nil); !errors.Is(err, ErrNoStream) {
		t.Errorf("leader: %v", err)
	}
}
