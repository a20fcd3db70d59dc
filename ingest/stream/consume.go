package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 5 * time.Second

	minRetry = 100 * time.Millisecond
	maxRetry = time.Second

	// The pull's bytes stay below what nats.go queues for a subscription before it drops messages.
	maxPullBytes = 48 << 20
)

// Defaults of ConsumeConfig.
const (
	DefaultPullBytes = 16 << 20
	DefaultIdle      = time.Minute
)

// ConsumeConfig says how a Consumer pulls.
type ConsumeConfig struct {
	// MaxBytes bounds what was delivered and waits for Next. Raised to four messages of the server's
	// greatest size, lest a pull never has room for one, and lowered to 48 MiB. Default DefaultPullBytes.
	MaxBytes int
	// Idle is after how long without any delivery the pull is made anew, in case it went silent. Default DefaultIdle.
	Idle time.Duration
}

// Consumer receives batches. Several of them, in any number of processes, share the work.
type Consumer struct {
	s      *Stream
	cfg    ConsumeConfig
	msgs   chan *Message // not buffered: what waits is bounded by the pull
	cancel context.CancelFunc
	stop   <-chan struct{} // closed by cancel
	done   chan struct{}   // closed when nothing runs any more

	arrived  atomic.Uint64 // deliveries
	blocked  atomic.Int64  // deliveries that wait for Next
	restarts atomic.Uint64

	// wrap is where a test puts a fault between the library and the handler.
	wrap func(jetstream.MessageHandler) jetstream.MessageHandler
}

// Consume starts to pull. The stream must exist (Ensure); the consumer is made when it is absent, then and
// whenever it gets lost. The connection may come and go. It runs until Stop.
func (s *Stream) Consume(ctx context.Context, cfg ConsumeConfig) (*Consumer, error) {
	return s.consume(ctx, cfg, nil)
}

func (s *Stream) consume(ctx context.Context, cfg ConsumeConfig, wrap func(jetstream.MessageHandler) jetstream.MessageHandler) (*Consumer, error) {
	if cfg.MaxBytes < 0 || cfg.Idle < 0 {
		return nil, fmt.Errorf("consume: negative bound: %d bytes, idle %s", cfg.MaxBytes, cfg.Idle)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultPullBytes
	}
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	if _, err := s.ensureConsumer(ctx); err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	run, cancel := context.WithCancel(context.Background())
	c := &Consumer{
		s: s, cfg: cfg, cancel: cancel, stop: run.Done(), wrap: wrap,
		msgs: make(chan *Message), done: make(chan struct{}),
	}
	go c.run(run)
	return c, nil
}

// Next waits for a batch. The error is ctx's, or ErrClosed after Stop or Close.
func (c *Consumer) Next(ctx context.Context) (*Message, error) {
	select {
	case m := <-c.msgs:
		return m, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("await a batch: %w", ctx.Err())
	case <-c.done:
		return nil, fmt.Errorf("await a batch: %w", ErrClosed)
	}
}

// Stop ends the pulling and returns what was delivered and not taken with Next to the server, so that others get it at
// once. Batches that were taken can still be acked.
func (c *Consumer) Stop() {
	c.cancel()
	<-c.done
}

// Restarts is how often the pull was made anew: after a silence, a lost consumer, or a server's restart.
func (c *Consumer) Restarts() uint64 { return c.restarts.Load() }

var (
	errIdle        = errors.New("no delivery for a while")
	errPullStopped = errors.New("the pull ended")
)

// run keeps a pull going until ctx is done or the connection is closed for good.
//
//	open ──▶ watch ──▶ drain ─┐   a drained pull hands on what it has got
//	 ▲     trouble, idle      │   already, while the next one is open
//	 └────────────────────────┘
func (c *Consumer) run(ctx context.Context) {
	defer close(c.done)
	var draining sync.WaitGroup
	defer draining.Wait()
	defer c.cancel() // so that drained deliveries are returned, also when the connection was closed
	retry := minRetry
	for {
		before := c.arrived.Load()
		pull, trouble, err := c.open(ctx)
		if err == nil {
			err = c.watch(ctx, pull, trouble)
			if c.s.nc.IsConnected() {
				pull.Drain()
			} else {
				pull.Stop() // a drain would wait for the server; what was delivered comes again after AckWait
			}
			draining.Go(func() { <-pull.Closed() })
		}
		if ctx.Err() != nil || c.s.nc.IsClosed() {
			return
		}
		c.restarts.Add(1)
		if errors.Is(err, errIdle) {
			c.s.log.Debug("making the pull anew", "cause", err)
			continue
		}
		if c.s.nc.IsConnected() { // else the connection's own handlers have said so
			c.s.log.Warn("making the pull anew", "cause", err)
		}
		if c.arrived.Load() != before {
			retry = minRetry
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return
		}
		retry = min(2*retry, maxRetry)
	}
}

// open makes sure of the consumer and starts a pull. What goes wrong with it later comes on trouble.
func (c *Consumer) open(ctx context.Context) (jetstream.ConsumeContext, <-chan error, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	cons, err := c.s.ensureConsumer(ctx)
	if errors.Is(err, ErrNoStream) {
		// It was there when Consume was called. A stream that is made anew is better than ingesters that do nothing.
		if err = c.s.Ensure(ctx); err == nil {
			cons, err = c.s.ensureConsumer(ctx)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	trouble := make(chan error, 1)
	handler := jetstream.MessageHandler(c.handle)
	if c.wrap != nil {
		handler = c.wrap(handler)
	}
	// Consume rather than Messages: the latter allocates a channel for a million messages when it is bounded by bytes.
	pull, err := cons.Consume(handler,
		jetstream.PullMaxBytes(min(max(c.cfg.MaxBytes, 4*int(c.s.nc.MaxPayload())), maxPullBytes)),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerLeadershipChanged) {
				return // the library asks the new leader
			}
			select {
			case trouble <- err:
			default: // the first trouble is enough
			}
		}))
	if err != nil {
		return nil, nil, c.s.requestError("pull", err)
	}
	return pull, trouble, nil
}

// watch returns when a pull has to be replaced, with the reason.
func (c *Consumer) watch(ctx context.Context, pull jetstream.ConsumeContext, trouble <-chan error) error {
	idle := time.NewTicker(c.cfg.Idle)
	defer idle.Stop()
	ended := pull.Closed()
	before := c.arrived.Load()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-trouble:
			if errors.Is(err, nats.ErrNoResponders) && !c.s.nc.IsConnected() {
				continue
			}
			return err
		case <-ended:
			return errPullStopped
		case <-idle.C:
			now := c.arrived.Load()
			if now == before && c.blocked.Load() == 0 && c.s.nc.IsConnected() {
				return errIdle
			}
			before = now
		}
	}
}

// handle gives a delivery to Next, or back to the server once the consumer was stopped.
func (c *Consumer) handle(m jetstream.Msg) {
	c.arrived.Add(1)
	msg, err := c.s.newMessage(m)
	if err != nil {
		c.s.log.Warn("skipped a delivery", "cause", err)
		return
	}
	c.blocked.Add(1)
	defer c.blocked.Add(-1)
	select {
	case <-c.stop:
	default:
		select {
		case c.msgs <- msg:
			return
		case <-c.stop:
		}
	}
	if err := msg.Nak(0); err != nil {
		// It comes again by itself after AckWait.
		c.s.log.Debug("could not return a delivery", "cause", err)
	}
}
