package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"oklog/objstore/segment"
	"oklog/query"
)

// Live passes on batches as they are published.
type Live interface {
	// Subscribe calls batch with each batch of a topic, a small segment, and whole where something may be missing: whole(true) says that
	// from now on every batch that is published is passed on, whole(false) that some may be missing until the next whole(true). It calls
	// them from one goroutine at a time and not after it has returned, which it does when ctx is done, or with an error. Batches
	// may come twice, and later than others of their session.
	Subscribe(ctx context.Context, topic string, batch func(body []byte), whole func(bool)) error
}

// MaxLines is how many records of the history can be asked for.
const MaxLines = 10_000

// Defaults of Config.
const (
	DefaultHold     = time.Second
	DefaultFillTime = 20 * time.Second
	DefaultMaxBytes = 64 << 20
)

// settle is how long a server may take to store what it has passed on before it had our subscription: history is read after it.
const settle = 100 * time.Millisecond

// Config is what tails work with.
type Config struct {
	Live Live
	// Runner finds what is stored already: batches that are not flushed, and segments. nil: there is no history, and what is missed is only counted.
	Runner query.Runner
	// Hold is how long records wait for others of their session that should come before them. Default DefaultHold.
	Hold time.Duration
	// FillTime bounds the reading of what was missed. Default DefaultFillTime.
	FillTime time.Duration
	// MaxBytes bounds what each Run holds in memory. Default DefaultMaxBytes. What comes at once, or is read again, may take of Spare besides, which
	// several share; nil: nothing.
	MaxBytes int64
	Spare    *query.Spare
	Clock    func() time.Time // nil: time.Now
	Logger   *slog.Logger     // gets what befalls batches; nil: none
}

// Kind says what an event is.
type Kind uint8

// The kinds of events.
const (
	Match     Kind = iota // Record matches
	Skipped               // N records were not seen, and will not be; whether they match is not known. Text says why
	Recovered             // N records that were skipped have come after all: those of them that match follow
	Notice                // Text says something about the connection or about what could not be read
)

// Event is what a tail puts out.
type Event struct {
	Kind   Kind
	Record query.Record // its text is valid until emit returns
	N      int64
	Text   string
}

// Tail follows topics. Its methods may be called from any number of goroutines, which share one subscription to each topic.
type Tail struct {
	cfg Config

	mu    sync.Mutex
	feeds map[string]*feed
}

// New makes a Tail.
func New(cfg Config) (*Tail, error) {
	if cfg.Live == nil {
		return nil, errors.New("make tail: nothing brings new records")
	}
	if cfg.Hold < 0 || cfg.FillTime < 0 || cfg.MaxBytes < 0 {
		return nil, fmt.Errorf("make tail: Hold %s, FillTime %s, MaxBytes %d: want more than 0, or 0 for the default", cfg.Hold, cfg.FillTime, cfg.MaxBytes)
	}
	if cfg.Hold == 0 {
		cfg.Hold = DefaultHold
	}
	if cfg.FillTime == 0 {
		cfg.FillTime = DefaultFillTime
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Tail{cfg: cfg, feeds: map[string]*feed{}}, nil
}

// Run puts out the last lines records that match, from q.Range.From on, and then those that match as they are published, until ctx is done (its
// error), emit fails (its error; none if that is segment.ErrStop), q.Limit records were put out (no error), or nothing comes any more (an error).
// emit is called from one goroutine at a time. Before Run waits it calls q.Idle. Of q, the order and the upper end of the range do not matter, and
// there is no context around what matches.
func (t *Tail) Run(ctx context.Context, q query.Query, lines int, emit func(Event) error) error {
	switch {
	case lines < 0 || lines > MaxLines:
		return fmt.Errorf("tail: %d lines: want 0 to %d", lines, MaxLines)
	case q.Before > 0 || q.After > 0:
		return errors.New("tail: records around those that match are for searches")
	case emit == nil:
		return errors.New("tail: nowhere to put the records")
	}
	if err := segment.CheckTopic(q.Topic); err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	r := &reader{
		t: t, q: q, emit: emit, began: t.cfg.Clock(), filter: query.NewFilter(q), in: t.join(q.Topic),
		track: newTracker(t.cfg.Hold, t.cfg.MaxBytes/8),
	}
	defer t.leave(q.Topic, r.in)
	err := r.run(ctx, lines)
	if errors.Is(err, segment.ErrStop) {
		return nil
	}
	return err
}
