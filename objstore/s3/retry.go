package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"oklog/objstore"
)

// operation is what a retry loop has to know of the call that it repeats.
type operation struct {
	name  string
	key   string
	bytes int64 // that it moves; they lengthen its time limits
}

// finalError is not worth another attempt.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// againError is worth another attempt.
type againError struct{ reason string }

func (e *againError) Error() string { return e.reason }

// errStalled ends an attempt that the server does not answer.
var errStalled = errors.New("no answer in time")

// try calls f until it succeeds, fails for good, or has used up the operation's attempts or
// time. f is given a context with the time limit of one attempt.
func (b *Bucket) try(ctx context.Context, op operation, f func(context.Context) error) error {
	extra := time.Duration(op.bytes) * time.Second / minRate
	if op.bytes > 1<<33 { // the product would not fit
		extra = time.Duration(op.bytes/minRate) * time.Second
	}
	total, cancel := context.WithTimeoutCause(ctx, b.cfg.Timeout+extra, errStalled)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := func() error {
			ctx, cancel := context.WithTimeoutCause(total, b.cfg.AttemptTimeout+extra, errStalled)
			defer cancel()
			err := f(ctx)
			if err != nil && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}()
		if err == nil {
			return nil
		}
		if err := b.again(ctx, total, op, attempt, err); err != nil {
			return err
		}
	}
}

// again decides after a failed attempt: it returns nil, after a wait, if there is to be another
// one, and otherwise the error to give to the caller. ctx is the caller's, total the
// operation's.
func (b *Bucket) again(ctx, total context.Context, op operation, attempt int, err error) error {
	if ctx.Err() != nil {
		return objstore.Wrap(op.name, op.key, b.name, ctx.Err())
	}
	verdict, cause := b.explain(err)
	if verdict == fail {
		return objstore.Wrap(op.name, op.key, b.name, cause)
	}
	spent := attempt >= b.cfg.Attempts
	if !spent {
		reason := "failed"
		if verdict == slow {
			reason = "slow_down"
		}
		if b.cfg.Meter != nil {
			b.cfg.Meter.Retry(b.name, reason)
		}
		wait := b.backoff(attempt, verdict)
		b.warn(op, attempt, wait, cause)
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-total.Done():
		}
		if ctx.Err() != nil {
			return objstore.Wrap(op.name, op.key, b.name, ctx.Err())
		}
	}
	return objstore.Wrap(op.name, op.key, b.name, fmt.Errorf("tried %d times: %w", attempt, cause))
}

// backoff returns the wait after the attempt: between half and all of a value that
// doubles; four times that if the server asked for less.
func (b *Bucket) backoff(attempt int, v verdict) time.Duration {
	d := b.cfg.Backoff << min(attempt-1, 10)
	if v == slow {
		d *= 4
	}
	d = min(d, maxBackoff)
	return d/2 + time.Duration(rand.Float64()*float64(d/2))
}

// warn logs that an attempt is repeated, at most once a second: a store in trouble has a
// thousand of them, and the metric counts them.
func (b *Bucket) warn(op operation, attempt int, wait time.Duration, cause error) {
	now := time.Now().UnixNano()
	last := b.warned.Load()
	if now-last < int64(time.Second) || !b.warned.CompareAndSwap(last, now) {
		return
	}
	b.cfg.Logger.Warn("bucket request failed, trying again",
		slog.String("bucket", b.name), slog.String("op", op.name), slog.String("key", op.key),
		slog.Int("attempt", attempt), slog.Duration("wait", wait), slog.Any("err", cause))
}
