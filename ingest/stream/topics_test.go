package stream

import (
	"errors"
	"slices"
	"testing"
)

// Topics are those of which something is not acked.
func TestTopics(t *testing.T) {
	s := testStream(t, Config{})
	if topics, err := s.Topics(testContext(t)); err != nil || len(topics) != 0 {
		t.Fatalf("of an empty stream: %q, %v", topics, err)
	}
	want := []string{"app", "app-web", "app.web"}
	publishAll(t, s, 9, func(i int) (string, string) { return want[i%3], "body" })
	if topics, err := s.Topics(testContext(t)); err != nil || !slices.Equal(topics, want) {
		t.Fatalf("want %q, have %q, %v", want, topics, err)
	}
	c := mustConsume(t, s, ConsumeConfig{})
	for range 9 {
		if m := mustNext(t, c); m.Topic == "app.web" {
			mustAck(t, m)
		}
	}
	eventually(t, "the batches are acked", func() bool { return len(unflushed(t, s, "app.web")) == 0 })
	if topics, err := s.Topics(testContext(t)); err != nil || !slices.Equal(topics, want[:2]) {
		t.Fatalf("want %q, have %q, %v", want[:2], topics, err)
	}
}

// Without the stream, it says so.
func TestTopicsWithoutStream(t *testing.T) {
	s := testStream(t, Config{})
	if err := s.js.DeleteStream(testContext(t), s.cfg.Stream); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Topics(testContext(t)); !errors.Is(err, ErrNoStream) {
		t.Fatalf("want ErrNoStream, have %v", err)
	}
}
