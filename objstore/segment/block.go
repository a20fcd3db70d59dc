package segment

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/oklog/ulid/v2"
)

// Limits of a block. Writers keep them and readers refuse what is over them before they allocate.
const (
	MaxRecord       = 1 << 20  // bytes of one record, without its newline
	MaxBlockText    = 16 << 20 // bytes of a block's text, decoded
	MaxBlockRecords = 1 << 20  // records of a block
)

// Piece says that a record is part of a longer one that was cut at the record limit.
// The pieces of one record have the same time and counters that follow each other, so they
// are neighbours in every merge.
type Piece uint8

const (
	Continues Piece = 1 << iota // goes on from the record before it
	Continued                   // goes on in the record after it
)

// Record is one log entry.
type Record struct {
	ID     ulid.ULID
	Source Source
	Text   []byte // without the newline that ends it; aliases the block
	Piece  Piece
}

// mark notes something about record Index of a block. Few records have any.
type mark struct {
	index uint32
	value uint32
}

// Sources leads from a session number to the source whose records it counts.
type Sources map[uint64]Source

// Block is records in memory: a segment's block decoded, or one that is being filled.
// The text is all the records, each followed by a newline; a record may hold newlines
// itself, and then a mark says how many. The zero value is an empty block.
type Block struct {
	Text    []byte
	Runs    []Run // the IDs, in the order of the text
	Sources Sources

	records  uint32
	newlines []mark // records that hold newlines: how many
	pieces   []mark // records that are pieces: Piece
}

// Reset empties the block and keeps its memory.
func (b *Block) Reset() {
	b.Text, b.Runs, b.records = b.Text[:0], b.Runs[:0], 0
	b.newlines, b.pieces = b.newlines[:0], b.pieces[:0]
	b.Sources = nil
}

// Len is the number of records.
func (b *Block) Len() int { return int(b.records) }

// MultiLine tells whether a record of the block holds a newline: if not, every line of Text is a record.
func (b *Block) MultiLine() bool { return len(b.newlines) > 0 }

// Cut tells whether a record of the block is a piece of one that was cut.
func (b *Block) Cut() bool { return len(b.pieces) > 0 }

// First is the ID of the first record. The block must not be empty.
func (b *Block) First() ulid.ULID { return b.Runs[0].First() }

// Last is the ID of the last record. The block must not be empty.
func (b *Block) Last() ulid.ULID { return b.Runs[len(b.Runs)-1].Last() }

// AppendLines adds run.N records, each of which is a line of text: lines holds exactly run.N newlines,
// the last of them at its end. It is the fast way: nothing is done line by line.
func (b *Block) AppendLines(run Run, lines []byte) {
	b.Text = append(b.Text, lines...)
	b.appendRun(run)
	b.records += run.N
}

// Append adds one record of any bytes.
func (b *Block) Append(id ulid.ULID, text []byte, piece Piece) {
	if n := bytes.Count(text, newline); n > 0 {
		b.newlines = append(b.newlines, mark{b.records, uint32(n)})
	}
	if piece != 0 {
		b.pieces = append(b.pieces, mark{b.records, uint32(piece)})
	}
	ms, session, counter := SplitID(id)
	b.appendRun(Run{Time: ms, Session: session, Counter: counter, N: 1})
	b.Text = append(append(b.Text, text...), '\n')
	b.records++
}

var newline = []byte{'\n'}

// appendRun adds r, as part of the last run where it goes on from that.
func (b *Block) appendRun(r Run) {
	if len(b.Runs) > 0 {
		p := &b.Runs[len(b.Runs)-1]
		if p.Session == r.Session && p.Time == r.Time && uint64(p.Counter)+uint64(p.N) == uint64(r.Counter) {
			p.N += r.N
			return
		}
	}
	b.Runs = append(b.Runs, r)
}

// Sorted tells whether the records are in strictly ascending order of their IDs.
func (b *Block) Sorted() bool {
	for i := 1; i < len(b.Runs); i++ {
		if b.Runs[i-1].Last().Compare(b.Runs[i].First()) >= 0 {
			return false
		}
	}
	return true
}

// Sort brings the records into the order of their IDs. A record that is there twice stays twice.
func (b *Block) Sort() {
	if b.Sorted() {
		return
	}
	type stretch struct {
		Run
		at Cursor // where the run's records begin
	}
	runs := make([]stretch, 0, len(b.Runs))
	for c := b.Cursor(); c.Left() > 0; {
		r := c.b.Runs[c.run]
		runs = append(runs, stretch{r, c})
		c.skip(int(r.N))
	}
	slices.SortStableFunc(runs, func(x, y stretch) int { return x.First().Compare(y.First()) })
	sorted := Block{
		Text: make([]byte, 0, len(b.Text)), Runs: make([]Run, 0, len(b.Runs)), Sources: b.Sources,
	}
	for _, r := range runs {
		r.at.AppendTo(&sorted, int(r.N))
	}
	*b = sorted
}

// check verifies that text, runs and marks agree; what it accepts is safe to walk.
// It is for blocks that come from outside.
func (b *Block) check() error {
	var n uint64
	for i, r := range b.Runs {
		if i > 0 && b.Runs[i-1].Last().Compare(r.First()) >= 0 {
			return fmt.Errorf("%w: IDs do not ascend at run %d", ErrCorrupt, i)
		}
		n += uint64(r.N)
	}
	if n != uint64(b.records) {
		return fmt.Errorf("%w: %d IDs for %d records", ErrCorrupt, n, b.records)
	}
	lines := uint64(b.records)
	for _, m := range b.newlines {
		lines += uint64(m.value)
	}
	if have := uint64(bytes.Count(b.Text, newline)); have != lines {
		return fmt.Errorf("%w: %d lines of text where the IDs want %d", ErrCorrupt, have, lines)
	}
	if len(b.Text) > 0 && b.Text[len(b.Text)-1] != '\n' {
		return fmt.Errorf("%w: text does not end in a newline", ErrCorrupt)
	}
	return nil
}

// Cursor walks over the records of a block.
type Cursor struct {
	b       *Block
	run     int    // Runs[run] holds the next record
	inRun   uint32 // its place there
	rec     uint32 // its place in the block
	pos     int    // where its text begins
	newline int    // first of b.newlines not before it
	piece   int    // first of b.pieces not before it
}

// Cursor stands before the first record.
func (b *Block) Cursor() Cursor { return Cursor{b: b} }

// Left is the number of records not yet passed.
func (c *Cursor) Left() int { return int(c.b.records - c.rec) }

// ID of the next record. There must be one.
func (c *Cursor) ID() ulid.ULID { return c.b.Runs[c.run].ID(c.inRun) }

// rest is what is left of the current run.
func (c *Cursor) rest() Run {
	r := c.b.Runs[c.run]
	r.Counter += c.inRun
	r.N -= c.inRun
	return r
}

// Runs yields the IDs of the next n records, which it does not pass.
func (c *Cursor) Runs(n int) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		at := Cursor{b: c.b, run: c.run, inRun: c.inRun}
		for left := uint32(n); left > 0; at.run, at.inRun = at.run+1, 0 {
			r := at.rest()
			r.N = min(r.N, left)
			left -= r.N
			if !yield(r) {
				return
			}
		}
	}
}

// CountBelow tells how many of the next records have IDs lower than bound.
func (c *Cursor) CountBelow(bound ulid.ULID) int {
	if c.Left() == 0 {
		return 0
	}
	if c.b.Last().Compare(bound) < 0 {
		return c.Left()
	}
	rest := c.rest()
	n := int(rest.countBelow(bound))
	if n < int(rest.N) {
		return n
	}
	// The run that holds the bound, by bisection: the runs ascend.
	later := c.b.Runs[c.run+1:]
	k, _ := slices.BinarySearchFunc(later, bound, func(r Run, id ulid.ULID) int { return r.Last().Compare(id) })
	for _, r := range later[:k] {
		n += int(r.N)
	}
	if k < len(later) {
		n += int(later[k].countBelow(bound))
	}
	return n
}

// Next returns the next record and passes it. There must be one.
func (c *Cursor) Next() Record {
	r := Record{ID: c.ID(), Source: c.b.Sources[c.b.Runs[c.run].Session]}
	if c.piece < len(c.b.pieces) && c.b.pieces[c.piece].index == c.rec {
		r.Piece = Piece(c.b.pieces[c.piece].value)
	}
	text := c.skip(1)
	r.Text = text[:len(text)-1]
	return r
}

// end finds where the text of the next n records ends, or of fewer, k, where the
// n-th would end behind limit.
func (c *Cursor) end(n, limit int) (k, end int) {
	if n == c.Left() && len(c.b.Text) <= limit {
		return n, len(c.b.Text)
	}
	end, m := c.pos, c.newline
	for k = 0; k < n; k++ {
		lines := uint32(1)
		if m < len(c.b.newlines) && c.b.newlines[m].index == c.rec+uint32(k) {
			lines += c.b.newlines[m].value
			m++
		}
		e := end
		for ; lines > 0; lines-- {
			i := bytes.IndexByte(c.b.Text[e:], '\n')
			if i < 0 { // never in a block that passed check
				return k, end
			}
			e += i + 1
		}
		if e > limit {
			break
		}
		end = e
	}
	return k, end
}

// fit tells how many of the next n records have text of at most size bytes together.
func (c *Cursor) fit(n, size int) int {
	k, _ := c.end(n, c.pos+size)
	return k
}

// PassLines passes the records before byte to of the block's text, where a record begins. It counts newlines, which is fast:
// no record of the block may hold one itself (MultiLine).
func (c *Cursor) PassLines(to int) {
	n := bytes.Count(c.b.Text[c.pos:to], newline)
	c.advance(n)
	c.pos = to
}

// Skip passes n records.
func (c *Cursor) Skip(n int) { c.skip(n) }

// skip passes n records and returns their text, each with its newline.
func (c *Cursor) skip(n int) []byte {
	start := c.pos
	_, end := c.end(n, len(c.b.Text))
	c.pos = end
	c.advance(n)
	return c.b.Text[start:end]
}

// advance passes n records but for their text.
func (c *Cursor) advance(n int) {
	c.rec += uint32(n)
	for left := uint32(n); left > 0; {
		here := c.b.Runs[c.run].N - c.inRun
		if left < here {
			c.inRun += left
			break
		}
		left -= here
		c.run, c.inRun = c.run+1, 0
	}
	c.newline += before(c.b.newlines[c.newline:], c.rec)
	c.piece += before(c.b.pieces[c.piece:], c.rec)
}

// before counts the marks of records lower than rec.
func before(marks []mark, rec uint32) int {
	if len(marks) == 0 || marks[0].index >= rec {
		return 0
	}
	k, _ := slices.BinarySearchFunc(marks, rec, func(m mark, r uint32) int { return cmp.Compare(m.index, r) })
	return k
}

// AppendTo copies the next n records to the end of dst and passes them. dst must not be the cursor's block.
func (c *Cursor) AppendTo(dst *Block, n int) {
	from := *c
	text := c.skip(n)
	dst.Text = append(dst.Text, text...)
	shift := dst.records - from.rec // modulo 2^32: added to an index below, it comes out right
	for _, m := range c.b.newlines[from.newline:c.newline] {
		dst.newlines = append(dst.newlines, mark{m.index + shift, m.value})
	}
	for _, m := range c.b.pieces[from.piece:c.piece] {
		dst.pieces = append(dst.pieces, mark{m.index + shift, m.value})
	}
	for left := uint32(n); left > 0; {
		r := from.rest()
		r.N = min(r.N, left)
		dst.appendRun(r)
		left -= r.N
		from.run, from.inRun = from.run+1, 0
	}
	dst.records += uint32(n)
}
