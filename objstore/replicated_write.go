package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// errSuperseded ends copies whose object is deleted or written anew.
var errSuperseded = errors.New("the object was deleted or written again meanwhile")

// errNoRoom ends copies that there is no room to detach.
var errNoRoom = errors.New("too many bytes wait for slow buckets already")

// copies is one write to several buckets.
type copies struct {
	key     string
	size    int64
	ctx     context.Context // of the copies; kept for the cause of its end
	cancel  context.CancelCauseFunc
	results chan result   // buffered for all: a copy never waits to be heard
	done    chan struct{} // closed when no copy is running any more
	left    int           // copies that have not been heard of

	mu      sync.Mutex
	running map[*replica]struct{} // the copies that have not succeeded
}

type result struct {
	replica *replica
	err     error
}

// Put implements Bucket.
func (r *Replicated) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("put %s: %w", clip(key), err)
	}
	if err := r.supersede(ctx, key); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if err := ctx.Err(); err != nil { // copies have contexts of their own, and could be done before it is seen
		return fmt.Errorf("put %s: %w", key, err)
	}
	return r.spread(ctx, "put", key, size, r.replicas, nil, 0, func(ctx context.Context, b *replica) error {
		return b.Put(ctx, key, body, size)
	})
}

// Create implements Bucket; the comment on Replicated says how it is decided.
func (r *Replicated) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("create %s: %w", clip(key), err)
	}
	if err := r.anywhere(ctx, key); err != nil {
		return err
	}
	var failures []result
	for i, b := range r.replicas {
		if len(failures) > len(r.replicas)-r.quorum {
			break // the quorum is out of reach
		}
		err := b.Create(ctx, key, body, size)
		if err == nil {
			return r.spread(ctx, "create", key, size, r.replicas[i+1:], failures, 1, func(ctx context.Context, b *replica) error {
				return b.Create(ctx, key, body, size)
			})
		}
		if errors.Is(err, ErrExists) || ctx.Err() != nil {
			return err
		}
		failures = append(failures, result{b, err})
	}
	return r.short("create", key, 0, failures)
}

// anywhere returns ErrExists if a bucket that can be asked has the object.
func (r *Replicated) anywhere(ctx context.Context, key string) error {
	errs := make([]error, len(r.replicas))
	var all sync.WaitGroup
	for i, b := range r.replicas {
		all.Go(func() {
			if _, err := b.Stat(ctx, key); err == nil {
				errs[i] = Wrap("create", key, b.name, ErrExists)
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// short says that a write did not reach its quorum, and why.
func (r *Replicated) short(op, key string, have int, failures []result) error {
	errs := make([]error, len(failures))
	for i, f := range failures {
		errs[i] = f.err
	}
	return fmt.Errorf("%s %s: %d of the %d buckets that must have it (--write-quorum) took it: %w",
		op, key, have, r.quorum, errors.Join(errs...))
}

// spread runs write for each of targets at once and returns when, with the have buckets that
// have the object already, the quorum is reached or out of reach. failures are of buckets
// that were tried before.
func (r *Replicated) spread(ctx context.Context, op, key string, size int64, targets []*replica, failures []result, have int,
	write func(context.Context, *replica) error,
) error {
	c, err := r.begin(ctx, key, size, targets, write)
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, key, err)
	}
	for c.left > 0 && have < r.quorum && len(failures) <= len(r.replicas)-r.quorum {
		select {
		case res := <-c.results:
			c.left--
			if res.err == nil {
				have++
				continue
			}
			if errors.Is(res.err, ErrExists) { // only of a Create; see Replicated
				c.cancel(res.err)
				<-c.done
				return res.err
			}
			failures = append(failures, res)
		case <-ctx.Done():
			c.cancel(ctx.Err())
			<-c.done
			return fmt.Errorf("%s %s: %w", op, key, ctx.Err())
		}
	}
	if have < r.quorum {
		c.cancel(context.Canceled)
		<-c.done
		return r.short(op, key, have, failures)
	}
	for _, f := range failures {
		r.miss(c, f)
	}
	r.detach(ctx, c)
	return nil
}

// begin starts the copies.
func (r *Replicated) begin(ctx context.Context, key string, size int64, targets []*replica,
	write func(context.Context, *replica) error,
) (*copies, error) {
	detached, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c := &copies{
		key: key, size: size, ctx: detached, cancel: cancel, left: len(targets),
		results: make(chan result, len(targets)), done: make(chan struct{}),
		running: make(map[*replica]struct{}, len(targets)),
	}
	for _, b := range targets {
		c.running[b] = struct{}{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		cancel(nil)
		return nil, ErrClosed
	}
	if r.pending[key] == nil {
		r.pending[key] = make(map[*copies]struct{})
	}
	r.pending[key][c] = struct{}{}
	unhook := context.AfterFunc(r.stop, func() { cancel(context.Cause(r.stop)) })

	began := r.cfg.Now()
	var running sync.WaitGroup
	for _, b := range targets {
		running.Go(func() {
			err := write(detached, b)
			if err == nil {
				c.mu.Lock()
				delete(c.running, b)
				c.mu.Unlock()
				r.took(b, began)
			}
			c.results <- result{b, err}
		})
	}
	r.join.Go(func() {
		running.Wait()
		unhook()
		cancel(nil)
		r.mu.Lock()
		delete(r.pending[key], c)
		if len(r.pending[key]) == 0 {
			delete(r.pending, key)
		}
		r.mu.Unlock()
		close(c.done)
	})
	return c, nil
}

// lacking returns the buckets to which a write of key that is under way has not got yet: they
// may still show what was there before.
func (r *Replicated) lacking(key string) map[*replica]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var late map[*replica]bool
	for c := range r.pending[key] {
		c.mu.Lock()
		for b := range c.running {
			if late == nil {
				late = make(map[*replica]bool)
			}
			late[b] = true
		}
		c.mu.Unlock()
	}
	return late
}

// supersede breaks off the copies of key that are under way and waits for their end, so that none
// of them lands after what comes next.
func (r *Replicated) supersede(ctx context.Context, key string) error {
	r.mu.Lock()
	var before []*copies
	for c := range r.pending[key] {
		before = append(before, c)
	}
	r.mu.Unlock()
	for _, c := range before {
		c.cancel(errSuperseded)
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// detach lets the copies that are left go on without the caller, or, if there is no room
// for their body, gives them a short while and then up.
func (r *Replicated) detach(ctx context.Context, c *copies) {
	if c.left == 0 {
		return
	}
	r.mu.Lock()
	room := !r.closed && r.detached+c.size <= r.cfg.DetachedBytes
	if room {
		r.detached += c.size
		r.join.Add(1) // under the lock: Close has not begun to wait
	}
	r.mu.Unlock()
	if room {
		r.cfg.Meter.Detached(c.size)
		go func() {
			defer r.join.Done()
			timer := time.AfterFunc(r.cfg.DetachedTimeout, func() {
				c.cancel(fmt.Errorf("the copy took longer than %s", r.cfg.DetachedTimeout))
			})
			defer timer.Stop()
			r.collect(c)
			r.mu.Lock()
			r.detached -= c.size
			r.mu.Unlock()
			r.cfg.Meter.Detached(-c.size)
		}()
		return
	}
	timer := time.AfterFunc(r.cfg.DetachedGrace, func() { c.cancel(errNoRoom) })
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() { c.cancel(errNoRoom) })()
	r.collect(c)
}

// collect hears the copies that are left.
func (r *Replicated) collect(c *copies) {
	for ; c.left > 0; c.left-- {
		if res := <-c.results; res.err != nil {
			r.miss(c, res)
		}
	}
	<-c.done
}

// miss counts and logs a missing copy.
func (r *Replicated) miss(c *copies, res result) {
	cause := context.Cause(c.ctx)
	if cause == errSuperseded {
		return // nobody misses it
	}
	if cause != nil && cause != context.Canceled && errors.Is(res.err, context.Canceled) {
		res.err = cause
	}
	r.cfg.Meter.Missing(res.replica.name, 1)
	if !errors.Is(res.err, ErrExists) {
		res.replica.fail(r.cfg.Now())
	}
	r.lost(res.replica, c.key, res.err)
}
