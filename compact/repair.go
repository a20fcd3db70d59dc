package compact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// inFlight is how long a copy may still be on its way after the first one was written: as long as ingesters try.
const inFlight = objstore.DefaultDetachedTimeout + 30*time.Second

// repairDay makes the copies that segments of a day lack. What is in other segments as well is left to be deleted.
func (c *Compactor) repairDay(ctx context.Context, d *day) error {
	var lacking []*Segment
	now := c.now
	for _, s := range d.segments {
		switch {
		case s.Odd != 0 || s.In == c.everyCopy() || !d.complete:
		case now.Sub(s.Settled) > inFlight:
			lacking = append(lacking, s)
		default:
			c.report.lacking(len(c.cfg.Copies) - s.In.Len())
		}
	}
	if len(lacking) == 0 || !d.complete || c.there() != c.everyCopy() {
		return nil
	}
	cl, err := c.readClaims(ctx, d)
	if err != nil {
		return err
	}
	var work errgroup.Group
	work.SetLimit(fetchers)
	var failed failures
	for _, s := range lacking {
		if _, open := cl.rest(s, readable); !open || s.damaged {
			continue
		}
		work.Go(func() error {
			failed.add(c.repair(ctx, found{key: s.Key(), name: &s.Name, size: s.Size, in: s.In}, false))
			return nil
		})
	}
	_ = work.Wait() // failed has them
	return failed.err()
}

// found is an object that may need repair.
type found struct {
	key  string
	name *segment.Name // nil: it is no segment
	size int64
	in   Set // copies with that size
	odd  Set // copies with another one
}

// repair makes the copies of an object that are missing, and those that are damaged; which are is found out where sizes differ, or
// deep is set.
func (c *Compactor) repair(ctx context.Context, o found, deep bool) error {
	targets := c.everyCopy() &^ (o.in | o.odd)
	if targets == 0 && o.odd == 0 && !deep {
		return nil
	}
	var good, bad Set
	var damage error
	check := deep || o.odd != 0
	for i := range (o.in | o.odd).each {
		if check || good == 0 { // what is copied is sound
			err := c.checkCopy(ctx, i, o)
			switch {
			case err == nil:
			case ctx.Err() != nil:
				return fmt.Errorf("repair %s: %w", o.key, ctx.Err())
			case segment.IsDamage(err), errors.Is(err, ErrPolicy):
				damage = err
				bad |= 1 << i
				continue
			case errors.Is(err, objstore.ErrNotFound):
				continue // it has been deleted meanwhile, which is not for us to undo
			case c.answers(ctx, i):
				damage = err
				bad |= 1 << i
				continue
			default:
				c.leave(i, err)
				return fmt.Errorf("repair %s: %w", o.key, err)
			}
		}
		good |= 1 << i
	}
	targets |= bad
	switch {
	case good == 0 && bad == 0:
		return nil // gone
	case good == 0:
		c.report.lost(o.key, damage)
		c.cfg.Logger.Error("no copy of an object is sound", "key", o.key, "cause", damage)
		return nil
	case targets == 0:
		return nil
	}
	from := 0
	for i := range good.each {
		from = i
		break
	}
	size := o.size
	if o.odd.Has(from) {
		info, err := c.cfg.Copies[from].Stat(ctx, o.key)
		if err != nil {
			return fmt.Errorf("repair %s: %w", o.key, err)
		}
		size = info.Size
	}
	for i := range targets.each {
		if c.cfg.DryRun {
			c.report.copied(o.key, size, bad.Has(i))
			continue
		}
		err := c.copySound(ctx, from, o.key, size, i, o.key, o)
		if errors.Is(err, objstore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("repair %s: %w", o.key, err)
		}
		c.report.copied(o.key, size, bad.Has(i))
		c.metrics.copied.Inc()
	}
	return nil
}

// checkCopy tells whether a copy has the bytes that it should have.
func (c *Compactor) checkCopy(ctx context.Context, i int, o found) error {
	size := o.size
	if o.odd.Has(i) {
		info, err := c.cfg.Copies[i].Stat(ctx, o.key)
		if err != nil {
			return err
		}
		size = info.Size
	}
	if o.name != nil {
		return c.sound(ctx, i, o.key, *o.name, size)
	}
	if size > maxPolicy {
		return fmt.Errorf("%w: %d bytes", ErrPolicy, size)
	}
	b := make([]byte, size)
	if err := readFull(ctx, c.cfg.Copies[i], o.key, 0, b); err != nil {
		return err
	}
	return o.check(b)
}

// check tells whether bytes are what an object should be, as far as its key tells.
func (o found) check(b []byte) error {
	if o.name == nil {
		_, err := decodePolicy(b)
		return err
	}
	if sum := sha256.Sum256(b); [8]byte(sum[:8]) != o.name.Hash {
		return errBytes
	}
	return nil
}

// Repair compares what the copies hold, all of it, and makes the copies that are missing. It replaces those that are damaged: found out where sizes
// differ, or by reading everything where deep is set. What has no sound copy, and what belongs to nothing, is named in the report.
func (c *Compactor) Repair(ctx context.Context, deep bool) (*Report, error) {
	c.begin()
	start := c.cfg.Now()
	err := c.repairAll(ctx, deep)
	c.report.Took = c.cfg.Now().Sub(start)
	c.report.Away = c.Away()
	return c.report, err
}

func (c *Compactor) repairAll(ctx context.Context, deep bool) error {
	var work errgroup.Group
	work.SetLimit(fetchers)
	var failed failures
	defer func() { _ = work.Wait() }() // failed has what failed
	prefix := ""
	if c.cfg.Topic != "" {
		prefix = c.cfg.Topic + "/"
	}
	for o, err := range c.objects(ctx, prefix, "") {
		if err != nil {
			return err
		}
		if c.there() != c.everyCopy() {
			break // told below
		}
		f, ok := classify(o.key)
		if !ok {
			c.report.foreign(o.key)
			continue
		}
		if o.key == clockKey {
			continue
		}
		f.size, f.in, f.odd = o.size, o.in, o.odd
		c.report.looked(f.size)
		work.Go(func() error {
			failed.add(c.repair(ctx, f, deep))
			c.progress.looked(f.size)
			return nil
		})
	}
	_ = work.Wait() // failed has what failed
	if ctx.Err() != nil {
		return fmt.Errorf("repair: %w", ctx.Err())
	}
	if names := c.Away(); len(names) > 0 {
		failed.add(fmt.Errorf("repair: %s cannot be used: nothing can be said of what is there", strings.Join(names, ", ")))
	}
	return failed.err()
}

// classify tells what an object is by its key; false if it belongs to nothing.
func classify(key string) (found, bool) {
	f := found{key: key}
	_, isPolicy := policyTime(key)
	switch {
	case key == clockKey, isPolicy:
		return f, true
	case strings.HasPrefix(key, trashPrefix):
		_, _, n, err := parseTrash(key)
		f.name = &n
		return f, err == nil
	}
	_, n, err := segment.ParseKey(key)
	f.name = &n
	return f, err == nil
}
