package stream

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"oklog/ingest/stream/embedded"
)

func TestEnsureMakesWhatIsAbsent(t *testing.T) {
	s := testStream(t, Config{AckWait: 90 * time.Second, MaxBytes: 64 << 20})
	ctx := testContext(t)
	str, err := s.js.Stream(ctx, "OKLOG")
	if err != nil {
		t.Fatal(err)
	}
	have := str.CachedInfo().Config
	if have.Retention != jetstream.WorkQueuePolicy || have.Discard != jetstream.DiscardNew || have.Storage != jetstream.FileStorage ||
		!have.AllowDirect || have.MaxBytes != 64<<20 || len(have.Subjects) != 1 || have.Subjects[0] != "oklog.>" || have.Duplicates != 2*time.Minute {
		t.Errorf("stream: %+v", have)
	}
	cons, err := str.Consumer(ctx, "ingest")
	if err != nil {
		t.Fatal(err)
	}
	if c := cons.CachedInfo().Config; c.AckPolicy != jetstream.AckExplicitPolicy || c.AckWait != 90*time.Second || c.MaxDeliver != -1 || c.MaxAckPending != 100_000 {
		t.Errorf("consumer: %+v", c)
	}
	dead, err := s.js.Stream(ctx, "OKLOG_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	if c := dead.CachedInfo().Config; c.Subjects[0] != "oklog-dead.>" || c.Discard != jetstream.DiscardOld || c.MaxBytes != 1<<30 || c.MaxAge != 720*time.Hour {
		t.Errorf("dead letters: %+v", c)
	}
	// Again, and from another process that wishes other sizes: all is well, and stays.
	other := testConnect(t, Config{URL: s.cfg.URL, MaxBytes: 1 << 30, AckWait: 30 * time.Second})
	if err := errors.Join(s.Ensure(ctx), other.Ensure(ctx)); err != nil {
		t.Error(err)
	}
	if p, err := s.Pending(ctx); err != nil || p.MaxBytes != 64<<20 {
		t.Errorf("pending %+v, %v", p, err)
	}
	if other.AckWait() != 90*time.Second {
		t.Errorf("the ack wait in effect is %s", other.AckWait())
	}
}

func TestEnsureFromManyAtOnce(t *testing.T) {
	url := testServer(t, embedded.Config{}).ClientURL()
	ctx := testContext(t)
	var wg sync.WaitGroup
	for i := range 8 {
		s := testConnect(t, Config{URL: url, MaxBytes: int64(i+1) << 24, AckWait: time.Duration(i+1) * time.Minute})
		wg.Go(func() {
			if err := s.Ensure(ctx); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	s := testConnect(t, Config{URL: url})
	cons, err := s.js.Consumer(ctx, "OKLOG", "ingest")
	if err != nil {
		t.Fatal(err)
	}
	if w := cons.CachedInfo().Config.AckWait; w < time.Minute {
		t.Errorf("ack wait %s", w)
	}
}

// The default size is halved until a small server has room for both streams.
func TestEnsureOnSmallServer(t *testing.T) {
	url := testServer(t, embedded.Config{MaxStore: 256 << 20}).ClientURL()
	s := testConnect(t, Config{URL: url, MaxBytes: 1 << 30})
	ctx := testContext(t)
	if err := s.Ensure(ctx); err == nil || !strings.Contains(err.Error(), "--nats-max-bytes") {
		t.Fatalf("a size that was asked for: %v", err)
	}
	s = testConnect(t, Config{URL: url})
	if err := s.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	p, err := s.Pending(ctx)
	if err != nil || p.MaxBytes < 64<<20 || p.MaxBytes > 256<<20 {
		t.Errorf("pending %+v, %v", p, err)
	}
	mustPublish(t, s, "t", "1", "x")
}

func TestEnsureNamesWhatDiffers(t *testing.T) {
	type stream = jetstream.StreamConfig
	type consumer = jetstream.ConsumerConfig
	for name, c := range map[string]struct {
		stream   func(*stream)
		dead     func(*stream)
		consumer func(*consumer)
		want     []string // none: it is fine
	}{
		"retention":    {stream: func(c *stream) { c.Retention = jetstream.LimitsPolicy }, want: []string{"stream OKLOG", "Retention is Limits", "must be WorkQueue", "nats stream rm OKLOG"}},
		"storage":      {stream: func(c *stream) { c.Storage = jetstream.MemoryStorage }, want: []string{"Storage is Memory", "must be File"}},
		"subjects":     {stream: func(c *stream) { c.Subjects = []string{"oklog.a", "oklog.b"} }, want: []string{"Subjects is [oklog.a oklog.b]", "must be [oklog.>]", "nats stream edit OKLOG --subjects"}},
		"discard":      {stream: func(c *stream) { c.Discard = jetstream.DiscardOld }, want: []string{"Discard is DiscardOld", "--discard=new"}},
		"direct":       {stream: func(c *stream) { c.AllowDirect = false }, want: []string{"AllowDirect is false", "--allow-direct"}},
		"no ack":       {stream: func(c *stream) { c.NoAck = true }, want: []string{"NoAck is true"}},
		"age":          {stream: func(c *stream) { c.MaxAge = time.Hour }, want: []string{"MaxAge is 1h0m0s", "--max-age=0"}},
		"per subject":  {stream: func(c *stream) { c.MaxMsgsPerSubject = 5 }, want: []string{"MaxMsgsPerSubject is 5"}},
		"message size": {stream: func(c *stream) { c.MaxMsgSize = 1000 }, want: []string{"MaxMsgSize is 1000"}},
		"two": {stream: func(c *stream) { c.MaxAge = time.Hour; c.AllowDirect = false },
			want: []string{"MaxAge", "AllowDirect"}},
		"size, window and limit of messages are free": {stream: func(c *stream) { c.MaxBytes = 5 << 20; c.Duplicates = time.Minute; c.MaxMsgs = 7 }},

		"dead subjects":             {dead: func(c *stream) { c.Subjects = []string{"oklog-dead.x"} }, want: []string{"stream OKLOG_DEAD", "Subjects"}},
		"dead discard":              {dead: func(c *stream) { c.Discard = jetstream.DiscardNew }, want: []string{"stream OKLOG_DEAD", "Discard"}},
		"limits of dead letters":    {dead: func(c *stream) { c.MaxBytes = 5 << 20; c.MaxAge = time.Hour }},
		"overlap":                   {dead: func(c *stream) { c.Name = "OTHER" }, want: []string{"oklog-dead.>", "nats stream ls"}},
		"filter":                    {consumer: func(c *consumer) { c.FilterSubject = "oklog.a" }, want: []string{"consumer ingest of stream OKLOG", "FilterSubject is oklog.a", "nats consumer rm OKLOG ingest"}},
		"max deliver":               {consumer: func(c *consumer) { c.MaxDeliver = 5 }, want: []string{"MaxDeliver is 5"}},
		"max ack pending":           {consumer: func(c *consumer) { c.MaxAckPending = 1000 }, want: []string{"MaxAckPending is 1000", "at least 10000"}},
		"headers only":              {consumer: func(c *consumer) { c.HeadersOnly = true }, want: []string{"HeadersOnly"}},
		"pull limit":                {consumer: func(c *consumer) { c.MaxRequestBatch = 10 }, want: []string{"MaxRequestBatch is 10"}},
		"inactive":                  {consumer: func(c *consumer) { c.InactiveThreshold = time.Hour }, want: []string{"InactiveThreshold"}},
		"longer wait":               {consumer: func(c *consumer) { c.AckWait = time.Hour }},
		"shorter wait is raised":    {consumer: func(c *consumer) { c.AckWait = time.Second }},
		"unlimited acks pending":    {consumer: func(c *consumer) { c.MaxAckPending = -1 }},
		"more waiting pullers, too": {consumer: func(c *consumer) { c.MaxWaiting = 2000 }},
	} {
		t.Run(name, func(t *testing.T) {
			s := testConnect(t, Config{URL: testServer(t, embedded.Config{}).ClientURL()})
			ctx := testContext(t)
			str, dead, cons := s.streamConfig(), s.deadConfig(), s.consumerConfig()
			str.MaxBytes = 1 << 20
			if c.stream != nil {
				c.stream(&str)
			}
			if _, err := s.js.CreateStream(ctx, str); err != nil {
				t.Fatal(err)
			}
			if c.dead != nil {
				c.dead(&dead)
				if _, err := s.js.CreateStream(ctx, dead); err != nil {
					t.Fatal(err)
				}
			}
			if c.consumer != nil {
				c.consumer(&cons)
				if _, err := s.js.CreateConsumer(ctx, "OKLOG", cons); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Ensure(ctx)
			if len(c.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Consume(ctx, ConsumeConfig{MaxBytes: -1}); err == nil {
					t.Error("a negative bound was taken")
				}
				if s.AckWait() < DefaultAckWait {
					t.Errorf("ack wait %s", s.AckWait())
				}
				return
			}
			if err == nil {
				t.Fatal("it is fine with that")
			}
			if name != "overlap" && !errors.Is(err, ErrConfig) {
				t.Errorf("not ErrConfig: %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("want %q in: %v", w, err)
				}
			}
		})
	}
}

func TestPendingWithoutStream(t *testing.T) {
	s := testConnect(t, Config{URL: testServer(t, embedded.Config{}).ClientURL()})
	ctx := testContext(t)
	if _, err := s.Pending(ctx); !errors.Is(err, ErrNoStream) || !strings.Contains(err.Error(), "oklog ingest --nats") {
		t.Errorf("pending: %v", err)
	}
	if _, err := s.Consume(ctx, ConsumeConfig{}); !errors.Is(err, ErrNoStream) {
		t.Errorf("consume: %v", err)
	}
	a, err := s.Publish(ctx, "t", "1", []byte("x"))
	if err == nil {
		err = a.Wait(ctx)
	}
	if !errors.Is(err, ErrNoStream) || !Retryable(err) {
		t.Errorf("publish: %v", err)
	}
	n := 0
	for _, err := range s.Unflushed(ctx, "t") {
		if n++; !errors.Is(err, ErrNoStream) {
			t.Errorf("unflushed: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d answers", n)
	}
}

// Two streams of different names live side by side on one server.
func TestTwoStreamsOnOneServer(t *testing.T) {
	url := testServer(t, embedded.Config{}).ClientURL()
	a, b := testStream(t, Config{URL: url, MaxBytes: 8 << 20}), testStream(t, Config{URL: url, Stream: "Staging", MaxBytes: 8 << 20})
	mustPublish(t, a, "t", "1", "of a")
	mustPublish(t, b, "t", "1", "of b")
	for s, want := range map[*Stream]string{a: "of a", b: "of b"} {
		m := mustNext(t, mustConsume(t, s, ConsumeConfig{}))
		if m.Topic != "t" || string(m.Body) != want {
			t.Errorf("%s: %s of topic %s", s.cfg.Stream, m.Body, m.Topic)
		}
		if err := s.DeadLetter(testContext(t), m, "why not"); err != nil {
			t.Error(err)
		}
	}
}
