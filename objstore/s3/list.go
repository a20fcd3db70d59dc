package s3

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"oklog/objstore"

	"github.com/minio/minio-go/v7"
)

// List implements objstore.Bucket. It fetches a page of up to 1000 keys at a time; a page that
// fails is asked for again, after the last key, within the budget of attempts, which
// starts anew with every key that arrives.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if !objstore.CanBegin(prefix) {
			if err := ctx.Err(); err != nil {
				yield(objstore.Info{}, objstore.Wrap("list", prefix, b.name, err))
			}
			return
		}
		l := &listing{bucket: b, prefix: prefix, after: after, yield: yield}
		op := operation{name: "list", key: prefix}
		for attempt := 1; !l.stopped; attempt++ {
			before := l.count
			err := l.pages(ctx)
			if err == nil {
				return
			}
			if l.count > before {
				attempt = 1
			}
			if err = b.again(ctx, ctx, op, attempt, err); err != nil {
				yield(objstore.Info{}, err)
				return
			}
		}
	}
}

// listing is the state of one List over its attempts.
type listing struct {
	bucket  *Bucket
	prefix  string // without the bucket's prefix, like last
	after   string // where to start; it need not be a key
	last    string // the last key that was yielded
	count   int
	stopped bool // the consumer has had enough
	yield   func(objstore.Info, error) bool
}

// pages lists from the last key to the end.
func (l *listing) pages(ctx context.Context) error {
	b := l.bucket
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The time limit is for the server's answer: it does not run while the consumer works.
	limit := b.cfg.AttemptTimeout
	watchdog := time.AfterFunc(limit, func() { cancel(errStalled) })
	defer watchdog.Stop()

	noOwner := false
	opts := minio.ListObjectsOptions{Prefix: b.cfg.Prefix + l.prefix, Recursive: true, FetchOwner: &noOwner}
	start, ok := l.start()
	if !ok {
		return nil
	}
	if start != "" {
		opts.StartAfter = b.cfg.Prefix + start
	}
	before := "" // the key before, whoever's it is
	for o := range b.core.ListObjectsIter(ctx, b.cfg.Bucket, opts) {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if o.Err != nil {
			return o.Err
		}
		key, ok := strings.CutPrefix(o.Key, b.cfg.Prefix)
		if !ok || !strings.HasPrefix(key, l.prefix) {
			return &finalError{fmt.Errorf("the server lists %q, which is not under %q", o.Key, opts.Prefix)}
		}
		if key > before { // an answer, though it may be pages of what is not ours
			before = key
			watchdog.Reset(limit)
		}
		if objstore.CheckKey(key) != nil || key <= l.after || l.count > 0 && key == l.last {
			continue
		}
		if key < l.last {
			return &finalError{fmt.Errorf("the server lists %q after %q: its listings are not in order", key, l.last)}
		}
		watchdog.Stop()
		l.last = key
		l.count++
		if !l.yield(objstore.Info{Key: key, Size: o.Size, Modified: o.LastModified}, nil) {
			l.stopped = true
			return nil
		}
		watchdog.Reset(limit)
	}
	// The iterator ends silently when its context does.
	return context.Cause(ctx)
}

// start returns the key to ask the server to start after, and false if no key of the
// prefix can come after it. Servers differ in what they make of a start that is not in the prefix, or
// cannot be a key: they are given the part of it that can, and the keys before it are left out
// here.
func (l *listing) start() (string, bool) {
	start := l.after
	if l.count > 0 {
		start = l.last
	}
	if start < l.prefix {
		return "", true
	}
	if !strings.HasPrefix(start, l.prefix) {
		return "", false
	}
	for !objstore.CanBegin(start) {
		start = start[:len(start)-1]
	}
	return start, true
}
