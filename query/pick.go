package query

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"oklog/objstore/segment"
	"oklog/query/match"
	"oklog/query/where"
)

// picker decodes blocks and finds the records that the query wants. Each worker has one.
type picker struct {
	ctx   context.Context // of the scan
	dec   *segment.Decoder
	e     *Engine
	q     *Query
	meter *meter

	any    *match.Searcher  // finds what the pattern matches, or what where may hold of; nil: every record is looked at
	plain  *match.Searcher  // likewise, in blocks that are plain
	search *match.Searcher  // the one for this block
	where  *where.Matcher   // what else has to hold of a record; nil: nothing
	wanted map[uint64]bool  // of these sessions; nil: of all
	block  *segment.Block   // the one being looked at
	lines  []match.Line     // in it
	found  []segment.Record // in it, of its memory
}

// newPicker makes a picker for one worker of a scan.
func newPicker(sc *scan, dec *segment.Decoder) picker {
	p := picker{ctx: sc.ctx, dec: dec, e: sc.e, q: &sc.q, meter: &sc.meter, block: sc.e.block()}
	p.compile()
	return p
}

// compile sets what finds the records that the query wants.
func (p *picker) compile() {
	if p.q.Where != nil {
		p.where = p.q.Where.Matcher()
	}
	switch {
	case p.q.Pattern != nil && !p.q.Pattern.All():
		p.any = p.q.Pattern.Searcher()
		p.plain = p.any
	case p.q.Where != nil:
		if program := p.q.Where.Program(); program != nil {
			p.any = program.Searcher()
		}
		if program := p.q.Where.PlainProgram(); program != nil {
			p.plain = program.Searcher()
		}
	}
	p.search = p.any
}

// pick decodes the block of t and sets its result.
func (p *picker) pick(seg *segment.Segment, t *task, raw []byte) error {
	now := p.e.cfg.Now
	start := now()
	if p.search = p.any; t.plain {
		p.search = p.plain
	}
	if p.bare() {
		if err := p.dec.Bare(p.block, seg, t.info, raw); err != nil {
			return err
		}
		decoded := now()
		if err := p.match(t); err != nil {
			return err
		}
		p.picked(t, 0, decoded.Sub(start), now().Sub(decoded))
		return nil
	}
	if n := t.info.RawSize; cap(p.block.Text) < n && n > segment.BlockSize/2 && n <= segment.BlockSize {
		p.block.Text = roomFor(segment.BlockSize)
	}
	if err := p.dec.Text(p.block, t.info, raw); err != nil {
		return err
	}
	decoded := now()
	idle, err := p.absent(t.info.Records)
	if err != nil {
		return err
	}
	searched := now()
	decode, match := decoded.Sub(start), searched.Sub(decoded)
	if !idle {
		if err := p.dec.IDs(p.block, seg, t.info, raw); err != nil {
			return err
		}
		whole := now()
		if err := p.match(t); err != nil {
			return err
		}
		decode, match = decode+whole.Sub(searched), match+now().Sub(whole)
	}
	p.picked(t, t.info.RawSize, decode, match)
	return nil
}

// picked notes what the block of t has cost, with text bytes of text decompressed.
func (p *picker) picked(t *task, text int, decode, match time.Duration) {
	p.meter.add(func(s *Stats) {
		s.Blocks.Read++
		if t.result != nil {
			s.Blocks.Matched++
		}
		s.Records.Scanned += int64(t.info.Records)
		s.Requests.Decoded += int64(text)
		s.Time.Decode += decode
		s.Time.Match += match
	})
}

// noText tells that the texts of what is found are not wanted.
func (p *picker) noText() bool { return p.q.CountOnly || p.q.IDsOnly }

// bare tells that nobody looks at the texts at all.
func (p *picker) bare() bool { return p.search == nil && p.where == nil && p.noText() }

// every tells that all records are wanted.
func (p *picker) every() bool { return p.search == nil && p.wanted == nil && p.where == nil }

var newline = []byte{'\n'}

// stretch is how much text is searched before the picker looks whether the query has ended, in bytes.
const stretch = 512 << 10

// stretches yields the block's text in pieces of whole lines, with the place of each, as long as the query goes on.
func (p *picker) stretches(yield func(at int, text []byte) bool) {
	text := p.block.Text
	for at := 0; at < len(text) && p.ctx.Err() == nil; {
		end := min(at+stretch, len(text))
		if i := bytes.IndexByte(text[end-1:], '\n'); i >= 0 {
			end += i
		}
		if !yield(at, text[at:end]) {
			return
		}
		at = end
	}
}

// absent tells that none of the block's records, of which so many are expected, matches, if that is quick to tell.
func (p *picker) absent(records int) (bool, error) {
	if p.search == nil {
		return false, nil
	}
	if len(p.block.Text) > stretch && bytes.Count(p.block.Text, newline) != records {
		// Lines are not records: between two stretches one may be cut in half, and match by what is in both.
		return p.search.Absent(p.block.Text), p.ctx.Err()
	}
	for _, text := range p.stretches {
		if !p.search.Absent(text) {
			return false, nil
		}
	}
	return true, p.ctx.Err()
}

// match sets the result of t from the block, which is decoded.
func (p *picker) match(t *task) error {
	b, q := p.block, p.q
	c := b.Cursor()
	lo, hi := 0, b.Len() // the records within the range
	if !q.Range.covers(b.First(), b.Last()) {
		lo, hi = c.CountBelow(q.Range.From), c.CountBelow(q.Range.To)
	}
	if lo == hi {
		return nil
	}
	if !q.Newest && (p.every() || p.bare()) {
		p.all(t, c, lo, hi)
		return nil
	}
	p.find(c, lo, hi)
	if err := p.ctx.Err(); err != nil {
		return err
	}
	p.copyFound(t)
	return nil
}

// find finds the records of the block from lo up to hi that are wanted. c stands before the first.
func (p *picker) find(c segment.Cursor, lo, hi int) {
	b, q := p.block, p.q
	p.found = p.found[:0]
	most := p.most()
	switch {
	case p.search == nil || b.MultiLine():
		if p.every() && q.Newest {
			lo = max(lo, hi-most)
		}
		for i := range hi {
			if i%64 == 0 && p.enough(most) {
				break
			}
			if r := c.Next(); i >= lo && p.wants(r.ID) && (p.search == nil || p.search.Match(r.Text)) && p.holds(r) {
				p.found = append(p.found, r)
			}
		}
	default:
		// Every line is a record: the text is searched as a whole.
		for at, text := range p.stretches {
			p.lines = p.search.Lines(p.lines[:0], text)
			if len(p.found)+len(p.lines) > cap(p.found) {
				// As many in the rest of the block, presumably.
				p.found = slices.Grow(p.found, min(len(p.lines)*(len(b.Text)-at)/len(text), b.Len()-len(p.found), max(most, len(p.lines))))
			}
			for n, l := range p.lines {
				if n%64 == 63 && p.where != nil && p.enough(most) {
					break
				}
				c.PassLines(at + l.Start)
				if i := b.Len() - c.Left(); i >= lo && i < hi && p.wants(c.ID()) {
					if r := c.Next(); p.holds(r) {
						p.found = append(p.found, r)
					}
				}
			}
			if p.trim(most) {
				break
			}
		}
	}
	p.trim(most)
}

// wants tells whether the record is of a source that the query wants.
func (p *picker) wants(id ulid.ULID) bool {
	if p.wanted == nil {
		return true
	}
	_, session, _ := segment.SplitID(id)
	return p.wanted[session]
}

// holds tells whether Query.Where holds of the record.
func (p *picker) holds(r segment.Record) bool { return p.where == nil || p.where.Match(r.Text) }

// enough tells that what follows in the block does not matter, or that the query has ended.
func (p *picker) enough(most int) bool { return p.ctx.Err() != nil || p.trim(most) }

// most is how many of the block's records the query can put out: beyond a limit, none. Pieces of one record count once.
func (p *picker) most() int {
	n := p.block.Len()
	if p.q.Limit > 0 && p.q.Limit < int64(n) && !p.block.Cut() {
		return int(p.q.Limit)
	}
	return n
}

// trim leaves most of what was found, and tells whether what follows in the block does not matter.
func (p *picker) trim(most int) bool {
	if n := len(p.found) - most; n > 0 && p.q.Newest {
		p.found = slices.Delete(p.found, 0, n)
	} else if n > 0 {
		p.found = slices.Delete(p.found, most, len(p.found))
	}
	return len(p.found) == most && !p.q.Newest
}

// all makes the records from lo up to hi, where these are of a source that the query wants, the result.
func (p *picker) all(t *task, c segment.Cursor, lo, hi int) {
	if lo == 0 && hi == p.block.Len() && !p.bare() { // a bare one is small, and its memory large
		t.result, t.pooled, t.pieces = p.block, true, p.block.Cut()
		p.block = p.e.block()
		return
	}
	c.Skip(lo)
	out := &segment.Block{Sources: p.block.Sources}
	if p.wanted == nil {
		c.AppendTo(out, hi-lo)
	} else {
		for ids := range c.Runs(hi - lo) {
			if p.wanted[ids.Session] {
				c.AppendTo(out, int(ids.N))
			} else {
				c.Skip(int(ids.N))
			}
		}
	}
	if out.Len() > 0 {
		t.result, t.pieces = out, out.Cut()
	}
}

// runs is how many runs what was found makes.
func (p *picker) runs() int {
	if p.q.Newest {
		return len(p.found) // backwards, each is one of its own
	}
	n := 1
	for i := range p.found[1:] {
		if segment.After(p.found[i].ID) != p.found[i+1].ID {
			n++
		}
	}
	return n
}

// result is the block for the result of t, with room for size bytes of text. Where that is a fair part of what a block holds, it is memory
// that is used again: what is fresh has to be given by the kernel page by page, which takes longer than to find what is copied there.
func (p *picker) result(t *task, size int) *segment.Block {
	if size < segment.BlockSize/8 || size < t.info.RawSize/4 || size > segment.BlockSize {
		return &segment.Block{Sources: p.block.Sources, Text: make([]byte, 0, size)}
	}
	out := p.e.block()
	out.Sources, t.pooled = p.block.Sources, true
	if cap(out.Text) < size {
		out.Text = roomFor(segment.BlockSize)
	}
	return out
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
	if p.noText() {
		size = len(p.found)
	}
	out := p.result(t, size)
	out.Runs = slices.Grow(out.Runs, p.runs())
	for i := range p.found {
		r := p.found[i]
		if p.q.Newest {
			r = p.found[len(p.found)-1-i]
		}
		if p.noText() {
			r.Text = nil
		}
		out.Append(r.ID, r.Text, r.Piece)
	}
	t.result = out
	clear(p.found) // it holds on to sources
}
