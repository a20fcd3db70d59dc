package compact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// deletable tells which segments may be deleted now: those all of whose records are, in every copy that holds them, in
// other segments which that copy has held for the grace. A segment that still stands in for another one waits until that is gone, so that there is
// always one that tells what became of the other. It is a pure function.
func deletable(d *day, cl claims, now time.Time, grace time.Duration) (found []*Segment) {
	if !d.complete {
		return nil // a copy that was not listed may hold what is to be deleted, and not what replaces it
	}
	present := make(map[segment.Name]bool, len(d.segments))
	for _, s := range d.segments {
		present[s.Name] = true
	}
	needed := map[*Segment]bool{}
	for name, of := range cl {
		for _, c := range of {
			if present[name] {
				needed[c.by] = true
			}
		}
	}
	for _, s := range d.segments {
		if len(cl[s.Name]) == 0 || needed[s] || s.Odd != 0 {
			continue
		}
		replaced := true
		for i := range s.In.each {
			_, open := cl.rest(s, func(by *Segment) bool {
				return by.In.Has(i) && !by.damaged && !by.Settled.After(now.Add(-grace))
			})
			replaced = replaced && !open
		}
		if replaced {
			found = append(found, s)
		}
	}
	return found
}

// replacedBy are the segments that stand in for one.
func (cl claims) replacedBy(s *Segment) (by []*Segment) {
	for _, c := range cl[s.Name] {
		if !slices.Contains(by, c.by) {
			by = append(by, c.by)
		}
	}
	return by
}

// deleteReplaced deletes what has been replaced for long enough. Before, it reads back all of what replaces it, from every copy
// that is to lose something.
func (c *Compactor) deleteReplaced(ctx context.Context, d *day) error {
	cl, err := c.readClaims(ctx, d)
	if err != nil {
		return err
	}
	found := deletable(d, cl, c.now, c.cfg.Grace)
	if c.cfg.DryRun {
		c.report.deleted(found)
		return nil
	}
	type copyOf struct {
		s *Segment
		i int
	}
	sound := map[copyOf]error{}
	var failed failures
	for _, s := range found {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("delete what is replaced: %w", err)
		}
		ready := c.there() == c.everyCopy()
		for _, by := range cl.replacedBy(s) {
			for i := range s.In.each {
				if !by.In.Has(i) {
					continue // its claim did not count there
				}
				err, checked := sound[copyOf{by, i}]
				if !checked {
					err = c.sound(ctx, i, by.Key(), by.Name, by.Size)
					sound[copyOf{by, i}] = err
					if err != nil && ctx.Err() == nil && !errors.Is(err, objstore.ErrNotFound) { // another compactor may have replaced it
						c.cfg.Logger.Error("what replaces other segments cannot be read back: they are kept", "key", by.Key(),
							"bucket", c.cfg.Copies[i].Name, "cause", err)
						c.report.badCopy(by)
					}
				}
				ready = ready && err == nil
			}
		}
		if !ready {
			continue
		}
		if err := c.deleteCopies(ctx, s); err != nil {
			failed.add(err)
			continue
		}
		d.segments = slices.DeleteFunc(d.segments, func(t *Segment) bool { return t == s })
		c.report.deleted([]*Segment{s})
		c.metrics.deleted.Inc()
	}
	return failed.err()
}

// deleteCopies deletes a segment wherever it is.
func (c *Compactor) deleteCopies(ctx context.Context, s *Segment) error {
	return c.deleteKey(ctx, s.Key(), s.In|s.Odd)
}

func (c *Compactor) deleteKey(ctx context.Context, key string, in Set) error {
	errs := make([]error, len(c.cfg.Copies))
	var all sync.WaitGroup
	for i := range in.each {
		all.Go(func() { errs[i] = c.cfg.Copies[i].Delete(ctx, key) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil && ctx.Err() == nil {
			c.leave(i, err)
		}
	}
	return errors.Join(errs...)
}
