package query

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"oklog/objstore/segment"
)

// output is a record that is about to be put out.
type output struct {
	Record
	at     place  // of context: where its text is; without a part, when that is known
	number uint32 // of its source
}

// put adds to the batch.
func (c *contextRun) put(o output) error {
	if !c.begun {
		c.begun, o.Apart = true, false
	}
	if o.Context {
		o.ID, o.Source = o.at.id, c.view.sources[o.number]
		info := o.at.info()
		c.bytes += info.RawSize/info.Records + 1
	} else {
		c.bytes += len(o.Text)
	}
	c.batch = append(c.batch, o)
	if len(c.batch) >= batchRecords || c.bytes >= batchBytes {
		return c.flush()
	}
	return nil
}

// flush puts out the batch.
func (c *contextRun) flush() error {
	for batch := c.batch; len(batch) > 0; {
		n, err := c.fill(batch)
		if err != nil {
			return err
		}
		for i := range batch[:n] {
			if batch[i].at.p != nil {
				continue // it could not be read
			}
			if err := c.show(batch[i].Record); err != nil {
				return err
			}
		}
		clear(batch[:n])
		batch = batch[n:]
	}
	c.batch, c.bytes = c.batch[:0], 0
	return nil
}

// show puts out a record.
func (c *contextRun) show(r Record) error {
	if !r.Context && !r.Joined {
		c.matched++
	}
	r.Joined = c.joined(r.Record)
	c.last, c.piece, c.any = r.ID, r.Piece, true
	c.found++
	if r.Context && r.Piece != 0 {
		c.meter.add(func(s *Stats) { s.Records.Pieces++ })
	}
	c.first()
	return c.emit(r)
}

// fill gets the texts of the context among the first n of the batch: of fewer than all where they are large. What cannot be read keeps its
// part, and the answer says so.
func (c *contextRun) fill(batch []output) (n int, err error) {
	for n = len(batch); ; {
		blocks := outputsByBlock(batch[:n])
		if c.read(blocks, n > 1) {
			for _, b := range blocks {
				b.forget()
			}
			n = (n + 1) / 2
			continue
		}
		again := false
		for _, b := range blocks {
			if b.err == nil {
				b.done()
				continue
			}
			moved, err := c.view.moved(b.p, b.info(), b.err)
			if moved && err == nil {
				again = true
				err = c.relocate(b)
			}
			if err != nil {
				return n, err
			}
		}
		if !again {
			return n, c.view.afford()
		}
		// What could not be read otherwise fails again, and is told once.
	}
}

// relocate looks for the outputs of a block that has gone where they are now.
func (c *contextRun) relocate(b *blockOutputs) error {
	for _, o := range b.outputs {
		at, _, found, _, err := c.view.walk(o.number, segment.Before(o.ID), false).peek(o.ID, true)
		switch {
		case err != nil:
			return err
		case found && at.id == o.ID:
			o.at = at
		default:
			c.ans.note(Problem{Key: b.p.key, First: o.ID, Last: o.ID, Err: fmt.Errorf("%w: %w", ErrGone, b.err)})
		}
	}
	return nil
}

// blockOutputs are the outputs whose texts are in one block.
type blockOutputs struct {
	place   // of one of them
	outputs []*output
	err     error
}

// outputsByBlock gathers those of which the text is not known.
func outputsByBlock(batch []output) (all []*blockOutputs) {
	of := map[itemKey]*blockOutputs{}
	for i := range batch {
		o := &batch[i]
		if o.at.p == nil {
			continue
		}
		key := itemKey{o.at.p, o.at.block, itemText}
		b := of[key]
		if b == nil {
			b = &blockOutputs{place: o.at}
			of[key] = b
			all = append(all, b)
		}
		b.outputs = append(b.outputs, o)
	}
	return all
}

var errOver = errors.New("more text than is taken at once")

// read copies the texts of outputs, some blocks at once. It tells whether they are more than is to be taken at once, if that is bounded.
func (c *contextRun) read(blocks []*blockOutputs, bounded bool) (over bool) {
	var size atomic.Int64
	var all errgroup.Group
	all.SetLimit(c.e.cfg.Fetches)
	for _, b := range blocks {
		all.Go(func() error {
			b.err = b.read(c.view, func(n int) bool { return !bounded || size.Add(int64(n)) <= 2*batchBytes })
			return nil
		})
	}
	_ = all.Wait()
	return slices.ContainsFunc(blocks, func(b *blockOutputs) bool { return errors.Is(b.err, errOver) })
}

func (b *blockOutputs) read(v *view, room func(int) bool) error {
	block, err := v.text(b.p, b.seg, b.block)
	if err != nil {
		return err
	}
	slices.SortFunc(b.outputs, func(x, y *output) int { return int(x.at.rec) - int(y.at.rec) })
	var text []byte
	cur := block.Cursor()
	for _, o := range b.outputs {
		cur.Skip(int(o.at.rec) - block.Len() + cur.Left())
		r := cur.Next()
		if r.ID != o.ID {
			return fmt.Errorf("%w: block at offset %d: its IDs are not those that were read before", segment.ErrCorrupt, b.info().Offset)
		}
		if !room(len(r.Text)) {
			return errOver
		}
		at := len(text)
		text = append(text, r.Text...)
		o.Text, o.Piece = text[at:len(text):len(text)], r.Piece // stays good when text moves
	}
	return nil
}

// forget lets go of what was copied.
func (b *blockOutputs) forget() {
	for _, o := range b.outputs {
		o.Text = nil
	}
}

func (b *blockOutputs) done() {
	for _, o := range b.outputs {
		o.at.p = nil
	}
}
