package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"oklog/ingest/stream"
	"oklog/objstore/segment"
)

// Bucket is where segments go. Put returns once the segment is durable in as many places as the write
// policy asks for.
type Bucket interface {
	Put(ctx context.Context, key string, body io.ReaderAt, size int64) error
}

// Defaults of Config.
const (
	DefaultFlushSize   = 64 << 20
	DefaultFlushAge    = 10 * time.Second
	DefaultHeldBytes   = 64 << 20
	DefaultMergeBytes  = 96 << 20
	DefaultUploads     = 32
	DefaultStopTimeout = 20 * time.Second
)

// Config says what an ingester reads, where it writes to, and its bounds.
type Config struct {
	Stream *stream.Stream // required; its stream must exist (Ensure)
	Bucket Bucket         // required

	FlushSize   int64         // bytes of text at which a topic is flushed
	FlushAge    time.Duration // how long a batch waits at most for others of its topic; at most a third of the stream's AckWait
	HeldBytes   int64         // bound on batches that are not yet durable
	MergeBytes  int64         // bound on what merges decode at the same time
	Uploads     int           // bound on segments being put at the same time
	StopTimeout time.Duration // how long a stop may take to flush what is held
	Skew        time.Duration // how far in the future a record's time may lie without being counted; 0: 10 minutes
	RetryWait   time.Duration // before a segment is put again, doubled up to 30 times; 0: 200 ms

	Clock      func() time.Time      // nil: time.Now
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Stream == nil || cfg.Bucket == nil {
		return cfg, errors.New("make ingester: a stream and a bucket are needed")
	}
	set := func(v *int64, def int64) { // of what may be left 0
		if *v == 0 {
			*v = def
		}
	}
	set(&cfg.FlushSize, DefaultFlushSize)
	set((*int64)(&cfg.FlushAge), int64(DefaultFlushAge))
	set(&cfg.HeldBytes, DefaultHeldBytes)
	set(&cfg.MergeBytes, DefaultMergeBytes)
	set((*int64)(&cfg.StopTimeout), int64(DefaultStopTimeout))
	set((*int64)(&cfg.Skew), int64(10*time.Minute))
	set((*int64)(&cfg.RetryWait), int64(200*time.Millisecond))
	if cfg.Uploads == 0 {
		cfg.Uploads = DefaultUploads
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	const smallest = 1 << 20
	switch {
	case cfg.FlushSize < 1 || cfg.FlushSize > 1<<30:
		return cfg, fmt.Errorf("make ingester: flush size of %d bytes: want 1 to %d (--flush-size)", cfg.FlushSize, 1<<30)
	case cfg.FlushAge < 0 || 3*cfg.FlushAge > cfg.Stream.AckWait():
		return cfg, fmt.Errorf("make ingester: flush age %s is over a third of the stream's ack wait %s: lower --flush-age or raise --ack-wait", cfg.FlushAge, cfg.Stream.AckWait())
	case cfg.HeldBytes < smallest || cfg.MergeBytes < smallest:
		return cfg, fmt.Errorf("make ingester: memory of %d and %d bytes: want at least %d each (--memory)", cfg.HeldBytes, cfg.MergeBytes, smallest)
	case cfg.Uploads < 1 || cfg.StopTimeout < 0 || cfg.Skew < 0 || cfg.RetryWait < 0:
		return cfg, errors.New("make ingester: uploads, stop timeout, skew and retry wait must not be negative")
	}
	return cfg, nil
}

// Ingester moves batches from a stream into a bucket.
type Ingester struct {
	cfg     Config
	metrics *metrics
	held    *semaphore.Weighted // bytes of batches in hand
	merging *semaphore.Weighted // bytes that merges decode
	uploads *semaphore.Weighted
	mergers chan *merger
	turns   sync.Map // a topic's *semaphore.Weighted: no topic has all the mergers to itself

	mu  sync.Mutex
	all map[*batch]struct{} // in hand; for telling the server so
}

// New makes an ingester.
func New(cfg Config) (*Ingester, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("make ingester: %w", err)
	}
	mergers := make(chan *merger, runtime.GOMAXPROCS(0)+2)
	for range cap(mergers) {
		m, err := newMerger()
		if err != nil {
			return nil, fmt.Errorf("make ingester: %w", err)
		}
		mergers <- m
	}
	return &Ingester{
		cfg: cfg, metrics: m, all: map[*batch]struct{}{}, mergers: mergers,
		held: semaphore.NewWeighted(cfg.HeldBytes), merging: semaphore.NewWeighted(cfg.MergeBytes), uploads: semaphore.NewWeighted(int64(cfg.Uploads)),
	}, nil
}

// loadUploads bounds the segments of one load that are being put at the same time.
const loadUploads = 8

// turn is what a load of the topic waits for before it is merged: as many go at once as there are processors, and
// there are more mergers than that.
func (in *Ingester) turn(topic string) *semaphore.Weighted {
	t, ok := in.turns.Load(topic)
	if !ok {
		t, _ = in.turns.LoadOrStore(topic, semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))))
	}
	return t.(*semaphore.Weighted)
}

// Run ingests until ctx is done, then stops pulling, flushes and acks what is in hand, and returns nil; or an error
// if the stream was closed. What cannot be flushed within StopTimeout goes back to the stream.
func (in *Ingester) Run(ctx context.Context) error {
	consumer, err := in.cfg.Stream.Consume(ctx, stream.ConsumeConfig{MaxBytes: int(min(in.cfg.HeldBytes/4, stream.DefaultPullBytes))})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // told to stop before anything was in hand
	}
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	// Flushes outlive ctx: what is in hand is made durable after the pulling has stopped.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var flushes, helpers sync.WaitGroup

	pulled := make(chan *batch)
	pressure := make(chan struct{})
	var pullErr error
	helpers.Go(func() {
		defer close(pulled)
		pullErr = in.pull(ctx, consumer, pulled, pressure)
	})
	helpers.Go(func() { in.renew(work) })

	flush := func(loads ...*load) {
		for _, l := range loads {
			flushes.Go(func() { in.flush(work, l) })
		}
	}
	c := newCollector(in.cfg.FlushSize, in.cfg.FlushAge)
	tick := time.NewTicker(max(in.cfg.FlushAge/20, 5*time.Millisecond))
	defer tick.Stop()
	for open := true; open; {
		select {
		case b, ok := <-pulled:
			if !ok {
				open = false
			} else if l := c.add(b); l != nil {
				flush(l)
			}
		case <-pressure:
			flush(c.heaviest(in.cfg.HeldBytes / 2)...)
		case <-tick.C:
			flush(c.due(in.cfg.Clock())...)
		}
	}
	consumer.Stop()
	flush(c.all()...)
	late := time.AfterFunc(in.cfg.StopTimeout, cancel)
	flushes.Wait()
	late.Stop()
	cancel()
	helpers.Wait()
	return pullErr
}

// pull takes batches from the consumer as long as there is memory for them, opens them and hands them on.
func (in *Ingester) pull(ctx context.Context, consumer *stream.Consumer, pulled chan<- *batch, pressure chan<- struct{}) error {
	d, err := segment.NewDecoder()
	if err != nil {
		return err
	}
	for {
		m, err := consumer.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("ingest: %w", err)
		}
		b, err := open(d, m, in.cfg.Clock())
		if err != nil {
			in.deadLetter(ctx, m, err)
			continue
		}
		b.weight = min(b.weight, in.cfg.HeldBytes)
		in.track(b)
		if !in.held.TryAcquire(b.weight) {
			select {
			case pressure <- struct{}{}:
			case <-ctx.Done():
			}
			if err := in.held.Acquire(ctx, b.weight); err != nil {
				in.drop(b)
				_ = m.Nak(0) // stopping; failing that, it comes again by itself
				return nil
			}
		}
		in.hold(b)
		pulled <- b // Run receives until this is closed
	}
}

// deadLetter gives a batch up. If even that fails, the stream delivers it again.
func (in *Ingester) deadLetter(ctx context.Context, m *stream.Message, reason error) {
	in.cfg.Logger.Warn("a batch goes to the dead letters", "topic", fmt.Sprintf("%.*s", segment.MaxTopic, m.Topic), "sequence", m.Sequence, "bytes", len(m.Body), "reason", reason)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := in.cfg.Stream.DeadLetter(ctx, m, reason.Error()); err != nil {
		in.cfg.Logger.Warn("the batch could not be stored as a dead letter; it comes again", "cause", err)
		_ = m.Nak(time.Second)
		return
	}
	topic := m.Topic
	if segment.CheckTopic(topic) != nil {
		topic = "invalid" // a label must not be a stranger's choice
	}
	in.metrics.deadBatches.WithLabelValues(topic).Inc()
}

// track has renew tell the server of a batch, until drop.
func (in *Ingester) track(b *batch) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.all[b] = struct{}{}
}

// hold counts a batch that there is memory for.
func (in *Ingester) hold(b *batch) {
	b.held = true
	in.metrics.received.WithLabelValues(b.msg.Topic).Add(float64(b.seg.Records()))
	in.metrics.heldBatches.Inc()
	in.metrics.heldBytes.Add(float64(b.weight))
}

// drop forgets a batch that was acked or given away.
func (in *Ingester) drop(b *batch) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, ok := in.all[b]; !ok {
		return
	}
	delete(in.all, b)
	if b.held {
		in.metrics.heldBatches.Dec()
		in.metrics.heldBytes.Sub(float64(b.weight))
	}
}

// renew tells the server of the batches in hand, before it takes them for lost.
func (in *Ingester) renew(ctx context.Context) {
	every := in.cfg.Stream.AckWait() / 3
	tick := time.NewTicker(max(every/4, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := in.cfg.Clock()
		var due []*batch
		in.mu.Lock()
		for b := range in.all {
			if now.Sub(*b.renewed.Load()) >= every {
				due = append(due, b)
			}
		}
		in.mu.Unlock()
		for _, b := range due {
			if err := b.msg.InProgress(); err != nil {
				in.cfg.Logger.Debug("could not tell the server of a batch in hand", "cause", err)
			}
			b.renewed.Store(&now)
		}
	}
}
