package forward

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"oklog/objstore/segment"
)

// ErrNotAcked says that a cancelled Run ended before every record was acked.
var ErrNotAcked = errors.New("not all records were acked")

// errStopped ends the stages of a Run that was cancelled and whose time for acks is up.
var errStopped = errors.New("the time to stop is up")

// Forwarder reads inputs and publishes their records, once.
type Forwarder struct {
	cfg     Config
	meters  *meters
	journal *journal // nil: no state folder
	times   *timeParser
	start   *regexp.Regexp // of multi-line records; nil: none
	free    chan *segment.Block
	target  atomic.Int64 // bytes of text that a block is filled up to
	began   atomic.Int64 // when Run began, Unix ns; 0: not yet
	total   int64        // bytes of all inputs; -1: unknown
	wait    waits
}

// waits are the times that tests shorten.
type waits struct {
	backoff [2]time.Duration // between attempts to publish: first and longest
	poll    time.Duration    // between looks at followed files
	settle  time.Duration    // of silence after which a multi-line record is complete
	linger  time.Duration    // of silence after which a file is finished with that another has replaced
	missing time.Duration    // or that is gone and nothing has replaced
	recheck time.Duration    // between looks at rotated files that were finished with
	keep    time.Duration    // for which these go on
}

// New checks a configuration and opens the state folder. Its errors are ErrConfig or ErrState and name the flag to change.
func New(cfg Config) (*Forwarder, error) {
	cfg, err := cfg.withDefaults()
	if err == nil {
		err = cfg.checkTarget()
	}
	if err != nil {
		return nil, err
	}
	f := &Forwarder{cfg: cfg, total: totalSize(cfg.Inputs), wait: waits{
		backoff: [2]time.Duration{100 * time.Millisecond, 5 * time.Second},
		poll:    250 * time.Millisecond, settle: time.Second, linger: 5 * time.Second, missing: time.Minute,
		recheck: 10 * time.Second, keep: keepRotated,
	}}
	f.target.Store(int64(cfg.Limits.Batch))
	if f.times, err = newTimeParser(cfg.Time); err != nil {
		return nil, err
	}
	if cfg.Inputs.Multiline != "" {
		if f.start, err = regexp.Compile(cfg.Inputs.Multiline); err != nil {
			return nil, bad("bad start pattern: %w (--multiline)", err)
		}
	}
	if f.meters, err = newMeters(cfg.Registerer, cfg.Topic); err != nil {
		return nil, err
	}
	// One block is being filled, one waits, one is being encoded; Bulk collects two segments' worth.
	blocks := 3
	if cfg.Mode == Bulk {
		blocks = 2*int(cfg.Limits.Flush/int64(cfg.Limits.Batch)+1) + 2
	}
	f.free = make(chan *segment.Block, blocks)
	for range blocks {
		f.free <- new(segment.Block)
	}
	if cfg.Inputs.StateDir != "" {
		if f.journal, err = openJournal(cfg.Inputs.StateDir, cfg.Topic); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Close gives the state folder free. It is for a Forwarder that is not Run; Run does it by itself.
func (f *Forwarder) Close() error {
	if f.journal == nil {
		return nil
	}
	return f.journal.close()
}

// Run is New and Run.
func Run(ctx context.Context, cfg Config) (Stats, error) {
	f, err := New(cfg)
	if err != nil {
		return Stats{}, err
	}
	return f.Run(ctx)
}

// Run forwards until the inputs end and everything is acked, or until ctx is done: then it stops reading, sends what it has
// read, waits for the acks up to Limits.Stop and says with ErrNotAcked how many did not come. It may be called once.
func (f *Forwarder) Run(ctx context.Context) (Stats, error) {
	f.began.Store(time.Now().UnixNano())
	// The stages outlive ctx, by the time to stop.
	hard, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	expired := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(expired)
		t := time.NewTimer(f.cfg.Limits.Stop)
		defer t.Stop()
		select {
		case <-t.C:
			cancel(errStopped)
		case <-hard.Done():
		}
	})
	var err error
	if f.cfg.Mode == Bulk {
		err = f.runBulk(ctx, hard)
	} else {
		err = f.runPublish(ctx, hard)
	}
	cancel(nil)
	if !unhook() {
		<-expired
	}
	if f.journal != nil {
		err = errors.Join(err, f.journal.close())
	}
	stats := f.meters.stats()
	if errors.Is(err, errStopped) {
		where := "they are lost"
		switch {
		case f.journal != nil:
			where = "they are kept in " + f.cfg.Inputs.StateDir + " and sent at the next start"
		case len(f.cfg.Inputs.Files) > 0 && f.cfg.Inputs.Stdin == nil:
			where = "forward the files again"
		}
		err = fmt.Errorf("stop forwarding: %w: %d within %s: %s (--stop-timeout)",
			ErrNotAcked, stats.Records+stats.Replayed-stats.Acked-stats.Dropped, f.cfg.Limits.Stop, where)
	}
	return stats, err
}

// runPublish runs the stages of Fast and Durable:
//
//	readAll ─ blocks ─▶ encodeAll ─ messages ─▶ store ─▶ outbox ─▶ send
func (f *Forwarder) runPublish(ctx, hard context.Context) error {
	box := &outbox{
		topic: f.cfg.Topic, mode: f.cfg.Mode, full: f.cfg.WhenFull, bound: maxInFlight,
		publisher: f.cfg.Publisher, permanent: f.cfg.Permanent, journal: f.journal,
		meters: f.meters, log: f.cfg.Logger.With("topic", f.cfg.Topic), backoff: f.wait.backoff,
	}
	if f.cfg.WhenFull == DropOldest {
		box.bound = f.cfg.Limits.Spool
	}
	box.init()
	r, err := f.newReader()
	if err != nil {
		return err
	}
	if f.journal != nil {
		box.replay()
	}
	blocks, batches := make(chan *batch), make(chan *batch)
	r.out = blocks
	var readErr, sendErr error
	// With a state folder the time to stop is for what goes over the network: what was read is written to
	// the folder all the same, which takes no longer than the disk takes for some blocks.
	base := hard
	if f.journal != nil {
		base = context.WithoutCancel(hard)
	}
	g, gctx := errgroup.WithContext(base)
	network, hangUp := context.WithCancel(gctx)
	defer hangUp()
	defer context.AfterFunc(hard, hangUp)()
	r.hungUp = network.Done()
	g.Go(func() error {
		defer close(blocks)
		// What was read before an error is sent all the same.
		readErr = r.run(gctx, ctx.Done())
		return nil
	})
	g.Go(func() error { return f.encodeAll(gctx, blocks, batches) })
	g.Go(func() error {
		defer box.close()
		return f.store(network, hard, batches, box)
	})
	g.Go(func() error {
		err := box.send(network)
		if err != nil && f.journal != nil && hard.Err() != nil {
			sendErr = err // the others go on
			return nil
		}
		return err
	})
	if err = g.Wait(); err == nil {
		err = sendErr
	}
	if cause := context.Cause(hard); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	if err != nil {
		return err
	}
	if readErr == nil && f.journal != nil {
		readErr = f.journal.note(r.positions())
	}
	return readErr
}

// store is the stage between encoder and outbox: it makes batches durable, with a state folder.
// Once hard is done, that is enough for it.
func (f *Forwarder) store(ctx, hard context.Context, in <-chan *batch, box *outbox) error {
	for b := range in {
		var e *entry
		if f.journal != nil {
			if err := box.awaitSpool(ctx, f.cfg.Limits.Spool); err != nil {
				return err
			}
			var err error
			if e, err = f.journal.add(b.files, b.parts); err != nil {
				return err
			}
		}
		if err := box.put(ctx, b, e); err != nil && (e == nil || hard.Err() == nil) {
			return err
		}
	}
	return nil
}

// Progress is how far a Run is.
type Progress struct {
	Read, Total int64 // bytes of text; Total is -1 when the inputs do not tell
	Records     int64 // read
	Acked       int64 // records
	Elapsed     time.Duration
	Rate        float64 // bytes read a second, since the start
}

// Progress may be called at any time, from any goroutine.
func (f *Forwarder) Progress() Progress {
	p := Progress{
		Read: f.meters.bytes.n.Load(), Total: f.total,
		Records: f.meters.read.n.Load(), Acked: f.meters.acked.n.Load(),
	}
	if began := f.began.Load(); began > 0 {
		p.Elapsed = time.Since(time.Unix(0, began))
		p.Rate = float64(p.Read) / max(p.Elapsed.Seconds(), 1e-3)
	}
	return p
}

// Stats may be called at any time, from any goroutine.
func (f *Forwarder) Stats() Stats { return f.meters.stats() }
