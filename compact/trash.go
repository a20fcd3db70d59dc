package compact

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// The trash holds what has expired, under the time when it was moved there and the key that it had:
//
//	_trash/20261122T171049Z/web/2026-10-22/01K7…-….zst
const (
	trashPrefix = "_trash/"
	trashTime   = "20060102T150405Z"
)

func trashKey(at time.Time, key string) string {
	return trashPrefix + at.UTC().Format(trashTime) + "/" + key
}

// Trashed is a segment in the trash.
type Trashed struct {
	*Segment
	At time.Time // when it was moved there
}

func (t Trashed) trashKey() string { return trashKey(t.At, t.Key()) }

func parseTrash(key string) (at time.Time, topic string, n segment.Name, err error) {
	when, rest, ok := strings.Cut(strings.TrimPrefix(key, trashPrefix), "/")
	if !ok || !strings.HasPrefix(key, trashPrefix) {
		return at, "", n, fmt.Errorf("key %q is not of the trash", key)
	}
	if at, err = time.Parse(trashTime, when); err != nil {
		return at, "", n, fmt.Errorf("key %q is not of the trash: %w", key, err)
	}
	if topic, n, err = segment.ParseKey(rest); err == nil && at.Format(trashTime) != when {
		err = fmt.Errorf("key %q is not of the trash: its time would be %s", key, at.Format(trashTime))
	}
	return at, topic, n, err
}

// Trash lists what is in the trash, of a topic or of all ("").
func (c *Compactor) Trash(ctx context.Context, topic string) iter.Seq2[Trashed, error] {
	return func(yield func(Trashed, error) bool) {
		for o, err := range c.objects(ctx, trashPrefix, "") {
			if err != nil {
				yield(Trashed{}, fmt.Errorf("list the trash: %w", err))
				return
			}
			at, of, n, err := parseTrash(o.key)
			if err != nil || topic != "" && of != topic {
				continue // repair names what does not belong there
			}
			if !yield(Trashed{c.segment(of, n, o), at}, nil) {
				return
			}
		}
	}
}

// trash moves a segment to the trash: in each copy, it is there before it is gone from its place.
func (c *Compactor) trash(ctx context.Context, s *Segment, at time.Time) error {
	err := c.move(ctx, s.Key(), trashKey(at, s.Key()), s)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil // another run has moved it
	}
	return err
}

// move copies a segment within each copy that has it, and then deletes it under its old key.
func (c *Compactor) move(ctx context.Context, from, to string, s *Segment) error {
	moved := false
	for i := range (s.In | s.Odd).each {
		size := s.Size
		if s.Odd.Has(i) {
			info, err := c.cfg.Copies[i].Stat(ctx, from)
			if err != nil {
				return fmt.Errorf("move %s: %w", from, err)
			}
			size = info.Size
		}
		err := c.place(ctx, i, from, to, size, s.Name)
		if errors.Is(err, objstore.ErrNotFound) {
			continue // somebody else has moved it
		}
		if err != nil {
			return fmt.Errorf("move %s: %w", from, err)
		}
		moved = true
	}
	if !moved {
		return fmt.Errorf("move %s: %w: somebody else was faster", from, objstore.ErrNotFound)
	}
	return c.deleteKey(ctx, from, s.In|s.Odd)
}

// place copies a segment to another key of the same copy, which may be the only one there is: what comes out is sound. One that is damaged already is
// copied as it is, but never over what is there.
func (c *Compactor) place(ctx context.Context, i int, from, to string, size int64, n segment.Name) error {
	var err error
	if size > inMemory { // smaller ones are checked before they are written
		err = c.sound(ctx, i, from, n, size)
	}
	if err == nil {
		err = c.copySound(ctx, i, from, size, i, to, found{name: &n})
	}
	if !segment.IsDamage(err) {
		return err
	}
	switch damage := c.sound(ctx, i, from, n, size); {
	case damage == nil:
		return fmt.Errorf("%w: it was damaged on the way, repeat it", err)
	case !segment.IsDamage(damage):
		return damage
	}
	there, none := c.cfg.Copies[i].Stat(ctx, to)
	switch {
	case errors.Is(none, objstore.ErrNotFound):
		c.cfg.Logger.Warn("a damaged segment is moved as it is", "key", from, "bucket", c.cfg.Copies[i].Name, "cause", err)
		return c.copyObject(ctx, i, from, size, i, to, nil)
	case none != nil:
		return none
	}
	if damage := c.sound(ctx, i, to, n, there.Size); !segment.IsDamage(damage) {
		return damage
	}
	return fmt.Errorf("%w, and so is what is at %s", err, to)
}

// Restore takes a segment back out of the trash. One that is not there any more is objstore.ErrNotFound.
func (c *Compactor) Restore(ctx context.Context, t Trashed) error {
	return c.move(ctx, t.trashKey(), t.Key(), t.Segment)
}

// Purge deletes a segment in the trash for good.
func (c *Compactor) Purge(ctx context.Context, t Trashed) error {
	return c.deleteKey(ctx, t.trashKey(), t.In|t.Odd)
}

// emptyTrash purges what has been in the trash for long enough.
func (c *Compactor) emptyTrash(ctx context.Context) error {
	for t, err := range c.Trash(ctx, c.cfg.Topic) {
		if err != nil {
			return err
		}
		// Whoever moved it may have had another clock: what the bucket says of the time counts as well.
		if c.now.Sub(t.At) < c.cfg.TrashFor || c.now.Sub(t.Settled) < c.cfg.TrashFor {
			continue
		}
		if c.there() != c.everyCopy() {
			return nil
		}
		if !c.cfg.DryRun {
			if err := c.Purge(ctx, t); err != nil {
				return fmt.Errorf("empty the trash: %w", err)
			}
		}
		c.report.purged(t)
	}
	return nil
}
