package objstore

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// sayEvery is how often, at most, a bucket's missing copies make a line in the log: an outage has thousands.
const sayEvery = 10 * time.Second

// losses are the copies that a bucket lacks since it was last well.
type losses struct {
	mu     sync.Mutex
	copies int64     // since then
	unsaid int64     // of these, in no line of the log yet
	last   time.Time // of the last one
	said   time.Time // the last line about them
	back   time.Time // the last line about the bucket's return
	key    string    // of the last one
	err    error     // of the last one
}

// lost logs that b lacks a copy: at once the first time, and then together with others.
func (r *Replicated) lost(b *replica, key string, err error) {
	l := &b.losses
	l.mu.Lock()
	defer l.mu.Unlock()
	now := r.cfg.Now()
	l.copies++
	l.unsaid++
	l.last, l.key, l.err = now, key, err
	if l.said.IsZero() || passed(l.said, now) {
		l.said = now
		r.sayLost(b)
	}
}

// passed tells whether it is time for another line.
func passed(last, now time.Time) bool {
	ago := now.Sub(last)
	return ago >= sayEvery || ago < 0 // a clock was set back
}

// sayLost logs what is unsaid of b, whose losses are locked.
func (r *Replicated) sayLost(b *replica) {
	l := &b.losses
	attrs := []any{slog.String("bucket", b.name), slog.Int64("copies", l.unsaid)}
	if !strings.Contains(l.err.Error(), l.key) {
		attrs = append(attrs, slog.String("key", l.key))
	}
	r.cfg.Logger.Warn("a bucket lacks copies of objects that the others have; the last:", append(attrs, slog.Any("err", l.err))...)
	l.unsaid = 0
}

// took logs that b takes copies again, which it did not before: began is when a write to it that has succeeded did.
func (r *Replicated) took(b *replica, began time.Time) {
	l := &b.losses
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.copies == 0 || began.Before(l.last) {
		return
	}
	now := r.cfg.Now()
	if !l.back.IsZero() && !passed(l.back, now) {
		return // it comes and goes
	}
	r.cfg.Logger.Warn("a bucket is back, and lacks the copies that it could not take meanwhile",
		slog.String("bucket", b.name), slog.Int64("copies", l.copies))
	l.back, l.copies, l.unsaid = now, 0, 0
}

// sayRest logs what is unsaid of all buckets.
func (r *Replicated) sayRest() {
	for _, b := range r.replicas {
		b.losses.mu.Lock()
		if b.losses.unsaid > 0 {
			r.sayLost(b)
		}
		b.losses.mu.Unlock()
	}
}
