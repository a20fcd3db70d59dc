package query

import (
	"oklog/objstore/segment"
	"oklog/query/match"
)

// picker decodes blocks and finds the records that the query wants. Each worker has one.
type picker struct {
	dec   *segment.Decoder
	e     *Engine
	q     *Query
	meter *meter

	search  *match.Searcher  // nil: every record is wanted
	block   *segment.Block   // the one being looked at
	lines   []match.Line     // in it
	found   []segment.Record // in it, of its memory
	scratch segment.Block
}

// pick decodes the block of t and sets its result.
func (p *picker) pick(seg *segment.Segment, t *task, raw []byte) error {
	now := p.e.cfg.Now
	start := now()
	if cap(p.block.Text) == 0 && t.info.RawSize > segment.BlockSize/2 {
		p.block.Text = roomFor(segment.BlockSize)
	}
	if err := p.dec.Text(p.block, t.info, raw); err != nil {
		return err
	}
	decoded := now()
	matched := decoded
	idle := p.search != nil && p.search.Absent(p.block.Text)
	if !idle {
		searched := now()
		if err := p.dec.IDs(p.block, seg, t.info, raw); err != nil {
			return err
		}
		matched = now()
		p.match(t)
		decoded, matched = decoded.Add(matched.Sub(searched)), now()
	} else {
		matched = now()
	}
	p.meter.add(func(s *Stats) {
		s.Blocks.Read++
		if t.result != nil {
			s.Blocks.Matched++
		}
		s.Records.Scanned += int64(t.info.Records)
		s.Requests.Decoded += int64(t.info.RawSize)
		s.Time.Decode += decoded.Sub(start)
		s.Time.Match += matched.Sub(decoded)
	})
	return nil
}

// match sets the result of t from the block, which is decoded.
func (p *picker) match(t *task) {
	b, q := p.block, p.q
	c := b.Cursor()
	lo, hi := 0, b.Len() // the records within the range
	if !q.Range.covers(b.First(), b.Last()) {
		lo, hi = c.CountBelow(q.Range.From), c.CountBelow(q.Range.To)
	}
	if lo == hi {
		return
	}
	if p.search == nil && !q.Newest && !q.CountOnly {
		p.all(t, c, lo, hi)
		return
	}
	p.found = p.found[:0]
	switch {
	case p.search == nil || b.MultiLine():
		for i := range hi {
			if r := c.Next(); i >= lo && (p.search == nil || p.search.Match(r.Text)) {
				p.found = append(p.found, r)
			}
		}
	default:
		// Every line is a record: the text is searched as a whole.
		p.lines = p.search.Lines(p.lines[:0], b.Text)
		for _, l := range p.lines {
			c.PassLines(l.Start)
			i := b.Len() - c.Left()
			if i >= hi {
				break
			}
			if i >= lo {
				p.found = append(p.found, c.Next())
			}
		}
	}
	p.copyFound(t)
}

// all makes the records from lo up to hi the result.
func (p *picker) all(t *task, c segment.Cursor, lo, hi int) {
	if lo == 0 && hi == p.block.Len() {
		t.result, t.whole, t.pieces = p.block, true, true
		p.block = p.e.block()
		return
	}
	p.scratch.Reset()
	c.AppendTo(&p.scratch, lo)
	out := &segment.Block{Sources: p.block.Sources}
	c.AppendTo(out, hi-lo)
	t.result, t.pieces = out, true // there may be some
}

// copyFound makes what was found the result, in memory of its own: the block's is used again.
func (p *picker) copyFound(t *task) {
	if len(p.found) == 0 {
		return
	}
	size := 0
	for _, r := range p.found {
		size += len(r.Text) + 1
		t.pieces = t.pieces || r.Piece != 0
	}
	if p.q.CountOnly && !t.pieces {
		size = len(p.found) // the IDs are enough
	}
	out := &segment.Block{Sources: p.block.Sources, Text: make([]byte, 0, size)}
	for i := range p.found {
		r := p.found[i]
		if p.q.Newest {
			r = p.found[len(p.found)-1-i]
		}
		if p.q.CountOnly && !t.pieces {
			r.Text = nil
		}
		out.Append(r.ID, r.Text, r.Piece)
	}
	t.result = out
	clear(p.found) // it holds on to sources
}
