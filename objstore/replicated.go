package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of ReplicatedConfig.
const (
	DefaultDetachedBytes   = 256 << 20
	DefaultDetachedTimeout = 2 * time.Minute
	DefaultDetachedGrace   = 2 * time.Second
	DefaultAvoidFor        = 10 * time.Second
)

// ErrClosed says that a bucket was used after its Close.
var ErrClosed = errors.New("bucket is closed")

// ReplicatedConfig is what NewReplicated may be told. The zero config serves.
type ReplicatedConfig struct {
	Names []string // of the buckets, in logs and metrics; without secrets; 1, 2, ... if empty

	DetachedBytes   int64         // the most bytes of bodies held by copies that go on after Put
	DetachedTimeout time.Duration // of such a copy
	DetachedGrace   time.Duration // how long Put waits for copies that there is no room to detach
	AvoidFor        time.Duration // how long a bucket that failed is read last

	Now    func() time.Time // time.Now, if nil
	Logger *slog.Logger     // discards, if nil
	Meter  Meter            // counts nothing, if nil
}

var _ Bucket = (*Replicated)(nil)

// Replicated is N buckets as one, of which W, the write quorum, must take a write.
//
//	             ┌──▶ bucket 1 ✓ ┐ W of them: Put returns
//	Put ─────────┼──▶ bucket 2 ✓ ┘
//	             └──▶ bucket 3 ...  goes on, detached; joined by Close
//
// Put goes to all buckets at once and returns when W have it. The copies that are not
// done by then go on without the caller's context, for at most DetachedTimeout. The
// bodies that they hold are bounded by DetachedBytes: beyond that Put waits a short while and
// then gives the copies up, so that one bucket's outage costs neither memory nor, for
// long, time. A copy that fails, or is given up, of an object that W buckets have, is a
// missing copy: counted, and logged as a warning, a line at most every ten seconds for each bucket. If fewer than W buckets can take the
// object, Put fails with all the causes, and nothing is counted: it is to be repeated.
//
// Create is decided by the first bucket, in the configured order, that answers: whoever
// creates the object there has won, and the others get ErrExists from it. The winner then
// creates the copies as Put does. So that an object that was created while the first bucket
// was away stays what it is, all buckets are asked first whether they have it. There is
// exactly one winner as long as all buckets are up, or the same ones are down for
// everybody; while a bucket comes and goes, two Creates at the same instant may each win in a
// different bucket, and then at least one of them gets ErrExists from the other's copies.
// A Create that fails may leave copies behind, in fewer than W buckets; a Put of the same
// object completes them.
//
// Get and Stat ask the buckets in order until one answers; ErrNotFound is the answer
// only if all say so, and if some failed, their failure is. A bucket that failed is asked last for
// AvoidFor. List is the union of the buckets' listings. Since every object is in at
// least W buckets, it is complete as long as fewer than W listings fail; otherwise it yields
// what it can and ends with an error. Delete must succeed on all.
//
// Replicated is made for objects that do not change. A Put of other bytes over an object
// is shown by this Replicated's Get and Stat at once, but a bucket that misses the copy goes on
// showing the old ones. A body must not change until Close has returned.
type Replicated struct {
	replicas []*replica
	quorum   int
	cfg      ReplicatedConfig

	join     sync.WaitGroup // the copies
	stop     context.Context
	stopNow  context.CancelCauseFunc
	mu       sync.Mutex
	closed   bool
	detached int64                           // bytes of bodies held by detached copies
	pending  map[string]map[*copies]struct{} // the writes under way, by key
}

// replica is one of the buckets.
type replica struct {
	Bucket
	name   string
	failed atomic.Pointer[time.Time] // its last failure; nil if it is well
	losses losses
}

// NewReplicated joins the buckets; quorum is how many of them must take a write.
func NewReplicated(buckets []Bucket, quorum int, cfg ReplicatedConfig) (*Replicated, error) {
	if len(buckets) == 0 {
		return nil, errors.New("replicate buckets: there is none: give --bucket at least once")
	}
	if quorum < 1 || quorum > len(buckets) {
		return nil, fmt.Errorf("replicate buckets: a write quorum of %d cannot be had from %d buckets: set --write-quorum to 1 up to %d, or give more --bucket",
			quorum, len(buckets), len(buckets))
	}
	if cfg.DetachedBytes < 0 || cfg.DetachedTimeout < 0 || cfg.DetachedGrace < 0 || cfg.AvoidFor < 0 {
		return nil, errors.New("replicate buckets: a limit is negative")
	}
	if len(cfg.Names) != 0 && len(cfg.Names) != len(buckets) {
		return nil, fmt.Errorf("replicate buckets: %d names for %d buckets", len(cfg.Names), len(buckets))
	}
	setDefault(&cfg.DetachedBytes, DefaultDetachedBytes)
	setDefault(&cfg.DetachedTimeout, DefaultDetachedTimeout)
	setDefault(&cfg.DetachedGrace, DefaultDetachedGrace)
	setDefault(&cfg.AvoidFor, DefaultAvoidFor)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Meter == nil {
		cfg.Meter = noMeter{}
	}
	r := &Replicated{quorum: quorum, cfg: cfg, pending: make(map[string]map[*copies]struct{})}
	for i, b := range buckets {
		name := fmt.Sprint(i + 1)
		if len(cfg.Names) > 0 {
			name = cfg.Names[i]
		}
		r.replicas = append(r.replicas, &replica{Bucket: b, name: name})
	}
	for _, b := range r.replicas {
		cfg.Meter.Missing(b.name, 0)
	}
	cfg.Meter.Detached(0)
	r.stop, r.stopNow = context.WithCancelCause(context.Background())
	return r, nil
}

func setDefault[T int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Buckets returns the buckets in their order, for what has to tell them apart.
func (r *Replicated) Buckets() []Bucket {
	buckets := make([]Bucket, len(r.replicas))
	for i, b := range r.replicas {
		buckets[i] = b.Bucket
	}
	return buckets
}

// Quorum returns how many buckets must take a write.
func (r *Replicated) Quorum() int { return r.quorum }

// Close waits for the copies that are under way. When ctx is done it breaks off the rest, which
// are then missing, and returns ctx's error. Writes after Close fail with ErrClosed.
func (r *Replicated) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	joined := make(chan struct{})
	go func() {
		r.join.Wait()
		close(joined)
	}()
	select {
	case <-joined:
		r.stopNow(ErrClosed)
		r.sayRest()
		return nil
	case <-ctx.Done():
		r.stopNow(ErrClosed)
		<-joined
		r.sayRest()
		return fmt.Errorf("close buckets: copies were broken off: %w", ctx.Err())
	}
}

// readers returns the buckets in the order in which to read key from them: those that failed
// lately last, and those that are still being written to.
func (r *Replicated) readers(key string) []*replica {
	late := r.lacking(key)
	good := make([]*replica, 0, len(r.replicas))
	var bad []*replica
	for _, b := range r.replicas {
		if late[b] || r.avoided(b) {
			bad = append(bad, b)
		} else {
			good = append(good, b)
		}
	}
	return append(good, bad...)
}

func (r *Replicated) avoided(b *replica) bool {
	at := b.failed.Load()
	if at == nil {
		return false
	}
	// A clock that was set back, and has no monotonic reading, must not make it longer.
	ago := r.cfg.Now().Sub(*at)
	return ago >= 0 && ago < r.cfg.AvoidFor
}

// Avoid takes down that the bucket with this index has failed, as somebody else has found out: it is read last, and
// left out of listings that are complete without it, for AvoidFor.
func (r *Replicated) Avoid(index int) { r.replicas[index].fail(r.cfg.Now()) }

func (b *replica) fail(now time.Time) { b.failed.Store(&now) }

// note takes down that b failed to read, or (nil) that it is well again.
func (r *Replicated) note(b *replica, op string, err error) {
	if err == nil {
		if b.failed.Load() != nil {
			b.failed.Store(nil)
		}
		return
	}
	r.cfg.Meter.Fallback(b.name, op, Reason(err))
	if !errors.Is(err, ErrNotFound) {
		b.fail(r.cfg.Now())
	}
}

// read asks the buckets in turn until one answers. io.ErrUnexpectedEOF is an answer: the
// object ends there.
func (r *Replicated) read(ctx context.Context, op, key string, f func(b *replica) error) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("%s %s: %w", op, clip(key), err)
	}
	var absent error
	var failures []error
	for _, b := range r.readers(key) {
		err := f(b)
		if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			r.note(b, op, nil)
			return err
		}
		if ctx.Err() != nil {
			return err // it says nothing about the bucket
		}
		r.note(b, op, err)
		if errors.Is(err, ErrNotFound) {
			absent = err
		} else {
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return errors.Join(failures...)
	}
	return absent
}

// Get implements Bucket.
func (r *Replicated) Get(ctx context.Context, key string, off int64, p []byte) (n int, err error) {
	err = r.read(ctx, "get", key, func(b *replica) (err error) {
		n, err = b.Get(ctx, key, off, p)
		return err
	})
	return n, err
}

// Stat implements Bucket.
func (r *Replicated) Stat(ctx context.Context, key string) (info Info, err error) {
	err = r.read(ctx, "stat", key, func(b *replica) (err error) {
		info, err = b.Stat(ctx, key)
		return err
	})
	return info, err
}

// Delete implements Bucket. Copies of the object that are still under way are broken off.
func (r *Replicated) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("delete %s: %w", clip(key), err)
	}
	if err := r.supersede(ctx, key); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	errs := make([]error, len(r.replicas))
	var all sync.WaitGroup
	for i, b := range r.replicas {
		all.Go(func() { errs[i] = b.Delete(ctx, key) })
	}
	all.Wait()
	return errors.Join(errs...)
}
