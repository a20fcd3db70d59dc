package compact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"oklog/objstore"
	"oklog/objstore/segment"
)

// Verified is what Verify has looked at.
type Verified struct {
	Took     time.Duration
	Segments int
	Copies   int
	Bytes    int64 // of the copies
	Text     int64 // of the segments
	Findings int
}

// Verify reads every copy of every segment that has records between two IDs, both included, and holds it against all that the
// format promises; and the copies against each other. Whatever is wrong is told to tell: where (a key, and the bucket if it is one
// copy's), and what. tell is called by one goroutine at a time. An error means that not everything could be looked at.
func (c *Compactor) Verify(ctx context.Context, from, to ulid.ULID, tell func(where string, err error)) (*Verified, error) {
	c.begin()
	v := &verifier{c: c, tell: tell}
	start := c.cfg.Now()
	err := v.run(ctx, from, to)
	v.Took = c.cfg.Now().Sub(start)
	return &v.Verified, err
}

type verifier struct {
	c    *Compactor
	pool sync.Pool // of checkers

	mu sync.Mutex
	Verified
	tell func(string, error)
}

func (v *verifier) found(where string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.Findings++
	v.tell(where, err)
}

func (v *verifier) run(ctx context.Context, from, to ulid.ULID) error {
	c := v.c
	topics := []string{c.cfg.Topic}
	if c.cfg.Topic == "" {
		var err error
		if topics, err = c.topics(ctx); err != nil {
			return err
		}
	}
	var work errgroup.Group
	work.SetLimit(c.cfg.Workers)
	defer func() { _ = work.Wait() }() // nothing fails
	var failed failures
	for _, topic := range topics {
		for d, err := range c.days(ctx, topic) {
			if err != nil {
				return err
			}
			for _, key := range d.foreign {
				v.found(key, errForeign)
			}
			if n := d.foreigners - len(d.foreign); n > 0 {
				v.found(d.topic+"/"+d.date, fmt.Errorf("%d more: %w", n, errForeign))
			}
			for _, s := range d.segments {
				if s.Name.Last.Compare(from) < 0 || s.Name.First.Compare(to) > 0 || !c.mine(topic, d.date) {
					continue
				}
				work.Go(func() error {
					v.segment(ctx, s)
					return nil
				})
			}
		}
	}
	_ = work.Wait() // nothing fails
	if ctx.Err() != nil {
		return fmt.Errorf("verify: %w", ctx.Err())
	}
	for _, name := range c.Away() {
		failed.add(fmt.Errorf("verify: %s cannot be used: nothing can be said of what is there", name))
	}
	return failed.err()
}

var (
	errForeign = errors.New("it is not a segment")
	errMissing = errors.New("the copy is missing")
	errDiffer  = errors.New("the copies are not the same")
)

// segment looks at all copies of one.
func (v *verifier) segment(ctx context.Context, s *Segment) {
	c, key := v.c, s.Key()
	var first [32]byte
	var any, told bool
	for i, b := range c.cfg.Copies {
		where := key
		if len(c.cfg.Copies) > 1 {
			where += " in " + b.Name
		}
		if !c.there().Has(i) {
			continue // which the end tells
		}
		if !(s.In | s.Odd).Has(i) {
			v.found(where, errMissing)
			continue
		}
		size := s.Size
		if s.Odd.Has(i) {
			info, err := b.Stat(ctx, key)
			if err != nil {
				v.leave(ctx, i, err)
				continue
			}
			size = info.Size
		}
		rep, err := v.check(objstore.ReaderAt(ctx, b, key), size, key)
		switch {
		case errors.Is(err, objstore.ErrNotFound):
			continue // it was replaced or has expired since it was listed
		case errors.Is(err, io.ErrUnexpectedEOF):
			v.found(where, fmt.Errorf("%w: it is shorter than listed", segment.ErrCorrupt))
			continue
		case err != nil && ctx.Err() == nil && c.answers(ctx, i):
			v.found(where, fmt.Errorf("it cannot be read: %w", err))
			continue
		case err != nil:
			v.leave(ctx, i, err)
			continue
		}
		for _, err := range rep.Found {
			v.found(where, err)
		}
		if rep.More > 0 {
			v.found(where, fmt.Errorf("and %d things more", rep.More))
		}
		if any && rep.Sum != first && !told {
			told = true
			v.found(key, errDiffer)
		}
		first, any = rep.Sum, true
		v.mu.Lock()
		v.Copies++
		v.Bytes += size
		v.mu.Unlock()
		c.progress.looked(size)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.Segments++
	v.Text += s.Name.RawBytes
}

// leave gives up a copy that cannot be read.
func (v *verifier) leave(ctx context.Context, i int, err error) {
	if ctx.Err() == nil {
		v.c.leave(i, err)
	}
}

func (v *verifier) check(r io.ReaderAt, size int64, key string) (segment.Report, error) {
	checker, ok := v.pool.Get().(*segment.Checker)
	if !ok {
		var err error
		if checker, err = segment.NewChecker(); err != nil {
			return segment.Report{}, err
		}
	}
	defer v.pool.Put(checker)
	return checker.Check(r, size, key)
}
