package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"oklog/ingest/stream/embedded"
	"oklog/objstore/segment"
)

// heard is what a subscription has told, in order: bodies, and "whole" or "lost".
type heard struct {
	mu   sync.Mutex
	all  []string
	wait chan struct{} // batches wait for it
	stop func() error  // ends it and returns its error
}

func (h *heard) add(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, text)
}

func (h *heard) has() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

func subscribe(t *testing.T, s *Stream, topic string, h *heard) *heard {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	go func() {
		done <- s.Subscribe(ctx, topic, func(body []byte) {
			if h.wait != nil {
				<-h.wait
			}
			h.add(string(body[:min(len(body), 20)]))
		}, func(whole bool) { h.add(map[bool]string{true: "whole", false: "lost"}[whole]) })
	}()
	h.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = h.stop() }) // what it ended with is checked where it matters
	eventually(t, "the server has the subscription", func() bool { return slices.Contains(h.has(), "whole") })
	return h
}

func TestSubscribeSeesWhatIsPublished(t *testing.T) {
	s := testStream(t, Config{})
	mustPublish(t, s, "t", "0", "before")
	one, two := subscribe(t, s, "t", &heard{}), subscribe(t, s, "t", &heard{})
	want := []string{"whole"}
	for i := range 20 {
		body := fmt.Sprint("batch ", i)
		mustPublish(t, s, "t", body[6:]+"-id", body)
		mustPublish(t, s, "other", body[6:]+"-other", "of another topic")
		want = append(want, body)
	}
	mustPublish(t, s, "t", "19-id", "batch 19") // the stream has it already, and stores it once
	want = append(want, "batch 19")
	for _, h := range []*heard{one, two} {
		eventually(t, "everything is passed on", func() bool { return len(h.has()) >= len(want) })
		if have := h.has(); !slices.Equal(have, want) {
			t.Errorf("have %q, want %q", have, want)
		}
	}
	if n := pendingMessages(t, s); n != 41 {
		t.Errorf("%d batches are in the stream, want 41: nothing is taken away", n)
	}
	if err := one.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	n := len(one.has())
	mustPublish(t, s, "t", "more", "more")
	eventually(t, "the other goes on", func() bool { return slices.Contains(two.has(), "more") })
	if len(one.has()) != n {
		t.Error("something was passed on after the end")
	}
	if err := s.Subscribe(testContext(t), "a b", nil, nil); !errors.Is(err, segment.ErrTopic) {
		t.Errorf("a bad topic: %v", err)
	}
}

// A server that is killed is a loss; when it is back, so is the subscription.
func TestSubscribeTellsOfALoss(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir, "127.0.0.1:0")
	listen := strings.TrimPrefix(p.url, "nats://")
	s := testStream(t, Config{URL: p.url})
	h := subscribe(t, s, "t", &heard{})
	mustPublish(t, s, "t", "1", "one")
	eventually(t, "the first is passed on", func() bool { return len(h.has()) == 2 })
	// A batch that is published again is seen again.
	have := func() []string { return slices.Compact(h.has()) }
	for n := range 2 {
		p.kill()
		eventually(t, "the loss is told", func() bool { return len(have()) == 3+3*n })
		p = startProcess(t, dir, listen)
		eventually(t, "it is whole again", func() bool { return len(have()) == 4+3*n })
		eventually(t, "a batch is stored", func() bool {
			a, err := s.Publish(testContext(t), "t", fmt.Sprint("more-", n), []byte("more"))
			return err == nil && a.Err() == nil
		})
		eventually(t, "it is passed on", func() bool { return len(have()) == 5+3*n })
	}
	if want := []string{"whole", "one", "lost", "whole", "more", "lost", "whole", "more"}; !slices.Equal(have(), want) {
		t.Errorf("have %q, want %q", have(), want)
	}
	if err := s.Close(testContext(t)); err != nil { // while there is a server
		t.Error(err)
	}
}

// What a receiver is too slow for is dropped, and that is told.
func TestSubscribeDropsWhatIsTooMuch(t *testing.T) {
	s := testStream(t, Config{URL: testServer(t, embedded.Config{}).ClientURL()})
	h := &heard{}
	subscribe(t, s, "t", h)
	wait := make(chan struct{})
	slow := &heard{wait: wait}
	subscribe(t, s, "t", slow)
	body := bytes.Repeat([]byte{'x'}, 1<<20-headroom)
	const n = 2*subscribeBytes/(1<<20) + 8
	for i := range n {
		mustPublish(t, s, "t", fmt.Sprint(i), string(body))
	}
	mustPublish(t, s, "t", "end", "end")
	eventually(t, "the quick one has everything", func() bool { return slices.Contains(h.has(), "end") })
	if have := h.has(); slices.Contains(have, "lost") || len(have) != n+2 {
		t.Errorf("the quick one has lost something: %d of %d", len(have), n+2)
	}
	close(wait)
	eventually(t, "the loss is told", func() bool { return slices.Contains(slow.has(), "lost") })
	eventually(t, "it is whole again", func() bool {
		mustPublish(t, s, "t", fmt.Sprint("after-", len(slow.has())), "after")
		have := slow.has()
		return have[len(have)-1] == "after"
	})
	have := slow.has()
	if at := slices.Index(have, "lost"); have[at+1] != "whole" || len(have) >= n {
		t.Errorf("behind the loss comes %q, and %d of %d are passed on", have[at+1], len(have), n)
	}
}

func TestSubscribeEndsWithTheConnection(t *testing.T) {
	s := testStream(t, Config{})
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		done <- s.Subscribe(testContext(t), "t", func([]byte) {}, func(whole bool) {
			if whole {
				close(ready)
			}
		})
	}()
	<-ready
	if err := s.Close(testContext(t)); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("it ends with %v", err)
	}
}
