package compact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"
)

const (
	// Retention takes no more of a topic at once than one part of so many, unless it is told to.
	mostPart = 4
	// What has expired for less than this, under a policy that was there before, is the usual: it does not count.
	usualDelay = 48 * time.Hour
)

// expired is what retention has found in a topic.
type expired struct {
	topic    string
	keep     Keep
	segments []*Segment
	bytes    int64 // of these
	sudden   int64 // of these, what did not just grow old under the policy
	total    int64 // of the topic
	complete bool
}

// tooMuch tells that it is more than may be taken at once.
func (e *expired) tooMuch() bool { return e.sudden > e.total/mostPart }

// note takes in a segment. since is when the policy was set, zero if that is not known.
func (e *expired) note(s *Segment, since, now time.Time) {
	e.total += s.Size
	at := expiry(s, e.keep)
	if at.After(now) {
		return
	}
	e.segments = append(e.segments, s)
	e.bytes += s.Size
	if since.IsZero() || at.Before(since) || now.Sub(at) > usualDelay {
		e.sudden += s.Size
	}
}

// retention moves what has expired to the trash, and empties that of what has been there for long enough.
func (c *Compactor) retention(ctx context.Context, topics []string) error {
	policy, err := c.ReadPolicy(ctx)
	c.policy = policy
	if errors.Is(err, errPolicyAway) {
		c.report.refuse("nothing expires, and the trash is not emptied: %v", err)
		return nil // the rest goes on without that bucket
	}
	if err != nil {
		c.report.refuse("nothing expires, and the trash is not emptied: %v", err)
		return fmt.Errorf("retention: %w", err)
	}
	var failed failures
	for _, topic := range topics {
		keep, since := c.keep(topic)
		if keep == 0 || !c.mine(topic) {
			continue
		}
		failed.add(c.retain(ctx, topic, keep, since))
	}
	if c.mine("_trash") {
		failed.add(c.emptyTrash(ctx))
	}
	return failed.err()
}

// keep tells how long a topic is kept, and since when that is so; zero if it is not known.
func (c *Compactor) keep(topic string) (Keep, time.Time) {
	if keep, ok := c.policy.Of(topic); ok {
		return keep, c.policy.Since
	}
	return Keep(c.cfg.Retention), time.Time{}
}

// earliest is the time by the clock that is most behind, of ours and the copies': a clock that is ahead makes nothing expire.
func (c *Compactor) earliest() time.Time {
	return c.now.Add(min(0, slices.Min(c.ahead)))
}

// retain does it for one topic.
func (c *Compactor) retain(ctx context.Context, topic string, keep Keep, since time.Time) error {
	e := &expired{topic: topic, keep: keep, complete: true}
	now := c.earliest()
	for d, err := range c.days(ctx, topic) {
		if err != nil {
			return err
		}
		e.complete = e.complete && d.complete
		for _, s := range d.segments {
			e.note(s, since, now)
		}
	}
	switch {
	case len(e.segments) == 0:
		return nil
	case !e.complete:
		c.report.refuse("%s: %d segments have expired, but a bucket is away: they are left for a later run", topic, len(e.segments))
		return nil
	case e.tooMuch() && !c.cfg.Yes:
		c.report.refuse("%s: %d of its segments, of %s and %d %% of all its bytes, are older than %s, and no more than a quarter is taken at once: if that is meant, run once with --yes; if not, correct it with oklog retention",
			topic, len(e.segments), humanize.Bytes(uint64(e.bytes)), 100*e.bytes/max(e.total, 1), keep)
		return fmt.Errorf("%w: topic %s: %d %% of its bytes have expired", ErrTooMuch, topic, 100*e.bytes/max(e.total, 1))
	case c.cfg.DryRun:
		c.report.trashed(e)
		return nil
	}
	moved := &expired{topic: topic, keep: keep}
	var work errgroup.Group
	work.SetLimit(fetchers)
	var failed failures
	results := make([]error, len(e.segments))
	for i, s := range e.segments {
		if ctx.Err() != nil {
			break
		}
		work.Go(func() error {
			results[i] = c.trash(ctx, s, now)
			failed.add(results[i])
			return nil
		})
	}
	_ = work.Wait() // results has them
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("retention of %s: %w", topic, err)
	}
	for i, s := range e.segments {
		if results[i] == nil {
			moved.segments = append(moved.segments, s)
			moved.bytes += s.Size
		}
	}
	c.report.trashed(moved)
	c.metrics.expired.WithLabelValues(topic).Add(float64(len(moved.segments)))
	c.cfg.Logger.Info("expired", "topic", topic, "keep", keep, "segments", len(moved.segments), "bytes", moved.bytes)
	return failed.err()
}

// ErrTooMuch says that retention would delete more of a topic at once than it does without being told to.
var ErrTooMuch = errors.New("retention refused")
